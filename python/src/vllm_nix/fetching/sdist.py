"""Source archives by pip, as the user configured it, without building them.

pip asks an archive's build backend for its metadata even if it only downloads (pip#7995), which for
vLLM takes torch and a compiler. All that we fetch are built by setuptools: a stand-in for it answers
with the metadata that the archive has, so that no code of the archive runs.
"""

from collections.abc import Sequence
from pathlib import Path

from vllm_nix.fetching.pip import download
from vllm_nix.fetching.sources import SdistSource
from vllm_nix.processes import Children

_BACKEND = """\
import shutil
import sys
from email.parser import HeaderParser
from pathlib import Path


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    fields = HeaderParser().parsestr(Path("PKG-INFO").read_text(encoding="utf-8"))
    name = fields["Name"].replace("-", "_")
    folder = Path(metadata_directory, f"{name}-{fields['Version']}.dist-info")
    folder.mkdir()
    shutil.copy("PKG-INFO", folder / "METADATA")
    return folder.name


__legacy__ = sys.modules[__name__]  # the backend of an archive without pyproject.toml
"""


def download_sdists(sdists: Sequence[SdistSource], folder: Path, children: Children) -> None:
    """Downloads source archives of different packages into a folder; pip checks their hashes.

    Raises `Error` and its kinds.
    """
    package = folder / "backend/setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "build_meta.py").write_text(_BACKEND, encoding="utf-8")
    options = ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
    options += ["--python-version", sdists[0].python]
    download(sdists, folder, children, options, {"PYTHONPATH": str(package.parent)})
