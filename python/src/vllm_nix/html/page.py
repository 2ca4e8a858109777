"""One page in one file: no other file, no network, and nothing that others wrote is markup.

The page's policy (Content-Security-Policy) lets run what stands in this folder alone, known by its
hash. Without scripts all is there but the buttons that copy.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from vllm_nix.text import printable
from vllm_nix.version import __version__

HERE = Path(__file__).parent


def text(value: object) -> str:
    """What others wrote, as HTML that shows it; what stands in `backticks` as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", plain(value))


def plain(value: object) -> str:
    """The same without code: for names, and for attributes in double quotes."""
    return escape(printable(value))


def path(value: object) -> str:
    """A path that a browser may break after each slash."""
    return plain(value).replace("/", "/<wbr>")


def short(path: Path) -> str:
    """A file's name, without the hash of a store path."""
    return re.sub("^[0-9a-z]{32}-(?=.)", "", path.name) or str(path)


def page(title: str, body: Iterable[str]) -> str:
    """The document; its body is HTML."""
    style, script = _part("style.css"), _part("copy.js")
    return Template(_part("page.html")).substitute(
        title=plain(title),
        version=__version__,
        body="\n".join(body),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def facts(rows: Mapping[str, str]) -> str:
    """A list of names, and of HTML for each."""
    items = (f"<div><dt>{plain(name)}</dt><dd>{html}</dd></div>" for name, html in rows.items())
    return f'<dl class="facts">{"".join(items)}</dl>'


def copied(value: object) -> str:
    """A line to copy: a click selects the whole of it, and the script adds a button."""
    return f'<p class="copy"><span>{text(value)}</span></p>'


@cache
def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
