"""Where a host stands among those that serve a profile together, and what it must have as they have."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.hosts.likeness import of_environment, of_model
from vllm_nix.hosts.network import address_of, interface_of, own_address_to
from vllm_nix.hosts.place import Place
from vllm_nix.text import counted
from vllm_nix.version import __version__

MASTER_PORT = 29501  # vLLM's own default; vllm-nix meets on the next
_GPUS = Path("/proc/driver/nvidia/gpus")
# What each host may have of its own.
_OWN = frozenset(
    "api-key-file arguments download-dir draft-model env host model port summary".split()
)


@dataclass(frozen=True, slots=True)
class Host:
    """One of several hosts, of which the first is the head.

    Its own address and interface are None if the host is another than this machine.
    """

    nodes: int
    rank: int
    head: str
    port: int  # of the engine; the next is where hosts meet
    address: str | None
    interface: str | None

    @property
    def place(self) -> Place:
        """Where it stands, of a host that is this machine."""
        assert self.address
        return Place(self.nodes, self.rank, self.head, self.address, self.port + 1)

    def to_json(self) -> dict[str, object]:
        return {
            "nodes": self.nodes,
            "rank": self.rank,
            "head": self.head,
            "master-port": self.port,
            "address": self.address,
            "interface": self.interface,
        }


def host_of(nodes: int, rank: int | None, head: str | None, port: int, *, here: bool) -> Host:
    """This host as `rank` of several; `here`, if it is to run here and not only to be shown.

    Raises `InputError`, `Unavailable`.
    """
    if rank is None or head is None:
        lacking = " and ".join(
            option
            for option, value in ((f"--rank 0 to {nodes - 1}", rank), ("--head ADDRESS", head))
            if value is None
        )
        raise InputError(f"{counted(nodes, 'host')} serve this together: each needs {lacking}")
    if not 0 <= rank < nodes:
        raise InputError(f"--rank {rank} of {counted(nodes, 'host')}: they are 0 to {nodes - 1}")
    if not 1 <= port <= 65534:
        raise InputError(f"master-port {port} is not between 1 and 65534")
    there = address_of(head)
    own = own_address_to(there)
    if (rank == 0) == (own == there):
        return Host(nodes, rank, there, port, own, interface_of(own))
    if here:
        fault = f"is not this host, which is {own}" if rank == 0 else "is this host"
        raise InputError(f"head {head} {fault}: rank 0 runs on the head, the others elsewhere")
    return Host(nodes, rank, there, port, None, None)


def check_world(values: Mapping[str, Any], *, here: bool) -> None:
    """Checks that the hosts share the devices evenly, and have them if they are `here`. Raises `InputError`."""
    nodes = values.get("nodes", 1)
    tensors, stages = values.get("tensor-parallel-size", 1), values.get("pipeline-parallel-size", 1)
    world = tensors * stages
    if world % nodes:
        raise InputError(
            f"{counted(nodes, 'host')} cannot share {counted(world, 'device')} evenly, which are"
            f" tensor-parallel-size {tensors} times pipeline-parallel-size {stages}"
        )
    if (
        here
        and nodes > 1
        and _GPUS.is_dir()
        and (has := len(list(_GPUS.iterdir()))) < world // nodes
    ):
        raise InputError(
            f"this host has {counted(has, 'GPU')}, and {world} on {counted(nodes, 'host')} are"
            f" {world // nodes} on each"
        )


def facts_of(
    environment: Path,
    release: str,
    values: Mapping[str, Any],
    arguments: Sequence[str],
    models: Mapping[str, tuple[str, Path | None]],
) -> dict[str, str]:
    """What all hosts must have alike. Raises `InputError`."""
    words = [*values.get("arguments", ()), *arguments]
    facts = {"vllm-nix": __version__, "vllm": release, "arguments": " ".join(words)}
    facts |= {key: str(value) for key, value in values.items() if key not in _OWN}
    facts |= {f"variable {name}": value for name, value in values.get("env", {}).items()}
    for role, (name, folder) in models.items():
        facts |= of_model(role, folder, name)
    return facts | of_environment(environment)


def unset(variables: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Those variables that neither the profile nor the user has set."""
    own = {*os.environ, *values.get("env", {})}
    return {name: value for name, value in variables.items() if name not in own}
