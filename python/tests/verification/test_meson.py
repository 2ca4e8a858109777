"""Editable installs by meson-python: followed file by file, and not run for it."""

import json
import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.environments import Sample, faults
from vllm_nix.verification import Status, verify
from vllm_nix.verification.installed import read_distributions
from vllm_nix.verification.meson import planned_files

NEEDED = 1
# The end of the loader, as releases of meson-python write it: 0.13, 0.16, 0.22.
LOADERS = {
    "names": "install(\n    {{'demo'}},\n    {folder!r},\n    ['ninja'],\n    False,\n)\n",
    "package": "install(\n    'demo-ext',\n    {{'demo'}},\n    {folder!r},\n    ['ninja'],\n    False,\n)\n",
    "finder": "def init():\n    finder = MesonpyMetaFinder(\n        'demo-ext',\n        {{'demo', 'other'}},\n"
    "        {folder!r},\n        ['ninja'],\n        False,\n    )\n    sys.meta_path.insert(0, finder)\n",
}


def install(sample: Sample, loader: str, plan: object) -> Path:
    """As pip and meson-python do; returns the build's folder."""
    project = sample.root.parent / "project"
    build = project / "build" / "cp311"
    (build / "meson-info").mkdir(parents=True)
    (build / "meson-info" / "intro-install_plan.json").write_text(
        plan if isinstance(plan, str) else json.dumps(plan)
    )
    text = "raise SystemExit('it is run')\n" + loader.format(folder=str(build))
    files = {"_demo_ext_editable_loader.py": text}
    sample.install("demo-ext", "1.2", files)
    origin = {"dir_info": {"editable": True}, "url": f"file://{project}"}
    (sample.metadata("demo-ext", "1.2") / "direct_url.json").write_text(json.dumps(origin))
    return build


def plan_of(project: Path) -> dict[str, object]:
    to = {"destination": "{py_platlib}/demo/_core.so", "tag": "runtime"}
    return {
        "targets": {f"{project}/build/cp311/_core.so": to},
        "python": {f"{project}/demo/__init__.py": {"destination": "{py_purelib}/demo/__init__.py"}},
        "install_subdirs": {
            f"{project}/data": {
                "destination": "{py_platlib}/demo/data",
                "exclude_files": ["left.txt"],
                "exclude_dirs": ["tests"],
            }
        },
        "headers": {f"{project}/x.h": {"destination": "{includedir}/x.h"}},
        "man": {f"{project}/up": {"destination": "{py_platlib}/../../up"}},
    }


@pytest.mark.parametrize("form", LOADERS)
def test_its_files_are_looked_at(sample: Sample, form: str) -> None:
    project = sample.root.parent / "project"
    build = install(sample, LOADERS[form], plan_of(project))
    for name in ("data/tests/a.txt", "data/sub/b.txt", "data/left.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    (build / "_core.so").write_bytes(elf_file(tags=[(NEEDED, b"libgone.so.9")]))
    (build / "unused.so").write_bytes(elf_file(tags=[(NEEDED, b"libunused.so.9")]))
    found = {one.name: one for one in read_distributions(sample.site)}["demo-ext"]
    assert planned_files(found) == {
        "demo/_core.so": build / "_core.so",
        "demo/__init__.py": project / "demo/__init__.py",
        "demo/data/sub/b.txt": project / "data/sub/b.txt",
    }
    report = verify(sample.root, only=["elf", "record", "wheel-set"])
    elf = faults(report)["elf"]
    assert "libgone.so.9" in elf
    assert "libunused" not in elf
    assert "demo: needs libgone.so.9" in elf


@pytest.mark.parametrize(
    "plan",
    [
        "",
        "[",
        "[" * 100_000,
        "[]",
        '{"targets": 5}',
        '{"targets": {"/x": {}}}',
        '{"targets": {"x": {"destination": "{py_platlib}/demo/x.so"}}}',
        '{"targets": {"/x": {"destination": 5}}}',
        '{"targets": {"/x\\u0000": {"destination": "{py_platlib}/demo/x.so"}}}',
    ],
)
def test_a_plan_may_be_anything(sample: Sample, plan: str) -> None:
    install(sample, LOADERS["finder"].replace("raise", "#"), plan)
    report = verify(sample.root, only=["elf", "wheel-set"])
    assert faults(report) == {}


@pytest.mark.parametrize(
    "loader", ["", "\0", "(" * 10_000, "f({1}, 2)", "f({x()}, '/y')", "f({'a'}, 'y')"]
)
def test_a_loader_may_be_anything(sample: Sample, loader: str) -> None:
    install(sample, "", "{}")
    (sample.site / "_demo_ext_editable_loader.py").write_text(loader)
    (found,) = (one for one in read_distributions(sample.site) if one.name == "demo-ext")
    assert planned_files(found) == {}


@pytest.mark.parametrize("files", [[], ["left.txt"], ["x.py"]])
def test_a_folder_without_end(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    """As / has, of which a plan may take all, or name what it does not take."""
    to = {"destination": "{py_platlib}/demo", "exclude_files": ["left.txt"]}
    install(sample, LOADERS["finder"], {"install_subdirs": {"/": to}})
    (found,) = (one for one in read_distributions(sample.site) if one.name == "demo-ext")
    monkeypatch.setattr(os, "walk", lambda _: (("/", [], files) for _ in count()))
    assert len(planned_files(found)) == ("x.py" in files)


def test_files_only_does_not_follow(sample: Sample) -> None:
    project = sample.root.parent / "project"
    build = install(sample, LOADERS["finder"], plan_of(project))
    (build / "_core.so").write_bytes(elf_file(tags=[(NEEDED, b"libgone.so.9")]))
    assert faults(verify(sample.root, only=["elf"], files_only=True)) == {}


MESON = """
project('demo-ext', 'c', version: '1.2')
py = import('python').find_installation(pure: false)
py.install_sources(['src/demo/__init__.py'], subdir: 'demo')
py.extension_module('_core', 'src/core.c', install: true, subdir: 'demo')
"""
CORE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_core", 0, -1, 0};
PyMODINIT_FUNC PyInit__core(void) { return PyModule_Create(&module); }
"""
PROJECT = """
[build-system]
requires = ["meson-python"]
build-backend = "mesonpy"
[project]
name = "Demo.Ext"
version = "1.2"
"""


@pytest.mark.network
@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_a_real_one(sample: Sample, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src/demo").mkdir(parents=True)
    for name, text in (
        ("pyproject.toml", PROJECT),
        ("meson.build", MESON),
        ("src/core.c", CORE),
        ("src/demo/__init__.py", ""),
    ):
        (project / name).write_text(text)
    python = sample.root / "bin/python"
    variables = {**os.environ, "PATH": f"{sample.root}/bin:{os.environ['PATH']}"}
    for words in (
        ["meson", "meson-python", "ninja"],
        ["--no-build-isolation", "--no-deps", "--editable", str(project)],
    ):
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", *words]
        subprocess.run(pip, check=True, env=variables)
    (found,) = (one for one in read_distributions(sample.site) if one.name == "demo-ext")
    files = planned_files(found)
    core, init = sorted(files, key=lambda path: path.endswith("__init__.py"))
    assert core.startswith("demo/_core.")
    assert files[init] == project / "src/demo/__init__.py"
    assert "build" in files[core].parts
    report = verify(sample.root, only=["elf", "record", "wheel-set", "requirements"])
    assert faults(report) == {}
    [elf] = [result for result in report.results if result.id == "elf"]
    assert [finding.status for finding in elf.findings] == [Status.OK]
    files[core].write_bytes(elf_file(tags=[(NEEDED, b"libgone.so.9")]))
    assert "libgone.so.9" in faults(verify(sample.root, only=["elf"]))["elf"]
