"""A cache in a bucket: written by Nix, or as a folder by the bucket's own client, and read over http."""

import subprocess
import sys

import pytest

from tests.fleet.cache import Cache, build, options
from tests.fleet.hosts import hosts
from tests.fleet.test_cache import TINY, is_about_signature, publish, refuse, take

pytestmark = [pytest.mark.nix, pytest.mark.network, pytest.mark.slow]

KEYS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def test_a_bucket_is_a_cache() -> None:
    with hosts("cache", "board", seconds=3600) as (server, board):
        board.own_store()
        cache = Cache(server)
        venv = server.home / "venv"
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        # moto plays S3. Both are too much to have for one test alone.
        install = [str(venv / "bin/pip"), "install", "-q", "--no-compile", "--retries", "10"]
        subprocess.run([*install, "moto[s3,server]", "awscli"], check=True)
        python = str(venv / "bin/python")
        server.start(python, "-m", "moto.server", "-H", "0.0.0.0", "-p", "5000")
        board.reach(server.name, 5000, seconds=600)
        s3 = [python, str(venv / "bin/aws"), "--endpoint-url", "http://127.0.0.1:5000", "s3"]
        server.run(*s3, "mb", "s3://cache", env=KEYS, timeout=600)

        path = publish(cache, "in-a-bucket")
        sync = [*s3, "sync", "--acl", "public-read", str(cache.folder), "s3://cache"]
        server.run(*sync, env=KEYS, timeout=600)
        settings = options(cache, substituters=f"http://{server.address}:5000/cache")
        take(board, path, *settings)

        unsigned = build(TINY % "in-a-bucket-unsigned")
        cache.publish(unsigned, key=None)
        server.run(*sync, env=KEYS, timeout=600)
        assert is_about_signature(refuse(board, unsigned, *settings), unsigned)

        direct = build(TINY % "by-nix-itself")
        bucket = f"s3://cache?endpoint={server.address}:5000&scheme=http&region=us-east-1"
        key = server.home / "cache.example.org-1.sec"
        copied = server.run(
            *(
                "nix",
                "--extra-experimental-features",
                "nix-command",
                "copy",
                "--to",
                f"{bucket}&secret-key={key}",
                direct,
            ),
            check=False,
            env=KEYS,
        )
        if copied.returncode == 0:
            take(board, direct, *settings)
        else:  # Debian 12's Nix is built without it
            assert "don't know how to open Nix store 's3://" in copied.stderr
