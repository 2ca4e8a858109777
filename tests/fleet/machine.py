"""A machine with a systemd of its own: the first process of namespaces, over this machine's files.

    with machine() as one:
        one.write("/etc/systemd/system/vllm.service", "...")
        one.systemctl("start", "vllm")

What it writes lies in memory and ends with it. It ends with the test, by whichever signal.
"""

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.fleet.hosts import need

# What of this machine's is under /nix or a device is bound; all else is under the overlay.
BOOT = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/changes" "$1/work" "$1/root"
root=$1/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$root"
mount --rbind /nix "$root/nix"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys" # so that its systemd sets nothing of the kernel's
mount -t sysfs -o ro sysfs "$root/sys"
# Of each hierarchy of control groups, its own.
if [[ -e /sys/fs/cgroup/cgroup.procs ]]; then
  mount --bind "/sys/fs/cgroup/$2" "$root/sys/fs/cgroup"
else
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  for group in /sys/fs/cgroup/*/"$2"; do
    mkdir "$root${group%/*}"
    mount --bind "$group" "$root${group%/*}"
  done
fi
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/var/lib"
ip link set lo up
# Not chroot: there, Linux makes no user namespaces (PrivateUsers).
mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  bash -c 'umount -l /run/old; mount --make-rshared /; exec /lib/systemd/systemd --system --unit=basic.target --log-target=null'
"""

# Control groups for it below this machine's, which a systemd of this machine's own does not know.
ENTER = """
for procs in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
  group=${procs%/*}
  [[ -e $procs && $group != */cpuset && $group != *.* ]] || continue
  mkdir "$group/$1"
  echo $$ >"$group/$1/cgroup.procs"
  [[ $group != /sys/fs/cgroup ]] || break
done
shift
exec "$@"
"""


class Machine:
    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, *argv: str, check: bool = True, timeout: float = 120) -> str:
        """What a program prints that runs there, as root."""
        enter = ["nsenter", "-t", str(self._pid), "--all", "--root", "--wd"]
        result = subprocess.run(
            [*enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *argv],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or result.returncode == 0, f"{shlex.join(argv)}\n{result.stderr}"
        return result.stdout

    def connect(self, other: "Machine", own: str, others: str) -> None:
        """A cable between two, and an address of each at its end: `10.78.0.1/24`."""
        ends = [(self._pid, own), (other._pid, others)]
        link = ["ip", "link", "add", "eth0", "netns", str(self._pid), "type", "veth"]
        subprocess.run([*link, "peer", "eth0", "netns", str(other._pid)], check=True)
        for pid, address in ends:
            enter = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
            subprocess.run([*enter, "address", "add", address, "dev", "eth0"], check=True)
            subprocess.run([*enter, "link", "set", "eth0", "up"], check=True)

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self.run("systemctl", "--no-pager", *words, check=check)

    def show(self, unit: str, *properties: str) -> list[str]:
        values = self.systemctl("show", unit, f"--property={','.join(properties)}").splitlines()
        found = dict(line.split("=", 1) for line in values)
        return [found[name] for name in properties]

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        place = Path(f"/proc/{self._pid}/root{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=mode)
        place.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def machine(seconds: float = 60) -> Iterator[Machine]:
    """A machine that is up, after so many seconds at most."""
    need("unshare", "nsenter", "setpriv", "ip", "systemctl")
    if os.geteuid() != 0:
        pytest.skip("only root may make namespaces")
    with tempfile.TemporaryDirectory(prefix="vllm-nix-machine-") as folder:
        name = Path(folder).name
        process = subprocess.Popen(
            [
                *["setpriv", "--pdeathsig", "KILL", "bash", "-ec", ENTER, "enter", name],
                *["unshare", "--kill-child", "--fork"],
                *["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"],
                *["bash", "-c", BOOT, "boot", folder, name],
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            one = Machine(_first_child(process))
            deadline = time.monotonic() + seconds
            while "running" not in (said := _state(one)) and "degraded" not in said:
                assert process.poll() is None, process.stderr and process.stderr.read()
                assert time.monotonic() < deadline, f"systemd is {said!r} after {seconds} s"
                time.sleep(0.2)
            yield one
        finally:
            process.kill()
            process.wait()
            _remove_groups(name)


def _state(one: Machine) -> str:
    return one.systemctl("is-system-running", check=False)


def _remove_groups(name: str) -> None:
    """Once what was in them has ended, which takes a moment."""
    deadline = time.monotonic() + 20
    tops = [*Path("/sys/fs/cgroup").glob(name), *Path("/sys/fs/cgroup").glob(f"*/{name}")]
    while tops:
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    Path(folder).rmdir()
        tops = [top for top in tops if top.exists()]
        assert time.monotonic() < deadline, f"processes are left in {tops}"


def _first_child(process: "subprocess.Popen[str]") -> int:
    """The first process of the namespaces; what comes before it is of ours."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for child in children.read_text().split():
            with suppress(OSError):  # it has ended
                if Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("no first process")
