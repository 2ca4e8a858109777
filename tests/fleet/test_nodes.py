"""One server of two hosts, by `vllm-nix serve`: with a stand-in for vLLM, and with the CPU target's own."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fleet.hosts import Host, hosts, stop
from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel

KEY = "the-key-of-the-clients"
READY = 900  # seconds; 70 on a machine that does nothing else
NOTICED = (
    30  # seconds in which clients must get an error; 9 until a host that is cut off counts as gone
)

# Plays vLLM, and Ray, whose first host listens.
STAND_IN = f"""#!{sys.executable}
import json, os, socket, sys, time
names = ("VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "VLLM_API_KEY", "RAY_ADDRESS")
print(json.dumps([sys.argv[1:], [os.environ.get(name) for name in names]]), flush=True)
if "--head" in sys.argv:
    time.sleep(1)
    server = socket.create_server(("", 29501))
time.sleep(1000)
"""

ASK = f"""
import json, sys, urllib.request
body = {{"model": "tiny", "prompt": {TEXT!r}, "max_tokens": int(sys.argv[1]), "temperature": 0}}
body |= {{"return_token_ids": True, "ignore_eos": True}}
headers = {{"content-type": "application/json", "authorization": "Bearer {KEY}"}}
address = "http://127.0.0.1:8000/v1/completions"
request = urllib.request.Request(address, json.dumps(body).encode(), headers)
with urllib.request.urlopen(request, timeout=600) as response:
    print(json.load(response)["choices"][0]["token_ids"])
"""


def stand_in(host: Host, release: str) -> str:
    """An environment of that release, which serves nothing."""
    folder = host.home / f"environment-{release}"
    (folder / "bin").mkdir(parents=True)
    for name in ("ray", "vllm"):
        (folder / "bin" / name).write_text(STAND_IN)
        (folder / "bin" / name).chmod(0o755)
    (folder / f"lib/python3.11/site-packages/vllm-{release}.dist-info").mkdir(parents=True)
    return str(folder)


def serve(
    host: Host, rank: int, environment: str | Path, *options: str, target: str = "cpu"
) -> "subprocess.Popen[str]":
    key = host.home / "key"
    if not key.exists():
        TinyModel.make().write(host.home / "tiny")
        key.touch(mode=0o600)
        key.write_text(KEY)
    return host.start(
        *[sys.executable, "-m", "vllm_nix", "serve", target, "chat"],
        *["--environment", str(environment), "--model", str(host.home / "tiny")],
        *["--api-key-file", str(key), "--max-model-len", "512"],
        *["--tensor-parallel-size", "2", "--nodes", "2"],
        *["--rank", str(rank), "--head", "head", *options, "--", "--enforce-eager"],
        env={
            "HF_HUB_OFFLINE": "1",
            # Two hosts of one machine would bind to the same core, and wait for one another there.
            "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "900",  # so that what ends it is not this
            "VLLM_NO_USAGE_STATS": "1",
        },
    )


def log(host: Host) -> str:
    return (host.home / f"{Path(sys.executable).name}.log").read_text()


def played(host: Host) -> list[tuple[list[str], list[str | None]]]:
    """The words and variables of each stand-in."""
    lines = [line for line in log(host).splitlines() if line.startswith("[[")]
    return [(words, variables) for words, variables in map(json.loads, lines)]


def nothing_runs(host: Host) -> bool:
    """Whether nothing is left on a host but what holds it and lists this, within a few seconds."""
    own = re.compile(r"bash -c .* boot |ps |\[")  # in brackets is what has ended
    for _ in range(20):
        lines = host.run("ps", "-eo", "args", "--no-headers").stdout.splitlines()
        left = [line for line in lines if not own.match(line)]
        if not left:
            return True
        time.sleep(0.5)
    print(*left, sep="\n")
    return False


def wait_for(
    host: Host, text: str, seconds: float = 60, server: "subprocess.Popen[str] | None" = None
) -> None:
    end = time.monotonic() + seconds
    while text not in log(host):
        lost = time.monotonic() > end or (server and server.poll() is not None)
        assert not lost, f"{host.name} does not say {text!r}: {log(host)[-3000:]}"
        time.sleep(0.2)


def test_each_host_runs_its_own_command_until_one_is_gone() -> None:
    with hosts("head", "other") as (head, other):
        first = serve(head, 0, stand_in(head, "0.32.0"))
        second = serve(other, 1, stand_in(other, "0.32.0"))
        for rank, host in enumerate((head, other)):
            wait_for(host, "--nnodes")
            ((words, variables),) = played(host)
            said = " ".join(words)
            assert f"--nnodes 2 --node-rank {rank} --master-addr 10.77.0.1" in said
            assert ("--headless" in words) == (rank > 0)
            assert (words[-2:] == ["--middleware", "vllm_nix_gate.Gate"]) == (rank == 0)
            # The other host has no clients, and no key of theirs.
            assert variables == [host.address, "eth0", None if rank else KEY, None]
        other.power_off()
        begun = time.monotonic()
        assert first.wait(timeout=60) == 3
        assert time.monotonic() - begun < NOTICED
        wait_for(head, "host 10.77.0.2 (rank 1) is gone: it ended, or nothing came from it for 9 s")
        assert nothing_runs(head)
        second.wait(timeout=60)


def test_hosts_share_the_layers() -> None:
    with hosts("head", "other") as (head, other):
        options = ("--pipeline-parallel-size", "2")
        first = serve(head, 0, stand_in(head, "0.33.0"), *options, target="cuda")
        serve(other, 1, stand_in(other, "0.33.0"), *options, target="cuda")
        for rank, host in enumerate((head, other)):
            wait_for(host, "--nnodes")
            ((words, _),) = played(host)
            said = " ".join(words)
            assert "--tensor-parallel-size 2 --pipeline-parallel-size 2 --nnodes 2" in said
            assert f"--node-rank {rank} --master-addr 10.77.0.1" in said
        stop(first)
        options = ("--pipeline-parallel-size", "2")
        assert serve(head, 0, stand_in(other, "0.32.0"), *options).wait(timeout=60) == 2
        wait_for(head, "its CPU worker has no pipeline parallelism; tensor-parallel-size alone")


def test_a_release_that_goes_by_ray() -> None:
    """Ray on the head, then on the others; vLLM on the head alone, once its Ray answers."""
    with hosts("head", "other") as (head, other):
        servers = [
            serve(host, rank, stand_in(host, "0.7.3"), target="verl_0_7_3")
            for rank, host in enumerate((head, other))
        ]
        wait_for(head, "--distributed-executor-backend")
        (ray, variables), (vllm, same) = played(head)
        assert ray[:4] == ["start", "--head", "--node-ip-address=10.77.0.1", "--port=29501"]
        assert variables == same == ["10.77.0.1", "eth0", KEY, "10.77.0.1:29501"]
        assert vllm[:1] == ["serve"] and "--nnodes" not in vllm
        wait_for(other, "--node-ip-address")
        ((ray, variables),) = played(other)
        assert ray == [
            "start",
            "--address=10.77.0.1:29501",
            "--node-ip-address=10.77.0.2",
            "--block",
        ]
        assert variables == ["10.77.0.2", "eth0", None, None]
        stop(servers[0])
        assert servers[1].wait(timeout=60) == 3
        assert nothing_runs(other)


def test_hosts_that_are_not_alike_are_refused_with_the_reason() -> None:
    with hosts("head", "other") as (head, other):
        first = serve(head, 0, stand_in(head, "0.32.0"))
        wait_for(head, "waits up to")
        assert serve(other, 1, stand_in(other, "0.32.1")).wait(timeout=60) == 2
        reason = (
            "host 10.77.0.2 (rank 1) has vllm 0.32.1 where host 10.77.0.1 (rank 0) has vllm 0.32.0"
        )
        wait_for(other, reason)
        wait_for(head, f"{reason}; it was refused, and may come again")
        right = stand_in(other, "0.32.0")
        weights = other.home / "tiny/model.safetensors"
        data = weights.read_bytes()
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert serve(other, 1, right).wait(timeout=60) == 2
        wait_for(other, "(rank 1) has model.safetensors of the model ")
        weights.write_bytes(data)
        assert serve(other, 1, right, "--memory-share", "0.3").wait(timeout=60) == 2
        wait_for(other, "(rank 1) has memory-share 0.3 where")
        assert first.poll() is None, "the head still waits for the right one"
        second = serve(other, 1, right)
        wait_for(head, "all 2 hosts are there, and alike")
        stop(second)
        assert first.wait(timeout=60) == 3


def test_a_head_that_nobody_answers_at() -> None:
    with hosts("head", "other") as (head, other):
        environment = stand_in(other, "0.32.0")
        assert serve(other, 1, environment, "--wait", "2").wait(timeout=60) == 3
        wait_for(other, "no head at 10.77.0.1:29502 within 2 s (Connection refused); is rank 0")
        head.power_off()
        assert serve(other, 1, environment, "--wait", "2").wait(timeout=60) == 3
        wait_for(other, "no head at 10.77.0.1:29502 within 2 s (no answer)")


@pytest.mark.nix
@pytest.mark.slow
def test_two_hosts_give_the_tokens_of_one_and_tell_when_one_is_gone(environment: Path) -> None:
    right = f"{TinyModel.make().answer(PROMPT, 8)}\n"
    with hosts("head", "other", seconds=4 * READY) as (head, other):
        for outage in ("killed", "cut off"):
            begun = time.monotonic()
            servers = [
                serve(host, rank, environment.resolve()) for rank, host in enumerate((head, other))
            ]
            wait_for(head, "Application startup complete", READY, servers[0])
            print(f"ready after {time.monotonic() - begun:.0f} s")
            begun = time.monotonic()
            assert head.run("python3", "-c", ASK, "8", timeout=600).stdout == right
            print(f"the first answer after {time.monotonic() - begun:.1f} s")
            asking = head.start("python3", "-c", ASK, "480")
            time.sleep(2)
            assert asking.poll() is None, "the answer was there too soon"
            begun = time.monotonic()
            if outage == "cut off":
                other.unplug()
            else:
                stop(servers[1])
            assert asking.wait(timeout=NOTICED) != 0
            print(f"{outage}: clients have an error after {time.monotonic() - begun:.1f} s")
            for server in servers:
                server.wait(timeout=60)
            wait_for(head, "(rank 1) is gone")
            assert nothing_runs(head)
            if outage == "cut off":
                wait_for(other, "(rank 0) is gone")
                other.plug()
            log_of_head = head.home / f"{Path(sys.executable).name}.log"
            log_of_head.write_text("")
