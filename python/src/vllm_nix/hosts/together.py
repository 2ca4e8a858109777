"""Programs that run on this host for as long as all hosts are there, and one of them has not ended."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_nix.errors import Error, Unavailable
from vllm_nix.hosts.likeness import Facts
from vllm_nix.hosts.meeting import GONE, Meeting, Say
from vllm_nix.hosts.network import with_port
from vllm_nix.hosts.place import Place
from vllm_nix.process import Outcome, run
from vllm_nix.text import counted

_READY = 120.0  # seconds until what the head starts first must answer
_ASKING = 0.3  # seconds between two questions whether it does


@dataclass(frozen=True, slots=True)
class Programs:
    """What a host runs: `first`, which answers at `answers` before the rest and the other hosts start."""

    then: Sequence[str]
    first: Sequence[str] = ()
    answers: tuple[str, int] | None = None


def run_together(
    place: Place,
    facts: Facts,
    programs: Programs,
    variables: Mapping[str, str],
    wait: float,
    say: Say,
) -> None:
    """Meets the other hosts, and runs the programs until one ends or a host is gone.

    Nothing of them is left then. Raises `Error` and its kinds for all but an end with status 0.
    """
    stop = threading.Event()
    try:
        asyncio.run(_run(place, facts, programs, {**os.environ, **variables}, wait, say, stop))
    finally:
        stop.set()


async def _run(
    place: Place,
    facts: Facts,
    programs: Programs,
    variables: Mapping[str, str],
    wait: float,
    say: Say,
    stop: threading.Event,
) -> None:
    meeting = Meeting(place, facts, say)
    running: dict[asyncio.Task[Outcome], str] = {}

    def start(words: Sequence[str]) -> None:
        task = asyncio.to_thread(
            run, words, environment=variables, shown=True, stop=stop, processes=0
        )
        running[asyncio.create_task(task)] = words[0]

    def is_over() -> bool:
        return meeting.gone.done() or any(task.done() for task in running)

    try:
        if place.rank:
            say(
                f"{place.name} of {place.nodes} waits up to {wait:g} s for {with_port(place.head, place.port)}"
            )
            await meeting.join(wait)
        else:
            others = counted(place.nodes - 1, "other host")
            say(f"{place.name} waits up to {wait:g} s for {others} at port {place.port}")
            await meeting.gather(wait)
            say(f"all {place.nodes} hosts are there, and alike")
            if programs.first:
                start(programs.first)
                await _until_it_answers(programs, is_over)
            await meeting.release()
        if programs.then and not is_over():
            start(programs.then)
        ends: list[asyncio.Future[Any]] = [meeting.gone, *running]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task, program in running.items():
            if task.done():
                if end := task.result().end:
                    raise Error(f"{program} ended ({end}), see above")
                return
        raise Unavailable(
            f"{meeting.gone.result()} is gone: it ended, or nothing came from it for {GONE} s; what"
            " ran here was ended too"
        )
    finally:
        stop.set()
        await asyncio.gather(*running, return_exceptions=True)
        meeting.close()


async def _until_it_answers(programs: Programs, is_over: Callable[[], bool]) -> None:
    assert programs.answers
    host, port = programs.answers

    async def asked() -> None:
        while not is_over():
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(_ASKING)
            else:
                writer.close()
                return

    try:
        await asyncio.wait_for(asked(), _READY)
    except asyncio.TimeoutError:
        raise Unavailable(
            f"{programs.first[0]} does not answer at {with_port(host, port)} after {_READY:g} s"
        ) from None
