"""Documents say what is so: pages written by programs, links, commands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_nix import cli
from vllm_nix.fetching.sources import set_names

ROOT = Path(__file__).parents[2]


def printed(program: str) -> str:
    """What Python prints in the repository, where `docs` can be imported."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documents are in the repository only")
def test_the_public_wheels() -> None:
    """The pages are what the recorded scan gives; `make docs` writes them anew."""
    program = "import json; from docs.wheels import SCAN, html, markdown; "
    program += "wheels = json.loads(SCAN.read_text()); print(markdown(wheels), html(wheels), sep='', end='')"
    text = printed(program)
    pages = [ROOT / "docs/wheels.md", ROOT / "docs/wheels-by-library.html"]
    assert "".join(page.read_text(encoding="utf-8") for page in pages) == text


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documents are in the repository only")
def test_the_checks_of_verify() -> None:
    """The table has every check with its title; `python -m docs.verify_table` writes it anew."""
    program = "from docs.verify_table import PAGE, page; print(page(PAGE.read_text()), end='')"
    text = printed(program)
    assert (ROOT / "docs/verify.md").read_text(encoding="utf-8") == text
    assert text.count("\n| `") >= 29


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documents are in the repository only")
def test_the_picture_of_the_demo() -> None:
    """It shows the recording, and loads nothing; `python -m docs.recording` draws it anew."""
    program = "from docs.recording import RECORDING, picture; print(picture(RECORDING.read_text()), end='')"
    text = printed(program)
    assert (ROOT / "docs/demo.svg").read_text(encoding="utf-8") == text
    assert "The&#160;capital&#160;of&#160;France&#160;is&#160;Paris." in text
    assert not re.search(r"https?://(?!www\.w3\.org/)|<script|href", text)


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documents are in the repository only")
def test_every_page_has_its_place_in_the_site() -> None:
    """docs/index.md lists them in a reader's order; the site's build refuses a page that it lacks."""
    lists = re.findall(r"```{toctree}\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL)
    lines = [line for one in lists for line in one.splitlines() if line and line[0] != ":"]
    listed = [line.partition("<")[2].rstrip(">") or line for line in lines]
    assert sorted([*listed, "index"]) == sorted(page.stem for page in (ROOT / "docs").glob("*.md"))


PAGES = [page for place in (".", "docs", "nix/debian") for page in ROOT.glob(f"{place}/*.md")]


def anchors(page: Path) -> set[str]:
    """What links can name: the headings, as GitHub turns them into anchors."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if not file.startswith("https://"):
            place = page.parent / file if file else page
            assert place.exists(), link
            assert not anchor or anchor in anchors(place), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_printed_commands_are_taken(page: Path) -> None:
    """Each indented line that starts `vllm-nix` is a command that the parser takes as it stands."""
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^    (?:\$ )?(?:\.venv/bin/)?vllm-nix (.*)$", text, re.MULTILINE):
        words = shlex.split(re.split(r" && | \| | >", line)[0], comments=True)
        args = cli._parse(words)
        named = [getattr(args, "target", None), *getattr(args, "sets", ())]
        assert {name for name in named if name} <= {*set_names()}, line
