"""A profile as Kubernetes runs it: a Deployment of the target's image, and a Service before it.

A ConfigMap has what asks clients for the key on every path (gate/). For several hosts it is a LeaderWorkerSet, of
https://lws.sigs.k8s.io.

>>> from vllm_nix.serve import load_profile
>>> chat = load_profile("cpu", "chat")
>>> [each["kind"] for each in manifests(chat, image="vllm-cpu:0.32.0", secret="vllm")]
['ConfigMap', 'Service', 'Deployment']
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os.path import commonpath
from typing import Any, cast

from vllm_nix.arguments import check_text
from vllm_nix.errors import InputError
from vllm_nix.serve.command import API_KEY, GATE, GATE_MODULE, Command, gate_folder
from vllm_nix.serve.flags import starts_by_ray
from vllm_nix.serve.group import MASTER_PORT, Host, check_world
from vllm_nix.serve.profile import Profile
from vllm_nix.targets import ServeProfile, load_target

Data = dict[str, Any]

# What a device is to its vendor's plugin, by what vLLM was built for; a processor is none.
RESOURCES = {
    "cuda": "nvidia.com/gpu",
    "empty": "huawei.com/Ascend910",
    "neuron": "aws.amazon.com/neuroncore",  # tensor-parallel-size counts cores
}
# Of our images. A home of the pod's own holds what is compiled; models are on a volume, as the image declares.
_USER = 1000
_HOME = "/home/vllm"
_DOWNLOADS = f"{_HOME}/.cache/huggingface"
_EMPTY: Mapping[str, tuple[str, Data]] = {
    "home": (_HOME, {}),
    "models": (_DOWNLOADS, {}),
    "shared-memory": ("/dev/shm", {"medium": "Memory"}),  # a container has 64 MB of its own
    "tmp": ("/tmp", {}),
}

_GATE_FOLDER = "/etc/vllm-nix"  # from which the image's launcher lets vLLM import it

# vLLM takes an empty key for none, and one that ends in a newline, as files do, for another.
_GUARD = f"""\
read -r {API_KEY} <<<"${API_KEY}"
: "${{{API_KEY}:?the Secret has no key in api-key}}"
exec "$@"
"""
_START = 3600  # seconds, for the download of a model
# Of a pod that is to end: first no Service may pass requests on to it any more, then it answers those that it
# has. vLLM itself would end them.
_LEAVE = f"""\
sleep 10
read -r key <<<"${API_KEY}"
busy() {{{{
  exec 3<>/dev/tcp/127.0.0.1/{{port}} || return
  printf 'GET /metrics HTTP/1.0\\r\\nauthorization: Bearer %s\\r\\n\\r\\n' "$key" >&3
  while read -r name value; do
    [[ $name == vllm:num_requests_@(running|waiting)* && $value != 0.0* ]] && return
  done <&3
  return 1
}}}}
while busy; do sleep 1; done
"""
# Of LeaderWorkerSet: what it sets in each pod, and its label for the first.
_HEAD = "$(LWS_LEADER_ADDRESS)"
_LEADER = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
_POD_ADDRESS: Data = {
    "name": "VLLM_HOST_IP",
    "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
}
_GRACE = 600  # seconds for that, after which it is killed
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:@-]*")
_NAME = re.compile("[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def render(profile: Profile, *, image: str, secret: str, arguments: Sequence[str] = ()) -> str:
    """The manifests as YAML, for `kubectl apply -f -`. Raises `InputError`."""
    documents = manifests(profile, image=image, secret=secret, arguments=arguments)
    return "".join(f"---\n{text}\n" for text in map("\n".join, map(_yaml, documents)))


def manifests(
    profile: Profile, *, image: str, secret: str, arguments: Sequence[str] = ()
) -> list[Data]:
    """What serves `profile` from `image`; `arguments` are words of vLLM's own.

    The Secret has the clients' key as `api-key`, and may have a token of Hugging Face's as `hf-token`.
    Raises `InputError`.
    """
    check_text("kubernetes: image", image)
    check_text("kubernetes: secret", secret)
    if not _IMAGE.fullmatch(image):
        raise InputError(f"--image '{image}' is no image's name, such as registry/vllm-cpu:0.32.0")
    if not _NAME.fullmatch(secret):
        raise InputError(f"--secret '{secret}' is no Secret's name: a-z, 0-9, - and . alone")
    for model in profile.models:
        if model.startswith((".", "~")):
            raise InputError(f"{model} is a folder of this machine; name one of the image, from /")
    name = re.sub("[^a-z0-9]+", "-", f"vllm-{profile.target}-{profile.name}".lower())
    labels = {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": name}
    inside = {**profile.values, "host": "0.0.0.0", "download-dir": _DOWNLOADS}
    profile = replace(profile, values=cast(ServeProfile, inside))
    check_world(profile.values, here=False)
    nodes = profile.values.get("nodes", 1)
    if nodes > 1 and starts_by_ray(profile.release, profile.device):
        raise InputError(
            f"vLLM {profile.release} has Ray start it on {nodes} hosts, which is not written for"
            " Kubernetes here; KubeRay runs such a cluster"
        )
    words = (*GATE, *arguments)
    commands = [profile.command(words, here=False, host=host) for host in _hosts(profile, nodes)]
    templates: list[Data] = [
        {"metadata": {"labels": labels}, "spec": _pod(profile, command, image, name, secret)}
        for command in commands
    ]
    gate = f"{GATE_MODULE}.py"
    config = {gate: (gate_folder() / gate).read_text(encoding="utf-8")}
    service = {
        "selector": labels | (_LEADER if nodes > 1 else {}),
        "ports": [{"name": "http", "port": profile.values["port"], "targetPort": "http"}],
    }
    common = {"metadata": {"name": name, "labels": labels}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", **common, "data": config},
        {"apiVersion": "v1", "kind": "Service", **common, "spec": service},
        _group(common, nodes, templates) if nodes > 1 else _deployment(common, labels, *templates),
    ]


# Neither has `replicas`: what `kubectl scale` and autoscalers set stays.


def _group(common: Data, nodes: int, templates: Sequence[Data]) -> Data:
    """Several hosts that serve together: a leader, and workers."""
    group: Data = {"size": nodes, "restartPolicy": "RecreateGroupOnPodRestart"}
    group |= dict(zip(("leaderTemplate", "workerTemplate"), templates, strict=True))
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        **common,
        "spec": {"leaderWorkerTemplate": group},
    }


def _deployment(common: Data, labels: Data, template: Data) -> Data:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        **common,
        "spec": {
            "selector": {"matchLabels": labels},
            # One goes before another comes: there may be no device to spare.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "progressDeadlineSeconds": _START + 60,
            "template": template,
        },
    }


def _pod(profile: Profile, command: Command, image: str, config: str, secret: str) -> Data:
    cann = _cann(profile)
    mounts: list[Data] = [{"name": name, "mountPath": path} for name, (path, _) in _EMPTY.items()]
    volumes: list[Data] = [{"name": name, "emptyDir": spec} for name, (_, spec) in _EMPTY.items()]
    mounts.append({"name": "gate", "mountPath": _GATE_FOLDER, "readOnly": True})
    volumes.append({"name": "gate", "configMap": {"name": config}})
    if cann:
        mounts.append({"name": "cann", "mountPath": cann, "readOnly": True})
        volumes.append({"name": "cann", "hostPath": {"path": cann, "type": "Directory"}})
    return {
        "automountServiceAccountToken": False,
        # A Service of the name vllm would be VLLM_PORT in the environment, which vLLM takes for its own.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "vllm",
                "image": image,
                "args": ["bash", "-c", _GUARD, "vllm", *_words(command)],
                "env": [
                    *([_POD_ADDRESS] if command.group else []),
                    *({"name": key, "value": value} for key, value in command.variables.items()),
                    {"name": "VLLM_NIX_PYTHONPATH", "value": _GATE_FOLDER},
                    _secret(API_KEY, secret, "api-key"),
                    _secret("HF_TOKEN", secret, "hf-token", optional=True),
                ],
                **(_serving(command.port) if command.has_clients else {}),
                "resources": _resources(profile),
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _secret(variable: str, name: str, key: str, *, optional: bool = False) -> Data:
    reference: Data = {"name": name, "key": key} | ({"optional": True} if optional else {})
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


def _hosts(profile: Profile, nodes: int) -> list[Host | None]:
    """The first of several and one for all others; or None, for the only one."""
    port = profile.values.get("master-port", MASTER_PORT)
    if nodes == 1:
        return [None]
    return [Host(nodes, rank, _HEAD, port, address=None, interface=None) for rank in (0, 1)]


def _words(command: Command) -> list[str]:
    """The words of a command, in which Kubernetes replaces no $(VARIABLE) but the group's own."""
    words = [word if word == _HEAD else word.replace("$", "$$") for word in command.words]
    if command.group:
        words[words.index("--node-rank") + 1] = "$(LWS_WORKER_INDEX)"
    return words


def _serving(port: int) -> Data:
    """Of a container that answers clients."""
    leave = ["bash", "-c", _LEAVE.format(port=port)]
    return {
        "ports": [{"name": "http", "containerPort": port}],
        "startupProbe": _probe(every=10, limit=5, failures=_START // 10),
        "readinessProbe": _probe(every=5, limit=5, failures=2),
        "livenessProbe": _probe(every=10, limit=10, failures=6),
        "lifecycle": {"preStop": {"exec": {"command": leave}}},
    }


def _probe(*, every: int, limit: int, failures: int) -> Data:
    return {
        "httpGet": {"path": "/health", "port": "http"},
        "periodSeconds": every,
        "timeoutSeconds": limit,
        "failureThreshold": failures,
    }


def _resources(profile: Profile) -> Data:
    if profile.device not in RESOURCES:
        return {}
    values = profile.values
    devices = values.get("tensor-parallel-size", 1) * values.get("pipeline-parallel-size", 1)
    return {"limits": {RESOURCES[profile.device]: devices // values.get("nodes", 1)}}


def _cann(profile: Profile) -> str | None:
    """The folder of the node that has CANN, which no image may."""
    cann = load_target(profile.target).data.get("cann")
    if not cann:
        return None
    return commonpath([path for key in ("toolkit", "atb", "driver") for path in cann[key][:1]])


_PLAIN = re.compile("-{0,2}[A-Za-z_/][A-Za-z0-9_./:@-]*[A-Za-z0-9_./@-]|[A-Za-z]")
_WORDS = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """The lines of YAML for what JSON can say."""
    items = value.items() if isinstance(value, dict) else (("-", each) for each in value)
    for key, each in items:
        head = indent + ("-" if key == "-" else f"{_scalar(key)}:")
        if not each or not isinstance(each, (dict, list)):
            first, *rest = _scalar(each).splitlines()
            yield f"{head} {first}"
            yield from (f"{indent}  {line}" if line else "" for line in rest)
        elif key == "-":
            first, *rest = _yaml(each, indent + "  ")
            yield f"{head} {first.lstrip()}"
            yield from rest
        else:
            yield head
            yield from _yaml(each, indent + "  ")


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return f"|\n{value}" if _is_text(value) else json.dumps(value)


def _is_text(value: Any) -> bool:
    """Whether it is lines that YAML shows as they are."""
    return isinstance(value, str) and bool(re.fullmatch(r"(\S[ -~]*\n)(\n* *\S[ -~]*\n)+", value))
