"""What GPU code means for a device: native, compatible, compiled at first start, or missing.

NVIDIA's rules are data, in compat.toml, each with its source. The CUDA runtime picks one entry
of a fatbin for its device, so the verdict is by fatbin; a library's own is the worst that it
needs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from vllm_nix.gpu.capability import ComputeCapability, arch_list
from vllm_nix.gpu.device import Device, release, rules
from vllm_nix.gpu.fatbin import Entry, Fatbin
from vllm_nix.gpu.libraries import RUNS, Library
from vllm_nix.since_311 import StrEnum
from vllm_nix.text import some


class Verdict(StrEnum):
    """Worst first. "unknown" depends on the device's CUDA release, or on a newer device's rules."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    JIT = "jit"
    COMPATIBLE = "compatible"
    NATIVE = "native"
    DEAD = "dead"
    NOT_APPLICABLE = "not-applicable"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Verdict).index(self)

    @property
    def runs(self) -> bool:
        return self in (Verdict.JIT, Verdict.COMPATIBLE, Verdict.NATIVE)


Judged = tuple[Fatbin, Verdict]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A library on a device: fatbins by verdict, without those that hold nothing to run.

    NOT_APPLICABLE as the library's own verdict means that nothing in it is for this device. That is
    no fault of kernels for other devices; a library that everything needs is then MISSING its code.
    """

    verdict: Verdict
    counts: Mapping[Verdict, int]
    why: str


def judge(fatbin: Fatbin, device: Device) -> Verdict:
    """What the device does with one fatbin, by the best entry in it."""
    found = {_entry(entry, device) for entry in fatbin.entries}
    for verdict in (Verdict.NATIVE, Verdict.COMPATIBLE, Verdict.JIT, Verdict.UNKNOWN):
        if verdict in found:
            return verdict
    return Verdict.MISSING if Verdict.MISSING in found else Verdict.NOT_APPLICABLE


def _judge_all(fatbins: Sequence[Fatbin], device: Device) -> Iterator[Judged]:
    """`judge` for each; cuFFT has 24,000 of two sorts."""
    known: dict[tuple[object, ...], Verdict] = {}
    for one in fatbins:
        sort = tuple([(entry.kind, entry.capability, entry.version) for entry in one.entries])
        if sort not in known:
            known[sort] = judge(one, device)
        yield one, known[sort]


def serving(fatbin: Fatbin, device: Device) -> tuple[Entry, ...]:
    """The entries of a fatbin that the device may take, in their order.

    Those for this very device; else the newest for a related one; else the newest PTX. Where that
    depends on what is not known of the device's CUDA, each that it may be.
    """
    found: dict[tuple[Verdict, str], list[Entry]] = {}
    for entry in fatbin.entries:
        found.setdefault((_entry(entry, device), entry.kind), []).append(entry)

    def newest(verdict: Verdict, kind: str) -> list[Entry]:
        entries = found.get((verdict, kind), [])
        bases = [entry.capability.base.present for entry in entries]
        return [entry for entry, base in zip(entries, bases, strict=True) if base == max(bases)]

    for verdict in (Verdict.NATIVE, Verdict.COMPATIBLE):
        if cubins := newest(verdict, "cubin"):
            return tuple(cubins)
    chosen = newest(Verdict.UNKNOWN, "cubin")
    chosen += newest(Verdict.JIT, "ptx") + newest(Verdict.UNKNOWN, "ptx")
    return tuple(entry for entry in fatbin.entries if entry in chosen)


def judge_library(library: Library, device: Device) -> Judgement:
    """What the device does with a library, and a sentence that says why."""
    if library.mark and device.capability not in library.mark.capabilities:
        # What is left may well run, but nobody knows what is gone.
        why = f"slimmed for {library.mark}: the code of other devices was removed"
        return Judgement(Verdict.MISSING, {Verdict.MISSING: len(library.fatbins)}, why)
    fatbins = [one for one in library.fatbins if one.role in RUNS]
    if not fatbins:
        return Judgement(Verdict.NOT_APPLICABLE, {}, "no GPU code to run")
    judged = _without_extra(library, list(_judge_all(fatbins, device)), device)
    counts = Counter(verdict for _, verdict in judged)
    worst = min(counts, key=lambda verdict: verdict.rank)
    called_on = _called_on(library)
    if called_on not in (None, str(device.capability)) and worst is not Verdict.NOT_APPLICABLE:
        archs = _archs(entry for one in fatbins for entry in one.entries)
        why = f"called on {called_on} alone, and compiled for {archs}"
        return Judgement(Verdict.DEAD, {Verdict.DEAD: len(fatbins)}, why)
    chosen = [one for one, verdict in judged if verdict is worst]
    lacks = worst is Verdict.NOT_APPLICABLE and is_essential(library)
    return Judgement(
        Verdict.MISSING if lacks else worst,
        dict(sorted(counts.items(), key=lambda item: item[0].rank)),
        _why(worst, chosen, len(fatbins), device),
    )


def is_essential(library: Library) -> bool:
    """Whether nothing of vLLM runs without this library."""
    last_two = "/".join(library.path.parts[-2:])
    return any(
        (last_two if "/" in start else library.path.name).startswith(start)
        for start in rules()["essential"]["libraries"]
    )


def picks_kernels(library: Library) -> bool:
    """Whether it holds kernels for several devices, and picks among them."""
    return _is_listed(library, "picks-kernels")


def is_on_request(library: Library) -> bool:
    """Whether nothing calls it that was not asked for."""
    return _is_listed(library, "on-request")


def _is_listed(library: Library, table: str) -> bool:
    return library.path.name.startswith(tuple(rules()[table]["libraries"]))


def is_called_on(library: Library, device: Device) -> bool:
    """Whether vLLM calls this one on the device, and on no other."""
    return _called_on(library) == str(device.capability)


def _called_on(library: Library) -> str | None:
    table: dict[str, str] = rules()["called-on"]
    return table.get(library.path.name.split(".")[0])


def is_beside_what_runs(library: Library, device: Device) -> bool:
    """Whether what the device misses of a library are kernels, fewer than run there, that were compiled
    for older devices, and for it as PTX at most; or any, if the library picks among them."""
    judged = list(_judge_all([one for one in library.fatbins if one.role in RUNS], device))
    missing = [one for one, verdict in judged if verdict is Verdict.MISSING]
    running = sum(verdict.runs for _, verdict in judged)
    if picks_kernels(library) and running:
        return True
    return 0 < len(missing) <= running and all(
        _is_for_others(one, device, "cubin", "ptx") for one in missing
    )


def fix_missing(library: Library, device: Device) -> str:
    """What to do about a library that lacks code for the device, in one line."""
    if library.mark:
        return f"slim the whole library for {device.capability} as well, or take it whole"
    own = device.capability
    some = own.is_known and not (own.is_compiled_by("12.0") and own.compilers[1] is None)
    if "nvidia" in library.path.parts:
        if own.jetson:
            return "take NVIDIA's libraries of the device's own JetPack, not these wheels"
        made = f"made with CUDA {own.compiled_by}" if some else "for this device"
        return f"take a torch {made}, with the releases of NVIDIA's wheels that it requires"
    with_ = f"build it with TORCH_CUDA_ARCH_LIST={arch_list([own])}"
    with_ += f" by CUDA {own.compiled_by}" if some else ""
    return f"{with_}, or find a wheel that was"


def _entry(entry: Entry, device: Device) -> Verdict:
    return _code(entry.kind, entry.capability, entry.version, device)


@lru_cache(maxsize=1024)  # a library has a dozen sorts of entries; a hostile one, any number
def _code(
    kind: str, capability: ComputeCapability, version: tuple[int, int], device: Device
) -> Verdict:
    code, own = capability.base.present, device.capability.present
    same_major = code.major == own.major
    if (
        kind not in ("cubin", "ptx")
        or code > own
        or (capability.suffix == "a" and code != own)
        or (capability.suffix == "f" and not same_major)
    ):
        return Verdict.NOT_APPLICABLE
    if kind == "ptx":
        return _ptx(version, device)
    if capability.suffix == "f":
        return Verdict.COMPATIBLE
    if code == own:
        return Verdict.NATIVE
    return _same_major(code, device) if same_major else Verdict.MISSING


def _ptx(isa: tuple[int, int], device: Device) -> Verdict:
    if device.cuda is None or device.ptx_isa is None:
        return Verdict.UNKNOWN
    if isa <= release(device.ptx_isa):
        return Verdict.JIT
    # A driver newer than our table may take more than the table's last line says.
    newest = list(rules()["ptx-isa"])[-1]
    return Verdict.UNKNOWN if release(device.cuda) > release(newest) else Verdict.MISSING


def _same_major(code: ComputeCapability, device: Device) -> Verdict:
    """A cubin of the device's major number and a lower minor one."""
    if not code.is_known:
        return Verdict.UNKNOWN
    if code.jetson:
        return Verdict.MISSING
    if not device.capability.jetson:
        return Verdict.COMPATIBLE
    sbsa = device.capability.sbsa
    if sbsa is None:
        return Verdict.MISSING
    if device.cuda is None:
        return Verdict.UNKNOWN
    return Verdict.COMPATIBLE if release(device.cuda) >= release(sbsa) else Verdict.MISSING


def _without_extra(library: Library, judged: Sequence[Judged], device: Device) -> list[Judged]:
    """The same, but NOT_APPLICABLE where nothing is lost if a fatbin does not run.

    A library that loads code by itself picks what suits the device. And one that runs on the device
    may have kernels for others beside, such as vLLM's Marlin for Turing: the fewer, for most of
    what was compiled for a device runs there; or any number, and as PTX as well, if the library picks
    among them.
    """
    running = Counter(one.role for one, verdict in judged if verdict.runs)
    other, missing = Verdict.NOT_APPLICABLE, Verdict.MISSING
    if running["embedded"]:
        judged = [
            (one, other if verdict is missing and one.role == "embedded" else verdict)
            for one, verdict in judged
        ]
    picks = picks_kernels(library)
    kinds = ("cubin", "ptx") if picks else ("cubin",)
    beside = [verdict is missing and _is_for_others(one, device, *kinds) for one, verdict in judged]
    most = running.total()
    if picks:
        most = len(judged) if running else len(judged) // 2
    if sum(beside) > most:
        return list(judged)
    return [
        (one, other if is_beside else verdict)
        for (one, verdict), is_beside in zip(judged, beside, strict=True)
    ]


def _is_for_others(fatbin: Fatbin, device: Device, *kinds: str) -> bool:
    """Whether all the code is, if of these kinds, for devices of older major numbers, or not for this one
    at all."""
    major = device.capability.present.major
    return all(
        (entry.kind in kinds and entry.capability.present.major < major)
        or _entry(entry, device) is Verdict.NOT_APPLICABLE
        for entry in fatbin.entries
    )


def _why(verdict: Verdict, chosen: Sequence[Fatbin], total: int, device: Device) -> str:
    count = f"all {total}" if len(chosen) == total else f"{len(chosen)} of {total}"
    part = f"{count} fatbins" if total > 1 else "its one fatbin"
    have = "has" if len(chosen) == 1 else "have"
    entries = [entry for one in chosen for entry in one.entries]
    telling = [entry for entry in entries if _entry(entry, device) is verdict] or entries
    archs = _archs(telling)
    match verdict:
        case Verdict.NATIVE:
            return f"{part} {have} code for this very device"
        case Verdict.COMPATIBLE:
            return f"{part} {have} code for a related device ({archs})"
        case Verdict.JIT:
            return f"{part} {have} only PTX for it ({archs}), compiled at first start"
        case Verdict.NOT_APPLICABLE:
            return f"{part} {have} code for other devices only ({archs})"
    why = f"{part} {have} only {archs}{_named(telling)}"
    isas = {entry.version for entry in telling if entry.kind == "ptx"}
    if verdict is Verdict.MISSING and isas:
        oldest = "{}.{}".format(*min(isas))
        why += f"; PTX {oldest} is too new for CUDA {device.cuda}, which takes {device.ptx_isa}"
    if verdict is Verdict.UNKNOWN and device.cuda is None:
        why += "; say which CUDA release drives the device"
    return why


def _archs(entries: Iterable[Entry]) -> str:
    found = {(entry.kind, entry.capability): entry.arch for entry in entries}
    return some([found[key] for key in sorted(found)], 12)


def _named(entries: Iterable[Entry]) -> str:
    """The kernels' source files, which nvcc records in some builds; the names are not trusted."""
    names = dict.fromkeys(entry.name for entry in entries if entry.name.isprintable())
    names.pop("", None)
    return f" ({some(list(names), 3)})" if names else ""
