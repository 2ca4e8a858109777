"""Makes a wheel's ELF files find their libraries in the store, and only there.

Each NEEDED library is one of
* in the wheel itself, where the file's own search path finds it: nothing to do;
* in the base (the C and C++ libraries and a few more): its folder joins the search path;
* in another wheel or the host's driver: left to the environment, which knows them all.
Search paths that lead out of the wheel and out of the store are removed.
"""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import elf

# The interpreter has loaded these before any library of a wheel.
ALWAYS_LOADED = {"libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


class FixupError(Exception):
    pass


def fix(
    out: Path, patchelf: str, interpreter: str, library_path: list[str]
) -> tuple[dict[str, object], list[Path]]:
    """Fixes the files below `out`; returns facts for the environment, and the files changed."""
    base = libraries(library_path)
    files = dict(loadable_files(out, elf.read(Path(interpreter).resolve()).machine))
    changes = {
        path: options
        for path, file in files.items()
        if (options := corrections(path, file, base, interpreter))
    }
    with ThreadPoolExecutor(int(os.environ.get("NIX_BUILD_CORES") or 1) or None) as pool:
        list(pool.map(lambda path: run(patchelf, path, changes[path]), changes))
    return facts(out, files, base), sorted(changes)


def loadable_files(folder: Path, machine: str) -> Iterator[tuple[Path, elf.Elf]]:
    """The libraries and programs that this machine loads: no GPU code, no object files."""
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink() and path.is_file() and elf.is_elf(path):
            try:
                file = elf.read(path)
            except elf.ElfError as error:
                raise FixupError(f"{path.relative_to(folder)}: {error}") from error
            if file.machine == machine and file.is_dynamic:
                yield path, file


def corrections(path: Path, file: elf.Elf, base: dict[str, str], interpreter: str) -> list[str]:
    """What patchelf has to do to a file; nothing, for most."""
    current = file.runpath or file.rpath
    wanted = search_path(path, file, base)
    options = []
    if tuple(wanted) != current:
        # The older kind of search path also serves the libraries of a library, unless they have the
        # newer kind: numpy 1.26's OpenBLAS, without any, finds libgfortran by numpy's. Keep the kind.
        options += ["--force-rpath"] if not file.runpath else []
        options += ["--set-rpath", ":".join(wanted)]
    if file.interpreter:
        options += ["--set-interpreter", interpreter]
    return options


def search_path(path: Path, file: elf.Elf, base: dict[str, str]) -> list[str]:
    """The file's search path: its own relative folders, then those of the base that it needs."""
    relative = [
        entry for entry in file.runpath or file.rpath if entry.startswith(("$ORIGIN", "${ORIGIN}"))
    ]
    own = {library.name for entry in relative for library in expand(entry, path).glob("*.so*")}
    folders = [base[name] for name in file.needed if name in base and name not in own]
    return list(dict.fromkeys([*relative, *folders]))


def expand(entry: str, path: Path) -> Path:
    text = entry.replace("${ORIGIN}", "$ORIGIN").replace("$ORIGIN", str(path.parent))
    return Path(os.path.normpath(text))


def run(patchelf: str, path: Path, options: list[str]) -> None:
    mode = path.stat().st_mode
    path.chmod(mode | 0o200)
    result = subprocess.run([patchelf, *options, path], check=False, capture_output=True, text=True)
    path.chmod(mode)
    if result.returncode:
        raise FixupError(f"{path.name}: {result.stderr.strip()}")


def facts(out: Path, files: dict[Path, elf.Elf], base: dict[str, str]) -> dict[str, object]:
    """The names of the wheel's libraries, and which libraries other wheels have to provide."""
    provides: dict[str, str] = {}
    needs: list[dict[str, str]] = []
    for path, file in files.items():
        name = str(path.relative_to(out))
        if file.is_library:
            provides |= {path.name: name, file.soname or path.name: name}
        needs += [{"file": name, "needed": needed} for needed in file.needed]
    known = {*base, *provides, *ALWAYS_LOADED}
    return {"provides": provides, "needs": [need for need in needs if need["needed"] not in known]}


def libraries(folders: list[str]) -> dict[str, str]:
    """File name → folder, of the base's libraries; the first folder that has one wins."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(Path(folder).glob("lib*.so*")):
            found.setdefault(path.name, folder)
    return found
