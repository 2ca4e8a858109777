"""Wheels and source archives by pip, as the user configured it, for any Python and platform."""

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.fetching.cache import FULL, disk_full
from vllm_nix.fetching.sources import PipSource, SdistSource, WheelSource
from vllm_nix.locks.registry import NO_NETWORK, pip_command
from vllm_nix.process import ask


def download_wheels(wheels: Sequence[WheelSource], folder: Path, stop: threading.Event) -> None:
    """Downloads wheels of one Python into a folder; pip checks their hashes.

    A wheel with an index of its own comes alone: that index is asked if pip's own do not have it.
    Raises `Error` and its kinds.
    """
    options = ["--only-binary", ":all:", *_tags(wheels)]
    index = wheels[0].index
    try:
        _download(wheels, folder, stop, options)
    except (_NotFoundError, _NoNetworkError):
        if not index:
            raise
        _download(wheels, folder, stop, ["--index-url", index, *options])


def download_sdists(sdists: Sequence[SdistSource], folder: Path, stop: threading.Event) -> None:
    """Downloads source archives of different packages into a folder, without building them.

    pip checks their hashes. It also asks an archive's build backend for its metadata even if it only
    downloads (pip#7995), which for vLLM takes torch and a compiler. All that we fetch are built by
    setuptools: a stand-in for it answers with the metadata that the archive has, so that no code of
    the archive runs. Raises `Error` and its kinds.
    """
    package = folder / "backend/setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "build_meta.py").write_text(_BACKEND, encoding="utf-8")
    options = ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
    options += ["--python-version", sdists[0].python]
    _download(sdists, folder, stop, options, {"PYTHONPATH": str(package.parent)})


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


class _NotFoundError(Error):
    pass


class _NoNetworkError(Unavailable):
    pass


def _download(
    sources: Sequence[PipSource],
    folder: Path,
    stop: threading.Event,
    options: Sequence[str],
    variables: Mapping[str, str] | None = None,
) -> None:
    """Runs `pip download` for files of different packages. Raises `Error` and its kinds."""
    requirements, temporary = folder / "requirements.txt", folder / "tmp"
    requirements.write_text("".join(map(_requirement, sources)), encoding="utf-8")
    temporary.mkdir(exist_ok=True)
    command = [
        *(*pip_command(), "download", *options, "--no-input", "--progress-bar", "off"),
        *("--no-deps", "--require-hashes"),
        *("--requirement", str(requirements), "--dest", str(folder)),
    ]
    # Containers set constraints for installations, which contradict pins; empty means unset.
    own = {"TMPDIR": str(temporary), "PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    outcome = ask(
        command, variables={**own, **(variables or {})}, folder=folder, whole=False, stop=stop
    )
    if outcome.status:
        raise _explain(f"{outcome.stdout}\n{outcome.stderr}", outcome.end, sources, folder)


def _requirement(source: PipSource) -> str:
    """A line for pip, which would take much else on it. Raises `InputError`."""
    try:
        name = canonicalize_name(source.name, validate=True)
        version = Version(source.version)
    except ValueError as error:
        raise InputError(f"{source.file}: {error}") from error
    return f"{name}=={version} --hash=sha256:{source.sha256}\n"


def _tags(wheels: Sequence[WheelSource]) -> list[str]:
    """What pip has to know to take these wheels as fitting, whatever it runs on itself."""
    python = wheels[0].python
    tags = {tag for wheel in wheels for tag in wheel.file[:-4].split("-")[-1].split(".")}
    platforms = [option for tag in sorted(tags - {"any"}) for option in ("--platform", tag)]
    abis = [option for abi in (_abi(python), "abi3", "none") for option in ("--abi", abi)]
    return ["--python-version", python, "--implementation", "cp", *abis, *platforms]


def _abi(python: str) -> str:
    return "cp" + python.replace(".", "")


# Patterns for text of any origin: none of them looks at a character more than a few times.
_HOST = re.compile(r"host='([^'\s]{1,255})'")
_MISSING = re.compile(r"No matching distribution found for ([^\s(]{1,255})")


def _explain(output: str, end: str, sources: Sequence[PipSource], folder: Path) -> Error:
    if FULL in output:
        return disk_full(folder)
    if mismatch := _mismatch(output):
        release, expected, got = mismatch
        names = {f"{source.name}=={source.version}": source.file for source in sources}
        return Error(
            f"pip was served a wrong {names.get(release, release)}: sha256 {got} instead of"
            f" {expected}; the registry or a proxy changed it, or the lock is not right"
        )
    if NO_NETWORK.search(output):
        host = _HOST.search(output)
        return _NoNetworkError(
            f"no network: pip cannot reach {host[1] if host else 'its index'} for {sources[0].file};"
            " `pip config list` shows what it is configured with, --from DIR takes files by hand"
        )
    if missing := _MISSING.search(output):
        return _NotFoundError(
            f"pip finds no {missing[1]} with the locked hash where it is configured to look;"
            " download the file by hand and pass its folder: --from DIR"
        )
    lines = [line for line in output.splitlines() if line.startswith("ERROR")] or [output[-300:]]
    text = " ".join(" ".join(lines).split())
    return Error(f"pip download failed ({end}): {text[-1000:]}")


def _mismatch(output: str) -> tuple[str, str, str] | None:
    """The release of which pip was served another file, with the expected hash and the file's:

    NAME==VERSION from ADDRESS:
        Expected sha256 HASH
             Got        HASH
    """
    lines = [line.split() for line in output.splitlines()]
    for release, expected, got in zip(lines, lines[1:], lines[2:], strict=False):
        if (
            (len(release) > 2 and release[1] == "from")
            and (len(expected) == 3 and expected[:2] == ["Expected", "sha256"])
            and (len(got) == 2 and got[0] == "Got")
        ):
            return release[0], expected[2], got[1]
    return None
