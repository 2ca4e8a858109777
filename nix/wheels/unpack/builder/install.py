"""Installs one wheel into a folder of its own: unpacked, ELF files fixed up, byte-compiled.

    install.py WHEEL OUT --file NAME --patchelf PROGRAM --interpreter LOADER
        --library-path FOLDER:FOLDER...

OUT gets lib/pythonX.Y/site-packages, bin and what else the wheel carries, and
nix-support/elf.json: what the wheel's ELF files provide and what they need from other wheels.
"""

import argparse
import compileall
import json
import os
import py_compile
import sys
import sysconfig
import zipfile
import zlib
from pathlib import Path

import fixup
import record
from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.exceptions import InstallerError
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from source import Source, SourceError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--file", required=True, help="the wheel's own file name")
    parser.add_argument("--patchelf", required=True)
    parser.add_argument("--interpreter", required=True)
    parser.add_argument("--library-path", required=True)
    args = parser.parse_args()

    check_tags(args.file)
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = args.out / "lib" / python / "site-packages"
    unpack(args.wheel, args.file, args.out, site, python)
    if os.path.lexists(args.out / "nix-support"):
        sys.exit(f"{args.file}: its data has a folder nix-support, which is Nix's own")
    try:
        facts, patched = fixup.fix(
            args.out, args.patchelf, args.interpreter, args.library_path.split(":")
        )
    except fixup.FixupError as error:
        sys.exit(f"{args.file}: {error}")
    compiled = compile_all(site, args.out)
    record.update(site, patched, compiled)
    (args.out / "nix-support").mkdir()
    (args.out / "nix-support" / "elf.json").write_text(json.dumps(facts, sort_keys=True))


def check_tags(file: str) -> None:
    try:
        tags = parse_wheel_filename(file)[3]
    except InvalidWheelFilename as error:
        sys.exit(f"{file}: not a wheel's file name: {error}")
    if tags.isdisjoint(sys_tags()):
        here = f"Python {sysconfig.get_python_version()} on {sysconfig.get_platform()}"
        sys.exit(f"{file}: this wheel is not for {here}; lock one that is with `vllm-nix lock`")


def unpack(wheel: Path, file: str, out: Path, site: Path, python: str) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.filename = file  # a store path's name is not the wheel's own
            source = Source(archive, wheel.stat().st_size)
            source.validate()
            scheme = {
                "purelib": site,
                "platlib": site,
                "scripts": out / "bin",
                "headers": out / "include" / python / source.distribution,
                "data": out,
            }
            destination = SchemeDictionaryDestination(
                {name: str(folder) for name, folder in scheme.items()},
                interpreter=sys.executable,
                script_kind="posix",
                overwrite_existing=False,
            )
            install(source, destination, additional_metadata={"INSTALLER": b"vllm-nix\n"})
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        sys.exit(f"{file}: truncated or damaged: {error}; fetch it again with `vllm-nix fetch`")
    except (InstallerError, SourceError, ValueError, KeyError, FileExistsError) as error:
        sys.exit(f"{file}: not a valid wheel: {error}")


def compile_all(site: Path, out: Path) -> list[Path]:
    """Byte-compiles what compiles; a wheel may carry templates and code for other Pythons."""
    before = set(site.rglob("*.pyc"))
    compileall.compile_dir(
        site,
        maxlevels=100,
        quiet=2,
        stripdir=str(out),  # two wheels that own one file must still own one file
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return sorted(set(site.rglob("*.pyc")) - before)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        sys.exit("PYTHONHASHSEED must be 0: the order of sets goes into the byte code")
    main()
