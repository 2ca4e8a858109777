"""Completion offers what the parser takes: the shells themselves are asked, where they are."""

import argparse
import os
import pty
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vllm_nix import cli
from vllm_nix.cli.shells import SHELLS, commands, script
from vllm_nix.gpu.device import device_names
from vllm_nix.targets import target_names
from vllm_nix.verification import CHECKS


def complete(line: str) -> list[str]:
    """What bash offers at the end of `line`."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    program = "\n".join(
        (
            script("bash", cli.parser()),
            f"COMP_WORDS=({' '.join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}",
            'COMPREPLY=(); _vllm_nix; printf "%s\\n" "${COMPREPLY[@]}"',
        )
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_commands() -> None:
    assert complete("vllm-nix ver") == ["verify"]
    assert set(cli.COMMANDS) <= set(complete("vllm-nix "))


def test_options_and_files() -> None:
    assert {"--junit", "--for"} <= set(complete("vllm-nix verify --"))
    assert complete("vllm-nix verify ") == [], "then bash itself offers files"


def test_values() -> None:
    assert complete("vllm-nix verify --only gpu") == ["gpu-code"]
    assert complete("vllm-nix verify --skip ") == [check.id for check in CHECKS]
    assert complete("vllm-nix verify ./result --target ") == list(target_names())
    assert complete("vllm-nix params --format ") == ["table", "json", "env"]
    assert complete("vllm-nix archs --for ori") == ["orin", "orin-nano", "orin-nx"]
    assert complete("vllm-nix serve cpu chat --task ") == ["embed", "generate", "rerank"]
    assert complete("vllm-nix completion ") == list(SHELLS)


def test_words_in_their_places() -> None:
    """A profile comes after its target; what a command takes many of comes on and on."""
    assert complete("vllm-nix serve ") == list(target_names())
    assert complete("vllm-nix serve cpu ") == ["chat", "embedding", "reranker", "speculative"]
    assert complete("vllm-nix serve neuron ") == ["chat"]
    assert complete("vllm-nix serve --print cpu rer") == ["reranker"]
    assert complete("vllm-nix serve --port 80 cpu cha") == ["chat"]
    assert complete("vllm-nix serve cpu chat ") == []
    assert complete("vllm-nix fetch cpu debian-cuda1") == [
        "debian-cuda12",
        "debian-cuda12-libraries",
    ]
    assert complete("vllm-nix verify --only record elf im") == ["imports"]


def test_options_after_words() -> None:
    assert complete("vllm-nix fetch cpu --li") == ["--list"]
    assert complete("vllm-nix serve cpu chat --pri") == ["--print"]
    assert complete("vllm-nix verify --only record --js") == ["--json"]
    assert complete("vllm-nix serve cpu chat -- --mo") == [], "these are vLLM's"


@pytest.mark.parametrize("words", ["--for = ori", "--for=ori"])
def test_a_value_behind_an_equals_sign(words: str) -> None:
    """bash takes it for three words; where COMP_WORDBREAKS has no `=`, and in zsh, it is one."""
    given = "--for=" if "--for=" in words else ""
    expected = [f"{given}{name}" for name in ("orin", "orin-nano", "orin-nx")]
    assert complete(f"vllm-nix archs . {words}") == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_and_device_is_in_every_script(shell: str) -> None:
    text = script(shell, cli.parser())
    for command in commands(cli.parser()):
        for option in command.options:
            assert all(name.lstrip("-") in text for name in option.names)
    assert all(name in text for name in device_names())


def test_fish_itself() -> None:
    if not shutil.which("fish"):
        pytest.skip("needs fish: apt-get install fish")

    def offered(line: str) -> list[str]:
        command = f"{script('fish', cli.parser())}\ncomplete -C {shlex.quote(line)}"
        done = subprocess.run(
            ["fish", "-N", "-c", command], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [word.partition("\t")[0] for word in done.stdout.splitlines()]

    assert offered("vllm-nix ver") == ["verify"]
    assert offered("vllm-nix verify --only gpu") == ["gpu-code"]
    # fish puts 0_7 before 0_24
    assert sorted(offered("vllm-nix verify . --target ")) == sorted(target_names())
    assert offered("vllm-nix archs --for ori") == ["orin", "orin-nano", "orin-nx"]
    assert offered("vllm-nix verify --js") == ["--json"]
    assert offered("vllm-nix fetch cpu --li") == ["--list"]
    assert sorted(offered("vllm-nix serve neur")) == ["neuron", "neuron_0_24", "neuron_0_7"]
    assert offered("vllm-nix serve cpu ") == ["chat", "embedding", "reranker", "speculative"]


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("vllm-nix ver", "vllm-nix verify"),
        ("vllm-nix verify --only gpu", "vllm-nix verify --only gpu-code"),
        ("vllm-nix archs --for orin-na", "vllm-nix archs --for orin-nano"),
        ("vllm-nix archs --for=orin-na", "vllm-nix archs --for=orin-nano"),
        ("vllm-nix serve cpu rer", "vllm-nix serve cpu reranker"),
    ],
)
@pytest.mark.parametrize("installed", [False, True], ids=["evaluated", "installed"])
def test_zsh_itself(tmp_path: Path, line: str, completed: str, installed: bool) -> None:
    """On a terminal, as zsh completes nowhere else: what it makes of the line after a tab."""
    if not shutil.which("zsh"):
        pytest.skip("needs zsh: apt-get install zsh")
    ours = script("zsh", cli.parser())
    if installed:  # as the package does
        (tmp_path / "_vllm-nix").write_text(ours)
        ours = ""
    result = tmp_path / "line"
    report = (
        f'report() {{ print -r -- "$BUFFER" > {result}; exit }}; zle -N report; bindkey "^T" report'
    )
    start = f"fpath=({tmp_path} $fpath)\nautoload -U compinit && compinit -u\n{ours}\n{report}\n"
    (tmp_path / ".zshrc").write_text(f"PS1='ready> '\n{start}print at the prompt\n")
    process, terminal = pty.fork()
    if process == 0:
        os.environ |= {"ZDOTDIR": str(tmp_path), "TERM": "dumb"}
        os.execlp("timeout", "timeout", "--foreground", "30", "zsh", "-i")
    seen = b""
    while b"ready> " not in seen:
        seen += os.read(terminal, 1024)
    os.write(terminal, f"{line}\t\x14".encode())
    os.waitpid(process, 0)
    os.close(terminal)
    assert result.read_text().rstrip() == completed


def test_quoting() -> None:
    parser = argparse.ArgumentParser(prog="it")
    sub = parser.add_subparsers().add_parser("go", description="it's $HOME `id` \\")
    sub.add_argument("--mode", choices=["a;b", "$(id)"], help="50%% 'more'")
    assert "'a;b $(id)'" in script("bash", parser)
    fish = script("fish", parser)
    assert "-d 'it\\'s $HOME `id` \\\\'" in fish
    assert "-d '50% \\'more\\''" in fish
