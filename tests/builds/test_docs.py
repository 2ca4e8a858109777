"""The documents as a site: every link leads somewhere, and nothing is loaded from elsewhere."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import vllm_nix
from tests.conftest import EMBEDDED, Nix

pytestmark = pytest.mark.nix


@dataclass
class Page(HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if "src" in attributes:
            self.loads.append(attributes["src"])
        if tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(attributes["href"])


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


@pytest.fixture(scope="module")
def site(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    link = tmp_path_factory.mktemp("build") / "result"
    nix("nix", "build", ".#docs", "--out-link", str(link), *EMBEDDED)
    return link.resolve()


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: read(path) for path in site.rglob("*.html")}
    assert len(pages) > 15
    counted = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("http", "https", "mailto"), link
                assert parts.scheme == "mailto" or parts.hostname, link
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert place.is_file(), f"{path.name}: {link}"
            if parts.fragment and place.suffix == ".html":
                assert unquote(parts.fragment) in pages[place].anchors, f"{path.name}: {link}"
            counted += 1
    assert counted > 500


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        for load in read(path).loads:
            parts = urlsplit(load)
            assert not parts.netloc, load
            assert parts.scheme in ("", "data"), load
            assert not parts.path or parts.scheme or (path.parent / parts.path).is_file(), load


def test_search_needs_no_server(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    assert "jetpack" in index


def test_the_interface_is_from_the_docstrings(site: Path) -> None:
    anchors = read(site / "reference.html").anchors
    functions = {name for name in vllm_nix.__all__ if name != "__version__"}
    assert {f"vllm_nix.{name}" for name in functions} <= anchors


def test_the_order_is_a_readers(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    captions = ("Getting started", "By hardware", "Verify", "Serve", "Development")
    places = [text.index(f'<span class="caption-text">{caption}') for caption in captions]
    assert places == sorted(places)


def test_wheels_by_library_is_part_of_it(site: Path) -> None:
    assert "wheels-by-library.html" in read(site / "wheels.html").links
