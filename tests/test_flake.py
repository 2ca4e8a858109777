"""The flake, without a network: what needs no packages evaluates, and the lock says what it may."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix

pytestmark = pytest.mark.nix


def test_targets_need_no_input(nix: Nix) -> None:
    result = nix("nix", "eval", "--json", ".#lib.targets.cpu.vllm.version")
    assert json.loads(result.stdout) == "0.32.0"


def test_overlays_need_no_input(nix: Nix) -> None:
    result = nix("nix", "eval", ".#overlays.default", "--apply", "builtins.isFunction")
    assert result.stdout.strip() == "true"


def test_metadata_needs_no_network(nix: Nix) -> None:
    locks = json.loads(nix("nix", "flake", "metadata", "--json").stdout)["locks"]
    assert set(locks["nodes"]) == {"root", "nixpkgs", "poetry2nix"}


def test_the_lock_is_complete(nix: Nix) -> None:
    """`--no-update-lock-file` fails if Nix would add or change an entry."""
    nix("nix", "flake", "metadata", "--no-update-lock-file")


def test_everything_is_shown_on_the_embedded_base(nix: Nix) -> None:
    shown = json.loads(nix("nix", "flake", "show", "--json", *EMBEDDED).stdout)
    assert set(shown["packages"]["x86_64-linux"]) >= {"default", "vllm-cpu", "vllm-neuron"}
    assert set(shown["devShells"]["x86_64-linux"]) >= {"cpu", "default", "neuron"}
    assert set(shown["checks"]["x86_64-linux"]) == {"library", "nix", "vllm-cpu"}
    assert set(shown["nixosModules"]) == {"default", "vllm"}
    assert set(shown["apps"]["x86_64-linux"]) == {"default"}


def test_a_system_that_a_target_is_not_for_is_named(nix: Nix) -> None:
    expression = (
        '(import ./nix/debian { system = "aarch64-linux"; overlays = [ (import ./overlays) ]; })'
        ".vllmPackages.vllm-verl"
    )
    result = nix("nix-instantiate", "--expr", expression, check=False)
    assert "vllm-verl is for x86_64-linux, not aarch64-linux" in result.stderr


@pytest.mark.parametrize(
    ("component", "table"),
    [
        ("cudaToolkit", "cuda"),
        ("cutlass", "cutlass"),
        ("flash-attn", "flash-attn"),
        ("flashinfer-jit-cache", "kernels"),
        ("nccl-tests", "cuda"),
        ("triton-ascend", "triton-ascend"),
        ("triton-llvm", "triton"),
        ("vllm-ascend-plugin", "vllm-ascend"),
        ("vllm-flash-attn", "vllm-flash-attn"),
    ],
)
def test_a_component_that_is_not_the_targets_names_whose_it_is(
    nix: Nix, component: str, table: str
) -> None:
    expression = (
        "(import ./nix/debian { overlays = [ (import ./overlays) ]; })"
        f".vllmPackages.cpu.{component}"
    )
    result = nix("nix-instantiate", "--eval", "--expr", expression, check=False)
    assert f"target cpu has no table '{table}', which overrideTarget may add; " in result.stderr


def test_who_compiles_for_another_system_is_told_to_take_a_builder(nix: Nix) -> None:
    expression = """
      (import ./nix/debian {
        overlays = [
          (_: prev: { stdenv = prev.stdenv // { buildPlatform.system = "riscv64-linux"; }; })
          (import ./overlays/target.nix "cpu")
        ];
      }).vllmPackages.vllm-cpu
    """
    result = nix("nix-instantiate", "--eval", "--expr", expression, check=False)
    assert "vllmPackages cannot be cross-compiled; take the packages of " in result.stderr


def test_every_output_evaluates_on_the_embedded_base(nix: Nix) -> None:
    nix("nix", "flake", "check", "--no-build", *EMBEDDED)


def test_the_template_is_a_flake_that_evaluates(nix: Nix, tmp_path: Path) -> None:
    """With vllm-nix in the registry, as the template says, on the embedded base."""
    shutil.copy(ROOT / "templates/default/flake.nix", tmp_path)
    base = ("--override-input", "vllm-nix/nixpkgs", f"path:{ROOT}/nix/debian")
    registry = tmp_path / "registry.json"
    to = {"type": "git", "url": f"file://{ROOT}"}
    entry = {"from": {"type": "indirect", "id": "vllm-nix"}, "to": to}
    registry.write_text(json.dumps({"version": 2, "flakes": [entry]}))
    names = [
        nix(
            *("nix", "eval", "--raw", "--option", "flake-registry", str(registry), *base),
            *(f"path:{tmp_path}#packages.aarch64-linux.{name}.drvPath", "--no-write-lock-file"),
        ).stdout
        for name in ("default", "eager")
    ]
    assert all(name.endswith("-vllm-jetson.drv") for name in names)
    assert names[0] != names[1]
