"""Wheel and source archive: each has the licence and all the data that the checkout has."""

import email
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import vllm_nix

ROOT = Path(__file__).parents[2]
SYSTEMS = ("aarch64-linux", "x86_64-linux")
BUILD = "from setuptools import build_meta; print(build_meta.build_{kind}({folder!r}))"
# What each set needs on each system, or why not.
SOURCES = f"""
import json
from vllm_nix.errors import Error
from vllm_nix.fetching.sources import load_sources, set_names
def needed(name, system):
    try:
        sources = load_sources([name], system)
    except Error as error:
        return str(error)
    files = sorted(str(file.path) for file in sources.files)
    return files + [str(file.path) for file in sources.executables]
print(json.dumps({{
    f"{{name}} {{system}}": needed(name, system) for name in set_names() for system in {SYSTEMS}
}}))
"""

pytestmark = pytest.mark.skipif(
    not (ROOT / "nix").is_dir(), reason="the data is in the repository only"
)


@dataclass(frozen=True)
class Built:
    sdist: Path
    sdist_again: Path
    wheel: Path
    wheel_of_sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, without a network, and a wheel that is built from the source archive alone."""
    folder = tmp_path_factory.mktemp("packages")
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "tests")
    shutil.copytree(ROOT / "python", checkout / "python", symlinks=True, ignore=ignored)
    for name in ("LICENSE", "nix", "pkgs"):
        (checkout / name).symlink_to(ROOT / name)
    left = checkout / "python/build/lib/vllm_nix/data/targets/gone"  # by an older build
    left.mkdir(parents=True)
    (left / "target.toml").touch()
    sdist = build("sdist", checkout / "python", folder / "sdist")
    wheel = build("wheel", checkout / "python", folder / "wheel")
    for path in (checkout / "python").rglob("*"):  # as of somebody with another umask, later
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
            os.utime(path)
    again = build("sdist", checkout / "python", folder / "sdist-again")
    shutil.rmtree(checkout)
    with tarfile.open(sdist) as archive:
        assert all(member.isfile() or member.isdir() for member in archive), "no links"
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    return Built(sdist, again, wheel, build("wheel", unpacked, folder / "wheel-of-sdist"))


def build(kind: str, source: Path, folder: Path) -> Path:
    folder.mkdir()
    program = BUILD.format(kind=kind, folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return folder / done.stdout.split()[-1]


def needs(package: Path | None = None) -> dict[str, list[str] | str]:
    """What the sets need, by the code and the data of an unpacked wheel, or of this checkout."""
    path = {} if package is None else {"PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", SOURCES],
        cwd="/",
        env={**os.environ, **path},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str] | str] = json.loads(done.stdout)
    return found


def unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_reads_what_the_checkout_reads(built: Built, tmp_path: Path) -> None:
    expected, found = needs(), needs(unpack(built.wheel, tmp_path))
    listed = [name for name, files in expected.items() if isinstance(files, list)]
    assert len(listed) >= 20
    assert {name: found[name] for name in listed} == {name: expected[name] for name in listed}
    assert [name for name, files in found.items() if isinstance(files, list)] == listed


def test_the_wheel_of_the_source_archive_is_the_wheel(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as one, zipfile.ZipFile(built.wheel_of_sdist) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        for name in one.namelist():
            if not name.endswith(("/RECORD", "/METADATA", "/WHEEL")):
                assert one.read(name) == other.read(name), name


def test_what_is_missing_is_named(built: Built, tmp_path: Path) -> None:
    package = unpack(built.wheel, tmp_path)
    data = package / "vllm_nix/data"
    missing = {
        "debian-cuda12 x86_64-linux": data / "debian/cuda12/debs.x86_64-linux.json",
        "debian-cuda12-libraries x86_64-linux": data
        / "debian/cuda12/libraries/pylock.x86_64-linux.toml",
        "debian-cuda x86_64-linux": data / "debian/cuda/requirements.toml",
        "jetson aarch64-linux": data / "targets/jetson/pylock.aarch64-linux.toml",
        "debian x86_64-linux": data / "debian/debs.x86_64-linux.json",
        "vllm-sources x86_64-linux": data / "packages/cutlass/sources.toml",
    }
    for file in missing.values():
        file.unlink()
    found = needs(package)
    for name, file in missing.items():
        assert str(file) in found[name]
        assert isinstance(found[name], str), "an error, and no shorter list"


def test_the_metadata(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        info = f"vllm_nix-{vllm_nix.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        licence = archive.read(f"{info}/licenses/LICENSE")
        assert "vllm_nix/py.typed" in archive.namelist()
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert metadata["Version"] == vllm_nix.__version__
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    for field in ("Author", "Classifier", "Keywords", "Project-URL", "Summary"):
        assert metadata[field], field
    with tarfile.open(built.sdist) as archive:
        name = built.sdist.name.removesuffix(".tar.gz")
        opened = archive.extractfile(f"{name}/LICENSE")
        assert opened is not None
        assert opened.read() == licence


def test_the_source_archive_is_the_same_by_whomever(built: Built) -> None:
    assert built.sdist_again.read_bytes() == built.sdist.read_bytes()


@pytest.mark.network
@pytest.mark.slow
def test_pip_installs_the_source_archive(built: Built, tmp_path: Path) -> None:
    """In a new virtual environment, with what it requires from the registry."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    subprocess.run([tmp_path / "bin/pip", "install", "-q", str(built.sdist)], check=True)
    done = subprocess.run(
        [tmp_path / "bin/vllm-nix", "targets", "--all"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(name in done.stdout for name in vllm_nix.target_names())
