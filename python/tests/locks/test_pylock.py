"""Lock files: written as the standard wants them, read back, refused when wrong."""

from pathlib import Path

import pytest
from packaging.pylock import Pylock

from vllm_nix.errors import InputError
from vllm_nix.locks.pylock import Lock, Wheel, format_lock, read_lock
from vllm_nix.since_311 import tomllib

LOCK = Lock(
    "3.11",
    (
        Wheel("torch", "2.13.0+cpu", "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "a" * 64, 9),
        Wheel("unsized", "1.0", "unsized-1.0-py3-none-any.whl", "b" * 64),
    ),
    "sha256:" + "c" * 64,
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
        ('"==3.11.*"', '"==99999999999999.1.*"', "not for one Python"),
        ('"==3.11.*"', "5", "Unexpected type int .expected str. in 'requires-python'"),
        ('lock-version = "1.0"', 'lock-version = "1.1"', "not of version 1.0"),
        ('lock-version = "1.0"', 'lock-version = "2.0"', "version 2.0 is not supported"),
        ("b" * 64, "b" * 63, "unsized: 'b+' is not a sha256"),
        ("b" * 64, "B" * 64, "unsized: 'B+' is not a sha256"),
        ("b" * 64, "b" * 64 + "\\n", r"unsized: 'b+\\n' is not a sha256"),
        (f'sha256 = "{"b" * 64}"', "sha256 = 5", "Hash values must be strings"),
        (f'sha256 = "{"b" * 64}"', 'md5 = "00"', "unsized: '' is not a sha256"),
        ('"unsized-1.0', '"../unsized-1.0', "'../unsized-1.0.*' is not a wheel's file name"),
        ('"unsized-1.0', '"/unsized-1.0', "'/unsized-1.0.*' is not a wheel's file name"),
        ('"unsized-1.0', '"u\\u0000/unsized-1.0', r"'u\\x00/unsized.*' is not a wheel's file name"),
        ('"unsized-1.0-py3-none-any.whl"', '"..whl"', "Invalid wheel filename"),
        ('"unsized-1.0-py3-none-any.whl"', '["a.whl"]', "Unexpected type list .* 'packages"),
        ('"unsized-1.0-py3-none-any.whl"', "5", "Unexpected type int .*path"),
        ('path = "unsized-', 'url = "https://a.invalid/unsized-', "'' is not a wheel's"),
        ('path = "unsized-', 'name = "a.whl"\npath = "unsized-', "Invalid wheel filename 'a.whl'"),
        ("size = 9", "size = -9", "torch: -9 is not a size in bytes"),
        ("size = 9", "size = 0", "torch: 0 is not a size in bytes"),
        ("size = 9", 'size = "big"', "Unexpected type str .*size"),
        ("size = 9", "size = 1e300", "Unexpected type float .*size"),
        ("size = 9", "size = true", "Unexpected type bool .*size"),
        ('version = "1.0"\n\n[[packages.wheels]]', "[[packages.wheels]]", "unsized: its version"),
        ('version = "1.0"\n', 'version = "1\\n--extra-index-url x"\n', r"Invalid version.*\\n--ex"),
        (
            'name = "unsized"',
            'name = "a\\n--index-url x"',
            r"Name 'a\\+n--index-url x' is not norm",
        ),
        ('name = "unsized"', 'name = "unsized\\n"', r"Name 'unsized\\+n' is not normalized"),
        ('name = "unsized"', "name = 5", "Unexpected type int .*name"),
        ('name = "unsized"', 'name = "torch"', "not consistent with package name 'torch'"),
        ("[[packages]]", "[[packages", "pylock.toml: .*line"),
        ('created-by = "vllm-nix"', "created-by = " + "[" * 100_000, "are nested too deep"),
    ],
    ids=lambda text: text[:30],
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
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ("packages = 5", "Unexpected type int .* 'packages'"),
        ('[[packages]]\nname = "a"\nversion = "1"', "Exactly one of .* 'packages.0.'"),
        (
            '[[packages]]\nname = "a"\nversion = "1"\n[packages.wheels]\npath = "a.whl"',
            "Unexpected type dict .* 'packages.0..wheels'",
        ),
    ],
)
def test_other_packages(tmp_path: Path, packages: str, message: str) -> None:
    head = 'lock-version = "1.0"\nrequires-python = "==3.11.*"\ncreated-by = "me"\n'
    file = tmp_path / "pylock.toml"
    file.write_text(head + packages)
    with pytest.raises(InputError, match=message):
        read_lock(file)


def test_a_package_is_there_once(tmp_path: Path) -> None:
    file = tmp_path / "pylock.toml"
    twice = Lock("3.11", (LOCK.wheels[1], LOCK.wheels[1]))
    file.write_text(format_lock(twice, "x86_64-linux"))
    with pytest.raises(InputError, match="not a lock of `vllm-nix lock`: unsized is there 2 times"):
        read_lock(file)


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such lock; `vllm-nix lock` writes it"):
        read_lock(tmp_path / "pylock.toml")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("py3-none-any.whl", "py3-none-any\u202e.whl"), "is not a wheel's file name"),
        (("a-1-py3", "a- 1-py3"), "'a- 1-py3-none-any.whl' is not a wheel's file name"),
        (("size = ", 'url = "https://x.invalid/a.whl"\nsize = '), "a.whl' besides a path"),
        (
            ('version = "1"', 'version = "1"\nmarker = "sys_platform == \'win32\'"'),
            "a: it is for some environments only",
        ),
        (
            ('version = "1"', 'version = "1"\nrequires-python = ">=3.13"'),
            "a: it is for some environments only",
        ),
        (("size = ", "size = 9223372036854775808 #"), "is not a size in bytes"),
        (("lock-version", "a" + ".a" * 20_000 + " = 1\nlock-version"), "more than 100 dots"),
    ],
)
def test_what_a_standard_lock_may_say_and_ours_not(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    lock = Lock("3.11", (Wheel("a", "1", "a-1-py3-none-any.whl", "a" * 64, 5),))
    text = format_lock(lock, "x86_64-linux")
    assert change[0] in text
    (tmp_path / "lock.toml").write_text(text.replace(*change))
    with pytest.raises(InputError, match=complaint):
        read_lock(tmp_path / "lock.toml")
