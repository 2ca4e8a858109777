"""verl's Ray over two hosts, by `vllm-nix ray`; hosts that are not alike; and vLLM 0.7.3, which goes by Ray."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builds.test_verl import quick
from tests.conftest import Nix
from tests.fleet.hosts import Host, hosts
from vllm_nix.hosts.network import with_port
from vllm_nix.verification.tiny_model import TinyModel

pytestmark = [pytest.mark.nix, pytest.mark.slow]

SECONDS = 600  # for Ray to be there; 40 on a machine that does nothing else

TASK = """
import json, socket, sys
from importlib.metadata import version
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

ray.init(log_to_driver=False, logging_level="error")

@ray.remote
def versions():
    import torch, vllm  # those of the host, which must be whole
    return [socket.gethostname(), sys.version, ray.__version__, vllm.__version__, torch.__version__]

nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
tasks = [versions.options(scheduling_strategy=On(node, soft=False)).remote() for node in nodes]
print(json.dumps(ray.get(tasks, timeout=600)))
"""


def build(nix: Nix, target: str) -> Path:
    return nix.build(
        f"with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }}; {quick(target)}"
    )


@pytest.fixture(scope="module")
def verl(nix: Nix) -> Path:
    return build(nix, "verl")


def join(host: Host, rank: int, environment: Path, head: str = "head") -> "subprocess.Popen[str]":
    return host.start(
        *[sys.executable, "-m", "vllm_nix", "ray", str(environment)],
        *["--nodes", "2", "--rank", str(rank), "--head", head],
        *["--", "--num-cpus=1", "--object-store-memory=100000000"],
        *([] if rank else ["--include-dashboard=false"]),
    )


def log(host: Host) -> str:
    return (host.home / f"{Path(sys.executable).name}.log").read_text()


def wait_for(host: Host, text: str, server: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + SECONDS
    while text not in log(host):
        lost = time.monotonic() > end or (server and server.poll() is not None)
        assert not lost, f"{host.name} does not say {text!r}: {log(host)[-3000:]}"
        time.sleep(0.3)


def with_another_vllm(environment: Path, host: Host) -> Path:
    """The same in all but what its vLLM says that it is."""
    folder = host.home / "another"
    packages = "lib/python3.11/site-packages"
    (folder / packages).mkdir(parents=True)
    for entry in (environment / packages).iterdir():
        if entry.name != "vllm-0.24.0.dist-info":
            (folder / packages / entry.name).symlink_to(entry)
    (folder / packages / "vllm-0.24.1.dist-info").mkdir()
    for name in ("bin", "share"):
        (folder / name).symlink_to(environment / name)
    return folder


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_task_runs_on_each_host_with_the_same_versions(family: str, verl: Path) -> None:
    with hosts("head", "other", seconds=3 * SECONDS) as (head, other):
        addresses = [host.address6 if family == "IPv6" else host.address for host in (head, other)]
        one, two = (f"host {address} (rank {rank})" for rank, address in enumerate(addresses))
        begun = time.monotonic()
        first = join(head, 0, verl, addresses[0])
        wait_for(head, "waits up to")
        refused = join(other, 1, with_another_vllm(verl, other), addresses[0])
        assert refused.wait(timeout=60) == 2
        reason = f"{two} has vllm 0.24.1 where {one} has vllm 0.24.0"
        assert log(other).splitlines()[-1] == f"vllm-nix: {reason}"
        second = join(other, 1, verl, addresses[0])
        for host in (head, other):
            wait_for(host, "Ray runtime started")
        print(f"Ray on both hosts after {time.monotonic() - begun:.0f} s, by {family}")
        (head.home / "task.py").write_text(TASK)
        said = head.run(
            str(verl / "bin/python"),
            str(head.home / "task.py"),
            env={"RAY_ADDRESS": with_port(addresses[0], 6379)},
            timeout=SECONDS,
        )
        print(f"a task on each after {time.monotonic() - begun:.0f} s: {said.stdout}")
        (name, *versions), (other_name, *same) = json.loads(said.stdout)
        assert {name, other_name} == {"head", "other"}
        assert versions == same
        begun = time.monotonic()
        other.power_off()
        assert first.wait(timeout=60) == 3
        print(f"the head ends {time.monotonic() - begun:.1f} s after the other has no power")
        wait_for(head, f"{two} is gone")
        second.wait(timeout=60)


# vLLM's command, by the environment's Python itself: its launcher wants a driver here.
WITHOUT_DRIVER = """
import sys, time
import ray
from vllm.entrypoints.cli.main import main
if __name__ == "__main__": # and not in the processes that vLLM makes
    ray.init(log_to_driver=False, logging_level="error")
    while len([node for node in ray.nodes() if node["Alive"]]) < 2:
        time.sleep(1)
    print("both hosts are Ray's", flush=True)
    ray.shutdown()
    sys.argv[0] = "vllm"
    main()
"""


def without_driver(environment: Path, host: Host) -> Path:
    folder = host.home / "environment"
    (folder / "bin").mkdir(parents=True)
    for name in ("lib", "share", "bin/ray"):
        (folder / name).symlink_to(environment / name)
    program = host.write("start.py", WITHOUT_DRIVER)
    (folder / "bin/vllm").write_text(f'#!/bin/sh\nexec {environment}/bin/python {program} "$@"\n')
    (folder / "bin/vllm").chmod(0o755)
    return folder


def test_vllm_0_7_3_goes_by_its_ray(nix: Nix) -> None:
    """Ray forms on both hosts; then vLLM's own parser takes its words, and finds no GPU here."""
    environment = build(nix, "verl_0_7_3")
    with hosts("head", "other", seconds=3 * SECONDS) as (head, other):
        begun = time.monotonic()
        servers = [
            serve(host, rank, without_driver(environment, host), "head")
            for rank, host in enumerate((head, other))
        ]
        wait_for(head, "both hosts are Ray's", server=servers[0])
        print(f"Ray on both hosts after {time.monotonic() - begun:.0f} s")
        wait_for(head, "Failed to infer device type")
        assert "distributed_executor_backend='ray'" in log(head)
        assert "tensor_parallel_size=2" in log(head)
        assert servers[0].wait(timeout=120) == 1
        wait_for(head, "bin/vllm ended (exit status 1)")
        assert servers[1].wait(timeout=60) == 3
        wait_for(other, "host 10.77.0.1 (rank 0) is gone")
        refused = serve(other, 1, environment, head.address6)
        assert refused.wait(timeout=60) == 2
        reason = "Ray 2.40.0 has no IPv6, which fd77::1 is: 2.52 has; give --head an IPv4 address"
        assert log(other).splitlines()[-1] == f"vllm-nix: {reason}"


def serve(host: Host, rank: int, environment: Path, head: str) -> "subprocess.Popen[str]":
    key = host.home / "key"
    key.touch(mode=0o600)
    key.write_text("sk-ray")
    if not (host.home / "tiny").exists():
        TinyModel.make().write(host.home / "tiny")
    return host.start(
        *[sys.executable, "-m", "vllm_nix", "serve", "verl_0_7_3", "chat"],
        *["--environment", str(environment), "--model", str(host.home / "tiny")],
        *["--api-key-file", str(key), "--tensor-parallel-size", "2"],
        *["--nodes", "2", "--rank", str(rank), "--head", head],
        env={"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    )
