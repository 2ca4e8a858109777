"""One profile of a target: its values, checked, and the command that they make."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from packaging.version import Version

from vllm_nix.arguments import check_text, check_texts, wrong
from vllm_nix.errors import InputError
from vllm_nix.hosts.network import with_port
from vllm_nix.paths import expand
from vllm_nix.serve.command import Command, distribution_of
from vllm_nix.serve.flags import (
    check_arguments,
    check_ray,
    network_variables,
    ray_variables,
    ray_words,
    render,
    starts_by_ray,
)
from vllm_nix.serve.group import MASTER_PORT, Host, check_world, facts_of, host_of, unset
from vllm_nix.serve.models import check_division, check_sizes, is_whole, provided
from vllm_nix.targets import ServeProfile, Target, check_target, load_target


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile's values by the keys of `serve.*` in data/targets/schema.toml.

    `release` is vLLM's version without a local label, `device` what it was built for. `environment`, if
    it is named, may come with models of its own.
    """

    target: str
    name: str
    release: str
    device: str
    values: ServeProfile = field(repr=False, hash=False)
    environment: Path | None = None

    @property
    def downloads(self) -> Path:
        """The folder that holds the profile's models, each in a folder of the model's name."""
        return expand(self.values["download-dir"])

    @property
    def models(self) -> tuple[str, ...]:
        """The model and, if it has one, the draft model: names on a hub, or folders."""
        draft = self.values.get("draft-model")
        return (self.values["model"], *((draft,) if draft else ()))

    def place(self, model: str) -> Path | None:
        """The folder that has `model` on this machine, if there is one."""
        folder = expand(model)
        if os.path.isfile(folder / "config.json"):  # noqa: PTH113 -- as `is_whole`
            return folder.absolute()
        if is_whole(self.downloads / model):
            return self.downloads / model
        return provided(self.environment, model) if self.environment else None

    def check_folders(self) -> None:
        """Checks that models which are named by a path are there. Raises `InputError`."""
        for model in self.models:
            if _is_path(model) and not self.place(model):
                raise InputError(f"{model} is not a model's folder: it has no config.json")

    def host(self, rank: int | None, head: str | None, *, here: bool = True) -> Host | None:
        """This host among those that serve the profile together; None if one does.

        `here`, if it is to run here, and not only to be shown. Raises `InputError`, `Unavailable`.
        """
        check_world(self.values, here=here)
        nodes = self.values.get("nodes", 1)
        if nodes > 1:
            port = self.values.get("master-port", MASTER_PORT)
            if self.values["port"] in (port, port + 1):
                raise InputError(
                    f"port {port} and the next are the hosts' own; give another --port"
                )
            return host_of(nodes, rank, head, port, here=here)
        if rank is not None or head is not None:
            raise InputError("one host serves this: --rank and --head go with --nodes 2 and more")
        return None

    def command(
        self, arguments: Sequence[str] = (), *, here: bool = True, host: Host | None = None
    ) -> Command:
        """What serves this; `arguments` are words of vLLM's own, put last.

        Models that are on this machine are named by their folders, if it serves `here`; on `host`, if
        several serve it together. Raises `InputError` with what the release cannot do.
        """
        check_texts("Profile.command: arguments", arguments)
        values: dict[str, Any] = dict(self.values)
        for key in ("model", "draft-model"):
            if here and key in values and (place := self.place(values[key])):
                values[key] = str(place)
        values["download-dir"] = str(self.downloads)
        values.setdefault("served-model-name", _name(self.values["model"]))
        arguments = [*values.get("arguments", ()), *arguments]
        check_arguments(arguments, self.release)
        for flag in (word.partition("=")[0] for word in arguments):
            if flag in _OURS:
                raise InputError(f"{flag} {_OURS[flag]}")
        check_sizes(values)
        check_division(values, self.place(self.values["model"]))
        values.pop("master-port", None)
        if values.pop("nodes", 1) > 1 and not host:
            raise InputError(f"{self.values['nodes']} hosts serve this together, and not one alone")
        if host:
            values |= {"nodes": host.nodes, "rank": host.rank, "headless": host.rank > 0}
            values |= {"head": host.head, "master-port": host.port}
        by_ray = host is not None and starts_by_ray(self.release, self.device)
        # By Ray, the head alone has these words; here they are to be refused on all hosts alike.
        shown = {**values, "headless": False} if by_ray else values
        command = Command(
            words=(*render(shown, self.release, self.device), *arguments),
            variables=dict(values.get("env", {})),
            api_key_file=expand(values["api-key-file"]),
            host=values["host"],
            port=values["port"],
            group=host,
        )
        if host is None:
            return command
        network = network_variables(self.release, self.device, host.address, host.interface)
        command = replace(command, variables={**command.variables, **unset(network, values)})
        return self._by_ray(command, host) if by_ray else command

    def _by_ray(self, command: Command, host: Host) -> Command:
        """The same where it is Ray that starts vLLM on the hosts but the head."""
        if self.environment:
            check_ray(distribution_of(self.environment, "ray"), host.head)
        ray = ray_words(host.rank, host.head, host.port, host.address)
        variables = {**command.variables, **unset(ray_variables(), self.values)}
        if host.rank:
            return replace(command, words=ray, variables=variables)
        variables["RAY_ADDRESS"] = with_port(host.head, host.port)
        return replace(command, first=ray, variables=variables)

    def facts(self, arguments: Sequence[str]) -> dict[str, str]:
        """What all hosts that serve this together must have alike. Raises `InputError`."""
        if self.environment is None:
            raise InputError("hosts that serve together are compared by their environments")
        models = zip(("model", "draft-model"), self.models, strict=False)
        folders = {role: (model, self.place(model)) for role, model in models}
        return facts_of(self.environment, self.release, self.values, arguments, folders)


def profile_names(target: str) -> tuple[str, ...]:
    """The names of a target's profiles, sorted. Raises `InputError` for an unknown target."""
    return tuple(sorted(load_target(target).data.get("serve", {})))


def load_profile(
    target: str,
    name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    release: str | None = None,
    environment: Path | None = None,
) -> Profile:
    """The profile `name` of a target, with `overrides` of its values and of vLLM's release.

    The models of `environment`, one that was built here, need no download.

    Raises `InputError` where there is none, or a value is not what the schema takes.
    """
    check_text("load_profile: name", name)
    if not isinstance(overrides, Mapping | None):
        raise wrong("load_profile: overrides", "a mapping", overrides)
    check_texts("load_profile: overrides", overrides or (), "keys that are strings")
    check_text("load_profile: release", release, optional=True)
    if release is not None and not _is_release(release):
        raise InputError(f"load_profile: release: '{release}' is not a release, such as 0.32.0")
    loaded = load_target(target)
    profiles = loaded.data.get("serve", {})
    if name not in profiles:
        known = f"it has: {', '.join(sorted(profiles))}" if profiles else "it has none"
        raise InputError(f"target '{target}' has no profile '{name}'; {known}")
    values = {**profiles[name], **(overrides or {})}
    _check(loaded, name, values)
    vllm = loaded.data["vllm"]
    whole = cast(ServeProfile, values)
    return Profile(target, name, release or vllm["version"], vllm["device"], whole, environment)


def _check(target: Target, name: str, values: Mapping[str, Any]) -> None:
    place = f"{target.name} {name}"
    check_target(place, {**target.data, "serve": {name: values}})
    if not 1 <= values["port"] <= 65535:
        raise InputError(f"{place}: port {values['port']} is not between 1 and 65535")
    if not 0 < values.get("memory-share", 1.0) <= 1:
        raise InputError(f"{place}: memory-share {values['memory-share']} is not between 0 and 1")
    for key in _COUNTS:
        if values.get(key, 1) < 1:
            raise InputError(f"{place}: {key} {values[key]} is less than 1")
    drafts = [key for key in _DRAFTS if key in values]
    lacking = [key for key in _DRAFTS[:2] if key not in values]
    if drafts and lacking:
        raise InputError(f"{place}: {drafts[0]} needs {' and '.join(lacking)}")


# Flags of vLLM's that are not to be given to it by hand, and why.
_OURS = {
    # What is checked to be free would not be what is used.
    **dict.fromkeys(("--host", "--port"), "is the profile's own option: give it before the --"),
    "--api-key": "would show in every process list: the key is what --api-key-file has",
    **dict.fromkeys(
        ("--headless", "--master-addr", "--master-port", "--nnodes", "--node-rank"),
        "follows from --nodes, --rank and --head, before the --",
    ),
}
_DRAFTS = ("draft-model", "draft-tokens", "draft-tensor-parallel-size")  # the last may be left out
_COUNTS = (
    *("draft-tokens", "draft-tensor-parallel-size", "tensor-parallel-size"),
    *("pipeline-parallel-size", "nodes", "max-model-len", "max-num-seqs"),
)


def _is_release(text: str) -> bool:
    try:
        Version(text)
    except ValueError:
        return False
    return True


def _name(model: str) -> str:
    """What clients call a model: its name on a hub, or its folder's."""
    return Path(model).name if _is_path(model) else model


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~"))
