"""The GPU code of an environment's libraries, read once for all the checks that judge it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vllm_nix.archs import Library, walk
from vllm_nix.compat import Judgement, Verdict, judge, judge_library
from vllm_nix.devices import Device
from vllm_nix.fatbin import Container


@dataclass(slots=True)
class GpuCode:
    """The libraries below `folder` that carry GPU code to run."""

    folder: Path
    _libraries: tuple[Library, ...] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def libraries(self) -> tuple[Library, ...]:
        with self._lock:
            if self._libraries is None:
                self._libraries = tuple(lib for lib in walk(self.folder) if lib.containers)
            return self._libraries

    def judged(self, device: Device) -> Iterator[tuple[Library, Judgement]]:
        """What a device makes of each library."""
        for library in self.libraries():
            yield library, judge_library(library, device)


def is_refused(container: Container, device: Device) -> bool:
    """Whether PTX is what the device would run, were it not too new for its driver."""
    if judge(container, device) is not Verdict.MISSING:
        return False
    return any(
        entry.kind == "ptx"
        and judge(replace(container, entries=(entry,)), device) is Verdict.MISSING
        for entry in container.entries
    )


def has_refused(library: Library, device: Device) -> bool:
    """Whether a library runs nowhere on the device because its PTX is too new for the driver."""
    return any(is_refused(container, device) for container in library.containers)
