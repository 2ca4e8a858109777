"""After `poetry lock`: keeps the files that this project's systems install.

poetry2nix knows neither the newest machines ("attribute 'riscv64' missing") nor joined ABI tags
such as abi3.abi3t ("assertion '(m != null)' failed"), and dies on files that it would not use.
"""

import re
import sys
from pathlib import Path

WANTED = re.compile(
    r'file = "[^"]*(\.tar\.gz|-py3-none-any\.whl|-py2\.py3-none-any\.whl'
    r"|-(cp311-cp311|cp3\d+-abi3|py3-none)-[^\"]*manylinux[^\"]*_(x86_64|aarch64)\.whl)\""
)

lock = Path(sys.argv[1])
lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
lock.write_text(
    "".join(line for line in lines if "{file = " not in line or WANTED.search(line)),
    encoding="utf-8",
)
