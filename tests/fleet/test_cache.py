"""A binary cache: what is signed is taken, what is not is refused, and what happens when it fails."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet.cache import Cache, options
from tests.fleet.hosts import Host, hosts, stop

pytestmark = pytest.mark.nix

# Needs nothing, so that any host can build it: without a sandbox there is a /bin/sh.
TINY = """derivation {
  name = "%s"; system = builtins.currentSystem; builder = "/bin/sh";
  args = ["-c" "echo built > $out"];
}"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Cache, Host]]:
    with hosts("cache", "board") as (server, board):
        board.own_store()
        yield Cache(server), board


@pytest.fixture
def cache(fleet: tuple[Cache, Host]) -> Cache:
    return fleet[0]


@pytest.fixture
def board(fleet: tuple[Cache, Host]) -> Host:
    return fleet[1]


def build(expression: str) -> str:
    """Builds on this machine; the store path."""
    words = ["--no-out-link", "--option", "sandbox", "false", "--option", "substituters", ""]
    built = subprocess.run(
        ["nix-build", *words, "--expr", expression], check=True, capture_output=True, text=True
    )
    return built.stdout.strip()


def publish(cache: Cache, name: str) -> str:
    """Builds on this machine and copies to the cache; the store path."""
    path = build(TINY % name)
    cache.publish(path)
    return path


def is_there(board: Host, path: str) -> bool:
    return board.run("nix-store", "--check-validity", path, check=False).returncode == 0


def take(board: Host, path: str, *settings: str) -> str:
    """What a host says that substitutes or builds a path."""
    said = board.run("nix-store", "--realise", path, *settings).stderr
    assert is_there(board, path)
    return said


def refuse(board: Host, path: str, *settings: str) -> str:
    """What a host says that does not take a path."""
    result = board.run("nix-store", "--realise", path, *settings, check=False)
    assert result.returncode != 0
    assert not is_there(board, path)
    return result.stderr


def is_about_signature(said: str, path: str) -> bool:
    """Whether it names the path and the reason, in the words of Nix 2.8 or of later ones."""
    line = next((line for line in said.splitlines() if f"'{path}'" in line), "")
    return "is not signed by any of the keys" in line or "lacks a" in line


def test_what_is_signed_is_taken(cache: Cache, board: Host) -> None:
    path = publish(cache, "signed")
    assert f"copying path '{path}' from '{cache.url}'" in take(board, path, *options(cache))
    assert board.run("cat", path).stdout == "built\n"


def test_what_is_not_signed_is_refused(cache: Cache, board: Host) -> None:
    path = build(TINY % "unsigned")
    cache.publish(path, key=None)
    assert is_about_signature(refuse(board, path, *options(cache)), path)


def test_what_another_key_signed_is_refused(cache: Cache, board: Host) -> None:
    path = build(TINY % "anothers")
    cache.make_key("somebody-1")
    cache.publish(path, key="somebody-1")
    assert is_about_signature(refuse(board, path, *options(cache)), path)


def test_a_key_of_the_same_name_is_another_key(cache: Cache, board: Host) -> None:
    path = build(TINY % "namesake")
    cache.make_key("cache.example.org-1", file="namesake")
    cache.publish(path, key="namesake")
    assert is_about_signature(refuse(board, path, *options(cache)), path)


def test_a_key_that_the_host_does_not_trust(cache: Cache, board: Host) -> None:
    path = publish(cache, "untrusted")
    said = refuse(board, path, *options(cache, trusted_public_keys=""))
    assert is_about_signature(said, path)


def test_a_file_that_was_changed_is_refused(cache: Cache, board: Host) -> None:
    path = build(TINY % "changed")
    cache.publish(path, compression="none")
    _, nar = cache.files(path)
    nar.write_bytes(nar.read_bytes().replace(b"built", b"false"))
    said = refuse(board, path, *options(cache))
    assert f"hash mismatch importing path '{path}'" in said


@pytest.mark.parametrize("line", ["NarHash", "NarSize", "References"])
def test_a_description_that_was_changed_is_refused(cache: Cache, board: Host, line: str) -> None:
    path, other = publish(cache, f"changed-{line}"), publish(cache, "other")
    false = {"NarHash": f"sha256:{'0' * 52}", "NarSize": "1", "References": Path(other).name}
    rewrite(cache.files(path)[0], line, false[line])
    assert is_about_signature(refuse(board, path, *options(cache)), path)


def test_another_paths_description_is_refused(cache: Cache, board: Host) -> None:
    path, other = publish(cache, "asked"), publish(cache, "given")
    cache.files(path)[0].write_text(cache.files(other)[0].read_text())
    said = refuse(board, path, *options(cache))
    assert f"asked '{cache.url}' for '{path}' but got '{other}'" in said


def rewrite(narinfo: Path, name: str, value: str) -> None:
    lines = narinfo.read_text().splitlines()
    others = [line for line in lines if not line.startswith(f"{name}:")]
    narinfo.write_text("\n".join([*others, f"{name}: {value}"]) + "\n")


# Tries once, and not for long.
HASTY = {"connect-timeout": "2", "download-attempts": "1", "stalled-download-timeout": "2"}


@contextmanager
def fault(cache: Cache, kind: str) -> Iterator[None]:
    match kind:
        case "stopped":
            cache.stop()
        case "unplugged":
            cache.host.unplug()
        case "hung":
            cache.stop()
            hung = cache.host.start("python3", "-c", HUNG)
            cache.host.reach("127.0.0.1", 80)
    try:
        yield
    finally:
        match kind:
            case "unplugged":
                cache.host.plug()
            case "hung":
                stop(hung)
                cache.start()
            case "stopped":
                cache.start()


# Accepts, and never answers.
HUNG = """
import socket
server = socket.create_server(("", 80))
kept = []
while True:
    kept.append(server.accept())
"""


@pytest.mark.parametrize("kind", ["stopped", "unplugged", "hung"])
def test_a_cache_that_does_not_answer_is_named_soon(cache: Cache, board: Host, kind: str) -> None:
    """Nix 2.8 crashes here with `--fallback` (NixOS/nix, issue 6445): without the cache it builds."""
    path = derivation(board, f"without-{kind}")
    settings = options(cache, **HASTY, max_jobs="1")
    take(board, publish(cache, f"before-{kind}"), *settings)
    with fault(cache, kind):
        started = time.monotonic()
        result = board.run("nix-store", "--realise", path, *settings, check=False)
        assert time.monotonic() - started < 15
        assert result.returncode != 0
        assert f"unable to download '{cache.url}/" in result.stderr
        board.run("nix-store", "--realise", path, *settings, "--option", "substituters", "")


def test_without_a_cache_that_it_never_knew_a_host_builds(cache: Cache, board: Host) -> None:
    path = derivation(board, "without-ever")
    board.run("rm", "-rf", ".cache")  # what it knew
    with fault(cache, "stopped"):
        settings = options(cache, **HASTY, max_jobs="1")
        said = board.run("nix-store", "--realise", path, *settings).stderr
    assert f"warning: unable to download '{cache.url}/nix-cache-info'" in said


@pytest.mark.parametrize("kind", ["missing", "changed"])
def test_a_file_that_cannot_be_had_is_built_if_one_says_so(
    cache: Cache, board: Host, kind: str
) -> None:
    path = build(TINY % f"fallback-{kind}")
    recipe = derivation(board, f"fallback-{kind}")
    cache.publish(path, compression="none")
    _, nar = cache.files(path)
    if kind == "missing":
        nar.unlink()
    else:
        nar.write_bytes(nar.read_bytes().replace(b"built", b"false"))
    settings = options(cache, **HASTY, max_jobs="1")
    refuse(board, path, *settings)
    board.run("nix-store", "--realise", recipe, *settings, "--fallback")
    assert board.run("cat", path).stdout == "built\n"


def derivation(board: Host, name: str) -> str:
    """A derivation that the host has, and can build."""
    return board.run("nix-instantiate", "--expr", TINY % name).stdout.strip()


def test_a_download_that_was_cut_goes_on_where_it_was(cache: Cache, board: Host) -> None:
    path = build(LARGE)
    cache.publish(path, compression="none")
    cache.answers()
    board.limit("16mbit")  # 8 MB in 4 seconds
    process = board.start("nix-store", "--realise", path, *options(cache))
    time.sleep(2)
    cache.stop()
    cache.start()
    assert process.wait(timeout=60) == 0
    board.limit("10gbit")
    [rest] = [answer for answer in cache.answers() if "/nar/" in answer.path]
    assert rest.status == 206  # nginx that was killed wrote nothing of the first part
    assert 0 < rest.size < 7_900_000
    assert is_there(board, path)


LARGE = """derivation {
  name = "large"; system = builtins.currentSystem; builder = "/bin/sh";
  args = ["-c" "/usr/bin/head -c 8000000 /dev/urandom > $out"];
}"""
