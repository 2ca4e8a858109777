"""Slims what holds libraries: a folder such as an environment, a wheel, or one library.

RECORD stays true. A whole is written beside its target and renamed at the end, so that an interrupted
run leaves nothing half-written; in place, each library is replaced when it has passed its checks.
"""

import base64
import csv
import errno
import io
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from vllm_nix import scratch
from vllm_nix.binaries import elf, files
from vllm_nix.errors import InputError, Unavailable
from vllm_nix.gpu import fatbin, slim
from vllm_nix.gpu.device import Device
from vllm_nix.gpu.mark import Mark
from vllm_nix.gpu.slim import (
    Neighbours,
    Slimmed,
    take_place,
)
from vllm_nix.paths import reason
from vllm_nix.since_311 import file_digest

_CHUNK = 1 << 20
# Of a RECORD, far above real ones: torch's has 1.5 MB and 13,000 rows.
_MOST_RECORD, _MOST_ROWS = 1 << 26, 300_000
# What a wheel's libraries may unpack to: zeros grow a thousand times.
_MOST_TIMES, _LEAST_LIMIT = 100, 1 << 30
_MOST_LIBRARIES = 10_000  # torch has 30
# What a wheel that is signed has (PEP 427): the signature is of RECORD, which changes.
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_ALGORITHMS = ("sha256", "sha384", "sha512")  # of RECORD: md5 and sha1 are not allowed there

Progress = Callable[[Slimmed], None]


def slim_path(
    path: Path,
    devices: Sequence[Device],
    out: Path | None = None,
    progress: Progress = lambda _: None,
) -> list[Slimmed]:
    """Slims all libraries of a folder, a wheel or a file; without `out`, says what that would save.

    Of a file and of a wheel, `out` is the folder to write to, of a folder, the new one: it must not
    be there, or be the folder itself, whose libraries are then replaced. Returns a line for each
    file with GPU code. Raises InputError for what is refused, Unavailable where the disk is full.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100, a link stays the link that was named
    try:
        if path.is_dir():
            found = _folder(path, devices, out, progress)
        elif path.suffix == ".whl":
            found = _wheel(path, devices, out, progress)
        else:
            found = _file(path, devices, out)
            progress(found[0])
    except BrokenPipeError:  # of who reads what `progress` says
        raise
    except OSError as error:
        where = error.filename2 or error.filename or out or path
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise InputError(f"{where} is no folder; name another --out") from None
        may_write = error.errno not in (errno.EPERM, errno.EACCES, errno.EROFS)
        way_out = "" if may_write else "; make it your own to write, or name another --out"
        raise Unavailable(
            f"{where}: {reason(error)}; nothing was replaced by it{way_out}"
        ) from None
    return found


def _refuse(path: Path, found: Sequence[Slimmed], devices: Sequence[Device]) -> None:
    """Where a device would be left with nothing, or nothing is done that was asked for."""
    if any(one.mark for one in found):
        return  # a run that was cut off has looked at all
    served = {device for one in found for device in one.serves}
    if any(one.serves or one.is_slimmed for one in found):
        for device in devices:
            if device not in served:
                raise InputError(
                    f"{path}: nothing in it runs on {device}; it would have no code left"
                )


def _file(path: Path, devices: Sequence[Device], out: Path | None) -> list[Slimmed]:
    real = Path(os.path.realpath(path))
    if out and real.parent == Path(os.path.realpath(path.parent)) == Path(os.path.realpath(out)):
        path = real  # in place, a link stays one
    measured = slim.measure(path, devices)
    _refuse(path, [measured], devices)
    if slim.is_done(path, devices):
        return [measured]
    if not measured.is_slimmed:
        raise InputError(f"{path}: {measured.why}; it stays as it is")
    if out is None:
        return [measured]
    target = out / path.name
    if target.exists() and not target.samefile(path):
        raise InputError(f"{target} is there already; name another --out")
    out.mkdir(parents=True, exist_ok=True)
    _check_writable(out)
    records = _Records(_around(path)) if target.exists() else None
    entered = records.entered if records else slim.alone
    done = slim.write(path, target, devices, Neighbours(_around(path)), entered)
    if not done.is_slimmed:
        raise InputError(f"{path}: {done.why}; it stays as it is")
    return [done]


def _check_writable(folder: Path) -> None:
    """Its mode says it, which would not keep root from changing the Nix store."""
    if not folder.stat().st_mode & stat.S_IWUSR:
        raise InputError(f"{folder} is read-only, as all of the Nix store is; name another --out")


def _around(path: Path) -> Path:
    """The site-packages that a library is in, else its own folder: there are its neighbours."""
    return next((parent for parent in path.parents if parent.name == "site-packages"), path.parent)


def _measured(path: Path, folder: Path, devices: Sequence[Device]) -> list[Slimmed]:
    """What each library in `folder`, which holds what was asked for as `path`, would save."""
    tree = files.walk(folder)
    names = list(_libraries(folder, tree))
    if not names:
        raise InputError(f"{path}: no shared library with GPU code")
    measured = [_named(folder, name, slim.measure(folder / name, devices)) for name in names]
    passed = {link: f"a link to {end} is not followed" for link, end in tree.links_out.items()}
    for place, why in {**tree.left_out, **passed}.items():
        measured.append(Slimmed(place.relative_to(folder), 0, 0, why))
    for one in measured:
        if one.mark and one.mark != Mark.of(devices):
            raise InputError(f"{path}: {one.path} {one.why}; all stays as it is")
    _refuse(path, measured, devices)
    return measured


def _folder(
    path: Path, devices: Sequence[Device], out: Path | None, progress: Progress
) -> list[Slimmed]:
    measured = _measured(path, path, devices)
    if out is None:
        for one in measured:
            progress(one)
        return measured
    around = Neighbours(path, _python(path))
    if out.exists() and out.samefile(path):
        _check_writable(path)
        return _replaced(path, path, measured, devices, around, progress)
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(path)):
        raise InputError(
            f"{out} is inside of {path}, which is to be copied; name an --out beside it"
        )
    _Records(path)  # a fault in one is found, and named, before all is copied
    with _new_folder(out) as new:
        _copy_tree(path, new, {one.path for one in measured if one.is_slimmed})
        return _replaced(path, new, measured, devices, around, progress)


def _python(root: Path) -> Path | None:
    """A virtual environment's own interpreter; but no launcher, which chooses where to look."""
    program = root / "bin" / "python"
    try:
        with program.open("rb") as file:
            return program if file.read(4) == elf.MAGIC else None
    except OSError:
        return None


def _named(root: Path, name: Path, one: Slimmed) -> Slimmed:
    assert one.path == root / name
    return replace(one, path=name)


def _replaced(
    source: Path,
    target: Path,
    measured: Sequence[Slimmed],
    devices: Sequence[Device],
    around: Neighbours,
    progress: Progress,
) -> list[Slimmed]:
    found = []
    records = _Records(target)
    for one in measured:
        if one.is_slimmed:
            _make_real(target, one.path.parent)
            old, new = source / one.path, target / one.path
            done = slim.write(old, new, devices, around, records.entered)
            one = _named(source, one.path, done)
            if not one.is_slimmed and not (target / one.path).exists():
                _copy(old, new)
        progress(one)
        found.append(one)
    return found


def _libraries(root: Path, tree: files.Tree) -> Iterator[Path]:
    """The shared libraries with GPU code below a folder, links followed, each once, by path: its own, if that
    is below the folder too."""
    seen: set[str] = set()
    top = os.path.realpath(root)
    for file in tree.files:
        if (
            scratch.is_beside(file)
            or ".so" not in file.name
            or (real := os.path.realpath(file)) in seen
        ):
            continue
        seen.add(real)
        if _has_code(file):
            own = Path(real)
            yield own.relative_to(top) if own.is_relative_to(top) else file.relative_to(root)


def _has_code(path: Path) -> bool:
    try:
        if not fatbin.is_candidate(path):
            return False
        found = fatbin.read(path)
    except OSError:
        return False
    except fatbin.FatbinError:
        return True  # for all that we know; `measure` says what is wrong
    return bool(found.fatbins or found.damage)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets its name at the end, if all went well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already; name another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch.folder(*scratch.names_beside(out), out.parent) as new:
        yield new
        new.chmod(0o755)
        new.replace(out)


def _copy_tree(source: Path, target: Path, without: Collection[Path]) -> None:
    """Copies a tree, but for some files. Links stay links, to what they led to."""
    for parent, folders, names in os.walk(source):
        here = Path(parent).relative_to(source)
        (target / here).mkdir(exist_ok=True)
        for name in [*names, *folders]:
            old, new = Path(parent, name), target / here / name
            if here / name in without:
                continue
            if old.is_symlink():
                _copy_link(source, old, new)
            elif name in names:
                _copy(old, new)


def _copy_link(root: Path, old: Path, new: Path) -> None:
    link = old.readlink()
    target = Path(os.path.normpath(old.parent / link))
    is_inside = not link.is_absolute() and target.is_relative_to(root)
    new.symlink_to(link if is_inside else os.path.realpath(old))


def _copy(old: Path, new: Path) -> None:
    files.copy(old, new)
    new.chmod(new.stat().st_mode | 0o200)  # the store's files are read-only; RECORD may change


def _make_real(root: Path, folder: Path) -> None:
    """Makes each folder on the way a folder of its own, of links, where it is a link out of the root."""
    current = root
    for part in folder.parts:
        current /= part
        if current.is_symlink() and not current.resolve().is_relative_to(root.resolve()):
            entries = list(current.resolve().iterdir())
            current.unlink()
            current.mkdir()
            for entry in entries:
                (current / entry.name).symlink_to(entry)
    if current.is_dir():
        current.chmod(current.stat().st_mode | 0o200)


class _Records:
    """The RECORD files below a folder, which stay true library by library, also if we are cut off."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._owners: dict[str, list[Path]] = {}
        for record in sorted(root.rglob("*.dist-info/RECORD")):
            site = os.path.realpath(record.parents[1])
            for row in _rows(record):
                if row and ".so" in row[0]:
                    self._owners.setdefault(os.path.normpath(f"{site}/{row[0]}"), []).append(record)

    @contextmanager
    def entered(self, path: Path, old: Path, new: Path) -> Iterator[None]:
        """Around the renaming of a new file: its hash and size stand where those of the old one did.

        The new RECORDs are whole before it and renamed after it, so that a kill comes between but by
        the greatest chance."""
        real = f"{os.path.realpath(path.parent)}/{path.name}"
        with ExitStack() as copies, old.open("rb") as before, new.open("rb") as after:
            written = []
            for record in self._owners.get(real, ()):
                site = os.path.realpath(record.parents[1])
                rows = list(_rows(record))
                for row in rows:
                    if row and os.path.normpath(f"{site}/{row[0]}") == real:
                        _update(row, before, after)
                _make_real(self._root, record.parent.relative_to(self._root))
                copy, file = copies.enter_context(scratch.file_beside(record))
                with open(file, "w", newline="", encoding="utf-8", closefd=False) as stream:
                    csv.writer(stream, lineterminator="\n").writerows(rows)
                take_place(copy, record, record)
                written.append((copy, record))
            yield
            for copy, record in written:
                copy.replace(record)


def _rows(record: Path) -> Iterator[list[str]]:
    try:
        with files.open_regular(record) as file:
            yield from _parsed(file, os.fstat(file.fileno()).st_size, record)
    except OSError as error:
        raise InputError(f"{record}: {error.strerror}") from None


def _parsed(file: IO[bytes], size: int, name: Path) -> Iterator[list[str]]:
    """A RECORD's rows, no more than a real one may have."""
    if size > _MOST_RECORD:
        raise InputError(f"{name}: larger than {_MOST_RECORD} bytes: not a RECORD")
    try:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8", newline=""))
        for number, row in enumerate(rows):
            if number == _MOST_ROWS:
                raise InputError(f"{name}: more than {_MOST_ROWS} rows: not a RECORD")
            yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name}: not a RECORD: {error}") from None


def _update(row: list[str], old: IO[bytes], new: IO[bytes]) -> None:
    """A row that is not true of the old file stays as it is: what was damaged is not to look whole."""
    algorithm = row[1].partition("=")[0] if len(row) > 1 else ""
    if algorithm in _ALGORITHMS and row[1] == _hash(old, algorithm):
        row[1:] = [_hash(new, algorithm), str(new.tell())]


def _hash(file: IO[bytes], algorithm: str) -> str:
    file.seek(0)
    digest = file_digest(file, algorithm).digest()
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _wheel(
    path: Path, devices: Sequence[Device], out: Path | None, progress: Progress
) -> list[Slimmed]:
    if out is not None and (out / path.name).exists():
        raise InputError(f"{out / path.name} is there already; name another --out")
    try:
        opened = files.open_regular(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    try:
        with opened, zipfile.ZipFile(opened) as wheel, _unpacked(path, out) as folder:
            return _slim_wheel(path, wheel, folder, devices, out, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: truncated or damaged: {error}") from None


def _unpacked(path: Path, out: Path | None) -> AbstractContextManager[Path]:
    """Where a wheel is unpacked: beside its target, for /tmp may be small."""
    if out is None:
        return scratch.folder("vllm-nix-slim-")
    out.mkdir(parents=True, exist_ok=True)
    return scratch.folder(*scratch.names_beside(out / path.name), out)


def _slim_wheel(
    path: Path,
    wheel: zipfile.ZipFile,
    folder: Path,
    devices: Sequence[Device],
    out: Path | None,
    progress: Progress,
) -> list[Slimmed]:
    members = wheel.infolist()
    if signed := [m.filename for m in members if m.filename.endswith(_SIGNATURES)]:
        raise InputError(f"{path}: signed ({signed[0]}); a slim one could not be")
    names = (one.filename for one in members)
    if stray := [
        name for name in names if os.path.normpath(f"x/{name}") != f"x/{name.rstrip('/')}"
    ]:
        raise InputError(f"{path}: holds {stray[0]}, which is no path within a wheel")
    records = {}
    for member in members:
        name = member.filename
        if name.endswith(".dist-info/RECORD"):
            with wheel.open(member) as file:
                records[name] = list(_parsed(file, member.file_size, path / name))
    libraries = [one for one in members if ".so" in one.filename.rpartition("/")[2]]
    if len(libraries) > _MOST_LIBRARIES:
        raise InputError(f"{path}: {len(libraries)} libraries: more than a wheel has")
    size = sum(one.file_size for one in libraries)
    if size > max(_MOST_TIMES * path.stat().st_size, _LEAST_LIMIT):
        raise InputError(f"{path}: its libraries unpack to {size} bytes: more than a wheel's do")
    for member in libraries:
        wheel.extract(member, folder)
    measured = _measured(path, folder, devices)
    if out is None:
        for one in measured:
            progress(one)
        return measured
    around = Neighbours(folder)
    found = _replaced(folder, folder, measured, devices, around, progress)
    changed = {one.path.as_posix() for one in found if one.is_slimmed}
    if changed:
        _write_wheel(wheel, records, folder, changed, out / path.name)
    return found


def _write_wheel(
    wheel: zipfile.ZipFile,
    records: Mapping[str, list[list[str]]],
    folder: Path,
    changed: Collection[str],
    target: Path,
) -> None:
    """The same wheel, member by member, with the changed files and a true RECORD."""
    with scratch.file_beside(target) as (new, file):
        with os.fdopen(os.dup(file), "wb") as stream, zipfile.ZipFile(stream, "w") as copy:
            for member in wheel.infolist():
                info = zipfile.ZipInfo(member.filename, member.date_time)
                info.compress_type = member.compress_type
                info.external_attr = member.external_attr
                if rows := records.get(member.filename):
                    copy.writestr(info, _record(wheel, rows, folder, changed))
                    continue
                is_changed = member.filename in changed
                with (
                    (
                        (folder / member.filename).open("rb") if is_changed else wheel.open(member)
                    ) as source,
                    copy.open(info, "w", force_zip64=True) as entry,
                ):
                    shutil.copyfileobj(source, entry, _CHUNK)
        os.fchmod(file, 0o644)
        new.replace(target)


def _record(
    wheel: zipfile.ZipFile, rows: Sequence[list[str]], folder: Path, changed: Collection[str]
) -> bytes:
    for row in rows:
        if row and row[0] in changed:
            with wheel.open(row[0]) as old, (folder / row[0]).open("rb") as new:
                _update(row, old, new)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
