"""What a checked target has: its tables by the rows of schema.toml, typed; a test compares the two."""

from collections.abc import Mapping
from typing import Literal, TypedDict

from vllm_nix.since_311 import Required

From = Literal["source", "wheel"]


class Version(TypedDict):
    version: str


class Toolkit(TypedDict):
    toolkit: str
    capabilities: list[str]


class Libraries(TypedDict):
    libraries: list[str]


Torch = TypedDict(
    "Torch",
    {
        "version": Required[str],
        "from": Required[From],
        "build-number": int,
        "distributed": Required[list[str]],
        "env": dict[str, str],
    },
    total=False,
)
Vllm = TypedDict(
    "Vllm",
    {
        "distribution": Required[str],
        "version": Required[str],
        "from": Required[From],
        "device": Required[str],
        "patches": list[str],
    },
    total=False,
)
VllmAscend = TypedDict("VllmAscend", {"version": str, "from": From})


class FlashAttn(TypedDict, total=False):
    version: Required[str]
    disable: list[str]


Neuron = TypedDict(
    "Neuron",
    {"sdk": Required[str], "devices": Required[list[str]], "wheels": list[str], "neuronx-cc": str},
    total=False,
)


class Revision(TypedDict):
    rev: str


class Cann(TypedDict, total=False):
    version: Required[str]
    toolkit: list[str]
    atb: list[str]
    driver: list[str]
    libraries: list[str]


class Index(TypedDict):
    url: str
    systems: list[str]


Slim = TypedDict(
    "Slim", {"for": Required[str], "distributions": list[str], "unfree": bool}, total=False
)
Wheels = TypedDict(
    "Wheels",
    {
        "require": list[str],
        "exclude": list[str],
        "override": list[str],
        "platform": str,
        "before": str,
        "index": dict[str, Index],
        "libraries": dict[str, list[str]],
        "optional-libraries": dict[str, str],
        "diet": bool,
        "slim": Slim,
    },
    total=False,
)


class Kernels(TypedDict):
    modules: list[str]


class Run(TypedDict, total=False):
    tools: list[str]
    env: dict[str, str]


class Shell(TypedDict):
    tools: list[str]


Build = TypedDict("Build", {"memory-per-job": str})
ServeProfile = TypedDict(
    "ServeProfile",
    {
        "summary": str,
        "model": Required[str],
        "served-model-name": str,
        "task": Required[str],
        "draft-model": str,
        "draft-tokens": int,
        "draft-tensor-parallel-size": int,
        "tensor-parallel-size": int,
        "pipeline-parallel-size": int,
        "nodes": int,
        "master-port": int,
        "prefix-caching": bool,
        "chunked-prefill": bool,
        "optimization-level": int,
        "memory-share": float,
        "max-model-len": int,
        "max-num-seqs": int,
        "trust-remote-code": bool,
        "download-dir": Required[str],
        "api-key-file": Required[str],
        "host": Required[str],
        "port": Required[int],
        "arguments": list[str],
        "env": dict[str, str],
    },
    total=False,
)
Parameters = TypedDict(
    "Parameters",
    {
        "summary": Required[str],
        "systems": Required[list[str]],
        "python": Required[str],
        "models": list[str],
        "jetpack": Version,
        "cuda": Toolkit,
        "driver": Libraries,
        "nccl": Version,
        "torch": Required[Torch],
        "triton": Version,
        "cutlass": Version,
        "vllm-flash-attn": Revision,
        "vllm": Required[Vllm],
        "neuron": Neuron,
        "vllm-ascend": VllmAscend,
        "triton-ascend": Version,
        "cann": Cann,
        "sdists": dict[str, str],
        "flash-attn": FlashAttn,
        "verl": Version,
        "wheels": Wheels,
        "kernels": Kernels,
        "run": Run,
        "shell": Shell,
        "build": Build,
        "serve": dict[str, ServeProfile],
    },
    total=False,
)


class SharedProfiles(TypedDict):
    """What profiles.toml says: parts of profiles, of all of them and of each by its name."""

    common: Mapping[str, str]
    profile: Mapping[str, Mapping[str, object]]
