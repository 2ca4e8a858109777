"""The flake's outputs for a target that is compiled: for aarch64, on the embedded base, nothing built."""

import json

import pytest

from tests.conftest import EMBEDDED, Nix

pytestmark = pytest.mark.nix

SHELL = "devShells.aarch64-linux.jetson"


def evaluate(nix: Nix, attribute: str, *arguments: str) -> str:
    return nix("nix", "eval", "--raw", *EMBEDDED, f".#{attribute}", *arguments).stdout


def test_the_environment_is_assembled_of_what_is_compiled(nix: Nix) -> None:
    planned = nix(
        "nix", "build", "--dry-run", *EMBEDDED, ".#packages.aarch64-linux.vllm-jetson"
    ).stderr
    for part in ("torch-2.5.1-cp311", "triton-3.1.0-cp311", "nccl-2.27.7", "vllm-0.7.3+cu12"):
        assert part in planned
    assert "-vllm-jetson.drv" in planned


def test_its_wheels_are_a_folder(nix: Nix) -> None:
    path = evaluate(nix, "packages.aarch64-linux.vllm-jetson.wheels.drvPath")
    assert path.endswith("-vllm-jetson-wheels.drv")


def test_a_shell_has_what_a_hand_build_exports(nix: Nix) -> None:
    names = json.dumps(["TORCH_CUDA_ARCH_LIST", "VLLM_TARGET_DEVICE", "memoryPerJob"])
    shell = json.loads(
        nix(
            *("nix", "eval", "--json", *EMBEDDED, f".#{SHELL}", "--apply"),
            f"shell: map (name: shell.drvAttrs.${{name}}) (builtins.fromJSON ''{names}'')",
        ).stdout
    )
    assert shell == ["8.7", "cuda", "9 GiB"]


def test_each_component_is_a_job(nix: Nix) -> None:
    names = nix(
        *("nix", "eval", "--json", *EMBEDDED, ".#hydraJobs.components.aarch64-linux.jetson"),
        *("--apply", "builtins.attrNames"),
    ).stdout
    assert json.loads(names) == [
        *("cutlass", "nccl", "nccl-tests", "torch", "triton", "triton-llvm", "vllm"),
        "vllm-flash-attn",
    ]


def test_what_this_base_lacks_is_said_when_it_is_built(nix: Nix) -> None:
    said = nix.fail("""
        ((import ./nix/debian { }).callPackage ./nix/debian/cuda/unavailable.nix {
          data = { release = "12.4"; packages.cuda_nvcc = [ ]; };
          sentence = "no CUDA here; take another base";
        }).cuda_nvcc
    """)
    assert "no CUDA here; take another base" in said


def test_the_template_evaluates(nix: Nix) -> None:
    """With the embedded base in nixpkgs' place, and this checkout in the flake's."""
    expression = """
        let
          packages = ((import ./templates/default/flake.nix).outputs {
            nixpkgs = ./nix/debian;
            vllm-nix.overlays.jetson = import ./overlays/target.nix "jetson";
          }).packages.aarch64-linux;
        in
        [ packages.default packages.eager ]
    """
    plain, eager = nix("nix-instantiate", "--expr", expression).stdout.split()
    assert plain.endswith("-vllm-jetson.drv")
    assert eager.endswith("-vllm-jetson.drv")
    assert plain != eager
