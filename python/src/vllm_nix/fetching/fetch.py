"""Fetches source files into the Nix store: what is missing, by its own client, checked by hash."""

import errno
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.fetching.apt import download_debs, find_mirror, read_member
from vllm_nix.fetching.cache import Cache, check_room, disk_full, find_given, open_cache, size_below
from vllm_nix.fetching.pip import download_sdists, download_wheels
from vllm_nix.fetching.sources import (
    DebSource,
    Executable,
    PipSource,
    SdistSource,
    Source,
    Sources,
    VendorSource,
    WheelSource,
)
from vllm_nix.paths import cache_folder, reason
from vllm_nix.store import add_files, missing_paths, store_dir, store_name
from vllm_nix.text import counted, some

# Bytes. A client's start costs as much as a few megabytes, so that small files share one.
LARGE = 16 << 20
TOGETHER = 32 << 20
MOST_FILES = 24
STALL = 300.0  # seconds without a byte more, after which a fetch gives up


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is; `size` and `total_size` are bytes."""

    files: int
    total_files: int
    size: int
    total_size: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a fetch did: the files that it added, their bytes, and how many were there before."""

    fetched: tuple[Source, ...]
    present: int
    size: int
    seconds: float


def total_size(sources: Iterable[Source]) -> int:
    return sum(source.size or 0 for source in sources)


def missing_sources(sources: Sources) -> Sources:
    """The part that the Nix store has not got. Raises `Unavailable` without Nix."""
    paths = [source.path for source in sources.files] + [each.path for each in sources.executables]
    missing = missing_paths(paths)
    return Sources(
        tuple(source for source in sources.files if source.path in missing),
        tuple(each for each in sources.executables if each.path in missing),
    )


def fetch(
    sources: Sources,
    *,
    jobs: int = 4,
    mirror: str | None = None,
    given: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Result:
    """Adds to the store what it lacks, with up to `jobs` clients at a time.

    Wheels and source archives come through pip and Debian packages through apt, from `mirror`, or
    the one of VLLM_NIX_DEBIAN_MIRROR, if there is one. Files in or below the folder `given` are taken from there alone, without network. A
    fetch that ends early, in whichever way, leaves only whole files, and the next one goes on from
    there. Setting `stop` ends it. Raises `Error` and its kinds.
    """
    start, size = time.monotonic(), 0
    mirror = mirror or os.environ.get("VLLM_NIX_DEBIAN_MIRROR") or None
    check_origin(mirror, given)
    folder = cache or cache_folder()
    try:
        missing = missing_sources(sources)
        if missing.files or missing.executables:
            with open_cache(folder) as opened:
                missing = missing_sources(sources)  # once more: another fetch may have held it
                worker = _Fetch(opened, jobs, mirror, progress, missing.files, stop)
                worker.take(given) if given else worker.download()
                size = worker.size
                for executable in missing.executables:
                    worker.add_executable(executable)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        raise Error(f"{error.filename or folder}: {reason(error)}") from error
    present = len(sources.files) - len(missing.files)
    return Result(missing.files, present, size, time.monotonic() - start)


def check_origin(mirror: str | None, given: Path | None) -> None:
    """Raises `InputError` unless files can come from there."""
    if mirror is not None and not re.fullmatch(r"[a-z][a-z0-9+]*:/\S+", mirror):
        raise InputError(
            f"mirror '{mirror}' is not an address, such as https://mirror.example/debian"
        )
    if given and not given.is_dir():
        raise InputError(f"{given} is not a folder")


class _Fetch:
    def __init__(
        self,
        cache: Cache,
        jobs: int,
        mirror: str | None,
        progress: Callable[[Progress], None],
        wanted: Sequence[Source],
        stop: threading.Event | None = None,
    ) -> None:
        self.cache = cache
        self.jobs = jobs
        self.mirror = mirror
        self.mirrors: dict[str, str] = {}  # of each suite
        self.progress = progress
        self.wanted = wanted
        self.stop = stop or threading.Event()
        self.done = 0  # files in the store
        self.size = 0  # their bytes
        self.come = 0  # with those that are on their way, from a client's folder to the store, too
        self.counting = threading.Lock()
        self.running: dict[Path, int] = {}  # folders being downloaded into, and their final sizes

    def take(self, folder: Path) -> None:
        cached = [source for source in self.wanted if self.cache.has(source)]
        found, absent = find_given(
            [source for source in self.wanted if source not in cached], folder
        )
        check_room(total_size(found), store_dir())
        self._add({source: self.cache.place(source) for source in cached})
        self._add(found)
        if absent:
            names = some([source.file for source in absent], 3)
            raise Error(f"{folder} lacks {len(absent)} of the files needed: {names}")

    def download(self) -> None:
        cached = [source for source in self.wanted if self.cache.has(source)]
        missing = [source for source in self.wanted if source not in cached]
        vendors = [source for source in missing if isinstance(source, VendorSource)]
        needed = [source for source in missing if source not in vendors]
        check_room(total_size(needed), self.cache.root, store_dir())
        self._add({source: self.cache.place(source) for source in cached})
        debs = [source for source in needed if isinstance(source, DebSource)]
        for suite, component in {(deb.suite, deb.component) for deb in debs}:
            self.mirrors[suite] = self.mirror or find_mirror(suite, component)
        with ThreadPoolExecutor(self.jobs) as pool:
            started = {pool.submit(self._download, batch): batch[0] for batch in batches(needed)}
            pending = set(started)
            size, moved = -1, time.monotonic()
            try:
                while pending:
                    finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in finished:
                        if not getattr(started[future], "index", None):
                            future.result()
                    if (now := self._report()) != size:
                        size, moved = now, time.monotonic()
                    elif time.monotonic() > moved + STALL:
                        raise Unavailable(
                            f"nothing has come for {STALL / 60:g} minutes: the network, a proxy or"
                            " a mirror holds it back; what has been fetched stays, so run the same again"
                        )
                # Where one's own index could not be reached, the others have come nevertheless.
                for future in started:
                    future.result()
            except BaseException:
                for future in pending:
                    future.cancel()
                self.stop.set()
                raise
        if vendors:
            raise Unavailable(
                f"{counted(len(vendors), 'file')} from the vendor alone: accept the licence, download"
                f" {' '.join(source.url for source in vendors)}, and pass their folder by --from"
            )

    def _download(self, batch: Sequence[Source]) -> None:
        with self.cache.part() as part:
            self.running[part] = total_size(batch)
            try:
                if wheels := [source for source in batch if isinstance(source, WheelSource)]:
                    download_wheels(wheels, part, self.stop)
                if sdists := [source for source in batch if isinstance(source, SdistSource)]:
                    download_sdists(sdists, part, self.stop)
                if debs := [source for source in batch if isinstance(source, DebSource)]:
                    download_debs(debs, part, self.stop, self.mirrors[debs[0].suite])
                self._add(
                    {source: self.cache.adopt(source, part / source.file) for source in batch}
                )
            finally:
                del self.running[part]

    def _add(self, files: dict[Source, Path]) -> None:
        """Adds verified files under the names that the store knows them by."""
        if not files:
            return
        with self.cache.part() as part:
            named = [_named(source, file, part) for source, file in files.items()]
            size = sum(file.stat().st_size for file in named)
            for source, path in zip(files, add_files(named, stop=self.stop), strict=True):
                _check_path(source, path)
                self.cache.drop(source)
        with self.counting:
            self.done += len(files)
            self.size += size

    def add_executable(self, executable: Executable) -> None:
        """Unpacks an executable from its package, which is in the store by now, and adds it."""
        with self.cache.part() as part:
            file = part / executable.name / executable.place
            file.parent.mkdir(parents=True)
            file.write_bytes(read_member(executable.deb.path, executable.member))
            file.chmod(0o755)
            (path,) = add_files([part / executable.name], recursive=True, stop=self.stop)
            _check_path(executable, path)

    def _report(self) -> int:
        """Says how far it is; returns the bytes that have come."""
        running = list(self.running.items())
        size = self.size + sum(min(size_below(part), most) for part, most in running)
        self.come = max(self.come, size)
        total = max(self.come, total_size(self.wanted))
        self.progress(Progress(self.done, len(self.wanted), self.come, total))
        return size


def _named(source: Source, file: Path, folder: Path) -> Path:
    """The file under the name that it has in the store, which Nix takes from the file."""
    file = file.resolve()  # of a link, Nix 2.8 adds the link itself
    if file.name == store_name(source.file):
        return file
    return Path(shutil.copyfile(file, folder / store_name(source.file)))


def _check_path(item: Source | Executable, path: Path) -> None:
    if path != item.path:
        raise Error(
            f"Nix put a file at {path} instead of {item.path}; if its store is not {store_dir()},"
            " set NIX_STORE_DIR"
        )


def batches(sources: Iterable[Source]) -> list[list[Source]]:
    """Groups that one client can fetch in one run, in the order in which they should start."""
    ordered = sorted(sources, key=lambda source: -(source.size or 0))
    alone = [[source] for source in ordered if _is_alone(source)]
    groups: dict[object, list[list[Source]]] = {}
    seen: Counter[object] = Counter()
    for source in ordered:
        if not _is_alone(source):
            kind: object = type(source)
            if isinstance(source, PipSource):
                # pip refuses two versions of a package in one run ("ResolutionImpossible").
                kind = (kind, source.python, seen[source.name])
                seen[source.name] += 1
            elif isinstance(source, DebSource):
                kind = (kind, source.suite)  # which may have a mirror of its own
            group = groups.setdefault(kind, [[]])
            size = sum(other.size or 0 for other in group[-1])
            if len(group[-1]) >= MOST_FILES or size + (source.size or 0) > TOGETHER:
                group.append([])
            group[-1].append(source)
    return alone + [batch for group in groups.values() for batch in group]


def _is_alone(source: Source) -> bool:
    # A wheel with its own index alone may be looked for there.
    has_index = isinstance(source, WheelSource) and source.index is not None
    return has_index or (source.size or 0) > LARGE
