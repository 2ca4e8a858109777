"""Processor time of `archs`, as a command and as a call, beside cuobjdump's, by size of the library.

python -m benchmarks.archs_by_size COMMAND CUOBJDUMP LIBRARY...    prints a table of docs/benchmarks.md

User's and system's, the least of some runs: less than wall time, it depends on what else the machine does.
COMMAND is the one that Nix builds; to be run by the Python of an environment in which the same is installed
by pip, and compiled.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.measure import Command

IN_PYTHON = (Path(sys.executable).with_name("vllm-nix"), "archs")
CALL = """
import gc, sys, time
from vllm_nix.gpu.libraries import read_library
gc.set_threshold(100_000)  # as the command has it
started = time.process_time()
read_library(sys.argv[1]).counts()
print(time.process_time() - started)
"""
LARGE = 100_000_000  # bytes


TITLES = (
    *("library", "MB", "`archs`", "in Python", "the call"),
    *("`cuobjdump -all`", "times faster", "both lists", "times faster"),
)


def main() -> None:
    command, tool, *libraries = map(Path, sys.argv[1:])
    commands = ((command, "archs"), IN_PYTHON, (tool, "-all"))
    lists = ((tool, "--list-elf"), (tool, "--list-ptx"))
    print(f"| {' | '.join(TITLES)} |")
    print("|---" * len(TITLES) + "|")
    for library in libraries:
        size = library.stat().st_size
        runs = 4 if size > LARGE else 12
        ours, in_python, all_of_it, first, second = (
            min(processor_time([*words, library]) for _ in range(runs))
            for words in (*commands, *lists)
        )
        call = min(called(library) for _ in range(runs))
        both = first + second
        cells = [f"`{library.resolve().name}`", f"{size / 1e6:.1f}"]
        cells += [f"{ours:.4f}", f"{in_python:.3f}", f"{call:.4f}"]
        cells += [f"{all_of_it:.3f}", _times(all_of_it / ours)]
        cells += [f"{both:.3f}", _times(both / ours)]
        print(f"| {' | '.join(cells)} |", flush=True)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def variables() -> Mapping[str, str]:
    """Without what has Python compile modules anew at each start."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def processor_time(command: Command) -> float:
    """Seconds of one run, user's and system's."""
    process = subprocess.Popen(
        command, env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def called(library: Path) -> float:
    """Seconds of the library's first call in a process that has imported it."""
    command: Command = [sys.executable, "-c", CALL, library]
    done = subprocess.run(command, env=variables(), capture_output=True, check=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
