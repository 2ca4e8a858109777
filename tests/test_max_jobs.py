"""How many compilers a build starts: from the memory, the cores and the architectures that there are."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix

GIB = 1 << 30


def run(root: Path, memory: float, **variables: str) -> subprocess.CompletedProcess[str]:
    """The hook on a machine with so many GiB available; its last line is what it chose."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal: {999 * GIB >> 10} kB\nMemAvailable:   {int(memory * GIB) >> 10} kB\n"
    )
    (root / "proc/self/cgroup").write_text("0::/one/two\n")
    script = (
        'set -eu; source nix/wheels/build/max-jobs.sh; setMaxJobs "$1" > /dev/null;'
        "echo $MAX_JOBS $NVCC_THREADS $NIX_BUILD_CORES $CMAKE_BUILD_PARALLEL_LEVEL"
    )
    return subprocess.run(
        ["bash", "-c", script, "bash", str(root)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def chosen(root: Path, memory: float, **variables: str) -> str:
    result = run(root, memory, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def limit(root: Path, group: str, text: str) -> None:
    folder = root / "sys/fs/cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(text + "\n")


ORIN = {"NIX_BUILD_CORES": "12", "memoryPerJob": "9 GiB", "TORCH_CUDA_ARCH_LIST": "8.7"}
FLEET = {**ORIN, "TORCH_CUDA_ARCH_LIST": "7.0;7.2;7.5;8.0;8.6;8.7;8.9;9.0"}


def test_memory_bounds_the_jobs(tmp_path: Path) -> None:
    assert chosen(tmp_path, 60, **ORIN) == "6 1 6 6"


def test_cores_bound_the_jobs(tmp_path: Path) -> None:
    assert chosen(tmp_path, 500, **ORIN) == "12 1 12 12"


def test_without_a_size_there_is_a_job_for_each_core(tmp_path: Path) -> None:
    assert chosen(tmp_path, 1, NIX_BUILD_CORES="12") == "12 1 12 12"


def test_cores_left_over_become_threads_of_nvcc(tmp_path: Path) -> None:
    assert chosen(tmp_path, 60, **FLEET) == "6 2 6 6"
    assert chosen(tmp_path, 10, **FLEET) == "1 4 1 1"
    assert chosen(tmp_path, 10, **{**FLEET, "TORCH_CUDA_ARCH_LIST": "8.0 8.7"}) == "1 2 1 1"


def test_what_is_set_stays(tmp_path: Path) -> None:
    assert chosen(tmp_path, 1, **ORIN, MAX_JOBS="3") == "3 1 3 3"
    assert chosen(tmp_path, 60, **ORIN, NVCC_THREADS="8") == "6 8 6 6"


def test_all_cores_unless_limited(tmp_path: Path) -> None:
    cores = subprocess.run(["nproc"], capture_output=True, text=True, check=True).stdout.strip()
    assert chosen(tmp_path, 1, NIX_BUILD_CORES="0").split()[0] == cores


@pytest.mark.parametrize("group", ["", "one", "one/two"])
def test_a_control_groups_limit_counts(tmp_path: Path, group: str) -> None:
    limit(tmp_path, group, str(28 * GIB))
    assert chosen(tmp_path, 60, **ORIN).split()[0] == "3"


def test_a_control_group_without_a_limit_changes_nothing(tmp_path: Path) -> None:
    limit(tmp_path, "one/two", "max")
    limit(tmp_path, "other", str(9 * GIB))
    assert chosen(tmp_path, 60, **ORIN).split()[0] == "6"


def test_a_limit_above_the_free_memory_changes_nothing(tmp_path: Path) -> None:
    limit(tmp_path, "one", str(100 * GIB))
    assert chosen(tmp_path, 60, **ORIN).split()[0] == "6"


def test_too_little_memory_for_one_job_is_one_sentence(tmp_path: Path) -> None:
    result = run(tmp_path, 5.25, **ORIN)
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr == (
        "too little memory: one compiler job needs 9 GiB, 5.2 GiB are available; free some,"
        " build on a larger machine, or set MAX_JOBS=1 to try all the same\n"
    )


BUILD = """
    with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
    stdenv.mkDerivation {{
      name = "jobs";
      dontUnpack = true;
      nativeBuildInputs = [ vllmPackages.maxJobsHook ];
      memoryPerJob = "{size}";
      installPhase = "echo $MAX_JOBS $NVCC_THREADS > $out";
    }}
"""


@pytest.mark.nix
def test_a_build_has_it(nix: Nix) -> None:
    jobs, threads = nix.build(BUILD.format(size="1 GiB")).read_text().split()
    assert int(jobs) >= 1
    assert threads == "1"


@pytest.mark.nix
def test_a_build_stops_before_it_compiles(nix: Nix) -> None:
    assert "one compiler job needs 99999 GiB" in nix.fail(BUILD.format(size="99999 GiB"))
