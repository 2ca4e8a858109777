"""GPUs by name or compute capability, and what drives them: a CUDA release, or a JetPack."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU and what drives it. `cuda` is the CUDA release of its driver, None if not known."""

    name: str
    capability: str
    tegra: bool
    cuda: str | None

    @property
    def machine(self) -> str | None:
        """The processor that comes with it, as "aarch64"; None where it may be any."""
        is_arm = self.tegra or self.name.lower() in table()["aarch64"]["devices"]
        return "aarch64" if is_arm else None

    @property
    def ptx_isa(self) -> str | None:
        """The newest PTX ISA that the driver is known to compile."""
        if self.cuda is None:
            return None
        isas: dict[str, str] = table()["ptx-isa"]
        return [isa for cuda, isa in isas.items() if release(cuda) <= release(self.cuda)][-1]

    def __str__(self) -> str:
        number = "" if self.name == self.capability else f" ({self.capability})"
        return self.name + number + (f" with CUDA {self.cuda}" if self.cuda else "")


@dataclass(frozen=True, slots=True)
class JetPack:
    """A JetPack release. `libraries` says whose CUDA libraries it takes: "l4t" or "sbsa"."""

    release: str
    cuda: str
    libraries: str
    capabilities: tuple[str, ...]


def device(text: str, cuda: str | None = None, jetpack: str | None = None) -> Device:
    """The device of a name ("orin") or compute capability ("8.7").

    The CUDA release is that of its driver, given, or JetPack's. Raises InputError.
    """
    names: dict[str, str] = table()["devices"]
    capability = names.get(text.lower(), text)
    if capability not in capabilities():
        raise InputError(
            f"unknown device '{text}'; there are: {', '.join(names)}, "
            f"and the capabilities {', '.join(capabilities())}"
        )
    if cuda is not None and jetpack is not None:
        raise InputError(f"both CUDA {cuda} and JetPack {jetpack}; name one of them")
    if jetpack is not None:
        cuda = _suited(jetpack, text, capability).cuda
    cuda = cuda and cuda_release(cuda)
    return Device(text, capability, capability in table()["tegra"]["capabilities"], cuda)


def cuda_release(text: str) -> str:
    """The same text, if it is a CUDA release. Raises `InputError`."""
    if not is_release(text):
        first = next(iter(table()["ptx-isa"]))
        raise InputError(f"unknown CUDA release '{text}'; give one as 12.6, {first} or later")
    return text


def is_release(cuda: str) -> bool:
    """Whether this is a CUDA release that the table reaches back to; later ones all count."""
    first = next(iter(table()["ptx-isa"]))
    fits = re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", cuda)
    return fits is not None and release(cuda) >= release(first)


def jetpack_release(text: str) -> JetPack:
    """A JetPack release by its number; updates such as 6.2.1 count as 6.2. Raises InputError."""
    known = table()["jetpack"]
    number = ".".join(text.split(".")[:2])
    if number not in known:
        raise InputError(f"unknown JetPack '{text}'; there are: {', '.join(known)}")
    row = known[number]
    return JetPack(
        release=number,
        cuda=row["cuda"],
        libraries=row["libraries"],
        capabilities=tuple(row["capabilities"]),
    )


def _suited(jetpack: str, text: str, capability: str) -> JetPack:
    found = jetpack_release(jetpack)
    if capability in found.capabilities:
        return found
    others = [one for one, row in table()["jetpack"].items() if capability in row["capabilities"]]
    raise InputError(
        f"JetPack {jetpack} is not for {text}, which has "
        + (f"JetPack {', '.join(others)}" if others else "none that is known here")
    )


@cache
def capabilities() -> tuple[str, ...]:
    """The compute capabilities whose rules are known, sorted."""
    known = {*table()["devices"].values(), *table()["others"]["capabilities"]}
    return tuple(sorted(known, key=release))


def release(text: str) -> tuple[int, int]:
    """ "12.6", to be compared."""
    major, minor = text.split(".")
    return int(major), int(minor)


@cache
def table() -> dict[str, Any]:
    """compat.toml."""
    path = Path(__file__).parent / "compat.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
