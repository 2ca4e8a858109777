"""An image as a docker-archive, a tar of a tar for each layer, with nothing in it that depends on the machine.

    image.py describe ABOUT LAYERS FILES    writes a description: ABOUT with its layers, their sizes and digests
    image.py stream DESCRIPTION NAME:TAG    writes the image

LAYERS is a list of lists of store paths, FILES a folder with the last layer, layer.tar.
"""

import hashlib
import json
import os
import stat
import sys
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

Description = dict[str, Any]
END = bytes(2 * tarfile.BLOCKSIZE)
_CHUNK = 1 << 20


class Writable(Protocol):
    def write(self, data: bytes, /) -> Any: ...
    def tell(self) -> int: ...


def main() -> None:
    match sys.argv[1:]:
        case "describe", about, layers, files:
            image = read(about)
            parts = [{"paths": paths} for paths in read(layers)]
            parts.append({"archive": f"{files}/layer.tar"})
            json.dump({**image, "layers": [described(part, image) for part in parts]}, sys.stdout)
        case "stream", description, tag:
            if sys.stdout.isatty():
                sys.exit("this writes an image: pipe it to `podman load` or `docker load`")
            try:
                stream(read(description), tag, sys.stdout.buffer)
            except OSError as error:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for Python's last flush
                sys.exit(f"the image is not whole: {error.strerror}")
        case _:
            sys.exit(__doc__)


def read(file: str) -> Any:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def described(layer: dict[str, Any], image: Description) -> dict[str, Any]:
    sink = Sink()
    write_layer(layer, image, sink)
    return {**layer, "size": sink.tell(), "digest": sink.digest.hexdigest()}


def stream(image: Description, tag: str, out: BinaryIO) -> None:
    layers = image["layers"]
    created = datetime.fromisoformat(image["created"]).isoformat()
    about = {
        "architecture": image["architecture"],
        "os": "linux",
        "created": created,
        "config": image["config"],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each['digest']}" for each in layers]},
        "history": [{"created": created, "comment": comment(each)} for each in layers],
    }
    config = json.dumps(about, sort_keys=True).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    files = [f"{each['digest']}/layer.tar" for each in layers]
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": files}]).encode()
    write_file(name, config, image, out)
    write_file("manifest.json", manifest, image, out)
    for file, layer in zip(files, layers, strict=True):
        out.write(header(file, image, size=layer["size"]))
        counted = Counted(out)
        write_layer(layer, image, counted)
        if counted.tell() != layer["size"]:
            sys.exit(
                f"{comment(layer)}: changed since the image was described; the store is damaged"
            )
        out.write(padding(layer["size"]))
    out.write(END)
    out.flush()


def comment(layer: dict[str, Any]) -> str:
    """What a layer has, for `podman history`."""
    names = [path.partition("-")[2] for path in layer.get("paths", ())]
    return " ".join(names) if len(names) < 6 else f"{len(names)} paths" if names else "files"


def write_layer(layer: dict[str, Any], image: Description, out: Writable) -> None:
    if "archive" in layer:
        copy(layer["archive"], out)
        return
    for folder in parents(image["store_dir"]):
        out.write(header(folder, image, tarfile.DIRTYPE, 0o755))
    for path in layer["paths"]:
        write_path(path, os.lstat(path), image, out)
    out.write(END)


def parents(path: str) -> Iterator[str]:
    names = path.strip("/").split("/")
    return ("/".join(names[: end + 1]) for end in range(len(names)))


def write_path(path: str, status: os.stat_result, image: Description, out: Writable) -> None:
    """A path with all below it, sorted; modes as the store has them, whatever a file system adds."""
    name, mode = path.lstrip("/"), status.st_mode
    if stat.S_ISLNK(mode):
        target = str(Path(path).readlink())
        out.write(header(name, image, tarfile.SYMTYPE, 0o777, target=target))
    elif stat.S_ISDIR(mode):
        out.write(header(name, image, tarfile.DIRTYPE, 0o555))
        with os.scandir(path) as found:
            children = sorted(found, key=lambda child: os.fsencode(child.name))
        for child in children:
            write_path(child.path, child.stat(follow_symlinks=False), image, out)
    else:
        mode = 0o555 if mode & 0o100 else 0o444
        out.write(header(name, image, tarfile.REGTYPE, mode, size=status.st_size))
        copy(path, out)
        out.write(padding(status.st_size))


def write_file(name: str, content: bytes, image: Description, out: Writable) -> None:
    size = len(content)
    out.write(header(name, image, size=size) + content + padding(size))


def copy(file: str, out: Writable) -> None:
    with Path(file).open("rb") as source:
        while data := source.read(_CHUNK):
            out.write(data)


def header(
    name: str,
    image: Description,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o444,
    size: int = 0,
    target: str = "",
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, target
    info.mtime = int(datetime.fromisoformat(image["mtime"]).timestamp())
    for key in ("uid", "gid", "uname", "gname"):
        setattr(info, key, image[key])
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


class Sink:
    """Takes bytes, and knows their number and digest."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes, /) -> int:
        self.digest.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size


class Counted:
    """Another file, from here on."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._size = 0

    def write(self, data: bytes, /) -> int:
        self._size += len(data)
        return self._out.write(data)

    def tell(self) -> int:
        return self._size


if __name__ == "__main__":
    main()
