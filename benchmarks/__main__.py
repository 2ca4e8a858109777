"""python -m benchmarks [NAME...]: prints the table of docs/benchmarks.md."""

import importlib
import sys

NAMES = ("evaluation", "base", "fetch", "environment", "archs")


def main() -> None:
    names = sys.argv[1:] or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.exit(f"unknown benchmark '{unknown[0]}'; there are: {', '.join(NAMES)}")
    print("| what | vllm-nix | beside | | times faster |")
    print("|---|---|---|---|---|")
    for name in names:
        for row in importlib.import_module(f"benchmarks.{name}").rows():
            print(row, flush=True)


if __name__ == "__main__":
    main()
