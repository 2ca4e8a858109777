"""vLLM on two hosts behind nginx, under load, and what becomes of requests when something fails.

VLLM_NIX_LOAD_SECONDS=600 makes the load as long as that of docs/fleet.md. A loop plays systemd, which starts a
server again (test_systemd.py).
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.hosts import Host, hosts, need, stop
from tests.fleet.test_balancer import HERE, KEY, start_nginx, wait_for
from vllm_nix.verification.tiny_model import TEXT, TinyModel

pytestmark = [pytest.mark.nix, pytest.mark.slow]

SECONDS = int(os.environ.get("VLLM_NIX_LOAD_SECONDS", "60"))
CLIENTS = 8
BODY = {"model": "tiny", "prompt": TEXT, "max_tokens": 8, "temperature": 0}
START = 1200  # seconds until a server is ready, on a machine that does much else
SUPERVISE = """
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1
while :; do
  "$@" & echo $! >pid
  wait $!; echo $? >>ends
  sleep 1
done
"""


class Fleet:
    def __init__(self, balancer: Host, servers: list[Host], environment: Path) -> None:
        self.balancer, self.servers = balancer, servers
        model = TinyModel.make()
        for host in servers:
            model.write(host.home / "tiny")
            (host.home / "disk").mkdir()
            host.run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", f"{host.home}/disk")
            key = host.home / "key"
            key.touch(mode=0o600)
            key.write_text(KEY)
            host.start(
                *["bash", "-c", SUPERVISE, "supervise"],
                *[sys.executable, "-m", "vllm_nix", "serve", "cpu", "chat"],
                *["--environment", str(environment.resolve()), "--model", f"{host.home}/tiny"],
                *["--host", host.address, "--max-model-len", "128", "--api-key-file", str(key)],
                *["--download-dir", str(host.home), "--", "--enforce-eager"],
                env={"HOME": f"{host.home}/disk", "TMPDIR": f"{host.home}/disk"},
            )
        for host in servers:
            self.wait(host)
        start_nginx(balancer, [f"{host.name}:8000" for host in servers], SHORTER)
        self.text = self.ask(BODY)[1]["choices"][0]["text"]

    def wait(self, host: Host) -> None:
        """Until a server answers, and nginx knows it."""
        wait_for(lambda: self.curl(f"http://{host.name}:8000/health")[0] == 200, START)
        time.sleep(6)

    def curl(self, address: str, *words: str) -> tuple[int, str]:
        result = self.balancer.run(
            *["curl", "-s", "-m", "60", "-w", "\n%{http_code}", *words, address], check=False
        )
        text, _, status = result.stdout.rpartition("\n")
        return int(status or 0), text

    def ask(self, body: Any, key: str = KEY, path: str = "/v1/completions") -> tuple[int, Any]:
        file = self.balancer.write("ask.json", json.dumps(body))
        words = ["-H", f"authorization: Bearer {key}", "-H", "content-type: application/json"]
        status, text = self.curl(f"http://127.0.0.1{path}", *words, "--data-binary", f"@{file}")
        return status, json.loads(text) if status == 200 else text

    def load(self, seconds: float, requests: int = 1_000_000) -> "subprocess.Popen[str]":
        output = (self.balancer.home / "load.json").open("w")
        words = [str(CLIENTS), json.dumps(BODY), str(requests), str(seconds)]
        address = "http://127.0.0.1/v1/completions"
        with output:
            return self.balancer.start(
                "python3", str(HERE / "load.py"), address, KEY, *words, stdout=output.fileno()
            )

    def result(self, load: "subprocess.Popen[str]", seconds: float) -> list[dict[str, Any]]:
        """What clients got; every answer is the right one."""
        try:
            assert load.wait(timeout=seconds) == 0
        finally:
            stop(load)
        text = (self.balancer.home / "load.json").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["text"] for line in lines if line["status"] == 200} == {self.text}
        return lines

    def signal(self, host: Host, name: str, process: str) -> None:
        """To a server, or to its engine, which is its child."""
        whom = {"server": "kill -{} {}", "engine": "pkill -{} -P {}"}[process]
        host.run("bash", "-c", whom.format(name, (host.home / "pid").read_text().strip()))

    def ends(self, host: Host) -> list[str]:
        """The exit codes of the servers that a host has had."""
        file = host.home / "ends"
        return file.read_text().split() if file.exists() else []


# What nginx waits for at most is minutes.
SHORTER = {
    "proxy_read_timeout 600s": "proxy_read_timeout 30s",
    "send_timeout 60s": "send_timeout 5s",
}


@pytest.fixture(scope="module")
def made(environment: Path) -> Iterator[Fleet]:
    need("nginx", "curl", "pgrep")
    with hosts("balancer", "one", "two", seconds=9000 + SECONDS) as (balancer, *servers):
        yield Fleet(balancer, servers, environment)


@pytest.fixture
def fleet(made: Fleet) -> Fleet:
    """With both servers there."""
    for host in made.servers:
        made.wait(host)
    return made


def report(name: str, lines: list[dict[str, Any]]) -> None:
    """What of it goes into docs/fleet.md; `pytest -rP` shows it."""
    took = sorted(line["took"] for line in lines)
    seconds = max(line["began"] + line["took"] for line in lines) - lines[0]["began"]
    p50, p99 = (took[int(len(took) * part)] for part in (0.5, 0.99))
    statuses = dict(Counter(line["status"] for line in lines))
    print(
        f"{name}: {len(lines)} requests, {len(lines) / seconds:.1f} a second, p50 {p50:.2f} s,"
        f" p99 {p99:.2f} s, longest {took[-1]:.2f} s, statuses {statuses}"
    )


def test_a_load_loses_nothing(fleet: Fleet) -> None:
    lines = fleet.result(fleet.load(SECONDS), SECONDS + 120)
    report("load", lines)
    assert {line["status"] for line in lines} == {200}
    assert len(lines) > SECONDS / 4


@pytest.mark.parametrize("process", ["server", "engine"])
def test_a_server_is_killed(process: str, fleet: Fleet) -> None:
    """What it had begun is lost, and its clients get an error; nothing else is, and it comes back."""
    victim, before = fleet.servers[0], len(fleet.ends(fleet.servers[0]))
    load = fleet.load(30)
    time.sleep(5)
    fleet.signal(victim, "KILL", process)
    began = time.monotonic()
    wait_for(lambda: len(fleet.ends(victim)) > before, 60)
    print(f"ended after {time.monotonic() - began:.0f} s with {fleet.ends(victim)[-1]}")
    lines = fleet.result(load, 150)
    report(f"{process} killed", lines)
    lost = [line for line in lines if line["status"] != 200]
    assert {line["status"] for line in lost} <= {500, 502}
    assert len(lost) <= CLIENTS * {"server": 1, "engine": 2}[process]
    fleet.wait(victim)
    assert {fleet.ask(BODY)[0] for _ in range(6)} == {200}


@pytest.mark.parametrize("process", ["server", "engine"])
def test_a_server_hangs(process: str, fleet: Fleet) -> None:
    """Its clients get an error when nginx has waited enough; the others are answered meanwhile."""
    victim = fleet.servers[0]
    load = fleet.load(60)
    time.sleep(5)
    fleet.signal(victim, "STOP", process)
    try:
        time.sleep(10)
        health = fleet.curl(f"http://{victim.name}:8000/health", "-m", "5")[0]
        lines = fleet.result(load, 150)
    finally:
        fleet.signal(victim, "CONT", process)
    print(f"its /health says {health or 'nothing'}")
    report(f"{process} hung", lines)
    lost = [line for line in lines if line["status"] != 200]
    assert {line["status"] for line in lost} == {504}
    assert max(line["took"] for line in lines) < 45
    assert len(lost) < len(lines) / 10
    fleet.wait(victim)


def test_clients_that_do_not_read_hold_up_nobody(fleet: Fleet) -> None:
    body = BODY | {"max_tokens": 100, "ignore_eos": True, "stream": True, "n": 32, "logprobs": 5}
    file = fleet.balancer.write("long", json.dumps(body))
    clients = [
        fleet.balancer.start("python3", str(HERE / "deaf.py"), KEY, file, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    time.sleep(2)
    lines = fleet.result(fleet.load(20), 120)
    said = [client.communicate(timeout=150)[0].strip() for client in clients]
    print(f"clients that do not read: {', '.join(said)}")
    report("beside them", lines)
    assert {line["status"] for line in lines} == {200}


def test_a_wrong_key_gets_no_answer(fleet: Fleet) -> None:
    for key in ("another", "", KEY + "x", KEY.upper()):
        assert fleet.ask(BODY, key=key)[0] == 401
        for path in ("/invocations", "/tokenize", "/generative_scoring"):
            assert fleet.ask(BODY, key=key, path=path)[0] == 404
    direct = f"http://{fleet.servers[0].name}:8000"
    words = ["-H", "content-type: application/json", "--data-binary"]
    words += [f"@{fleet.balancer.home}/ask.json"]
    right = ["-H", f"authorization: Bearer {KEY}"]
    routes = every_route(fleet.curl(f"{direct}/openapi.json", *right)[1])
    assert ("POST", "/invocations") in routes
    for method, path in routes:
        data = words if method == "POST" else []
        for wrong in ([], ["-H", "authorization: Bearer another"], ["-H", "host: x?"]):
            status, _ = fleet.curl(direct + path, "-X", method, *wrong, *data)
            assert status == (200 if path == "/health" else 401), (method, path, wrong)
    print(f"vLLM itself: {len(routes)} routes, of which /health alone asks for no key")


def every_route(openapi: str) -> list[tuple[str, str]]:
    """What a vLLM answers to: what its own description lists, and what that leaves out."""
    paths = json.loads(openapi)["paths"]
    listed = [(method.upper(), path) for path, how in paths.items() for method in how]
    return [*listed, *(("GET", path) for path in ("/metrics", "/docs", "/openapi.json"))]


def test_prompts_of_ten_megabytes_are_refused_and_hold_up_nobody(fleet: Fleet) -> None:
    load = fleet.load(20)
    took = []
    for _ in range(10):
        began = time.monotonic()
        status, text = fleet.ask(BODY | {"prompt": "abcd " * 2_000_000})
        took.append(time.monotonic() - began)
        assert status == 400
        assert "maximum context length is 128 tokens" in text
    print(f"refused within {max(took):.1f} s")
    lines = fleet.result(load, 120)
    report("beside them", lines)
    assert {line["status"] for line in lines} == {200}


def test_a_full_disk(fleet: Fleet) -> None:
    """Of what a server keeps and of its temporary files: it answers on, and starts again once there is room."""
    victim, before = fleet.servers[0], len(fleet.ends(fleet.servers[0]))
    victim.run("dd", "if=/dev/zero", f"of={victim.home}/disk/full", "bs=4k", check=False)
    assert "100%" in victim.run("df", f"{victim.home}/disk").stdout
    lines = fleet.result(fleet.load(15), 120)
    report("its disk is full", lines)
    assert {line["status"] for line in lines} == {200}
    fleet.signal(victim, "KILL", "server")
    wait_for(lambda: len(fleet.ends(victim)) > before, 60)
    time.sleep(60)
    ends = fleet.ends(victim)[before + 1 :]
    print(f"started on a full disk: it {f'ended with {ends}' if ends else 'starts'}")
    victim.run("rm", "-f", f"{victim.home}/disk/full")
    fleet.wait(victim)
    assert {fleet.ask(BODY)[0] for _ in range(6)} == {200}
