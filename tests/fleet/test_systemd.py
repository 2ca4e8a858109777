"""The NixOS module's unit under a systemd: what it may do, and what becomes of it when something fails."""

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Nix
from tests.fleet.machine import Machine, machine
from tests.nix.test_module import chat, evaluate, unit
from vllm_nix.targets import load_target
from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel

pytestmark = pytest.mark.nix

KEY = "the-key"
UNIT = "vllm-chat"


@pytest.fixture(scope="module")
def service(nix: Nix) -> Any:
    return evaluate(nix, f"{{ {chat()} }}", "config.systemd.services")[UNIT]


@pytest.fixture(scope="module")
def one() -> Iterator[Machine]:
    with machine() as one:
        one.write("/run/key", f"{KEY}\n", 0o600)
        yield one


def install(one: Machine, service: Any, script: str) -> None:
    """The unit, which starts `script`, without the pauses before it is started again."""
    one.systemctl("stop", UNIT, check=False)  # of the test before
    one.systemctl("reset-failed", check=False)
    one.write("/srv/start", f"#!/bin/bash -e\n{script}", 0o755)
    one.write(f"/etc/systemd/system/{UNIT}.service", unit(service, Path("/srv/start")))
    one.write(f"/etc/systemd/system/{UNIT}.service.d/test.conf", "[Service]\nRestartSec=100ms\n")
    one.systemctl("daemon-reload")


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


MAY = """
cd "$STATE_DIRECTORY"
exec >said 2>&1
id -u; cat "$CREDENTIALS_DIRECTORY/api-key"
grep -h CapEff /proc/self/status
for folder in /etc /srv /root /home "$CACHE_DIRECTORY" /tmp; do
  (touch "$folder/file" 2>/dev/null) && echo "writes $folder"
done
ls /root >/dev/null 2>&1 && echo "reads /root"
[[ -r /run/key ]] && echo "reads the key's own file"
[[ -e /dev/sda || -e /dev/kmsg ]] && echo "has devices"
[[ -d /proc/1 ]] && echo "sees other users' processes"
touch done
sleep 1000
"""


def test_what_it_may(one: Machine, service: Any) -> None:
    install(one, service, MAY)
    one.systemctl("start", UNIT)
    wait_for(lambda: one.run("ls", "/var/lib/vllm-nix/done", check=False))
    user, key, capabilities, *rest = one.run("cat", "/var/lib/vllm-nix/said").splitlines()
    assert int(user) > 60000, "a user that systemd made"
    assert key == KEY
    assert capabilities.split() == ["CapEff:", "0000000000000000"]
    assert rest == ["writes /var/cache/vllm-nix", "writes /tmp"]


def restarts(one: Machine) -> int:
    return int(one.show(UNIT, "NRestarts")[0])


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -9 $$"])
def test_it_is_started_again_however_it_ends(end: str, one: Machine, service: Any) -> None:
    """With 0 as well: so vLLM ends when its engine has died. After the fifth time it stays down."""
    install(one, service, end)
    one.systemctl("start", UNIT)
    wait_for(lambda: one.show(UNIT, "ActiveState") == ["failed"])
    assert restarts(one) == 5


def test_what_would_fail_alike_is_not_started_again(one: Machine, service: Any) -> None:
    install(one, service, "exit 2")
    one.systemctl("start", UNIT)
    wait_for(lambda: one.show(UNIT, "ActiveState") == ["failed"])
    assert one.show(UNIT, "NRestarts", "ExecMainStatus") == ["0", "2"]


def test_nothing_is_left_of_a_server_that_is_killed(one: Machine, service: Any) -> None:
    install(one, service, "sleep 4321 & exec sleep 1234")
    one.systemctl("start", UNIT)
    wait_for(lambda: one.run("pgrep", "-fx", "sleep 4321", check=False))
    before = one.run("pgrep", "-fx", "sleep 4321").split()
    one.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    wait_for(lambda: restarts(one) == 1 and one.show(UNIT, "ActiveState") == ["active"])
    wait_for(lambda: one.run("pgrep", "-fx", "sleep 4321", check=False))
    after = one.run("pgrep", "-fx", "sleep 4321").split()
    assert len(after) == 1
    assert after != before
    one.systemctl("stop", UNIT)
    assert not one.run("pgrep", "sleep", check=False)


@pytest.mark.slow
def test_vllm_itself_is_served_and_comes_back(
    one: Machine, nix: Nix, environment: Path, tmp_path: Path
) -> None:
    """The unit of the CPU target as it is; then its engine is killed."""
    options = {
        "settings_model": '"/srv/tiny"',
        "settings_max-model-len": "128",
        "extraArgs": '[ "--enforce-eager" ]',
    }
    service = evaluate(nix, f"{{ {chat(**options)} }}", "config.systemd.services")[UNIT]
    nix.build(VLLM_NIX)
    model = TinyModel.make()
    model.write(tmp_path / "tiny")
    for file in (tmp_path / "tiny").iterdir():
        one.write(f"/srv/tiny/{file.name}", file.read_bytes())
    install(one, service, service["script"])
    one.systemctl("start", UNIT)
    wait_for(lambda: curl(one, "/health")[0] == 200, 1200)
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": 8, "temperature": 0}
    body |= {"return_token_ids": True}
    for path in ("/v1/completions", "/invocations", "/metrics"):
        assert curl(one, path, body, key="another")[0] == 401
    for start in range(2):
        status, answer = curl(one, "/v1/completions", body)
        assert status == 200
        assert json.loads(answer)["choices"][0]["token_ids"] == model.answer(PROMPT, 8)
        if start == 0:
            one.run("pkill", "-KILL", "-P", *one.show(UNIT, "MainPID"))
            wait_for(lambda: restarts(one) == 1, 60)
            wait_for(lambda: curl(one, "/health")[0] == 200, 1200)
    began = time.monotonic()
    one.systemctl("stop", UNIT)
    assert time.monotonic() - began < 25
    assert not one.run("pgrep", "-f", "VLLM", check=False)


@pytest.fixture
def two() -> Iterator[tuple[Machine, Machine]]:
    with machine() as head, machine() as other:
        head.connect(other, "10.78.0.1/24", "10.78.0.2/24")
        for one in (head, other):
            one.write("/run/key", f"{KEY}\n", 0o600)
        yield head, other


def install_several(two: tuple[Machine, Machine], nix: Nix, change: Callable[[str], str]) -> None:
    """The unit of each of two hosts that serve one model together."""
    nix.build(VLLM_NIX)
    options = {"settings_nodes": "2", "settings_tensor-parallel-size": "2", "head": '"10.78.0.1"'}
    options |= {"settings_model": '"/srv/tiny"', "settings_max-model-len": "128"}
    options |= {"extraArgs": '[ "--enforce-eager" ]'}
    model = TinyModel.make()
    with tempfile.TemporaryDirectory() as folder:
        model.write(Path(folder))
        files = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
    for rank, one in enumerate(two):
        modules = f"{{ {chat(rank=str(rank), **options)} }}"
        service = evaluate(nix, modules, "config.systemd.services")[UNIT]
        for name, data in files.items():
            one.write(f"/srv/tiny/{name}", data)
        install(one, service, change(service["script"]))
        one.write(
            f"/etc/systemd/system/{UNIT}.service.d/test.conf",
            # Two hosts of one machine would bind to the same core.
            "[Service]\nRestartSec=100ms\nEnvironment=OMP_NUM_THREADS=1"
            " VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_CPU_KVCACHE_SPACE=1 VLLM_NO_USAGE_STATS=1\n",
        )
        one.systemctl("daemon-reload")
        one.systemctl("start", UNIT)


STAND_IN = """#!/bin/bash
echo "$@" >>"$STATE_DIRECTORY/said"
exec sleep 4321
"""


def test_several_hosts_meet_and_are_started_again_together(
    two: tuple[Machine, Machine], nix: Nix
) -> None:
    """The real units and their network; a stand-in plays vLLM."""
    head, other = two
    release = load_target("cpu").data["vllm"]["version"]
    for one in two:
        one.write("/srv/env/bin/vllm", STAND_IN, 0o755)
        one.write(f"/srv/env/lib/python3.11/site-packages/vllm-{release}.dist-info/RECORD", "")

    def change(script: str) -> str:
        return re.sub(r"--environment \S+", "--environment /srv/env", script)

    def said(one: Machine) -> list[str]:
        return one.run("cat", "/var/lib/vllm-nix/said", check=False).splitlines()

    install_several(two, nix, change)
    wait_for(lambda: said(head) and said(other), 120)
    for rank, one in enumerate(two):
        (words,) = said(one)
        assert f"--nnodes 2 --node-rank {rank} --master-addr 10.78.0.1" in words
    other.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    wait_for(lambda: len(said(head)) == len(said(other)) == 2, 120)
    assert restarts(head) > 0
    assert restarts(other) > 0
    for one in two:
        assert len(one.run("pgrep", "-fx", "sleep 4321").split()) == 1
    head.systemctl("stop", UNIT)
    wait_for(lambda: restarts(other) > 1, 60)
    assert not head.run("pgrep", "-fx", "sleep 4321", check=False)
    other.systemctl("stop", UNIT)


@pytest.mark.slow
def test_vllm_itself_is_served_by_two_hosts(
    two: tuple[Machine, Machine], nix: Nix, environment: Path
) -> None:
    """The units of the CPU target as they are; then one host's is killed."""
    head, other = two
    right = TinyModel.make().answer(PROMPT, 8)
    body = {"model": "tiny", "prompt": TEXT, "max_tokens": 8, "temperature": 0}
    install_several(two, nix, lambda script: script)
    for start in range(2):
        wait_for(lambda: curl(head, "/health")[0] == 200, 1800)
        status, answer = curl(head, "/v1/completions", body | {"return_token_ids": True}, limit=600)
        assert status == 200, answer
        assert json.loads(answer)["choices"][0]["token_ids"] == right
        if start == 0:
            other.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
            wait_for(lambda: restarts(head) > 0, 60)
    for one in two:
        one.systemctl("stop", UNIT)
        assert not one.run("pgrep", "-f", "VLLM", check=False)


VLLM_NIX = '((import ./tests/nix/nixos/evaluate.nix).pkgsOf "x86_64-linux").vllmPackages.vllm-nix'


def curl(
    one: Machine, path: str, body: Any = None, key: str = KEY, limit: int = 30
) -> tuple[int, str]:
    words = ["-H", "content-type: application/json", "-d", json.dumps(body)] if body else []
    words += ["-H", f"authorization: Bearer {key}", f"http://127.0.0.1:8000{path}"]
    said = one.run(
        "curl",
        "-s",
        "-m",
        str(limit),
        "-w",
        "\n%{http_code}",
        *words,
        check=False,
        timeout=limit + 60,
    )
    text, _, status = said.rpartition("\n")
    return int(status), text
