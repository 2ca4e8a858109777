"""Asks clients of vLLM for the key, whatever they ask for: a middleware of its server (`--middleware`).

vLLM itself asks for it below /v1 and some other paths alone, and answers the rest, of which /invocations
runs a completion. Releases before 0.24 take the path that they judge from where Starlette before 1.0 puts it
together with the Host header, so that `Host: x?` needs no key at all. Here the path is the one that is served.

It runs beside any vLLM: the standard library alone, and no other module of ours.
"""

import hmac
import os
from collections.abc import Awaitable, Callable
from typing import Any

OPEN = "/health"  # which probes ask, and load balancers

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Gate:
    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app
        self.key: bytes = os.environ["VLLM_API_KEY"].encode()  # no server starts without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self.lets_pass(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})

    def lets_pass(self, scope: Scope) -> bool:
        # A browser asks without a key what it may ask (OPTIONS); that is all it gets.
        if scope["path"] == OPEN or scope.get("method") == "OPTIONS":
            return True
        scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        return bool(scheme.lower() == b"bearer") and hmac.compare_digest(key, self.key)
