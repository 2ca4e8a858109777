"""The wheel flashinfer-jit-cache: the names of its modules, and what FlashInfer finds in it."""

import ast
import itertools
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from tests.conftest import ROOT, said

FOLDER = ROOT / "pkgs/flashinfer-jit-cache"
FLASHINFER = "0.7.2.post1"
ASK = """
import flashinfer_jit_cache as cache, json
[provider] = cache.get_jit_cache_providers()
print(json.dumps([cache.__version__, cache.get_jit_cache_dir(), vars(provider)]))
"""


def value(name: str) -> ast.expr:
    """A value of compile.py, which imports on no machine without FlashInfer."""
    for line in ast.parse((FOLDER / "compile.py").read_text()).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == name:
            return line.value
    raise AssertionError(name)


def values(name: str) -> dict[str, object]:
    """The names in a table of it."""
    table = value(name)
    assert isinstance(table, ast.Dict)
    return {ast.literal_eval(key): None for key in table.keys if key}


def pattern(name: str) -> str:
    compiled = value(name)
    assert isinstance(compiled, ast.Call)
    return str(ast.literal_eval(compiled.args[0]))


def test_what_vllm_calls_is_known_of_each_device() -> None:
    """Each row names what compile.py compiles, or says in a sentence why there is nothing."""
    calls = tomllib.loads((FOLDER / "attention.toml").read_text())
    capabilities = tomllib.loads((ROOT / "nix/targets/capabilities.toml").read_text())
    flashinfers = {
        name.partition(".")[0] for name in capabilities if Version(name) >= Version("7.5")
    }
    assert set(calls) == flashinfers
    for row in calls.values():
        assert set(row) == {"attention", "attention-fp8", "xqa"}
        for answer in row.values():
            if isinstance(answer, str):
                assert len(answer.split()) > 5
            else:
                assert answer and set(answer) <= {"fa2", "fa3", "xqa"}


def test_a_target_may_name_what_can_be_compiled() -> None:
    schema = tomllib.loads((ROOT / "nix/targets/schema.toml").read_text())["kernels.modules"]
    dtypes = set(values("DTYPES"))
    halves = {dtype for dtype in dtypes if dtype.endswith("f16")}
    attention = {
        "-".join(("attention", query, *cache, size))
        for query, cache, size in itertools.product(
            halves, [(), *((dtype,) for dtype in dtypes - halves)], ("64", "128", "256")
        )
    }
    xqa = {f"{name}-4".replace("attention", "xqa") for name in attention if "e5m2" not in name}
    for name in {*values("MODULES"), *attention, *xqa}:
        assert re.fullmatch(schema["match"], name), name
    for name in {*attention, *xqa}:
        assert re.fullmatch(pattern("NAME"), name), name
    refused = {*dtypes, "attention", "attention-e4m3-128", "attention-bf16-96", "prefill"}
    for name in {*refused, "xqa-bf16-128", "xqa-bf16-e5m2-128-4", "xqa-bf16-128-0"}:
        assert not re.fullmatch(schema["match"], name), name
    assert all(name in schema["form"] for name in values("MODULES"))


def module(folder: Path, name: str, *architectures: str) -> Path:
    """What compile.py makes, but for the code."""
    (folder / name / name).mkdir(parents=True)
    (folder / name / name / f"{name}.so").write_text(f"code of {name}")
    facts = {"module": name, "names": [name], "architectures": architectures}
    (folder / name / "module.json").write_text(json.dumps(facts))
    return folder / name


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    folders = [module(tmp_path, "sampling", "sm86"), module(tmp_path, "norm", "sm86", "sm90a")]
    version = f"{FLASHINFER}+sm86.sm90"
    file = tmp_path / f"flashinfer_jit_cache-{version}-py3-none-linux_x86_64.whl"
    subprocess.run([sys.executable, FOLDER / "wheel.py", version, file, *folders], check=True)
    return file


def test_flashinfer_finds_the_modules(wheel: Path, tmp_path: Path) -> None:
    """By the attributes that its jit/env.py reads, of 0.6 and of 0.7."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    said = subprocess.run(
        [sys.executable, "-c", ASK],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path / "site",
    ).stdout
    version, folder, provider = json.loads(said)
    assert version.startswith(f"{FLASHINFER}+")
    assert Version(version).public == FLASHINFER
    assert provider == {
        "provider_id": "vllm-nix",
        "distribution": "flashinfer-jit-cache",
        "version": version,
        "jit_cache_dir": folder,
        "cuda_architectures": ["sm86", "sm90a"],
        "modules": ["norm", "sampling"],
    }
    for name in provider["modules"]:
        assert Path(folder, name, f"{name}.so").read_text() == f"code of {name}"


def test_it_is_a_wheel_that_pip_installs(wheel: Path, tmp_path: Path) -> None:
    said(
        *(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q"),
        *("--disable-pip-version-check", "--target", tmp_path / "installed", wheel),
    )
    [metadata] = (tmp_path / "installed").glob("flashinfer_jit_cache-*.dist-info/METADATA")
    assert f"Requires-Dist: flashinfer-python=={FLASHINFER}\n" in metadata.read_text()


def test_the_same_modules_are_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / wheel.name
    again.parent.mkdir()
    version = f"{FLASHINFER}+sm86.sm90"
    folders = [tmp_path / "sampling", tmp_path / "norm"]
    subprocess.run([sys.executable, FOLDER / "wheel.py", version, again, *folders], check=True)
    assert again.read_bytes() == wheel.read_bytes()
