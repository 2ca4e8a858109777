"""pkgs/vllm-nix/archs beside the library: it prints the same, or leaves the file to Python."""

import ctypes
import fcntl
import io
import os
import pty
import resource
import shutil
import struct
import subprocess
import termios
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_binaries import (
    ALLOC,
    CUBIN,
    EXECUTE,
    NOBITS,
    OBJECTS,
    PTX,
    STUB,
    Part,
    archive,
    cubin,
    elf_file,
    entry,
    fatbin_of,
    shared_library,
)

from vllm_nix import cli
from vllm_nix.binaries import notes, search

SOURCES = Path(__file__).parents[3] / "pkgs/vllm-nix/archs"
NOTE, IN_OPEN = 4, 0x20
ZSTD, A, F = 0x8011, 0x100011, 0x200011
HOST = fatbin_of(
    entry(CUBIN, 80, cubin(80, "add")),
    entry(CUBIN, 90, b"\x28\xb5\x2f\xfd....", flags=ZSTD | A, uncompressed=4936, name=b"k.cu"),
    entry(CUBIN, 100, cubin(100, "add"), flags=F, options=b"-x" * 9),
    entry(PTX, 90, version=(8, 10)),
    entry(PTX, 90, version=(8, 4)),
    entry(PTX, 90, version=(8, 4)),
)
CODE = Part(".nv_fatbin", HOST)
CUDA = elf_file(
    Part(".text", b"\x90" * 16, flags=ALLOC | EXECUTE),
    Part(".nv_fatbin", STUB + bytes(24) + HOST + bytes(8) + HOST + bytes(3)),
    Part("__nv_relfatbin", OBJECTS),
    Part(".data", b"a word  " + STUB + HOST[:16] + b"a program's constant"),
    Part(".rodata", b"odd" + HOST[:7] + bytes(1 << 18) + OBJECTS),
    Part(".eh_frame", HOST),
    Part(".bss", bytes(1 << 12), type=NOBITS),
)


def marked(text: bytes) -> bytes:
    """With a note of ours."""
    image = bytearray(elf_file(CODE, Part(".note", notes.pack(text)), interpreter=b"/ld.so\0"))
    place = image.index(b"vllm-nix\0") - 12
    size = struct.unpack_from("<II", image, place)[1] + 24
    struct.pack_into("<IIQQQQQQ", image, 64, NOTE, 4, place, place, 0, size, size, 4)
    return bytes(image)


def noted(size: int, *segments: int) -> bytes:
    """With zeros, so many empty notes, and segments of them from these offsets on."""
    image = bytearray(elf_file(Part(".note", bytes(size))))
    start = image.index(bytes(size))
    struct.pack_into("<Q", image, 32, len(image))
    struct.pack_into("<H", image, 56, len(segments))
    for offset in segments:
        image += struct.pack("<IIQQQQQQ", NOTE, 4, start + offset, 0, 0, size - offset, 0, 4)
    return bytes(image)


def patched(image: bytes, offset: int, data: bytes) -> bytes:
    return image[:offset] + data + image[offset + len(data) :]


ONE = fatbin_of(entry(PTX, 90, version=(8, 4)))
ODD = patched(patched(ONE + b"odd", 8, struct.pack("<Q", 75)), 24, struct.pack("<Q", 11))
SAME = {
    "all": CUDA,
    "a host without GPU code": elf_file(Part(".text", b"\x90" * 16, flags=ALLOC | EXECUTE)),
    "a stub alone": elf_file(Part(".nv_fatbin", STUB)),
    "objects alone": elf_file(Part("__nv_relfatbin", OBJECTS)),
    "one that loads": shared_library([HOST, STUB], [OBJECTS]),
    "names": elf_file(CODE, interpreter=b"/ld.so\0", tags=[(1, b"libc.so.6"), (14, b"me.so")]),
    "slim": marked(b'{"slimmed-for": ["9.0", "12.0f"], "cuda": "13.0"}'),
    "slim, without a CUDA": marked(b'{"slimmed-for": ["8.7"], "cuda": null}'),
    "a cubin without sections": elf_file(
        Part(".nv_fatbin", fatbin_of(entry(CUBIN, 90, elf_file(section_headers=False))))
    ),
    "more than one reads at once": elf_file(
        Part(".nv_fatbin", bytes(1 << 17) + HOST + bytes(1 << 17) + STUB + bytes(9)),
        Part(".data", bytes(1 << 17) + HOST + bytes(1 << 17) + STUB + bytes(8)),
    ),
    "an odd size": elf_file(
        Part(".nv_fatbin", ODD + bytes(5) + HOST),
        Part(".data", 4 * (ODD + b"13 characters") + HOST),
    ),
    "notes": noted(1 << 10, 0, 8, 0),
}
FIRST = CUDA.index(STUB)
DAMAGED = {
    "a kind that is not known": elf_file(Part(".nv_fatbin", fatbin_of(entry(16, 90)))),
    "garbage between fatbins": elf_file(Part(".nv_fatbin", STUB + b"garbage." + HOST)),
    "garbage at the end": elf_file(Part(".nv_fatbin", STUB + b"odd")),
    "a fatbin cut off": elf_file(Part(".nv_fatbin", HOST[:-8])),
    "an empty fatbin": elf_file(Part(".nv_fatbin", fatbin_of())),
    "an entry cut off": patched(CUDA, FIRST + 8, struct.pack("<Q", 40)),
    "an entry's header": patched(CUDA, FIRST + 16 + 4, struct.pack("<I", 63)),
    "an entry's size": patched(CUDA, FIRST + 16 + 8, struct.pack("<Q", 2**64 - 8)),
    "an entry's name": patched(CUDA, FIRST + 16 + 36, struct.pack("<I", 65)),
    "a compressed size": patched(CUDA, FIRST + 16 + 16, struct.pack("<I", 1 << 20)),
    "a cubin": patched(CUDA, FIRST + 16 + 64, b"text"),
    "code at the end of data": elf_file(Part(".data", HOST[:16]), Part(".rodata", HOST[16:])),
    "a mark": marked(b'{"slimmed-for": ["9.0"'),
    "a mark of nothing": marked(b'{"slimmed-for": ["GPU"], "cuda": null}'),
    "megabytes of notes": noted(1 << 20, *range(0, 4096, 8)),
    "cut off": CUDA[:-1],
    "a name without an end": elf_file(CODE, interpreter=b"/ld.so"),
    "no names": patched(CUDA, 62, b"\0\0"),
    "no section headers": elf_file(CODE, section_headers=False),
    "32 bits": patched(CUDA, 4, b"\1"),
    "an archive": archive(("k.o", CUDA)),
    "a bare fatbin": HOST,
    "a bare cubin": cubin(90, "add"),
    "a wheel": b"PK\3\4",
    "nothing": b"",
    "text": b"text",
}

# In Python's place: says which signals are ignored, and the first descriptor that is free.
LEFT = """
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static int is_ignored(int number) { return signal(number, SIG_DFL) == SIG_IGN; }
int main(void) {
  fprintf(stderr, "left %d %d %d", is_ignored(SIGPIPE), is_ignored(SIGXFSZ), dup(STDERR_FILENO));
}
"""
Reader = Callable[..., "str | None"]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc") or not SOURCES.exists():
        pytest.skip("needs gcc and the repository")
    program = tmp_path_factory.mktemp("left") / "left"
    subprocess.run(["gcc", "-xc", "-", "-o", program], input=LEFT.encode(), check=True)
    return program


@pytest.fixture(scope="module")
def reader(left: Path) -> Reader:
    """What it prints with some words; None if it leaves them to Python."""
    program = left.with_name("vllm-nix")
    command = ["gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    command += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error", "-D_GNU_SOURCE"]
    command += [f'-DCOMMAND="{left}"', *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(program)]
    with_memory = [*command, "-fsanitize=address", "-static-libasan"]
    if subprocess.run(with_memory, check=False, capture_output=True).returncode:
        subprocess.run(command, check=True)  # not every gcc has that library

    def read(
        *words: object, stdout: int = subprocess.PIPE, ignored: int = 0, **environment: str
    ) -> str | None:
        done = subprocess.run(
            [program, *map(str, words)],
            check=False,
            stdout=stdout,
            stderr=subprocess.PIPE,
            restore_signals=not ignored,  # what Python ignores
            env={"ASAN_OPTIONS": "detect_leaks=0", **environment},
        )
        if done.stderr == f"left {ignored} {ignored} 3".encode():
            assert not done.stdout
            return None
        assert (done.returncode, done.stderr) == (0, b"")
        return (done.stdout or b"").decode()

    return read


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "lib.so"


def in_python(file: Path) -> tuple[int, str, str]:
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        status = cli.main(["archs", str(file)])
    return status, output.getvalue(), errors.getvalue()


@pytest.mark.parametrize("name", SAME)
def test_the_same(reader: Reader, file: Path, name: str) -> None:
    file.write_bytes(SAME[name])
    assert in_python(file) == (0, reader("archs", file), "")


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_or_rare_is_left(reader: Reader, file: Path, name: str) -> None:
    file.write_bytes(DAMAGED[name])
    assert reader("archs", file) is None


def test_a_hole_is_left(reader: Reader, file: Path) -> None:
    """To read one takes longer than to map it."""
    file.write_bytes(CUDA)
    os.truncate(file, 1 << 33)
    assert reader("archs", file) is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["archs"],
        ["archs", ""],
        ["archs", "-h"],
        ["archs", "lib.so", "lib.so"],
        ["archs", "--json", "lib.so"],
        ["verify", "lib.so"],
        *(
            ["archs", path]
            for path in ("./lib.so", ".", "..//lib.so", "lib.so/.", "gone", "/dev/null")
        ),
        *(
            ["archs", path]
            for path in ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "a\nb", "lib.whl")
        ),
    ],
    ids=" ".join,
)
def test_other_words_are_left(
    reader: Reader, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lib.so", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "a\nb", "lib.whl"):
        Path(name).write_bytes(CUDA)
    assert reader(*words) is None
    assert reader("archs", "lib.so") is not None


@pytest.mark.parametrize(
    ("environment", "is_left"),
    [
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C", "LANG": "de_DE.ISO-8859-1"}, False),
        ({"LC_ALL": "POSIX"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "de_DE"}, True),
        ({"PYTHONIOENCODING": "ascii"}, True),
        ({"PYTHONUTF8": "0"}, True),
    ],
)
def test_what_is_not_printed_in_utf8_is_left(
    reader: Reader, file: Path, environment: dict[str, str], is_left: bool
) -> None:
    file.write_bytes(CUDA)
    assert (reader("archs", file, **environment) is None) == is_left


def test_what_cannot_be_written_is_left(reader: Reader, file: Path) -> None:
    """Python says why, and ends with the right status."""
    file.write_bytes(CUDA)
    full = os.open("/dev/full", os.O_WRONLY)
    ours, reading = os.pipe()
    os.close(ours)
    try:
        assert reader("archs", file, stdout=full) is None
        assert reader("archs", file, stdout=full, ignored=1) is None
        assert reader("archs", file, stdout=reading) is None
    finally:
        os.close(full)
        os.close(reading)


def test_a_limit_of_what_is_written_is_left(reader: Reader, file: Path, tmp_path: Path) -> None:
    file.write_bytes(CUDA)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "output").open("wb") as output:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            assert reader("archs", file, stdout=output.fileno()) is None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_pipe_is_not_opened(reader: Reader, tmp_path: Path) -> None:
    """Who waits to write into it would go on; a device may act."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    library = ctypes.CDLL(None)
    watch = library.inotify_init1(os.O_NONBLOCK)
    try:
        assert library.inotify_add_watch(watch, bytes(pipe), IN_OPEN) > 0
        assert reader("archs", pipe) is None
        with pytest.raises(BlockingIOError):
            os.read(watch, 4096)
    finally:
        os.close(watch)


def test_words_that_are_not_aligned_are_no_headers(
    reader: Reader, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python counted those where it searches without wmemchr, up to its limit."""
    monkeypatch.setattr(search, "_wmemchr", lambda: None)
    file.write_bytes(elf_file(Part(".data", (b"." + HOST[:4] + bytes(3)) * (1 << 18))))
    assert in_python(file) == (0, reader("archs", file), "")


def test_without_the_command_it_says_so(reader: Reader, left: Path) -> None:
    left.rename(left.with_name("away"))
    try:
        done = subprocess.run([left.with_name("vllm-nix")], check=False, capture_output=True)
    finally:
        left.with_name("away").rename(left)
    said = f"vllm-nix: {left}: No such file or directory; install it again\n"
    assert (done.returncode, done.stderr.decode()) == (1, said)


def test_a_narrow_terminal_is_left(reader: Reader, file: Path) -> None:
    file.write_bytes(CUDA)
    master, terminal = pty.openpty()
    try:
        for columns, is_left in ((400, False), (80, True), (0, True)):
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            assert (reader("archs", file, stdout=terminal) is None) == is_left
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 400, 0, 0))
        assert reader("archs", file, stdout=terminal, COLUMNS="90") is None
    finally:
        os.close(master)
        os.close(terminal)


NUMBERS = st.sampled_from(
    [0, 1, 7, 8, 15, 16, 63, 64, 65, 1 << 16, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1]
)


@given(data=st.data())
def test_damage_anywhere(reader: Reader, file: Path, data: st.DataObject) -> None:
    image = bytearray(SAME[data.draw(st.sampled_from(list(SAME)))])
    for _ in range(data.draw(st.integers(1, 3))):
        # Headers are most of a small file; the large one's zeros say little.
        offset = data.draw(st.integers(0, min(len(image), 4096) - 8))
        offset = data.draw(st.sampled_from([offset, len(image) - 8 - offset]))
        size = data.draw(st.sampled_from([1, 2, 4, 8]))
        number = data.draw(NUMBERS | st.integers(0, len(image)))
        image[offset : offset + size] = (number % (1 << 8 * size)).to_bytes(size, "little")
    file.write_bytes(image)
    said = reader("archs", file)
    assert said is None or in_python(file) == (0, said, "")
