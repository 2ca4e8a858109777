"""Files brought by hand: found by name below a folder, accepted by hash."""

from collections.abc import Sequence
from pathlib import Path

from vllm_nix.errors import Error, InputError
from vllm_nix.fetching.cache import check_hash
from vllm_nix.fetching.sources import Source


def find_brought(
    sources: Sequence[Source], folder: Path
) -> tuple[dict[Source, Path], list[Source]]:
    """The sources that a folder has, with their files, and those that it lacks.

    Raises `InputError` if there is no such folder, and `Error` for a file with a wrong hash.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.resolve().rglob("*")):
        files.setdefault(file.name, []).append(file)
    found, absent = {}, []
    for source in sources:
        if candidates := [file for file in files.get(source.file, ()) if file.is_file()]:
            found[source] = _right_one(source, candidates)
        else:
            absent.append(source)
    return found, absent


def _right_one(source: Source, candidates: Sequence[Path]) -> Path:
    wrong: Error | None = None
    for file in candidates:
        try:
            check_hash(source, file)
            return file
        except Error as error:
            wrong = wrong or error
    raise wrong or AssertionError("no candidates")
