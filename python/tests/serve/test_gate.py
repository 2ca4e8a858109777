"""What asks vLLM's clients for the key on every path; a stand-in plays the rest of its server.

With vLLM itself: tests/fleet/test_faults.py and test_pod.py.
"""

import asyncio
from typing import Any

import pytest

from vllm_nix.serve.gate.vllm_nix_gate import Gate

KEY = "sk-secret"


def ask(path: str, *headers: tuple[str, str], kind: str = "http", method: str = "POST") -> Any:
    """What of ASGI's messages is said to a client."""
    said: list[dict[str, Any]] = []

    async def vllm(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "vllm", "status": 200})

    async def receive() -> None: ...

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": kind, "method": method, "path": path, "headers": raw}
    if kind == "lifespan":
        scope = {"type": kind}
    asyncio.run(Gate(vllm)(scope, receive, send))
    return said


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)


RIGHT = ("authorization", f"Bearer {KEY}")


@pytest.mark.parametrize("path", ["/invocations", "/v1/models", "/metrics", "/health/", "//health"])
def test_every_path_asks_for_the_key(path: str) -> None:
    assert [message["type"] for message in ask(path, RIGHT)] == ["vllm"]
    assert ask(path, ("authorization", f"bearer {KEY}"))[0]["type"] == "vllm"
    for wrong in ((), (("authorization", ""),), (("authorization", f"Basic {KEY}"),)):
        assert ask(path, *wrong)[0]["status"] == 401
    for value in (KEY, "Bearer", "Bearer ", f"Bearer {KEY}x", f"Bearer  {KEY}", "Bearer \xff"):
        start, body = ask(path, ("authorization", value), ("host", "x?"))
        assert start["status"] == 401
        assert body == {"type": "http.response.body", "body": b'{"error": "Unauthorized"}'}


def test_probes_and_browsers_have_no_key() -> None:
    assert ask("/health", method="GET")[0]["type"] == "vllm"
    assert ask("/v1/completions", method="OPTIONS")[0]["type"] == "vllm"
    assert ask("", kind="lifespan")[0]["type"] == "vllm"


def test_a_websocket_is_closed() -> None:
    assert ask("/v1/realtime", kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert ask("/v1/realtime", RIGHT, kind="websocket")[0]["type"] == "vllm"


def test_no_server_starts_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY")
    with pytest.raises(KeyError):
        Gate(lambda *_: asyncio.sleep(0))
