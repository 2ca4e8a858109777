"""Every target and component as derivations, on each base; of Jetson's, what each is given is read.

VLLM_NIX_NIXPKGS may name a tree with nixpkgs' shape, such as a checkout of nixpkgs: the components are
then instantiated on it too. With another Nix first on the PATH all of it is that Nix's.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Nix
from vllm_nix.targets import load_target

pytestmark = pytest.mark.nix

COMPONENTS = (
    *("nccl", "nccl-tests", "cutlass", "torch", "triton-llvm", "triton", "vllm-flash-attn"),
    "vllm",
)
TREE = os.environ.get("VLLM_NIX_NIXPKGS")
TREES = [
    pytest.param(None, id="debian"),
    pytest.param(
        TREE,
        id="nixpkgs",
        marks=pytest.mark.skipif(not TREE, reason="VLLM_NIX_NIXPKGS names no tree like nixpkgs"),
    ),
]

Derivations = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module", params=TREES)
def tree(request: pytest.FixtureRequest) -> str | None:
    path: str | None = request.param
    return path


def test_every_target_and_component(nix: Nix, tree: str | None) -> None:
    command = ["nix-instantiate", "tests/builds/instantiation/every.nix"]
    command += ["--arg", "tree", tree] if tree else []
    paths = nix(*command).stdout.split()
    for part in ("vllm-cpu", "vllm-jetson", "vllm-jetson_7", "vllm-ascend", "torch-2.5.1-cp311"):
        assert any(f"-{part}" in path for path in paths)


@pytest.mark.skipif(not TREE, reason="VLLM_NIX_NIXPKGS names no tree like nixpkgs")
@pytest.mark.parametrize("system", ["aarch64-linux", "x86_64-linux"])
def test_nixpkgs_own_fetchers_ask_where_the_lock_was_resolved(nix: Nix, system: str) -> None:
    """Each locked file: from the registry, or from the index that the target names for this system."""
    expression = f"""
      let
        pkgs = import ./tests/builds/instantiation/packages.nix {{ system = "{system}"; tree = {TREE}; }};
        # a patched wheel is made of the registry's
        address = wheel: let src = wheel.src.wheel or wheel.src; in {{
          file = src.name;
          urls = src.urls or [ src.url ];
        }};
      in
      builtins.mapAttrs (name: _: map address pkgs.vllmPackages.${{name}}.lockedWheels)
        ((import ./nix/lib).lockedTargets "{system}")
    """
    answer = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression).stdout
    for target, wheels in json.loads(answer).items():
        indexes = load_target(target).data.get("wheels", {}).get("index", {})
        own = [row["url"] for row in indexes.values() if system in row["systems"]]
        for wheel in wheels:
            name = wheel["file"].partition("-")[0]
            for url in wheel["urls"]:
                index = next((index for index in own if url.startswith(index)), None)
                if index:
                    assert name.replace("_", "-") in indexes
                    assert url == f"{index}/{quote(wheel['file'])}", (target, url)
                else:  # a mirror's name, or its address
                    assert re.search(rf"pypi|/packages/[\w.]+/\w/{re.escape(name)}/", url), (
                        target,
                        url,
                    )
                    assert url.endswith(f"/{wheel['file']}"), (target, url)


def instantiate(
    nix: Nix, tree: str | None, components: Sequence[str], **arguments: str
) -> Derivations:
    """The environment of each component's builder, by its name."""
    command = ["nix-instantiate", "tests/builds/instantiation"]
    for name, value in (arguments | ({"tree": tree} if tree else {})).items():
        command += ["--argstr", name, value]
    for component in components:
        command += ["-A", component]
    paths = nix(*command).stdout.split()
    shown = json.loads(nix("nix", "show-derivation", *paths).stdout)
    # Newer releases of Nix have them a level deeper, by the paths' names.
    by_name = {Path(path).name: each for path, each in shown.get("derivations", shown).items()}
    return {
        component: by_name[Path(path).name]["env"]
        for component, path in zip(components, paths, strict=True)
    }


@pytest.fixture(scope="module", params=["aarch64-linux", "x86_64-linux"])
def derivations(nix: Nix, tree: str | None, request: pytest.FixtureRequest) -> Derivations:
    """Jetson's."""
    return instantiate(nix, tree, COMPONENTS, target="jetson", system=request.param)


def test_torch_gets_the_targets_switches(derivations: Derivations) -> None:
    torch = derivations["torch"]
    wanted = {
        "TORCH_CUDA_ARCH_LIST": "8.7",
        "USE_DISTRIBUTED": "1",
        "USE_NCCL": "1",
        "USE_SYSTEM_NCCL": "1",
        "USE_QNNPACK": "0",
        "USE_PYTORCH_QNNPACK": "0",
        "PYTORCH_BUILD_VERSION": "2.5.1",
        "PYTORCH_BUILD_NUMBER": "1",
        "memoryPerJob": "9 GiB",
    }
    assert {name: torch[name] for name in wanted} == wanted
    assert "-nccl-" in torch["NCCL_INCLUDE_DIR"]


def test_torch_is_asked_for_what_the_target_names(derivations: Derivations) -> None:
    arguments = derivations["torch"]["installCheckPhase"]
    for argument in (
        *("--version=2.5.1", "--distributed=gloo,nccl", "--archs=sm_87", "--nccl=2.27.7-1"),
        "--without-qnnpack",
    ):
        assert argument in arguments


def test_nccl_is_for_orin_alone(derivations: Derivations) -> None:
    assert "compute_87,code=sm_87" in derivations["nccl"]["preBuild"]
    assert derivations["nccl"]["preBuild"].count("code=sm_") == (
        derivations["nccl"]["preBuild"].count("code=sm_87")
    )


def test_triton_downloads_nothing(derivations: Derivations) -> None:
    triton = derivations["triton"]
    assert "-triton-llvm-unstable-10dc3a8e" in triton["LLVM_SYSPATH"]
    assert "nlohmann" in triton["JSON_SYSPATH"]
    for tool in ("CUDACRT", "CUDART", "CUOBJDUMP", "CUPTI", "NVDISASM", "PTXAS"):
        assert triton[f"TRITON_{tool}_PATH"].startswith("/nix/store/")


def test_vllm_is_compiled_from_the_folders_it_is_given(derivations: Derivations) -> None:
    vllm = derivations["vllm"]
    assert vllm["TORCH_CUDA_ARCH_LIST"] == "8.7"
    assert vllm["VLLM_TARGET_DEVICE"] == "cuda"
    assert vllm["VLLM_CUTLASS_SRC_DIR"].endswith("-cutlass-3.7.0")
    assert vllm["VLLM_FLASH_ATTN_SRC_DIR"].endswith("-vllm-flash-attn-source-720c9486")
    assert vllm["name"].startswith("vllm-0.7.3+cu12")
    assert vllm["strictDeps"] == "1"
    assert "cuda_cudart" in vllm["buildInputs"]


def test_flash_attention_is_patched_for_orin(derivations: Derivations) -> None:
    assert "8.0;8.6;8.7;8.9;9.0" in derivations["vllm-flash-attn"]["postPatch"]


def test_for_a_desktop_the_same_expressions_stand_beside_torchs_wheel(
    nix: Nix, tree: str | None
) -> None:
    components = ("vllm", "vllm-flash-attn", "nccl-tests", "vllm-cuda_12")
    made = instantiate(nix, tree, components, target="cuda_12", system="x86_64-linux")
    vllm, flash_attn = made["vllm"], made["vllm-flash-attn"]["postPatch"]
    assert vllm["TORCH_CUDA_ARCH_LIST"] == "8.6"
    assert vllm["name"].startswith("vllm-0.7.3+cu12")
    assert "-torch-2.5.1" in vllm["nativeBuildInputs"]
    assert "FA3_ARCHS" in flash_attn
    assert "8.7" not in flash_attn
    assert "compute_86,code=sm_86" in made["nccl-tests"]["preBuild"]
    assert made["vllm-cuda_12"]["name"] == "vllm-cuda_12"


def test_torchs_own_nccl_is_measured(nix: Nix, tree: str | None) -> None:
    [tests] = instantiate(nix, tree, ["nccl-tests"], target="cuda", system="x86_64-linux").values()
    assert "-nccl-2.30.7" in tests["buildInputs"]
    assert "CUDA_MAJOR=13" in tests["makeFlags"]
