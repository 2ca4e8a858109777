"""verl's Ray over two hosts, by `vllm-nix ray`; and hosts that are not alike."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builds.test_verl import quick
from tests.conftest import Nix
from tests.fleet.hosts import Host, hosts

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


@pytest.fixture(scope="module")
def verl(nix: Nix) -> Path:
    return nix.build(
        f"with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }}; {quick('verl')}"
    )


def join(host: Host, rank: int, environment: Path, *options: str) -> "subprocess.Popen[str]":
    return host.start(
        *[sys.executable, "-m", "vllm_nix", "ray", str(environment)],
        *["--nodes", "2", "--rank", str(rank), "--head", "head", *options],
        *["--", "--num-cpus=1", "--object-store-memory=100000000"],
        *([] if rank else ["--include-dashboard=false"]),
    )


def log(host: Host) -> str:
    return (host.home / f"{Path(sys.executable).name}.log").read_text()


def wait_for(host: Host, text: str, times: int = 1, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while log(host).count(text) < times:
        assert time.monotonic() < end, f"{host.name} does not say {text!r}: {log(host)[-3000:]}"
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


def test_a_task_runs_on_each_host_with_the_same_versions(verl: Path) -> None:
    with hosts("head", "other", seconds=3 * SECONDS) as (head, other):
        begun = time.monotonic()
        first = join(head, 0, verl)
        wait_for(head, "waits up to")
        refused = join(other, 1, with_another_vllm(verl, other))
        assert refused.wait(timeout=60) == 2
        reason = (
            "host 10.77.0.2 (rank 1) has vllm 0.24.1 where host 10.77.0.1 (rank 0) has vllm 0.24.0"
        )
        assert log(other).splitlines()[-1] == f"vllm-nix: {reason}"
        second = join(other, 1, verl)
        for host in (head, other):
            wait_for(host, "Ray runtime started")
        print(f"Ray on both hosts after {time.monotonic() - begun:.0f} s")
        (head.home / "task.py").write_text(TASK)
        said = head.run(
            str(verl / "bin/python"),
            str(head.home / "task.py"),
            env={"RAY_ADDRESS": "10.77.0.1:6379"},
            timeout=SECONDS,
        )
        print(f"a task on each after {time.monotonic() - begun:.0f} s: {said.stdout}")
        (one, *versions), (two, *same) = json.loads(said.stdout)
        assert {one, two} == {"head", "other"}
        assert versions == same
        begun = time.monotonic()
        other.power_off()
        assert first.wait(timeout=60) == 3
        print(f"the head ends {time.monotonic() - begun:.1f} s after the other has no power")
        wait_for(head, "host 10.77.0.2 (rank 1) is gone")
        second.wait(timeout=60)
