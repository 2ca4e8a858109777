"""The pages of `archs --html` and `verify --html`: what they say, for whom, and that nothing gets in."""

import argparse
import os
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from made_binaries import CUBIN, Part, cubin, elf_file, entry, fatbin_of

from pages.browser import SCHEMES, WIDTHS, look
from vllm_nix.cli import archs as archs_command
from vllm_nix.errors import InputError
from vllm_nix.gpu.compat import Verdict
from vllm_nix.gpu.device import device
from vllm_nix.gpu.libraries import Library, read_library
from vllm_nix.gpu.matrix import default_devices, of_libraries
from vllm_nix.html.archs import archs_page
from vllm_nix.html.verify import verify_page
from vllm_nix.paths import write_whole
from vllm_nix.verification import Finding, Report, Result, Status

EVIL = (
    "<script>window.injected=1</script><img src=x onerror='window.injected=2'>"
    '"><b onmouseover=x>\x1b[31m\u202e\udcff&amp;`<i>`'
)


def library(path: Path, *capabilities: int) -> Library:
    code = fatbin_of(*(entry(CUBIN, one, cubin(one, "add")) for one in capabilities))
    path.write_bytes(elf_file(Part(".nv_fatbin", code)))
    return read_library(path)


def libraries(folder: Path) -> list[tuple[str, Library]]:
    return [
        ("torch/lib/libtorch_cuda.so", library(folder / "libtorch_cuda.so", 80, 90, 100, 120)),
        (EVIL, library(folder / "evil.so", 90)),
    ]


def archs(folder: Path) -> str:
    found = libraries(folder)
    damaged = Library(Path(EVIL), (), (EVIL,))
    return archs_page(of_libraries(found, default_devices("13.0")), [Path(EVIL)], [damaged])


def verification(folder: Path) -> str:
    found = libraries(folder)
    bad = [
        Finding(Status.FAILED, f"fault {n} {EVIL}", EVIL, EVIL, f"fix {n} {EVIL}") for n in "123"
    ]
    results = (
        Result("record", "All files are as recorded", (*bad, Finding(Status.OK, "x")), 1.5),
        Result("token", EVIL, (Finding(Status.WARNING, "hm", fix="run `vllm-nix fetch`"),), 0.2),
        Result("gpu-code", "Code", (Finding(Status.OK, EVIL),), 0.1),
        Result("manifest", "Manifest", (), 0, EVIL),
        Result("live", "Live", (), 0, "no GPU", harmless=False),
    )
    gpus = (device("orin", jetpack="7.2"), device("8.6", "13.0"))
    return verify_page(
        Report(
            environment=Path("/nix/store/00000000000000000000000000000000-vllm") / EVIL,
            target="cuda",
            nix=False,
            started=True,
            results=results,
            seconds=3.2,
            devices=tuple(map(str, gpus)),
            gpus=gpus,
            gpu_code=lambda: found,
        )
    )


class Document(HTMLParser):
    """A page's elements, as (tag, attributes, how many are open), and the text of each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[int] = []
        self.feed(page)
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in ("meta", "wbr", "br"):
            self.open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag, "elements are nested"

    def handle_data(self, data: str) -> None:
        for index in self.open:
            self.texts[index] += data

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, text)
            for (name, attributes), text in zip(self.elements, self.texts, strict=True)
            if name == tag and wanted.items() <= attributes.items()
        ]


@pytest.fixture(params=[archs, verification], ids=["archs", "verify"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    made: str = request.param(tmp_path)
    return made


def test_a_page_for_all(page: str) -> None:
    document = Document(page)
    assert document.all("html", lang="en")
    assert all(text.strip() for _, text in (*document.all("title"), *document.all("h1")))
    assert len(document.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tables, captions = document.all("table"), document.all("caption")
    assert len(tables) == len(captions) > 0
    heads = document.all("th")
    assert {attributes["scope"] for attributes, _ in heads} == {"col", "row"}
    for tag, role in (("tr", "row"), ("td", "cell"), ("tbody", "rowgroup"), ("table", "table")):
        assert len(document.all(tag, role=role)) == len(document.all(tag)) > 0
    assert len(document.all("main")) == 1


def test_the_verdict_is_first(page: str) -> None:
    places = [page.index(part) for part in ("<h1>", 'class="verdict', "<h2>", 'class="legend"')]
    assert places == sorted(places)


def test_not_by_colour_alone(page: str) -> None:
    document = Document(page)
    cells = [(a, text) for a, text in document.all("td") if "data-device" in a]
    assert cells
    for attributes, text in cells:
        verdict = str(attributes["class"])
        word = "not for it" if verdict == Verdict.NOT_APPLICABLE else verdict
        assert text.count(word) >= 1, "the word in the cell"
        assert f"{attributes['data-device']}: {verdict}. " in text, "and the reason, once opened"
        assert re.search("[0-9]+ of [0-9]+", text)
    assert {str(attributes["class"]) for attributes, _ in cells} <= {*Verdict}
    meanings = " ".join(text for _, text in document.all("dt"))
    assert all(one.replace("not-applicable", "not for it") in meanings for one in Verdict)


def test_nothing_is_loaded_and_nothing_gets_in(page: str) -> None:
    document = Document(page)
    tags = {tag for tag, _ in document.elements}
    assert not tags & {"img", "link", "iframe", "object", "form", "base", "b", "i", "a"}
    assert len(document.all("script")) == len(document.all("style")) == 1
    for _, attributes in document.elements:
        assert not {"src", "href", "style"} & {*attributes}
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = document.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert re.fullmatch(
        "default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'",
        str(policy[0]["content"]),
    )
    for char in "\x1b\u202e\udcff":
        assert char not in page
    assert "&lt;script&gt;window.injected=1" in page
    page.encode("utf-8")


def test_what_to_do_can_be_copied(tmp_path: Path) -> None:
    copied = [text for _, text in Document(archs(tmp_path)).all("p", **{"class": "copy"})]
    assert "build it with TORCH_CUDA_ARCH_LIST=8.7, or find a wheel that was" in copied
    copied = [text for _, text in Document(verification(tmp_path)).all("p", **{"class": "copy"})]
    assert [text.split(" <")[0] for text in copied[:3]] == ["fix 1", "fix 2", "fix 3"]
    assert "run <code>vllm-nix fetch</code>" in verification(tmp_path)


def test_the_words_of_verify(tmp_path: Path) -> None:
    text = verification(tmp_path)
    assert "✗ Does not work: 1 check failed; 1 check could not be done here." in text
    assert "00000000000000000000000000000000-vllm" in text, "the path is there in full"
    assert "1 failed, 1 warning, 2 skipped, 1 ok" in text


@pytest.mark.parametrize(
    ("capabilities", "devices", "sentence"),
    [
        ((80,), ("8.6",), "8.6: all its code is there."),
        ((86,), ("8.0",), "8.0: 1 library lacks code that it needs."),
        ((80,), ("8.6", "8.9"), "All 2 devices have the code that they need."),
        ((80,), ("9.0", "12.0"), "None of 2 devices has all the code that it needs."),
        (
            (80,),
            ("8.6", "9.0"),
            "1 of 2 devices have all the code that they need: 8.6. Not so 9.0.",
        ),
        ((), ("8.6",), "There is no GPU code."),
    ],
)
def test_the_words_of_archs(
    tmp_path: Path, capabilities: tuple[int, ...], devices: tuple[str, ...], sentence: str
) -> None:
    read = [("libtorch_cuda.so", library(tmp_path / "libtorch_cuda.so", *capabilities))]
    matrix = of_libraries(read if capabilities else [], [device(one) for one in devices])
    assert sentence in archs_page(matrix, [tmp_path], [])


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    archs_command.arguments(parser)
    return archs_command.run(parser.parse_args(list(map(str, arguments))))


def test_the_file_is_whole_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, file = tmp_path / "libtorch_cuda.so", tmp_path / "report.html"
    library(code, 86)
    file.write_text("before")
    assert run(code, "--for", "8.6", "--html", file) == 0
    assert file.read_text().startswith("<!doctype html>")
    assert "native" in capsys.readouterr().out
    assert {one.name for one in tmp_path.iterdir()} == {code.name, file.name}

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"--html .*report\.html: No space left on device"):
        write_whole("--html", file, b"half")
    assert file.read_text().startswith("<!doctype html>")
    assert {one.name for one in tmp_path.iterdir()} == {code.name, file.name}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("/", "this is a folder; give a file"),
        ("gone/report.html", "there is no folder gone"),
        ("/proc/report.html", "No such file or directory; give another file"),
        (f"{'x' * 255}", "File name too long; give another file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(
    file: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=reason):
        run(tmp_path / "gone.so", "--html", file)


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    code, pipe = tmp_path / "libtorch_cuda.so", tmp_path / "pipe"
    library(code, 86)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert run(code, "--for", "8.6", "--html", pipe) == 0
    assert os.read(reader, 15) == b"<!doctype html>"
    os.close(reader)
    assert pipe.is_fifo()


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no browser: apt-get install chromium")
    return found


@pytest.mark.slow
def test_in_a_browser(browser: str, tmp_path: Path) -> None:
    pages = {"archs": archs(tmp_path), "verify": verification(tmp_path)}
    seen = look(browser, pages, tmp_path)
    for name, page in pages.items():
        for width in WIDTHS:
            backgrounds = set()
            for scheme in SCHEMES:
                one = seen[f"{name} {width} {scheme}"]
                assert one.width <= width, "nothing to scroll sideways"
                assert one.opened <= width, "nor with all cells open"
                assert one.contrast[0] >= 4.5, one.contrast
                assert one.narrowest > 300, "no column of single letters"
                assert one.texts > 50
                assert one.loaded == []
                assert one.alerts is None, "nothing that others wrote runs"
                assert one.buttons or "copy" not in page
                backgrounds.add(one.background)
            assert len(backgrounds) == len(SCHEMES)
        still = seen[f"{name} still"]
        scripted = seen[f"{name} 360 light"]
        assert still.buttons == 0
        assert scripted.text.replace("\nCopy", "").split() == still.text.split()
