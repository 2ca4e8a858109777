"""What clients say, and files that others give, may be anything: an error of ours, in linear time."""

import json
import time
from pathlib import Path

import pytest
from debs import make_deb
from hypothesis import given
from hypothesis import strategies as st
from registry import make_wheel, source

from vllm_nix.errors import Error, InputError
from vllm_nix.fetching import apt, pip
from vllm_nix.fetching.cache import find_given
from vllm_nix.fetching.sources import WheelSource
from vllm_nix.locks.registry import parse_configuration, uv_environment, uv_options
from vllm_nix.locks.resolve import _reason as uv_reason
from vllm_nix.text import printable

WHEEL = WheelSource(
    file="one-1.0-py3-none-any.whl", sha256="0" * 64, name="one", version="1.0", python="3.11"
)
# Pieces of what the patterns look for.
PIECES = st.sampled_from(
    [
        *("one==1.0", "==", " from ", "Expected sha256 ", "Got ", "0" * 64, "\n", " ", "\x1b[2J"),
        *("ERROR: ", "host='", "'", "NameResolutionError", "No matching distribution found for "),
        *("No space left on device", "E: Failed to fetch ", "- SHA256:", "Hash Sum mismatch"),
        *("has no wheels", " has no usable wheels", "Wheels are required for `", "`", "{", "}"),
        *("error: ", " hint: ", "\ud800", "\u2028", "timed out"),
    ]
)
TEXT = st.lists(PIECES | st.text(max_size=20), max_size=30).map("".join)


def explained(text: str) -> list[Error]:
    folder = Path("/folder")
    return [
        pip._explain(text, "exit status 1", [WHEEL], folder),
        apt._explain(text, "exit status 100", folder, "https://mirror.example"),
        Error(uv_reason(text)),
    ]


@given(TEXT)
def test_whatever_a_client_says_is_explained(text: str) -> None:
    for error in explained(text):
        assert isinstance(error, Error)
        assert printable(error).isprintable()


@pytest.mark.parametrize("piece", [*"a=.{`'- ", "a==", "==a ", "a from ", "host='", "Got ", "\n"])
def test_in_linear_time(piece: str) -> None:
    text = piece * ((1 << 16) // len(piece))
    started = time.process_time()
    explained(text)
    explained(f"E: Failed to fetch {text}")
    explained(f"No matching distribution found for {text}")
    assert time.process_time() - started < 1


def test_the_hash_that_pip_was_served() -> None:
    text = f"""\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    one==1.0 from https://index.example/one-1.0-py3-none-any.whl#sha256=00 (from -r a.txt (line 1)):
        Expected sha256 {"0" * 64}
             Got        {"1" * 64}
"""
    error = pip._explain(text, "exit status 1", [WHEEL], Path("/folder"))
    assert f"a wrong {WHEEL.file}: sha256 {'1' * 64} instead of {'0' * 64}" in str(error)


@pytest.mark.parametrize(
    ("name", "version"),
    [("one\n--index-url=x", "1"), ("one", "1\n-e ."), ("one[x]", "1"), ("-e", "1"), ("one", "")],
)
def test_a_requirement_is_one_package_of_one_version(name: str, version: str) -> None:
    wheel = WheelSource(file="x.whl", sha256="0" * 64, name=name, version=version, python="3.11")
    with pytest.raises(InputError, match=r"x\.whl: "):
        pip._requirement(wheel)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["global", "download", ":env:", "install", ""]),
            st.sampled_from(["index-url", "find-links", "no-index", "cert"]) | st.text(max_size=5),
            st.text(max_size=20).map(repr) | st.text(max_size=20) | st.just("[" * 300),
        ),
        max_size=5,
    )
)
def test_any_configuration_is_read_or_refused(rows: list[tuple[str, str, str]]) -> None:
    listing = "\n".join(f"{section}.{key}={value}" for section, key, value in rows)
    try:
        configuration = parse_configuration(listing)
    except Error as error:
        assert "pip" in str(error)
    else:
        uv_options(configuration)
        uv_environment(configuration)


@given(data=st.data())
def test_any_package_is_read_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("deb")
    deb = folder / make_deb(folder, "tool_1_amd64.deb", b"odd" * 100).pool_path
    content = bytearray(deb.read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    deb.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert apt.read_member(deb, "./bin/tool")
    except Error as error:
        assert str(deb) in str(error)


def test_what_is_given_may_be_of_any_kind(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "a", "one", "1.0")
    wanted = source(wheel)
    given = tmp_path / "given"
    (given / "a" / wheel.name).mkdir(parents=True)
    for name in ("loop", "gone"):
        (given / name).mkdir()
        (given / name / wheel.name).symlink_to(wheel.name if name == "loop" else "nowhere")
    (given / "up").symlink_to(given)
    (given / json.dumps("\x1b\n")).touch()
    (given / "\udcff").touch()
    assert find_given([wanted], given) == ({}, [wanted])
    wheel.rename(given / "loop" / "real").replace(given / wheel.name)
    assert find_given([wanted], given)[0] == {wanted: given / wheel.name}
