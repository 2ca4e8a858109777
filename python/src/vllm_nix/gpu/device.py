"""GPUs by name or compute capability, and what drives them: a CUDA release, or a JetPack."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability, known, table
from vllm_nix.paths import read_toml


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU and what drives it. `cuda` is the CUDA release of its driver, None if not known."""

    name: str
    capability: ComputeCapability
    cuda: str | None = None

    @property
    def machine(self) -> str | None:
        """The processor that comes with it, as "aarch64"; None where it may be any."""
        is_arm = self.capability.jetson or _plain(self.name) in _names("grace")
        return "aarch64" if is_arm else None

    @property
    def ptx_isa(self) -> str | None:
        """The newest PTX ISA that the driver is known to compile."""
        if self.cuda is None:
            return None
        isas: dict[str, str] = rules()["ptx-isa"]
        return [isa for cuda, isa in isas.items() if release(cuda) <= release(self.cuda)][-1]

    def __str__(self) -> str:
        number = "" if self.name == str(self.capability) else f" ({self.capability})"
        return self.name + number + (f" with CUDA {self.cuda}" if self.cuda else "")


@dataclass(frozen=True, slots=True)
class JetPack:
    """A JetPack release. `libraries` says whose CUDA libraries it takes: "l4t" or "sbsa";
    `cuda_compat` is the newest CUDA that its forward compatibility package runs, None if it has none;
    `symbols` are the newest versions of symbols that its C and C++ libraries have: {"GLIBC": "2.35"}."""

    release: str
    cuda: str
    cuda_compat: str | None
    symbols: Mapping[str, str]
    libraries: str
    capabilities: tuple[ComputeCapability, ...]


def device(text: str, cuda: str | None = None, jetpack: str | None = None) -> Device:
    """The device of a name as people write it ("orin", "RTX 5090", "NVIDIA H100 80GB HBM3") or of a
    compute capability ("8.7", "sm_87").

    The CUDA release is that of its driver, given, or JetPack's. Raises InputError.
    """
    name, capability = _find(text)
    if cuda is not None and jetpack is not None:
        raise InputError(f"both CUDA {cuda} and JetPack {jetpack}; name one of them")
    if jetpack is not None:
        cuda = _suited(jetpack, text, capability).cuda
    return Device(name, capability, None if cuda is None else cuda_release(cuda))


def device_names() -> tuple[str, ...]:
    """The names that `device` knows, in words for a shell: "orin-nano", "rtx-a6000", "gb10"."""
    titles = [title for title, _ in (*_names("devices").values(), *_names("grace").values())]
    words = (re.findall(r"[a-z0-9]+", title.lower()) for title in titles)
    return tuple(sorted({"-".join(word for word in one if word not in _MARKS) for one in words}))


def cuda_release(text: str) -> str:
    """A CUDA release as "12.6", from that, "12.6.3", PyTorch's "cu126", the driver's "12060", or "12", which
    is 12.0. Raises `InputError`."""
    written = text.strip().lower()
    found = _LABEL.fullmatch(written) or _RELEASE.fullmatch(written)
    first = next(iter(rules()["ptx-isa"]))
    if found:
        major, *minor = filter(None, found.groups())
        release_ = f"{int(major)}.{int(minor[0]) if minor else 0}"
        if release(release_) >= release(first):
            return release_
    if _DRIVER.fullmatch(written):
        runs = _of_driver(_numbers(written))
        its = f", {runs} but on a Jetson" if runs else ""
        raise InputError(
            f"'{text}' is a driver's release; its CUDA stands beside it in what nvidia-smi prints{its}"
        )
    raise InputError(f"unknown CUDA release '{text}'; give one as 12.6, {first} or later")


_RELEASE = re.compile(
    r"(?:(?:cuda(?: version:?)?|cu|release|v)[ _-]?)?([0-9]{1,2})(?:[.-]([0-9]{1,3}))?(?:\.[0-9]{1,3}){0,2}"
)
_LABEL = re.compile(r"cu([0-9]{2})([0-9])|([0-9]{2})0([0-9])0")
_DRIVER = re.compile(r"[0-9]{3,4}(?:\.[0-9]{1,4}){0,2}")


def _of_driver(numbers: tuple[int, ...]) -> str:
    """The newest CUDA that a driver of these numbers, or of this branch, runs; "" if it is older than all."""
    drivers: dict[str, str] = rules()["driver"]
    known = [cuda for cuda, first in drivers.items() if _numbers(first)[: len(numbers)] <= numbers]
    return known[-1] if known else ""


def is_release(cuda: str) -> bool:
    """Whether this is a CUDA release that the rules reach back to; later ones all count."""
    try:
        return bool(cuda_release(cuda))
    except InputError:
        return False


def jetpack_release(text: str) -> JetPack:
    """A JetPack release by its number, updates such as 6.2.1 count as 6.2, or by its L4T, as "r36.4.3"
    or "L4T 36.4". Raises InputError."""
    releases = rules()["jetpack"]
    written = re.sub(r"^(?:jetpack|jp|v)[ _-]?|[-+]b[0-9]+$", "", text.strip().lower())
    number = ".".join(written.split(".")[:2])
    if l4t := _L4T.search(written):
        asked = _numbers(".".join(filter(None, l4t.groups())))
        known = [one for one, row in releases.items() if _numbers(row["l4t"]) <= asked]
        alike = [one for one in known if _numbers(releases[one]["l4t"])[0] == asked[0]]
        number = alike[-1] if alike else number
    if number not in releases:
        raise InputError(f"unknown JetPack '{text}'; there are: {', '.join(releases)}")
    row = releases[number]
    return JetPack(
        release=number,
        cuda=row["cuda"],
        cuda_compat=row.get("cuda-compat"),
        symbols=row["symbols"],
        libraries=row["libraries"],
        capabilities=tuple(map(ComputeCapability.parse, row["capabilities"])),
    )


# "r36.4.3", the version of its package, 36.4.7-20250918154033, and what /etc/nv_tegra_release begins with.
_L4T = re.compile(
    r"^(?:l4t[ _-]?)?r?([0-9]{2}(?:\.[0-9]{1,2}){1,2})(?:-[0-9]{14})?$"
    r"|^# ?r([0-9]{2}) \(release\), revision: ([0-9]{1,2}(?:\.[0-9]{1,2})?)"
)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _suited(jetpack: str, text: str, capability: ComputeCapability) -> JetPack:
    found = jetpack_release(jetpack)
    if capability in found.capabilities:
        return found
    others = [one for one in rules()["jetpack"] if capability in jetpack_release(one).capabilities]
    raise InputError(
        f"JetPack {jetpack} is not for {text}, which has "
        + (f"JetPack {', '.join(others)}" if others else "none that is known here")
    )


def first_driver(cuda: str) -> str | None:
    """The first driver for a CUDA release, such as "580.65.06" for 13.0; None if not known. The one
    for N.0 runs all of N but newer PTX."""
    drivers: dict[str, str] = rules()["driver"]
    return drivers.get(cuda)


def release(text: str) -> tuple[int, int]:
    """ "12.6", to be compared."""
    major, minor = text.split(".")
    return int(major), int(minor)


@cache
def rules() -> dict[str, Any]:
    """compat.toml."""
    return read_toml(Path(__file__).parent / "compat.toml")


def _find(text: str) -> tuple[str, ComputeCapability]:
    """What to call a device, and its capability."""
    plain = _plain(text)
    if "blackwell" in text.lower() and f"{plain}pro" in _names("devices"):
        plain += "pro"  # an RTX 6000 of that generation
    for group in ("devices", "grace"):
        if plain in _names(group):
            return text.strip(), _names(group)[plain][1]
    written = _CAPABILITY.fullmatch(text.strip().lower())
    if written is None:
        raise InputError(f"unknown device '{text}'; {_advice(text)}")
    capability = ComputeCapability.from_sm(int("".join(filter(None, written.groups()))))
    if not capability.is_known:
        there = ", ".join(map(str, known()))
        raise InputError(f"unknown compute capability '{text}'; there are: {there}")
    return str(capability), capability


def _advice(text: str) -> str:
    words = _words(text)[:_MOST_WORDS]
    plain = "".join(words)
    if found := re.fullmatch(r"([0-9]{1,2})([0-9])[af]?", plain):
        number = f"{found[1]}.{found[2]}"
        if number in table():
            return f"for compute capability {number} write {number}"
    if _OTHERS.match(plain):
        return "only NVIDIA's GPUs are judged by name; for other accelerators there is --target"
    import difflib  # takes as long to import as all else that is done here

    names = {**_names("devices"), **_names("grace")}
    runs = [(start, end) for end in range(len(words) + 1) for start in range(end)]
    parts = ("".join(words[start:end]) for start, end in runs)
    inside = sorted((part for part in parts if part in names), key=len)[
        -1:
    ]  # all but a card's maker
    wider = sorted((name for name in names if len(plain) > 3 and plain in name), key=len)
    if plain.endswith("m") and (desktop := names.get(plain[:-1])):
        return (
            f"a laptop's with an M is often of another kind than {desktop[0]}: name its compute capability "
            "(nvidia-smi --query-gpu=compute_cap --format=csv)"
        )
    close = inside or wider or difflib.get_close_matches(plain, names, n=6, cutoff=0.6)
    titles = list(dict.fromkeys(names[one][0] for one in close))[:4]
    if titles:
        return (
            f"did you mean {' or '.join(titles)}? Its compute capability will do too, such as 8.7"
        )
    return "name it as nvidia-smi does, or by its compute capability, such as 8.7"


_MOST_WORDS = 20  # that an unknown name is looked at for

# AMD's, Intel's, Huawei's, AWS's and Google's, of which some are close to names of NVIDIA's.
_OTHERS = re.compile(
    r"amd|instinct|radeon|mi[0-9]{2,3}|gfx[0-9]|rx[0-9]{4}|intel|arc|gaudi|ascend|910|310|trn|trainium"
    r"|inf[0-9]|inferentia|neuron|tpu"
)
# "sm_90a", "SM 8.9", "compute_86", "cc 8.6", "8.6+PTX"; not "89", which may be anything.
_CAPABILITY = re.compile(
    r"(?:sm|compute|cc|compute capability)[ _-]?([0-9]{1,2})\.?([0-9])[af]?"
    r"|([0-9]{1,2})\.([0-9])[af]?(?:\+ptx)?"
)

# What names a maker, a form or a size and no kind of GPU, where people and drivers write it.
_MARKS = frozenset(
    "nvidia geforce tesla jetson agx igx dgx hgx grid superchip gpu nvgpu tegra drive"
    " laptop mobile notebook workstation server edition graphics card developer kit engineering"
    " reference industrial station founders version small active ti super generation blackwell pcie fhhl dgxs nvlink"
    " sff ws se fe lhr oem ultra mega shared devkit dev with design asus dell evga gainward galax gigabyte hp lenovo msi palit pny supermicro zotac".split()
)
_SIZES = re.compile(
    # a vGPU's profile, such as A40-48Q, A100D-10C, H100L-1-12CME
    r"(?<=[0-9])(?:[dlx]m?)?-(?:[0-9]-)?[0-9]{1,3}[abcq](?:me)?\b|(?<=[0-9][a-z])-[0-9]{1,3}[abcq]\b"
    r"|\bmig[ -](?:[0-9]c\.)?[0-9]g\.[0-9]+gb(?:\+\w+)?|sxm6 ac\b|(?:sxm|hbm|nvl)[0-9]*[a-z]?\b|(?<=h20)-3e\b|\b[0-9]+ ?gi?b?\b|\bmax-?q\b"
)


def _plain(name: str) -> str:
    """A name to be compared: "NVIDIA GeForce RTX 4070 Ti SUPER" and "rtx-4070" are "rtx4070"."""
    return "".join(_words(name))


def _words(name: str) -> list[str]:
    name = re.sub("tegra(?=[0-9])", "t", name.lower().replace("_", " "))  # as device trees have it
    words = re.findall(r"[a-z]+|[0-9]+", _SIZES.sub(" ", name))
    return [word for word in words if word not in _MARKS]


@cache
def _names(group: str) -> Mapping[str, tuple[str, ComputeCapability]]:
    """NVIDIA's name and the capability, by all that people write for it."""
    found: dict[str, tuple[str, ComputeCapability]] = {}
    for number, row in table().items():
        capability = ComputeCapability.parse(number)
        for title in row.get(group, ()):
            others = map(_plain, row.get("also", {}).get(title, ()))
            for plain in (*_short(title), *others):
                found.setdefault(plain, (title, capability))
    return found


def _short(title: str) -> Iterator[str]:
    plain = _plain(title)
    yield plain
    # "4090" and "a6000" are said for these alone; an RTX 6000 may be one of three.
    if re.match(r"GeForce [GR]TX [0-9]|RTX A[0-9]", title):
        yield plain[3:]
    if re.match(r"GeForce [GR]TX [0-9]+$", title):
        yield from (f"{plain}s", f"{plain}tis")
    if re.match(r"RTX A[0-9]", title):
        yield f"quadro{plain}"
    if found := re.match(r"RTX PRO ([0-9]+D?)", title):
        yield from (f"rtx{found[1]}pro".lower(), f"pro{found[1]}".lower(), f"{found[1]}pro".lower())
    if found := re.fullmatch(r"RTX ([0-9]+E? Ada)", title):
        yield _plain(found[1])
