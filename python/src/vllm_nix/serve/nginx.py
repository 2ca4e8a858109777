"""nginx in front of several servers of one profile: its configuration, from their addresses.

>>> from vllm_nix.serve import load_profile
>>> print(render(load_profile("cpu", "chat"), ["10.0.0.1:8000"]).splitlines()[2])
upstream vllm_cpu_chat {
"""

import ipaddress
import re
from collections.abc import Sequence

from vllm_nix.arguments import check_texts
from vllm_nix.errors import InputError
from vllm_nix.serve.profile import Profile

# Only what the servers ask for a key, and /health, are passed on: releases of vLLM answer others, such as
# /invocations, to whoever asks.
_TEMPLATE = """\
# {name}: one address for several servers. For nginx's http {{ }}: a file in /etc/nginx/conf.d.

upstream {name} {{
    zone {name} 64k;  # all of nginx's processes count together
    least_conn;  # one answer takes a tenth of a second, another minutes
{servers}
}}

server {{
    listen {listen};

    client_max_body_size 32m;
    client_body_buffer_size 1m;  # longer prompts wait in a file
    client_header_timeout 30s;
    client_body_timeout 30s;  # without a byte, as below
    send_timeout 60s;

    proxy_http_version 1.1;
    # A connection for each request: on one that is kept, nginx cannot know whether a request that failed
    # had begun.
    proxy_set_header Connection close;
    # nginx's own name for them, and not a client's: by a Host of its own, vLLM until 0.18 and later was had to
    # take another path for the one that it judged.
    proxy_set_header Host $proxy_host;
    proxy_buffering off;  # each token as it comes
    proxy_connect_timeout 2s;
    proxy_send_timeout 60s;
    proxy_read_timeout 600s;  # the longest silence: what is not streamed is silent to its end

    # The next server gets a request that no server has taken. One that had been sent is not sent again
    # (a POST; there is no `non_idempotent` here): it may have run, and may have been paid for.
    proxy_next_upstream error timeout http_502 http_503;

    location /v1/ {{
        proxy_pass http://{name}/v1/;
    }}
    location = /health {{
        proxy_pass http://{name}/health;
        proxy_read_timeout 5s;
    }}
    location / {{
        return 404;
    }}
}}
"""
# A server that failed is left alone for that long; each failure after it, again.
_SERVER = "    server {} max_fails=1 fail_timeout=5s;"


def render(profile: Profile, replicas: Sequence[str]) -> str:
    """What nginx includes in its `http { }` to serve `profile` from `replicas`, each HOST:PORT.

    It listens where the profile says. Raises `InputError` for what is no address, or twice there.
    """
    check_texts("nginx: replicas", replicas)
    own = _address(profile.values["host"], profile.values["port"])
    servers = [_parse(text) for text in replicas]
    if not servers:
        raise InputError(
            "nginx has no server to pass requests on to; give each: --replica HOST:PORT"
        )
    for i, server in enumerate(servers):
        if server in servers[:i]:
            raise InputError(f"--replica {server} is there twice")
        if server == own:
            raise InputError(
                f"--replica {server} is where nginx itself listens; give it another: --host, --port"
            )
    return _TEMPLATE.format(
        name=re.sub("[^A-Za-z0-9]", "_", f"vllm_{profile.target}_{profile.name}"),
        listen=own,
        servers="\n".join(map(_SERVER.format, servers)),
    )


def _parse(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise InputError(f"--replica '{text}' is not HOST:PORT, such as 10.0.0.1:8000")
    if ":" in host and not re.fullmatch(r"\[.*\]", host):
        raise InputError(f"--replica '{text}': put an IPv6 address in brackets, [{host}]:{port}")
    return _address(host.strip("[]"), int(port))


def _address(host: str, port: int) -> str:
    """An address in nginx's words; a name as it is. Raises `InputError`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host):
            raise InputError(f"host '{host}' is neither an address nor a name") from None
        return f"{host}:{port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
