"""Writes docs/wheels.md and docs/wheels-by-library.html: what the public wheels hold for which device.

python -m docs.wheels                     from the recorded scan, wheels.json
python -m docs.wheels --refresh [FOLDER]  reads the wheels of WHEELS, records anew

The wheels are the locked ones of the targets `cuda` and `jetson_7`. They are looked for in the Nix store,
where `vllm-nix fetch cuda` and `vllm-nix fetch --system aarch64-linux jetson_7` put them, and in FOLDER.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.compat import Verdict
from vllm_nix.gpu.device import Device, device
from vllm_nix.gpu.fatbin import Entry, Fatbin
from vllm_nix.gpu.libraries import RUNS, Library, read_path
from vllm_nix.gpu.matrix import Matrix, Outcome, of_libraries
from vllm_nix.html.matrix import legend, matrix_table, outcome_table
from vllm_nix.html.page import page, plain, text
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import load_requirements
from vllm_nix.store import fixed_path, store_name

HERE = Path(__file__).parent
SCAN, MARKDOWN = HERE / "wheels.json", HERE / "wheels.md"
HTML = HERE / "wheels-by-library.html"  # a site has wheels.md as wheels.html

TARGETS = {"x86_64": "cuda", "aarch64": "jetson_7"}
WHEELS = (
    "vllm", "torch", "torchvision", "triton", "nvidia-nccl-cu13", "nvidia-nvshmem-cu13", "nvidia-cublas",
    "nvidia-cudnn-cu13", "nvidia-cusparselt-cu13", "nvidia-cusparse", "nvidia-cusolver", "nvidia-cufft",
    "nvidia-curand",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """A device with its driver: `machines` are the processors that it comes with."""

    title: str
    device: Device
    machines: tuple[str, ...]


# By the driver that people have: CUDA 13.0 is what these wheels ask for.
ANY, ARM = ("x86_64", "aarch64"), ("aarch64",)
COLUMNS = (
    Column("8.6 A10, A6000, RTX 30", device("8.6", "13.0"), ANY),
    Column("8.7 Orin, JetPack 6.2", device("8.7", jetpack="6.2"), ARM),
    Column("8.7 Orin, JetPack 7.2", device("8.7", jetpack="7.2"), ARM),
    Column("9.0 H100, H200, GH200", device("9.0", "13.0"), ANY),
    Column("10.0 B200, GB200", device("10.0", "13.0"), ANY),
    Column("10.3 B300, GB300", device("10.3", "13.0"), ANY),
    Column("11.0 Thor, JetPack 7.2", device("11.0", jetpack="7.2"), ARM),
    Column("12.0 RTX 50, RTX PRO", device("12.0", "13.0"), ANY),
    Column("12.1 GB10, DGX Spark", device("12.1", "13.0"), ARM),
)
RULES = """\
Read by `vllm-nix archs`, which needs no GPU and no CUDA; nothing was run. The drivers are those of
CUDA 13.0, and JetPack's on Jetson. What Triton, FlashInfer and vLLM compile on the device is in no
library, and not judged here.
"""


def main() -> None:
    match sys.argv[1:]:
        case ["--refresh", *folders]:
            wheels = scan([Path(one) for one in folders])
            SCAN.write_text(json.dumps(wheels, indent=1) + "\n", encoding="utf-8")
        case []:
            wheels = json.loads(SCAN.read_text(encoding="utf-8"))
        case _:
            sys.exit(__doc__)
    MARKDOWN.write_text(markdown(wheels), encoding="utf-8")
    HTML.write_text(html(wheels), encoding="utf-8")


def scan(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What the wheels' libraries carry, without repetition."""
    return [
        one for machine, target in TARGETS.items() for one in _scan_target(machine, target, folders)
    ]


def _scan_target(machine: str, target: str, folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    lock = read_lock(load_requirements(target).lock_file(f"{machine}-linux"))
    wheels = {wheel.name: wheel for wheel in lock.wheels}
    for name in WHEELS:
        wheel = wheels[name]
        path = _find(wheel.file, wheel.sha256, folders)
        print(path, file=sys.stderr)
        libraries: dict[str, dict[str, Any]] = {}
        for library in read_path(path):
            if library.damage:
                raise RuntimeError(f"{library.path}: {library.damage[0]}")
            if code := _recorded(library):
                # A wheel has copies in place of links: libcupti.so, libcupti.so.13 ...
                place = library.path.relative_to(path)
                key = f"{place.parent}{place.name.partition('.so')[0]}{code}"
                libraries.setdefault(key, {"path": str(place), "code": code})
        yield {
            "requirement": f"{name}=={wheel.version}",
            "machine": machine,
            "sha256": wheel.sha256,
            "libraries": list(libraries.values()),
        }


def _find(file: str, sha256: str, folders: Sequence[Path]) -> Path:
    stored = fixed_path(store_name(file), sha256)
    if stored.is_file():
        return stored
    for folder in folders:
        if (path := folder / file).is_file():
            with path.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() == sha256:
                    return path
    sys.exit(f"{file} is neither {stored} nor, with this hash, in the folders given")


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


Judged = Sequence[tuple[Mapping[str, Any], Matrix]]


def judge(wheels: Sequence[Mapping[str, Any]], machine: str) -> Judged:
    """The wheels for a processor, each with the matrix of its libraries."""
    devices = [column.device for column in columns(machine)]
    return [
        (wheel, of_libraries([(one["path"], _library(one)) for one in wheel["libraries"]], devices))
        for wheel in wheels
        if wheel["machine"] == machine
    ]


def columns(machine: str) -> list[Column]:
    return [one for one in COLUMNS if machine in one.machines]


def title(wheel: Mapping[str, Any]) -> str:
    return str(wheel["requirement"]).replace("==", " ")


def conclusion(judged: Judged, column: int) -> str:
    """What the wheels together are for a device, in a sentence without its end."""
    outcomes = [(title(wheel).split()[0], matrix.outcomes[column]) for wheel, matrix in judged]
    missing = [name for name, one in outcomes if one.verdict is Verdict.MISSING]
    late = [name for name, one in outcomes if one.verdict is Verdict.JIT]
    if missing:
        return f"code is missing in {', '.join(missing)}"
    if late:
        return f"nothing is missing; some of {', '.join(late)} is compiled at first start"
    return "nothing is missing"


def markdown(wheels: Sequence[Mapping[str, Any]]) -> str:
    """The page of a scan: wheels by devices."""
    parts = [
        "<!-- Written by `make docs`; do not edit. -->",
        "# Which wheel for which device",
        "",
        "    vllm-nix archs ~/venv --for orin --jetpack 6.2    # the same, of what you have",
        "",
        "What the GPU code in the public wheels of vLLM, torch and NVIDIA means for a device: the wheels that",
        'the targets [`cuda`](cuda.md) and `jetson_7` lock. <a href="wheels-by-library.html">By library, with the reasons</a>.',
        RULES,
    ]
    for machine in TARGETS:
        judged = judge(wheels, machine)
        here = columns(machine)
        parts += [f"## {machine}", ""]
        parts += [
            f"* **{column.title}**: {conclusion(judged, index)}."
            for index, column in enumerate(here)
        ]
        parts += ["", f"| wheel | {' | '.join(column.title for column in here)} |"]
        parts += ["|---" * (1 + len(here)) + "|"]
        for wheel, matrix in judged:
            cells = " | ".join(map(_markdown_cell, matrix.outcomes))
            parts.append(f"| {title(wheel)} | {cells} |")
        parts.append("")
    parts.append(
        "A number says how many libraries of the wheel have the verdict, which is the worst of those with\n"
        "code for such devices. *native*: code for this very device. *compatible*: for a related one, whose\n"
        "code it runs. *jit*: PTX, compiled at first start. *missing*: only code that the device does not run,\n"
        "in some of the library. A dash: nothing is for this device, such as kernels for Hopper."
    )
    return "\n".join(parts) + "\n"


def _markdown_cell(outcome: Outcome) -> str:
    verdict = outcome.verdict
    if verdict is Verdict.NOT_APPLICABLE:
        return "-"
    word = f"**{verdict}**" if verdict is Verdict.MISSING else str(verdict)
    return f"{word} {outcome.counts[verdict]}"


def html(wheels: Sequence[Mapping[str, Any]]) -> str:
    """The same by library, on a page by itself."""
    return page("Which wheel for which device", _body(wheels))


def _verdict(judged: Mapping[str, Judged]) -> str:
    """Which devices lack something, in a sentence."""
    lacking = [
        f"{column.title} ({machine})"
        for machine in TARGETS
        for index, column in enumerate(columns(machine))
        if any(matrix.outcomes[index].verdict is Verdict.MISSING for _, matrix in judged[machine])
    ]
    return f"All the code is there, but for {' and '.join(lacking)}."


def _body(wheels: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<h1>Which wheel for which device</h1>"
    judged = {machine: judge(wheels, machine) for machine in TARGETS}
    yield f'<p class="verdict jit">{plain(_verdict(judged))}</p>'
    yield f"<p>{text(' '.join(RULES.split()))}</p>"
    for machine in TARGETS:
        titles = [column.title for column in columns(machine)]
        rows = [(title(wheel), matrix.outcomes) for wheel, matrix in judged[machine]]
        yield f"<h2>{machine}</h2>"
        yield from outcome_table(
            rows, "Wheels by devices: how many libraries have the verdict", titles
        )
    yield "<h2>Legend</h2>"
    yield legend()
    yield (
        "<p>A number says how many of the library's fatbins (one for each source file) have the "
        "verdict, which is that of the worst. Open a cell for the reason.</p>"
    )
    for machine in TARGETS:
        titles = [column.title for column in columns(machine)]
        for wheel, matrix in judged[machine]:
            yield f"<h2>{plain(title(wheel))}, {machine}</h2>"
            yield f"<p><small>sha256 <code>{wheel['sha256']}</code></small></p>"
            yield from matrix_table(matrix, f"{title(wheel)} for {machine}", titles)


if __name__ == "__main__":
    main()
