"""Hosts that meet, in one process, on 127.0.0.1; and those that come uninvited."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from vllm_nix.errors import InputError, Unavailable
from vllm_nix.hosts import meeting as module
from vllm_nix.hosts.meeting import Meeting
from vllm_nix.hosts.place import Place
from vllm_nix.serve.chat import free_port

FACTS = {"vllm": "0.32.0", "torch": "2.13.0"}
HOME = "127.0.0.1"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.05)


class Hosts:
    """What a test makes of hosts, and what they said."""

    def __init__(self) -> None:
        self.port = free_port()
        self.said: list[str] = []

    def host(self, rank: int, nodes: int = 2, **facts: str) -> Meeting:
        place = Place(nodes, rank, HOME, HOME, self.port)
        return Meeting(place, FACTS | facts, self.said.append)

    async def met(self, *ranks: int) -> list[Meeting]:
        """All of them, met and released."""
        meetings = [self.host(rank, len(ranks)) for rank in ranks]
        joining = [asyncio.create_task(one.join(5)) for one in meetings[1:]]
        await meetings[0].gather(5)
        await meetings[0].release()
        await asyncio.gather(*joining)
        return meetings


async def go_on(head: Meeting, other: Meeting, gathering: asyncio.Task[None]) -> None:
    """The right host comes, and both start."""
    joining = asyncio.create_task(other.join(5))
    await gathering
    await head.release()
    await joining
    for each in (head, other):
        each.close()


def play(test: Callable[[Hosts], Coroutine[None, None, None]]) -> list[str]:
    async def main() -> list[str]:
        hosts = Hosts()
        await asyncio.wait_for(test(hosts), 60)
        return hosts.said

    return asyncio.run(main())


def test_all_notice_when_one_is_gone() -> None:
    async def test(hosts: Hosts) -> None:
        head, one, two = await hosts.met(0, 1, 2)
        await asyncio.sleep(0.05)
        assert not any(each.gone.done() for each in (head, one, two))
        two.close()
        assert await asyncio.wait_for(head.gone, 5) == f"host {HOME} (rank 2)"
        head.close()
        assert await asyncio.wait_for(one.gone, 5) == f"host {HOME} (rank 0)"
        one.close()

    assert play(test) == []


def test_nobody_may_come_any_more() -> None:
    async def test(hosts: Hosts) -> None:
        head, one = await hosts.met(0, 1)
        with pytest.raises(OSError):
            await asyncio.open_connection(HOME, hosts.port)
        for each in (head, one):
            each.close()

    play(test)


@pytest.mark.parametrize(
    ("nodes", "rank", "facts", "because"),
    [
        (2, 1, {"vllm": "0.32.1"}, "has vllm 0.32.1 where host 127.0.0.1 (rank 0) has vllm 0.32.0"),
        (2, 1, {"ray": "2.40.0"}, "has ray 2.40.0 where host 127.0.0.1 (rank 0) has no ray"),
        (3, 1, {}, "is one of 3 hosts, host 127.0.0.1 (rank 0) of 2"),
        (2, 0, {}, "is none of ranks 1 to 1, which others than the head have"),
        (2, 7, {}, "is none of ranks 1 to 1"),
        (2, -1, {}, "is none of ranks 1 to 1"),
    ],
)
def test_who_is_refused(nodes: int, rank: int, facts: dict[str, str], because: str) -> None:
    """And learns why; the head stays, and the right one may come."""

    async def test(hosts: Hosts) -> None:
        head = hosts.host(0)
        gathering = asyncio.create_task(head.gather(5))
        with pytest.raises(InputError) as caught:
            await hosts.host(rank, nodes, **facts).join(5)
        assert because in str(caught.value)
        await go_on(head, hosts.host(1), gathering)

    (said,) = play(test)
    assert because in said
    assert said.endswith("it was refused, and may come again")


def test_a_rank_twice() -> None:
    async def test(hosts: Hosts) -> None:
        head = hosts.host(0, 3)
        gathering = asyncio.create_task(head.gather(1))
        first = asyncio.create_task(hosts.host(1, 3).join(5))
        while not head.others:
            await asyncio.sleep(0.01)
        with pytest.raises(InputError, match=r"\(rank 1\) comes second: host 127.0.0.1 \(rank 1\)"):
            await hosts.host(1, 3).join(5)
        with pytest.raises(Unavailable, match=r"rank 2 of 3 did not come to .* within 1 s"):
            await gathering
        first.cancel()

    play(test)


def test_one_that_goes_before_the_start_leaves_its_place() -> None:
    async def test(hosts: Hosts) -> None:
        head = hosts.host(0, 3)
        gathering = asyncio.create_task(head.gather(9))
        gone = asyncio.create_task(hosts.host(1, 3).join(9))
        while not head.others:
            await asyncio.sleep(0.01)
        gone.cancel()
        while head.others:
            await asyncio.sleep(0.01)
        others = [hosts.host(rank, 3) for rank in (1, 2)]
        joining = [asyncio.create_task(each.join(9)) for each in others]
        await gathering
        await head.release()
        await asyncio.gather(*joining)
        for each in (head, *others):
            each.close()

    play(test)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xff\n",
        b"[" * 100_000 + b"\n",
        b"x" * (2 << 20),
        b"[]\n",
        b'{"vllm-nix": 1}\n',
        json.dumps({"vllm-nix": 1, "rank": True, "nodes": 2, "facts": {}}).encode() + b"\n",
        json.dumps({"vllm-nix": 1, "rank": 1, "nodes": 2, "facts": {"a": 1}}).encode() + b"\n",
        json.dumps({"vllm-nix": 9, "rank": 1, "nodes": 2, "facts": FACTS}).encode() + b"\n",
        b"",
    ],
    ids=lambda said: f"{said[:20]!r}",
)
def test_what_a_stranger_says_is_not_answered(said: bytes) -> None:
    async def test(hosts: Hosts) -> None:
        head = hosts.host(0)
        gathering = asyncio.create_task(head.gather(5))
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection(HOME, hosts.port)
        writer.write(said)
        if not said:
            writer.write_eof()
        with suppress(ConnectionResetError):  # it did not even read to the end
            assert await reader.read() == b""
        writer.close()
        await go_on(head, hosts.host(1), gathering)

    assert play(test) == []


def test_strangers_who_say_nothing_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GUESTS", 3)

    async def silent(hosts: Hosts) -> None:
        head = hosts.host(0)
        gathering = asyncio.create_task(head.gather(20))
        await asyncio.sleep(0.05)
        strangers = [socket.create_connection((HOME, hosts.port)) for _ in range(9)]
        other = hosts.host(1)
        joining = asyncio.create_task(other.join(20))
        await asyncio.sleep(0.3)
        assert not joining.done(), "there is no room yet"
        for each in strangers:
            each.close()
        await gathering
        await head.release()
        await joining
        for meeting in (head, other):
            meeting.close()

    play(silent)


def test_a_head_that_nobody_answers_at() -> None:
    async def test(hosts: Hosts) -> None:
        with pytest.raises(Unavailable) as caught:
            await hosts.host(1).join(0.2)
        assert str(caught.value) == (
            f"no head at {HOME}:{hosts.port} within 0.2 s (Connection refused); is rank 0 started?"
        )

    play(test)


def test_a_head_that_is_something_else() -> None:
    """It takes connections, and never answers as a head does."""

    async def test(hosts: Hosts) -> None:
        said = pytest.raises(Unavailable, match=r"did not say within 0\.5 s that all may start")
        with socket.create_server((HOME, hosts.port)), said:
            await hosts.host(1).join(0.5)

    play(test)


def test_a_port_in_use() -> None:
    async def test(hosts: Hosts) -> None:
        said = pytest.raises(InputError, match="is in use; give another: --master-port")
        with socket.create_server((HOME, hosts.port)), said:
            await hosts.host(0).gather(1)

    play(test)
