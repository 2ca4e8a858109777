"""AWS Neuron: what is built without its SDK, and what is said where the SDK is needed."""

import json
import subprocess
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix
from vllm_nix.serve import load_profile
from vllm_nix.verification.tiny_model import TinyModel

pytestmark = pytest.mark.nix

SDK = tomllib.loads((ROOT / "pkgs/neuron/sdk.toml").read_text())
STAND_IN = ROOT / "tests/builds/neuron"
PACKAGES = "with import ./nix/debian { overlays = [ (import ./overlays) ]; }; vllmPackages"


@pytest.mark.parametrize(
    ("target", "version", "compiler", "required"),
    [
        (
            "neuron",
            "0.3.3+neuron212",
            "2.12",
            {
                "sentencepiece",
                "numpy",
                "transformers-neuronx>=0.9.0",
                "torch-neuronx>=2.1.0",
                "neuronx-cc",
                "fastapi",
                "uvicorn[standard]",
                "pydantic>=2.0",
                "prometheus_client>=0.18.0",
            },
        ),
        ("neuron7", "0.7.3+neuron216", "2.16", {"torch-neuronx>=2.5.0", "neuronx-cc"}),
    ],
)
def test_the_wheel_is_named_after_the_compiler(
    nix: Nix, target: str, version: str, compiler: str, required: set[str]
) -> None:
    built = nix.build(f"{PACKAGES}.{target}.vllm")
    assert built.name.endswith(f"-vllm-{version}-py3-none-any.whl")
    with zipfile.ZipFile(built) as wheel:
        metadata = HeaderParser().parsestr(
            wheel.read(f"vllm-{version}.dist-info/METADATA").decode()
        )
        assert "vllm/engine/llm_engine.py" in wheel.namelist()
    assert metadata["Version"] == version
    asked = {each.replace(" ", "") for each in metadata.get_all("Requires-Dist", [])}
    assert asked >= required
    assert not {each for each in asked if each.startswith(("torch==", "xformers", "triton"))}
    assert version.endswith(f"neuron{compiler.replace('.', '')}")


def test_its_engine_generates_with_a_stand_in_for_the_sdk(
    nix: Nix, environment: Path, tmp_path: Path
) -> None:
    """vLLM 0.3.3 as `serve neuron chat` starts it, up to what it asks of transformers-neuronx: more
    prompts than slots, of several lengths, and each answer is that of its own prompt alone."""
    with zipfile.ZipFile(nix.build(f"{PACKAGES}.neuron.vllm")) as wheel:
        wheel.extractall(tmp_path / "wheel")
    model = tmp_path / "model"
    TinyModel.make().write(model)
    config = json.loads((model / "config.json").read_text())
    config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (model / "config.json").write_text(json.dumps(config))

    overrides = {"model": str(model), "max-model-len": 256, "max-num-seqs": 4}
    words = load_profile("neuron", "chat", overrides).command().words
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11], [12, 13], list(range(100, 200)), [14] * 40]
    result = subprocess.run(
        [environment / "bin/python", STAND_IN / "generate.py", *words],
        input=json.dumps(prompts),
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            "HF_HUB_OFFLINE": "1",
            "HOME": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{tmp_path / 'wheel'}:{STAND_IN}",
            "TMPDIR": str(tmp_path),
        },
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [answer(prompt) for prompt in prompts]


def answer(prompt: list[int]) -> list[int]:
    """What the stand-in's model says after a prompt."""
    tokens = list(prompt)
    for _ in range(6):
        tokens.append((7 * sum(tokens) + len(tokens)) % 512)
    return tokens[len(prompt) :]


def test_a_file_of_the_sdk_says_whose_it_is_and_what_to_run(nix: Nix) -> None:
    message = nix.fail(f"{PACKAGES}.neuron.neuronx-cc")
    file = SDK["2.16"]["wheels"]["neuronx-cc"]["file"].replace("+", "%2B")
    assert (
        "not in the store; it is AWS's to hand out: "
        f"https://pip.repos.neuron.amazonaws.com/neuronx-cc/{file}; "
        "then run: vllm-nix fetch neuron --from FOLDER"
    ) in message


def test_an_sdk_without_known_hashes_is_named(nix: Nix) -> None:
    assert "no file of AWS Neuron's SDK 2.21 is known by its hash; there are: 2.16" in nix.fail(
        f"{PACKAGES}.neuron7.neuronx-cc"
    )


def test_the_environment_says_what_it_lacks(nix: Nix) -> None:
    assert (
        "vllm-neuron needs AWS Neuron's SDK 2.16, which AWS alone hands out; with its files: "
        "vllm-nix fetch neuron --from FOLDER; nix-build -A vllmPackages.neuron.built; "
        "vllm-nix lock neuron --built result"
    ) in nix.fail(f"{PACKAGES}.vllm-neuron")


def test_the_tools_are_unpacked_from_their_packages(nix: Nix, tmp_path: Path) -> None:
    """With a package of the same shape: the SDK's own are not here."""
    folder = tmp_path / "deb/opt/aws/neuron/bin"
    folder.mkdir(parents=True)
    (folder / "neuron-ls").write_text("#!/bin/sh\n")
    packed = nix.build(
        f"""with import ./nix/debian {{ }}; runCommandCC "tools.deb" {{ nativeBuildInputs = [ python311 ]; }} ''
          cd ${{{tmp_path}/deb}} && python3 -m tarfile -c $TMPDIR/data.tar.xz opt && cd $TMPDIR
          echo 2.0 > debian-binary
          ar rc $out debian-binary data.tar.xz
        ''"""
    )
    tools = nix.build(
        f"{PACKAGES}.neuron.neuronSdk.tools.overrideAttrs (_: {{ srcs = [ {packed} ]; }})"
    )
    assert (tools / "bin/neuron-ls").exists()
