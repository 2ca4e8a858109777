"""What the checks share: all that is read from an environment's files, each once, by who asks first."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import TEXT, Found, go_on, read_binaries, walk
from vllm_nix.binaries.symbols import Symbols, Versions, read_symbols, read_versions
from vllm_nix.gpu.compat import Judgement, judge_library
from vllm_nix.gpu.device import Device
from vllm_nix.gpu.fatbin import is_start
from vllm_nix.gpu.libraries import Library, read_libraries
from vllm_nix.paths import real
from vllm_nix.verification.installed import Distribution, Records, read_records
from vllm_nix.verification.packages import Packages

MOST_SYMBOLS = (
    1 << 22
)  # of all libraries that are asked for; those of torch for the CPU have 87,000
# Files may have holes, and be larger than any disk. All of vllm-cuda takes 8.5 GB.
LARGEST_LIBRARY, MOST_GPU_CODE = 1 << 33, 1 << 36  # bytes of one, and of all
T = TypeVar("T")
K = TypeVar("K")


@dataclass(slots=True)
class Once(Generic[K, T]):
    """A function whose values are worked out once for each argument, from whichever threads.

    What it raises, it raises for all who ask.
    """

    make: Callable[[K], T]
    _known: dict[K, T | Exception] = field(default_factory=dict)
    _locks: dict[K, threading.Lock] = field(default_factory=dict)

    def __call__(self, key: K) -> T:
        with self._locks.setdefault(key, threading.Lock()):
            if key not in self._known:
                try:
                    self._known[key] = self.make(key)
                except Exception as error:  # noqa: BLE001 -- it is raised below
                    self._known[key] = error
            value = self._known[key]
        if isinstance(value, Exception):
            raise value
        return value


class Facts:
    """The files of the `packages` of an environment whose folder is `root`; links may lead into
    `root` and the Nix store. `stop` ends all reading with an InterruptedError."""

    def __init__(
        self,
        root: Path,
        packages: Packages,
        distributions: tuple[Distribution, ...],
        stop: threading.Event,
    ) -> None:
        self.stop = stop
        first, *folders = packages.folders
        sources = [place for places in packages.sources.values() for place in places]
        sources += [place for place in packages.spread.values() if place.suffix not in TEXT]
        self._records = Once[None, Records](
            lambda _: read_records(distributions, first, root, stop)
        )
        self._binaries = Once[None, Found](
            lambda _: read_binaries(walk(first, [root], stop, [*folders, *sources]), stop)
        )
        self._real = Once[Path, Path](real)
        self._symbols = Once[Path, Symbols](self._read_symbols)
        self._symbols_left = MOST_SYMBOLS
        self._versions = Once[Path, Versions](read_versions)
        self._gpu_code = Once[None, tuple[Library, ...]](lambda _: self._read_gpu_code())
        self._judged = Once[Device, tuple[tuple[Library, Judgement], ...]](self._judge)

    def records(self) -> Records:
        """All RECORDs."""
        return self._records(None)

    def binaries(self) -> Found:
        """The headers of all binaries."""
        return self._binaries(None)

    def symbols(self, file: Path) -> Symbols:
        """The dynamic symbols of a library, inside the environment or not. Raises ElfError or OSError."""
        return self._symbols(self._real(file))

    def versions(self, file: Path) -> Versions:
        """The versions of a library's symbols. Raises ElfError or OSError."""
        return self._versions(self._real(file))

    def gpu_code(self) -> tuple[Library, ...]:
        """The libraries that carry GPU code, or something that cannot be read."""
        return self._gpu_code(None)

    def judged(self, device: Device) -> tuple[tuple[Library, Judgement], ...]:
        """What a device makes of each library that carries GPU code, as far as it can be read."""
        return self._judged(device)

    def _read_symbols(self, file: Path) -> Symbols:
        go_on(self.stop)
        if self._symbols_left < 0:
            raise ElfError(f"more than {MOST_SYMBOLS} symbols in all: the rest is not read")
        symbols = read_symbols(file)
        self._symbols_left -= len(symbols.defined) + len(symbols.needed)
        return symbols

    def _read_gpu_code(self) -> tuple[Library, ...]:
        found = self.binaries()
        others = [path for path, head in found.rest.items() if is_start(head[:8])]
        few, too_large, left = {}, [], MOST_GPU_CODE
        for path in (*found.images, *found.broken, *others):
            status = found.tree.files[path]
            size = status.st_size
            if size > min(left, LARGEST_LIBRARY):
                too_large.append(Library(path, (), (f"{size} bytes are more than we read",)))
                continue
            left -= size
            few[path] = status
        libraries = (*read_libraries(few, self.stop), *too_large)
        return tuple(library for library in libraries if library.fatbins or library.damage)

    def _judge(self, device: Device) -> tuple[tuple[Library, Judgement], ...]:
        return tuple(
            (library, judge_library(library, device))
            for library in self.gpu_code()
            if library.fatbins
        )
