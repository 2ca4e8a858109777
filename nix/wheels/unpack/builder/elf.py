"""What an ELF file says to the dynamic loader, read by pyelftools from the segments."""

from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

MAGIC = b"\x7fELF"


class ElfError(Exception):
    pass


@dataclass(frozen=True)
class Elf:
    """Search paths are split at ":", as written; `is_library`: a shared object, or a program like one."""

    machine: str
    is_library: bool
    is_dynamic: bool
    interpreter: str | None
    soname: str | None
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> Elf:
    """Raises ElfError, without the file's name."""
    try:
        with path.open("rb") as stream:
            return _read(ELFFile(stream))
    except ElfError:
        raise
    except Exception as error:  # pyelftools lets whatever a damaged file causes through
        raise ElfError(f"a damaged ELF file: {error or type(error).__name__}") from error


def _read(file: ELFFile) -> Elf:
    if file.elfclass != 64:
        raise ElfError(f"a {file.elfclass}-bit ELF file, in a wheel for a 64-bit system")
    segments = list(file.iter_segments())
    dynamic = next((one for one in segments if isinstance(one, DynamicSegment)), None)
    interpreter = next((one for one in segments if isinstance(one, InterpSegment)), None)
    values: dict[str, list[str]] = {}
    for tag in dynamic.iter_tags() if dynamic else ():
        for kind in ("needed", "soname", "rpath", "runpath"):
            if tag.entry.d_tag == f"DT_{kind.upper()}":
                values.setdefault(kind, []).append(getattr(tag, kind))
    return Elf(
        machine=file["e_machine"],
        is_library=file["e_type"] == "ET_DYN",
        is_dynamic=dynamic is not None,
        interpreter=interpreter.get_interp_name() if interpreter else None,
        soname=values.get("soname", [None])[-1],
        needed=tuple(values.get("needed", ())),
        rpath=_folders(values.get("rpath")),
        runpath=_folders(values.get("runpath")),
    )


def _folders(values: list[str] | None) -> tuple[str, ...]:
    return tuple(values[-1].split(":")) if values and values[-1] else ()
