"""Every installed file is the one that its wheel recorded (PyPA, recording installed projects).

RECORD lists each file with its size and hash. All are read and compared, so a patched file, a
truncated download, and a file that another package wrote over are found. Paths that lead out of the
environment are refused, caches (.pyc) passed over. Libraries that no RECORD lists are left over
from another version: Python may load them in place of the new ones.
"""

import base64
import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BufferedReader
from pathlib import Path

from vllm_nix.verification.check import Context, Finding, check, failed, ok, warning
from vllm_nix.verification.distributions import Entry
from vllm_nix.verification.owners import Owner, owners

# What the specification allows: nothing weaker than SHA-256.
ALGORITHMS = ("sha256", "sha384", "sha512")


@check("record", "Every installed file has its recorded size and hash", slow=True)
def record(context: Context) -> Iterator[Finding]:
    files, problems = owners(context)
    for problem in problems:
        yield _failed(problem.found, problem.distribution.folder.name, problem.distribution.name)
    compare = partial(_compare, context)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, found in zip(files, pool.map(compare, files.items()), strict=True):
            if found:
                where = str(path.relative_to(context.root))
                yield _failed(found, where, files[path][0].distribution.name)
    yield from _strangers(context, files)
    yield ok(f"{len(files)} files")


def _strangers(context: Context, files: Collection[Path]) -> Iterator[Finding]:
    """Libraries beside recorded files, in packages whose owners all have a RECORD."""
    if not all((found.folder / "RECORD").is_file() for found in context.distributions):
        return  # of an installer that writes none, as a system's
    for folder in sorted({file.parent for file in files}):
        if not folder.is_relative_to(context.site_packages):
            continue
        for file in sorted(folder.glob("*.so*")):
            if file not in files:
                yield warning(
                    "is in no RECORD",
                    where=context.place(file),
                    expected="files of installed distributions",
                    cure="delete it, unless you put it there: Python may load it for another",
                )


def _failed(found: str, where: str, name: str) -> Finding:
    return failed(found, where=where, cure=f"install {name} again")


def _compare(context: Context, file: tuple[Path, list[Owner]]) -> str:
    """What is wrong with a file; it need only be as one of its owners says (see `ownership`)."""
    path, claims = file
    if path.suffix == ".pyc":
        return ""  # a cache, which Python makes anew
    try:
        # A hostile RECORD may name a pipe, whose opening would wait for ever.
        descriptor = os.open(_original(context, path, claims[0]), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        return "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        complaints = [_complaint(owner.entry, stream, status.st_size) for owner in claims]
    return min(complaints, key=bool)


def _original(context: Context, path: Path, owner: Owner) -> Path:
    """A Nix-built environment has scripts of its own, made from those of the wheels."""
    if context.manifest and path.parent == context.root / "bin":
        metadata = (owner.distribution.folder / "METADATA").resolve()
        return metadata.parent.parent / owner.entry.path
    return path


def _complaint(entry: Entry, stream: BufferedReader, size: int) -> str:
    if entry.size is not None and entry.size != size:
        return f"{size} bytes, recorded were {entry.size}"
    if not entry.algorithm:
        return ""  # RECORD itself, and what installers add
    if entry.algorithm not in ALGORITHMS:
        return f"recorded with {entry.algorithm}, which is not one of {', '.join(ALGORITHMS)}"
    stream.seek(0)
    digest = hashlib.file_digest(stream, entry.algorithm).digest()
    same = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == entry.digest.rstrip("=")
    return "" if same else f"its {entry.algorithm} is not the recorded one: it was changed"
