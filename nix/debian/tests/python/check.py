import ctypes
import hashlib
import lzma
import sqlite3
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path

import probe

assert probe.answer() == 42
assert lzma.decompress(lzma.compress(b"a" * 1000)) == b"a" * 1000
assert sqlite3.connect(":memory:").execute("select 6 * 7").fetchone() == (42,)
assert ssl.OPENSSL_VERSION_INFO >= (3, 0)
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
assert subprocess.check_output("echo through a shell", shell=True) == b"through a shell\n"

try:
    ctypes.CDLL("libnuma.so.1")
except OSError:
    pass
else:
    sys.exit("libnuma.so.1 was found, which no input of Python holds")

# site-packages where upstream has it, in the interpreter and in a virtual environment
assert sysconfig.get_path("purelib") == f"{sys.prefix}/lib/python3.11/site-packages"
environment = Path("environment").absolute()
(environment / "bin").mkdir(parents=True)
(environment / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")
(environment / "bin/python").symlink_to(sys.executable)
site = environment / "lib/python3.11/site-packages"
site.mkdir(parents=True)
(site / "inside.py").touch()
program = "import inside, sys; print(sys.prefix)"
prefix = subprocess.check_output([environment / "bin/python", "-c", program], text=True)
assert prefix.strip() == str(environment), prefix

maps = Path("/proc/self/maps").read_text().splitlines()
foreign = {line.split()[-1] for line in maps if "/" in line}
foreign = {path for path in foreign if not path.startswith(("/nix/store/", str(Path.cwd())))}
assert not foreign, foreign
