"""A closure of the Nix store in one file, for machines without Nix and without a network.

The file is a tar archive (POSIX.1-2001: ustar, pax where that is too small) of the closure's paths and of a link in opt/, compressed. It
is compressed in frames of a fixed amount of input, each by a process of its own, so that the same closure
gives the same bytes on any number of processors, and a run that was interrupted goes on after the last
whole frame. Both .zst (RFC 8878, 3.1) and .xz (its format, 2) allow frames one after another.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import subprocess
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.process import ask
from vllm_nix.since_311 import Self, file_digest
from vllm_nix.store import closure, store_dir
from vllm_nix.text import printable

# By the end of a file's name: a program that compresses, and how. -3 makes 5 % less of it in 1.4 times the time,
# xz takes 20 times as long.
COMPRESSORS = {".tar.zst": ("zstd", "-2", "--single-thread"), ".tar.xz": ("xz", "-6", "-T1")}
SUMS = "SHA256SUMS"
UNPACK = "unpack.sh"
MOST_PARTS = 9999  # four digits
_FRAME = 1 << 25  # bytes of input, about
_PIPE = 1 << 20  # bytes; the most that Linux gives any user
_WORKERS = 8
_FORMAT = 1  # to be raised when the same closure gives other bytes
_MTIME = 1  # as in the store: Python compares it with what is byte-compiled
_WHOLE = "whole"
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30}


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written: the `parts` in order, bytes of the archive (`before`) and of the parts (`after`),
    and the bytes that an interrupted run had left (`kept`)."""

    parts: tuple[Path, ...]
    link: Path
    before: int
    after: int
    kept: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member of the archive. `target` is a link's; `size` is of the content."""

    path: str
    kind: bytes
    mode: int
    size: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes `start` to `stop` of an entry's content; with its header if they are the first."""

    entry: _Entry
    start: int
    stop: int


Progress = Callable[[int, int], None]


def split_size(text: str) -> int:
    """Bytes of a size as split(1) takes it: 60M, 2G, 500K or a number. Raises `InputError`."""
    match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", text)
    if not match or not int(match[1]):
        raise InputError(f"--split {printable(text)}: expected a size such as 60M or 2G")
    return int(match[1]) << _UNITS[match[2]]


def write_bundle(
    environment: Path,
    out: Path,
    *,
    split: int | None = None,
    paths: Sequence[Path] | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Bundle:
    """Writes the closure of `environment` to `out`, or to parts of `split` bytes named `out`.0000 ...;
    beside them SHA256SUMS and unpack.sh. `paths` is the closure where Nix cannot be asked.

    Everything is written in a folder `out`.partial, and gets its name at the end; if that is there, the
    run that left it is continued. Raises InputError for what is refused, Unavailable where the disk is full
    or a program is missing.
    """
    program, *options = _compressor(out)
    top = _store_path(environment)
    paths = sorted(closure(top) if paths is None else _checked(paths, top))
    name = top.name.partition("-")[2]
    link = Path("/opt", name)
    entries = [entry for path in paths for entry in _entries(path)]
    entries.append(_Entry(str(link), tarfile.SYMTYPE, 0o777, target=str(top)))
    total = sum(entry.size for entry in entries)
    if split and total > split * MOST_PARTS:
        raise InputError(
            f"--split {split}: {total} bytes could take more than {MOST_PARTS} parts; "
            f"it must be at least {-(-total // MOST_PARTS)}"
        )
    version = ask([program, "--version"]).stdout
    key = [_FORMAT, _FRAME, version, *options, split, *paths]
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).hexdigest()
    compress = [program, *options, "-q", "-c"]
    with _full_disk(out), _Parts(out, digest, split) as parts:
        done = kept = parts.size
        frames = deque(list(_frames(entries))[parts.frames :])
        before = total - sum(_content(frame) for frame in frames)
        for frame, data in _compressed(frames, compress):
            parts.write(data)
            before += _content(frame)
            done += len(data)
            progress(before, total)
        files = parts.finish(_script(parts.names, Path(program).name, name))
    return Bundle(tuple(files), link, total, done, kept)


def _compressor(out: Path) -> list[str]:
    found = [words for end, words in COMPRESSORS.items() if out.name.endswith(end)]
    # As sha256sum and a shell take it without quoting.
    if not found or not re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]*", out.name):
        ends = " or ".join(COMPRESSORS)
        raise InputError(f"-o {printable(out)}: expected a plain file name that ends in {ends}")
    name, *options = found[0]
    program = shutil.which(name)
    if not program:
        raise Unavailable(f"{name} is not on PATH; apt-get install {name}")
    return [program, *options]


def _store_path(environment: Path) -> Path:
    """The store path that `environment` is, or a link to it."""
    real = Path(os.path.realpath(environment))
    store = Path(os.path.realpath(store_dir()))
    if not real.is_relative_to(store):
        if not real.exists():
            raise InputError(f"{environment} is not there; build one: nix build .#vllm-cpu")
        raise InputError(
            f"{environment} is not in the Nix store, so nothing says what it needs; bundle what "
            "`nix build .#vllm-cpu` built, or take a virtual environment's wheels along: "
            "pip freeze > all.txt; pip download -r all.txt"
        )
    if real == store:
        raise InputError(f"{environment} is the whole Nix store; name what `nix build` built in it")
    if real.parent != store:
        raise InputError(f"{environment} is a part of an environment; name the whole: {_top(real)}")
    if real.suffix == ".drv":
        raise InputError(f"{environment} is not built; build it: nix-store --realise {real}")
    if not real.is_dir():
        raise InputError(f"{environment} is not an environment: expected a folder of the store")
    return real


def _top(path: Path) -> Path:
    return store_dir() / path.relative_to(os.path.realpath(store_dir())).parts[0]


def _checked(paths: Iterable[Path], top: Path) -> list[Path]:
    found = set(paths)
    for path in found:
        if path.parent != store_dir() or not os.path.lexists(path):
            raise InputError(f"--store-paths: {path} is not a path of the store {store_dir()}")
    if top not in found:
        raise InputError(f"--store-paths: {top} itself is missing")
    return list(found)


def _entries(path: Path) -> Iterator[_Entry]:
    """All below a store path, sorted; modes as the store has them, whatever a file system adds."""
    yield from _entry(str(path), path.lstat())


def _entry(path: str, status: os.stat_result) -> Iterator[_Entry]:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        yield _Entry(path, tarfile.SYMTYPE, 0o777, target=os.readlink(path))  # noqa: PTH115
    elif stat.S_ISREG(mode):
        yield _Entry(path, tarfile.REGTYPE, 0o555 if mode & 0o100 else 0o444, status.st_size)
    elif stat.S_ISDIR(mode):
        yield _Entry(path, tarfile.DIRTYPE, 0o555)
        with os.scandir(path) as found:
            children = sorted(found, key=lambda child: os.fsencode(child.name))
        for child in children:
            yield from _entry(child.path, child.stat(follow_symlinks=False))
    else:
        raise Error(f"{path} is neither a file, a folder nor a link: the store is damaged")


def _frames(entries: Iterable[_Entry]) -> Iterator[list[_Piece]]:
    """The archive in pieces of about `_FRAME` bytes; where it is cut follows from sizes alone."""
    frame: list[_Piece] = []
    room = _FRAME
    for entry in entries:
        start = 0
        while True:
            stop = min(entry.size, start + max(room, 1))
            frame.append(_Piece(entry, start, stop))
            room -= stop - start + 2 * tarfile.BLOCKSIZE
            if room <= 0:
                yield frame
                frame, room = [], _FRAME
            if stop == entry.size:
                break
            start = stop
    if frame:
        yield frame
    yield []  # the archive's end


def _content(frame: Iterable[_Piece]) -> int:
    return sum(piece.stop - piece.start for piece in frame)


def _compressed(
    frames: deque[list[_Piece]], command: Sequence[str]
) -> Iterator[tuple[list[_Piece], bytes]]:
    """Each frame and what became of it, in order; as many at a time as there are processors."""
    workers = min(_WORKERS, len(os.sched_getaffinity(0)))
    running: deque[tuple[list[_Piece], Future[bytes]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while frames or running:
                while frames and len(running) <= workers:
                    frame = frames.popleft()
                    running.append((frame, pool.submit(_compress, frame, command)))
                frame, future = running.popleft()
                yield frame, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _compress(frame: Sequence[_Piece], command: Sequence[str]) -> bytes:
    """A filter without an environment, which could hold options; it ends when its input does."""
    with _in_memory() as packed, _in_memory() as words:
        # A pipe that breaks is a filter that has failed, and says why.
        with (
            suppress(BrokenPipeError),
            subprocess.Popen(
                command, _PIPE, stdin=-1, stdout=packed, stderr=words, env={}
            ) as filter_,
        ):
            assert filter_.stdin
            with suppress(OSError):  # of Linux's default, where a user has no more
                fcntl.fcntl(filter_.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
            _feed(frame, filter_.stdin)
        if filter_.returncode:
            words.seek(0)
            text = words.read().decode(errors="replace").strip()
            raise Unavailable(f"{command[0]} failed: {text or f'exit status {filter_.returncode}'}")
        packed.seek(0)
        return packed.read()


def _in_memory() -> BinaryIO:
    return os.fdopen(os.memfd_create("vllm-nix"), "w+b")


def _feed(frame: Sequence[_Piece], pipe: IO[bytes]) -> None:
    """What is large goes from the disk's cache to the filter by the kernel alone."""
    for piece in frame:
        entry, size = piece.entry, piece.stop - piece.start
        if not piece.start:
            pipe.write(_header(entry))
        if entry.kind != tarfile.REGTYPE:
            continue
        with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123, a Path costs a third more
            if size < _PIPE:
                done = pipe.write(os.pread(file.fileno(), size, piece.start))
            else:
                pipe.flush()
                done = _send(file, piece.start, size, pipe)
        if done != size:
            raise Error(f"{entry.path} changed while it was read: the store is damaged")
        if piece.stop == entry.size:
            pipe.write(bytes(-entry.size % tarfile.BLOCKSIZE))
    if not frame:
        pipe.write(bytes(2 * tarfile.BLOCKSIZE))


def _send(file: IO[bytes], start: int, size: int, pipe: IO[bytes]) -> int:
    done = 0
    while done < size and (
        more := os.sendfile(pipe.fileno(), file.fileno(), start + done, size - done)
    ):
        done += more
    return done


def _header(entry: _Entry) -> bytes:
    info = tarfile.TarInfo(entry.path.lstrip("/"))
    info.type, info.mode, info.size = entry.kind, entry.mode, entry.size
    info.linkname, info.mtime = entry.target, _MTIME
    if entry.path.isascii():
        with suppress(ValueError):  # for what does not fit into a header of 1988's tar
            return info.tobuf(tarfile.USTAR_FORMAT)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class _Parts:
    """The compressed stream, in files of `split` bytes, and a journal with the size and checksum of each frame
    in it. `size` and `frames` are what is there already, of the same closure and whole."""

    def __init__(self, out: Path, digest: str, split: int | None) -> None:
        self.out, self.digest, self.split = out, digest, split
        self.folder = out.with_name(f"{out.name}.partial")
        self.size = self.frames = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        journal = self.folder / "journal"
        if self.folder.exists() and not journal.is_file():
            raise InputError(f"{self.folder} is there, and no run left it; name another -o")
        if not self.folder.exists():
            self._refuse_existing()
            self.folder.mkdir()
        self._journal = journal.open("a+", encoding="ascii")
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._journal.close()
            raise InputError(f"{self.out} is being written by another process") from None
        self._journal.seek(0)
        key, *lines = self._journal.read().splitlines() or [""]
        if _WHOLE in lines:  # it was being named
            for file in (*self._named(), self.out.with_name(SUMS), self.out.with_name(UNPACK)):
                if os.path.lexists(file):
                    file.replace(self.folder / file.name)
        else:
            self._refuse_existing()
        self._keep(lines if key == self.digest else [])
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
        self._journal.close()

    @property
    def names(self) -> list[str]:
        """The parts written so far, in order."""
        if not self.split:
            return [self.out.name]
        return [f"{self.out.name}.{number:04}" for number in range(-(-self.size // self.split))]

    def write(self, data: bytes) -> None:
        """Appends a frame."""
        rest = memoryview(data)
        while rest:
            room = self.split - self.size % self.split if self.split else len(rest)
            if self._file is None or room == self.split:
                if self._file:
                    self._file.close()
                self._file = (self.folder / self._part(self.size)).open("ab")
            written = self._file.write(rest[:room])
            self.size += written
            rest = rest[written:]
        assert self._file
        self._file.flush()
        self._note(f"{len(data)} {zlib.crc32(data)}")

    def finish(self, script: str) -> list[Path]:
        """Gives all their names; SHA256SUMS comes last."""
        if self._file:
            self._file.close()
        (self.folder / UNPACK).write_text(script, encoding="ascii")
        (self.folder / UNPACK).chmod(0o755)
        names = [*self.names, UNPACK]
        sums = [f"{_sha256(self.folder / name)}  {name}\n" for name in names]
        (self.folder / SUMS).write_text("".join(sums), encoding="ascii")
        self._note(_WHOLE)
        for name in (*names, SUMS):
            (self.folder / name).replace(self.out.with_name(name))
        (self.folder / "journal").unlink()
        self.folder.rmdir()
        return [self.out.with_name(name) for name in names[:-1]]

    def _part(self, offset: int) -> str:
        return f"{self.out.name}.{offset // self.split:04}" if self.split else self.out.name

    def _note(self, line: str) -> None:
        self._journal.write(f"{line}\n")
        self._journal.flush()

    def _named(self) -> list[Path]:
        """Parts that have their names."""
        part = re.compile(re.escape(self.out.name) + r"([.][0-9]{4})?")
        return sorted(each for each in self.out.parent.iterdir() if part.fullmatch(each.name))

    def _refuse_existing(self) -> None:
        for file in (*self._named(), self.out.with_name(SUMS), self.out.with_name(UNPACK)):
            if os.path.lexists(file):
                raise InputError(f"{file} is there already; remove it, or name another folder")

    def _keep(self, lines: Sequence[str]) -> None:
        """Keeps the frames that are what the journal says, and removes all behind them."""
        files = sorted(self.folder.glob(f"{self.out.name}*"))
        good = list(_whole_frames(lines, files))
        self.size, self.frames = sum(good), len(good)
        left = self.size
        for file in files:
            size = min(left, file.stat().st_size)
            if size:
                os.truncate(file, size)
            else:
                file.unlink()
            left -= size
        if self.size:
            self._file = (self.folder / self._part(self.size - 1)).open("ab")
        for name in (SUMS, UNPACK):
            (self.folder / name).unlink(missing_ok=True)
        self._journal.truncate(0)
        self._note("\n".join([self.digest, *lines[: self.frames]]))


def _whole_frames(lines: Iterable[str], files: Sequence[Path]) -> Iterator[int]:
    """The sizes of the frames in these files, until one is not as its line says."""
    chunks = _Chunks(files)
    for line in lines:
        size, _, checksum = line.partition(" ")
        if not size.isdigit() or str(zlib.crc32(chunks.read(int(size)))) != checksum:
            return
        yield int(size)


class _Chunks:
    """Reads files as if they were one."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = deque(files)
        self._offset = 0

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and self._files:
            with self._files[0].open("rb") as file:
                file.seek(self._offset)
                piece = file.read(size - len(data))
            self._offset += len(piece)
            data += piece
            if not piece:
                self._files.popleft()
                self._offset = 0
        return data


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@contextmanager
def _full_disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unavailable(
            f"{out.parent}: no room left on the disk; {out.name}.partial has what is done, "
            "and the same command goes on from there"
        ) from None


def _script(parts: Sequence[str], program: str, name: str) -> str:
    values = {
        "@parts@": " ".join(parts),
        "@program@": program,
        "@name@": name,
        "@store@": str(store_dir()),
    }
    text = Path(__file__).with_name(UNPACK).read_text(encoding="ascii")
    return re.sub("|".join(values), lambda match: values[match[0]], text)
