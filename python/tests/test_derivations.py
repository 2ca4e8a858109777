"""Derivations as Nix writes them, and which of them can be built by now."""

from pathlib import Path

import pytest

from vllm_nix.derivations import Derivation, buildable, closure, read_derivation
from vllm_nix.errors import InputError


def write(folder: Path, name: str, *inputs: str, digest: str = "") -> Path:
    path = folder / f"{name}.drv"
    needed = ",".join(f'("{folder}/{one}.drv",["out"])' for one in inputs)
    kind = "sha256" if digest else ""
    path.write_text(
        f'Derive([("out","{folder}/{name}","{kind}","{digest}")],[{needed}],["/src"],"x86_64-linux",'
        '"/bin/sh",["-c","echo \\"$text\\"\\n"],[("text","a\\\\b\\tc"),("out","x")])'
    )
    return path


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """An environment of two wheels: an unpacker and a file each; the unpacker is of a file, too."""
    for file in ("base", "one", "two"):
        write(tmp_path, f"{file}.file", digest="aa")
    write(tmp_path, "unpacker", "base.file")
    write(tmp_path, "wheel-one", "unpacker", "one.file")
    write(tmp_path, "wheel-two", "unpacker", "two.file")
    return write(tmp_path, "env", "wheel-one", "wheel-two")


def names(folder: Path, top: Path, *present: str) -> list[str]:
    return [path.stem for path in buildable(closure(top), {folder / name for name in present})]


def test_what_can_be_built_grows_with_what_is_fetched(tmp_path: Path, top: Path) -> None:
    assert names(tmp_path, top) == []
    assert names(tmp_path, top, "one.file") == []
    assert names(tmp_path, top, "base.file") == ["unpacker"]
    assert names(tmp_path, top, "base.file", "one.file") == ["wheel-one"], "the unpacker with it"
    assert names(tmp_path, top, "unpacker", "two.file") == ["wheel-two"]
    assert names(tmp_path, top, "wheel-one", "unpacker", "two.file") == ["env"], "wheel-two with it"
    assert names(tmp_path, top, "base.file", "one.file", "two.file") == ["env"]
    assert names(tmp_path, top, "wheel-one", "wheel-two") == ["env"], (
        "whatever they were built from"
    )
    assert names(tmp_path, top, "env") == []


@pytest.mark.parametrize(("inputs", "digest"), [((), "aa"), (("two",), "aa"), (("two",), "")])
def test_as_nix_writes_it(tmp_path: Path, inputs: tuple[str, ...], digest: str) -> None:
    path = write(tmp_path, "one", *inputs, digest=digest)
    needed = tuple(tmp_path / f"{name}.drv" for name in inputs)
    fetched = not inputs  # what is made of something is made here, of known bits or not
    assert read_derivation(path) == Derivation(path, needed, (tmp_path / "one",), fetched)


@pytest.mark.parametrize("text", ["", "Derive(", "Derive([1],[2])", "(" * 100_000, "Derive(x())"])
def test_what_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "it.drv").write_text(text)
    with pytest.raises(InputError, match="is not a derivation that can be read"):
        read_derivation(tmp_path / "it.drv")
