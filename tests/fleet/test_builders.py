"""Remote builders: a host that compiles nothing has another one build over ssh."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, emulated
from tests.fleet import cache
from tests.fleet.hosts import Host, hosts
from tests.fleet.ssh import Builder, make_key

pytestmark = [
    pytest.mark.nix,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the builders here are x86_64"),
]

# Needs nothing but a shell, which is there without a sandbox; says where it was built.
TINY = """derivation {
  name = "%s"; system = "%s"; builder = "/bin/sh"; requiredSystemFeatures = [ %s ];
  args = ["-c" "read -r name < /proc/sys/kernel/hostname; echo $name > $out"];
}"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Host, Builder]]:
    with hosts("laptop", "builder") as (laptop, builder):
        laptop.own_store("max-jobs = 0")
        builder.own_store("sandbox = false\ncores = 6")
        yield laptop, Builder(builder)


@pytest.fixture
def laptop(fleet: tuple[Host, Builder]) -> Host:
    return fleet[0]


@pytest.fixture
def builder(fleet: tuple[Host, Builder]) -> Builder:
    return fleet[1]


def build(
    laptop: Host, line: str, expression: str, *options: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    words = ["nix-build", "--no-out-link", "--builders", line, *options, "--expr", expression]
    return laptop.run(*words, check=check)


def refused(laptop: Host, line: str, expression: str) -> str:
    """What Nix says of a build that must fail."""
    result = build(laptop, line, expression, check=False)
    assert result.returncode != 0
    return result.stderr


def tiny(name: str, system: str = "x86_64-linux", features: str = "") -> str:
    return TINY % (name, system, features)


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_another_host_builds(laptop: Host, builder: Builder, scheme: str) -> None:
    path = build(laptop, builder.line(scheme), tiny(f"over-{scheme}")).stdout.strip()
    assert laptop.run("cat", path).stdout == "builder\n"


def test_without_one_nothing_is_built(laptop: Host) -> None:
    assert "unable to start any build" in refused(laptop, "", tiny("alone"))


def test_a_system_that_no_builder_has_is_named(laptop: Host, builder: Builder) -> None:
    said = refused(laptop, builder.line(), tiny("far", system="aarch64-linux"))
    assert "required (system, features): (aarch64-linux, " in said
    assert "1 available machines:" in said


def test_a_feature_that_no_builder_has_is_named(laptop: Host, builder: Builder) -> None:
    """torch and Triton ask for big-parallel."""
    big = tiny("big", features='"big-parallel"')
    said = refused(laptop, builder.line(), big)
    assert "required (system, features): (x86_64-linux, big-parallel)" in said
    build(laptop, builder.line(features="big-parallel"), big)


def test_another_host_of_that_name_is_refused(laptop: Host, builder: Builder) -> None:
    other = make_key(builder.host.home / "other")
    said = refused(laptop, builder.line(host_key=other), tiny("imposter"))
    assert "Host key verification failed." in said


def test_a_key_that_the_builder_does_not_know(laptop: Host, builder: Builder) -> None:
    stranger = make_key(builder.host.home / "stranger")
    said = refused(laptop, builder.line(key=stranger), tiny("stranger"))
    assert "cannot build on 'ssh://root@builder'" in said
    assert "Permission denied" in said


def test_nobody_answers(laptop: Host, builder: Builder) -> None:
    said = refused(laptop, builder.line().replace("@builder", "@laptop"), tiny("nobody"))
    assert "cannot build on 'ssh://root@laptop'" in said
    assert "Connection refused" in said


def test_what_fails_there_fails_here_with_its_words(laptop: Host, builder: Builder) -> None:
    said = refused(
        laptop, builder.line(), tiny("bad").replace("echo $name", "exec /no-such-program")
    )
    assert "/no-such-program: not found" in said


def test_a_builder_without_room_says_so() -> None:
    with hosts("laptop", "builder") as (laptop, small):
        laptop.own_store("max-jobs = 0")
        small.own_store("sandbox = false", size="4m")
        large = tiny("large").replace("echo $name", "/usr/bin/head -c 8000000 /dev/zero")
        said = refused(laptop, Builder(small).line(), large)
        assert "No space left on device" in said
        assert "build failure may have been caused by lack of free disk space" in said


def test_a_builder_that_dies_is_not_waited_for() -> None:
    with hosts("laptop", "builder") as (laptop, mortal):
        laptop.own_store("max-jobs = 0")
        mortal.own_store("sandbox = false")
        line = Builder(mortal).line()
        slow = tiny("slow").replace("echo $name", "/usr/bin/sleep 600; echo $name")
        process = laptop.start(
            *("nix-build", "--no-out-link", "--builders", line, "--expr", slow),
            env={"NIX_SSHOPTS": "-o ServerAliveInterval=1 -o ServerAliveCountMax=2"},
        )
        mortal.run("timeout", "60", "bash", "-c", "until pgrep -x sleep; do sleep 0.1; done")
        mortal.power_off()
        assert process.wait(timeout=30) != 0


def test_how_many_compilers_run_is_the_builders_business(laptop: Host, builder: Builder) -> None:
    """MAX_JOBS goes by the builder's memory and cores: here 40 GiB and 6, at 9 GiB a compiler."""
    memory = builder.host.write("meminfo", f"MemAvailable: {40 << 20} kB\n")
    builder.host.run("mount", "--bind", memory, "/proc/meminfo")
    hook = ROOT / "nix/wheels/build/max-jobs.sh"
    compile_ = f"""derivation {{
      name = "compile"; system = "x86_64-linux"; builder = "/bin/bash";
      memoryPerJob = "9 GiB"; TORCH_CUDA_ARCH_LIST = "8.7";
      args = ["-c" "source ${{{hook}}}; setMaxJobs > $out"];
    }}"""
    path = build(laptop, builder.line(), compile_, "--cores", "1").stdout.strip()
    assert laptop.run("cat", path).stdout == "MAX_JOBS=4 NVCC_THREADS=1\n"


@pytest.mark.parametrize("own", [True, False])
def test_what_a_build_needs_a_builder_takes_from_the_cache(own: bool) -> None:
    """With builders-use-substitutes; else the laptop sends it what it took from there."""
    name = f"needed-{own}".lower()
    needed = TINY % (name, "x86_64-linux", "")
    with hosts("cache", "laptop", "builder") as (server, laptop, remote):
        kept = cache.Cache(server)
        path = cache.build(needed)
        kept.publish(path)
        settings = f"substituters = {kept.url}\ntrusted-public-keys = {kept.key}\n"
        laptop.own_store(f"max-jobs = 0\nbuilders-use-substitutes = {str(own).lower()}\n{settings}")
        remote.own_store(f"sandbox = false\n{settings}")
        line = Builder(remote).line()
        kept.answers()
        uses = TINY.replace("> $out", "> $out; read -r x < ${%s}; echo $x >> $out")
        built = build(laptop, line, uses % (f"uses-{name}", "x86_64-linux", "", needed))
        assert laptop.run("cat", built.stdout.strip()).stdout.startswith("builder\n")
        assert remote.run("nix-store", "--check-validity", path).returncode == 0
        nars = [answer for answer in kept.answers() if "/nar/" in answer.path]
        assert len(nars) == (2 if own else 1)


@emulated
@pytest.mark.slow
def test_a_wheel_for_another_system_is_made_there() -> None:
    """Its ELF files are fixed and its Python compiled by aarch64's own programs, in the sandbox."""
    expression = f"""
      let
        pkgs = import ./nix/debian {{
          system = "aarch64-linux";
          overlays = [ (import ./overlays) ];
        }};
        inherit (pkgs.vllmPackages.ascend) lockedWheels;
        wheel = pkgs.lib.findFirst (wheel: wheel.pname == "markupsafe") null lockedWheels;
      in
      wheel.overrideAttrs (_: {{ again = "{time.time_ns()}"; }})
    """
    with hosts("laptop", "builder") as (laptop, remote):
        remote.own_store("extra-platforms = aarch64-linux")
        line = Builder(remote).line(systems="x86_64-linux,aarch64-linux")
        words = ["--max-jobs", "0", "--option", "substituters", "", "--builders", line]
        built = laptop.run(
            *("env", "-C", str(ROOT), "nix-build", "--no-out-link", *words, "--expr", expression),
            timeout=600,
        )
        path = Path(built.stdout.strip())
        assert "-markupsafe-3.0.2.drv' on 'ssh://root@builder'" in built.stderr
        [library] = path.glob("lib/python3.11/site-packages/markupsafe/*.so")
        assert "aarch64" in library.name
        assert remote.run("nix-store", "--check-validity", str(path), check=False).returncode == 0
