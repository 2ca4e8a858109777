"""Environments that another user may not read, as root's umask 077 leaves them."""

import os
from pathlib import Path

import pytest

from verification.environments import Sample
from vllm_nix.verification import verify
from vllm_nix.verification.environment import Environment
from vllm_nix.verification.facts import Facts
from vllm_nix.verification.machine import BrokenDriver, ask_driver
from vllm_nix.verification.report import Report


def fixes(report: Report) -> dict[str, str]:
    """The last fix of each check."""
    return {
        result.id: finding.fix
        for result in report.results
        for finding in result.findings
        if finding.fix
    }


def test_packages_that_their_owner_alone_may_enter(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, who runs the tests, may enter each."""
    closed, may = sample.site / "torch", os.access

    def access(path: str | Path, mode: int) -> bool:
        return Path(path) != closed and may(path, mode)

    monkeypatch.setattr(os, "access", access)
    (closed / "__init__.py").unlink()
    found = fixes(verify(sample.root, only=["interpreter", "imports", "torch-build"]))
    assert "a+rX" in found["interpreter"]
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != sample.site)
    (sample.site / "vllm/__init__.py").write_text("import nothing_of_this_name\n")
    assert "a+rX" in fixes(verify(sample.root, only=["imports"]))["imports"]


def test_check_that_may_not_read(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Facts) -> None:
        raise PermissionError(13, "Permission denied", str(sample.site))

    monkeypatch.setattr(Facts, "binaries", refuse)
    assert "a+rX" in fixes(verify(sample.root, only=["elf"]))["elf"]


def test_python_without_ctypes_is_no_broken_driver(sample: Sample, tmp_path: Path) -> None:
    python = sample.root / "bin/python"
    python.unlink()
    why = "ImportError: libffi.so.8: cannot open shared object file: No such file or directory"
    python.write_text(f"#!/bin/sh\necho '{why}' >&2\nexit 1\n")
    python.chmod(0o755)
    found = ask_driver(Environment(sample.root, tmp_path, 20))
    assert isinstance(found, BrokenDriver)
    assert found.found.endswith(why)
    assert "dmesg" not in found.fix
