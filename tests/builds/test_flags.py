"""What profiles are rendered to, and flags.toml says, held against vLLM's own argument parsers.

Each release's Python code is its source archive's; what it imports besides are the wheels of the CPU
environment. Its `main` runs up to where it would begin to serve (flags/parse.py).
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.conftest import ROOT, Nix, said
from vllm_nix.errors import InputError
from vllm_nix.serve import load_profile, profile_names, render
from vllm_nix.targets import load_target, target_names

pytestmark = pytest.mark.nix

FLAGS = tomllib.loads((ROOT / "python/src/vllm_nix/serve/flags.toml").read_text())
SOURCES = tomllib.loads((ROOT / "pkgs/vllm/sources.toml").read_text())["vllm"]
# What releases import, and the CPU target's newer vLLM has no more, or not yet.
MISSING = {
    "0.33.0": ["orjson"],
    "0.13.0": ["diskcache", "gguf"],
    "0.18.0": ["diskcache", "gguf"],
    "0.23.0": ["diskcache", "gguf"],
    "0.6.4.post1": ["gguf"],
    "0.3.3": ["outlines"],
}

# Of which targets have one with another command line.
PATCHES = {"0.3.3": '"neuron"'}

ALL = [(target, name) for target in target_names() for name in profile_names(target)]
OF_TARGETS = {load_target(target).data["vllm"]["version"] for target, _ in ALL}
# The others before 0.6.4 import what today's wheels have no more: what flags.toml says of them was read.
RELEASES = [
    pytest.param(release, marks=() if release in OF_TARGETS else pytest.mark.slow)
    for release in ["0.32.0", *SOURCES]
    if release in OF_TARGETS or Version(release) >= Version("0.6.4")
]

# Each value that a profile can have, on its own.
BASE = {"model": "m", "host": "::1", "port": 7, "download-dir": "/models"}
VALUES: list[Mapping[str, Any]] = [
    {"served-model-name": "s", "max-model-len": 512, "memory-share": 0.25, "max-num-seqs": 4},
    {"tensor-parallel-size": 2},
    {"tensor-parallel-size": 2, "pipeline-parallel-size": 2},
    *(
        {"nodes": 2, "rank": rank, "head": "10.0.0.1", "master-port": 7777, "headless": rank > 0}
        for rank in (0, 1)
    ),
    {"task": "generate"},
    {"task": "embed"},
    {"task": "rerank"},
    {"prefix-caching": True},
    {"prefix-caching": False},
    {"chunked-prefill": True},
    {"chunked-prefill": False},
    {"optimization-level": 3},
    {"trust-remote-code": True},
    {"draft-model": "d", "draft-tokens": 5, "draft-tensor-parallel-size": 1},
]


@dataclass(frozen=True)
class Answers:
    """What a release's parser made of profiles: their values, what it said, and its flags."""

    release: str
    asked: tuple[tuple[Mapping[str, Any], tuple[str, ...]], ...]
    lines: tuple[Mapping[str, Any], ...]
    flags: frozenset[str]
    speculative: frozenset[str]

    @property
    def pairs(self) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...], Mapping[str, Any]]]:
        for (profile, words), line in zip(self.asked, self.lines, strict=True):
            yield profile, words, line


def profiles(release: str) -> Iterator[tuple[Mapping[str, Any], str, Sequence[str]]]:
    """The values each by itself, and the profiles of the targets that have this release: with the device,
    and the words of vLLM's own."""
    for value in VALUES:
        yield {**BASE, **value}, "cuda", ()
    for target, name in ALL:
        profile = load_profile(target, name)
        if profile.release == release:
            yield profile.values, profile.device, profile.values.get("arguments", ())


@pytest.fixture(params=RELEASES, scope="module")
def answers(
    request: pytest.FixtureRequest,
    nix: Nix,
    environment: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Answers:
    release: str = request.param
    asked = []
    for profile, device, extra in profiles(release):
        try:
            asked.append((profile, (*render(profile, release, device), *extra)))
        except InputError:
            continue  # tests of flags.toml say which, and why
    folder = tmp_path_factory.mktemp("release")
    path = [] if release == "0.32.0" else [alias(release, folder), source(nix, release)]
    printed = said(
        *(environment / "bin/python", ROOT / "tests/builds/flags/parse.py"),
        *MISSING.get(release, []),
        input=json.dumps([words for _, words in asked]),
        cwd=folder,
        env={
            "HF_HUB_OFFLINE": "1",
            "HOME": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "VLLM_NIX_PYTHONPATH": os.pathsep.join(map(str, path)),
            "TMPDIR": str(folder),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_PLUGINS": "",  # those of the environment's own vLLM
        },
    )
    answer = json.loads(printed)
    return Answers(
        release,
        tuple(asked),
        tuple(answer["lines"]),
        frozenset(answer["flags"]),
        frozenset(answer["speculative-config"]),
    )


def alias(release: str, folder: Path) -> Path:
    """A folder that says of the release what its wheel for a CPU would: vLLM asks for that."""
    info = folder / f"vllm-{release}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {release}+cpu\n")
    return folder


def source(nix: Nix, release: str) -> Path:
    return nix.build(
        "(import ./nix/debian { overlays = [ (import ./overlays) ]; })"
        f'.vllmPackages.vllmSource {{ release = "{release}"; patches = [ {PATCHES.get(release, "")} ]; }}'
    )


def test_every_profile_is_understood(answers: Answers) -> None:
    assert len(answers.asked) >= 8
    for profile, words, line in answers.pairs:
        assert "values" in line, f"{words}: {line['error']}"
        values = line["values"]
        assert values.get("model_tag") == profile["model"] or values["model"] == profile["model"]
        assert (values["host"], values["port"]) == (profile["host"], profile["port"])
        for key, name in (
            ("max-model-len", "max_model_len"),
            ("max-num-seqs", "max_num_seqs"),
            ("memory-share", "gpu_memory_utilization"),
            ("tensor-parallel-size", "tensor_parallel_size"),
            ("pipeline-parallel-size", "pipeline_parallel_size"),
            ("trust-remote-code", "trust_remote_code"),
        ):
            assert key not in profile or values[name] == profile[key], words
        for key, name in (
            ("prefix-caching", "enable_prefix_caching"),
            ("chunked-prefill", "enable_chunked_prefill"),
        ):
            assert key not in profile or bool(values.get(name)) == profile[key], words


def test_several_hosts_are_understood(answers: Answers) -> None:
    ranks = []
    for profile, words, line in answers.pairs:
        if "rank" not in profile:  # who serves says it, and where the head is
            continue
        values = line["values"]
        ranks.append(profile["rank"])
        if "nnodes" not in values:  # then it is Ray that starts vLLM on the others
            by_ray = values.get("distributed_executor_backend") == "ray"
            assert by_ray or values["worker_use_ray"] is True, words
            continue
        assert (values["nnodes"], values["node_rank"]) == (2, profile["rank"]), words
        assert (values["master_addr"], values["master_port"]) == ("10.0.0.1", 7777), words
        assert values["headless"] == (profile["rank"] > 0), words
    by_itself = Version(answers.release) >= Version("0.11.1")
    assert ranks == ([0, 1] if by_itself else [0])


def test_the_optimization_level_arrives(answers: Answers) -> None:
    for profile, words, line in answers.pairs:
        if level := profile.get("optimization-level"):
            values = line["values"]
            said = values.get("optimization_level", values["compilation_config"])
            assert str(level) in str(said), words


def test_the_draft_model_arrives(answers: Answers) -> None:
    for profile, words, line in answers.pairs:
        if "draft-model" not in profile:
            continue
        values = line["values"]
        config = values.get("speculative_config") or {
            "model": values["speculative_model"],
            "num_speculative_tokens": values["num_speculative_tokens"],
        }
        config = json.loads(config) if isinstance(config, str) else config
        assert config["model"] == profile["draft-model"], words
        assert config["num_speculative_tokens"] == profile["draft-tokens"]
        if "speculative_config" in values:
            assert set(config) <= answers.speculative, "its own class for them has them all"


def test_flags_came_and_went_when_the_data_says(answers: Answers) -> None:
    for row in FLAGS["flag"]:
        is_there = Version(row.get("since", "0")) <= Version(answers.release) and (
            "before" not in row or Version(answers.release) < Version(row["before"])
        )
        for name in row["names"]:
            assert (name in answers.flags) == is_there, name
