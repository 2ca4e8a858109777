"""The GPU code of an environment's libraries, read once for all the checks that judge it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vllm_nix.gpu.compat import Judgement, Verdict, judge, judge_library
from vllm_nix.gpu.device import Device
from vllm_nix.gpu.fatbin import Fatbin
from vllm_nix.gpu.inventory import RUNS, Library, walk


@dataclass(slots=True)
class GpuCode:
    """The libraries below `folder` that carry GPU code, or something that cannot be read."""

    folder: Path
    _libraries: tuple[Library, ...] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def libraries(self) -> tuple[Library, ...]:
        with self._lock:
            if self._libraries is None:
                self._libraries = tuple(
                    library
                    for library in walk(self.folder)
                    if (library.fatbins or library.damage)
                    and library.path.suffix != ".debug"  # see `elf_files`
                )
            return self._libraries

    def judged(self, device: Device) -> Iterator[tuple[Library, Judgement]]:
        """What a device makes of each library that carries GPU code, as far as it can be read."""
        for library in self.libraries():
            if library.fatbins:
                yield library, judge_library(library, device)


def unread(library: Library) -> str:
    """What of a library's GPU code cannot be read; "" if all can."""
    more = len(library.damage) - 1
    return "".join(library.damage[:1]) + (f"; and {more} more" if more > 0 else "")


def is_refused(fatbin: Fatbin, device: Device) -> bool:
    """Whether PTX is what the device would run, were it not too new for its driver."""
    if judge(fatbin, device) is not Verdict.MISSING:
        return False
    return any(
        entry.kind == "ptx" and judge(replace(fatbin, entries=(entry,)), device) is Verdict.MISSING
        for entry in fatbin.entries
    )


def has_refused(library: Library, device: Device) -> bool:
    """Whether a library runs nowhere on the device because its PTX is too new for the driver."""
    return any(is_refused(one, device) for one in library.fatbins if one.role in RUNS)
