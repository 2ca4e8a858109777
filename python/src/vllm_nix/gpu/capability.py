"""A CUDA compute capability: each spelling of it, and what nix/targets/capabilities.toml says of it.

`nix/lib/cuda.nix` says the same in Nix. Numbers are spelled three ways: 8.7 by NVIDIA's tables and
TORCH_CUDA_ARCH_LIST, sm_87 for cubins, compute_87 for PTX. Some have a suffix: "a" for code that runs
on exactly this capability, "f" for its family (CUDA C++ Programming Guide, "Family-Specific Features").
"""

from _collections_abc import Iterable, Mapping

from vllm_nix.errors import InputError
from vllm_nix.light import NamedTuple, once

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    from typing import Any

_PREFIXES = {"cubin": "sm", "ptx": "compute", "lto-ir": "lto"}


class ComputeCapability(NamedTuple):
    """Such as 8.7 or 12.0f; ordered by number. `str()` is NVIDIA's spelling.

    Any number is one, for a library may hold any: `is_known` says whether the table has it.
    """

    major: int
    minor: int
    suffix: str = ""

    @classmethod
    def parse(cls, text: str) -> "ComputeCapability":
        """From "8.7", "sm_87", "sm_90a" or "compute_120f". Raises `InputError`."""
        found = _parsed(text)
        if found is None:
            raise InputError(f"'{text}' is not a compute capability; write one as 8.7 or sm_87")
        return found

    @classmethod
    def from_sm(cls, number: int, suffix: str = "") -> "ComputeCapability":
        """From the number that cubins and fatbins hold, such as 87."""
        return from_sm(number, suffix)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}{self.suffix}"

    @property
    def number(self) -> int:
        """87 of 8.7: what cubins and fatbins hold."""
        return 10 * self.major + self.minor

    def arch(self, kind: str) -> str:
        """As nvcc calls code of a kind (`fatbin.Entry.kind`): "sm_87", "compute_87", "lto_87"."""
        return f"{_PREFIXES.get(kind, kind)}_{self.number}{self.suffix}"

    @property
    def sm(self) -> str:
        """As nvcc calls cubins for it: "sm_87"."""
        return self.arch("cubin")

    @property
    def gencode(self) -> str:
        """nvcc's flag for native code alone, no PTX."""
        return f"-gencode=arch={self.arch('ptx')},code={self.sm}"

    @property
    def base(self) -> "ComputeCapability":
        """Without the suffix: what a device has."""
        return from_sm(self.number, "")

    @property
    def present(self) -> "ComputeCapability":
        """By its name of today, if it was renamed."""
        new = _row(self).get("renamed")
        return self.parse(f"{new}{self.suffix}") if new else self

    @property
    def is_known(self) -> bool:
        return bool(_row(self))

    @property
    def jetson(self) -> bool:
        """Whether it is a Jetson's: for aarch64 alone, and no other device runs its cubins."""
        return bool(_row(self).get("jetson", False))

    @property
    def integrated(self) -> bool:
        """Whether its memory is the host's."""
        return self.jetson or bool(_row(self).get("integrated", False))

    @property
    def sbsa(self) -> str | None:
        """The first CUDA release with which a Jetson of it runs cubins of servers, if there is one."""
        return _row(self).get("sbsa")

    @property
    def compilers(self) -> tuple[str, str | None]:
        """The first and the last CUDA release whose nvcc compiles for it; None: the newest does.

        Raises KeyError if it is not known."""
        row = table()[str(self.base)]
        return row["first"], row.get("last")

    @property
    def compiled_by(self) -> str:
        """The CUDA releases of `compilers` in words: "8.0 to 12.9", "11.4 and newer"."""
        first, last = self.compilers
        return f"{first} to {last}" if last else f"{first} and newer"

    def is_compiled_by(self, cuda: str) -> bool:
        """Whether a CUDA release, such as "12.6", compiles for it. Raises KeyError as `compilers`."""
        first, last = self.compilers
        return _release(first) <= _release(cuda) and (not last or _release(cuda) <= _release(last))


@once
def table() -> "Mapping[str, Mapping[str, Any]]":
    """capabilities.toml: its rows by capability, such as "8.7", from the lowest on."""
    from vllm_nix.data import TARGETS  # what a library carries is read without
    from vllm_nix.paths import read_toml

    return read_toml(TARGETS / "capabilities.toml")


def known() -> tuple[ComputeCapability, ...]:
    """The capabilities of the table, sorted."""
    return tuple(sorted(map(ComputeCapability.parse, table())))


def arch_list(capabilities: Iterable[str | ComputeCapability]) -> str:
    """PyTorch's variable TORCH_CUDA_ARCH_LIST, in the given order: "8.6;8.7"."""
    return ";".join(map(str, capabilities))


def _release(cuda: str) -> tuple[int, ...]:
    return tuple(map(int, cuda.split(".")))


def _row(capability: ComputeCapability) -> "Mapping[str, Any]":
    return table().get(str(capability.base), {})


def from_sm(number: int, suffix: str) -> ComputeCapability:
    return ComputeCapability(*divmod(number, 10), suffix)


def _parsed(text: str) -> ComputeCapability | None:
    word = text.strip().lower()
    name = next(
        (word[len(one) + 1 :] for one in _PREFIXES.values() if word.startswith(f"{one}_")), word
    )
    digits = name[:-1] if name[-1:] in ("a", "f") else name
    suffix = name[len(digits) :]
    if name == word:
        major, _, minor = digits.partition(".")
    else:
        major, minor = digits[:-1], digits[-1:]
    if not (_is_number(major, 3) and _is_number(minor, 1)):
        return None
    return ComputeCapability(int(major), int(minor), suffix)


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= most
