"""A profile as Kubernetes's manifests. Kubernetes's own schemas: tests/fleet/test_kubernetes.py."""

import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from vllm_nix import cli
from vllm_nix.errors import InputError
from vllm_nix.serve import kubernetes, load_profile
from vllm_nix.serve.command import gate_folder


def manifests(target: str = "cpu", *arguments: str, **values: Any) -> tuple[Any, Any]:
    profile = load_profile(target, "chat", values)
    config, service, deployment = kubernetes.manifests(
        profile, image="r/vllm:1", secret="keys", arguments=arguments
    )
    assert config["kind"] == "ConfigMap"
    return service, deployment


def container(target: str = "cpu", *arguments: str, **values: Any) -> Any:
    return manifests(target, *arguments, **values)[1]["spec"]["template"]["spec"]["containers"][0]


def test_the_service_finds_the_pods() -> None:
    service, deployment = manifests(port=9000)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["ports"] == [{"name": "http", "port": 9000, "targetPort": "http"}]
    assert container(port=9000)["ports"] == [{"name": "http", "containerPort": 9000}]


def test_vllm_listens_in_the_pod_and_writes_where_it_may() -> None:
    words = container(host="127.0.0.1")["args"]
    assert words[words.index("--host") + 1] == "0.0.0.0"
    folders = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert {folders[name] for name in ("home", "tmp", "shared-memory")} == {
        *("/home/vllm", "/tmp", "/dev/shm")
    }
    assert words[words.index("--download-dir") + 1] == folders["models"]


def test_secrets_are_references() -> None:
    _, key, token = container()["env"]
    assert key == {
        "name": "VLLM_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api-key"}},
    }
    assert token["name"] == "HF_TOKEN"
    assert token["valueFrom"]["secretKeyRef"]["optional"]


@pytest.mark.parametrize(
    ("target", "values", "limits"),
    [
        ("cpu", {}, None),
        ("cuda", {}, {"nvidia.com/gpu": 2}),
        ("cuda", {"tensor-parallel-size": 1}, {"nvidia.com/gpu": 1}),
        ("jetson", {}, {"nvidia.com/gpu": 1}),
        ("ascend", {}, {"huawei.com/Ascend910": 1}),
        ("neuron", {}, {"aws.amazon.com/neuroncore": 2}),
    ],
)
def test_devices_are_the_profiles(target: str, values: Any, limits: Any) -> None:
    assert container(target, **values)["resources"].get("limits") == limits


def test_the_vendors_software_is_the_nodes() -> None:
    pod = manifests("ascend")[1]["spec"]["template"]["spec"]
    assert pod["volumes"][-1]["hostPath"]["path"] == "/usr/local/Ascend"
    assert pod["containers"][0]["volumeMounts"][-1]["readOnly"]


def test_several_hosts_are_a_leader_and_its_workers() -> None:
    service, group = manifests("cuda", nodes=2)
    assert service["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"
    assert group["kind"] == "LeaderWorkerSet"
    template = group["spec"]["leaderWorkerTemplate"]
    assert template["size"] == 2
    leader, worker = (
        template[name]["spec"]["containers"][0] for name in ("leaderTemplate", "workerTemplate")
    )
    for pod in (leader, worker):
        words = pod["args"]
        assert words[words.index("--nnodes") + 1] == "2"
        assert words[words.index("--node-rank") + 1] == "$(LWS_WORKER_INDEX)"
        assert words[words.index("--master-addr") + 1] == "$(LWS_LEADER_ADDRESS)"
        assert pod["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
        assert pod["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert "--headless" in worker["args"]
    assert "--headless" not in leader["args"]
    answering = {"ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"}
    assert leader.keys() - worker.keys() == answering


def test_every_path_asks_for_the_key() -> None:
    """By a module that the pod has from its ConfigMap, as vLLM names it."""
    profile = load_profile("cpu", "chat")
    config, _, deployment = kubernetes.manifests(profile, image="r/vllm:1", secret="keys")
    pod = deployment["spec"]["template"]["spec"]
    (vllm,) = pod["containers"]
    assert vllm["args"][-2:] == ["--middleware", "vllm_nix_gate.Gate"]
    (volume,) = (volume["name"] for volume in pod["volumes"] if "configMap" in volume)
    (place,) = (mount["mountPath"] for mount in vllm["volumeMounts"] if mount["name"] == volume)
    assert {"name": "VLLM_NIX_PYTHONPATH", "value": place} in vllm["env"]
    assert pod["volumes"][-1] == {"name": volume, "configMap": {"name": config["metadata"]["name"]}}
    assert config["data"] == {"vllm_nix_gate.py": (gate_folder() / "vllm_nix_gate.py").read_text()}


def run(key: str | None, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The container's words, as Kubernetes reads them, with a stand-in for vLLM."""
    words = [word.replace("$$", "$") for word in container("cpu", *arguments)["args"]]
    stand_in = 'vllm() { printf "%s\\n" "$VLLM_API_KEY" "$@"; }; export -f vllm;'
    words[2] = stand_in + words[2].replace("exec ", "")
    variables = {"PATH": os.environ["PATH"]} | ({} if key is None else {"VLLM_API_KEY": key})
    return subprocess.run(words, env=variables, check=False, capture_output=True, text=True)


def test_a_secret_made_of_a_file_has_the_key_without_its_newline() -> None:
    said = run("sk-secret\n", "--chat-template", "$(x) $y").stdout.splitlines()
    assert said[:2] == ["sk-secret", "serve"]
    assert said[-2:] == ["--chat-template", "$(x) $y"]


@pytest.mark.parametrize("key", [None, "", "\n", " \n"])
def test_an_empty_secret_starts_no_open_server(key: str | None) -> None:
    result = run(key)
    assert result.returncode
    assert "the Secret has no key in api-key" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        (["running 0.0"], 1),
        (["running 2.0", "waiting 1.0", "running 0.0"], 3),
        ([], 1),  # it has gone already
    ],
)
def test_a_pod_that_is_to_end_answers_first(answers: list[str], pauses: int) -> None:
    left = list(answers)

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert (self.path, self.headers["authorization"]) == ("/metrics", "Bearer sk-secret")
            self.send_response(200)
            self.end_headers()
            name, value = left.pop(0).split()
            self.wfile.write(f'vllm:num_requests_{name}{{engine="0"}} {value}\n'.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        if not answers:
            server.shutdown()
            server.server_close()
        command = container(port=port)["lifecycle"]["preStop"]["exec"]["command"]
        command[2] = f"sleep() {{ echo $1; }}\n{command[2]}"
        variables = {**os.environ, "VLLM_API_KEY": "sk-secret\n"}
        result = subprocess.run(
            command, env=variables, check=False, capture_output=True, text=True, timeout=60
        )
        server.shutdown()
    assert result.stdout.split() == ["10", *["1"] * (pauses - 1)]
    assert not left


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"image": "-x"}, "--image '-x' is no image's name"),
    ({"image": "a b"}, "--image 'a b' is no image's name"),
    ({"secret": "My_Key"}, "--secret 'My_Key' is no Secret's name"),
    ({"secret": "a\nb"}, "is no Secret's name"),
    ({"model": "./tiny"}, "./tiny is a folder of this machine"),
    ({"model": "~/tiny"}, "~/tiny is a folder of this machine"),
    ({"target": "cuda", "nodes": 3}, "3 hosts cannot share 2 devices evenly"),
    ({"target": "cuda_12", "release": "0.7.3", "nodes": 2}, "has Ray start it on 2 hosts"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_refused(given: dict[str, Any], said: str) -> None:
    values = dict(given)
    target, release = values.pop("target", "cpu"), values.pop("release", None)
    image, secret = values.pop("image", "r/vllm:1"), values.pop("secret", "keys")
    with pytest.raises(InputError, match=said):
        profile = load_profile(target, "chat", values, release=release)
        kubernetes.render(profile, image=image, secret=secret)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--format kubernetes needs the image that nodes pull: --image registry/"),
        (["--image", "r/vllm:1"], "needs the Secret with the clients' key: --secret NAME"),
        (["--image", "r/vllm:1", "--replica", "a:1"], "--replica is for --format nginx"),
    ],
)
def test_refused_on_a_command_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "cpu", "chat", "--format", "kubernetes", *words]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert said in output.err
    assert output.err.count("\n") == 1
