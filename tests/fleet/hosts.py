"""Hosts on one machine, made of namespaces: processes, network, mounts, name and shared memory of their own.

    with hosts("cache", "board") as (cache, board):
        cache.start("nginx", "-c", cache.write("nginx.conf", "..."))
        board.reach("cache", 80)
        board.run("curl", "http://cache/")

A bridge in one more namespace joins them, so that the machine's network is left alone, and tests beside one another
have the same addresses. What has a name can be left behind; here nothing has. A host is held by a shell
that reads a pipe of ours, and ends with it: when the test ends, by whichever signal, or has taken too long.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

import pytest

from tests.conftest import ROOT

MOST = 8
# What each program of these tests is in, on Debian.
PACKAGES = {
    "ip": "iproute2",
    "nix": "nix-bin",
    "nix-store": "nix-bin",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "pgrep": "procps",
    "podman": "podman",
    "runc": "runc",
    "catatonit": "catatonit",
    "setpriv": "util-linux",
    "systemctl": "systemd",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "unshare": "util-linux",
}
NIX_CONF = """
build-users-group =
experimental-features = nix-command flakes
substituters =
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A folder of the machine that hosts share would join what they shall not share: Ray's /tmp/ray, sshd's /run.
BOOT = """
set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$1/../hosts" /etc/hosts
[[ $PWD/ == /tmp/* ]] || mount --bind "$1/tmp" /tmp
hostname "$2"
ip link set lo up
echo up
read -r -t "$3" || true
"""
SWITCH = """
set -e
ip link add bridge type bridge
ip link set bridge up
echo up
read -r -t "$2" || true
for _ in 1 2 3; do rm -rf "$1" && break || sleep 2; done # what still writes there ends soon
"""


def need(*programs: str) -> None:
    """Skips a test on a machine without these."""
    for program in programs:
        if not shutil.which(program, path=PATH):
            miss(f"no {program} here: apt-get install {PACKAGES.get(program, program)}")


def miss(reason: str) -> NoReturn:
    """Skips a test; CI lacks nothing (.ci/run)."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Host:
    """One host. Its `home` has the same path inside and outside."""

    def __init__(self, number: int, name: str, home: Path, switch: int, seconds: int) -> None:
        self.name = name
        self.address = f"10.77.0.{number}"
        self.address6 = f"fd77::{number}"
        self.home = home
        self._port = f"port{number}"
        self._mac = f"02:00:00:00:00:{number:02x}"  # which others remember
        self._switch = switch
        self._seconds = seconds
        self._own_store: Callable[[], None] | None = None
        self.power_on()

    def power_on(self) -> None:
        self._init = _hold(
            *["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--mount-proc"],
            *["--fork", "--kill-child", "bash", "-c", BOOT, "boot"],
            *[str(self.home), self.name, str(self._seconds)],
        )
        pid = self._init.pid
        _in_network(
            self._switch,
            f"ip link add {self._port} type veth peer eth0 address {self._mac} netns {pid}",
            f"ip link set {self._port} master bridge up",
        )
        _in_network(
            pid,
            f"ip address add {self.address}/24 dev eth0",
            f"ip address add {self.address6}/64 dev eth0 nodad",  # nobody else has it
            "ip link set eth0 up",
        )
        if self._own_store:
            self._own_store()

    def power_off(self) -> None:
        """Ends everything at once, and says goodbye to nobody: no connection is closed."""
        _in_network(self._switch, f"ip link delete {self._port}")
        self._init.kill()
        _release(self._init)

    def unplug(self) -> None:
        _in_network(self._switch, f"ip link set {self._port} down")

    def plug(self) -> None:
        _in_network(self._switch, f"ip link set {self._port} up")

    def limit(self, rate: str) -> None:
        """What this host receives comes no faster: `10mbit`."""
        _in_network(
            self._switch,
            f"tc qdisc replace dev {self._port} root tbf rate {rate} burst 64kb latency 400ms",
        )

    def own_store(self, settings: str = "", size: str = "") -> None:
        """A Nix store of this host alone, empty at first, and a nix.conf; the machine's are not seen here.

        Builds run as root: the users of the machine's builds are the machine's. With a size, such as
        `8m`, the store lies in memory and holds no more.
        """
        need("nix-store")
        if Path(shutil.which("nix-store", path=PATH) or "").resolve().is_relative_to("/nix"):
            miss("Nix itself is in /nix here, of which each host has its own; Debian's is not")
        self._own_store = partial(self.own_store, settings, size)
        for folder in ("nix", "etc-nix"):
            (self.home / folder).mkdir(exist_ok=True)
        self.write("etc-nix/nix.conf", f"{NIX_CONF}{settings}\n")
        self.run("mount", "--bind", str(self.home / "etc-nix"), "/etc/nix")
        if size:
            self.run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", "/nix")
        else:
            self.run("mount", "--bind", str(self.home / "nix"), "/nix")

    def start(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[str]:
        """Runs a program beside the test; what it prints goes to the file `PROGRAM.log` in `home`."""
        own = self._init.pid
        variables = {
            "PATH": PATH,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        with (self.home / f"{Path(argv[0]).name}.log").open("ab") as log:
            return subprocess.Popen(
                [
                    "nsenter",
                    *[f"--{name}=/proc/{own}/ns/{file}" for name, file in NAMESPACES.items()],
                    *["env", "-i", "-C", str(self.home)],
                    *[f"{name}={value}" for name, value in variables.items()],
                    *argv,
                ],
                stdin=stdin,
                stdout=log if stdout is None else stdout,
                stderr=log if stderr is None else stderr,
                text=True,
                start_new_session=True,
            )

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end."""
        process = self.start(*argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=timeout)
        finally:
            stop(process)
        assert not check or process.returncode == 0, f"{self.name}: {shlex.join(argv)}\n{errors}"
        return subprocess.CompletedProcess(argv, process.returncode, output, errors)

    def reach(self, address: str, port: int, seconds: float = 20) -> None:
        """Waits until something there accepts connections from this host."""
        knock = f"until (exec 3<>/dev/tcp/{address}/{port}) 2>&-; do sleep 0.1; done"
        self.run("timeout", str(seconds), "bash", "-c", knock, timeout=seconds + 60)

    def write(self, name: str, text: str) -> str:
        """A file in `home`; its path."""
        (self.home / name).write_text(text)
        return str(self.home / name)


# `unshare` itself stays outside of the processes that it makes a namespace for.
NAMESPACES = {
    "net": "net",
    "mount": "mnt",
    "uts": "uts",
    "ipc": "ipc",
    "pid": "pid_for_children",
}


@contextmanager
def hosts(*names: str, seconds: int = 900) -> Iterator[list[Host]]:
    """Hosts of these names, which know one another by them, for so many seconds at most."""
    need("unshare", "nsenter", "ip")
    if os.geteuid() != 0:
        miss("only root may make network namespaces")
    assert 0 < len(names) <= MOST
    # Not in /tmp, of which each host has its own.
    folder = Path(tempfile.mkdtemp(prefix="vllm-nix-hosts-", dir="/var/tmp"))
    lines = ["127.0.0.1 localhost", *(f"10.77.0.{n} {name}" for n, name in enumerate(names, 1))]
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    switch = _hold("unshare", "--net", "bash", "-c", SWITCH, "switch", str(folder), str(seconds))
    running: list[Host] = []
    try:
        for number, name in enumerate(names, 1):
            home = folder / name
            (home / "tmp").mkdir(parents=True)
            (home / "tmp").chmod(0o1777)
            running.append(Host(number, name, home, switch.pid, seconds))
        yield running
    finally:
        for host in running:
            _release(host._init)
        _release(switch)


def stop(process: subprocess.Popen[str]) -> None:
    """Kills a program that a host runs, and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _hold(*argv: str) -> subprocess.Popen[str]:
    """A process that lives until its input, which is ours alone, is closed."""
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the test
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n", f"namespaces: {shlex.join(argv)} failed"
    return process


def _release(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=300)  # a large store takes its time to remove


def _in_network(pid: int, *commands: str) -> None:
    for command in commands:
        enter = ["nsenter", f"--net=/proc/{pid}/ns/net", *shlex.split(command)]
        subprocess.run(enter, check=True, capture_output=True)
