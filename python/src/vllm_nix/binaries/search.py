"""Finds a word of four bytes in megabytes: with the C library's wmemchr(3) where there is one.

It takes a third of memmem's time, which takes half of `re`'s, as it looks at aligned words alone, and
other threads go on meanwhile.
"""

import _thread  # without what threading takes to import
import mmap

from vllm_nix.light import once

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Find = Callable[[bytes | mmap.mmap, bytes, int, int], int]

_WORD = 4  # bytes
_PIECE = 1 << 24  # bytes; between two of them Ctrl-C is heard
# Bytes until importing ctypes has paid for itself, and of a range until asking for its address has.
_LITTLE, _SHORT = 1 << 22, 1 << 12


class Searcher:
    """Looks for one word, at every fourth byte from where a search starts; elsewhere too if these are not
    aligned in memory."""

    def __init__(self, word: bytes) -> None:
        assert len(word) == _WORD
        self._word = word
        self._searched = 0

    def find(self, data: bytes | mmap.mmap, start: int, end: int) -> int:
        """Where it begins in data[start:end], or `end`; `start` is aligned."""
        for found in self._pieces(data, start, end):
            if found >= 0:
                return found
        return end

    def ahead(self, data: bytes | mmap.mmap, start: int, end: int) -> "Ahead":
        """The same, by another thread: `Ahead.found`."""
        return Ahead(self._pieces(data, start, end), end)

    def is_large(self, size: int) -> bool:
        """Whether searching so many bytes is worth a thread."""
        return size >= _PIECE and bool(_wmemchr())

    def _pieces(self, data: bytes | mmap.mmap, start: int, end: int) -> "Iterator[int]":
        """Where it is in each piece, -1 for none."""
        while start < end:
            size = min(_PIECE, end - start)
            self._searched += size
            stop = min(start + size + _WORD - 1, end)
            is_much = size > _SHORT and self._searched > _LITTLE
            yield ((is_much and _wmemchr()) or _find)(data, self._word, start, stop)
            start += size


class Ahead:
    """A search under way. It is to be closed before its data are."""

    def __init__(self, pieces: "Iterator[int]", end: int) -> None:
        self._pieces = pieces
        self._found: int | Exception = end
        self._is_closed = False
        self._is_done = _thread.allocate_lock()
        self._is_done.acquire()
        _thread.start_new_thread(self._run, ())

    def found(self) -> int:
        with self._is_done:
            if isinstance(self._found, Exception):
                raise self._found
            return self._found

    def close(self) -> None:
        self._is_closed = True
        with self._is_done:
            pass

    def _run(self) -> None:
        try:
            for found in self._pieces:
                if found >= 0:
                    self._found = found
                if found >= 0 or self._is_closed:
                    break
        except Exception as error:  # noqa: BLE001 -- for who asks
            self._found = error
        finally:
            self._is_done.release()


def _find(data: bytes | mmap.mmap, word: bytes, start: int, end: int) -> int:
    found = data.find(word, start, end)
    while found >= 0 and (found - start) % _WORD:
        found = data.find(word, found + 1, end)
    return found


@once
def _wmemchr() -> "Find | None":
    """A function of data, word, start and end; -1 is nowhere. None without a C library that has it."""
    try:
        import ctypes

        class Buffer(ctypes.Structure):
            """Py_buffer, of the stable ABI since Python 3.11."""

            _fields_ = (
                ("buf", ctypes.c_void_p),
                ("obj", ctypes.py_object),
                ("len", ctypes.c_ssize_t),
                ("itemsize", ctypes.c_ssize_t),
                ("readonly", ctypes.c_int),
                ("ndim", ctypes.c_int),
                ("format", ctypes.c_char_p),
                *((name, ctypes.c_void_p) for name in ("shape", "strides", "offsets", "internal")),
            )

        find = ctypes.CDLL(None).wmemchr
        get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    except (ImportError, OSError, AttributeError):
        return None
    if ctypes.sizeof(ctypes.c_wchar) != _WORD:
        return None
    find.restype = ctypes.c_void_p
    find.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    get.argtypes = (ctypes.py_object, ctypes.POINTER(Buffer), ctypes.c_int)
    release.argtypes = (ctypes.POINTER(Buffer),)
    release.restype = None

    def wmemchr(data: bytes | mmap.mmap, word: bytes, start: int, end: int) -> int:
        buffer = Buffer()
        get(data, buffer, 0)  # raises BufferError by itself
        try:
            address: int = buffer.buf
            count = (min(end, buffer.len) - start) // _WORD
            if count <= 0:
                return -1
            if (address + start) % _WORD:  # as of a member of an archive, which may have a billion
                return data.find(word, start, end)
            number = ctypes.c_int.from_buffer_copy(word).value
            found: int | None = find(address + start, number, count)
            return -1 if found is None else found - address
        finally:
            release(buffer)

    return wmemchr
