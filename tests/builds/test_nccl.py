"""NCCL for Orin: which code it holds, what the patch does, and that the library answers.

The sources are not in the Python registry. Debian 13 has one as `nvidia-nccl_2.22.3-1.orig.tar.gz`; the others
are trees of GitHub's. Tests that need one are skipped where nobody added it.
"""

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix
from vllm_nix.locks.pylock import read_lock

pytestmark = pytest.mark.nix

PACKAGES = """
    pkgs = import ./nix/debian { overlays = [ (import ./overlays) ]; };
    inherit (pkgs.vllmPackages) cpu cuda jetson;
    for = capabilities: jetson.nccl.override {
      target = jetson.target // { cuda = jetson.target.cuda // { inherit capabilities; }; };
    };
"""
DEBIANS = 'version = "2.22.3-1";'
SUBSET = 'onlyFunctions = "AllReduce Sum f32 RING LL";'


def nccl(arguments: str) -> str:
    return f"let {PACKAGES} in jetson.nccl.override {{ {arguments} }}"


def value(nix: Nix, expression: str) -> str:
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
    text: str = json.loads(result.stdout)
    return text


def refusal(nix: Nix, expression: str) -> str:
    result = nix("nix-instantiate", "--eval", "--strict", "--expr", expression, check=False)
    assert result.returncode != 0, result.stdout
    return result.stderr


def need_source(nix: Nix, package: str) -> None:
    nix.need_source(f"let {PACKAGES} in {package}")


def codes(path: Path) -> set[tuple[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python/src")}
    command = [sys.executable, "-m", "vllm_nix", "archs", "--json", str(path)]
    report = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    found = json.loads(report)["libraries"]
    return {(code["kind"], code["arch"]) for library in found for code in library["code"]}


def check(library: Path, version: int) -> None:
    """A libnccl.so.2 with code for Orin alone, that loads and says its version."""
    assert codes(library) == {("cubin", "sm_87")}
    found = ctypes.c_int()
    assert ctypes.CDLL(str(library)).ncclGetVersion(ctypes.byref(found)) == 0
    assert found.value == version


def test_the_target_decides(nix: Nix) -> None:
    assert value(nix, f"let {PACKAGES} in jetson.nccl.version") == "2.27.7"
    flags = value(nix, f"let {PACKAGES} in jetson.nccl.preBuild")
    assert flags.splitlines() == [
        f'makeFlagsArray+=("{name}=-gencode=arch=compute_87,code=sm_87")'
        for name in ("NVCC_GENCODE", "NVCC_GENCODE_LDMC_FP8")
    ]
    flags = value(nix, f'let {PACKAGES} in (for [ "8.6" "10.0" ]).preBuild')
    both = "-gencode=arch=compute_86,code=sm_86 -gencode=arch=compute_100,code=sm_100"
    assert flags.splitlines() == [f'makeFlagsArray+=("NVCC_GENCODE={both}")']


@pytest.mark.parametrize(("capability", "patched"), [("8.7", True), ("8.6", False)])
def test_only_integrated_gpus_need_the_patch(nix: Nix, capability: str, patched: bool) -> None:
    text = value(nix, f'let {PACKAGES} in (for [ "{capability}" ]).src.postPatch')
    assert ("nvmlDev = NULL" in text) == patched


def test_what_it_cannot_make_is_one_sentence(nix: Nix) -> None:
    unknown = nccl('version = "1.0";')
    message = refusal(nix, f"({unknown}).drvPath")
    assert "no source of nccl 1.0 is known; there are: 2.21.5-1, 2.22.3-1, 2.27.7-1" in message
    message = refusal(nix, f"let {PACKAGES} in cpu.nccl.drvPath")
    assert "the wheels of cpu hold no NCCL; its torch is 2.13.0+cpu" in message


@pytest.mark.parametrize("version", ["2.22.3-1", "2.27.7-1", "2.28.7-1", "2.29.3-1"])
def test_the_patch_applies_and_compiles(nix: Nix, version: str) -> None:
    package = f'(jetson.nccl.override {{ version = "{version}"; }})'
    need_source(nix, package)
    nix.build(
        f"""
        let {PACKAGES} inherit (jetson) cudaPackages; in
        {package}.overrideAttrs {{
          buildPhase = ''
            make -C src $makeFlags BUILDDIR=$PWD/build $PWD/build/include/nccl.h \\
              $PWD/build/obj/graph/xml.o $PWD/build/obj/init.o
          '';
          installPhase = "cp -r build/obj $out; mkdir $dev $static";
        }}
        """
    )


@pytest.mark.slow  # 3 minutes of processor time
def test_a_subset_is_for_orin_alone(nix: Nix) -> None:
    need_source(nix, f"(jetson.nccl.override {{ {DEBIANS} }})")
    check(nix.build(nccl(DEBIANS + SUBSET)) / "lib/libnccl.so.2", 22203)


@pytest.mark.slow  # half an hour of processor time, 113 files of kernels
def test_all_of_it_is_for_orin_alone(nix: Nix) -> None:
    need_source(nix, f"(jetson.nccl.override {{ {DEBIANS} }})")
    check(nix.build(nccl(DEBIANS)) / "lib/libnccl.so.2", 22203)


@pytest.mark.slow  # 4 minutes
def test_its_tests_are_for_orin_alone(nix: Nix) -> None:
    need_source(nix, "jetson.nccl-tests")
    need_source(nix, f"(jetson.nccl.override {{ {DEBIANS} }})")
    tests = nix.build(
        f"let {PACKAGES} in jetson.nccl-tests.override {{ nccl = {nccl(DEBIANS + SUBSET)}; }}"
    )
    assert codes(tests / "bin") == {("cubin", "sm_87")}
    command = [str(tests / "bin/all_reduce_perf"), "--help"]
    usage = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert "USAGE: all_reduce_perf" in usage.stdout


def test_beside_torchs_wheel_it_is_torchs_own(nix: Nix) -> None:
    """That of the lock; and what measures it holds code for the target's GPUs and no PTX."""
    [locked] = [
        wheel.version
        for wheel in read_lock(ROOT / "nix/targets/cuda/pylock.x86_64-linux.toml").wheels
        if wheel.name == "nvidia-nccl-cu13"
    ]
    assert value(nix, f"let {PACKAGES} in cuda.nccl.version") == locked
    flags = value(nix, f"let {PACKAGES} in cuda.nccl-tests.preBuild")
    assert flags.strip() == ('makeFlagsArray+=("NVCC_GENCODE=-gencode=arch=compute_86,code=sm_86")')


@pytest.mark.slow  # 3 minutes; needs `vllm-nix fetch cuda`
def test_torchs_own_is_what_its_tests_load(nix: Nix) -> None:
    need_source(nix, "cuda.nccl-tests")
    tests = nix.build(f"let {PACKAGES} in cuda.nccl-tests")
    torchs = nix.build(f"let {PACKAGES} in cuda.nccl") / "lib/libnccl.so.2"
    assert "-nvidia-nccl-cu13-" in str(torchs.resolve())
    assert codes(tests / "bin") == {("cubin", "sm_86")}
    environment = {"LD_TRACE_LOADED_OBJECTS": "1"}
    command = [str(tests / "bin/all_reduce_perf")]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"libnccl.so.2 => {torchs} " in loaded.stdout
