"""Debian packages by apt's own downloader, which follows the user's proxies and credentials."""

import io
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Sequence
from lzma import LZMAError
from pathlib import Path

from vllm_nix.binaries.archive import ArchiveError, members
from vllm_nix.errors import Error, Unavailable
from vllm_nix.fetching.cache import FULL, disk_full
from vllm_nix.fetching.sources import DebSource
from vllm_nix.process import ask

_HELPER = Path("/usr/lib/apt/apt-helper")


def find_mirror(suite: str, component: str) -> str:
    """The address of the mirror with a suite that apt is configured with.

    Without that suite, another Debian release's mirror: all releases and components share one pool.
    Raises `Unavailable`.
    """
    way_out = "pass --mirror URL, set VLLM_NIX_DEBIAN_MIRROR, or give a folder of the packages: --from DIR"
    if not shutil.which("apt-get"):
        raise Unavailable(f"apt, which downloads Debian packages, is missing; {way_out}")
    fields = "$(REPO_URI)|$(CODENAME)|$(RELEASE)|$(LABEL)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    listing = ask(command, limit=60).stdout
    rows = [line.split("|") for line in listing.splitlines() if line.count("|") == 3]
    for row in rows:
        if suite in row[1:3]:
            return _first_mirror(row[0])
    for row in rows:
        if row[3] == "Debian":
            return _first_mirror(row[0])
    raise Unavailable(f"apt has no source for Debian {suite} {component}; {way_out}")


def _first_mirror(address: str) -> str:
    # Cloud images list mirrors in a file. apt resolves that only for whole repositories.
    if address.startswith("mirror+file:"):
        file = Path(address.removeprefix("mirror+file:").rstrip("/"))
        words = file.read_text(encoding="utf-8", errors="replace").split()
        if not words:
            raise Unavailable(f"apt's list of mirrors {file} is empty")
        return words[0]
    return address


def download_debs(
    debs: Sequence[DebSource], folder: Path, stop: threading.Event, mirror: str
) -> None:
    """Downloads packages from a mirror into a folder; apt checks their hashes. Raises `Error`."""
    if not _HELPER.exists():
        raise Unavailable(
            f"apt's downloader {_HELPER} is missing; give the packages' folder: --from DIR"
        )
    command = [str(_HELPER)]
    if os.geteuid() == 0:
        # apt would become _apt, who cannot write in root's cache, and then warn of staying root.
        command += ["-o", "APT::Sandbox::User=root"]
    command.append("download-file")
    if mirror.startswith("file:"):
        mirror = "copy:" + mirror.removeprefix("file:")  # apt would only link to local files
    for deb in debs:
        address = f"{mirror.rstrip('/')}/{deb.pool_path}"
        command += [address, str(folder / deb.file), f"SHA256:{deb.sha256}"]
    outcome = ask(command, folder=folder, whole=False, stop=stop)
    if outcome.status:
        raise _explain(f"{outcome.stdout}\n{outcome.stderr}", outcome.end, folder, mirror)


def read_member(deb: Path, name: str) -> bytes:
    """The content of one file that the package installs. Raises `Error`."""
    data = deb.read_bytes()
    try:
        for part in members(data):
            if part.name.startswith("data.tar"):
                body = io.BytesIO(data[part.offset : part.offset + part.size])
                with tarfile.open(fileobj=body) as archive:
                    if member := archive.extractfile(name):
                        return member.read()
    except (ArchiveError, KeyError, ValueError, EOFError, LZMAError, tarfile.TarError) as error:
        raise Error(f"{deb}: cannot read {name}: {error}") from error
    raise Error(f"{deb}: {name} was not found in it")


def _explain(output: str, end: str, folder: Path, mirror: str) -> Error:
    if FULL in output:
        return disk_full(folder)
    failure = re.search(r"E: Failed to fetch (\S{1,1000})\s+(.{0,1000})", output)
    file = failure[1].rpartition("/")[2].replace("%2b", "+") if failure else "a package"
    reason = failure[2] if failure else " ".join(output[-300:].split())
    hashes = re.findall(r"- SHA256:(\w+)", output)
    if "Hash Sum mismatch" in output and len(hashes) >= 2:
        return Error(
            f"apt was served a wrong {file}: sha256 {hashes[1]} instead of {hashes[0]};"
            " a mirror or proxy changed it"
        )
    if re.search(r"resolv|connect|timed out|unreachable", reason, re.IGNORECASE):
        return Unavailable(f"no network: apt cannot fetch {file}: {reason}")
    return Error(
        f"apt cannot fetch {file} from {mirror} ({end}): {reason};"
        " --mirror URL names another mirror"
    )
