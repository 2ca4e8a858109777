"""Writes the extensions that setup.py here would build, each with the flags that it gives nvcc."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import setuptools


def setup(*, ext_modules: list[setuptools.Extension], **_: Any) -> None:
    flags = {each.name: getattr(each, "nvcc", []) for each in ext_modules}
    Path(sys.argv[1]).write_text(json.dumps(flags))


setuptools.setup = setup
runpy.run_path("setup.py", run_name="__main__")
