"""What of an environment may be passed on: one path whose closure has nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builds.test_wheel import expression
from tests.conftest import Nix

pytestmark = pytest.mark.nix

MakeWheel = Callable[..., Path]


def published(*wheels: Path) -> str:
    return expression(*wheels, attribute="environment.published")


def test_an_environment_of_free_wheels_is_published_whole(nix: Nix, make_wheel: MakeWheel) -> None:
    path = nix.build(published(make_wheel("free", {"free.py": ""})))
    names = [entry.name[33:] for entry in path.iterdir() if entry.is_symlink()]
    assert names == ["vllm-test"]
    assert (path / "not-published").read_text() == ""


def test_one_that_is_not_free_keeps_the_environment_back(nix: Nix, make_wheel: MakeWheel) -> None:
    free = make_wheel("free", {"free.py": ""})
    closed = make_wheel("nvidia_cublas", {"nvidia/cublas.py": ""})
    path = nix.build(published(free, closed))
    closure = nix("nix-store", "--query", "--requisites", str(path)).stdout
    assert "-free-1.0" in closure
    assert "-vllm-test\n" not in closure
    assert "cublas" not in closure
    assert (path / "not-published").read_text() == (
        "nvidia-cublas 1.0: CUDA EULA\nvllm-test: it is built from these\n"
    )


def test_what_leads_to_one_that_is_not_free_is_not_published(nix: Nix) -> None:
    said = nix.fail(
        """let
          pkgs = import ./nix/debian { overlays = [ (import ./overlays) ]; };
          wheel = pname: license: text: pkgs.runCommand pname {
            passthru = { inherit pname; version = "1.0"; };
            meta = (import ./nix/wheels/licenses.nix).meta license;
          } "echo ${text} > $out";
          closed = wheel "closed" [ pkgs.lib.licenses.unfree ] "nothing";
        in pkgs.vllmPackages.published {
          target.name = "test"; environment = closed; base = [ ];
          wheels = [ closed (wheel "leak" [ ] closed) ];
        }"""
    )
    assert "is not allowed to refer to the following paths" in said
    assert "-closed\n" in said
