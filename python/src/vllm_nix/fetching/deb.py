"""Debian packages: an ar archive around a tar archive (deb(5))."""

import io
import tarfile
from pathlib import Path

from vllm_nix.binaries.archive import ArchiveError, members
from vllm_nix.errors import Error


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
    except (ArchiveError, KeyError, tarfile.TarError) as error:
        raise Error(f"{deb}: cannot read {name}: {error}") from error
    raise Error(f"{deb}: there is no file {name} in it")
