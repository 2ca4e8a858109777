"""The linker's model beside ld.so: each of its rules with libraries that gcc made, and ld.so's own
answer about the same files."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from made_binaries import elf_file

from vllm_nix.binaries import elf
from vllm_nix.binaries.linker import (
    Linker,
    LinkerError,
    Loader,
    Process,
    _configured,
    processor_levels,
    read_loader,
)

NEEDED, RPATH, RUNPATH = 1, 15, 29
HOST = Path("/lib64/ld-linux-x86-64.so.2")


def missing(file: Path, *tags: tuple[int, bytes], folders: tuple[Path, ...] = ()) -> list[str]:
    loader = Loader(None, tuple(map(str, folders)))
    process = Process(Linker(loader, provided={"libdriver.so.1"}))
    image = elf.parse(elf_file(tags=list(tags)))
    return [one.name for one in process.load(str(file), image)[1]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "libx.so").write_bytes(elf_file(tags=[]))
    return tmp_path


def test_origin_is_the_folder_by_which_it_was_found(tree: Path) -> None:
    needs = [(NEEDED, b"libx.so"), (RUNPATH, b"/none:$ORIGIN/../b")]
    assert missing(tree / "a" / "f.so", *needs) == []
    assert missing(tree / "f.so", *needs) == ["libx.so"]
    assert missing(tree / "a" / "f.so", needs[0], (RUNPATH, b"${ORIGIN}/../b")) == []
    assert missing(tree / "a" / "f.so", needs[0], (RUNPATH, b"$ORIGINAL/../b")) == ["libx.so"]


def test_runpath_overrules_rpath(tree: Path) -> None:
    needs = [(NEEDED, b"libx.so"), (RPATH, b"$ORIGIN/../b")]
    assert missing(tree / "a" / "f.so", *needs) == []
    assert missing(tree / "a" / "f.so", *needs, (RUNPATH, b"/none")) == ["libx.so"]


def test_other_places(tree: Path) -> None:
    file = tree / "a" / "f.so"
    assert missing(file, (NEEDED, b"libx.so"), folders=(tree / "b",)) == []
    assert missing(file, (NEEDED, b"libdriver.so.1")) == []
    assert missing(file, (NEEDED, f"{tree}/b/libx.so".encode())) == []
    assert missing(file, (NEEDED, f"{tree}/b/liby.so".encode())) == [f"{tree}/b/liby.so"]
    assert missing(file, (NEEDED, b"$ORIGIN/../b/libx.so")) == []
    # From the folder in which a process works, which may be any.
    assert missing(file, (NEEDED, b"../b/libx.so")) == ["../b/libx.so"]


@pytest.mark.parametrize("lib", ["lib64", "lib", "lib/x86_64-linux-gnu"])
def test_lib_of_a_loader_that_is_not_known(tree: Path, lib: str) -> None:
    shutil.copytree(tree / "b", tree / lib)
    assert missing(tree / "f.so", (NEEDED, b"libx.so"), (RUNPATH, b"$ORIGIN/$LIB")) == []


@pytest.mark.parametrize(
    "content", [b"", b"\x7fEL", b"version https://git-lfs.github.com/spec/v1\n"]
)
def test_the_loader_stops_at_what_is_no_library(tree: Path, content: bytes) -> None:
    (tree / "a" / "libx.so").write_bytes(content)
    needs = (NEEDED, b"libx.so"), (RUNPATH, b"$ORIGIN/a:$ORIGIN/b")
    process = Process(Linker(Loader(None, ())))
    image = elf.parse(elf_file(tags=list(needs)))
    (lack,) = process.load(str(tree / "f.so"), image)[1]
    assert (lack.name, lack.at) == ("libx.so", str(tree / "a/libx.so"))
    (tree / "a" / "libx.so").unlink()
    (tree / "a" / "libx.so").symlink_to("libx.so")  # to itself
    assert process.copy().load(str(tree / "f.so"), image)[1][0].at


def test_a_library_for_another_processor_is_passed_over(tree: Path) -> None:
    (tree / "b" / "libx.so").write_bytes(elf_file(machine=183))
    needs = (NEEDED, b"libx.so"), (RUNPATH, b"$ORIGIN/b:$ORIGIN/c")
    assert missing(tree / "f.so", *needs) == ["libx.so"]
    (tree / "c").mkdir()
    (tree / "c" / "libx.so").write_bytes(elf_file())
    assert missing(tree / "f.so", *needs) == []


def test_dangling_link_is_missing(tree: Path) -> None:
    (tree / "b" / "libx.so").unlink()
    (tree / "b" / "libx.so").symlink_to("gone")
    assert missing(tree / "f.so", (NEEDED, b"libx.so"), folders=(tree / "b",)) == ["libx.so"]


def test_static_file_needs_nothing(tree: Path) -> None:
    process = Process(Linker(Loader(None, ())))
    assert process.load(str(tree / "f"), elf.parse(elf_file()))[1] == ()


@pytest.mark.parametrize(
    "tags", [[(NEEDED, b"a.so")] * 501, [(NEEDED, b"a.so"), (RUNPATH, b":".join([b"/x"] * 501))]]
)
def test_bounds(tree: Path, tags: list[tuple[int, bytes]]) -> None:
    with pytest.raises(LinkerError, match="more than"):
        missing(tree / "f.so", *tags)


def test_loader_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "ld.so.conf").write_text(
        f"# comment\ninclude {tmp_path}/conf.d/*.conf\n/last # comment\nhwcap 1 nosegneg\n"
    )
    (tmp_path / "conf.d" / "b.conf").write_text("/second\n")
    (tmp_path / "conf.d" / "a.conf").write_text("/first\ninclude a.conf\n")
    found = list(_configured(str(tmp_path / "ld.so.conf"), depth=4))
    assert found[0] == "/first"
    assert found[-2:] == ["/second", "/last"]


# Beside ld.so itself. ------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Path:
    if not shutil.which("gcc") or not HOST.exists():
        pytest.skip("needs gcc and glibc on x86_64")
    return tmp_path


def library(
    file: Path, *needs: Path, rpath: str = "", runpath: str = "", soname: str = "", more: str = ""
) -> Path:
    """A library that needs others, which gcc is given by their paths; they have sonames."""
    file.parent.mkdir(parents=True, exist_ok=True)
    source = file.with_suffix(".c")
    source.write_text(f"int in_{file.name.replace('.', '_').replace('-', '_')};\n")
    # The embedded base's linker adds run paths of its own, but where a file has no loader.
    options = [
        "-Wl,--no-dynamic-linker",
        f"-Wl,-soname,{soname or file.name}",
        "-Wl,--no-as-needed",
        *map(str, needs),
    ]
    options += ["-Wl,--allow-shlib-undefined", "-Wl,--unresolved-symbols=ignore-all"]
    if rpath:
        options += ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{rpath}"]
    if runpath:
        options += ["-Wl,--enable-new-dtags", f"-Wl,-rpath,{runpath}"]
    options += more.split()
    command = ["gcc", "-nostdlib", "-shared", "-fPIC", "-o", str(file), str(source), *options]
    subprocess.run(command, check=True)
    source.unlink()
    return file


def ours(file: Path, library_path: str = "", *preload: Path) -> dict[str, str]:
    """Each name that is asked for, and the file that it is."""
    image = elf.read(file)
    loader = read_loader(HOST, elf.read(HOST))
    process = Process(Linker(loader, tuple(filter(None, library_path.split(":")))))
    absent = process.start(str(file), image, [str(one) for one in preload])
    found = {name: one.path for name, one in process.names.items() if one and one.path != str(file)}
    found |= {one.name: "not found" for one in absent}
    return {name: os.path.realpath(path) if "/" in path else path for name, path in found.items()}


def ld_sos(file: Path, library_path: str = "", *preload: Path) -> dict[str, str]:
    """The same as ld.so says it, asked as ldd(1) does."""
    environment = {"LD_LIBRARY_PATH": library_path, "LD_TRACE_LOADED_OBJECTS": "1"}
    environment["LD_PRELOAD"] = ":".join(map(str, preload))
    output = subprocess.run(
        [str(HOST), str(file)], env=environment, capture_output=True, text=True, check=False
    ).stdout
    found = {}
    for line in output.splitlines():
        name, arrow, place = line.strip().partition(" => ")
        if arrow:
            found[name] = place if place == "not found" else place.rpartition(" (")[0]
    return {name: os.path.realpath(path) if "/" in path else path for name, path in found.items()}


def same(file: Path, library_path: str = "", *preload: Path) -> dict[str, str]:
    """What both say, less the loader itself and what is preloaded."""
    mine, its = ours(file, library_path, *preload), ld_sos(file, library_path, *preload)
    for one in preload:
        mine.pop(one.name)
    for found in (mine, its):
        for name in [name for name in found if name.startswith(("ld-linux", "/"))]:
            del found[name]
    assert mine == its
    return mine


def test_rpath_is_of_the_whole_chain(made: Path) -> None:
    deep = library(made / "deep" / "libdeep.so.1")
    middle = library(made / "middle" / "libmiddle.so.1", deep)
    top = library(made / "top.so", middle, rpath="$ORIGIN/middle:$ORIGIN/deep")
    assert same(top)["libdeep.so.1"] == str(deep)


def test_runpath_is_its_own_alone(made: Path) -> None:
    deep = library(made / "deep" / "libdeep.so.1")
    middle = library(made / "middle" / "libmiddle.so.1", deep)
    top = library(made / "top.so", middle, runpath="$ORIGIN/middle:$ORIGIN/deep")
    assert same(top) == {"libmiddle.so.1": str(middle), "libdeep.so.1": "not found"}


def test_a_runpath_in_the_middle_ends_the_chain(made: Path) -> None:
    deep = library(made / "deep" / "libdeep.so.1")
    middle = library(made / "middle" / "libmiddle.so.1", deep, runpath="/none")
    top = library(made / "top.so", middle, rpath="$ORIGIN/middle:$ORIGIN/deep")
    assert same(top)["libdeep.so.1"] == "not found"


def test_library_path_is_after_rpath_and_before_runpath(made: Path) -> None:
    library(made / "one" / "libx.so.1")
    two = library(made / "two" / "libx.so.1")
    by_rpath = library(made / "r.so", two, rpath="$ORIGIN/one")
    by_runpath = library(made / "n.so", two, runpath="$ORIGIN/one")
    assert same(by_rpath, str(made / "two"))["libx.so.1"] == str(made / "one/libx.so.1")
    assert same(by_runpath, str(made / "two"))["libx.so.1"] == str(two)
    assert same(by_runpath, f"/none:{made}/three")["libx.so.1"] == str(made / "one/libx.so.1")


def test_what_is_preloaded_brings_what_it_needs(made: Path) -> None:
    """Which then goes by its name for all others, as tcmalloc's libstdc++ does."""
    own = library(made / "own" / "libx.so.1")
    other = library(made / "other" / "libx.so.1")
    top = library(made / "top.so", other, runpath="$ORIGIN/other")
    first = library(made / "libfirst.so", library(made / "only/liby.so.1"), runpath="$ORIGIN/only")
    assert same(top)["libx.so.1"] == str(other)
    assert same(top, "", first) == {"libx.so.1": str(other), "liby.so.1": f"{made}/only/liby.so.1"}
    middle = library(made / "libmiddle.so", own, runpath="$ORIGIN/own")
    program = library(made / "program.so", first, runpath="$ORIGIN")
    late = library(made / "late.so", other, runpath="$ORIGIN/other")
    loader = read_loader(HOST, elf.read(HOST))
    process = Process(Linker(loader, ()))
    process.start(str(program), elf.read(program), [str(middle)])
    scope, _ = process.load(str(late), elf.read(late))
    assert str(own) in [one.path for one in scope]


def test_what_is_loaded_goes_by_its_soname(made: Path) -> None:
    """The second asks for a name that the first has loaded from where the second does not look."""
    x = library(made / "x" / "libx.so.1")
    first = library(made / "first" / "libfirst.so.1", x, runpath="$ORIGIN/../x")
    second = library(made / "second" / "libsecond.so.1", x)
    paths = "$ORIGIN/first:$ORIGIN/second"
    assert same(library(made / "a.so", first, second, runpath=paths))["libx.so.1"] == str(x)
    # The other way round it is asked for before anything has loaded it.
    both = library(made / "b.so", second, first, runpath=paths)
    assert ours(both)["libx.so.1"] == "not found"
    with pytest.raises(OSError, match=r"libx\.so\.1: cannot open"):
        ctypes.CDLL(str(both))


def test_tokens(made: Path) -> None:
    """What $LIB and $PLATFORM are is the loader's choice, and the distribution's."""
    x = library(made / "x" / "libx.so.1")
    top = library(made / "top.so", x, runpath="$ORIGIN/$LIB:${ORIGIN}/${PLATFORM}")
    assert same(top)["libx.so.1"] == "not found"
    lib = read_loader(HOST, elf.read(HOST)).lib
    assert lib
    for place in (lib, "x86_64", "lib64", "haswell"):
        shutil.copytree(made / "x", made / place)
        same(top)
        same(library(made / "bare.so", x), f"{made}/$LIB")
        shutil.rmtree(made / place)


def test_what_ld_so_does_with_a_name_that_is_a_path(made: Path) -> None:
    x = library(made / "x" / "libx.so", soname="x/libx.so")
    assert same(library(made / "top.so", x))["x/libx.so"] == "not found"
    absolute = library(made / "y" / "liby.so", soname=f"{made}/y/liby.so")
    top = library(made / "z.so", absolute)
    assert ours(top)[f"{made}/y/liby.so"] == str(absolute)


def test_the_loaders_own_places(made: Path) -> None:
    """The cache, and its folders; not for a file that says so (-z nodefaultlib)."""
    libc = Path("/lib/x86_64-linux-gnu/libc.so.6")
    if not libc.exists():
        pytest.skip("needs Debian's folders")
    assert same(library(made / "a.so", libc))["libc.so.6"] == os.path.realpath(libc)
    alone = library(made / "b.so", libc, more="-Wl,-z,nodefaultlib")
    assert ours(alone)["libc.so.6"] == "not found"


def test_folders_for_newer_processors(made: Path) -> None:
    plain = library(made / "x" / "libx.so.1")
    top = library(made / "top.so", plain, runpath="$ORIGIN/x")
    levels = processor_levels()
    for level in levels:
        library(made / "x" / "glibc-hwcaps" / level / "libx.so.1")
    library(made / "x" / "glibc-hwcaps" / "x86-64-v9" / "libx.so.1")
    best = made / "x/glibc-hwcaps" / levels[0] / "libx.so.1" if levels else plain
    assert same(top)["libx.so.1"] == str(best)


def test_an_older_library_without_the_soname_is_another(made: Path) -> None:
    library(made / "x" / "libx.so.1", soname="liby.so.1")
    y = made / "x" / "libx.so.1"
    top = library(made / "top.so", y, runpath="$ORIGIN/x")
    assert same(top) == {"liby.so.1": "not found"}


@pytest.mark.parametrize("program", ["/usr/bin/python3", shutil.which("bash"), shutil.which("git")])
def test_programs_of_this_host(made: Path, program: str | None) -> None:
    if not program or not Path(program).exists():
        pytest.skip("no such program")
    if elf.read(program).interpreter != str(HOST):
        pytest.skip("its loader is another")
    assert len(same(Path(program).resolve())) > 0


def test_a_loader_that_looks_elsewhere(made: Path) -> None:
    """As Nix's does: neither the host's cache nor its folders."""
    data = HOST.read_bytes().replace(b"/etc/ld.so.cache\0", b"/nix/ld.so.cache\0")
    for one in (b"/lib/x86_64-linux-gnu/\0", b"/lib/\0"):
        data = data.replace(one, one.replace(b"/lib/", b"/nix/"))
    data = data.replace(b"/usr/lib/x86_64", b"/usr/nix/x86_64").replace(
        b"/usr/lib/\0", b"/usr/nix/\0"
    )
    loader = made / "ld.so"
    loader.write_bytes(data)
    found = read_loader(loader, elf.read(loader))
    assert found.folders
    assert not any("lib" in folder for folder in found.folders)
    assert found.cache == {}
    assert read_loader(HOST, elf.read(HOST)).cache, "this host's own"


def test_a_loader_that_is_not_there(tmp_path: Path) -> None:
    image = elf.parse(elf_file(interpreter=f"{tmp_path}/ld.so".encode() + b"\0"))
    assert read_loader(tmp_path / "python", image).folders[0] == str(tmp_path)
