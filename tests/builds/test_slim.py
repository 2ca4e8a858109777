"""Slimming what nvcc and GNU ld really make; NVIDIA's own tool reads the result as ours does."""

import hashlib
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Nix, emulated
from vllm_nix.binaries import symbols
from vllm_nix.gpu import fatbin
from vllm_nix.gpu.device import device
from vllm_nix.gpu.slim_tree import slim_path

pytestmark = [pytest.mark.nix, pytest.mark.slow]

COMPILED = "(import ./tests/builds/slim { })"
FIND = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).find_kernel())"
NO_DRIVER = ("35", "100")  # cudaErrorInsufficientDriver, cudaErrorNoDevice


def by_cuobjdump(tool: Path, library: Path) -> Counter[str]:
    """How many cubins and PTX texts of each architecture it lists."""
    said = ""
    for option in ("--list-elf", "--list-ptx"):
        # With "all", objects for the device linker as well.
        done = subprocess.run(
            [tool, "-all", option, library], capture_output=True, text=True, check=False
        )
        assert "fatal" not in done.stderr
        said += done.stdout
    found = re.findall(r"\.sm_([0-9]+[af]?)\.(cubin|ptx)$", said, re.MULTILINE)
    return Counter(f"{'sm' if kind == 'cubin' else 'compute'}_{sm}" for sm, kind in found)


def by_us(library: Path) -> Counter[str]:
    found = fatbin.read(library)
    assert not found.damage
    return Counter(entry.arch for one in found.fatbins for entry in one.entries)


def cubins(tool: Path, library: Path, folder: Path) -> list[str]:
    """Those for 8.6, by hash, as it takes them out of a library: of a compressed one, what was compressed."""
    folder.mkdir()
    subprocess.run([tool, "-xelf", "all", library], cwd=folder, check=True, capture_output=True)
    found = folder.glob("*.sm_86.cubin")
    return sorted(hashlib.sha256(one.read_bytes()).hexdigest() for one in found)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("libplain.so", {"sm_86"}),
        ("librelocatable.so", {"sm_86", "sm_52"}),
    ],
)
def test_a_library_of_nvccs(nix: Nix, tmp_path: Path, name: str, kept: set[str]) -> None:
    library = nix.build(f"{COMPILED}.libraries") / "lib" / name
    tool = nix.build(f"{COMPILED}.cuda_cuobjdump") / "bin/cuobjdump"
    [done] = slim_path(library, [device("8.6")], tmp_path)
    assert done.after < done.before - 300_000
    new = tmp_path / name
    assert set(by_us(new)) == kept
    sizes = [one for found in fatbin.read(new).fatbins for one in found.entries]
    assert {one.compression for one in sizes if one.size >= 1 << 16} <= {"zstd"}
    for one in (library, new):
        assert by_cuobjdump(tool, one) == by_us(one)
    assert symbols.read_symbols(new) == symbols.read_symbols(library)
    assert cubins(tool, new, tmp_path / "new") == cubins(tool, library, tmp_path / "old")
    python = nix.build(f"{COMPILED}.python") / "bin/python3.11"
    said = [
        subprocess.check_output([python, "-c", FIND, one], text=True).strip()
        for one in (library, new)
    ]
    assert said[0] == said[1]
    assert said[0] in ("0", *NO_DRIVER)


@emulated
def test_arms_library_where_pages_have_64_kib(nix: Nix, tmp_path: Path) -> None:
    """As with NVIDIA's kernels for GH200 and GB200. Needs `vllm-nix fetch --system aarch64-linux debian-cuda`."""
    arm = '(import ./tests/builds/slim { system = "aarch64-linux"; })'
    platform = ("--option", "extra-platforms", "aarch64-linux")
    built = [
        nix("nix-build", "--no-out-link", *platform, "--expr", f"{arm}.{name}").stdout.strip()
        for name in ("libraries", "python")
    ]
    library = Path(built[0], "lib/libplain.so")
    [done] = slim_path(library, [device("gh200")], tmp_path)
    assert done.after < done.before - 300_000
    new = tmp_path / "libplain.so"
    assert set(by_us(new)) == {"sm_90"}
    assert symbols.read_symbols(new) == symbols.read_symbols(library)
    pages = dict(os.environ, QEMU_PAGESIZE="65536")  # the emulator's; without it, the kernel's own
    said = [
        subprocess.check_output(
            [
                f"{built[1]}/bin/python3.11",
                "-c",
                f"import resource; print(resource.getpagesize()); {FIND}",
                one,
            ],
            text=True,
            env=pages,
        )
        for one in (library, new)
    ]
    assert said[0] == said[1]
    assert said[0].split()[1] in ("0", *NO_DRIVER)
