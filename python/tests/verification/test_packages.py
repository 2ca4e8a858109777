"""What importlib.metadata finds, verify finds: editable installs, .egg-info, other folders."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from verification.cuda import TORCH, carrier
from verification.environments import Sample, faults
from vllm_nix.verification import Status, verify
from vllm_nix.verification.environment import Environment
from vllm_nix.verification.installed import read_distributions, read_record
from vllm_nix.verification.packages import read_packages

FILES = ("gpu-code", "attention", "wheel-set", "record", "elf", "requirements")
FINDER = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "vllm":
            place = {place!r}
            return spec_from_file_location(name, place + "/__init__.py", submodule_search_locations=[place])
def install(): sys.meta_path.append(Finder)
"""


def source_of(sample: Sample) -> Path:
    """vLLM's package, moved into a source tree."""
    source = sample.root.parent / "source"
    source.mkdir()
    shutil.move(sample.site / "vllm", source / "vllm")
    sample.uninstall("vllm", "0.7.3")
    return source


def editable(sample: Sample, pth: str, files: Mapping[str, str] = {}) -> Path:
    """As PEP 660 has it: metadata in site-packages, and a line of Python or a path in a .pth."""
    source = source_of(sample)
    stated = {"url": source.as_uri(), "dir_info": {"editable": True}}
    url = "vllm-0.7.3.dist-info/direct_url.json"
    line = pth.format(source=source)
    sample.install("vllm", "0.7.3", {**files, "_vllm.pth": line, url: json.dumps(stated)})
    return source


def by_path(sample: Sample) -> Path:
    return editable(sample, "{source}\n")


def by_finder(sample: Sample) -> Path:
    place = str(sample.root.parent / "source" / "vllm")
    finder = {"_finder_of_vllm.py": FINDER.replace("{place!r}", repr(place))}
    return editable(sample, "import _finder_of_vllm; _finder_of_vllm.install()\n", dict(finder))


def by_egg_link(sample: Sample) -> Path:
    """As `setup.py develop` has it: metadata in the source tree."""
    source = source_of(sample)
    egg_info(source / "vllm.egg-info", "vllm", "0.7.3")
    (sample.site / "vllm.egg-link").write_text(f"{source}\n.")
    (sample.site / "easy-install.pth").write_text(f"{source}\n")
    return source


def egg_info(folder: Path, name: str, version: str, requires: str = "") -> None:
    folder.mkdir(parents=True)
    text = f"Metadata-Version: 1.0\nName: {name}\nVersion: {version}\n"
    (folder / "PKG-INFO").write_text(text)
    (folder / "requires.txt").write_text(requires)
    (folder / "top_level.txt").write_text(f"{name}\n")


def by_link(sample: Sample) -> Path:
    """As `flit install --symlink` has it, here without a word of it in the metadata."""
    source = source_of(sample)
    sample.install("vllm", "0.7.3", {})
    (sample.site / "vllm").symlink_to(source / "vllm")
    return source


KINDS = [by_path, by_finder, by_egg_link, by_link]


@pytest.mark.parametrize("install", KINDS)
def test_editable_is_followed(gpu_sample: Sample, install: Callable[[Sample], Path]) -> None:
    source = install(gpu_sample)
    assert faults(verify(gpu_sample.root, device="8.7", cuda="12.6", only=FILES)) == {}
    (source / "vllm/_C.abi3.so").write_bytes(carrier([("cubin", 90)]))
    found = faults(verify(gpu_sample.root, device="8.7", cuda="12.6", only=FILES))
    assert found.keys() == {"gpu-code"}
    place = "vllm/_C.abi3.so" if install is by_link else str(source / "vllm/_C.abi3.so")
    assert found["gpu-code"].startswith(f"failed {place}: ")


def test_broken_library_of_an_editable_install(gpu_sample: Sample) -> None:
    source = by_finder(gpu_sample)
    (source / "vllm/_C.abi3.so").write_bytes(b"\x7fELF\2\1\1 cut short")
    (source / "build").mkdir()  # of no package: nothing loads it
    (source / "build/other.so").write_bytes(b"\x7fELF\2\1\1 cut short")
    found = faults(verify(gpu_sample.root, only=["elf"]))["elf"]
    assert str(source / "vllm/_C.abi3.so") in found
    assert "other.so" not in found
    [finding] = verify(gpu_sample.root, only=["elf"]).results[0].findings[:1]
    assert finding.fix == f"compile it again: pip install -e {source}"


@pytest.mark.parametrize("install", [by_path, by_finder, by_link])
def test_editable_that_is_not_followed(
    gpu_sample: Sample, install: Callable[[Sample], Path]
) -> None:
    """Without running anything, nobody knows where a finder leads; that is no fault."""
    source = install(gpu_sample)
    report = verify(
        gpu_sample.root,
        device="orin",
        jetpack="6.2",
        only=["attention", "gpu-code"],
        files_only=True,
    )
    assert faults(report) == {}
    results = {result.id: result for result in report.results}
    assert results["attention"].status is Status.SKIPPED
    assert f"vllm is installed from {source}" in results["attention"].reason
    assert not results["attention"].harmless


@pytest.mark.parametrize("install", [by_path, by_finder, by_egg_link])
def test_editable_whose_project_is_gone(
    gpu_sample: Sample, install: Callable[[Sample], Path]
) -> None:
    """Python passes over it without a word."""
    source = install(gpu_sample)
    source.rename(source.with_name("elsewhere"))
    found = faults(verify(gpu_sample.root, only=["wheel-set"]))["wheel-set"]
    assert found.startswith(f"failed vllm: installed from {source}, which is not there")
    assert faults(verify(gpu_sample.root, only=["wheel-set"], files_only=True)) == {}


def test_editable_whose_finder_breaks(gpu_sample: Sample) -> None:
    source = by_finder(gpu_sample)
    finder = gpu_sample.site / "_finder_of_vllm.py"
    finder.write_text(finder.read_text().replace('if name == "vllm":', "if name == 'vllm': 1 / 0"))
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=["attention"])
    (result,) = report.results
    assert str(source) in result.reason


@pytest.mark.parametrize("version", ["2.5.1-py3.11", "2.5.1"])
def test_egg_info(gpu_sample: Sample, version: str) -> None:
    gpu_sample.uninstall("torch", "2.5.1")
    egg_info(gpu_sample.site / f"torch-{version}.egg-info", "torch", "2.5.1", "numpy\n")
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", skip=["machine"])
    assert faults(report) == {}


def test_requirements_of_an_egg(sample: Sample) -> None:
    requires = "numpy>=3\n\n[:python_version<'3']\nold\n\n[test]\npytest-that-is-absent\n"
    egg_info(sample.site / "some-1.0-py3.11.egg-info", "some", "1.0", requires)
    found = faults(verify(sample.root, only=["requirements"]))["requirements"]
    assert "numpy 2.3.5 (expected numpy>=3)" in found
    assert found.count("\n") == 1


def test_egg_info_that_is_a_file(sample: Sample) -> None:
    """As Debian has them."""
    file = sample.site / "flat-2.0.egg-info"
    file.write_text("Metadata-Version: 1.1\nName: Flat\nVersion: 2.0\n")
    names = {(found.name, found.version) for found in read_distributions(sample.site)}
    assert ("flat", "2.0") in names
    assert faults(verify(sample.root, only=["wheel-set", "record", "platform-plugin"])) == {}


def test_egg_folder(gpu_sample: Sample) -> None:
    """As easy_install made them: the folder itself is in sys.path."""
    egg = gpu_sample.site / "vllm-0.7.3-py3.11.egg"
    egg.mkdir()
    shutil.move(gpu_sample.site / "vllm", egg / "vllm")
    gpu_sample.uninstall("vllm", "0.7.3")
    egg_info(egg / "EGG-INFO", "vllm", "0.7.3")
    (gpu_sample.site / "easy-install.pth").write_text(f"./{egg.name}\n")
    report = verify(gpu_sample.root, device="8.7", cuda="12.6", only=FILES)
    assert faults(report) == {}
    assert {result.status for result in report.results} == {Status.OK}


def test_what_the_system_has(gpu_sample: Sample, tmp_path: Path) -> None:
    """As with --system-site-packages on a Jetson, whose torch is the system's."""
    system = Sample(tmp_path / "system")
    folder = system.root / "lib/python3.11/site-packages"
    folder.mkdir(parents=True)
    gpu_sample.uninstall("torch", "2.5.1")
    shutil.move(gpu_sample.site / "torch", folder / "torch")
    system.install("torch", "2.5.1", {"torch/__init__.py": TORCH, "../../../bin/x": ""})
    (gpu_sample.site / "system.pth").write_text(f"{folder}\n")
    assert faults(verify(gpu_sample.root, device="8.7", cuda="12.6", skip=["machine"])) == {}
    (folder / "torch/lib/libtorch_cuda.so").write_bytes(carrier([("cubin", 90)]))
    found = faults(verify(gpu_sample.root, device="8.7", cuda="12.6", only=["gpu-code"]))
    assert str(folder / "torch/lib/libtorch_cuda.so") in found["gpu-code"]


def test_first_of_the_path_counts(tmp_path: Path) -> None:
    for place, version in (("one", "1.0"), ("two", "2.0")):
        egg_info(tmp_path / place / "some.egg-info", "some", version)
    (found,) = read_distributions(tmp_path / "one", tmp_path / "two")
    assert found.version == "1.0"


def test_sees_what_importlib_metadata_sees() -> None:
    """Of the Python that Debian has in /usr, where it is."""
    python = Path("/usr/bin/python3")
    if not python.exists():
        pytest.skip("no /usr/bin/python3")
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps([sys.path, [[d.metadata['Name'], d.version] for d in m.distributions()]]))"
    )
    stated = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    path, distributions = json.loads(stated.stdout)
    seen = {found.name: found.version for found in read_distributions(*map(Path, path))}
    wanted: dict[str, str] = {}
    for name, version in distributions:
        wanted.setdefault(name.lower().replace("_", "-").replace(".", "-"), version)
    assert seen == wanted


def test_the_systems_python_is_no_fault() -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no /usr/bin/python3")
    report = verify("/usr", only=["wheel-set", "record", "requirements", "placeholders", "elf"])
    assert faults(report) == {}


def test_debians_folders_without_asking_its_python(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to("python3.11")
    for version, place in enumerate(("local/lib/python3.11", "lib/python3", "lib/python3.9")):
        egg_info(tmp_path / place / "dist-packages" / "some.egg-info", "some", str(version))
        egg_info(tmp_path / place / "dist-packages" / "x.egg-info", f"of-{version}", "1")
    environment = Environment(tmp_path, tmp_path, 1, files_only=True)
    _, distributions = read_packages(environment, "not asked")
    assert [one.name for one in distributions] == ["some", "of-0", "of-1"]
    assert distributions[0].version == "0"


def test_what_debian_installed_is_not_compared(tmp_path: Path) -> None:
    folder = tmp_path / "dist-packages" / "some-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Name: some\nVersion: 1.0\n")
    (folder / "RECORD").write_text("gone.py,sha256=abc,1\n")
    (found,) = read_distributions(tmp_path / "dist-packages")
    assert found.manager == "dpkg --verify"
    (folder / "INSTALLER").write_text("pip\n")
    assert found.manager == ""
    assert len(list(read_record(found))) == 1


def test_what_conda_installed_is_condas_to_compare(sample: Sample) -> None:
    """It writes its prefix into files, and itself into INSTALLER; RECORD stays as the wheel had it, or is
    not there. Some packages are in conda-meta alone."""
    meta = sample.root / "conda-meta"
    meta.mkdir()
    (meta / "history").touch()
    for name, version in (("numpy", "2.3.5"), ("tokenizers", "0.23.3"), ("safetensors", "0.8.0")):
        folder = sample.metadata(name, version)
        sample.record(f"{folder.name}/INSTALLER,sha256=x,4", name, version)
        (sample.site / name / "__init__.py").write_text(
            f"__version__ = '{version}' # {sample.root}"
        )
        place = folder.relative_to(sample.root)
        if name == "safetensors":
            (folder / "INSTALLER").write_text("conda\n")
            (folder / "RECORD").unlink()
        else:
            (folder / "INSTALLER").write_text("pip\n")
            files = [f"{place}/METADATA", f"{place.parent}/{name}/__init__.py"]
            (meta / f"{name}-{version}-py_0.json").write_text(json.dumps({"files": files}))
    (sample.site / "own.so").write_bytes(b"")
    report = verify(sample.root, skip=["elf", "token", "vllm-version", "distributed"])
    assert faults(report) == {}
    [record] = [result for result in report.results if result.id == "record"]
    assert "3 distributions for `conda doctor` to compare" in record.findings[-1].found
    (sample.site / "vllm" / "__init__.py").write_text("changed")
    assert "vllm/__init__.py" in faults(verify(sample.root, only=["record"]))["record"]


@pytest.mark.parametrize("text", ["", "[", "\0" * 100, "{" * 100_000], ids=len)
def test_condas_records_may_be_anything(sample: Sample, text: str) -> None:
    (sample.root / "conda-meta").mkdir()
    (sample.root / "conda-meta" / "x.json").write_text(text)
    (sample.root / "conda-meta" / "folder.json").mkdir()
    os.mkfifo(sample.root / "conda-meta" / "pipe.json")
    assert faults(verify(sample.root, only=["record", "wheel-set"])) == {}


@pytest.mark.parametrize("locations", ["[__file__ + '/vllm']", "['/nowhere']"])
def test_a_package_that_its_finder_keeps_file_by_file(gpu_sample: Sample, locations: str) -> None:
    """As meson-python's: there is no folder to look into, which is said, and is no fault of vLLM's."""
    by_finder(gpu_sample)
    module = gpu_sample.site / "_finder_of_vllm.py"
    module.write_text(module.read_text().replace("[place]", locations))
    report = verify(gpu_sample.root, device="orin", jetpack="6.2", only=["gpu-code", "attention"])
    assert faults(report) == {}
    assert any("not looked into" in result.reason for result in report.results)


def test_what_pip_left_over(gpu_sample: Sample) -> None:
    """Of an interrupted `pip uninstall`: a warning by itself, and neither a second torch nor its code."""
    name = "~orch-2.12.0.dist-info"
    old: Mapping[str, str | bytes] = {
        "~orch/lib/libold.so": carrier([("cubin", 50)]),
        "~orch/__init__.py": "",
    }
    gpu_sample.install("~orch", "2.12.0", old)
    metadata = gpu_sample.site / name / "METADATA"
    metadata.write_text(metadata.read_text().replace("~orch", "torch"))
    (gpu_sample.site / name / "RECORD").write_text("torch/__init__.py,sha256=x,1\n")
    only = ["wheel-set", "record", "ownership", "elf", "gpu-code", "requirements"]
    report = verify(gpu_sample.root, device="orin", jetpack="6.2", only=only)
    assert faults(report).keys() == {"wheel-set"}
    assert report.exit_code == 0
    finding = report.results[0].findings[0]
    assert finding.where == name
    assert finding.found == "pip was interrupted when it removed this"
    assert shlex.split(finding.fix) == ["rm", "-r", f"{gpu_sample.site}/~orch*"]
    subprocess.run(finding.fix, shell=True, check=True)
    assert not list(gpu_sample.site.glob("~*"))


def test_names_in_the_path_that_are_no_folders(gpu_sample: Sample) -> None:
    """As setuptools' finder puts one in for a namespace package."""
    text = "import sys; sys.path += ['__editable__.x.finder.__path_hook__', 'relative', '']\n"
    (gpu_sample.site / "__editable__.x.pth").write_text(text)
    assert faults(verify(gpu_sample.root, only=["interpreter", "elf"])) == {}


def test_a_python_that_is_a_link_to_itself(gpu_sample: Sample) -> None:
    for name in ("python", "python3"):
        (gpu_sample.root / "bin" / name).unlink()
    (gpu_sample.root / "bin/python").symlink_to("python3")
    (gpu_sample.root / "bin/python3").symlink_to("python")
    (gpu_sample.site / "loop").symlink_to("loop")
    report = verify(gpu_sample.root, only=["interpreter", "elf", "record"])
    assert faults(report).keys() == {"interpreter"}
    assert "it is a link that leads to itself" in faults(report)["interpreter"]
    assert report.exit_code == 3


@pytest.mark.parametrize("url", ["5", "null", '["x"]', '"file://["', '"file:///a%00b"', "{}"])
def test_any_origin_of_an_editable_install(gpu_sample: Sample, url: str) -> None:
    file = gpu_sample.metadata("triton", "3.1.0") / "direct_url.json"
    file.write_text(f'{{"url": {url}, "dir_info": {{"editable": true}}}}')
    assert faults(verify(gpu_sample.root, only=["wheel-set", "elf"])) == {}
