"""Folders of models, keys, manifests and command lines may be anything: an answer, or an error of ours."""

import io
import json
import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_nix import cli
from vllm_nix.errors import Error, InputError
from vllm_nix.paths import cache_folder
from vllm_nix.serve import load_profile
from vllm_nix.serve.command import check_port, check_target_of, read_api_key, release_of
from vllm_nix.serve.models import is_whole, parameters, weights
from vllm_nix.targets import profile_keys

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
)
DOCUMENT = (
    st.dictionaries(st.sampled_from(["weight_map", "target", "x"]), JSON).map(json.dumps)
    | st.dictionaries(
        st.just("weight_map"), st.dictionaries(st.text(max_size=3), st.text(max_size=9)), min_size=1
    ).map(json.dumps)
    | JSON.map(json.dumps)
    | st.just("[" * 100_000)
).map(str.encode) | st.binary(max_size=100)


@given(DOCUMENT)
def test_any_index_of_weights(tmp_path_factory: pytest.TempPathFactory, document: bytes) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_bytes(document)
    (folder / "model.safetensors.index.json").write_bytes(document)
    with suppress(Error):
        assert isinstance(is_whole(folder), bool)


@given(DOCUMENT)
def test_any_manifest(tmp_path_factory: pytest.TempPathFactory, document: bytes) -> None:
    folder = tmp_path_factory.mktemp("environment")
    (folder / "share/vllm-nix").mkdir(parents=True)
    (folder / "share/vllm-nix/target.json").write_bytes(document)
    with suppress(Error):
        check_target_of(folder, "cpu")


@given(st.binary(max_size=200))
def test_any_key(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("key") / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with suppress(Error):
        key = read_api_key(file)
        assert key.split() == [key]


@given(st.text(max_size=300), st.integers(1, 65535))
def test_any_host(host: str, port: int) -> None:
    with suppress(Error):
        check_port(host.replace("\0", ""), port)


@pytest.mark.parametrize("version", ["0.0.1", "1!0", "9999", "0.7.3.dev1+g1", "0.33.0rc1"])
def test_any_release_of_vllm(tmp_path: Path, version: str) -> None:
    (tmp_path / f"lib/python3.11/site-packages/vllm-{version}.dist-info").mkdir(parents=True)
    with suppress(Error):
        load_profile("cpu", "chat", release=release_of(tmp_path)).command()


@given(st.text(max_size=40), st.integers(0, 5))
def test_any_name_of_a_model(name: str, digits: int) -> None:
    weights(name.replace("~", "-"))
    parameters(name + "9" * 10**digits + "B")


def test_a_name_of_digits_takes_no_time() -> None:
    assert parameters("1." * 50_000) is None


ODD = st.sampled_from(
    [
        "",
        "-1",
        "0",
        "1e400",
        "nan",
        "~nosuch",
        "/dev/null",
        "/proc/self/mem",
        "a\nb",
        "\x1b",
        "é",
        ".",
    ]
) | st.text(st.characters(exclude_characters="\0"), max_size=10)


def options() -> list[str]:
    return [f"--{key}" for key in profile_keys() if key not in ("summary", "arguments", "env")]


@given(st.lists(st.tuples(st.sampled_from(options()), ODD), max_size=4), st.lists(ODD, max_size=3))
def test_any_values_on_the_command_line(
    values: Sequence[tuple[str, str]], rest: Sequence[str]
) -> None:
    words = ["serve", "cpu", "chat", *(f"{name}={value}" for name, value in values), "--", *rest]
    errors = io.StringIO()
    with redirect_stderr(errors), redirect_stdout(io.StringIO()):
        try:
            code = cli.main(words)
        except SystemExit as stop:  # argparse's own
            code = int(stop.code or 0)
    assert code in (0, 2, 3)
    if code:
        assert errors.getvalue().splitlines()[-1].startswith("vllm-nix")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "cpu", "chat", "--download-dir", "~nosuch/x"], "~nosuch/x: no home folder is"),
        (["serve", "cpu", "chat", "--api-key-file", "~nosuch/x"], "~nosuch/x: no home folder is"),
        (["serve", "cpu", "chat", "--model", "~nosuch/x"], "~nosuch/x: no home folder is known"),
        (["model", "cpu", "chat", "--download-dir", "~nosuch"], "~nosuch: no home folder is known"),
        (["model", "cpu", "~nosuch/x"], "~nosuch/x: no home folder is known for ~nosuch"),
        (["model", "cpu", "../.."], "../.. is not a model's folder: it has no config.json"),
        (["serve", "cpu", "chat", "--host", "a" * 64], f"host '{'a' * 64}' is not an address"),
    ],
)
def test_one_clear_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if "--host" in words:
        with pytest.raises(InputError, match=said):
            check_port(words[-1], 80)
        return
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(f"vllm-nix: {said}")


def test_a_key_file_that_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(InputError, match=f"the API key file {tmp_path}/key is not a regular file"):
        read_api_key(tmp_path / "key")
    with pytest.raises(InputError, match="is not a regular file"):
        read_api_key(tmp_path)


def test_a_user_without_a_home(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container, a number without a name."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="no home folder is known: set HOME or XDG_CACHE_HOME"):
        cache_folder()
    assert cli.main(["serve", "cpu", "chat", "--download-dir", "~/models"]) == 2
    assert capsys.readouterr().err == "vllm-nix: ~/models: no home folder is known: set HOME\n"
