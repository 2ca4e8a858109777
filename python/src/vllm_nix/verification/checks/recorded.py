"""Installed files, beside the RECORDs that list them."""

import base64
import errno
import hashlib
import os
import re
import stat
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from vllm_nix.binaries.files import check_regular, go_on, open_regular
from vllm_nix.store import store_dir
from vllm_nix.text import counted, some
from vllm_nix.verification.check import Context, Finding, check, failed, ok, warning
from vllm_nix.verification.fixes import fix_closed
from vllm_nix.verification.installed import (
    Distribution,
    Entry,
    Owner,
    Records,
    read_entry_points,
)
from vllm_nix.verification.known import ATTENTION, EVERY_START
from vllm_nix.verification.owning import asks

BATCH = 64  # files that a thread takes at a time
CHUNK = 1 << 20  # bytes that are hashed at a time
LINKS = 40  # as Linux follows them
DEEPEST = 100  # folders in one another, which are looked up one by one
MOST_HASHED = 1 << 36  # bytes of all files; vllm-cuda has 8.5 GB
# What the specification allows: nothing weaker than SHA-256.
ALGORITHMS = ("sha256", "sha384", "sha512")

# What projects leave beside their packages by mistake: no module that anything imports.
STRAY = re.compile(
    r"(?:tests?|docs?|examples?|samples|benchmarks?|scripts|setup|conftest|build_backend|licen[cs]e|readme"
    r"|changelog|notice)(?:\.(?:py|md|rst|txt|toml))?",
    re.IGNORECASE,
)


@check("record", "Every installed file has its recorded size and hash", slow=True)
def record(context: Context) -> Iterator[Finding]:
    """Every installed file is the one that its wheel recorded (PyPA, recording installed projects).

    RECORD lists each file with its size and hash. All are read and compared, so a patched file, a
    truncated download, and a file that another package wrote over are found. Paths that lead out of
    the environment are refused, caches (.pyc) passed over. What is often changed on purpose, scripts
    in bin and bundles of certificates, is a warning. Libraries that no RECORD lists are left
    over from another version: Python may load them in place of the new ones.

    Files of the Nix store are there, and as large as recorded, but not hashed again: the store is
    immutable, and has a hash of its own, which `nix-store --verify-path` compares. `--deep` hashes
    them as well. What Debian's package manager installed is for `dpkg --verify` to compare, and what
    conda did, which writes its prefix into files, for `conda doctor`.
    """
    records = context.facts.records()
    for problem in records.problems:
        yield _failed(problem.found, problem.distribution.folder.name, problem.distribution.name)
    comparison = _Comparison(context)
    yield from comparison.faults(records.owners)
    yield from _strangers(context, records)
    if comparison.unread:
        yield warning(
            "1 file was not hashed"
            if comparison.unread == 1
            else f"{comparison.unread} files were not hashed",
            expected=f"files of {MOST_HASHED >> 30} GiB in all, the most that is read",
            fix="sha256sum them by hand; it is more than eight times what vllm-cuda has",
        )
    in_store = f", {comparison.in_store} of them in the Nix store, not hashed again"
    managers = Counter(found.manager for found in context.distributions if found.manager)
    theirs = (
        f"; {counted(number, 'distribution')} for `{manager}` to compare"
        for manager, number in managers.items()
    )
    stored = in_store if comparison.in_store else ""
    alone = f"; of {comparison.sizes_alone} the size alone is recorded"
    alone = alone if comparison.sizes_alone else ""
    yield ok(f"{len(records.owners)} files{stored}{alone}{''.join(theirs)}")


class _Comparison:
    """Compares files with their records: sizes here, for each thread would wait for the others; hashes
    on all processors, for hashing lets other threads run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = f"{os.path.realpath(store_dir())}{os.sep}"
        self._scripts = f"{context.root}/bin/" if context.manifest else "\0"
        self._folders: dict[str, str] = {}
        self._lock = threading.Lock()
        self._left = MOST_HASHED
        self.in_store = 0
        self.unread = 0
        self.sizes_alone = 0  # PDM names the algorithm alone of what it links to from its cache

    def faults(self, owners: Mapping[str, Sequence[Owner]]) -> Iterator[Finding]:
        """What is wrong with files, in their order. A file need only be as one of its owners says
        (see `ownership`)."""
        complaints: dict[str, str] = {}
        to_hash: list[tuple[str, str, int]] = []
        for number, (path, claims) in enumerate(owners.items()):
            if not number & 0xFF:
                go_on(self._context.facts.stop)
            if path.endswith((".pyc", "/__pycache__")):
                continue  # a cache, which Python makes anew; virtualenv lists their folders
            try:
                real, status = self._real(self._original(path, claims[0]))
                check_regular(status, real)
            except FileNotFoundError:
                complaints[path] = "missing"
            except OSError as error:
                complaints[path] = str(error.strerror)
            else:
                if self._context.deep or not real.startswith(self._store):
                    to_hash.append((path, real, status.st_size))
                    continue
                self.in_store += 1
                if all(_size(claim.entry, status.st_size) for claim in claims):
                    complaints[path] = _size(claims[0].entry, status.st_size)
        # A task for each file would take longer than hashing most of them does.
        parts = [to_hash[start : start + BATCH] for start in range(0, len(to_hash), BATCH)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for found in pool.map(lambda part: self._hashed(part, owners), parts):
                complaints |= found
        for path in filter(complaints.get, owners if complaints else ()):
            where = path.removeprefix(f"{self._context.root}{os.sep}")
            distribution = owners[path][0].distribution
            name = distribution.name
            if self._is_pipxs(path, owners[path]):
                continue
            if complaints[path] != "missing" and (
                change := _usual_change(path, distribution) or self._moved(path, owners[path])
            ):
                yield warning(
                    complaints[path],
                    where=where,
                    expected="the installed file",
                    fix=f"install {name} again, unless {change}",
                )
            else:
                yield _failed(complaints[path], where, name)

    def _hashed(
        self, files: Sequence[tuple[str, str, int]], owners: Mapping[str, Sequence[Owner]]
    ) -> dict[str, str]:
        found = {}
        for path, real, size in files:
            go_on(self._context.facts.stop)
            try:
                found[path] = self._complaint(real, size, owners[path])
            except FileNotFoundError:
                found[path] = "missing"
            except InterruptedError:
                raise
            except OSError as error:
                found[path] = str(error.strerror)
        return found

    def _complaint(self, real: str, size: int, claims: Sequence[Owner]) -> str:
        complaints = set()
        hashed = []
        for entry in {claim.entry for claim in claims}:
            if complaint := _size(entry, size) or _algorithm(entry):
                complaints.add(complaint)
            elif entry.digest:
                hashed.append(entry)
            else:  # RECORD itself, and what installers add
                with self._lock:
                    self.sizes_alone += bool(entry.algorithm)
                return ""
        if hashed:
            with self._lock:
                self._left -= size
                if self._left < 0:
                    self._left += size
                    self.unread += 1
                    return ""
            with open_regular(real) as stream:
                complaints |= {self._hash(entry, stream) for entry in hashed}
        return min(complaints, key=bool)

    def _is_pipxs(self, path: str, owners: Sequence[Owner]) -> bool:
        """Whether a command is as it was recorded but for the -E that pipx puts into its first line."""
        if not path.startswith(f"{self._context.root}{os.sep}bin{os.sep}"):
            return False
        with suppress(OSError), open_regular(path) as stream:
            first, end, rest = stream.read(CHUNK).partition(b"\n")
            data = first.removesuffix(b" -E") + end + rest
            return first.startswith(b"#!") and any(
                not (_size(entry, len(data)) or _algorithm(entry))
                and entry.digest
                and not self._hash(entry, BytesIO(data))
                for _, entry in owners
            )
        return False

    def _hash(self, entry: Entry, stream: BinaryIO) -> str:
        stream.seek(0)
        state = hashlib.new(entry.algorithm)
        while part := stream.read(CHUNK):
            go_on(self._context.facts.stop)
            state.update(part)
        same = base64.urlsafe_b64encode(state.digest()).rstrip(b"=").decode()
        if same == entry.digest.rstrip("="):
            return ""
        return f"its {entry.algorithm} is not the recorded one: it was changed"

    def _moved(self, path: str, owners: Sequence[Owner]) -> str:
        """What explains a whole library that has grown by a string table behind its code, as patchelf
        leaves it; "" for what every start of vLLM loads."""
        file = Path(path)
        image = self._context.facts.binaries().images.get(file)
        package = self._context.packages.top(file).partition(".")[0]
        if image is None or package in EVERY_START or package.startswith(ATTENTION):
            return ""
        at = {section.name: section.offset for section in image.sections}
        has_grown = all((entry.size or 0) < file.stat().st_size for _, entry in owners)
        if has_grown and at.get(".dynstr", 0) > at.get(".text", 0) > 0:
            return "its wheel came so, as PyNvVideoCodec 2.0's, or you used patchelf on it"
        return ""

    def _original(self, path: str, owner: Owner) -> str:
        """A Nix-built environment has scripts of its own, made from those of the wheels."""
        if path.startswith(self._scripts):
            metadata = Path(os.path.realpath(owner.distribution.folder / "METADATA"))
            return f"{metadata.parent.parent}/{owner.entry.path}"
        return path

    def _real(self, path: str) -> tuple[str, os.stat_result]:
        """Where a path ends, as os.path.realpath has it, but looking at each folder once."""
        for _ in range(LINKS):
            folder, _, name = path.rpartition(os.sep)
            real = self._folders.get(folder) or self._folder(folder)
            path = f"{real}{os.sep}{name}"
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return path, status
            target = os.readlink(path)  # noqa: PTH115 -- of 100,000 files
            path = target if target.startswith(os.sep) else f"{real}{os.sep}{target}"
            path = os.path.normpath(path)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _folder(self, folder: str) -> str:
        if not folder:
            return ""
        if folder.count(os.sep) > DEEPEST:
            return os.path.realpath(folder)
        self._folders[folder] = folder  # a link may lead below itself: the kernel says so then
        self._folders[folder] = self._real(folder)[0]
        return self._folders[folder]


def _usual_change(path: str, distribution: Distribution) -> str:
    """What changes such a file in environments that work; "" if nothing does."""
    folder, _, name = path.rpartition(os.sep)
    if name == "cacert.pem":
        return "somebody added the certificates of your network to it"
    with suppress(OSError, ValueError):
        modules = [one.module for one in read_entry_points(distribution) if one.name == name]
        if folder.endswith("/bin") and modules:
            with open_regular(path) as stream:
                text = stream.read(CHUNK).decode()
            calls = [f"from {module} import " for module in modules]
            calls += [f"import_module('{module}')" for module in modules]  # as pex has it
            calls.append(f"'console_scripts', '{name}'")  # and setup.py
            if text.startswith("#!") and any(call in text for call in calls):
                return "the environment was moved, or pex or a setup.py wrote it anew"
    return ""


def _size(entry: Entry, size: int) -> str:
    if entry.size is not None and entry.size != size:
        return f"{size} bytes, recorded were {entry.size}"
    return ""


def _algorithm(entry: Entry) -> str:
    if entry.algorithm and entry.algorithm not in ALGORITHMS:
        return f"recorded with {entry.algorithm}, which is not one of {', '.join(ALGORITHMS)}"
    return ""


def _strangers(context: Context, records: Records) -> Iterator[Finding]:
    """Libraries beside recorded files, in packages whose owners all have a RECORD that counts."""
    of_pip = (
        not one.manager and (one.folder / "RECORD").is_file() for one in context.distributions
    )
    if not all(of_pip):
        return
    folders = {path.rpartition(os.sep)[0] for path in records.owners}
    for file in context.facts.binaries().files():
        name = str(file)
        if ".so" in file.name and name not in records.owners and str(file.parent) in folders:
            yield warning(
                "is in no RECORD",
                where=context.place(file),
                expected="files of installed distributions",
                fix="delete it, unless you put it there: Python may load it for another",
            )


def _failed(found: str, where: str, name: str) -> Finding:
    return failed(found, where=where, fix=fix_closed(found, f"install {name} again"))


@check("ownership", "No file belongs to two distributions that disagree on it")
def ownership(context: Context) -> Iterator[Finding]:
    """No two distributions own one file with different contents.

    The one that was installed last won, and removing either breaks the other: `triton` and
    `triton-ascend`, opencv and its headless twin, two builds of one library. Read from the RECORDs;
    files that are equal in both are no fault, nor are tests, documents and parts of a build that
    several leave beside their packages, as FlashInfer its build_backend.py. A module that is one's
    file and another's folder, as nvidia-ml-py's pynvml.py beside pynvml, is imported from the folder.

    Seen in vllm#12977.
    """
    owners = context.facts.records().owners
    strays = []
    shared: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, claims in owners.items():
        if len(claims) == 1:
            continue
        names = tuple(sorted({claim.distribution.name for claim in claims}))
        if len(names) > 1 and len({claim.entry.digest for claim in claims} - {""}) > 1:
            if STRAY.fullmatch(context.packages.top(Path(path))):
                strays.append(context.place(Path(path)))
            else:
                shared[names].append(path.removeprefix(f"{context.root}{os.sep}"))
    for names, paths in shared.items():
        others = f", with {counted(len(paths) - 1, 'other')}" if len(paths) > 1 else ""
        report = failed
        if all(path.startswith("bin/") for path in paths):
            report = warning  # commands: nothing imports them
        yield report(
            f"owned by {' and '.join(names)}{others}",
            where=next((path for path in paths if ".so" in path), paths[0]),
            expected="one owner, or equal contents",
            fix=_keep(context, names),
        )
    yield from _hidden(context)
    left = f"; of several, and imported by none: {some(strays, 3)}" if strays else ""
    yield ok(f"{len(owners)} files{left}")


def _hidden(context: Context) -> Iterator[Finding]:
    """Modules that one distribution has as a file, and another as a folder."""
    records = context.facts.records()
    for path, claims in records.owners.items():
        mine = claims[0].distribution
        module = path.removesuffix(".py").removeprefix(f"{mine.place}{os.sep}")
        if module == path or not module.isidentifier():
            continue
        other = records.owner(Path(path.removesuffix(".py"), "__init__.py"))
        if other and other.name not in {claim.distribution.name for claim in claims}:
            names = (mine.name, other.name)
            yield warning(
                f"hidden by {other.name}, which has {module} as a folder: Python imports that",
                where=context.place(Path(path)),
                expected=f"{mine.name}'s own",
                fix=_keep(context, names)
                if any(asks(context, name) for name in names)
                else f"pip uninstall {other.name}, unless it is that one which is to be imported",
            )


def _keep(context: Context, names: Collection[str]) -> str:
    """Which of several to keep: the one that others ask for."""
    wanted = [name for name in sorted(names) if asks(context, name)]
    if len(wanted) != 1:
        return "keep one of them, then install it again: the last one installed won"
    others = " ".join(sorted({*names} - {wanted[0]}))
    again = f"pip install --force-reinstall --no-deps {wanted[0]}, in its version"
    return f"pip uninstall {others}, then {again}: {asks(context, wanted[0])} asks for it"
