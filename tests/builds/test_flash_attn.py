"""flash-attention for verl's training: which kernels it has, and which it does without."""

import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.builds.test_orin_code import architectures
from tests.builds.test_vllm_source import PACKAGES
from tests.conftest import ROOT, Nix, said

pytestmark = pytest.mark.nix

SCHEMA = tomllib.loads((ROOT / "nix/targets/schema.toml").read_text())
# As docs/verl.md has it, for one generation of GPUs and models like Llama and Qwen: far less compiling.
AMPERE = """(vllmPackages.verl_0_7_3.overrideTarget (target: pkgs.lib.recursiveUpdate target {
  cuda.capabilities = [ "8.0" "8.6" ];
  flash-attn.disable = [ "alibi" "dropout" "local" "softcap" ];
}))"""
# What a call says that asks for what is not there, of which feature.
SENTENCES = {
    "alibi": "alibi.",
    "backward": "backward.",
    "dropout": "dropout.",
    "local": "local attention.",
    "softcap": "softcap.",
    "uneven-k": "headdim not being a multiple of 32.",
}


@pytest.mark.parametrize("target", ["verl", "verl_0_7_3"])
def test_the_source_has_a_macro_for_each_feature_that_can_be_disabled(
    nix: Nix, target: str
) -> None:
    """nvcc takes a macro that nothing reads without a word."""
    source = nix.build(f"let {PACKAGES} in vllmPackages.{target}.flash-attn.src")
    with tarfile.open(source) as archive:
        texts = [
            content.read().decode()
            for member in archive
            if member.name.partition("/csrc/flash_attn/")[2].endswith((".cpp", ".h"))
            and (content := archive.extractfile(member))
        ]
    for feature in SCHEMA["flash-attn.disable"]["one-of"]:
        macro = f"FLASHATTENTION_DISABLE_{feature.upper().replace('-', '_')}"
        assert any(f"#ifdef {macro}\n" in text for text in texts), macro


@pytest.mark.parametrize(("target", "release"), [("verl", "2.8.3"), ("verl_0_7_3", "2.7.4.post1")])
def test_what_it_requires_is_reported_without_a_torch(nix: Nix, target: str, release: str) -> None:
    """A lock can be written before there is one, and anew where it has another torch."""
    unlocked = f'vllmPackages.{target}.overrideScope (_: _: {{ lockedWheels = throw "locked"; }})'
    wheel = nix.build(f"let {PACKAGES} in ({unlocked}).flash-attn.metadata")
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"flash_attn-{release}.dist-info/METADATA").decode()
    assert "Requires-Dist: torch\n" in metadata
    assert "Requires-Dist: einops\n" in metadata


@pytest.mark.slow  # minutes of a core
def test_a_kernel_of_verls_own(nix: Nix, tmp_path: Path) -> None:
    """2.8.3 by the target's expression: its wheel, with one kernel of 84."""
    wheel = nix.build("(import ./tests/builds/sources/compiled.nix).verlKernel")
    assert wheel.name.endswith("-flash_attn-2.8.3-cp311-cp311-linux_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("flash_attn-2.8.3.dist-info/METADATA").decode()
        [name] = [each for each in archive.namelist() if each.endswith(".so")]
        library = Path(archive.extract(name, tmp_path))
    assert {"torch", "einops"} <= set(re.findall(r"(?m)^Requires-Dist: (\S+)$", metadata))
    assert architectures(library) == {"sm_80"}
    assert b"flash_fwd_kernel" in library.read_bytes()


@pytest.mark.slow  # an hour of two cores
def test_the_wheel_has_what_the_target_asks_for(nix: Nix, tmp_path: Path) -> None:
    wheel = nix.build(f"let {PACKAGES} in {AMPERE}.flash-attn")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".so")]
        library = Path(archive.extract(name, tmp_path))
    assert architectures(library) == {"sm_80"}
    content = library.read_bytes()
    said = {
        feature
        for feature, sentence in SENTENCES.items()
        if f"This flash attention build does not support {sentence}".encode() in content
    }
    assert said == {"alibi", "dropout", "local", "softcap"}
    assert SENTENCES.keys() == set(SCHEMA["flash-attn.disable"]["one-of"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "from flash_attn import flash_attn_varlen_func",
        "from verl.workers.actor.dp_actor import DataParallelPPOActor",
        "from verl.workers.fsdp_workers import ActorRolloutRefWorker",
    ],
)
def test_verls_training_finds_it(nix: Nix, tmp_path: Path, code: str) -> None:
    environment = nix.build(f"let {PACKAGES} in {AMPERE}.vllm-verl_0_7_3")
    said(environment / "bin/python", "-c", code, env={"HOME": str(tmp_path)})
