"""Models are found whole or not at all; a stand-in plays the hubs' clients, the real one is played in
tests/builds/test_model.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vllm_nix import cli
from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.serve.models import copy, download, hub, is_whole

NAME = "acme/tiny-0.5B"


def model(folder: Path, *, shards: int = 0) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    if not shards:
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder
    names = [f"model-{n}-of-{shards}.safetensors" for n in range(shards)]
    for name in names:
        (folder / name).write_bytes(b"weights")
    index = {"weight_map": {f"layer.{n}": name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def client(folder: Path, name: str, program: str) -> str:
    """A folder with a hub's client that runs some Python, where `words` are what it was asked."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(
        f"#!{sys.executable}\nimport sys, pathlib\nwords = sys.argv[1:]\n{program}\n"
    )
    (folder / name).chmod(0o755)
    return str(folder)


WRITES = """
folder = pathlib.Path(words[-1]); folder.mkdir()
(folder / "config.json").write_text("{}")
(folder / "model.safetensors").write_text(" ".join(words[:-1]))
"""


def test_whole_or_not(tmp_path: Path) -> None:
    whole = model(tmp_path / "a", shards=3)
    assert is_whole(whole)
    (whole / "model-1-of-3.safetensors").unlink()
    assert not is_whole(whole)
    assert not is_whole(tmp_path / "none")
    assert is_whole(model(tmp_path / "b"))
    (tmp_path / "b/config.json").unlink()
    assert not is_whole(tmp_path / "b")


@pytest.mark.parametrize("kind", ["model-{}.safetensors", "pytorch_model-{}.bin"])
def test_shards_without_their_index_are_not_whole(kind: str, tmp_path: Path) -> None:
    """A client writes the index last."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"no weights")
    (folder / kind.format("00001-of-00011")).write_bytes(b"weights")
    assert not is_whole(folder)


@pytest.mark.parametrize("index", ['{"weight_map": {"a": 5}}', '{"weight_map": {}}', "[]", "{"])
def test_a_damaged_index(index: str, tmp_path: Path) -> None:
    whole = model(tmp_path / "tiny", shards=2)
    (whole / "model.safetensors.index.json").write_text(index)
    assert not is_whole(whole)


@pytest.mark.parametrize(
    ("name", "variables", "asked"),
    [
        ("hf", {}, f"download {NAME} --local-dir"),
        ("huggingface-cli", {}, f"download {NAME} --local-dir"),
        ("modelscope", {"VLLM_USE_MODELSCOPE": "True"}, f"download --model {NAME} --local_dir"),
    ],
)
def test_each_hubs_client(name: str, variables: dict[str, str], asked: str, tmp_path: Path) -> None:
    path = client(tmp_path / "bin", name, WRITES)
    place = download(NAME, tmp_path / "models", path, variables)
    assert place == tmp_path / "models" / NAME
    assert (place / "model.safetensors").read_text() == asked


def test_what_is_there_is_not_downloaded_again(tmp_path: Path) -> None:
    place = model(tmp_path / NAME)
    assert download(NAME, tmp_path, "/nonexistent", {}) == place


def test_a_client_that_fails_or_leaves_less(tmp_path: Path) -> None:
    path = client(tmp_path / "bin", "hf", "sys.exit(1)")
    with pytest.raises(
        Error,
        match=r"hf could not download acme/tiny-0.5B \(exit status 1\), see above; what it has",
    ):
        download(NAME, tmp_path, path, {})
    path = client(tmp_path / "bin", "hf", "pathlib.Path(words[-1]).mkdir()")
    with pytest.raises(Error, match="hf left no whole model in"):
        download(NAME, tmp_path, path, {})


def test_no_client(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no hf or huggingface-cli here to download acme/tiny"):
        download(NAME, tmp_path, str(tmp_path), {})
    with pytest.raises(Unavailable, match="no modelscope here"):
        download(NAME, tmp_path, str(tmp_path), {"VLLM_USE_MODELSCOPE": "1"})


def test_vllms_own_variable_chooses_the_hub() -> None:
    assert [hub({"VLLM_USE_MODELSCOPE": value}) for value in ("0", "false", "", "1", "TRUE")] == [
        *["huggingface"] * 3,
        *["modelscope"] * 2,
    ]


@pytest.mark.parametrize("below", ["", "tiny-0.5B", NAME])
def test_copied_by_hand(below: str, tmp_path: Path) -> None:
    model(tmp_path / "usb" / below, shards=2)
    place = copy(tmp_path / "usb", NAME, tmp_path / "models")
    assert is_whole(place)
    assert [entry.name for entry in place.parent.iterdir()] == ["tiny-0.5B"], "nothing half-written"
    assert copy(tmp_path / "usb", NAME, tmp_path / "models") == place


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one comes while this one copies, and is done before."""
    source, models = model(tmp_path / "usb"), tmp_path / "models"
    copytree, places = shutil.copytree, []

    def interrupted(*arguments: Any, **options: Any) -> None:
        copytree(*arguments, **options)
        monkeypatch.undo()
        places.append(copy(source, NAME, models))
        (places[0] / "config.json").write_text('{"in": "use"}')

    monkeypatch.setattr(shutil, "copytree", interrupted)
    assert [copy(source, NAME, models)] == places
    assert (models / NAME / "config.json").read_text() == '{"in": "use"}', "not replaced"
    assert [entry.name for entry in (models / "acme").iterdir()] == ["tiny-0.5B"]


def test_what_a_client_has_begun_is_replaced(tmp_path: Path) -> None:
    begun = tmp_path / "models" / NAME
    begun.mkdir(parents=True)
    (begun / "model-00001-of-00002.safetensors").write_bytes(b"half")
    place = copy(model(tmp_path / "usb"), NAME, tmp_path / "models")
    assert sorted(entry.name for entry in place.iterdir()) == ["config.json", "model.safetensors"]
    assert [entry.name for entry in place.parent.iterdir()] == ["tiny-0.5B"]


def test_a_model_is_not_taken_for_its_draft(tmp_path: Path) -> None:
    """A profile of two models is copied from a folder that holds both, or from one after the other."""

    def run(source: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "vllm_nix", "model", "cpu", "speculative"]
        command += ["--from", str(source), "--download-dir", str(tmp_path / "models")]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    result = run(model(tmp_path / "other name"))
    assert result.returncode == 2
    assert not (tmp_path / "models").exists()
    large, small = (f"Qwen2.5-{size}B-Instruct" for size in ("1.5", "0.5"))
    result = run(model(tmp_path / large))
    assert result.returncode == 2
    assert (
        f"has no whole Qwen/{small}: a config.json and the weights beside it, in a folder {small}"
        in (result.stderr)
    )
    assert [entry.name for entry in (tmp_path / "models/Qwen").iterdir()] == [large]
    assert run(model(tmp_path / small)).returncode == 0


def test_a_file_that_cannot_be_copied(tmp_path: Path) -> None:
    source = model(tmp_path / "usb")
    for name in ("a", "b"):
        (source / name).symlink_to("gone")
    with pytest.raises(InputError, match=rf"{NAME} cannot be written: [^()]*No such file[^()]*$"):
        copy(source, NAME, tmp_path / "models")
    assert list((tmp_path / "models/acme").iterdir()) == []


@pytest.mark.parametrize("end", ["/", "."])
def test_a_model_that_leads_elsewhere(end: str, tmp_path: Path) -> None:
    """To all that the machine has, or around."""
    source = model(tmp_path / "usb")
    (source / "more").symlink_to(end)
    with pytest.raises(InputError, match="usb/more is a link to a folder; put what it leads to"):
        copy(source, NAME, tmp_path / "models")
    assert list((tmp_path / "models/acme").iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("kind", ["pipe", "hole"])
def test_a_model_whose_files_have_no_end(name: str, kind: str, tmp_path: Path) -> None:
    source = model(tmp_path / "usb", shards=2)
    (source / name).unlink()
    if kind == "pipe":
        os.mkfifo(source / name)
    else:
        (source / name).touch()
        os.truncate(source / name, 1 << 40)
    assert cli.main(["serve", "cpu", "chat", "--model", str(source), "--print"]) in (0, 2)
    if name != "config.json":
        assert cli.main(["model", "cpu", NAME, "--from", str(source)]) == 2


def test_a_copy_into_what_is_copied(tmp_path: Path) -> None:
    folder = model(tmp_path / "usb")
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=f"is inside of {folder}, which is to be copied"):
        copy(folder, NAME, folder / "models")
    assert sorted(folder.rglob("*")) == before


def test_half_a_model_is_not_copied(tmp_path: Path) -> None:
    half = model(tmp_path / "usb", shards=2)
    (half / "model-0-of-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no whole acme/tiny-0.5B: a config.json and the wei"):
        copy(half, NAME, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["../../tiny", "a/b/c", "/models/none", "acme/../tiny", "~/none"])
def test_a_name_that_is_no_models(name: str, tmp_path: Path) -> None:
    """Joined to the download folder, it would lead out of it."""
    model(tmp_path / "usb")
    command = [sys.executable, "-m", "vllm_nix", "model", "cpu", name]
    command += ["--from", str(tmp_path / "usb"), "--download-dir", str(tmp_path / "a/b/models")]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert f"'{name}' is neither a folder here nor a model's name" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["usb"]


def test_the_command_takes_a_profile_or_a_name(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    path = client(tmp_path / "env/bin", "hf", WRITES)

    def run(name: str) -> str:
        command = [sys.executable, "-m", "vllm_nix", "model", "cpu", name]
        command += ["--environment", str(Path(path).parent)]
        command += ["--download-dir", str(tmp_path / "models")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert run("speculative").splitlines() == [
        f"Qwen/Qwen2.5-{size}B-Instruct is in {tmp_path}/models/Qwen/Qwen2.5-{size}B-Instruct"
        for size in ("1.5", "0.5")
    ]
    assert f"{NAME} is in" in run(NAME)
