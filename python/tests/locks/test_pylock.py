"""Lock files: written as the standard wants them, read back, refused when wrong."""

import tomllib
from pathlib import Path

import pytest
from packaging.pylock import Pylock

from vllm_nix.errors import InputError
from vllm_nix.locks.pylock import Lock, Wheel, format_lock, read_lock

LOCK = Lock(
    "3.11",
    (
        Wheel("torch", "2.13.0+cpu", "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "a" * 64, 9),
        Wheel("unsized", "1.0", "unsized-1.0-py3-none-any.whl", "b" * 64),
    ),
)


def test_what_is_written_is_standard_and_reads_back(tmp_path: Path) -> None:
    text = format_lock(LOCK, "x86_64-linux")
    lock = Pylock.from_dict(tomllib.loads(text))
    assert str(lock.environments[0]) == (  # type: ignore[index]
        'sys_platform == "linux" and platform_machine == "x86_64"'
    )
    file = tmp_path / "pylock.toml"
    file.write_text(text)
    assert read_lock(file) == LOCK


def test_a_file_of_another_package_is_no_lock() -> None:
    wheel = Wheel("torch", "1.0", "vision-1.0-py3-none-any.whl", "a" * 64)
    with pytest.raises(InputError, match=r"not a valid lock \(PEP 751\): .*vision-1.0"):
        format_lock(Lock("3.11", (wheel,)), "x86_64-linux")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"==3.11.*"', '">=3.11"', "not for one Python"),
        ("b" * 64, "b" * 63, "unsized: 'b+' is not a sha256"),
        ('"unsized-1.0', '"../unsized-1.0', "'../unsized-1.0.*' is not a wheel's file name"),
        ('version = "1.0"\n\n[[packages.wheels]]', "[[packages.wheels]]", "'version' is missing"),
        ("[[packages]]", "[[packages", "pylock.toml: .*line"),
    ],
)
def test_a_wrong_lock_is_named_with_its_fault(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "pylock.toml"
    text = format_lock(LOCK, "x86_64-linux")
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read_lock(file)
    assert str(file) in str(error.value)


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such lock; `vllm-nix lock` writes it"):
        read_lock(tmp_path / "pylock.toml")
