"""nginx before two servers, as `vllm-nix serve --format nginx` writes it; stand-ins play vLLM.

With vLLM itself: test_faults.py.
"""

import collections
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.hosts import Host, hosts, need, stop
from vllm_nix.serve import load_profile, nginx

HERE = Path(__file__).parent
KEY = "the-key"


@dataclass
class Fleet:
    """A balancer, which asks itself, and servers behind it."""

    balancer: Host
    servers: list[Host]

    def serve(self, host: Host) -> None:
        command = ("python3", str(HERE / "stand_in.py"), "8000", f"{host.home}/notes", KEY)
        self.running[host.name] = host.start(*command)
        self.balancer.reach(host.name, 8000)

    def __post_init__(self) -> None:
        self.running: dict[str, subprocess.Popen[str]] = {}
        for host in self.servers:
            self.serve(host)
        start_nginx(self.balancer, [f"{host.name}:8000" for host in self.servers])

    def begun(self, host: Host) -> list[str]:
        """What a server noted, which may have been killed while it did."""
        notes = host.home / "notes"
        return notes.read_text().splitlines() if notes.exists() else []

    def forget(self) -> None:
        for host in self.servers:
            (host.home / "notes").write_text("")

    def ask(self, *words: str, path: str = "/v1/completions", key: str = KEY) -> Any:
        """The status and body of what curl got."""
        result = self.balancer.run(
            *["curl", "-s", "--path-as-is", "-m", "30", "-w", "\n%{http_code}"],
            *["-H", f"authorization: Bearer {key}", *words, f"http://127.0.0.1:80{path}"],
            check=False,
        )
        text, _, status = result.stdout.rpartition("\n")
        return int(status), text

    def post(self, path: str = "/v1/completions", key: str = KEY, **body: Any) -> Any:
        return self.ask("-d", json.dumps({"prompt": "hello", **body}), path=path, key=key)


def start_nginx(host: Host, replicas: list[str], changes: Mapping[str, str] | None = None) -> None:
    """nginx as we configure it but for `changes`, what stands there and what in its place."""
    profile = load_profile("cpu", "chat", {"host": "0.0.0.0", "port": 80})
    text = nginx.render(profile, replicas)
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    host.write("vllm.conf", text)
    file = host.write("nginx.conf", NGINX.format(home=host.home))
    host.run("nginx", "-t", "-c", file)
    host.start("nginx", "-c", file)
    host.reach("127.0.0.1", 80)


NGINX = """
user root;
daemon off;
pid {home}/pid;
error_log {home}/error.log;
events {{ }}
http {{
    access_log {home}/access.log;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    include {home}/vllm.conf;
}}
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Fleet]:
    need("nginx", "curl")
    with hosts("balancer", "one", "two", seconds=300) as (balancer, *servers):
        yield Fleet(balancer, servers)


@pytest.fixture
def fleet(made: Fleet) -> Fleet:
    """With both servers there, and in nginx's good books again."""
    for host in made.servers:
        if made.running[host.name].poll() is not None:
            made.serve(host)
    made.forget()
    wait_for(lambda: made.post()[0] == 200 and all(made.begun(host) for host in made.servers))
    made.forget()
    return made


def test_both_servers_answer(fleet: Fleet) -> None:
    assert [fleet.post()[0] for _ in range(6)] == [200] * 6
    assert all(fleet.begun(host) for host in fleet.servers)


def test_the_key_is_the_servers_to_judge(fleet: Fleet) -> None:
    assert fleet.post()[0] == 200
    assert fleet.post(key="another")[0] == 401


@pytest.mark.parametrize("host", ["x?", "x#", "x?y=/v1", "a.example"])
def test_a_clients_name_for_them_changes_no_path(host: str, fleet: Fleet) -> None:
    """vLLM 0.7.3 itself answers `Host: x?` without a key."""
    status, _ = fleet.ask("-H", f"host: {host}", "-d", '{"prompt": "hello"}', key="another")
    assert status in (400, 401)


@pytest.mark.parametrize(
    "path",
    [
        *["/invocations", "/tokenize", "/metrics", "/docs", "/v1x", "/v1/../invocations"],
        *["/v1/%2e%2e/invocations", "/v1/..%2finvocations", "//invocations", "/health/x"],
    ],
)
def test_what_servers_answer_without_a_key_is_not_reached(path: str, fleet: Fleet) -> None:
    status, _ = fleet.post(path=path)
    assert status in (400, 404)
    assert not any(fleet.begun(host) for host in fleet.servers)


def test_a_servers_path_is_the_one_that_was_judged(fleet: Fleet) -> None:
    """`/v1/` as nginx understood it, not as it was spelled."""
    assert fleet.post(path="/x/..//%76%31/./completions")[0] == 200
    assert [line for host in fleet.servers for line in fleet.begun(host)] == [
        "/v1/completions hello"
    ]


def test_events_arrive_one_by_one(fleet: Fleet) -> None:
    body = json.dumps({"prompt": "hello", "stream": True, "seconds": 2})
    process = fleet.balancer.start(
        *["curl", "-sN", "-m", "30", "-H", f"authorization: Bearer {KEY}", "-d", body],
        "http://127.0.0.1:80/v1/completions",
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    times = [(time.monotonic(), line) for line in process.stdout if line.strip()]
    assert [line for _, line in times] == ["data: one\n", "data: two\n"]
    assert times[1][0] - times[0][0] > 1


def test_long_prompts_pass_and_endless_ones_do_not(fleet: Fleet) -> None:
    file = fleet.balancer.home / "prompt"
    for size, status in ((10_000_000, 200), (33_600_000, 413)):
        file.write_text(json.dumps({"prompt": "x" * size}))
        assert fleet.ask("-H", "expect:", "--data-binary", f"@{file}")[0] == status


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_answer_is_the_clients_whatever_it_is(status: int, fleet: Fleet) -> None:
    """A completion that failed has run: no other server runs it again."""
    assert fleet.post(status=status)[0] == status
    assert sum(len(fleet.begun(host)) for host in fleet.servers) == 1


def test_a_server_that_says_that_it_is_sick_is_left_alone(fleet: Fleet) -> None:
    (fleet.servers[0].home / "notes.sick").touch()
    try:
        assert [fleet.ask(path="/health")[0] for _ in range(4)] == [200] * 4
        assert [fleet.post()[0] for _ in range(4)] == [200] * 4
        assert not fleet.begun(fleet.servers[0])
    finally:
        (fleet.servers[0].home / "notes.sick").unlink()


def load(fleet: Fleet, requests: int, **body: Any) -> "subprocess.Popen[str]":
    address = "http://127.0.0.1:80/v1/completions"
    words = ("8", json.dumps(body), str(requests), "60")
    return fleet.balancer.start(
        "python3", str(HERE / "load.py"), address, KEY, *words, stdout=subprocess.PIPE
    )


def test_a_server_is_killed_under_load(fleet: Fleet) -> None:
    """Lost is what had been sent to the server, read or not, and nothing else; nothing runs twice."""
    victim = fleet.servers[0]
    client = load(fleet, 300, seconds=0.05)
    wait_for(lambda: len(fleet.begun(victim)) > 20)
    fleet.running[victim.name].send_signal(signal.SIGKILL)
    stop(fleet.running[victim.name])
    output, _ = client.communicate(timeout=100)
    lines = [json.loads(line) for line in output.splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(300))
    ran = collections.Counter(line for host in fleet.servers for line in fleet.begun(host))
    assert not [prompt for prompt, times in ran.items() if times > 1]
    lost = [line for line in lines if line["status"] != 200]
    assert {line["status"] for line in lost} <= {502}
    assert len(lost) <= 8
    other = fleet.begun(fleet.servers[1])
    assert not {f"/v1/completions number {line['number']}" for line in lost} & set(other)
    assert max(line["took"] for line in lines) < 10


def test_a_server_without_power_is_not_waited_for(fleet: Fleet) -> None:
    host = fleet.servers[0]
    host.power_off()
    fleet.running[host.name].wait()
    try:
        answers = [fleet.post(prompt=str(i))[0] for i in range(4)]
    finally:
        host.power_on()
    assert answers == [200] * 4
    assert len(fleet.begun(fleet.servers[1])) == 4


def wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
