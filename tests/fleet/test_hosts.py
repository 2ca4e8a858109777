"""The hosts that the tests of a fleet are made of."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fleet.hosts import hosts, stop


def networks() -> set[str]:
    """The network namespaces of all processes here."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(link.readlink().name)
        except OSError:
            continue  # it has ended
    return found


def test_they_reach_one_another_and_nothing_else() -> None:
    with hosts("one", "two") as (one, two):
        server = two.start("python3", "-m", "http.server", "--directory", two.home.as_posix(), "80")
        one.reach("two", 80)
        two.write("hello", "from two")
        page = one.run("python3", "-c", FETCH, "http://two/hello")
        assert page.stdout == "from two"
        assert one.run("hostname").stdout == "one\n"
        assert one.run("ls", "/sys/class/net").stdout.split() == ["eth0", "lo"]
        outside = one.run("python3", "-c", FETCH, "http://192.0.2.1/", check=False)
        assert "Network is unreachable" in outside.stderr
        stop(server)
        refused = one.run("python3", "-c", FETCH, "http://two/hello", check=False)
        assert "Connection refused" in refused.stderr


def test_a_host_has_folders_and_processes_of_its_own() -> None:
    with hosts("one", "two") as (one, two):
        one.run("touch", "/tmp/of-one", "/run/of-one", "/dev/shm/of-one")
        for folder in ("/tmp", "/run", "/dev/shm"):
            assert "of-one" in one.run("ls", folder).stdout
            assert "of-one" not in two.run("ls", folder).stdout
        one.start("sleep", "1000")
        one.run("timeout", "20", "bash", "-c", "until pgrep -x sleep; do :; done")  # it is begun
        assert one.run("pgrep", "-c", "sleep").stdout == "1\n"
        assert two.run("pgrep", "-c", "sleep", check=False).stdout == "0\n"


def test_a_host_without_power_answers_nobody_and_comes_back() -> None:
    with hosts("one", "two") as (one, two):
        two.start("python3", "-m", "http.server", "80")
        one.reach("two", 80)
        two.power_off()
        silent = one.run("python3", "-c", FETCH, "http://two/", check=False)
        assert "timed out" in silent.stderr or "No route to host" in silent.stderr
        two.power_on()
        two.start("python3", "-m", "http.server", "80")
        one.reach("two", 80)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_test_that_is_killed(number: int) -> None:
    test = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert test.stdout
        folder, *theirs = test.stdout.readline().split()
        assert Path(folder).is_dir()
        assert set(theirs) <= networks()
        test.send_signal(number)
        test.wait(timeout=20)
    finally:
        test.kill()
        test.communicate()
    deadline = time.monotonic() + 20
    while (networks() & set(theirs) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not networks() & set(theirs)
    assert not Path(folder).exists()


def test_hosts_end_when_a_test_takes_too_long() -> None:
    with hosts("one", seconds=1) as (one,):
        assert one.start("sleep", "1000").wait(timeout=20) != 0


FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=2).read().decode(), end="")
"""
HOLD = """
import signal, time
from tests.fleet.hosts import hosts
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
with hosts("one", "two") as (one, two):
    one.start("sleep", "1000")
    links = [host.run("readlink", "/proc/self/ns/net").stdout.strip() for host in (one, two)]
    print(one.home.parent, *links, flush=True)
    time.sleep(1000)
"""
