"""Several hosts that serve a profile together: each one's command, and what is refused."""

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_nix.errors import InputError
from vllm_nix.serve import load_profile
from vllm_nix.serve.group import Host, check_world, host_of

HEAD = Host(2, 0, "10.0.0.1", 29501, "10.0.0.1", "eth1")
OTHER = Host(2, 1, "10.0.0.1", 29501, "10.0.0.2", "eth1")


def words(target: str, host: Host | None, **values: int) -> str:
    profile = load_profile(target, "chat", {key.replace("_", "-"): n for key, n in values.items()})
    return shlex.join(profile.command(host=host).words)


def test_each_host_has_a_command_of_its_own() -> None:
    head, other = words("cuda", HEAD, nodes=2), words("cuda", OTHER, nodes=2)
    common = " --nnodes 2 --node-rank {} --master-addr 10.0.0.1 --master-port 29501"
    assert common.format(0) in head
    assert f"{common.format(1)} --headless" in other
    assert "--headless" not in head


def test_what_vllm_gets_of_the_network() -> None:
    variables = load_profile("cuda", "chat", {"nodes": 2}).command(host=OTHER).variables
    assert variables == {
        "VLLM_HOST_IP": "10.0.0.2",
        "GLOO_SOCKET_IFNAME": "eth1",
        "NCCL_SOCKET_IFNAME": "=eth1",
    }
    cpu = {"nodes": 2, "tensor-parallel-size": 2}
    assert "NCCL_SOCKET_IFNAME" not in load_profile("cpu", "chat", cpu).command(host=HEAD).variables
    ascend = load_profile("ascend_0_18", "chat", cpu).command(host=OTHER).variables
    assert (ascend["HCCL_IF_IP"], ascend["HCCL_SOCKET_IFNAME"]) == ("10.0.0.2", "=eth1")


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    profile = load_profile("cuda", "chat", {"nodes": 2, "env": {"VLLM_HOST_IP": "10.1.0.2"}})
    variables = profile.command(host=OTHER).variables
    assert variables == {"VLLM_HOST_IP": "10.1.0.2", "GLOO_SOCKET_IFNAME": "eth1"}


def test_releases_before_go_by_ray() -> None:
    values = {"nodes": 2, "tensor-parallel-size": 2}
    head = load_profile("jetson", "chat", values).command(host=HEAD)
    assert head.first[:3] == ("ray", "start", "--head")
    assert {"--port=29501", "--node-ip-address=10.0.0.1", "--block"} <= set(head.first)
    assert "--distributed-executor-backend ray" in shlex.join(head.words)
    assert head.variables["RAY_ADDRESS"] == "10.0.0.1:29501"
    line = head.line()
    assert " ray start --head " in line and " && key=$(cat " in line
    assert "--block" not in line, "a shell goes on to vLLM"
    other = load_profile("jetson", "chat", values).command(host=OTHER)
    assert shlex.join(other.words) == (
        "ray start --address=10.0.0.1:29501 --node-ip-address=10.0.0.2 --block"
    )
    assert "key" not in other.line(), "it has no clients"


def test_one_host_gets_nothing_of_others() -> None:
    line = words("cuda", None, nodes=1, master_port=7)
    assert "--nnodes" not in line and "--master-port" not in line
    assert "--pipeline-parallel-size 2" in words("cuda", None, pipeline_parallel_size=2)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"nodes": 3, "tensor-parallel-size": 4}, "3 hosts cannot share 4 devices evenly"),
        ({"nodes": 2}, "2 hosts cannot share 1 device evenly"),
        ({"nodes": 4, "pipeline-parallel-size": 2}, "4 hosts cannot share 2 devices evenly"),
    ],
)
def test_a_world_that_does_not_divide(values: dict[str, int], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        check_world(values, here=False)


def test_a_host_with_too_few_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr("vllm_nix.serve.group._GPUS", tmp_path)
    check_world({"nodes": 2, "tensor-parallel-size": 2}, here=True)
    with pytest.raises(InputError, match="this host has 1 GPU, and 4 on 2 hosts are 2 on each"):
        check_world({"nodes": 2, "tensor-parallel-size": 4}, here=True)


@pytest.mark.parametrize(
    ("config", "values", "fault"),
    [
        ({"num_attention_heads": 14}, {"tensor-parallel-size": 4}, "the 14 attention heads of"),
        (
            {"text_config": {"num_attention_heads": 12, "num_key_value_heads": 4}},
            {"tensor-parallel-size": 6},
            "the 4 key-value heads of",
        ),
        ({"num_hidden_layers": 2}, {"pipeline-parallel-size": 4}, "the 2 layers of"),
        ([], {"tensor-parallel-size": 2}, "config.json is damaged"),
    ],
)
def test_a_model_that_does_not_divide(
    tmp_path: Path, config: object, values: dict[str, int], fault: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    profile = load_profile("cuda", "chat", {"model": str(tmp_path), **values})
    with pytest.raises(InputError, match=fault):
        profile.command()


@pytest.mark.parametrize(
    ("nodes", "rank", "head", "port", "fault"),
    [
        (2, None, None, 1, "2 hosts serve this together: each needs --rank 0 to 1 and --head ADD"),
        (2, 0, None, 1, "each needs --head ADDRESS"),
        (2, 2, "10.0.0.1", 1, "--rank 2 of 2 hosts: they are 0 to 1"),
        (2, -1, "10.0.0.1", 1, "--rank -1 of 2 hosts"),
        (2, 0, "10.0.0.1", 65535, "master-port 65535 is not between 1 and 65534"),
        (2, 0, "127.0.0.1", 1, "where no other reaches it"),
    ],
)
def test_where_no_host_stands(
    nodes: int, rank: int | None, head: str | None, port: int, fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        host_of(nodes, rank, head, port, here=False)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("cpu chat --nodes 2 --tensor-parallel-size 2", "each needs --rank 0 to 1 and --head"),
        ("cuda chat --rank 0 --head x", "one host serves this: --rank and --head go with --nodes"),
        ("cuda chat --nodes 0", "nodes 0 is less than 1"),
        ("cuda chat --nodes 2 --master-port 8000", "port 8000 and the next are the hosts' own"),
        ("cuda chat --nodes 2 --master-port 7999", "port 7999 and the next are the hosts' own"),
        ("cuda chat -- --node-rank=1", "--node-rank follows from --nodes, --rank and --head"),
        ("cpu chat --pipeline-parallel-size 2", "its CPU worker has no pipeline parallelism"),
        ("cuda chat --nodes two", "argument --nodes: invalid int value"),
        ("cuda chat --wait 0", "'0' is not a number of seconds"),
        ("cuda chat --wait nan", "'nan' is not a number of seconds"),
    ],
)
def test_bad_input_is_said(line: str, fault: str) -> None:
    command = [sys.executable, "-m", "vllm_nix", "serve", *line.split()]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert fault in result.stderr
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_what_hosts_are_compared_by(tmp_path: Path) -> None:
    (tmp_path / "lib/python3.11/site-packages/torch-2.13.0.dist-info").mkdir(parents=True)
    values = {"arguments": ["--seed", "1"], "port": 9000, "env": {"A": "b"}, "nodes": 2}
    profile = load_profile("cuda", "chat", values, environment=tmp_path)
    facts = profile.facts(("--enforce-eager",))
    assert facts["arguments"] == "--seed 1 --enforce-eager"
    assert (facts["vllm"], facts["torch"]) == (profile.release, "2.13.0")
    assert (facts["variable A"], facts["tensor-parallel-size"]) == ("b", "2")
    assert facts["model"] == "Qwen/Qwen2.5-72B-Instruct-AWQ", "which is not here"
    assert not {"port", "host", "api-key-file", "download-dir", "summary"} & facts.keys()
    with pytest.raises(InputError, match="2 hosts serve this together, and not one alone"):
        profile.command()


def test_neuron_has_one_host() -> None:
    for target in ("neuron", "neuron_0_7"):
        with pytest.raises(InputError, match="Neuron engine drives the cores of one host"):
            words(target, HEAD, nodes=2)


def test_the_line_for_another_host_leaves_its_own_open() -> None:
    """Whoever prints it cannot know which interface that one has."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe:
        try:
            probe.connect(("192.0.2.7", 9))
        except OSError:
            pytest.skip("no network on this machine")
    line = ["cuda", "chat", "--nodes", "2", "--rank", "0", "--head", "192.0.2.7"]
    command = [sys.executable, "-m", "vllm_nix", "serve", *line]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "--master-addr 192.0.2.7" in result.stdout
    assert "VLLM_HOST_IP" not in result.stdout
    assert "are left to be set there" in result.stderr
