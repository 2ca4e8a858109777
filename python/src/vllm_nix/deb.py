"""Debian packages: an ar archive around a tar archive (deb(5))."""

import io
import tarfile
from pathlib import Path

from vllm_nix.errors import Error


def read_member(deb: Path, name: str) -> bytes:
    """The content of one file that the package installs. Raises `Error`."""
    data, at = deb.read_bytes(), len(b"!<arch>\n")
    try:
        while at < len(data):
            header = data[at : at + 60]
            size = int(header[48:58])
            if header.startswith(b"data.tar"):
                body = io.BytesIO(data[at + 60 : at + 60 + size])
                with tarfile.open(fileobj=body) as archive:
                    if member := archive.extractfile(name):
                        return member.read()
            at += 60 + size + size % 2
    except (KeyError, ValueError, tarfile.TarError) as error:
        raise Error(f"{deb}: cannot read {name}: {error}") from error
    raise Error(f"{deb}: there is no file {name} in it")
