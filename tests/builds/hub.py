"""A stand-in for a model hub: what the client of Hugging Face asks of one, from a folder."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the models in a folder; `cut` breaks the first answer that is longer off there."""

    daemon_threads = True

    def __init__(self, folder: Path, cut: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.cut = folder, cut
        self.ranges: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            self.describe("/".join(path.split("/")[2:4]), path)
            return
        model, _, rest = path.partition("/resolve/")
        file = self.server.folder / model / rest.partition("/")[2]
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        start = 0
        if wanted := self.headers.get("Range"):
            self.server.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not with_body:
            return
        cut = self.server.cut
        if cut is not None and len(data) > cut:
            self.server.cut = None
            self.wfile.write(data[start:cut])
            self.close_connection = True
        else:
            self.wfile.write(data[start:])

    def describe(self, model: str, path: str) -> None:
        folder = self.server.folder / model
        files = [str(file.relative_to(folder)) for file in sorted(folder.rglob("*"))]
        if not files:
            self.send_error(404)
            return
        sizes = {name: (folder / name).stat().st_size for name in files}
        about: object = {
            "id": model,
            "sha": COMMIT,
            "siblings": [{"rfilename": name, "size": size} for name, size in sizes.items()],
        }
        if "/tree/" in path:
            about = [
                {"type": "file", "path": name, "size": size, "oid": COMMIT}
                for name, size in sizes.items()
            ]
        body = json.dumps(about).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path, cut: int | None = None) -> Iterator[Hub]:
    with Hub(folder, cut) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()
