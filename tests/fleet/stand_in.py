"""Plays vLLM for nginx: answers a completion at the pace that is asked for, and notes that it began.

    stand_in.py PORT NOTES KEY

It judges the path as vLLM 0.7.3 does, which has it from the Host header too (Starlette before 1.0).

A line of NOTES is a prompt that has begun. A body's `seconds` pass before the answer; `status` is the answer's;
with `stream`, two events go out, as many seconds apart. While NOTES.sick exists, /health is 503.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

port, notes, key = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(503 if notes.with_suffix(".sick").exists() else 200)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        os.write(file, f"{self.path} {body['prompt'][:40]}\n".encode())
        path = urlsplit(f"http://{self.headers['host']}{self.path}").path
        if path.startswith("/v1") and self.headers["authorization"] != f"Bearer {key}":
            self.answer(401)
        elif body.get("stream"):
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for word in ("one", "two"):
                event = f"data: {word}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                time.sleep(body["seconds"])
            self.wfile.write(b"0\r\n\r\n")
        else:
            time.sleep(body.get("seconds", 0))
            self.answer(body.get("status", 200), {"choices": [{"text": body["prompt"][:40]}]})

    def answer(self, status: int, body: Any = None) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("", port), Handler).serve_forever()
