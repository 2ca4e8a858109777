"""Completion offers what the parser takes. bash is asked itself; the others' scripts are read."""

import argparse
import shlex
import shutil
import subprocess

import pytest

from vllm_nix import cli
from vllm_nix.completion import SHELLS, commands, script
from vllm_nix.devices import table
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
    assert complete("vllm-nix archs --for or") == ["orin"]
    assert complete("vllm-nix completion ") == list(SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_and_device_is_in_every_script(shell: str) -> None:
    text = script(shell, cli.parser())
    for command in commands(cli.parser()):
        for option in command.options:
            assert all(name.lstrip("-") in text for name in option.names)
    assert all(name in text for name in table()["devices"])


def test_quoting() -> None:
    parser = argparse.ArgumentParser(prog="it")
    sub = parser.add_subparsers().add_parser("go", help="it's $HOME `id` \\")
    sub.add_argument("--mode", choices=["a;b", "$(id)"], help="50%% 'more'")
    assert "'a;b $(id)'" in script("bash", parser)
    fish = script("fish", parser)
    assert "-d 'it\\'s $HOME `id` \\\\'" in fish
    assert "-d '50% \\'more\\''" in fish
