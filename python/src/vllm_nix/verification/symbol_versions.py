"""The versions of symbols that a file needs (GLIBC_2.34, GLIBCXX_3.4.30), against those that there are."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.linker import Process
from vllm_nix.gpu.device import JetPack
from vllm_nix.verification.facts import Facts

# Which release of glibc has what is no number (its NEWS).
_ABI = {"GLIBC_ABI_DT_RELR": "GLIBC_2.36", "GLIBC_ABI_GNU2_TLS": "GLIBC_2.42"}


def absent(facts: Facts, process: Process, file: Path) -> Iterator[tuple[str, str, str]]:
    """Versions that a file needs and that the library that it gets does not have: the newest of them, the
    library, and the newest that it has. One without any versions is taken as it is, as the loader
    does."""
    for library, wanted in _needed(facts, file).items():
        there = process.names.get(library)
        if there is None or not wanted:
            continue
        try:
            defined = facts.versions(Path(there.path)).defined
        except (ElfError, OSError):
            continue
        if lacking := sorted(set(wanted) - defined, key=_key) if defined else []:
            family = lacking[-1].rpartition("_")[0]
            alike = [one for one in defined if one.rpartition("_")[0] == family]
            yield lacking[-1], library, max(alike, key=_key, default="none of that kind")


def too_new(
    facts: Facts, file: Path, release: JetPack, inside: Collection[str]
) -> tuple[str, str] | None:
    """The newest version that a file needs and that a JetPack does not have, with its library; None if
    it has all. Libraries that are `inside` the environment do not count."""
    found = [
        (_ABI.get(version, version), library)
        for library, versions in _needed(facts, file).items()
        if library not in inside
        for version in versions
    ]
    newer = [one for one in found if _is_newer(one[0], release)]
    return max(newer, key=lambda one: _key(one[0]), default=None)


def _needed(facts: Facts, file: Path) -> Mapping[str, Collection[str]]:
    try:
        return facts.versions(file).needed
    except (ElfError, OSError):
        return {}  # see `elf`


def _is_newer(version: str, release: JetPack) -> bool:
    family, _, number = version.partition("_")
    newest = release.symbols.get(family)
    if newest is None or not re.fullmatch(r"[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}", number):
        return False
    return _key(version) > _key(f"{family}_{newest}")


def _key(version: str) -> tuple[str, tuple[int, ...]]:
    """GLIBC_2.9 is before GLIBC_2.34."""
    family, _, number = version.rpartition("_")
    return family, tuple(map(int, re.findall(r"[0-9]{1,9}", number)))
