"""A binary cache for hosts: a folder that `nix copy` fills, served by nginx."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.hosts import Host, need, stop

NGINX = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {}
http {
  log_format moved '$status $body_bytes_sent $uri';
  access_log moved.log moved;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
  uwsgi_temp_path temp; scgi_temp_path temp;
  SERVER
}
"""


def start_nginx(host: Host, server: str) -> subprocess.Popen[str]:
    need("nginx")
    host.write("nginx.conf", NGINX.replace("SERVER", server))
    process = host.start("nginx", "-e", "stderr", "-p", str(host.home), "-c", "nginx.conf")
    host.reach("127.0.0.1", 80)
    return process


@dataclass(frozen=True)
class Answer:
    status: int
    size: int
    path: str


class Cache:
    """`folder` is the cache, `key` what hosts trust."""

    def __init__(self, host: Host) -> None:
        need("nix")
        self.host = host
        self.folder = host.home / "cache"
        self.folder.mkdir(exist_ok=True)
        self.log = host.home / "moved.log"
        self.url = f"http://{host.name}"
        self.key = self.make_key("cache.example.org-1")
        self.start()

    def make_key(self, name: str, file: str = "") -> str:
        """A key pair: `FILE.sec`, which signs, and the public one, which is trusted."""
        files = [str(self.host.home / f"{file or name}.{kind}") for kind in ("sec", "pub")]
        subprocess.run(["nix-store", "--generate-binary-cache-key", name, *files], check=True)
        return Path(files[1]).read_text()

    def start(self) -> None:
        self._nginx = start_nginx(self.host, "server { listen 80; root cache; }")

    def stop(self) -> None:
        stop(self._nginx)

    def publish(
        self, path: str, key: str | None = "cache.example.org-1", compression: str = "zstd"
    ) -> None:
        """Copies a closure of the machine's own store, as the documents say."""
        url = f"file://{self.folder}?compression={compression}"
        if key:
            url += f"&secret-key={self.host.home}/{key}.sec"
        subprocess.run(
            ["nix", "--extra-experimental-features", "nix-command", "copy", "--to", url, path],
            check=True,
            capture_output=True,
        )

    def files(self, path: str) -> tuple[Path, Path]:
        """The narinfo and the NAR of a store path."""
        narinfo = self.folder / f"{Path(path).name[:32]}.narinfo"
        lines = dict(line.split(": ", 1) for line in narinfo.read_text().splitlines())
        return narinfo, self.folder / lines["URL"]

    def answers(self) -> list[Answer]:
        """What was asked for since the last time, and how many bytes went out."""
        rows = [line.split(maxsplit=2) for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [Answer(int(status), int(size), path) for status, size, path in rows]


def build(expression: str) -> str:
    """Builds on this machine, without a sandbox; the store path."""
    words = ["--no-out-link", "--option", "sandbox", "false", "--option", "substituters", ""]
    built = subprocess.run(
        ["nix-build", *words, "--expr", expression], check=True, capture_output=True, text=True
    )
    return built.stdout.strip()


def options(cache: Cache, **more: str) -> list[str]:
    """A host's settings for this cache, and that it builds nothing."""
    settings = {
        "substituters": cache.url,
        "trusted-public-keys": cache.key,
        "max-jobs": "0",
        "sandbox": "false",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return [word for name, value in settings.items() for word in ("--option", name, value)]
