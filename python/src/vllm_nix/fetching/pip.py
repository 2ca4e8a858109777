"""Wheels by pip, as the user configured it, for any Python and platform."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from vllm_nix.errors import Error, Unavailable
from vllm_nix.fetching.room import FULL, disk_full
from vllm_nix.fetching.sources import PipSource, WheelSource
from vllm_nix.locks.registry import pip_command
from vllm_nix.processes import Children


def download_wheels(wheels: Sequence[WheelSource], folder: Path, children: Children) -> None:
    """Downloads wheels of one Python into a folder; pip checks their hashes.

    A wheel with an index of its own comes alone: that index is asked if pip's own do not have it.
    Raises `Error` and its kinds.
    """
    index = wheels[0].index
    try:
        _download(wheels, folder, children, [])
    except (_NotFoundError, _NoNetworkError):
        if not index:
            raise
        _download(wheels, folder, children, ["--index-url", index])


class _NotFoundError(Error):
    pass


class _NoNetworkError(Unavailable):
    pass


def _download(
    wheels: Sequence[WheelSource], folder: Path, children: Children, options: Sequence[str]
) -> None:
    download(wheels, folder, children, [*options, "--only-binary", ":all:", *_tags(wheels)])


def download(
    sources: Sequence[PipSource],
    folder: Path,
    children: Children,
    options: Sequence[str],
    env: Mapping[str, str] | None = None,
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
    code, output = children.run(command, cwd=folder, env={**own, **(env or {})})
    if code != 0:
        raise _explain(output, code, sources, folder)


def _requirement(source: PipSource) -> str:
    return f"{source.name}=={source.version} --hash=sha256:{source.sha256}\n"


def _tags(wheels: Sequence[WheelSource]) -> list[str]:
    """What pip has to know to take these wheels as fitting, whatever it runs on itself."""
    python = wheels[0].python
    tags = {tag for wheel in wheels for tag in wheel.file[:-4].split("-")[-1].split(".")}
    platforms = [option for tag in sorted(tags - {"any"}) for option in ("--platform", tag)]
    abis = [option for abi in (_abi(python), "abi3", "none") for option in ("--abi", abi)]
    return ["--python-version", python, "--implementation", "cp", *abis, *platforms]


def _abi(python: str) -> str:
    return "cp" + python.replace(".", "")


_MISMATCH = re.compile(r"(\S+==\S+) from .*\s+Expected sha256 (\w+)\s+Got\s+(\w+)")
_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError"
    r"|IncompleteRead|Connection (?:aborted|broken|refused|reset)|Network is unreachable"
)


def _explain(output: str, code: int, sources: Sequence[PipSource], folder: Path) -> Error:
    if FULL in output:
        return disk_full(folder)
    if mismatch := _MISMATCH.search(output):
        names = {f"{source.name}=={source.version}": source.file for source in sources}
        file = names.get(mismatch[1], mismatch[1])
        return Error(
            f"pip was served a wrong {file}: sha256 {mismatch[3]} instead of {mismatch[2]};"
            " the registry or a proxy changed it, or the lock is not right"
        )
    if _NETWORK.search(output):
        host = re.search(r"host='([^']+)'", output)
        return _NoNetworkError(
            f"no network: pip cannot reach {host[1] if host else 'its index'} for {sources[0].file};"
            " `pip config list` shows what it is configured with, --from DIR takes files by hand"
        )
    if missing := re.search(r"No matching distribution found for (\S+==[^\s(]+)", output):
        return _NotFoundError(
            f"pip finds no {missing[1]} with the locked hash where it is configured to look;"
            " bring the file and pass --from DIR"
        )
    lines = [line for line in output.splitlines() if line.startswith("ERROR")] or [output[-300:]]
    return Error(f"pip download failed with exit code {code}: {' '.join(' '.join(lines).split())}")
