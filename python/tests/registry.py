"""A package index in a folder, with wheels a few hundred bytes long."""

import hashlib
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from vllm_nix.fetching.sources import WheelSource

Publish = Callable[..., Path]  # a fixture of the tests of locks


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    tag: str = "py3-none-any",
    requires: Iterable[str] = (),
) -> Path:
    """Writes an installable wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Requires-Dist: {requirement}\n" for requirement in requires]
    members = {
        f"{name.replace('-', '_')}.py": f"version = {version!r}\n",
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    with zipfile.ZipFile(file, "w") as archive:
        for member, text in {**members, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(member), text)  # no date: same bytes every time
    return file


def write_index(root: Path, files: Iterable[Path]) -> str:
    """Writes a simple index (PEP 503) of files; returns its address."""
    pages: dict[str, list[str]] = {}
    for file in files:
        name = file.name.split("-")[0].replace("_", "-")
        address = f"{file.as_uri()}#sha256={digest(file)}"
        pages.setdefault(name, []).append(f'<a href="{address}">{file.name}</a>')
    for name, links in pages.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "index.html").write_text("<!DOCTYPE html>" + "".join(links))
    return root.as_uri()


def source(wheel: Path, index: str | None = None, sha256: str | None = None) -> WheelSource:
    """The source that a lock of a wheel names."""
    name, version = wheel.name.split("-")[:2]
    return WheelSource(
        file=wheel.name,
        sha256=sha256 or digest(wheel),
        size=wheel.stat().st_size,
        name=name,
        version=version,
        python="3.11",
        index=index,
    )


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
