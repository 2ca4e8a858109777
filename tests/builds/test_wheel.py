"""One wheel as a derivation: unpacked, its ELF files resolved, or refused in one sentence."""

import base64
import ctypes
import hashlib
import json
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix
from vllm_nix.binaries import elf

pytestmark = pytest.mark.nix

MakeWheel = Callable[..., Path]


def expression(*wheels: Path, attribute: str = "wheels", arguments: str = "") -> str:
    files = []
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        name = name.replace("_", "-")
        files.append(
            f'{{ name = "{name}"; version = "{version}"; file = "{wheel.name}"; src = {wheel}; }}'
        )
    return f"(import ./tests/builds/wheels.nix {{ files = [ {' '.join(files)} ]; {arguments} }}).{attribute}"


def last_line(stderr: str) -> str:
    """The builder's own last line, as Nix quotes it, or prints it while building."""
    lines = [line.strip() for line in stderr.splitlines()]
    return next(line for line in reversed(lines) if line and not line.startswith("error: "))


def test_files_land_where_installers_put_them(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("pure", {"pure/__init__.py": "answer = 42\n", "pure/data.txt": "text"})
    site = nix.build(expression(wheel)) / "lib/python3.11/site-packages"
    assert (site / "pure/data.txt").read_text() == "text"
    assert (site / "pure-1.0.dist-info/INSTALLER").read_text() == "vllm-nix\n"
    record = (site / "pure-1.0.dist-info/RECORD").read_text().splitlines()
    assert "pure/__pycache__/__init__.cpython-311.pyc,," in record


def test_what_python_leaves_in_the_checkout_changes_nothing(nix: Nix, tmp_path: Path) -> None:
    """`__pycache__`, or mypy's cache, beside the programs that build the base and unpack wheels."""
    for folder in ("nix", "overlays", "pkgs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    derivation = (
        f"with import {tmp_path}/nix/debian {{ overlays = [ (import {tmp_path}/overlays) ]; }};"
        ' (vllmPackages.unpackWheel { name = "any"; version = "1"; file = "any"; src = bash; }).drvPath'
    )
    evaluate = ("nix-instantiate", "--eval", "--expr", derivation)
    before = nix(*evaluate).stdout
    for builder in ("nix/debian/deb/builder", "nix/wheels/unpack/builder"):
        cache = tmp_path / builder / "__pycache__"
        cache.mkdir()
        (cache / "install.cpython-311.pyc").touch()
    assert nix(*evaluate).stdout == before


def test_what_nothing_uses_is_left_out(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes]
) -> None:
    library = compile_library("void f(void) {}")
    wheel = make_wheel(
        "lean",
        {
            "lean/__init__.py": "",
            "lean/deep/tests/test_it.py": "",
            "lean/testing.py": "",
            "lean/unused.so": library,
            "lean/used.so": library,
        },
        tag="cp311-cp311-linux_x86_64",
    )

    def without(*paths: str) -> str:
        rows = f'without = [ {{ paths = [ {" ".join(map(json.dumps, paths))} ]; reason = "unused"; }} ];'
        return expression(wheel).replace("src =", f"{rows} src =")

    out = nix.build(without("lean/**/tests", "lean/unused.so", "not/there"))
    site = out / "lib/python3.11/site-packages"
    assert not (site / "lean/deep/tests").exists() and not (site / "lean/unused.so").exists()
    assert (site / "lean/testing.py").exists() and (site / "lean/used.so").exists()
    rows = (site / "lean-1.0.dist-info/RECORD").read_text().splitlines()
    names = {row.split(",")[0] for row in rows}
    files = {str(file.relative_to(site)) for file in site.rglob("*") if file.is_file()}
    assert names == files
    assert "unused.so" not in (out / "nix-support/elf.json").read_text()
    assert "is not to be left out of a wheel" in nix.fail(without("*.dist-info"))
    assert "is not to be left out of a wheel" in nix.fail(without("../*"))


def loaded(library: Path) -> dict[int, bytes]:
    """What is loaded at which address, but for the file's own tables, which name offsets of the file."""
    data = bytearray(library.read_bytes())
    segments, sections = struct.unpack_from("<QQ", data, 32)
    counts = struct.unpack_from("<HHHHH", data, 54)
    for start, size in (
        (0, 64),
        (segments, counts[0] * counts[1]),
        (sections, counts[2] * counts[3]),
    ):
        data[start : start + size] = bytes(size)
    loads = [one for one in elf.read(library).segments if one.type == elf.PT_LOAD]
    return {one.address: bytes(data[one.offset : one.offset + one.size]) for one in loads}


@pytest.mark.parametrize("patched", [False, True])
def test_what_only_debuggers_read_goes(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes], patched: bool
) -> None:
    # patchelf puts its own part behind the symbols.
    flags = ["-Wl,-rpath,/nowhere"] if patched else []
    wheel = make_wheel(
        "lean",
        {
            "lean/__init__.py": "",
            "lean/plain.so": compile_library("int answer(void) { return 42; }", "-g", *flags),
            "lean/text.so": "no library",
        },
        tag="cp311-cp311-linux_x86_64",
    )
    row = 'without = [ { symbols = [ "lean/*.so" "lean" ]; reason = "symbols"; } ]; src ='
    whole, lean = (
        nix.build(built) / "lib/python3.11/site-packages"
        for built in (expression(wheel), expression(wheel).replace("src =", row))
    )
    before, after = whole / "lean/plain.so", lean / "lean/plain.so"
    assert after.stat().st_size < before.stat().st_size - 1000
    assert after.stat().st_mode == before.stat().st_mode
    assert loaded(after) == loaded(before)
    names = {section.name for section in elf.read(after).sections}
    assert ".dynsym" in names and not names & {".symtab", ".strtab", ".debug_info"}
    assert ctypes.CDLL(str(after)).answer() == 42
    digest = base64.urlsafe_b64encode(hashlib.sha256(after.read_bytes()).digest()).decode()
    row = f"lean/plain.so,sha256={digest.rstrip('=')},{after.stat().st_size}"
    assert row in (lean / "lean-1.0.dist-info/RECORD").read_text().splitlines()


def test_a_wheel_is_built_alike_twice(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("twice", {"twice.py": "names = {'a', 'b', 'c'}\n"})
    nix.build(expression(wheel))
    nix("nix-build", "--no-out-link", "--check", "--expr", expression(wheel))


def test_a_library_of_the_base_is_found_in_the_store(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes]
) -> None:
    compile_library("void f(void) {}", "-Wl,-soname,libz.so.1", name="libz.so.1")
    library = compile_library(
        "void f(void); void g(void) { f(); }", "-Wl,-rpath,/opt/builder/lib", "-L.", "-l:libz.so.1"
    )
    wheel = make_wheel("linked", {"linked.so": library}, tag="cp311-cp311-linux_x86_64")
    site = nix.build(expression(wheel)) / "lib/python3.11/site-packages"
    dynamic = elf.read(site / "linked.so").dynamic
    assert dynamic
    assert any("zlib" in folder for folder in dynamic.runpath)
    assert all(folder.startswith("/nix/store/") for folder in dynamic.runpath), (
        "none of the builder's"
    )
    record = (site / "linked-1.0.dist-info/RECORD").read_text()
    assert (
        f"linked.so,sha256={_digest(site / 'linked.so')},{(site / 'linked.so').stat().st_size}"
        in record
    )


def test_a_library_without_a_search_path_still_inherits_one(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes], tmp_path: Path
) -> None:
    """As numpy 1.26 has it: the module's path finds OpenBLAS, and OpenBLAS's libgfortran."""
    patchelf = nix.build("(import ./nix/debian { }).patchelf") / "bin/patchelf"
    old_kind = "-Wl,--disable-new-dtags"
    last = compile_library("int f(void) { return 6; }", "-Wl,-soname,liblast.so", name="liblast.so")
    source = "#include <math.h>\nint f(void); int g(double x) { return f() + (int)sin(x); }"
    compile_library(source, "-L.", "-l:liblast.so", "-lm", name="libmiddle.so")
    subprocess.run([patchelf, "--remove-rpath", tmp_path / "libmiddle.so"], check=True)
    middle = (tmp_path / "libmiddle.so").read_bytes()
    path = "-Wl,-rpath,$ORIGIN/../own.libs"
    source = "int g(double); int h(void) { return g(0) + 1; }"
    first = compile_library(source, old_kind, path, "-L.", "-l:libmiddle.so", name="first.so")
    files = {"own/first.so": first, "own.libs/libmiddle.so": middle, "own.libs/liblast.so": last}
    wheel = make_wheel("own", files, tag="cp311-cp311-linux_x86_64")
    environment = nix.build(expression(wheel, attribute="environment"))
    code = "import ctypes, sys; print(ctypes.CDLL(sys.prefix + sys.argv[1]).h())"
    library = "/lib/python3.11/site-packages/own/first.so"
    command = [str(environment / "bin/python"), "-c", code, library]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7\n"


def _digest(path: Path) -> str:
    return (
        base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    )


def test_a_wheel_for_another_python_is_refused(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("newer", {"newer.py": ""}, tag="cp312-cp312-manylinux_2_17_x86_64")
    assert (
        f"{wheel.name}: this wheel is not for Python 3.11 on linux-x86_64; "
        "lock one that is with `vllm-nix lock`"
    ) in nix.fail(expression(wheel))


def test_a_wheel_for_another_machine_is_refused(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("arm", {"arm.py": ""}, tag="cp311-cp311-manylinux_2_17_s390x")
    assert "this wheel is not for Python 3.11 on linux-x86_64" in nix.fail(expression(wheel))


def test_a_truncated_wheel_is_refused(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("short", {"short.py": "x = 1\n" * 1000})
    wheel.write_bytes(wheel.read_bytes()[:-100])
    message = nix.fail(expression(wheel))
    assert f"{wheel.name}: truncated or damaged: " in message
    assert "fetch it again with `vllm-nix fetch`" in message
    assert "Traceback" not in message


def test_a_wheel_that_lies_about_its_files_is_refused(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("escape", {"../../../etc/passwd": "root"})
    message = nix.fail(expression(wheel))
    assert f"{wheel.name}: not a valid wheel: " in message
    assert "Traceback" not in message


def test_headers_have_a_folder_of_their_own(nix: Nix, make_wheel: MakeWheel) -> None:
    """As pip lays them out, so that two wheels may both have a `config.h`."""
    wheel = make_wheel("heads", {"heads.py": "", "heads-1.0.data/headers/config.h": "#pragma once"})
    header = nix.build(expression(wheel)) / "include/python3.11/heads/config.h"
    assert header.read_text() == "#pragma once"


def test_rows_that_begin_with_a_dot_are_understood(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = rewritten(make_wheel("dotted", {"dotted.py": ""}), b"dotted.py,", b"./dotted.py,")
    site = nix.build(expression(wheel)) / "lib/python3.11/site-packages"
    record = (site / "dotted-1.0.dist-info/RECORD").read_text().splitlines()
    assert sum("dotted.py," in row for row in record) == 1


def test_a_zip_bomb_is_refused_before_it_is_unpacked(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("bomb", {"bomb.bin": bytes(1 << 28)})
    wheel = rewritten(wheel, b"", b"", zipfile.ZIP_DEFLATED)
    assert wheel.stat().st_size < 1 << 20
    message = last_line(nix.fail(expression(wheel)))
    assert message.startswith(f"{wheel.name}: not a valid wheel: {wheel.stat().st_size} bytes that")
    assert message.endswith(": a zip bomb")


def test_a_file_of_another_size_than_recorded_is_refused(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = rewritten(make_wheel("sizes", {"sizes.py": "a = 1\n"}), b",6\n", b",7\n")
    message = nix.fail(expression(wheel))
    assert f"{wheel.name}: not a valid wheel: sizes.py is of 6 bytes, and of 7 in RECORD" in message


def test_data_may_not_speak_to_nix(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("sly", {"sly-1.0.data/data/nix-support/setup-hook": "exit 1"})
    sentence = f"{wheel.name}: its data has a folder nix-support, which is Nix's own"
    assert sentence in nix.fail(expression(wheel))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ((4, 5), "a 32-bit ELF file, in a wheel for a 64-bit system"),
        ((32, 40), "a damaged ELF file: "),  # where the program headers lie
    ],
)
def test_an_elf_file_that_cannot_be_loaded_is_named(
    nix: Nix,
    make_wheel: MakeWheel,
    compile_library: Callable[..., bytes],
    change: tuple[int, int],
    sentence: str,
) -> None:
    library = bytearray(compile_library("void f(void) {}"))
    library[slice(*change)] = b"\1" * (change[1] - change[0])
    wheel = make_wheel("odd", {"odd.so": bytes(library)}, tag="cp311-cp311-linux_x86_64")
    message = nix.fail(expression(wheel))
    assert f"{wheel.name}: lib/python3.11/site-packages/odd.so: {sentence}" in message
    assert "Traceback" not in message


def rewritten(wheel: Path, old: bytes, new: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """The wheel with another RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wheel, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data.replace(old, new) if name.endswith("/RECORD") else data)
    return wheel
