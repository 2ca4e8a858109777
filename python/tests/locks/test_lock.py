"""Locks resolved from an index in a folder: what is chosen, what is kept, what is refused."""

import argparse
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from registry import Publish, make_wheel, write_index

from vllm_nix.cli import lock as command
from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.locks.lock import platforms, relock
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import Requirements

SYSTEM = "x86_64-linux"


@pytest.fixture
def app(tmp_path: Path) -> Requirements:
    return Requirements(
        name="app",
        folder=tmp_path / "locks",
        python="3.11",
        systems=(SYSTEM,),
        require=("app",),
    )


def test_one_wheel_of_each_package_the_best_and_no_address(
    publish: Publish, app: Requirements, tmp_path: Path
) -> None:
    publish("app", "1.0", requires="dep")
    for tag in (
        "py3-none-any",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "cp311-cp311-manylinux_2_35_x86_64",
        "cp311-cp311-manylinux_2_28_aarch64",
        "cp39-abi3-manylinux_2_28_x86_64",
    ):
        publish("dep", "1.0", tag)
    plan = relock(app, SYSTEM)
    assert [wheel.file for wheel in plan.new.wheels] == [
        "app-1.0-py3-none-any.whl",
        "dep-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    ]
    for wheel in plan.new.wheels:
        assert wheel.size == (tmp_path / "wheels" / wheel.file).stat().st_size
    assert str(tmp_path) not in plan.text
    assert "://" not in plan.text


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="uv holds a lock's Python against its own"
)
def test_the_lock_beside_its_wheels_installs_as_it_is(
    publish: Publish, app: Requirements, tmp_path: Path
) -> None:
    publish("app", "1.0+cpu", requires="dep")
    publish("dep", "2.0")
    plan = relock(app, SYSTEM)
    plan.write()
    for wheel in plan.new.wheels:
        shutil.move(tmp_path / "wheels" / wheel.file, app.folder)
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--offline",
        "--no-index",
        "--require-hashes",
    ]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    command += ["--target", str(tmp_path / "site"), "-r", str(plan.path)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "site" / "app.py").read_text() == "version = '1.0+cpu'\n"
    assert (tmp_path / "site" / "dep-2.0.dist-info").is_dir()


def test_pins_stay_unless_upgraded(publish: Publish, app: Requirements) -> None:
    publish("app", "1.0")
    relock(app, SYSTEM).write()
    publish("app", "2.0")
    publish("more", "1.0")
    wider = replace(app, require=("app", "more"))
    assert relock(wider, SYSTEM).changes() == ["+ more 1.0"]
    assert relock(wider, SYSTEM, upgrade=True).changes() == ["~ app 1.0 -> 2.0", "+ more 1.0"]
    # A requirement that the pin no longer meets moves it.
    assert relock(replace(app, require=("app>=2",)), SYSTEM).changes() == ["~ app 1.0 -> 2.0"]


def test_every_place_that_pip_knows_is_looked_into(
    publish: Publish, app: Requirements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("app", "1.0", requires="a b c d")
    indexes = [
        write_index(tmp_path / f"index-{name}", [make_wheel(tmp_path / name, name, "1.0")])
        for name in "ab"
    ]
    folders = [make_wheel(tmp_path / name, name, "1.0").parent for name in "cd"]
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", " ".join(indexes))
    monkeypatch.setenv("PIP_FIND_LINKS", " ".join(map(str, folders)))
    assert [wheel.name for wheel in relock(app, SYSTEM).new.wheels] == ["a", "app", "b", "c", "d"]


def test_pins_that_contradict_a_new_requirement_move_and_no_others(
    publish: Publish, app: Requirements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pin in the way of the next, and one that must stay: of 2.0, the first index that uv
    looks into has no fitting wheel."""
    publish("app", "1.0", requires="dep<2 fixed==2.0")
    publish("dep", "1.0", requires="deep<2")
    publish("deep", "1.0")
    publish("fixed", "2.0")
    unfit = make_wheel(tmp_path / "other", "fixed", "2.0", "cp311-cp311-manylinux_2_35_x86_64")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", write_index(tmp_path / "extra", [unfit]))
    relock(app, SYSTEM).write()
    publish("app", "2.0", requires="dep>=2 fixed==2.0")
    publish("dep", "2.0", requires="deep>=2")
    publish("deep", "2.0")
    assert relock(app, SYSTEM).is_current
    assert relock(replace(app, require=("app>=2",)), SYSTEM).changes() == [
        "~ app 1.0 -> 2.0",
        "~ deep 1.0 -> 2.0",
        "~ dep 1.0 -> 2.0",
    ]


def test_a_set_with_its_own_index_that_cannot_be_reached_moves_to_what_pips_has(
    publish: Publish, app: Requirements
) -> None:
    for version in ("1.0+cpu", "2.0+cpu"):
        publish("torch", version)
    index = {"torch": {"url": "https://nowhere.invalid", "systems": [SYSTEM]}}
    wanted = replace(app, require=("torch==1.0+cpu",), index=index)
    relock(wanted, SYSTEM).write()
    newer = replace(wanted, require=("torch==2.0+cpu",))
    assert relock(newer, SYSTEM).changes() == ["~ torch 1.0+cpu -> 2.0+cpu"]


def test_a_pin_stays_although_the_first_index_has_no_fitting_wheel_of_it(
    publish: Publish, app: Requirements, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("app", "1.0")
    publish("app", "2.0")
    unfit = make_wheel(tmp_path / "other", "app", "2.0", "cp311-cp311-manylinux_2_35_x86_64")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", write_index(tmp_path / "extra", [unfit]))
    relock(app, SYSTEM).write()
    assert relock(app, SYSTEM).is_current


def test_a_better_wheel_that_was_added_later_changes_nothing(
    publish: Publish, app: Requirements
) -> None:
    publish("app", "1.0")
    relock(app, SYSTEM).write()
    publish("app", "1.0", "cp311-cp311-manylinux_2_28_x86_64")
    assert relock(app, SYSTEM).is_current
    assert len(relock(app, SYSTEM, upgrade=True).changes()) == 1


def test_excluded_packages_are_not_locked_and_overrides_win(
    publish: Publish, app: Requirements
) -> None:
    publish("app", "1.0", requires="triton dep<2")
    publish("triton", "3.0")
    publish("dep", "1.0")
    publish("dep", "2.0")
    changed = replace(app, exclude=("triton",), override=("dep==2.0",))
    assert [wheel.name for wheel in relock(changed, SYSTEM).new.wheels] == ["app", "dep"]
    assert [wheel.version for wheel in relock(changed, SYSTEM).new.wheels] == ["1.0", "2.0"]


def test_what_is_made_here_is_resolved_and_not_locked(
    publish: Publish, app: Requirements, tmp_path: Path
) -> None:
    publish("app", "1.0", requires="engine")
    publish("engine", "9.9", requires="cuda")
    publish("dep", "2.0")
    publish("dep", "3.0")
    make_wheel(tmp_path / "built", "engine", "1.0+empty", requires=["dep<3"])
    own = replace(app, built={"engine": "1.0"})
    plan = relock(own, SYSTEM, built=tmp_path / "built")
    assert plan.changes() == ["+ app 1.0", "+ dep 2.0"]
    plan.write()
    assert relock(own, SYSTEM, built=tmp_path / "built").is_current


def test_what_was_published_later_is_not_there(
    publish: Publish, app: Requirements, tmp_path: Path
) -> None:
    publish("app", "1.0")
    publish("app", "2.0")
    page = tmp_path / "index/app/index.html"
    page.write_text(
        page.read_text()
        .replace("<a ", '<a data-upload-time="2025-01-01T00:00:00Z" ', 1)
        .replace("<a href", '<a data-upload-time="2026-01-01T00:00:00Z" href')
    )
    assert relock(app, SYSTEM).changes() == ["+ app 2.0"]
    early = replace(app, before="2025-06-01")
    assert relock(early, SYSTEM).changes() == ["+ app 1.0"]


@pytest.mark.parametrize("folder", ["built", None])
def test_what_is_made_here_and_is_not_there(
    app: Requirements, tmp_path: Path, folder: str | None
) -> None:
    make_wheel(tmp_path / "built", "engine", "1.0")
    own = replace(app, built={"engine": "1.0", "plug-in": "1.0"} if folder else {"plug-in": "1.0"})
    with pytest.raises(InputError, match=r"lacks plug-in: nix-build -E .* vllmPackages.app.built"):
        relock(own, SYSTEM, built=tmp_path / folder if folder else None)


def test_a_sets_own_index_is_asked_only_when_pips_has_it_not(
    publish: Publish, app: Requirements, tmp_path: Path
) -> None:
    publish("app", "1.0", requires="torch")
    torch = make_wheel(tmp_path / "torch-wheels", "torch", "2.0+cpu")
    here = {"url": write_index(tmp_path / "torch-index", [torch]), "systems": [SYSTEM]}
    index = {"torch": here}
    wanted = replace(app, require=("app", "torch==2.0+cpu"), index=index)
    assert [wheel.file for wheel in relock(wanted, SYSTEM).new.wheels] == [
        "app-1.0-py3-none-any.whl",
        torch.name,
    ]
    publish("torch", "2.0+cpu")
    unreachable = replace(wanted, index={"torch": here | {"url": "https://nowhere.invalid/simple"}})
    assert len(relock(unreachable, SYSTEM).new.wheels) == 2


def test_an_index_is_not_asked_for_another_system(
    publish: Publish, app: Requirements, tmp_path: Path
) -> None:
    publish("app", "1.0", requires="torch")
    torch = make_wheel(tmp_path / "torch-wheels", "torch", "2.0+cpu")
    url = write_index(tmp_path / "torch-index", [torch])
    index = {"torch": {"url": url, "systems": ["aarch64-linux"]}}
    with pytest.raises(Error, match="torch"):
        relock(replace(app, require=("app", "torch==2.0+cpu"), index=index), SYSTEM)


@pytest.mark.parametrize(
    "only", ["dep-1.0-cp311-cp311-manylinux_2_35_x86_64.whl", "dep-1.0.tar.gz"]
)
def test_a_package_without_a_fitting_wheel(
    publish: Publish, app: Requirements, tmp_path: Path, only: str
) -> None:
    publish("app", "1.0", requires="dep")
    shutil.copy(publish("dep", "1.0"), tmp_path / only)
    write_index(tmp_path / "index", [tmp_path / only])
    with pytest.raises(Error, match=r"app for x86_64-linux: no wheel of dep fits .* override"):
        relock(app, SYSTEM)


def test_no_solution_is_one_line_and_changes_no_file(publish: Publish, app: Requirements) -> None:
    publish("app", "1.0", requires="dep>=2")
    publish("dep", "2.0")
    relock(app, SYSTEM).write()
    before = app.lock_file(SYSTEM).read_bytes()
    with pytest.raises(Error, match=r"^cannot lock app for x86_64-linux: .*dep.*$"):
        relock(replace(app, require=("app", "dep<2")), SYSTEM)
    assert app.lock_file(SYSTEM).read_bytes() == before
    assert [file.name for file in app.folder.iterdir()] == ["pylock.x86_64-linux.toml"]


def test_another_system(app: Requirements) -> None:
    with pytest.raises(InputError, match="app is not for aarch64-linux; it is for x86_64-linux"):
        relock(app, "aarch64-linux")


def test_without_a_network(
    publish: Publish, app: Requirements, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("app", "1.0")
    relock(app, SYSTEM).write()
    monkeypatch.setenv("PIP_INDEX_URL", "https://nowhere.invalid/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(Unavailable, match=r"^cannot lock app .*nowhere.invalid/simple/app.*$"):
        relock(app, SYSTEM)


def test_without_uv(app: Requirements, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(Unavailable, match=r"uv, .*missing; pip install uv"):
        relock(app, SYSTEM)


def test_check_writes_nothing_and_says_so(
    publish: Publish,
    app: Requirements,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish("app", "1.0")
    monkeypatch.setattr(command, "load_requirements", lambda name: app)
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    assert command.run(parser.parse_args(["app", "--check"])) == 1
    assert not app.folder.exists()
    assert capsys.readouterr().out.splitlines() == [
        "+ app 1.0",
        "app for x86_64-linux: 1 wheel, pylock.x86_64-linux.toml would change",
    ]
    assert command.run(parser.parse_args(["app"])) == 0
    assert read_lock(app.lock_file(SYSTEM)).wheels[0].version == "1.0"
    assert command.run(parser.parse_args(["app", "--check"])) == 0


def test_platforms_of_pep_600() -> None:
    assert list(platforms("manylinux_2_18", "aarch64")) == [
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    ]
    old = list(platforms("manylinux_2_5", "x86_64"))
    assert old == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def test_an_installed_command_writes_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data are files of a site-packages folder rather than links into a checkout."""
    monkeypatch.setattr(command, "TARGETS", tmp_path)
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    with pytest.raises(InputError, match="lock files are written in a checkout of vllm-nix"):
        command.run(parser.parse_args(["cpu"]))
