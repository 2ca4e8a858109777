"""What hosts are compared by, and how a difference is said."""

import json
from pathlib import Path

import pytest

from vllm_nix.errors import InputError
from vllm_nix.hosts.likeness import differences, of_environment, of_model, sentence


def environment(folder: Path, **versions: str) -> Path:
    packages = folder / "lib/python3.11/site-packages"
    for name, version in versions.items():
        (packages / f"{name}-{version}.dist-info").mkdir(parents=True)
    return folder


def manifest(folder: Path, text: str) -> None:
    (folder / "share/vllm-nix").mkdir(parents=True)
    (folder / "share/vllm-nix/target.json").write_text(text)


def test_an_environment_of_somebody_elses(tmp_path: Path) -> None:
    folder = environment(tmp_path, vllm="0.32.0+cpu", typing_extensions="4.15.0")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.11.2\n")
    assert of_environment(folder) == {
        "vllm": "0.32.0+cpu",
        "typing-extensions": "4.15.0",
        "python": "3.11.2",
    }


def test_an_environment_built_here_says_how(tmp_path: Path) -> None:
    folder = environment(tmp_path, vllm="0.32.0")
    parameters = {
        "cuda": {"capabilities": ["8.6", "9.0"]},
        "summary": "in other words",
        "serve": {"chat": {"port": 1}},
    }
    wheels = [{"name": "vllm", "path": "/nix/store/a-vllm", "version": "0.32.0"}]
    manifest(folder, json.dumps({"target": "x", "parameters": parameters, "wheels": wheels}))
    assert of_environment(folder) == {
        "vllm": "0.32.0",
        "target": "x",
        "parameters.cuda.capabilities": '["8.6", "9.0"]',
        "wheel of vllm": "/nix/store/a-vllm",
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"wheels": [1]}', "[" * 100_000])
def test_a_damaged_manifest(tmp_path: Path, text: str) -> None:
    manifest(tmp_path, text)
    with pytest.raises(InputError, match=r"target\.json is damaged"):
        of_environment(tmp_path)


def test_a_model_is_its_files_wherever_they_lie(tmp_path: Path) -> None:
    for place in ("one", "other/place"):
        folder = tmp_path / place
        (folder / "1_Pooling").mkdir(parents=True)
        (folder / ".cache").mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "1_Pooling/config.json").write_text("{}")
        (folder / "README.md").write_text(place)
        (folder / ".cache/etag.json").write_text(place)
    facts = of_model("model", tmp_path / "one", "name")
    assert facts == of_model("model", tmp_path / "other/place", "another name")
    assert set(facts) == {"config.json of the model", "1_Pooling/config.json of the model"}
    assert of_model("model", None, "owner/name") == {"model": "owner/name"}


def test_a_checkpoint_of_another_step_differs(tmp_path: Path) -> None:
    """Of the same size and names; all weights have moved a little."""
    for step in (1, 2):
        folder = tmp_path / str(step)
        folder.mkdir()
        with (folder / "model.safetensors").open("wb") as stream:
            stream.write(b"header")
            stream.write(bytes([step]) * (3 << 20))
    one, other = (of_model("model", tmp_path / step, "m") for step in ("1", "2"))
    assert one != other
    assert one == of_model("model", tmp_path / "1", "m")


def test_what_says_most_comes_first() -> None:
    ours = {"vllm": "0.32.0", "wheel of vllm": "/a", "zlib": "1", "same": "s", "torch": "2.13.0"}
    theirs = {"vllm": "0.32.1", "wheel of vllm": "/b", "same": "s", "torch": "2.14.0"}
    keys = differences(ours, theirs)
    assert keys == ["vllm", "torch", "zlib", "wheel of vllm"]
    assert sentence(keys, ("host 10.0.0.2", theirs), ("host 10.0.0.1", ours)) == (
        "host 10.0.0.2 has vllm 0.32.1 where host 10.0.0.1 has vllm 0.32.0; torch 2.14.0 where host"
        " 10.0.0.1 has torch 2.13.0; no zlib where host 10.0.0.1 has zlib 1, and 1 other difference"
    )
    assert differences(ours, dict(ours)) == []
