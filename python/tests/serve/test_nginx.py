"""nginx's configuration as `vllm-nix serve --format nginx` prints it. nginx itself: tests/fleet/test_balancer.py."""

import json

import pytest

from vllm_nix import cli
from vllm_nix.errors import InputError
from vllm_nix.serve import load_profile, nginx

CHAT = load_profile("cpu", "chat", {"host": "0.0.0.0", "port": 80})
TWO = ["10.0.0.1:8000", "[fd00::2]:8000"]


def test_it_listens_where_the_profile_says_and_knows_every_server() -> None:
    text = nginx.render(CHAT, TWO)
    assert "listen 0.0.0.0:80;" in text
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("    server ")]
    assert servers == TWO
    assert text.count("{") == text.count("}")


def test_an_ipv6_address_is_in_brackets() -> None:
    text = nginx.render(load_profile("cpu", "chat", {"host": "::"}), ["[0:0::2]:1"])
    assert "listen [::]:8000;" in text
    assert "server [::2]:1 " in text


def test_what_was_sent_is_not_sent_again() -> None:
    (retries,) = (line for line in nginx.render(CHAT, TWO).splitlines() if "next_upstream" in line)
    assert retries.split() == ["proxy_next_upstream", "error", "timeout", "http_502", "http_503;"]


REFUSED = {
    "10.0.0.1": r"--replica '10.0.0.1' is not HOST:PORT, such as 10.0.0.1:8000",
    "10.0.0.1:": r"--replica '10.0.0.1:' is not HOST:PORT",
    "10.0.0.1:0": r"'10.0.0.1:0' is not",
    "10.0.0.1:65536": r"is not HOST:PORT",
    "fd00::2:8000": r"put an IPv6 address in brackets, \[fd00::2\]:8000",
    "10.0.0.300:8000": r"host '10.0.0.300' is neither an address nor a name",
    "a; include /etc/passwd:1": r"neither an address nor a name",
    "a{}:1": "neither an address nor a name",
    ":8000": "host '' is neither",
    "0.0.0.0:80": r"--replica 0.0.0.0:80 is where nginx itself listens",
    "10.0.0.1:8000": "--replica 10.0.0.1:8000 is there twice",
}


@pytest.mark.parametrize("replica", REFUSED)
def test_refused(replica: str) -> None:
    with pytest.raises(InputError, match=REFUSED[replica]):
        nginx.render(CHAT, [TWO[0], replica])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "nginx"], "--format nginx needs each server: --replica HOST:PORT"),
        (["--replica", "10.0.0.1:8000"], "--replica is for --format nginx"),
        (
            ["--format", "nginx", "--replica", "a:1", "--host", "x y"],
            'host: "x y" is not an address to listen on',
        ),
        (["--format", "nginx", "--replica", "a:1", "--json"], "--json does not go with --format"),
        (["--format", "nginx", "--replica", "a:1", "--rank", "0"], "--rank does not go with"),
        (
            ["--format", "nginx", "--replica", "a:1", "--", "--enforce-eager"],
            "--enforce-eager is for vLLM, which nginx does not start",
        ),
    ],
)
def test_refused_on_a_command_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "cpu", "chat", *words]) == 2
    output = capsys.readouterr()
    assert not output.out or json.loads(output.out)["exit_code"] == 2
    assert said in output.err
    assert output.err.count("\n") == 1


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--format", "nginx", "--replica", TWO[0], "--replica", TWO[1]]
    assert cli.main(["serve", "cpu", "chat", "--host", "0.0.0.0", "--port", "80", *words]) == 0
    assert capsys.readouterr().out == nginx.render(CHAT, TWO)
