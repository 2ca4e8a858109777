"""All is in pyproject.toml; but setuptools would install what an earlier build has left, such as targets
that are no more: https://github.com/pypa/setuptools/issues/1871."""

import shutil

from setuptools import setup

shutil.rmtree("build/lib", ignore_errors=True)
setup()
