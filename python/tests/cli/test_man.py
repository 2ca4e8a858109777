import re
import shutil
import subprocess

import pytest

from vllm_nix import __version__, cli
from vllm_nix.cli import man
from vllm_nix.cli.shells import commands


def test_every_command_and_option_is_in_it() -> None:
    page = man.page().replace("\\-", "-")
    assert page.startswith(f'.TH VLLM-NIX 1 "" "vllm-nix {__version__}"')
    for command in commands(cli.parser()):
        assert f"\n.B {command.name}\n{command.help}\n" in page
        for option in command.options:
            assert all(name == "-h" or name in page for name in option.names)


def test_no_line_of_text_is_a_request() -> None:
    requests = {line.split()[0] for line in man.page().splitlines() if re.match(r"[.']", line)}
    assert requests == {".TH", ".SH", ".SS", ".TP", ".B", ".RS", ".RE", ".PP", ".nf", ".fi"}


def test_groff_reads_it() -> None:
    if not shutil.which("groff"):
        pytest.skip("needs groff: apt-get install groff-base")
    command = ["groff", "-man", "-ww", "-Tascii"]
    result = subprocess.run(command, input=man.page(), check=True, capture_output=True, text=True)
    assert result.stderr == ""
    assert "vllm-nix serve TARGET [PROFILE]" in result.stdout
