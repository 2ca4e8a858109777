"""Debian packages of one file, in a mirror in a folder."""

import io
import tarfile
from pathlib import Path

from registry import digest

from vllm_nix.fetching.sources import DebSource


def make_deb(mirror: Path, file: str, content: bytes, member: str = "./bin/tool") -> DebSource:
    """Writes an archive as dpkg-deb does, as far as a reader of its files sees."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:xz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    data = b"!<arch>\n"
    for name, part in (("debian-binary", b"2.0\n"), ("data.tar.xz", body.getvalue())):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n"
        data += header.encode() + part + b"\n" * (len(part) % 2)
    pool = mirror / "pool" / "main"
    pool.mkdir(parents=True, exist_ok=True)
    (pool / file).write_bytes(data)
    return DebSource(
        file=file,
        sha256=digest(pool / file),
        size=len(data),
        pool_path=f"pool/main/{file}",
        suite="bookworm",
        component="main",
    )
