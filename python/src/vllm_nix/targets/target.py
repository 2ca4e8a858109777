"""Targets: the systems that vLLM is built for, each a file of parameters that Nix reads as well."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from vllm_nix.arguments import check_text
from vllm_nix.data import TARGETS
from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import arch_list, table
from vllm_nix.paths import read_toml
from vllm_nix.targets.extends import extend
from vllm_nix.targets.parameters import Parameters, SharedProfiles
from vllm_nix.targets.rules import check_rules
from vllm_nix.targets.schema import check_known, check_schema


@dataclass(frozen=True, slots=True)
class Target:
    """One target and its checked parameters, as `lib.targets.<name>` of the flake has them."""

    name: str
    data: Parameters = field(repr=False, hash=False)

    @property
    def summary(self) -> str:
        """What it is for, in a line."""
        return self.data["summary"]

    @property
    def systems(self) -> tuple[str, ...]:
        """Nix systems, such as ``x86_64-linux``."""
        return tuple(self.data["systems"])

    def builds_on(self, system: str) -> bool:
        """Whether the flake has it for a Nix system: only what is locked can be assembled."""
        return (TARGETS / self.name / f"pylock.{system}.toml").exists()

    @property
    def python(self) -> str:
        """The interpreter's ``major.minor``."""
        return self.data["python"]

    def environment(self) -> dict[str, str]:
        """The variables that a build from source by hand exports."""
        cuda, torch, vllm = self.data.get("cuda"), self.data["torch"], self.data["vllm"]
        variables = dict(torch.get("env", {}))
        if cuda:
            variables["TORCH_CUDA_ARCH_LIST"] = arch_list(cuda["capabilities"])
        if torch["from"] == "source":
            variables["PYTORCH_BUILD_VERSION"] = torch["version"]
            # PyTorch refuses a version without a number; numbers above 1 become `.postN`.
            variables["PYTORCH_BUILD_NUMBER"] = str(torch.get("build-number", 1))
        if vllm["from"] == "source":
            variables["VLLM_TARGET_DEVICE"] = vllm["device"]
        return dict(sorted(variables.items()))

    def requirements(self) -> list[str]:
        """The requirements (PEP 508) that the target's wheel lock resolves."""
        torch, vllm = self.data["torch"], self.data["vllm"]
        plugin, verl = self.data.get("vllm-ascend"), self.data.get("verl")
        found = []
        if torch["from"] == "wheel":
            found.append(f"torch=={torch['version']}")
        if vllm["from"] == "wheel":
            found.append(f"{vllm['distribution']}=={vllm['version']}")
        if plugin and plugin["from"] == "wheel":
            found.append(f"vllm-ascend=={plugin['version']}")
        if verl:
            found.append(f"verl=={verl['version']}")
        return found + self.data.get("wheels", {}).get("require", [])

    def components(self) -> list[str]:
        """The wheels that are built here or provided, by their components' names; all others are locked."""
        torch, vllm = self.data["torch"], self.data["vllm"]
        from_source = {
            "torch": torch["from"] == "source",
            "triton": torch["from"] == "source" and "triton" in self.data,
            "vllm": vllm["from"] == "source",
            "vllm-ascend": self.data.get("vllm-ascend", {}).get("from") == "source",
            "flash-attn": "flash-attn" in self.data,
            "triton-ascend": "triton-ascend" in self.data,
        }
        built = [name for name, here in from_source.items() if here]
        vendor = self.data.get("neuron", {}).get("wheels", ())
        return [*built, *vendor, *sorted(self.data.get("sdists", {}))]

    def release(self, component: str) -> str:
        """The version of a component that is built here; AWS Neuron's wheels are their SDK's."""
        tables: Mapping[str, object] = self.data
        own = tables.get(component)
        release = self.data.get("sdists", {}).get(component)
        release = release or (own.get("version") if isinstance(own, Mapping) else None)
        return release or self.data.get("neuron", {}).get("sdk", "")

    def parameters(self) -> dict[str, Any]:
        """Everything that a derivation of this target is built from; equal to Nix's, key for key."""
        return {
            **self.data,
            "name": self.name,
            "environment": self.environment(),
            "requirements": self.requirements(),
            "components": self.components(),
        }


def target_names() -> tuple[str, ...]:
    """The names of the targets there are, sorted."""
    return tuple(sorted(file.parent.name for file in TARGETS.glob("*/target.toml")))


def shared_profiles() -> SharedProfiles:
    """What targets share: `common`, of every profile, and each `profile` by its name."""
    return cast(SharedProfiles, _table("profiles.toml"))


def rules() -> Mapping[str, Any]:
    """rules.toml: what a target's parameters must be to one another."""
    return _table("rules.toml")


def profile_keys() -> dict[str, Mapping[str, Any]]:
    """What a serve profile may hold, besides tables: the schema's rows by the keys of `serve.*`."""
    return {
        key.removeprefix("serve.*."): spec
        for key, spec in _table("schema.toml").items()
        if key.startswith("serve.*.") and not key.endswith("*")
    }


def load_target(name: str) -> Target:
    """The target called `name`. Raises `InputError` if there is none, or its file is wrong."""
    check_text("load_target: name", name)
    if name not in target_names():
        raise InputError(f"unknown target '{name}'; there are: {', '.join(target_names())}")
    return Target(name, complete_target(_place(name), _read_own(name)))


def read_target(path: Path, place: str | None = None) -> Parameters:
    """The checked data of one target file; messages call the file `place`. Raises `InputError`."""
    place = place or str(path)
    return complete_target(place, read_toml(path, place))


def complete_target(place: str, own: Mapping[str, Any]) -> Parameters:
    """What a file says, with what it takes from others, checked. Raises `InputError`."""
    data = _with_profiles(extend(place, own, target_names(), _read_own))
    check_target(place, data)
    return cast(Parameters, data)


def check_recorded(place: str, data: Mapping[str, Any]) -> None:
    """Checks what another release may have recorded of a target, in a manifest. Raises `InputError`."""
    check_known(_table("schema.toml"), place, data)


def check_target(place: str, data: Mapping[str, Any]) -> None:
    """Checks a target's data against the schema, then the rules. Raises `InputError`."""
    known = {**rules(), "capabilities": table()}
    check_schema(_table("schema.toml"), known, place, data)
    check_rules(known, place, data)


def _read_own(name: str) -> dict[str, Any]:
    """The file of a target as it stands."""
    return read_toml(TARGETS / name / "target.toml", _place(name))


def _place(name: str) -> str:
    return f"nix/targets/{name}/target.toml"


def _with_profiles(data: dict[str, Any]) -> dict[str, Any]:
    """A target's data, each of its serve profiles over what profiles.toml says of it."""
    serve, shared = data.get("serve"), _table("profiles.toml")
    if not isinstance(serve, dict):
        return data

    def over(name: str, own: object) -> object:
        # What is no table stays as it is, for the schema to name.
        known = shared["common"] | shared["profile"].get(name, {})
        return known | own if isinstance(own, dict) else own

    return data | {"serve": {name: over(name, own) for name, own in serve.items()}}


@cache
def _table(name: str) -> dict[str, Any]:
    return read_toml(TARGETS / name)
