"""Libraries by devices, in a terminal and as JSON."""

import argparse
import io
import json
from pathlib import Path

import pytest
from made_binaries import CUBIN, PTX, Part, cubin, elf_file, entry, fatbin_of

from vllm_nix.cli import archs
from vllm_nix.errors import InputError

OLD = fatbin_of(entry(CUBIN, 80, cubin(80, "add")))
NEW = fatbin_of(entry(CUBIN, 90, cubin(90, "add"), flags=0x200011), entry(PTX, 80, version=(9, 0)))
HOPPER = fatbin_of(entry(CUBIN, 100, cubin(100, "add"), flags=0x200011))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, code in (("libtorch_cuda.so", OLD), ("new.so", NEW), ("libnccl.so.2", HOPPER)):
        (tmp_path / name).write_bytes(elf_file(Part(".nv_fatbin", code)))
    (tmp_path / "plain.so").write_bytes(elf_file(Part(".text")))
    return tmp_path


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    archs.arguments(parser)
    return archs.run(parser.parse_args(list(map(str, arguments))))


def table(text: str) -> dict[str, list[str]]:
    """By library, or "file" for the titles: the columns."""
    lines = text.partition("\n\n")[0].splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_several_devices(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree, "--for", "a6000", "--for", "orin", "--for", "9.0", "--cuda", "13.0") == 1
    out = capsys.readouterr().out
    assert table(out) == {
        "file": ["a6000", "orin", "9.0"],
        "libnccl.so.2": ["M", "M", "M"],  # nothing for these, and nothing runs without it
        "libtorch_cuda.so": ["C", "M", "M"],
        "new.so": ["J", "J", "C"],
    }
    assert "N native  C compatible  J jit  M missing" in out
    assert (
        "orin (8.7) with CUDA 13.0: 2 libraries lack code that it needs (2 missing, 1 jit)" in out
    )


def test_the_usual_devices(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody asked for one of them, so that code is missing is no failure."""
    assert run(tree, "--matrix", "--cuda", "13.0") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    found = table(out)
    assert found["file"] == ["8.6", "8.7", "9.0", "10.0", "10.3", "11.0", "12.0", "12.1"]
    assert found["libnccl.so.2"] == ["M", "M", "M", "C", "C", "M", "M", "M"]


def test_without_a_driver(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree / "new.so", "--matrix") == 0
    out = capsys.readouterr().out
    assert next(reversed(table(out).values())) == ["?", "?", "C", "?", "?", "?", "?", "?"]
    assert "8.6: depends on its driver's CUDA: say --cuda or --jetpack (1 unknown)" in out


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours(
    tree: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    for name, value in {"TERM": "xterm", "NO_COLOR": "", **variables}.items():
        monkeypatch.setenv(name, value)
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", screen)
    run(tree, "--matrix")
    assert ("\x1b[" in screen.getvalue()) is coloured


def test_json(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree, "--for", "8.6", "--for", "orin", "--cuda", "13.0", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 2
    assert [one["name"] for one in document["devices"]] == ["8.6", "orin"]
    found = {Path(one["path"]).name: one["devices"] for one in document["libraries"]}
    assert found["plain.so"] == []
    verdicts = {name: [one["verdict"] for one in rows] for name, rows in found.items()}
    assert verdicts["libtorch_cuda.so"] == ["compatible", "missing"]
    assert found["new.so"][0]["verdicts"] == {"jit": 1}
    assert found["new.so"][0]["why"].startswith("its one fatbin has only PTX for it")


def test_a_driver_that_does_not_suit(tree: Path) -> None:
    with pytest.raises(InputError, match=r"JetPack 6\.2 is not for 8\.6"):
        run(tree, "--for", "orin", "--for", "8.6", "--jetpack", "6.2")


def test_no_gpu_code(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tree / "plain.so", "--matrix") == 0
    assert capsys.readouterr().out == "no GPU code\n"


def test_fatbins_are_for_one_device(tree: Path) -> None:
    with pytest.raises(InputError, match="--fatbins is for one device"):
        run(tree, "--matrix", "--fatbins")
