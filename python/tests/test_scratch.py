"""What is there only while a command runs."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vllm_nix import scratch

HOLDING = """
import sys, time
from pathlib import Path
from vllm_nix import scratch
with scratch.folder("mine-", parent=Path(sys.argv[1])) as place:
    (place / "deep/er").mkdir(parents=True)
    print(place, flush=True)
    time.sleep(60)
"""


def test_it_goes_with_who_made_it_or_is_renamed(tmp_path: Path) -> None:
    with scratch.folder("mine-", parent=tmp_path) as place:
        (place / "file").touch()
    assert not place.exists()
    with scratch.folder("mine-", parent=tmp_path) as place:
        place.rename(tmp_path / "whole")
    with scratch.file_beside(tmp_path / "x.so") as (new, descriptor):
        os.write(descriptor, b"whole")
        new.rename(tmp_path / "x.so")
    with scratch.file_beside(tmp_path / "x.so") as (new, _):
        assert new.parent == tmp_path
    assert sorted(os.listdir(tmp_path)) == ["whole", "x.so"]  # noqa: PTH208


def test_two_that_start_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one removes what is made and not yet locked."""
    others = [True]

    def after_the_other(path: Path, flags: int, *rest: int, **options: int) -> int:
        if others:
            others.pop()
            path.rmdir()
        return open_file(path, flags, *rest, **options)

    open_file = os.open
    monkeypatch.setattr(os, "open", after_the_other)
    with scratch.folder("mine-", parent=tmp_path) as place:
        assert place.is_dir()
    assert not any(tmp_path.iterdir())


def test_the_next_one_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(tmp_path)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running,
    ):
        assert killed.stdout
        assert running.stdout
        left, used = Path(killed.stdout.readline().strip()), running.stdout.readline().strip()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        outside = tmp_path / "outside"
        outside.mkdir()
        (left / "link").symlink_to(outside)
        (tmp_path / "mine-link").symlink_to(outside)
        (tmp_path / "others-x").mkdir()
        with scratch.folder("mine-", parent=tmp_path) as place:
            assert {*tmp_path.glob("*")} - {place, Path(used)} == {
                outside,
                tmp_path / "mine-link",
                tmp_path / "others-x",
            }
            assert Path(used).is_dir()
        running.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="to give a folder away takes root")
def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    (tmp_path / "mine-1").mkdir()
    os.chown(tmp_path / "mine-1", 65534, 65534)
    with scratch.folder("mine-", parent=tmp_path):
        pass
    assert (tmp_path / "mine-1").is_dir()


def test_what_is_deeper_than_python_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deepen(place: Path) -> None:
        monkeypatch.chdir(place)
        for _ in range(1500):
            os.mkdir("d" * 200)  # noqa: PTH102
            os.chdir("d" * 200)
        os.chdir(tmp_path)

    (tmp_path / "mine-left").mkdir()
    deepen(tmp_path / "mine-left")
    with scratch.folder("mine-", parent=tmp_path) as place:
        assert not (tmp_path / "mine-left").exists()
        deepen(place)
    assert not [*tmp_path.iterdir()]


def test_many_at_once_keep_their_own(tmp_path: Path) -> None:
    """A new folder is nobody's for a moment: whoever loses it then makes another."""
    faults: list[str] = []

    def use() -> None:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            with scratch.folder("mine-", parent=tmp_path) as place:
                (place / "file").touch()
                with scratch.file_beside(tmp_path / "x") as (new, _):
                    if not ((place / "file").exists() and new.exists()):
                        faults.append(str(place))

    def many() -> None:
        threads = [threading.Thread(target=use) for _ in range(3)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        os._exit(len(faults))

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=many) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not [*tmp_path.iterdir()]
