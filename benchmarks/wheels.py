"""Public wheels, pinned by hash: one at a time on disk, as some take half a gigabyte."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

_TAGS = ("_2_35", "_2_34", "_2_31", "_2_28", "_2_27", "_2_24", "_2_17", "2014", "1")


@dataclass(frozen=True, slots=True)
class Wheel:
    """`machine` is x86_64 or aarch64; `python` the interpreter's major.minor."""

    requirement: str
    machine: str
    sha256: str
    python: str = "3.12"


def unpack(wheel: Wheel, folder: Path, *names: str) -> list[Path]:
    """Downloads a wheel, leaves what bears one of these names, or else all libraries, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", f"--python-version={wheel.python}"]
    command += [f"--platform=manylinux{tag}_{wheel.machine}" for tag in _TAGS]
    subprocess.run([*command, f"--dest={folder}", f"--requirement={requirements}"], check=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        found = [
            Path(archive.extract(member, folder))
            for member in archive.namelist()
            if (Path(member).name in names if names else ".so" in Path(member).suffixes)
        ]
    path.unlink()
    for file in found:
        file.chmod(0o755)
    return found
