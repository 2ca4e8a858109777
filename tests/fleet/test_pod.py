"""The pod of `vllm-nix serve --format kubernetes`, run by Podman on a host: `podman kube play`.

Podman takes of it what a kubelet takes of a pod: image, words, Secret, ConfigMap, volumes, user, rights. What it
leaves out (probes, the words before an end) is asked here as the pod has it.
"""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import EMBEDDED, Nix
from tests.fleet.hosts import Host, hosts, need
from tests.fleet.test_faults import every_route
from vllm_nix.serve import kubernetes, load_profile

pytestmark = [pytest.mark.nix, pytest.mark.slow]

START = 1800  # seconds until it answers, on a machine that does much else
KEY = "sk-pod"
POD = "vllm-cpu-chat-pod-0"
VLLM = f"{POD}-vllm"
IMAGE = "localhost/vllm-cpu:0.32.0"
# What machines without systemd, or with limits of their own, ask of Podman.
CONTAINERS = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""

# A host has a /sys of its own, in which nothing is mounted.
CONTROL_GROUPS = """
mount -t tmpfs tmpfs /sys/fs/cgroup
while IFS=: read -r _ controllers _; do
  place=/sys/fs/cgroup/${controllers#name=}
  mkdir -p "$place"
  case $controllers in
    "") [[ -d /sys/fs/cgroup/pids ]] || mount -t cgroup2 cgroup2 "$place" ;;
    name=*) mount -t cgroup -o "none,$controllers" cgroup "$place" ;;
    *) mount -t cgroup -o "$controllers" cgroup "$place" ;;
  esac
done </proc/self/cgroup
"""

REMOVE_GROUPS = "find /sys/fs/cgroup/*/libpod_parent -depth -type d -exec rmdir {} +"


class Node:
    def __init__(self, host: Host) -> None:
        self.host = host
        host.run("bash", "-ec", CONTROL_GROUPS)
        self.variables = {"CONTAINERS_CONF": host.write("containers.conf", CONTAINERS)}
        self.documents = kubernetes.manifests(
            load_profile("cpu", "chat", {"max-model-len": 1024}),
            image=IMAGE,
            secret="vllm",
            arguments=("--enforce-eager",),
        )

    def podman(self, *words: str, check: bool = True, timeout: float = 120) -> Any:
        store = ("--root", f"{self.host.home}/images", "--runroot", "/run/podman")
        return self.host.run(
            *("podman", *store, "--storage-driver", "overlay", *words),
            check=check,
            timeout=timeout,
            env=self.variables,
        )

    def play(self, key: str | None, check: bool = True) -> Any:
        """The manifests, and their Secret if there is a key."""
        self.podman("pod", "rm", "--force", "--all")
        self.podman("secret", "rm", "vllm", check=False)
        if key is not None:
            # As Podman 4.3 keeps a Secret, which it writes wrongly itself.
            data = {"api-key": base64.b64encode(key.encode()).decode()}
            self.podman("secret", "create", "vllm", self.host.write("key", json.dumps(data)))
        text = "".join(f"---\n{json.dumps(each)}\n" for each in self.documents)
        return self.podman("kube", "play", self.host.write("vllm.yaml", text), check=check)

    def ask(self, path: str, key: str | None = None, body: Any = None, method: str = "") -> Any:
        words = ["-H", f"authorization: Bearer {key}"] if key else []
        words += ["-H", "content-type: application/json", "-d", json.dumps(body)] if body else []
        words += ["-X", method] if method else []
        said = self.host.run(
            *["curl", "-s", "-m", "60", "-w", "\n%{http_code}", *words],
            f"http://127.0.0.1:8000{path}",
            check=False,
        )
        text, _, status = said.stdout.rpartition("\n")
        return int(status), text


@pytest.fixture(scope="module")
def node(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    need("podman", "runc", "catatonit", "iptables", "curl")
    image = tmp_path_factory.mktemp("image") / "result"
    nix("nix", "build", ".#vllm-cpu.image", "--out-link", str(image), *EMBEDDED)
    with hosts("node", seconds=4 * START) as (host,):
        node = Node(host)
        program = str(image.resolve())
        script = (
            f"{program} >image.tar; exec podman --root {host.home}/images --runroot /run/podman"
        )
        script += " --storage-driver overlay load --quiet --input image.tar"
        variables = node.variables | {"TMPDIR": str(host.home)}
        host.run("bash", "-ec", script, timeout=START, env=variables)
        (host.home / "image.tar").unlink()
        try:
            yield node
        finally:
            node.podman("pod", "rm", "--force", "--all")
            host.run("bash", "-c", REMOVE_GROUPS, check=False)


def test_a_secret_that_is_not_there_starts_nothing(node: Node) -> None:
    said = node.play(None, check=False)
    assert said.returncode
    (line,) = [line for line in said.stderr.splitlines() if "Error" in line]
    assert 'no secret with name or id "vllm"' in line
    assert VLLM not in node.podman("ps", "--all", "--format", "{{.Names}}").stdout


def test_an_empty_secret_starts_no_open_server(node: Node) -> None:
    node.play("\n")
    assert node.podman("wait", VLLM).stdout.strip() != "0"
    assert "the Secret has no key in api-key" in node.podman("logs", VLLM).stderr
    assert node.ask("/health")[0] == 0


def test_it_answers_those_who_have_the_key_and_nobody_else(node: Node) -> None:
    node.play(f"{KEY}\n")
    (_, _, deployment) = node.documents
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probe = container["readinessProbe"]["httpGet"]
    began = time.monotonic()
    while node.ask(probe["path"])[0] != 200:
        running = node.podman("ps", "--format", "{{.Names}}").stdout
        assert VLLM in running and time.monotonic() < began + START, node.podman(
            "logs", VLLM
        ).stderr
        time.sleep(1)
    print(f"the pod answers after {time.monotonic() - began:.0f} s")

    question = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    body = {"model": model, "messages": [question], "temperature": 0, "max_tokens": 20}
    status, text = node.ask("/v1/chat/completions", KEY, body)
    assert status == 200, text
    assert "Paris" in json.loads(text)["choices"][0]["message"]["content"]

    routes = every_route(node.ask("/openapi.json", KEY)[1])
    assert ("POST", "/invocations") in routes
    for method, path in routes:
        for key in (None, "another", f"{KEY}x"):
            status = node.ask(path, key, body if method == "POST" else None, method)[0]
            assert status == (200 if path == "/health" else 401), (method, path, key)
    print(f"{len(routes)} routes, of which /health alone asks for no key")

    leave = container["lifecycle"]["preStop"]["exec"]["command"]
    began = time.monotonic()
    node.podman("exec", VLLM, *leave)
    assert 10 <= time.monotonic() - began < 60
    node.podman("pod", "stop", "--time", "60", POD, timeout=120)
