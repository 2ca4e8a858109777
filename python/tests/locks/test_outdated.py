"""What moved, asked of an index in a folder."""

import json
from dataclasses import replace
from typing import cast

import pytest
from registry import Publish

from vllm_nix.cli import main
from vllm_nix.errors import Unavailable
from vllm_nix.locks.outdated import Newer, newest, outdated, pins
from vllm_nix.targets import Parameters, Target, load_target


@pytest.fixture
def cuda() -> Target:
    """With vLLM alone, so that the index can be small."""
    target = load_target("cuda")
    data = {**target.data, "wheels": {"platform": "manylinux_2_35"}}
    return replace(target, data=cast(Parameters, data))


def test_a_newer_vllm_names_the_rows_that_it_needs(publish: Publish, cuda: Target) -> None:
    publish("vllm", "0.33.0", requires="torch==2.14.0")
    publish("vllm", "0.34.0", requires="torch==2.16.0")
    publish("torch", "2.16.0", requires="triton==3.10.0")
    publish("triton", "3.10.0")
    assert list(outdated(cuda)) == [
        Newer(
            *("vllm", "0.33.0", "0.34.0"),
            rows=('[torch-of.vllm] "0.34.0" = "2.16.0"', '[triton-of] "2.16.0" = "3.10.0"'),
        )
    ]


def test_a_row_that_is_there_is_not_asked_for(publish: Publish, cuda: Target) -> None:
    data = {**cuda.data, "vllm": {**cuda.data["vllm"], "version": "0.24.0"}}
    older = replace(cuda, data=cast(Parameters, data))
    publish("vllm", "0.33.0", requires="torch==2.14.0")
    publish("torch", "2.14.0", requires="triton==3.8.0")
    publish("triton", "3.8.0")
    assert list(outdated(older)) == [Newer("vllm", "0.24.0", "0.33.0")]


def test_a_vllm_whose_torch_is_not_there_says_so(publish: Publish, cuda: Target) -> None:
    publish("vllm", "0.34.0", requires="torch==2.16.0")
    [found] = outdated(cuda)
    assert found.rows == ()
    assert found.reason.startswith("cannot lock vllm 0.34.0 for x86_64-linux: ")
    assert "torch" in found.reason


def test_a_registry_out_of_reach_is_not_one_without_news(
    quiet_pip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(Unavailable, match="no network: pip cannot reach its index for vllm"):
        newest("vllm")


def test_the_newest_is_current(publish: Publish, cuda: Target) -> None:
    for version in ("0.7.3", "0.33.0", "0.34.0rc1"):
        publish("vllm", version)
    assert list(outdated(cuda)) == []


def test_no_release_and_no_registry(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("vllm", "0.33.0")
    assert newest("nobodys-package") is None
    monkeypatch.setenv("PIP_NO_INDEX", "never mind")
    with pytest.raises(Unavailable, match="cannot ask for releases of vllm: "):
        newest("vllm")


def test_what_a_target_names_by_release() -> None:
    assert pins(load_target("verl")) == {
        "antlr4-python3-runtime": "4.9.3",
        "flash-attn": "2.8.3",
        "pylatexenc": "2.10",
        "verl": "0.9.1",
        "vllm": "0.24.0",
    }
    assert pins(load_target("cuda")) == {"vllm": "0.33.0"}
    assert set(pins(load_target("neuron"))) == {"vllm"}, "the SDK is AWS's"


def test_the_command(publish: Publish, capsys: pytest.CaptureFixture[str]) -> None:
    publish("vllm", "0.33.0")
    assert main(["outdated", "cuda"]) == 0
    assert capsys.readouterr().out == "cuda has the newest of what it pins\n"
    assert main(["outdated", "cuda", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"cuda": []}
    assert main(["outdated", "cdua"]) == 2
