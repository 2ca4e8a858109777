"""Evaluating every target: the parameters, and the derivations on the embedded base."""

from collections.abc import Iterator

from benchmarks.measure import NIX, Row, compare, seconds

EMBEDDED = ("--override-input", "nixpkgs", "path:./nix/debian")
VLLM_CPU = ".#packages.x86_64-linux.vllm-cpu.drvPath"


def rows() -> Iterator[Row]:
    constant = lambda: seconds(["nix", "eval", *NIX, "--expr", "1"])
    yield compare(
        "parameters of all targets",
        lambda: seconds(["nix", "eval", *NIX, "--json", ".#lib.targets"]),
        "`nix eval --expr 1`",
        constant,
    )
    yield compare(
        "derivation of vllm-cpu",
        lambda: seconds(["nix", "eval", *NIX, *EMBEDDED, "--raw", VLLM_CPU]),
        "`nix eval --expr 1`",
        constant,
    )
