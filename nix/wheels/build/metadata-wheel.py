"""Writes a wheel of nothing but the metadata of the project here (PEP 517): metadata-wheel.py FILE."""

import sys
import tempfile
import zipfile
from pathlib import Path

import build

wheel = Path(sys.argv[1])
wheel.parent.mkdir(exist_ok=True)
with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel, "w") as archive:
    info = Path(build.ProjectBuilder(".").metadata_path(folder))
    files = {
        "METADATA": (info / "METADATA").read_text(encoding="utf-8"),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: vllm-nix\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["RECORD"] = "".join(f"{info.name}/{file},,\n" for file in [*files, "RECORD"])
    for file, text in files.items():
        archive.writestr(zipfile.ZipInfo(f"{info.name}/{file}"), text)  # of 1980: no clock in it
