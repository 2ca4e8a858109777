import json
import os
import re
import struct
import zipfile
from pathlib import Path

import pytest
from made_binaries import CUBIN, PTX, Part, cubin, elf_file, entry, fatbin_of

from vllm_nix import cli
from vllm_nix.errors import InputError
from vllm_nix.gpu import libraries
from vllm_nix.gpu.capability import ComputeCapability
from vllm_nix.gpu.libraries import Code, read_folder, read_library, read_path

HOST = fatbin_of(
    entry(CUBIN, 80, cubin(80, "add")),
    entry(CUBIN, 100, cubin(100, "add"), flags=0x200011),
    entry(PTX, 90, version=(8, 4)),
)
STUB = fatbin_of(entry(CUBIN, 52, cubin(52)))
PLAIN = elf_file(Part(".text"))
CUDA = elf_file(
    Part(".nv_fatbin", STUB + HOST + HOST),
    Part("__nv_relfatbin", HOST),
    Part(".data", fatbin_of(entry(CUBIN, 75, cubin(75, "fft")))),
)
DAMAGED = elf_file(Part(".nv_fatbin", HOST + b"garbage." + b"garbage."))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/libcuda_code.so.1").write_bytes(CUDA)
    (tmp_path / "b/libcuda_code.so").symlink_to("libcuda_code.so.1")
    (tmp_path / "a.so").write_bytes(PLAIN)
    (tmp_path / "notes.txt").write_text("text")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(cli, "COMMANDS", ("archs",))
    return cli.main(["archs", *map(str, arguments)])


def test_counts_by_role(tree: Path) -> None:
    found = read_library(tree / "b/libcuda_code.so")
    assert found.counts()["host"] == {
        Code("cubin", ComputeCapability(8, 0), ""): 2,
        Code("cubin", ComputeCapability(10, 0, "f"), ""): 2,
        Code("ptx", ComputeCapability(9, 0), "8.4"): 2,
    }
    assert found.counts()["stub"] == {Code("cubin", ComputeCapability(5, 2), ""): 1}
    assert found.counts()["embedded"] == {Code("cubin", ComputeCapability(7, 5), ""): 1}
    assert sum(found.counts()["relocatable"].values()) == 3
    assert found.damage == ()


def test_walk_visits_each_file_once_in_order(tree: Path) -> None:
    (tree / "b/up").symlink_to(tree)
    (tree / "b/self").symlink_to("self")
    (tree / "b/broken").symlink_to("missing")
    os.mkfifo(tree / "pipe")
    found = [str(library.path.relative_to(tree)) for library in read_folder(tree)]
    assert found == ["a.so", "b/libcuda_code.so"]


def test_links_to_folders_are_followed_into_the_store_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An environment is a tree of links into the store; what lies elsewhere is said."""
    links = tmp_path / "environment"
    links.mkdir()
    (links / "package").symlink_to(tree / "b")
    (links / "file.so").symlink_to(tree / "b/libcuda_code.so")
    (links / "root").symlink_to("/")
    assert cli.main(["archs", str(links)]) == 0
    printed = capsys.readouterr()
    assert "file.so" in printed.out
    assert "1 file with GPU code, 0 without" in printed.out
    assert printed.err == (
        f"vllm-nix: {links}/package: a link to {tree}/b is not followed; name that as well"
        " (and 1 more link)\n"
    )
    monkeypatch.setenv("NIX_STORE_DIR", str(tree))
    (links / "file.so").unlink()
    found = [library.path for library in read_folder(links) if not library.note]
    assert found == [links / "package/libcuda_code.so"]


def test_hard_links_are_files_of_their_own(tree: Path) -> None:
    (tree / "copy.so").hardlink_to(tree / "a.so")
    assert {library.path.name for library in read_folder(tree)} == {
        "a.so",
        "copy.so",
        "libcuda_code.so",
    }


def test_walk_reports_what_it_cannot_read(tree: Path) -> None:
    (tree / "cut.so").write_bytes(CUDA[:-1])
    found = {library.path.name: library.damage for library in read_folder(tree)}
    assert found["a.so"] == ()
    assert "section headers" in found["cut.so"][0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.so", "No such file or directory; name a library"),
        ("notes.txt", "not an ELF file, an archive or a fatbin"),
        ("empty", "an empty file"),
    ],
)
def test_what_is_no_library(
    tree: Path,
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tree / "empty").touch()
    with pytest.raises(InputError, match=message):
        read_library(tree / name)
    assert run(monkeypatch, tree, tree / name) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"vllm-nix: {tree / name}: ")
    assert printed.err.count("\n") == 1


def test_the_table(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tree)
    assert run(monkeypatch, "b", "a.so") == 0
    printed = capsys.readouterr().out.replace("\N{MULTIPLICATION SIGN}", "x")
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines == [
        "file role cubins PTX and IR",
        "b/libcuda_code.so host sm_80 x2, sm_100f x2 compute_90 x2 (PTX 8.4)",
        "embedded sm_75 x1",
        "relocatable sm_80 x1, sm_100f x1 compute_90 x1 (PTX 8.4)",
        "stub sm_52 x1",
        "1 file with GPU code, 1 without; code to run: sm_75, sm_80, sm_100f, compute_90",
    ]


def test_containers_are_listed(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--fatbins", tree) == 0
    assert capsys.readouterr().out.count(" .nv_fatbin ") == 3


def test_no_gpu_code_is_said(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tree / "a.so") == 0
    assert capsys.readouterr().out == f"no GPU code in {tree}/a.so\n"
    (tree / "b/none").mkdir()
    assert run(monkeypatch, tree / "b/none") == 0
    assert capsys.readouterr().out == "no GPU code in 0 files\n"
    broken = tree / "broken-1-py3-none-any.whl"
    broken.write_text("<html>404</html>")
    assert run(monkeypatch, broken) == 1
    said = capsys.readouterr()
    assert said.out == f"nothing of {broken} could be read\n"
    assert said.err == f"vllm-nix: {broken}: File is not a zip file\n"
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "")
    assert ended.value.code == 2
    assert "argument PATH: an empty path" in capsys.readouterr().err


def test_json(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--json", "--fatbins", tree) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 2
    plain, cuda = found["libraries"]
    assert plain == {"path": f"{tree}/a.so", "code": [], "damage": [], "fatbins": []}
    ptx = {"role": "host", "kind": "ptx", "arch": "compute_90", "isa": "8.4", "count": 2}
    assert ptx in cuda["code"]
    assert [one["role"] for one in cuda["fatbins"]] == [
        "stub",
        "host",
        "host",
        "relocatable",
        "embedded",
    ]
    assert cuda["fatbins"][1]["entries"][0]["kernels"] is True


def test_damage_fails_but_the_rest_is_shown(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "damaged.so").write_bytes(DAMAGED)
    assert run(monkeypatch, tree) == 1
    printed = capsys.readouterr()
    assert "2 files with GPU code" in printed.out
    assert printed.err.startswith(f"vllm-nix: {tree}/damaged.so: offset 0x")
    assert printed.err.endswith("neither a fatbin nor padding\n")


def test_a_file_name_that_is_no_text(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / os.fsdecode(b"lib\xff.so")).write_bytes(CUDA)
    assert run(monkeypatch, tree) == 0
    assert "lib\\xff.so" in capsys.readouterr().out


@pytest.fixture
def wheel(tree: Path) -> Path:
    """Code for a device (b), partly (a), compiled at first start, and not at all."""
    folder = tree / "wheel"
    folder.mkdir()
    old = fatbin_of(entry(CUBIN, 80, cubin(80, "add")))
    own = fatbin_of(entry(CUBIN, 87, cubin(87, "add")))
    text = fatbin_of(entry(PTX, 80, version=(8, 4)))
    hopper = fatbin_of(entry(CUBIN, 90, cubin(90, "add"), flags=0x100011))
    for name, data in {
        "libnative.so": own + hopper,
        "libold.so": old,
        "libpartly.so": own + own + old,
        "libptx.so": text,
        "libhopper.so": hopper,
    }.items():
        (folder / name).write_bytes(elf_file(Part(".nv_fatbin", data)))
    return folder


def test_verdicts_worst_first(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(wheel)
    assert run(monkeypatch, ".", "--for", "orin", "--jetpack", "6.2") == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "file verdict why",
        "libold.so missing its one fatbin has only sm_80",
        "libpartly.so missing 1 of 3 fatbins has only sm_80",
        "libptx.so jit its one fatbin has only PTX for it (compute_80), compiled at first start",
        "libnative.so native 1 of 2 fatbins has code for this very device",
        "libhopper.so not-applicable its one fatbin has code for other devices only (sm_90a)",
        "1 library has no code that orin (8.7) with CUDA 12.6 runs: libold.so",
        "1 library has parts that orin (8.7) with CUDA 12.6 does not run: libpartly.so",
        "1 library has code that orin (8.7) with CUDA 12.6 compiles at first start: libptx.so",
        "1 library has all the code that orin (8.7) with CUDA 12.6 needs",
        "1 library has nothing for orin (8.7) with CUDA 12.6: libhopper.so",
    ]


def test_nothing_is_missing(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, wheel, "--for", "8.7", "--cuda", "13.2") == 0
    assert " missing " not in capsys.readouterr().out


def test_a_terminal_gets_the_same_words(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(monkeypatch, wheel / "libold.so", "--for", "orin", "--cuda", "12.6") == 1
    assert "its one fatbin has only sm_80" in capsys.readouterr().out


def test_verdicts_as_json(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--for", "orin", "--cuda", "12.6", "--json", "--fatbins")
    assert run(monkeypatch, wheel / "libpartly.so", *options) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 2
    assert found["device"] == {
        "name": "orin",
        "capability": "8.7",
        "cuda": "12.6",
        "ptx_isa": "8.5",
    }
    (library,) = found["libraries"]
    assert library["verdict"] == "missing"
    assert library["verdicts"] == {"missing": 1, "native": 2}
    assert library["why"] == "1 of 3 fatbins has only sm_80"
    assert [one["verdict"] for one in library["fatbins"]] == ["native", "native", "missing"]


def test_containers_have_verdicts_of_their_own(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tree, "--for", "a6000", "--fatbins") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("  0x")] == [
        "stub",
        "compatible",
        "compatible",
        "relocatable",
        "missing",
    ]


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_wheel_and_a_folder_of_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"torch/lib/libcuda.so": CUDA, "torch/a.py": b"", "torch/plain.so": PLAIN}
    wheel = zipped(tmp_path / "torch-2.5.1-py3-none-any.whl", files)
    assert [one.path for one in read_path(wheel)] == [
        wheel / "torch/lib/libcuda.so",
        wheel / "torch/plain.so",
    ]
    (inside, _), (outside,) = read_path(wheel), read_path(_written(tmp_path / "lib.so", CUDA))
    assert inside.fatbins == outside.fatbins
    assert run(monkeypatch, wheel) == 0
    assert "\ntorch/lib/libcuda.so  host " in capsys.readouterr().out
    assert run(monkeypatch, tmp_path) == 0
    assert f"\n{wheel.name}/torch/lib/libcuda.so  host " in capsys.readouterr().out


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_hostile_wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lies about sizes, checksums that are wrong, names that lead elsewhere, an end that is cut off."""
    files = {
        "good.so": CUDA,
        "../../../etc/evil.so": CUDA,
        "/abs\x1b[31m.so": DAMAGED,
        "z.so": CUDA,
    }
    wheel = zipped(tmp_path / "a.whl", files)
    found = {one.path.name: one for one in read_path(wheel)}
    assert all(str(one.path).startswith(f"{wheel}/") for one in found.values())
    assert len(found["evil.so"].fatbins) == len(found["good.so"].fatbins)

    broken = bytearray(wheel.read_bytes())
    broken[60:64] = b"\xff" * 4  # in the first member's data
    (tmp_path / "b.whl").write_bytes(broken)
    found = {one.path.name: one for one in read_path(tmp_path / "b.whl")}
    assert [name for name, one in found.items() if not one.fatbins] == ["good.so"]
    assert found["good.so"].damage

    (tmp_path / "c.whl").write_bytes(wheel.read_bytes()[:-30])
    (cut,) = read_path(tmp_path / "c.whl")
    assert cut.damage == ("File is not a zip file",)

    monkeypatch.setattr(libraries, "_LEAST_LIMIT", 10)
    bomb = zipped(tmp_path / "d.whl", {"bomb.so": CUDA + bytes(1 << 22), "a.txt": b""})
    (refused,) = read_path(bomb)
    assert refused.damage == (f"unpacks to {len(CUDA) + (1 << 22)} bytes: not read",)


def test_names_begin_where_was_asked(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tree) == 0
    assert "\nb/libcuda_code.so  host " in capsys.readouterr().out
    assert run(monkeypatch, tree / "b", tree / "a.so") == 0
    assert f"\n{tree}/b/libcuda_code.so  host " in capsys.readouterr().out


def test_a_terminal_of_100_columns(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = wheel / "nvidia/cu13/lib/a_folder_with_a_name_of_some_length"
    folder.mkdir(parents=True)
    (folder / "libcublasLt_static_of_a_longer_name.so.13").write_bytes(
        (wheel / "libpartly.so").read_bytes()
    )
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for options in ((), ("--fatbins",)):
        assert run(monkeypatch, wheel, "--for", "orin", "--cuda", "12.6", *options) == 1
        table, _, _ = capsys.readouterr().out.partition("1 library has no code")
        lines = re.sub(r"\x1b\[[0-9;]*m", "", table).splitlines()
        assert max(map(len, lines)) <= 100
        for verdict in ("missing", "jit", "native", "not-applicable"):
            assert any(f" {verdict} " in line for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--for", "rtx"), "unknown device 'rtx'"),
        (("--cuda", "12.6"), "--cuda without a device; add --for"),
        (("--cuda", ""), "--cuda without a device; add --for"),
        (("--for", "orin", "--cuda", ""), "unknown CUDA release ''"),
        (("--jetpack", "6.2"), "--jetpack without a device; add --for"),
    ],
)
def test_a_device_that_cannot_be(
    tree: Path,
    options: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, tree, *options) == 2
    assert capsys.readouterr().err.startswith(f"vllm-nix: {message}")


def test_a_wheel_whose_members_overlap(tmp_path: Path) -> None:
    """A bomb of the kind that needs no nesting: many names for the same bytes."""
    raw = zipped(tmp_path / "e.whl", {"x.so": CUDA + bytes(1 << 20)}).read_bytes()
    start, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    count, table = 300, raw[start:end]
    size = len(table) * count
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)
    (tmp_path / "e.whl").write_bytes(raw[:start] + table * count + tail)
    found = list(read_path(tmp_path / "e.whl"))
    assert len(found) == count
    ours = ("overlaps another member of the wheel: not read",)
    assert [one.damage for one in found].count(ours) == count - 1
    # Of the last, zipfile says the same in newer releases of Python (gh-109858).
    assert [one.damage for one in found if one.damage not in (ours, ())] in (
        [],
        [("Overlapped entries: 'x.so' (possible zip bomb)",)],
    )


def test_cubins_in_thousands_are_counted(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """flashinfer-cubin has 10,560, for one device each: FlashInfer opens that for its own."""
    for number in range(51):
        (tree / f"{number}.cubin").write_bytes(cubin(80, "add"))
    arguments = ("--for", "9.0", "--cuda", "12.4")
    run(monkeypatch, tree, *arguments)
    shown = capsys.readouterr()
    assert ".cubin" not in shown.out
    assert "51 cubins, each a file of its own, are not listed" in shown.err
    (tree / "b/libcuda_code.so.1").unlink()
    assert run(monkeypatch, tree, *arguments, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["libraries"]) > 51
    (tree / "0.cubin").unlink()
    assert run(monkeypatch, tree, *arguments) == 1
    assert "1.cubin" in capsys.readouterr().out
