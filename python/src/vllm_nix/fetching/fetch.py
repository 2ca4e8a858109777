"""Brings source files into the Nix store: what is missing, by its own client, checked by hash."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from vllm_nix.errors import Error, Unavailable
from vllm_nix.fetching.apt import download_debs, find_mirror
from vllm_nix.fetching.batches import batches
from vllm_nix.fetching.brought import find_brought
from vllm_nix.fetching.cache import Cache, default_folder, open_cache, size_below
from vllm_nix.fetching.deb import read_member
from vllm_nix.fetching.pip import download_wheels
from vllm_nix.fetching.room import check_room, disk_full
from vllm_nix.fetching.sdist import download_sdists
from vllm_nix.fetching.sources import (
    DebSource,
    Executable,
    SdistSource,
    Source,
    Sources,
    VendorSource,
    WheelSource,
)
from vllm_nix.processes import Children
from vllm_nix.store import add_files, missing_paths, store_dir, store_name


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
    brought: Path | None = None,
    cache: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Adds to the store what it lacks, with up to `jobs` clients at a time.

    Wheels and source archives come through pip and Debian packages through apt, from `mirror` if given. With `brought`,
    a folder, files come from there alone, without network. A fetch that ends early, in whichever
    way, leaves only whole files, and the next one goes on from there. Raises `Error` and its kinds.
    """
    start, size = time.monotonic(), 0
    folder = cache or default_folder()
    try:
        missing = missing_sources(sources)
        if missing.files or missing.executables:
            with open_cache(folder) as opened:
                missing = missing_sources(sources)  # once more: another fetch may have held it
                worker = _Fetch(opened, jobs, mirror, progress, missing.files)
                worker.bring(brought) if brought else worker.download()
                size = worker.size
                for executable in missing.executables:
                    worker.add_executable(executable)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        raise Error(f"{error.filename or folder}: {error.strerror}") from error
    present = len(sources.files) - len(missing.files)
    return Result(missing.files, present, size, time.monotonic() - start)


class _Fetch:
    def __init__(
        self,
        cache: Cache,
        jobs: int,
        mirror: str | None,
        progress: Callable[[Progress], None],
        wanted: Sequence[Source],
    ) -> None:
        self.cache = cache
        self.jobs = jobs
        self.mirror = mirror
        self.mirrors: dict[str, str] = {}  # of each suite
        self.progress = progress
        self.wanted = wanted
        self.children = Children()
        self.done = 0  # files in the store
        self.size = 0  # their bytes
        self.counting = threading.Lock()
        self.running: dict[Path, int] = {}  # folders being downloaded into, and their final sizes

    def bring(self, folder: Path) -> None:
        cached = [source for source in self.wanted if self.cache.has(source)]
        found, absent = find_brought(
            [source for source in self.wanted if source not in cached], folder
        )
        check_room(total_size(found), store_dir())
        self._add({source: self.cache.place(source) for source in cached})
        self._add(found)
        if absent:
            names = ", ".join(source.file for source in absent[:3])
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            raise Error(f"{folder} lacks {len(absent)} of the files needed: {names}{more}")

    def download(self) -> None:
        cached = [source for source in self.wanted if self.cache.has(source)]
        missing = [source for source in self.wanted if source not in cached]
        vendors = [source for source in missing if isinstance(source, VendorSource)]
        needed = [source for source in missing if source not in vendors]
        check_room(total_size(needed), self.cache.root, store_dir())
        self._add({source: self.cache.place(source) for source in cached})
        debs = [source for source in needed if isinstance(source, DebSource)]
        chosen = self.mirror or os.environ.get("VLLM_NIX_DEBIAN_MIRROR")
        for suite, component in {(deb.suite, deb.component) for deb in debs}:
            self.mirrors[suite] = chosen or find_mirror(suite, component)
        with ThreadPoolExecutor(self.jobs) as pool:
            started = {pool.submit(self._download, batch): batch[0] for batch in batches(needed)}
            pending = set(started)
            try:
                while pending:
                    finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                    for future in finished:
                        if not getattr(started[future], "index", None):
                            future.result()
                    self._report()
                # Where one's own index could not be reached, the others have come nevertheless.
                for future in started:
                    future.result()
            except BaseException:
                for future in pending:
                    future.cancel()
                self.children.stop()
                raise
        if vendors:
            raise Unavailable(
                f"{len(vendors)} files come from their vendor alone: accept its licence, download"
                f" {' '.join(source.url for source in vendors)}, and pass their folder by --from"
            )

    def _download(self, batch: Sequence[Source]) -> None:
        with self.cache.part() as part:
            self.running[part] = total_size(batch)
            try:
                if wheels := [source for source in batch if isinstance(source, WheelSource)]:
                    download_wheels(wheels, part, self.children)
                if sdists := [source for source in batch if isinstance(source, SdistSource)]:
                    download_sdists(sdists, part, self.children)
                if debs := [source for source in batch if isinstance(source, DebSource)]:
                    download_debs(debs, part, self.children, self.mirrors[debs[0].suite])
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
            for source, path in zip(files, add_files(named), strict=True):
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
            (path,) = add_files([part / executable.name], recursive=True)
            _check_path(executable, path)

    def _report(self) -> None:
        running = list(self.running.items())
        size = self.size + sum(min(size_below(part), most) for part, most in running)
        total = max(size, total_size(self.wanted))
        self.progress(Progress(self.done, len(self.wanted), size, total))


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
