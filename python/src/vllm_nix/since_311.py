"""What Python has had since 3.11, for 3.10, which JetPack 6 and Ubuntu 22.04 have."""

import sys
from typing import IO, TYPE_CHECKING

if sys.version_info >= (3, 11):
    import tomllib
    from enum import StrEnum
    from typing import Required, Self
else:
    from enum import Enum

    import tomli as tomllib
    from typing_extensions import Required, Self

    class StrEnum(str, Enum):
        __str__ = str.__str__


if TYPE_CHECKING:
    import hashlib

__all__ = ["Required", "Self", "StrEnum", "file_digest", "tomllib"]
_PIECE = 1 << 18  # bytes


def file_digest(file: IO[bytes], algorithm: str) -> "hashlib._Hash":
    """hashlib's, from where the file is read next."""
    import hashlib  # which takes as long as all else that `archs --for` imports

    found = hashlib.new(algorithm)
    while piece := file.read(_PIECE):
        found.update(piece)
    return found
