"""Every command that README.md and docs show: run here, or in the test that commands.toml names, or said to want more.

What Nix is to build is in the flake in any case. python/tests/test_docs.py parses our own command's arguments.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, OPTIONS, ROOT, Nix

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
TABLES = tomllib.loads((ROOT / "tests/commands.toml").read_text(encoding="utf-8"))
KINDS = ("first", "run", "tested", "elsewhere")
# What a line of a document's code begins with where it is a command; else it is output, or a file's lines.
PROGRAMS = re.compile(
    r"(?:\(umask |(?:[A-Z_]+=\S* )*(?:\S*/)?"
    r"(?:all_reduce_perf|apt-get|cp|curl|docker|git|kubectl|make|nix(?:-[a-z]+)?|nginx|pip|podman|pytest|python(?:3[.0-9]*)?"
    r"|ray|sh|sha256sum|skopeo|ssh|sudo|systemd-analyze|umoci|vllm|vllm-nix|xdg-open) )\S"
)


def blocks(text: str) -> Iterator[list[str]]:
    """The lines of each block of code, indented or fenced."""
    lines: list[str] = []
    fence = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("```"):
            if fence and not fence.startswith("{"):  # not one of Sphinx's directives
                yield lines
            fence, lines = "" if fence else line[3:] or "text", []
        elif fence or line.startswith("    "):
            lines.append(line.removeprefix("    "))
        elif lines:
            yield lines
            lines = []


def commands(text: str) -> Iterator[str]:
    """The commands in blocks of code, each with the lines that it goes on in, without comments."""
    for lines in blocks(text):
        words = ""
        for line in lines:
            line = line.removeprefix("$ ")
            if not words and not PROGRAMS.match(line):
                continue
            words += ("\n" if words else "") + line
            try:
                shlex.split(words, comments=True)
            except ValueError:  # a quotation that has not ended
                continue
            if words.endswith("\\"):
                continue
            yield re.sub(r"\s+#\s.*$", "", words).replace("\\\n", "").strip()
            words = ""
        assert not words, f"has no end: {words}"


FOUND = {
    command: path.relative_to(ROOT)
    for path in DOCUMENTS
    for command in commands(path.read_text(encoding="utf-8"))
}
FILED = {command: kind for kind in KINDS for command in TABLES[kind]}


def test_what_a_command_is() -> None:
    text = """
A text with `vllm-nix`:

    vllm-nix verify x    # words
    ok  record
    nix-build -E 'with import ./x;
      y'
    $ A=1 make test

```nix
makes = 1;
```
"""
    assert list(commands(text)) == [
        "vllm-nix verify x",
        "nix-build -E 'with import ./x;\n  y'",
        "A=1 make test",
    ]


def test_every_command_is_filed() -> None:
    assert {c: str(p) for c, p in FOUND.items() if c not in FILED} == {}, "add it to commands.toml"
    assert set(FILED) - set(FOUND) == set(), "no document has it any more"
    assert sum(len(TABLES[kind]) for kind in KINDS) == len(FILED)


def test_tests_that_run_commands_are_there() -> None:
    for command, test in TABLES["tested"].items():
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), command
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), command


@pytest.mark.nix
def test_what_nix_builds_is_in_the_flake(nix: Nix) -> None:
    names = {
        (verb, name)
        for command in FOUND
        for verb, name in re.findall(r"\bnix (build|run|develop)\b.*?\.#(\S+)", command)
    }
    assert len(names) > 10
    get = "builtins.foldl' (set: name: set.${name} or { }) (systems.${system} or { }) path"
    for output in ("packages", "devShells"):
        paths = [
            name.split(".")[2 * name.startswith("packages.") :]
            for verb, name in sorted(names)
            if (verb == "develop") == (output == "devShells")
        ]
        absent = f"""
          systems: builtins.filter (
            path: builtins.all (system: {get} == {{ }}) [ "x86_64-linux" "aarch64-linux" ]
          ) (builtins.fromJSON {json.dumps(json.dumps(paths))})
        """
        result = nix("nix", "eval", "--json", *EMBEDDED, f".#{output}", "--apply", absent)
        assert json.loads(result.stdout) == [], output


@pytest.fixture(scope="module")
def place(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with what its readers have by then, in whose `home` their own files are."""
    place = tmp_path_factory.mktemp("reader")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, names.stdout.decode().split("\0")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name, follow_symlinks=False)
    (place / "result").symlink_to(environment.resolve())
    home = place / "home"
    for name in ("venv", "unknown"):
        venv.create(home / name, with_pip=name == "venv", symlinks=True)
    (home / "models/mine").mkdir(parents=True)
    for command in TABLES["first"]:
        result = run(command, place)
        assert result.returncode == 0, result.stdout + result.stderr
    return place


def run(command: str, place: Path) -> subprocess.CompletedProcess[str]:
    """A command, as a user of the environment in `home` runs it."""
    if re.search(r"\bnix (build|develop|eval)", command) and "--override-input" not in command:
        command = re.sub(r"\.#\S+", rf"\g<0> {shlex.join(EMBEDDED)}", command)
    home = place / "home"
    variables = {
        "HOME": str(home),
        "PATH": f"{home}/venv/bin:{os.environ['PATH']}",
        "NIX_CONFIG": "".join(f"{name} = {value}\n" for name, value in OPTIONS.items()),
    }
    return subprocess.run(
        ["bash", "-euc", command],
        cwd=place,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.mark.nix
@pytest.mark.parametrize("command", TABLES["run"])
def test_what_is_shown_does_what_it_says(command: str, place: Path) -> None:
    result = run(command, place)
    assert result.returncode == TABLES["run"][command], result.stdout + result.stderr
    assert "Traceback" not in result.stderr
