"""Text to print. That of others is made safe: file names, messages of programs, metadata."""

import os
import sys
from _collections_abc import Sequence

_NARROWEST = 20  # columns of a row's text


def printable(text: object, keep: str = "") -> str:
    r"""`text` as one line in which every character shows as itself.

    What could act on a terminal, or pretend to be a line of ours, becomes an escape: control
    characters and newlines (``\n``), marks of writing direction, bytes that are no text (``\xff``).
    Characters in `keep` stay; a newline there is for text that is meant to have lines.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(char if char in keep or char.isprintable() else _escaped(char) for char in line)


def quoted(*words: str) -> str:
    r"""Words for a shell; one that does not print as itself in escapes (``$'\033'``), which bash, zsh and
    POSIX since 2024 take."""
    from shlex import quote

    return " ".join(
        quote(word) if word.isprintable() else f"$'{''.join(map(_shell_escape, word))}'"
        for word in words
    )


def unicode(name: object) -> str:
    r"""A file's name as it is, for JSON; but a byte that is no text becomes an escape (``\xff``)."""
    return "".join(_escaped(c) if "\ud800" <= c <= "\udfff" else c for c in str(name))


def counted(number: int, noun: str) -> str:
    """As in "1 file" and "2 files"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def some(texts: Sequence[str], most: int) -> str:
    """The first of them, and how many more there are: "a, b and 3 more"."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def columns() -> int:
    """Those of the terminal, as shutil.get_terminal_size has them: it imports all compressors first."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:  # no terminal
        return 80


def has_colours() -> bool:
    """Whether standard output is a terminal that shows them, to somebody who wants them (no-color.org)."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    return sys.stdout.isatty() and not is_plain


def print_row(head: str, text: str) -> None:
    """A row of a table. What a terminal has no room for goes on below the text; for programs, a row is a line."""
    head, text = printable(head), printable(text)
    is_for_people = sys.stdout.isatty() or os.environ.get("COLUMNS")
    if not is_for_people or len(head) + len(text) <= columns():
        print(head + text)
        return
    from textwrap import wrap

    width = max(_NARROWEST, columns() - len(head))
    for line in wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]:
        print(head + line)
        head = " " * len(head)


def _shell_escape(char: str) -> str:
    if char.isprintable():
        return f"\\{char}" if char in "'\\" else char
    # As in `_escaped`; other halves of pairs are no text at all.
    is_byte = "\udc80" <= char <= "\udcff"
    data = char.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in data)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that it cannot decode (PEP 383)
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
