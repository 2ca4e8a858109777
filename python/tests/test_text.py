import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_nix.text import printable, quoted, unicode


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vllm 0.33.0 ± é 日本", "vllm 0.33.0 ± é 日本"),
        ("\x1b[2J\x9b31m", r"\x1b[2J\x9b31m"),
        ("one\nok   two\r\ttab", r"one\nok   two\r\ttab"),
        ("pip\u202eexe.\u2066txt\u200b", r"pip\u202eexe.\u2066txt\u200b"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("half \ud800", r"half \ud800"),
        (os.fsdecode(b"name\xff"), r"name\xff"),
        (ValueError("two\nlines"), r"two\nlines"),
    ],
)
def test_what_does_not_print_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_in_json_is_the_files_own() -> None:
    assert unicode("\u202e\n \x1b") == "\u202e\n \x1b"
    assert unicode(os.fsdecode(b"name\xff")) == r"name\xff"
    assert unicode("half \ud800").encode() == rb"half \ud800"


def test_lines_may_be_kept() -> None:
    assert printable("one\ntwo\x1b\r\n", keep="\n") == "one\ntwo\\x1b\\r\n"


@given(st.text(st.characters(codec=None), max_size=50))
def test_any_text_becomes_one_line_that_can_be_written(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert len(line.encode().splitlines()) <= 1
    assert printable(line) == line


@given(st.text(st.characters(codec=None)))
def test_what_a_shell_reads_is_one_printable_line(word: str) -> None:
    assert quoted(word).isprintable()


@pytest.mark.parametrize(
    "word",
    ["", "a b", "it's", "\x1b]0;\x07 it's \\n", "one\ntwo", "\u202e$(id)", os.fsdecode(b"\xff1'")],
)
def test_a_shell_reads_the_word_that_was_quoted(word: str) -> None:
    line = f"printf %s {quoted(word)}"
    assert line.isprintable()
    shown = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert shown == os.fsencode(word)
