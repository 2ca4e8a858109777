"""Finds the compilers that Triton, torch's inductor and FlashInfer run on first use, and tries those of
argv[2]: "C", "C++", "CUDA 86". Runs in the environment, whose launcher may name them."""

from __future__ import annotations  # Python 3.8 runs it, as of vLLM 0.6

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

C = "#include <Python.h>\nint f(void) { return PY_VERSION_HEX != 0; }\n"
CXX = "#include <Python.h>\n#include <omp.h>\n#include <vector>\nint f() { return omp_in_parallel(); }\n"
CUDA = "#include <cuda_runtime.h>\n"
SHARED = ("-shared", "-fPIC")


def c_compiler() -> list[str]:
    """As triton/runtime/build.py chooses."""
    named = os.environ.get("CC")
    found = named or shutil.which("gcc") or shutil.which("clang")
    return [found] if found else []


def cxx_compiler() -> list[str]:
    """As torch/_inductor/config.py has it."""
    return shlex.split(os.environ.get("CXX") or "g++")


def attempt(command: list[str], suffix: str, source: str, *flags: str) -> dict[str, Any]:
    if not command:
        return {"program": "", "problem": "Failed to find C compiler"}
    file = Path(f"try{suffix}").absolute()
    file.write_text(source)
    scheme = sysconfig.get_default_scheme()
    scheme = "posix_prefix" if scheme == "posix_local" else scheme
    include = sysconfig.get_path("include", scheme)
    words = [*command, str(file), *flags, "-I", include, "-o", f"{file}.out"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        return {"program": command[0], "problem": f"does not start: {error.strerror}"}
    if not done.returncode and not Path(f"{file}.out").exists():
        return {"program": command[0], "problem": "it writes nothing: it is no compiler"}
    lines = done.stderr.strip().splitlines()
    errors = [line for line in lines if "error" in line or "cannot find" in line] or lines[-1:]
    problem = (errors or [f"exit status {done.returncode}"])[0] if done.returncode else ""
    return {"program": shutil.which(command[0]) or command[0], "problem": problem[:1000]}


def nvcc(capability: str) -> dict[str, str]:
    """As flashinfer/jit/cpp_ext.py finds it, "" if it is not there; and why it does not compile for a
    device."""
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    home = named
    if not home:
        found = shutil.which("nvcc")
        home = str(Path(found).parent.parent) if found else "/usr/local/cuda"
    program = shutil.which(os.environ.get("FLASHINFER_NVCC") or str(Path(home, "bin", "nvcc")))
    if not program:
        where = f" in CUDA_HOME, which names {named}" if named else ""
        return {"program": "", "problem": f"nvcc is not found{where}"}
    flags = ("-E", f"-arch=sm_{capability}", "-isystem", str(Path(home, "include")))
    return {**attempt([program], ".cu", CUDA, *flags), "release": release_of(program)}


def release_of(nvcc: str) -> str:
    """CUDA's release that an nvcc says it is of, as in "13.0"."""
    done = subprocess.run(
        [nvcc, "--version"], capture_output=True, text=True, errors="replace", check=False
    )
    found = re.search(r"release ([0-9]{1,3}\.[0-9]{1,3})", done.stdout)
    return found[1] if found else ""


def main() -> None:
    tries = {}
    for language in json.loads(sys.argv[2]):
        tries[language] = (
            attempt(c_compiler(), ".c", C, *SHARED)
            if language == "C"
            else attempt(cxx_compiler(), ".cpp", CXX, *SHARED, "-std=c++17", "-fopenmp")
            if language == "C++"
            else nvcc(language.partition(" ")[2])
        )
    on_path = {name: shutil.which(name) or "" for name in ("nvcc", "ninja")}
    answer = {"tries": tries, "on-path": on_path}
    os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
