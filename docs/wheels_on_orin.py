"""Writes docs/wheels-on-orin.md: what the public aarch64 wheels mean for an Orin.

python -m docs.wheels_on_orin            from the recorded scan, wheels-on-orin.json
python -m docs.wheels_on_orin --refresh  downloads the wheels of wheels-on-orin.toml, records anew
"""

import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.wheels import Wheel, unpack
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.compat import (
    Device,
    JetPack,
    Judgement,
    Verdict,
    device,
    jetpack_release,
    judge_library,
)
from vllm_nix.gpu.fatbin import Entry, Fatbin
from vllm_nix.gpu.libraries import RUNS, Library, read_library

HERE = Path(__file__).parent
PINS, SCAN, PAGE = (HERE / f"wheels-on-orin.{suffix}" for suffix in ("toml", "json", "md"))
JETPACKS = ("6.2", "7.2")

INTRODUCTION = """\
<!-- Written by `make docs`; do not edit. -->
# The public wheels on Orin

What the GPU code in the newest public aarch64 wheels means for a Jetson AGX Orin (compute
capability 8.7). Read by `vllm-nix archs --for orin`, which needs no GPU and no CUDA; nothing was
run. The rules ([of libraries](../python/src/vllm_nix/gpu/compat.toml), [of devices](../nix/targets/capabilities.toml)) are NVIDIA's and PyTorch's.
"""

WORDS = """\
A fatbin is the code of one source file for all its architectures, of which CUDA picks one.
*native*: for this very device. *compatible*: for a related one, whose code it runs. *jit*: PTX,
compiled at first start. *missing*: only code that the device does not run. *not-applicable*: for
other devices only, such as the kernels for Hopper. What Triton and vLLM compile on the device is in
no library, and not judged here.
"""


def main() -> None:
    if sys.argv[1:] == ["--refresh"]:
        SCAN.write_text(json.dumps(scan(), indent=1) + "\n", encoding="utf-8")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    PAGE.write_text(page(json.loads(SCAN.read_text(encoding="utf-8"))), encoding="utf-8")


def scan() -> list[dict[str, Any]]:
    """What the wheels' libraries carry, without repetition."""
    pins = tomllib.loads(PINS.read_text(encoding="utf-8"))["wheels"]
    wheels = []
    for pin in pins:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            libraries: dict[str, Any] = {}
            for path in sorted(unpack(Wheel(**pin), folder)):
                found = read_library(path)
                if found.damage:
                    raise RuntimeError(f"{path}: {found.damage[0]}")
                if code := _recorded(found):
                    # A wheel has copies in place of links: libcupti.so, libcupti.so.13 ...
                    key = f"{path.parent}{path.stat().st_size}{code}"
                    libraries.setdefault(key, {"path": str(path.relative_to(folder)), "code": code})
            wheels.append({**pin, "libraries": list(libraries.values())})
    return wheels


def _recorded(library: Library) -> list[dict[str, Any]]:
    """Equal fatbins as one line."""
    counts = Counter(
        (one.section, " ".join(map(_spelling, one.entries)))
        for one in library.fatbins
        if one.role in RUNS
    )
    return [
        {"section": section, "entries": entries, "count": count}
        for (section, entries), count in counts.items()
    ]


def _spelling(entry: Entry) -> str:
    return entry.arch + ("/{}.{}".format(*entry.version) if entry.kind == "ptx" else "")


def _library(recorded: Mapping[str, Any]) -> Library:
    fatbins = tuple(
        Fatbin(0, 0, line["section"], "", tuple(map(_entry, line["entries"].split())))
        for line in recorded["code"]
        for _ in range(line["count"])
    )
    return Library(Path(recorded["path"]), fatbins, ())


def _entry(spelling: str) -> Entry:
    arch, _, isa = spelling.partition("/")
    kind = {"sm": "cubin", "compute": "ptx", "lto": "lto-ir"}[arch.partition("_")[0]]
    major, minor = map(int, (isa or "0.0").split("."))
    return Entry(0, kind, ComputeCapability.parse(arch), (major, minor), True, "", 0, 0, "", None)


def page(wheels: Sequence[Mapping[str, Any]]) -> str:
    """The document of a scan."""
    releases = [jetpack_release(one) for one in JETPACKS]
    devices = [device("orin", jetpack=one) for one in JETPACKS]
    titles = [_title(release) for release in releases]
    parts = [INTRODUCTION]
    parts += [
        _conclusion(release, title, on, wheels)
        for release, title, on in zip(releases, titles, devices, strict=True)
    ]
    for wheel in wheels:
        parts.append(f"## {wheel['requirement'].replace('==', ' ')}\n")
        parts.append(f"sha256 `{wheel['sha256']}`\n")
        parts.append("\n".join(_table(wheel, titles, devices)) + "\n")
    return "\n".join([*parts, WORDS])


def _title(release: JetPack) -> str:
    return f"JetPack {release.release} (CUDA {release.cuda})"


def _table(
    wheel: Mapping[str, Any], titles: Sequence[str], devices: Sequence[Device]
) -> Iterator[str]:
    yield f"| library | {' | '.join(titles)} |"
    yield "|---" * (1 + len(titles)) + "|"
    for recorded in wheel["libraries"]:
        library = _library(recorded)
        judged = (judge_library(library, on) for on in devices)
        yield f"| `{library.path}` | {' | '.join(map(_cell, judged))} |"


def _cell(judgement: Judgement) -> str:
    others = [
        f"{count} {verdict}"
        for verdict, count in judgement.counts.items()
        if verdict is not judgement.verdict
    ]
    more = f"; the others: {', '.join(others)}" if others else ""
    return f"**{judgement.verdict}**: {judgement.why}{more}"


def _conclusion(
    release: JetPack, title: str, on: Device, wheels: Sequence[Mapping[str, Any]]
) -> str:
    judged: dict[str, list[Judgement]] = {
        wheel["requirement"].split("==")[0]: [
            judge_library(_library(one), on) for one in wheel["libraries"]
        ]
        for wheel in wheels
    }
    counts = Counter(one.verdict for rows in judged.values() for one in rows)
    needed = counts.total() - counts[Verdict.NOT_APPLICABLE] - counts[Verdict.DEAD]
    lacking = [
        name for name, rows in judged.items() if any(r.verdict is Verdict.MISSING for r in rows)
    ]
    if not lacking:
        return (
            f"Under {title}, nothing is missing: {counts[Verdict.NATIVE]} of the {needed} libraries "
            f"with code for such devices are native, {counts[Verdict.COMPATIBLE]} run code for "
            f"related devices, and {counts[Verdict.JIT]} compile some at first start.\n"
        )
    wrong = (
        f"; besides, this JetPack has {release.libraries.upper()}'s CUDA libraries, not those of "
        "SBSA that the wheels are linked with"
        if release.libraries != "sbsa"
        else ""
    )
    return (
        f"Under {title}, {counts[Verdict.MISSING]} of the {needed} libraries with code for such "
        f"devices lack code that Orin needs, in {_and(lacking)}{wrong}.\n"
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


if __name__ == "__main__":
    main()
