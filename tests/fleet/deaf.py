"""A client that asks and does not read: how long its connection is held.

deaf.py KEY BODY
"""

import socket
import sys
import time
from pathlib import Path

CLOSED = 7  # or about to be: TCP_CLOSE, and TCP_CLOSE_WAIT after it
LIMIT = 60

body = Path(sys.argv[2]).read_bytes()
head = f"authorization: Bearer {sys.argv[1]}\r\ncontent-type: application/json\r\n"
head += f"host: x\r\ncontent-length: {len(body)}\r\n\r\n"
with socket.socket() as connection:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", 80))
    connection.sendall(f"POST /v1/completions HTTP/1.1\r\n{head}".encode() + body)
    began = time.monotonic()
    state = 0
    while state < CLOSED and time.monotonic() - began < LIMIT:
        time.sleep(0.2)
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    print("held" if state < CLOSED else f"let go after {time.monotonic() - began:.0f} s")
