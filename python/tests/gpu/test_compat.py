"""The rules, row by row: NVIDIA's wording, PyTorch's table of cubins and devices, PTX ISA limits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_binaries import Part, cubin, elf_file, entry, fatbin_of

from vllm_nix.errors import InputError
from vllm_nix.gpu import fatbin
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.compat import (
    Judgement,
    Verdict,
    fix_missing,
    is_beside_what_runs,
    judge,
    judge_library,
)
from vllm_nix.gpu.device import Device, device, jetpack_release
from vllm_nix.gpu.libraries import Library, read_library

NATIVE, COMPATIBLE, JIT = Verdict.NATIVE, Verdict.COMPATIBLE, Verdict.JIT
MISSING, UNKNOWN, OTHER = Verdict.MISSING, Verdict.UNKNOWN, Verdict.NOT_APPLICABLE

ORIN_6 = device("orin", jetpack="6.2")
ORIN_7 = device("orin", jetpack="7.2")
A6000 = device("a6000", cuda="12.6")
H100 = device("h100", cuda="12.6")
SUFFIX = {"": 0x11, "a": 0x100011, "f": 0x200011}


def one(code: str) -> bytes:
    """An entry from its spelling: sm_90a, or compute_80/8.4 with its PTX ISA."""
    arch, _, isa = code.partition("/")
    capability = ComputeCapability.parse(arch)
    sm, flags = capability.number, SUFFIX[capability.suffix]
    if arch == capability.sm:
        return entry(2, sm, cubin(sm, "add"), flags=flags)
    major, minor = isa.split(".")
    return entry(1, sm, flags=flags, version=(int(major), int(minor)))


def library(path: Path, *units: str, section: str = ".nv_fatbin") -> Library:
    """Each unit is a fatbin's entries: "sm_80 compute_80/8.4"."""
    data = b"".join(fatbin_of(*map(one, unit.split())) for unit in units)
    path.write_bytes(elf_file(Part(section, data)))
    return read_library(path)


def verdict(codes: str, on: Device) -> Verdict:
    (found,) = fatbin.parse(fatbin_of(*map(one, codes.split()))).fatbins
    return judge(found, on)


# NVIDIA's wording, and what CUDA 13.2 changes (facts: cuda.md 4.1, 4.2, 6).
@pytest.mark.parametrize(
    ("codes", "on", "expected"),
    [
        ("sm_87", ORIN_6, NATIVE),
        ("sm_80", ORIN_6, MISSING),
        ("sm_86", ORIN_6, MISSING),
        ("sm_80", device("8.7", cuda="12.9"), MISSING),
        ("sm_80", device("8.7", cuda="13.1"), MISSING),
        ("sm_80", ORIN_7, COMPATIBLE),
        ("sm_86", ORIN_7, COMPATIBLE),
        ("sm_80", device("8.7", cuda="13.3"), COMPATIBLE),
        ("sm_80", device("orin"), UNKNOWN),
        ("sm_87", device("orin"), NATIVE),
        ("sm_80", A6000, COMPATIBLE),
        ("sm_80", device("a6000"), COMPATIBLE),
        ("sm_86", A6000, NATIVE),
        ("sm_75", A6000, MISSING),
        ("sm_87", device("rtx4090"), MISSING),  # Tegra's code is not the desktop's
        ("sm_87", ORIN_7, NATIVE),
        ("sm_72", device("xavier", jetpack="5.1"), NATIVE),
        ("sm_70", device("xavier", jetpack="5.1"), MISSING),
        ("sm_101", device("thor", jetpack="7.2"), NATIVE),  # renamed 11.0
        ("sm_100", device("thor", jetpack="7.2"), MISSING),
        ("sm_88", device("8.9"), UNKNOWN),  # a capability whose rules we do not have
        # Code for one architecture, and for a family.
        ("sm_90a", ORIN_6, OTHER),
        ("sm_90a", device("h100"), NATIVE),
        ("sm_90a", device("b200"), OTHER),
        ("sm_100f", device("b200"), COMPATIBLE),
        ("sm_100f", device("b300"), COMPATIBLE),
        ("sm_103f", device("b200"), OTHER),
        ("sm_100f", device("rtx5090"), OTHER),
        ("sm_100a", device("b300"), OTHER),
        ("sm_120a", device("gb10"), OTHER),
        ("sm_120f", device("gb10"), COMPATIBLE),
        # Newer code alone; beside older code, the older one is what would have to run.
        ("sm_89 sm_90", ORIN_6, OTHER),
        ("sm_75 sm_90", ORIN_6, MISSING),
        ("sm_80 sm_90a", ORIN_6, MISSING),
        # PTX: any older capability, but no newer ISA than the driver's.
        ("compute_80/8.5", ORIN_6, JIT),
        ("compute_80/9.0", ORIN_6, MISSING),
        ("compute_80/8.7", device("8.7", cuda="12.9"), JIT),
        ("compute_80/9.0", ORIN_7, JIT),
        ("compute_52/8.1", ORIN_6, JIT),
        ("compute_89/8.4", ORIN_6, OTHER),
        ("compute_90a/8.4", ORIN_6, OTHER),
        ("compute_90a/8.4", device("h100", cuda="12.4"), JIT),
        ("compute_90a/8.4", device("b200", cuda="12.8"), OTHER),
        ("compute_100f/8.8", device("b300", cuda="12.9"), JIT),
        ("compute_80/8.4", device("a6000"), UNKNOWN),
        ("compute_80/9.9", device("a6000", cuda="13.4"), MISSING),
        ("compute_80/9.9", device("a6000", cuda="14.0"), UNKNOWN),
        # The best entry counts.
        ("sm_80 compute_80/8.5", ORIN_6, JIT),
        ("sm_80 compute_80/8.5", ORIN_7, COMPATIBLE),
        ("sm_80 sm_87 compute_80/9.0", ORIN_6, NATIVE),
    ],
)
def test_verdicts(codes: str, on: Device, expected: Verdict) -> None:
    assert verdict(codes, on) == expected


# PyTorch's table, torch 2.15: which devices take a cubin, below CUDA 13.2.
DEVICES = (50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90, 100, 103, 110, 120, 121)
TAKEN_BY = {
    50: {50, 52},
    52: {52},
    53: {53},
    60: {60, 61},
    61: {61},
    62: {62},
    70: {70, 75},
    72: {72},
    75: {75},
    80: {80, 86, 89},
    86: {86, 89},
    87: {87},
    89: {89},
    90: {90},
    100: {100, 103},
    101: {110},
    103: {103},
    110: {110},
    120: {120, 121},
    121: {121},
}
# Of the devices that CUDA 13.2 supports, only Orin gains anything.
GAINED = {(80, 87), (86, 87)}


@pytest.mark.parametrize("sm", TAKEN_BY)
def test_pytorchs_table(sm: int) -> None:
    for number in DEVICES:
        capability = f"{number // 10}.{number % 10}"
        for cuda, gained in (("12.8", set[tuple[int, int]]()), ("13.2", GAINED)):
            runs = verdict(f"sm_{sm}", device(capability, cuda=cuda)).runs
            expected = number in TAKEN_BY[sm] or (sm, number) in gained
            if number != 72:  # CUDA 13 has no Xavier
                assert runs is expected, (sm, capability, cuda)


@pytest.mark.parametrize(
    ("cuda", "isa"),
    [
        ("12.1", "8.1"),
        ("12.2", "8.2"),
        ("12.6", "8.5"),
        ("12.8", "8.7"),
        ("13.0", "9.0"),
        ("13.2", "9.2"),
        ("99.0", "9.5"),
    ],
)
def test_ptx_isa(cuda: str, isa: str) -> None:
    assert device("a6000", cuda=cuda).ptx_isa == isa


def test_devices() -> None:
    assert device("Orin") == Device("Orin", ComputeCapability(8, 7))
    assert device("orin", jetpack="6.2.1").cuda == "12.6"
    assert str(device("orin", jetpack="7.2")) == "orin (8.7) with CUDA 13.2"
    assert str(device("8.6")) == "8.6"
    for cuda in ("12.8", "cu128", "CUDA 12.8", "v12.8", "12.8.1"):
        assert device("8.6", cuda).cuda == "12.8", cuda
    for written, release_ in (
        ("JetPack 6.2.1", "6.2"),
        ("r36.4.4", "6.2"),
        ("L4T 36.4.3", "6.2"),
        ("r36.4", "6.1"),
        ("R35.6", "5.1"),
        ("39.0", "7.2"),
        ("jetpack-6.2", "6.2"),
        ("JP6.2", "6.2"),
        ("6.2+b77", "6.2"),
        ("l4t-r36.4.3", "6.2"),
        ("36.4.7-20250918154033", "6.2"),
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "6.2"),
    ):
        assert jetpack_release(written).release == release_, written
    assert jetpack_release("6.2").libraries == "l4t"
    assert jetpack_release("7.2").libraries == "sbsa"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("8.8",), r"unknown compute capability '8\.8'; there are: 5\.0, 5\.2, .* 12\.1"),
        (("orin", "12.x"), "unknown CUDA release '12.x'; give one as 12.6, 11.4 or later"),
        (("orin", "11"), "unknown CUDA release '11'"),
        (("orin", "10.2"), "unknown CUDA release '10.2'"),
        (("orin", "cu1280"), "unknown CUDA release 'cu1280'"),
        (("orin", None, "8.0"), "unknown JetPack '8.0'; there are: 5.1, 6.0"),
        (("orin", None, "r32.7"), "unknown JetPack 'r32.7'"),  # JetPack 4
        (("orin", None, "7.1"), "JetPack 7.1 is not for orin, which has JetPack 5.1, .*7.2"),
        (("a6000", None, "6.2"), "JetPack 6.2 is not for a6000, which has none"),
        (("orin", "12.6", "6.2"), "both CUDA 12.6 and JetPack 6.2"),
    ],
)
def test_unknown_devices(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        device(*arguments)


@pytest.mark.parametrize(
    ("units", "on", "expected"),
    [
        (
            ["sm_87", "sm_87 sm_90", "sm_90a"],
            ORIN_6,
            Judgement(
                NATIVE, {NATIVE: 2, OTHER: 1}, "2 of 3 fatbins have code for this very device"
            ),
        ),
        (
            ["sm_87", "sm_86", "sm_80 compute_80/8.5"],
            ORIN_6,
            Judgement(MISSING, {MISSING: 1, JIT: 1, NATIVE: 1}, "1 of 3 fatbins has only sm_86"),
        ),
        (
            ["sm_80", "sm_80 sm_90"],
            ORIN_6,
            Judgement(MISSING, {MISSING: 2}, "all 2 fatbins have only sm_80"),
        ),
        (
            ["sm_80 compute_80/9.0"],
            ORIN_6,
            Judgement(
                MISSING,
                {MISSING: 1},
                "its one fatbin has only sm_80, compute_80; "
                "PTX 9.0 is too new for CUDA 12.6, which takes 8.5",
            ),
        ),
        # Marlin's kernels for Turing, beside what runs: nothing is missing.
        (
            ["sm_75", "sm_87"],
            ORIN_6,
            Judgement(
                NATIVE, {NATIVE: 1, OTHER: 1}, "1 of 2 fatbins has code for this very device"
            ),
        ),
        (
            ["sm_75"],
            ORIN_6,
            Judgement(MISSING, {MISSING: 1}, "its one fatbin has only sm_75"),
        ),
        # Its kernels in FP8, for Ada and for the next but one.
        (
            ["sm_89 sm_120f", "sm_90"],
            H100,
            Judgement(
                NATIVE, {NATIVE: 1, OTHER: 1}, "1 of 2 fatbins has code for this very device"
            ),
        ),
        # More of them than of what runs: it was built for another device.
        (
            ["sm_80", "sm_80", "sm_90"],
            H100,
            Judgement(MISSING, {MISSING: 2, NATIVE: 1}, "2 of 3 fatbins have only sm_80"),
        ),
        (
            ["sm_80 compute_80/9.9", "sm_90"],
            H100,
            Judgement(
                MISSING,
                {MISSING: 1, NATIVE: 1},
                "1 of 2 fatbins has only sm_80, compute_80; "
                "PTX 9.9 is too new for CUDA 12.6, which takes 8.5",
            ),
        ),
        (
            ["sm_90a", "sm_100f"],
            ORIN_6,
            Judgement(
                OTHER,
                {OTHER: 2},
                "all 2 fatbins have code for other devices only (sm_90a, sm_100f)",
            ),
        ),
        (
            ["sm_80"],
            device("orin"),
            Judgement(
                UNKNOWN,
                {UNKNOWN: 1},
                "its one fatbin has only sm_80; say which CUDA release drives the device",
            ),
        ),
    ],
)
def test_libraries(tmp_path: Path, units: list[str], on: Device, expected: Judgement) -> None:
    assert judge_library(library(tmp_path / "lib.so", *units), on) == expected


def test_a_library_that_picks_its_code_needs_one_that_runs(tmp_path: Path) -> None:
    units = ("sm_80", "sm_87", "sm_90")
    for section, expected in ((".data", NATIVE), (".nv_fatbin", MISSING)):
        found = judge_library(library(tmp_path / "lib.so", *units, section=section), ORIN_6)
        assert found.verdict == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("libcusparseLt.so.0", NATIVE), ("libnvinfer.so.10", NATIVE), ("_C.so", MISSING)],
)
def test_nvidias_libraries_pick_from_any_number_of_kernels(
    tmp_path: Path, name: str, expected: Verdict
) -> None:
    units = ("sm_100", "sm_100 sm_103", "sm_120")
    on = device("rtx5090", cuda="13.0")
    assert judge_library(library(tmp_path / name, *units), on).verdict == expected


def test_nvidias_libraries_need_no_ptx_for_older_devices(tmp_path: Path) -> None:
    """libcusparse.so.12 of CUDA 12.8 on the driver of 12.4: such pairs are at work everywhere."""
    on = device("a6000", cuda="12.4")
    units: tuple[str, ...] = ("sm_50 sm_61 compute_61/8.7", "sm_80 sm_86")
    assert judge_library(library(tmp_path / "libcusparse.so.12", *units), on).verdict == NATIVE
    assert judge_library(library(tmp_path / "lib.so", *units), on).verdict == MISSING
    units = ("sm_50 compute_50/8.7", "sm_80", "sm_86", "sm_90")  # cuSPARSELt has nothing for a T4
    on = device("t4", cuda="12.4")
    assert judge_library(library(tmp_path / "libcusparseLt.so.0", *units), on).verdict == OTHER
    units = ("sm_61 compute_61/8.7",)
    assert judge_library(library(tmp_path / "libcublas.so.12", *units), on).verdict == MISSING


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (("sm_75 sm_89 compute_89/8.7", "sm_90"), True),
        (("sm_75 sm_89 compute_89/8.7", "sm_89 compute_89/8.7", "sm_90"), False),
        (("compute_90/8.7", "sm_90"), False),
        (("sm_90",), False),
        (("sm_100",), False),
    ],
)
def test_kernels_for_others_beside_what_runs(
    tmp_path: Path, units: tuple[str, ...], expected: bool
) -> None:
    on = device("h100", cuda="12.4")
    assert is_beside_what_runs(library(tmp_path / "_C.abi3.so", *units), on) is expected


@pytest.mark.parametrize(("package", "expected"), [("vllm", MISSING), ("xformers", OTHER)])
def test_not_every_c_is_vllms(tmp_path: Path, package: str, expected: Verdict) -> None:
    (tmp_path / package).mkdir()
    found = judge_library(library(tmp_path / package / "_C.so", "sm_90a"), A6000)
    assert found.verdict == expected


@pytest.mark.parametrize(
    ("on", "fix"),
    [
        ("rtx5090", "build it with TORCH_CUDA_ARCH_LIST=12.0 by CUDA 12.8 and newer, or find"),
        ("v100", "build it with TORCH_CUDA_ARCH_LIST=7.0 by CUDA 9.0 to 12.9, or find"),
        ("orin", "build it with TORCH_CUDA_ARCH_LIST=8.7, or find a wheel that was"),
    ],
)
def test_the_fix_names_the_cuda_that_compiles_for_it(tmp_path: Path, on: str, fix: str) -> None:
    """CUDA 12.4 knows no 12.0, and 13 no longer 7.0."""
    assert fix_missing(library(tmp_path / "_C.so", "sm_80"), device(on)).startswith(fix)


@pytest.mark.parametrize(
    ("on", "fix"),
    [
        (
            "rtx5090",
            "take a torch made with CUDA 12.8 and newer, with the releases of NVIDIA's wheels",
        ),
        ("h100", "take a torch for this device, with the releases of NVIDIA's wheels that it"),
        ("orin", "take NVIDIA's libraries of the device's own JetPack, not these wheels"),
    ],
)
def test_the_fix_for_nvidias_wheels(tmp_path: Path, on: str, fix: str) -> None:
    (tmp_path / "nvidia").mkdir()
    found = library(tmp_path / "nvidia" / "libnccl.so.2", "sm_80")
    assert fix_missing(found, device(on)).startswith(fix)


def test_what_is_not_run_does_not_count(tmp_path: Path) -> None:
    stub = fatbin_of(entry(2, 52, cubin(52)))
    relocatable = fatbin_of(one("sm_80"))
    path = tmp_path / "lib.so"
    path.write_bytes(elf_file(Part(".nv_fatbin", stub), Part("__nv_relfatbin", relocatable)))
    assert judge_library(read_library(path), ORIN_6) == Judgement(OTHER, {}, "no GPU code to run")


@pytest.mark.parametrize(
    ("name", "units", "expected"),
    [
        ("_vllm_fa3_C.abi3.so", ["sm_52 compute_52/8.5", "sm_52 compute_52/8.5"], Verdict.DEAD),
        ("_vllm_fa3_C.abi3.so", ["sm_75"], Verdict.DEAD),
        ("_vllm_fa3_C.abi3.so", ["sm_80", "sm_90a"], Verdict.DEAD),  # vLLM 0.7.3's
        ("_vllm_fa3_C.abi3.so", ["sm_90a"], OTHER),
        ("_moe_C.abi3.so", ["sm_75"], MISSING),
        ("_moe_C.abi3.so", ["sm_52 compute_52/8.5"], JIT),
    ],
)
def test_dead_flash_attention_3(
    tmp_path: Path, name: str, units: list[str], expected: Verdict
) -> None:
    found = library(tmp_path / name, *units)
    assert judge_library(found, ORIN_6).verdict == expected


def test_flash_attention_3_is_called_on_hopper(tmp_path: Path) -> None:
    found = library(tmp_path / "_vllm_fa3_C.abi3.so", "sm_75")
    assert judge_library(found, device("h100")).verdict == MISSING


def test_the_kernels_files_are_named(tmp_path: Path) -> None:
    names = [b"norm.cu", b"norm.cu", b"gdn.cu", b"\x1b[31m", b"b.cu", b"a.cu"]
    code = cubin(80, "add")
    data = b"".join(fatbin_of(entry(2, 80, code, name=name)) for name in names)
    path = tmp_path / "lib.so"
    path.write_bytes(elf_file(Part(".nv_fatbin", data)))
    assert judge_library(read_library(path), ORIN_6).why == (
        "all 6 fatbins have only sm_80 (norm.cu, gdn.cu, b.cu and 1 more)"
    )


def test_worst_first() -> None:
    order = sorted([NATIVE, OTHER, JIT, UNKNOWN, COMPATIBLE, MISSING], key=lambda one: one.rank)
    assert order == [MISSING, UNKNOWN, JIT, COMPATIBLE, NATIVE, OTHER]


ENTRIES = st.builds(
    lambda kind, sm, suffix, version: fatbin.Entry(
        0, kind, ComputeCapability.from_sm(sm, suffix), version, True, "", 0, 0, "", None
    ),
    st.sampled_from(["cubin", "ptx", "lto-ir", "kind-7"]),
    st.sampled_from([52, 75, 80, 86, 87, 88, 89, 90, 100, 101, 110]) | st.integers(0, 1 << 32),
    st.sampled_from(["", "a", "f"]),
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 1 << 16)),
)
ANY_DEVICE = st.sampled_from([ORIN_6, ORIN_7, A6000, device("orin"), device("thor", cuda="14.0")])


@given(st.lists(ENTRIES, max_size=4), ENTRIES, ANY_DEVICE)
def test_more_code_never_takes_away_what_runs(
    entries: list[fatbin.Entry], another: fatbin.Entry, on: Device
) -> None:
    before = judge(fatbin.Fatbin(0, 0, "", "", tuple(entries)), on)
    after = judge(fatbin.Fatbin(0, 0, "", "", (*entries, another)), on)
    if before is not OTHER:
        assert after.rank >= before.rank


@given(st.lists(st.lists(ENTRIES, max_size=3), max_size=4), ANY_DEVICE)
def test_any_library_can_be_judged(units: list[list[fatbin.Entry]], on: Device) -> None:
    sections = (".nv_fatbin", ".data")
    fatbins = tuple(
        fatbin.Fatbin(0, 0, sections[number % 2], "", tuple(unit))
        for number, unit in enumerate(units)
    )
    found = judge_library(Library(Path("lib.so"), fatbins, ()), on)
    assert sum(found.counts.values()) == len(fatbins)
    assert found.why
    assert len(found.why) < 1000
