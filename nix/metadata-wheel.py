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
    for file in sorted(info.iterdir()):
        # of 1980: no clock in it
        archive.writestr(zipfile.ZipInfo(f"{info.name}/{file.name}"), file.read_bytes())
