"""The first build of the embedded base, from fetched files, beside merely unpacking those files."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import NIX, SANDBOX, Row, compare, output, seconds

# What a Python environment needs of the base: everything that `nix build .#vllm-cpu` builds of it.
EXPRESSION = (
    "let pkgs = import ./nix/debian { }; in "
    'map (name: pkgs.${name}) [ "python311" "gcc" "util-linux" "numactl" "openssl" ]'
)


def rows() -> Iterator[Row]:
    derivations = output("nix-instantiate", "--expr", EXPRESSION).split()
    closure = output("nix-store", "--query", "--requisites", "--include-outputs", *derivations)
    sources = [path for path in closure.split() if path.endswith((".deb", ".whl", "busybox"))]
    debs = [path for path in sources if path.endswith(".deb")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def build() -> float:
            """In a store of its own, which has the fetched files and nothing else."""
            store = ("--store", str(folder / "store"))
            shutil.rmtree(folder / "store", ignore_errors=True)
            seconds(["nix", "copy", *NIX, "--no-check-sigs", "--to", store[1], *sources])
            taken = seconds(
                ["nix-build", "--no-out-link", *NIX, *SANDBOX, *store, "--expr", EXPRESSION]
            )
            subprocess.run(["chmod", "-R", "u+w", folder / "store"], check=True)
            return taken

        def unpack() -> float:
            shutil.rmtree(folder / "root", ignore_errors=True)
            script = 'for deb; do dpkg-deb -x "$deb" "$0"; done'
            return seconds(["sh", "-euc", script, folder / "root", *debs])

        yield compare(
            f"first build of the base ({len(debs)} packages)",
            build,
            "`dpkg-deb -x` of the same packages",
            unpack,
            runs=1,
        )
