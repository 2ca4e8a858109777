"""The command as a user meets it: printed, run, and refused; a stand-in plays vLLM."""

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_nix import cli
from vllm_nix.errors import InputError
from vllm_nix.serve import load_profile
from vllm_nix.serve.command import (
    check_port,
    check_target_of,
    gate_variables,
    read_api_key,
    release_of,
)

KEY = "sk-secret"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "api key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def environment(folder: Path, release: str, target: str | None = None) -> Path:
    """An environment whose vLLM prints what it was started with."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin/vllm"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        'print(json.dumps([sys.argv[1:], os.environ["VLLM_API_KEY"], os.environ.get("EXTRA")]))\n'
    )
    program.chmod(0o755)
    (folder / f"lib/python3.11/site-packages/vllm-{release}.dist-info").mkdir(parents=True)
    (folder / "lib/python3.11/site-packages/vllm-ascend-x.dist-info").mkdir()
    if target:
        (folder / "share/vllm-nix").mkdir(parents=True)
        (folder / "share/vllm-nix/target.json").write_text(json.dumps({"target": target}))
    return folder


def serve(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "vllm_nix", "serve", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_printed_line_is_a_shells(key: Path) -> None:
    printed = serve(
        "cpu", "speculative", "--api-key-file", key, "--", "--chat-template", "a b"
    ).stdout
    echo = f'vllm() {{ printf \'%s\\n\' "$VLLM_API_KEY" "$@"; }}; {printed}'
    run = subprocess.run(["bash", "-c", echo], capture_output=True, text=True, check=True)
    said = run.stdout.splitlines()
    assert said[:2] == [KEY, "serve"]
    assert said[-2:] == ["--chat-template", "a b"]
    assert KEY not in printed


@pytest.mark.parametrize("shell", ["bash", "sh"])
@pytest.mark.parametrize("text", [None, "", "\n"])
def test_the_printed_line_starts_no_open_server(key: Path, text: str | None, shell: str) -> None:
    """vLLM takes an empty key for none, and then answers everybody."""
    printed = serve("cpu", "chat", "--api-key-file", key).stdout
    if text is None:
        key.unlink()
    else:
        key.write_text(text)
    variables = {**os.environ, "key": "old", "VLLM_API_KEY": "old"}
    started = [shell, "-c", f"vllm() {{ echo started; }}; {printed}"]
    run = subprocess.run(started, check=False, capture_output=True, text=True, env=variables)
    assert run.returncode != 0
    assert run.stdout == ""
    assert ("No such file" if text is None else "the API key file is empty") in run.stderr


def test_files_are_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reported = json.loads(serve("cpu", "chat", "--json", "--api-key-file", "key").stdout)
    assert reported["api-key-file"] == str(tmp_path / "key")


def test_json_has_the_same_words(key: Path) -> None:
    words = ("cpu", "chat", "--api-key-file", key)
    reported = json.loads(serve(*words, "--json").stdout)
    assert shlex.split(serve(*words).stdout)[-len(reported["command"]) :] == reported["command"]
    assert reported["api-key-variable"] == "VLLM_API_KEY"
    assert KEY not in json.dumps(reported)


def test_it_becomes_the_environments_server(tmp_path: Path, key: Path) -> None:
    """In the words of that environment's vLLM, with the key in its variables alone."""
    old = environment(tmp_path / "old", "0.7.3+cu126")
    result = serve(
        "cpu", "embedding", "--environment", old, "--api-key-file", key, "--port", "8765"
    )
    words, given, _ = json.loads(result.stdout)
    assert words[:2] == ["serve", "sentence-transformers/all-MiniLM-L6-v2"]
    assert words[words.index("--task") + 1] == "embed"
    assert given == KEY
    assert KEY not in " ".join(words)
    assert words[-2:] == ["--middleware", "vllm_nix_gate.Gate"]


@pytest.mark.parametrize(
    ("target", "variable"), [("cpu", "VLLM_NIX_PYTHONPATH"), (None, "PYTHONPATH")]
)
def test_its_vllm_imports_what_asks_for_the_key(
    tmp_path: Path, target: str | None, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own folders after it."""
    found = environment(tmp_path / "env", "0.32.0", target=target)
    monkeypatch.setenv(variable, "/mine")
    ours, mine = gate_variables(found)[variable].split(":")
    assert mine == "/mine"
    assert [file.name for file in Path(ours).glob("*.py")] == ["vllm_nix_gate.py"]


def test_an_environment_can_be_printed_for(tmp_path: Path) -> None:
    old = environment(tmp_path / "old", "0.7.3")
    assert "--task embed" in serve("cpu", "embedding", "--environment", old, "--print").stdout


def test_without_a_profile_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "cpu"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["chat", "embedding", "reranker", "speculative"]
    assert cli.main(["serve", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chat"]["port"] == 8000
    for ignored in (["--port", "9"], ["--environment", "."], ["--", "--seed", "1"]):
        assert cli.main(["serve", "cpu", *ignored]) == 2
        assert capsys.readouterr().err.startswith("vllm-nix: which profile? ")


def test_an_environment_of_another_target(tmp_path: Path) -> None:
    found = environment(tmp_path / "env", "0.33.0", target="cuda")
    assert release_of(found) == "0.33.0"
    check_target_of(found, "cuda")
    with pytest.raises(InputError, match="is of target 'cuda', not 'cpu'"):
        check_target_of(found, "cpu")
    with pytest.raises(InputError, match="has no vLLM"):
        release_of(tmp_path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read(key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(InputError, match=r"others can read the API key file .*; chmod 600"):
        read_api_key(key)
    result = serve("cpu", "chat", "--api-key-file", key)
    assert (result.returncode, result.stdout) == (2, "")
    assert "others can read" in result.stderr


def test_a_key_that_is_no_key(key: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the API key file .* was not found; make one: "):
        read_api_key(tmp_path / "none")
    for text, fault in (("\n", "is empty"), ("a b\n", "more than one word")):
        key.write_text(text)
        with pytest.raises(InputError, match=fault):
            read_api_key(key)


def test_the_way_to_make_a_key_makes_one(tmp_path: Path) -> None:
    file = tmp_path / "new folder/key"
    with pytest.raises(InputError) as caught:
        read_api_key(file)
    command = str(caught.value).partition("make one: ")[2]
    stand_in = f"openssl() {{ echo {KEY}; }}; "  # may be absent here
    subprocess.run(["bash", "-c", stand_in + command], check=True)
    assert read_api_key(file) == KEY


def test_a_key_of_systemds(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    assert read_api_key(key) == KEY
    key.chmod(0o444)
    with pytest.raises(InputError, match="others can read"):
        read_api_key(key)


def test_a_folder_without_a_model(tmp_path: Path, key: Path) -> None:
    """A line for another machine may name one that is not here."""
    words = ("cpu", "chat", "--model", tmp_path, "--api-key-file", key)
    assert serve(*words).returncode == 0
    result = serve(*words, "--environment", environment(tmp_path / "env", "0.32.0"))
    assert result.returncode == 2
    assert f"{tmp_path} is not a model's folder: it has no config.json" in result.stderr


def test_a_port_in_use(taken: int, tmp_path: Path, key: Path) -> None:
    with pytest.raises(InputError, match=f"port {taken} of 127.0.0.1 is in use; give another"):
        check_port("127.0.0.1", taken)
    options = ("--environment", environment(tmp_path / "env", "0.32.0+cpu"), "--api-key-file", key)
    result = serve("cpu", "chat", *options, "--port", str(taken))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(InputError, match="is not an address"):
        check_port("no.such.host.invalid", 8000)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("cpu", "hat"), "target 'cpu' has no profile 'hat'"),
        (("cpu", "chat", "--", "--task", "generate"), "vLLM 0.32.0 has no --task"),
        (
            ("cpu", "chat", "--", "--port", "1"),
            "--port is the profile's own option: give it before",
        ),
        (("cpu", "chat", "--", "--host=::"), "--host is the profile's own option: give it before"),
        (("cpu", "speculative", "--model", "x/y-0.1B"), "is larger than the model"),
        (("cpu", "chat", "--environment", "/nonexistent"), "/nonexistent has no vLLM"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], sentence: str) -> None:
    result = serve(*words)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("vllm-nix: ")
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr


def test_the_variables_of_a_profile_are_set(tmp_path: Path, key: Path) -> None:
    overrides = {"env": {"EXTRA": "a b"}, "api-key-file": str(key), "port": 8764}
    assert (
        load_profile("cpu", "chat", overrides).command().line().count(" && EXTRA='a b' VLLM_") == 1
    )
    program = f"""if True:
        from pathlib import Path
        from vllm_nix.serve import load_profile
        command = load_profile("cpu", "chat", {overrides!r}).command()
        command.run(Path({str(environment(tmp_path / "env", "0.32.0"))!r}))
    """
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout)[1:] == [KEY, "a b"]
