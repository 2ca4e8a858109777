"""Programs that run on hosts together: two processes of ours here, whose hosts are 127.0.0.1 twice."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vllm_nix.serve.chat import free_port

HOST = """if True:
    import sys
    from vllm_nix.errors import Error
    from vllm_nix.hosts.place import Place
    from vllm_nix.hosts.together import Programs, run_together
    rank, port, *words = sys.argv[1:]
    place = Place(2, int(rank), "127.0.0.1", "127.0.0.1", int(port))
    try:
        run_together(place, {}, Programs(words), {"WORD": "of the host"}, 20, lambda text: None)
    except Error as error:
        sys.exit(str(error))
"""


@contextmanager
def host(rank: int, port: int, *words: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-c", HOST, str(rank), str(port), *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(file: Path) -> None:
    end = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < end, f"no {file.name}"
        time.sleep(0.05)


def test_when_one_ends_all_end(tmp_path: Path) -> None:
    port = free_port()
    last = f"while [ ! -e {tmp_path}/end ]; do sleep 0.1; done; echo $WORD; exit 5"
    begun = f"touch {tmp_path}/begun; sleep 1000"
    with host(0, port, "sh", "-c", last) as head, host(1, port, "sh", "-c", begun) as other:
        wait_for(tmp_path / "begun")
        (tmp_path / "end").touch()
        said, complaint = head.communicate(timeout=30)
        assert said == "of the host\n"
        assert complaint == "sh ended (exit status 5), see above\n"
        _, complaint = other.communicate(timeout=30)
        assert complaint.startswith("host 127.0.0.1 (rank 0) is gone: ")
        assert other.returncode == 1


def test_a_host_that_is_killed_ends_the_other(tmp_path: Path) -> None:
    port = free_port()
    begun = f"touch {tmp_path}/$0; sleep 1000 & echo $! > {tmp_path}/$0.pid; wait"
    with (
        host(0, port, "sh", "-c", begun, "head") as head,
        host(1, port, "sh", "-c", begun, "other") as other,
    ):
        wait_for(tmp_path / "other.pid")
        wait_for(tmp_path / "head.pid")
        other.kill()
        _, complaint = head.communicate(timeout=30)
        assert complaint.startswith("host 127.0.0.1 (rank 1) is gone: ")
    for name in ("head", "other"):
        pid = int((tmp_path / f"{name}.pid").read_text())
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, f"what {name} ran is left"
            time.sleep(0.05)
