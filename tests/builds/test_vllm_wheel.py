"""vLLM's wheel by the expression that every target's `vllm` is, for devices without extensions.

The release's own setup.py runs; torch is a stand-in that knows no accelerator (nix/wheels/stub-torch).
"""

import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.conftest import Nix

pytestmark = pytest.mark.nix

NEURON = 'neuron.neuronx-cc = "2.16.372.0";'


def vllm(device: str, release: str, more: str = "") -> str:
    """The component `vllm` of a target that names this device and release."""
    return f"""
      with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
      (vllmPackages.jetson.overrideScope (_: _: {{
        target = {{
          name = "test";
          vllm = {{ version = "{release}"; device = "{device}"; }};
          {more}
        }};
      }})).vllm
    """


def metadata(wheel: zipfile.ZipFile) -> dict[str, list[str]]:
    [file] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    fields = HeaderParser().parsestr(wheel.read(file).decode())
    return {name: fields.get_all(name, []) for name in ("Name", "Version", "Requires-Dist")}


@pytest.mark.parametrize(
    ("device", "release", "version"),
    [
        ("empty", "0.7.3", "0.7.3+empty"),
        ("empty", "0.18.0", "0.18.0+empty"),
        pytest.param("empty", "0.5.5", "0.5.5+empty", marks=pytest.mark.slow),
        pytest.param("empty", "0.8.3", "0.8.3+empty", marks=pytest.mark.slow),
        ("neuron", "0.3.3", "0.3.3+neuron216"),
        pytest.param("neuron", "0.5.1", "0.5.1+neuron216", marks=pytest.mark.slow),
        pytest.param("neuron", "0.7.3", "0.7.3+neuron216", marks=pytest.mark.slow),
    ],
)
def test_the_wheel_of_a_device_without_extensions(
    nix: Nix, device: str, release: str, version: str
) -> None:
    built = nix.build(vllm(device, release, NEURON if device == "neuron" else ""))
    assert built.name.endswith(f"-vllm-{version}-py3-none-any.whl")
    with zipfile.ZipFile(built) as wheel:
        assert metadata(wheel)["Version"] == [version]
        assert not [name for name in wheel.namelist() if Path(name).suffix == ".so"]
        assert "vllm/engine/llm_engine.py" in wheel.namelist()


def test_an_empty_vllm_asks_for_no_torch(nix: Nix) -> None:
    """The device's plugin requires its own: a requirement here would replace it."""
    with zipfile.ZipFile(nix.build(vllm("empty", "0.7.3"))) as wheel:
        required = metadata(wheel)["Requires-Dist"]
    assert any(each.startswith("transformers") for each in required)
    assert not [each for each in required if each.startswith("torch")]


def test_neuron_needs_its_compilers_release(nix: Nix) -> None:
    assert (
        "vllm for neuron: target test does not say neuron.neuronx-cc, "
        "the compiler's release that the wheel is named after"
    ) in nix.fail(vllm("neuron", "0.7.3"))


def test_another_device_is_one_sentence(nix: Nix) -> None:
    assert (
        "vllm for device 'xpu' is not built from source here; there are: cuda, empty, neuron"
        in (nix.fail(vllm("xpu", "0.7.3")))
    )


def test_a_base_with_too_old_a_compiler_is_one_sentence(nix: Nix) -> None:
    assert (
        "vllm 0.33.0 for CUDA needs g++ 13 or newer, and this base has 12; use nixpkgs"
    ) in nix.fail(vllm("cuda", "0.33.0", 'cuda.toolkit = "13.2"; cuda.capabilities = [ "8.6" ];'))
