"""The Nix store: where a file with a known hash belongs, whether it is there, how it gets there."""

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from vllm_nix.errors import Error, Unavailable
from vllm_nix.process import ask

# Nix's own base 32: no e, o, t, u, so that a hash spells no words.
_DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"


def base32(data: bytes) -> str:
    """Nix's base 32: the bytes as one little-endian number, most significant digit first."""
    number = int.from_bytes(data, "little")
    length = (len(data) * 8 + 4) // 5
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(length)))


def store_name(file: str) -> str:
    """A store path may hold only these characters, so a file's name may need others replaced."""
    return re.sub(r"[^0-9A-Za-z+._?=-]", "-", file)


def store_dir() -> Path:
    return Path(os.environ.get("NIX_STORE_DIR", "/nix/store"))


def fixed_path(name: str, sha256: str, *, recursive: bool = False) -> Path:
    """The store path of content with a known hash, as `nix-store --print-fixed-path` says it.

    `sha256` is hexadecimal: of the file, or, if `recursive`, of its NAR serialisation. The rule
    (Nix manual, "Complete store path calculation"): SHA-256 of a description, folded to 20 bytes.
    """
    if recursive:
        description = f"source:sha256:{sha256}"
    else:
        inner = hashlib.sha256(f"fixed:out:sha256:{sha256}:".encode()).hexdigest()
        description = f"output:out:sha256:{inner}"
    digest = hashlib.sha256(f"{description}:{store_dir()}:{name}".encode()).digest()
    folded = bytearray(20)
    for index, byte in enumerate(digest):
        folded[index % 20] ^= byte
    return store_dir() / f"{base32(bytes(folded))}-{name}"


def missing_paths(paths: Iterable[Path]) -> set[Path]:
    """Those of the paths that the store has not got. Raises `Unavailable` without Nix."""
    wanted = [str(path) for path in paths]
    if not wanted:
        return set()
    return {Path(line) for line in _nix_store("--check-validity", "--print-invalid", *wanted)}


def add_files(
    files: Sequence[Path], *, recursive: bool = False, stop: threading.Event | None = None
) -> list[Path]:
    """Adds files under their own names; returns their store paths. Raises `Error`."""
    kind = ["--recursive"] if recursive else []
    lines = _nix_store(*kind, "--add-fixed", "sha256", *map(str, files), stop=stop)
    return [Path(line) for line in lines]


def closure(path: Path) -> list[Path]:
    """A store path and all that it refers to. Raises `Error`; `Unavailable` without Nix."""
    return [Path(line) for line in _nix_store("--query", "--requisites", str(path))]


def _nix_store(*arguments: str, stop: threading.Event | None = None) -> list[str]:
    program = shutil.which("nix-store")
    if not program:
        raise Unavailable(
            "nix-store is not on PATH; `make setup` installs Nix, as does `apt-get install nix-bin`"
        )
    # It looks for its configuration there, and ends where it cannot.
    home = os.path.expanduser("~")  # noqa: PTH111 -- which does not fail where none is known
    elsewhere = {} if os.access(home, os.R_OK | os.X_OK) else {"HOME": "/homeless-shelter"}
    result = ask([program, *arguments], variables=elsewhere, stop=stop)
    if result.status == 0:
        return result.stdout.splitlines()
    reason = [line for line in result.stderr.splitlines() if line.startswith("error")]
    text = " ".join(reason or result.stderr.split())
    if "No space left on device" in text:
        raise Unavailable(f"the disk of the Nix store {store_dir()} is full: {text}")
    if "daemon-socket" in text and "Permission denied" in text:
        raise Unavailable(
            "Nix's daemon is not open to this user; on Debian it is to the group nix-users:"
            ' sudo adduser "$USER" nix-users, then log in again'
        )
    if "daemon-socket" in text:
        raise Unavailable(f"Nix's daemon does not answer: {text}")
    raise Error(f"nix-store {arguments[0]} failed: {text or result.end}")
