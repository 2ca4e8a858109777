import itertools
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification.environments import healthy
from vllm_nix import verify
from vllm_nix.errors import InputError
from vllm_nix.verification.environment import MANIFEST, _manifest, read_manifest

GOOD = {
    "schema": 1,
    "target": "cpu",
    "python": "3.11",
    "parameters": {},
    "driver-libraries": ["libcuda.so.1"],
    "wheels": [{"name": "Torch_X", "version": "1", "path": "/nix/store/x"}],
}


def write(root: Path, text: str) -> Path:
    (root / MANIFEST).parent.mkdir(parents=True)
    (root / MANIFEST).write_text(text)
    return root


def test_reads(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, json.dumps(GOOD)))
    assert manifest is not None
    assert (manifest.target, manifest.python) == ("cpu", "3.11")
    assert manifest.driver_libraries == {"libcuda.so.1"}
    assert (manifest.wheels[0].name, manifest.wheels[0].path) == ("torch-x", Path("/nix/store/x"))


def test_what_was_left_out_is_named(tmp_path: Path) -> None:
    wheel = {**GOOD["wheels"][0], "path": str(tmp_path), "without": ["tests", "protoc"]}  # type: ignore[index]
    root = write(healthy(tmp_path / "good").root, json.dumps({**GOOD, "wheels": [wheel]}))
    (result,) = verify(root, only=["manifest"]).results
    assert [finding.found for finding in result.findings] == [
        "target cpu, 1 wheels",
        "left out as unused: tests (torch-x), protoc (torch-x)",
    ]
    odd = {**GOOD, "wheels": [{**wheel, "without": [1]}]}
    with pytest.raises(InputError, match="'without' is not a list of texts"):
        read_manifest(write(tmp_path / "odd", json.dumps(odd)))


def test_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(["cuda.capabilities", "cann.toolkit"], [3, "8.7", [8], {"a": 1}, False]),
        ("systems", [3]),
        ("torch.version", 2.14),
        ("torch.env", ["USE_NCCL"]),
        ("torch.build-number", "x"),
        ("jetpack.version", ["6.2"]),
        ("cuda.toolkit", "x.y"),
        ("run.env", {"TRITON_PTXAS_PATH": "a\0b"}),
        ("run.env", {"TRITON_PTXAS_PATH": 3}),
        ("torch", [1]),
    ],
)
def test_parameters_of_another_kind(tmp_path: Path, key: str, value: object) -> None:
    table, _, name = key.partition(".")
    write(tmp_path, json.dumps(GOOD | {"parameters": {table: {name: value} if name else value}}))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    with pytest.raises(InputError, match=rf"target\.json: parameters: {key}.*build the") as caught:
        verify(tmp_path, only=["manifest"])
    assert "\n" not in str(caught.value)


def test_parameters_that_another_release_knows(tmp_path: Path) -> None:
    later = {"cuda": {"toolkit": "15.0", "capabilities": ["99.0"], "new": 1}, "npu": [1]}
    manifest = read_manifest(write(tmp_path, json.dumps(GOOD | {"parameters": later})))
    assert manifest is not None
    assert manifest.parameters == later


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Expecting property name"),
        ("[]", "there is no 'schema'"),
        (json.dumps(GOOD | {"schema": 2}), "schema 2 is not 1"),
        (json.dumps(GOOD | {"target": 3}), "'target' is int, not str"),
        (json.dumps(GOOD | {"wheels": {}}), "'wheels' is dict, not list"),
        (json.dumps(GOOD | {"wheels": [1]}), "there is no 'name'"),
        (json.dumps(GOOD | {"driver-libraries": [1]}), "'driver-libraries' is not a list of texts"),
        ("[" * 100_000, "recursion"),
        (" " * (1 << 24) + "{}", "larger than"),
    ],
    ids=lambda value: "" if len(value) > 60 else value,
)
def test_broken(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        read_manifest(write(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / MANIFEST))
    assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(GOOD)), inner),
    )
)
def test_any_json(data: object) -> None:
    try:
        _manifest(data)
    except (ValueError, TypeError):
        return
    assert isinstance(data, dict)
