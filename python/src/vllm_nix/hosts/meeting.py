"""Hosts find one another, see whether they are alike, and notice when one is gone.

The head listens until all are there: one line of JSON from each other host, which says its rank and facts
(`likeness`); one line back, which says that all may start, or why this one may not. Nothing secret is said,
and nothing that comes is trusted to be more than text. The connections stay open for as long as the hosts
work together, and nothing is said by them: when one ends, so has a host. A host that is cut off or
without power ends nothing; the kernel asks for it (TCP keepalive), and has no answer.
"""

import asyncio
import errno
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from vllm_nix.errors import InputError, Unavailable
from vllm_nix.hosts.likeness import Facts, differences, sentence
from vllm_nix.hosts.network import with_port
from vllm_nix.hosts.place import Place
from vllm_nix.text import counted

_VERSION = 1
_LONGEST = 1 << 20  # bytes of a line; an environment's facts are 30 kB
_SPEAKING = 10.0  # seconds for a line to come
_GUESTS = 64  # connections at a time beyond those of hosts
_AGAIN = 1.0  # seconds between two tries to reach the head
# Seconds of silence until the kernel asks, between two questions, and how many stay without an answer.
_IDLE, _INTERVAL, _COUNT = 3, 2, 3
GONE = _IDLE + _INTERVAL * _COUNT  # seconds until a host that is cut off counts as gone

Say = Callable[[str], None]


@dataclass
class Meeting:
    """The hosts that have met: what this one holds of the others."""

    place: Place
    facts: Facts
    say: Say
    others: dict[int, asyncio.StreamWriter] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    guests: int = 0
    complete: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    gone: "asyncio.Future[str]" = field(default_factory=asyncio.Future)
    watching: "asyncio.Task[None] | None" = None

    # ---- the head ----

    async def gather(self, wait: float) -> None:
        """Waits for all others. Raises `InputError`, `Unavailable`."""
        place = self.place
        try:
            server = await asyncio.start_server(
                self._greet, place.address, place.port, limit=_LONGEST
            )
        except OSError as error:
            used = error.errno == errno.EADDRINUSE
            reason = "is in use" if used else f"is not ours: {error.strerror}"
            raise InputError(
                f"port {place.port} of {place.address} {reason}; give another: --master-port, which"
                " is one less"
            ) from error
        try:
            await asyncio.wait_for(self._all_others(), wait)
        except asyncio.TimeoutError:
            lacking = sorted({*range(1, place.nodes)} - self.others.keys())
            which = ", ".join(map(str, lacking))
            ranks = f"rank {which}" if len(lacking) == 1 else f"ranks {which}"
            raise Unavailable(
                f"{ranks} of {place.nodes} did not come to {with_port(place.address, place.port)} within"
                f" {wait:g} s"
            ) from None
        finally:
            server.close()  # which the connections outlive
        self.complete = True

    async def _all_others(self) -> None:
        while len(self.others) < self.place.nodes - 1:
            self.changed.clear()
            await self.changed.wait()

    async def release(self) -> None:
        """Lets the others start."""
        for writer in self.others.values():
            with suppress(OSError):
                await _send(writer, {"start": True})

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # which asyncio prints before Python 3.12
            await self._host(reader, writer)

    async def _host(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One that came: a host for as long as it stays, or somebody else."""
        if self.guests >= _GUESTS:
            writer.close()
            return
        self.guests += 1
        try:
            hello = _hello(await _line(reader))
        finally:
            self.guests -= 1
        if hello is None:
            writer.close()
            return
        rank, theirs = int(hello["rank"]), hello["facts"]
        name = f"host {writer.get_extra_info('peername')[0]} (rank {rank})"
        if because := self._objection(rank, int(hello["nodes"]), name, theirs):
            self.say(f"{because}; it was refused, and may come again")
            with suppress(OSError):
                await _send(writer, {"refused": because})
            writer.close()
            return
        _watch(writer)
        self.others[rank], self.names[rank] = writer, name
        self.changed.set()
        with suppress(OSError):
            await reader.read(1)  # until it has gone
        if self.complete:
            self._lost(name)
        else:
            del self.others[rank]

    def _objection(self, rank: int, nodes: int, name: str, theirs: Facts) -> str | None:
        """Why a host may not come in."""
        place = self.place
        if nodes != place.nodes:
            return f"{name} is one of {counted(nodes, 'host')}, {place.name} of {place.nodes}"
        if not 0 < rank < nodes:
            return f"{name} is none of ranks 1 to {nodes - 1}, which others than the head have"
        if rank in self.others:
            return f"{name} comes second: {self.names[rank]} is there already"
        keys = differences(self.facts, theirs)
        return sentence(keys, (name, theirs), (place.name, self.facts)) if keys else None

    # ---- another ----

    async def join(self, wait: float) -> None:
        """Comes to the head, and waits until all may start. Raises `InputError`, `Unavailable`."""
        place, deadline = self.place, time.monotonic() + wait
        hello = {
            "vllm-nix": _VERSION,
            "rank": place.rank,
            "nodes": place.nodes,
            "facts": self.facts,
        }
        why = ""
        while (left := deadline - time.monotonic()) > 0:
            try:
                connecting = asyncio.open_connection(place.head, place.port, limit=_LONGEST)
                reader, writer = await asyncio.wait_for(connecting, left)
            except (OSError, asyncio.TimeoutError) as error:
                number = error.errno if isinstance(error, OSError) else None
                why = os.strerror(number) if number else "no answer"
                await asyncio.sleep(min(_AGAIN, max(0, deadline - time.monotonic())))
                continue
            try:
                _watch(writer)
                with suppress(OSError):
                    await _send(writer, hello)
                answer = await _line(reader, deadline - time.monotonic()) or {}
                if isinstance(because := answer.get("refused"), str):
                    raise InputError(because[:2000])
                if answer.get("start") is True:
                    self.others[0] = writer
                    self.watching = asyncio.create_task(self._until_gone(reader))
                    return
            finally:
                if not self.others:
                    writer.close()
            why = ""
            await asyncio.sleep(min(_AGAIN, max(0, deadline - time.monotonic())))
        head = with_port(place.head, place.port)
        if why:
            raise Unavailable(f"no head at {head} within {wait:g} s ({why}); is rank 0 started?")
        raise Unavailable(
            f"{head} did not say within {wait:g} s that all may start; have all been started?"
        )

    async def _until_gone(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            await reader.read(1)
        self._lost(f"host {self.place.head} (rank 0)")

    # ---- both ----

    def _lost(self, name: str) -> None:
        if not self.gone.done():
            self.gone.set_result(name)

    def close(self) -> None:
        """Tells the others, by going."""
        for writer in self.others.values():
            writer.close()


def _watch(writer: asyncio.StreamWriter) -> None:
    """Has the kernel notice when the other host is cut off."""
    connection = writer.get_extra_info("socket")
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _COUNT),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE * 1000),  # of what was said last
    ):
        connection.setsockopt(level, option, value)


async def _send(writer: asyncio.StreamWriter, message: object) -> None:
    writer.write(json.dumps(message).encode() + b"\n")
    await writer.drain()


async def _line(reader: asyncio.StreamReader, limit: float = _SPEAKING) -> dict[str, Any] | None:
    """The next line, if it is a JSON object and comes in time."""
    try:
        value = json.loads(await asyncio.wait_for(reader.readline(), limit))
    except (OSError, asyncio.TimeoutError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _hello(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a host says of itself; None if it is none."""
    if value is None or value.get("vllm-nix") != _VERSION:
        return None
    numbers = (value.get("rank"), value.get("nodes"))
    facts = value.get("facts")
    if not all(type(number) is int for number in numbers) or not isinstance(facts, dict):
        return None
    return value if all(isinstance(fact, str) for fact in facts.values()) else None
