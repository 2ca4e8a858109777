"""Where a host stands among those that work together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Its `rank` of `nodes`, its own address, and the head's, with the port where hosts meet."""

    nodes: int
    rank: int
    head: str
    address: str
    port: int

    @property
    def name(self) -> str:
        return f"host {self.address} (rank {self.rank})"
