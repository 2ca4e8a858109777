"""What the real builds share: Nix on the embedded base, in the sandbox, and wheels made on the spot."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = {
    "experimental-features": "nix-command flakes",
    "sandbox": "true",
    "sandbox-fallback": "false",
    "max-jobs": "auto",
    "substituters": "",
}
EMBEDDED = ("--override-input", "nixpkgs", "path:./nix/debian")

emulated = pytest.mark.skipif(
    os.uname().machine != "aarch64" and not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists(),
    reason="no emulation of aarch64 (qemu-user-static, binfmt_misc)",
)


@dataclass(frozen=True)
class Nix:
    """Runs Nix at the root of the checkout."""

    def __call__(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        options = [word for name, value in OPTIONS.items() for word in ("--option", name, value)]
        result = subprocess.run(
            [command[0], *options, *command[1:]],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert not check or result.returncode == 0, result.stderr
        return result

    def build(self, expression: str) -> Path:
        """The store path of one derivation, built."""
        result = self("nix-build", "--no-out-link", "--expr", expression)
        return Path(result.stdout.strip())

    def fail(self, expression: str) -> str:
        """What a build that must fail says."""
        result = self("nix-build", "--no-out-link", "--expr", expression, check=False)
        assert result.returncode != 0, f"built {result.stdout}"
        return result.stderr

    def need_source(self, package: str) -> None:
        """Skips the test unless the source of a package, an expression, is in the store."""
        expression = f"let package = {package}; in toString (package.src.src or package.src)"
        words = ("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
        source = json.loads(self(*words).stdout)
        if not Path(source).exists():
            pytest.skip(f"{source} is not in the store: see docs/jetson.md")


def said(*command: str | Path, **options: Any) -> str:
    """What a command prints, which must succeed; the options are those of subprocess.run."""
    result = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


@dataclass(frozen=True)
class Built:
    """An environment. Its programs have a home, and no other variables of ours."""

    path: Path
    home: Path

    def __call__(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.path / "bin" / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(self.home), **variables},
        )


@pytest.fixture(scope="session")
def nix() -> Nix:
    if not shutil.which("nix"):
        pytest.skip("Nix is not installed; `make setup` installs it")
    return Nix()


@pytest.fixture(scope="session")
def environment(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CPU target's environment, built."""
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#vllm-cpu", "--out-link", str(link), *EMBEDDED)
    return link


@pytest.fixture
def make_wheel(tmp_path: Path) -> Callable[..., Path]:
    """Makes a wheel of the given files; a bytes value may be a compiled library."""
    return partial(write_wheel, tmp_path)


def write_wheel(
    folder: Path,
    name: str,
    files: Mapping[str, str | bytes],
    tag: str = "py3-none-any",
    description: str = "",
    version: str = "1.0",
) -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    contents: dict[str, str | bytes] = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{description}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
            rows.append(f"{file},sha256={digest.decode()},{len(data)}\n")
            archive.writestr(zipfile.ZipInfo(file), data)
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(rows) + f"{info}/RECORD,,\n")
    return path


@pytest.fixture
def compile_library(tmp_path: Path) -> Callable[..., bytes]:
    """Compiles C into a shared library: its bytes."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc on this machine to make a test library with")

    def compile_(source: str, *flags: str, name: str = "libtest.so") -> bytes:
        (tmp_path / "source.c").write_text(source)
        output = tmp_path / name
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "source.c", "-o", os.fspath(output), *flags],
            cwd=tmp_path,
            check=True,
        )
        return output.read_bytes()

    return compile_
