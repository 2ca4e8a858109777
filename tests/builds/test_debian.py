"""The embedded base keeps its promises: it builds, twice the same, and never uses the host."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Nix, emulated

pytestmark = pytest.mark.nix

BASE = "import ./nix/debian { }"
TRIPLET = f"{os.uname().machine}-linux-gnu"
NEVER = "0" * 64


def evaluation(nix: Nix, expression: str) -> str:
    """What an expression that must fail says."""
    result = nix("nix-instantiate", "--eval", "--strict", "--expr", expression, check=False)
    assert result.returncode != 0, f"evaluated to {result.stdout}"
    return result.stderr


def test_its_functions(nix: Nix) -> None:
    result = nix("nix-instantiate", "--eval", "--strict", "--json", "nix/debian/tests/pure.nix")
    for name, case in json.loads(result.stdout).items():
        assert case["expr"] == case["expected"], name


@pytest.mark.parametrize("name", ["cmake", "compile", "mpi", "python"])
def test_it_builds(nix: Nix, name: str) -> None:
    assert nix.build(f"({BASE}).tests.{name}").exists()


@pytest.mark.slow
@emulated
@pytest.mark.parametrize("name", ["cmake", "compile", "python"])
def test_it_builds_for_aarch64_under_emulation(nix: Nix, name: str) -> None:
    """Needs `vllm-nix fetch --system aarch64-linux debian`."""
    base = 'import ./nix/debian { system = "aarch64-linux"; }'
    options = ("--no-out-link", "--option", "extra-platforms", "aarch64-linux")
    nix("nix-build", *options, "--expr", f"({base}).tests.{name}")


@pytest.mark.parametrize("name", ["kernel", "kernel-cuda12"])
def test_the_kernel_is_for_orin_alone(nix: Nix, name: str) -> None:
    library = nix.build(f"({BASE}).tests.{name}") / "lib/libkernel.so"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python/src")}
    command = [sys.executable, "-m", "vllm_nix", "archs", "--json", str(library)]
    report = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    [found] = json.loads(report)["libraries"]
    assert {(code["kind"], code["arch"]) for code in found["code"]} == {("cubin", "sm_87")}


def test_building_again_gives_the_same_bits(nix: Nix) -> None:
    groups = f"builtins.attrValues ({BASE}).debianGroups"
    nix("nix-build", "--no-out-link", "--expr", groups)
    nix("nix-build", "--no-out-link", "--check", "--expr", groups)


def test_a_wheel_built_again_is_the_same(nix: Nix) -> None:
    package = """
        with import ./nix/debian { };
        python311.pkgs.buildPythonPackage {
          pname = "sample";
          version = "1";
          pyproject = true;
          build-system = [ python311.pkgs.setuptools ];
          src = runCommand "sample-1" { } ''
            mkdir $out && cd $out
            printf '[project]\\nname = "sample"\\nversion = "1"\\n' > pyproject.toml
            echo 'answer = 42' > sample.py
          '';
          pythonImportsCheck = [ "sample" ];
        }
    """
    nix("nix-build", "--no-out-link", "--expr", package)
    nix("nix-build", "--no-out-link", "--check", "--expr", package)
    [wheel] = nix.build(f"({package}).dist").iterdir()
    assert wheel.name == "sample-1-py3-none-any.whl"


def test_a_running_program_maps_no_file_of_the_host(nix: Nix) -> None:
    python = nix.build(f"({BASE}).python311") / "bin/python3.11"
    code = """
import bz2, ctypes, curses, dbm.ndbm, locale, lzma, readline, socket, sqlite3, ssl, uuid
ssl.create_default_context()
locale.setlocale(locale.LC_ALL, "C")
socket.getaddrinfo("localhost", 80)
for name in ("libnuma.so.1", "libssl.so.1.1", "libcurl.so.4"):
    try:
        ctypes.CDLL(name)
    except OSError:
        continue
    raise SystemExit(f"{name} was found")
print(open("/proc/self/maps").read())
"""
    environment = {"HOME": "/nonexistent", "LANG": "en_US.UTF-8"}
    command = [str(python), "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    paths = {line.split()[-1] for line in result.stdout.splitlines() if "/" in line}
    assert any("libssl.so.3" in path for path in paths)
    assert {path for path in paths if not path.startswith("/nix/store/")} == set()


def test_tmux_starts_without_a_locale(nix: Nix, tmp_path: Path) -> None:
    """It wants UTF-8; what runs in it finds the host's locales, and not the base's."""
    tmux = nix.build(f"({BASE}).tmux") / "bin/tmux"
    command = [str(tmux), "-S", "socket", "new-session", "-d", "env > part; mv part whole"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    whole = tmp_path / "whole"
    for _ in range(200):
        if whole.exists():
            break
        time.sleep(0.1)
    assert "TERM_PROGRAM=tmux" in whole.read_text().splitlines()
    assert "LOCPATH" not in whole.read_text()


def test_the_compiler_works_outside_a_build(nix: Nix, tmp_path: Path) -> None:
    compiler = nix.build(f"({BASE}).stdenv.cc") / "bin/g++"
    python = nix.build(f"({BASE}).python311")
    source = "#include <Python.h>\n#include <vector>\nstd::vector<int> values(omp());\n"
    source = source.replace("omp()", "3").replace("<vector>", "<vector>\n#include <omp.h>")
    source += 'extern "C" int threads() { return omp_get_max_threads(); }\n'
    (tmp_path / "code.cpp").write_text(source)
    command = [str(compiler), "-shared", "-fPIC", "-O3", "-march=native", "-fopenmp", "code.cpp"]
    command += [f"-I{python}/include/python3.11", "-o", "code.so"]
    subprocess.run(command, cwd=tmp_path, env={"TMPDIR": str(tmp_path)}, check=True)
    code = (
        "import ctypes; library = ctypes.CDLL('./code.so'); assert library.threads() > 0;"
        "print(open('/proc/self/maps').read())"
    )
    run = [str(python / "bin/python3.11"), "-c", code]
    result = subprocess.run(run, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    paths = {line.split()[-1] for line in result.stdout.splitlines() if "/" in line}
    ours = ("/nix/store/", str(tmp_path))
    assert {path for path in paths if not path.startswith(ours)} == set()


def test_no_program_names_the_hosts_library_folders(nix: Nix) -> None:
    groups = f"builtins.attrValues ({BASE}).debianGroups"
    folders = nix("nix-build", "--no-out-link", "--expr", groups).stdout.split()
    named = [f"/usr/lib/{TRIPLET}".encode(), b"\0/etc/ld.so.cache\0", b"\0/etc/ld.so.preload\0"]
    for folder in folders:
        for file in Path(folder).rglob("*"):
            if file.is_file() and not file.is_symlink():
                content = file.read_bytes()
                if content.startswith(b"\x7fELF"):
                    assert not any(name in content for name in named), file


@pytest.mark.parametrize(
    ("phase", "sentence"),
    [
        (
            "echo old > file; substituteInPlace file --replace-fail absent new",
            "file: --replace-fail did not find 'absent'",
        ),
        (
            """
            mkdir -p $out/lib
            echo 'int one;' > one.c
            gcc -shared one.c -o libone.so
            gcc -shared one.c -o $out/lib/two.so -Wl,--no-as-needed libone.so
            """,
            "lib/two.so needs libone.so, which no input holds",
        ),
    ],
)
def test_a_build_that_cannot_go_on_says_why(nix: Nix, phase: str, sentence: str) -> None:
    text = f"""
        with {BASE};
        stdenv.mkDerivation {{
          name = "failing";
          dontUnpack = true;
          nativeBuildInputs = [ autoPatchelfHook ];
          installPhase = ''{phase}'';
        }}
    """
    assert sentence in nix.fail(text)


@pytest.mark.parametrize(
    "expression",
    [
        f"({BASE}).boost",
        f"({BASE}).callPackage ({{ lib, boost }}: boost) {{ }}",
        f"(({BASE}).callPackage ({{ stdenv, boost }}: stdenv.mkDerivation {{ name = boost; }}) {{ }}).drvPath",
    ],
)
def test_what_it_lacks_is_one_sentence(nix: Nix, expression: str) -> None:
    sentence = "nix/debian has no boost; use nixpkgs, or add it to nix/debian/packages.toml"
    assert sentence in evaluation(nix, expression)


def test_an_unknown_argument_is_the_same_sentence(nix: Nix) -> None:
    message = evaluation(nix, f"({BASE}).callPackage ({{ noSuchThing }}: noSuchThing) {{ }}")
    assert "nix/debian has no noSuchThing; use nixpkgs" in message


def test_an_unknown_system_is_one_sentence(nix: Nix) -> None:
    message = evaluation(nix, '(import ./nix/debian { system = "riscv64-linux"; }).zlib.outPath')
    assert "nix/debian has no riscv64-linux; it has aarch64-linux and x86_64-linux" in message


def test_cuda_12_is_for_one_system_and_instantiated_for_the_other(nix: Nix) -> None:
    base = 'import ./nix/debian { system = "aarch64-linux"; }'
    nvcc = f"({base}).cudaPackages_12_4.cuda_nvcc"
    nix("nix-instantiate", "--expr", nvcc)
    command = nix("nix-instantiate", "--eval", "--expr", f"{nvcc}.buildCommand").stdout
    assert "nix/debian has CUDA 12.4 for x86_64-linux, not aarch64-linux" in command
    assert "exit 1" in command


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            'fetchPypi { pname = "absent"; version = "1"; sha256 = "%s"; }',
            "add absent-1.tar.gz with: nix-store --add-fixed sha256 absent-1.tar.gz",
        ),
        (
            'requireFile { name = "absent.tar"; sha256 = "%s"; message = "get\\nit"; }',
            "not in the store; get it",
        ),
        (
            'fetchFromGitHub { owner = "some"; repo = "thing"; tag = "v1"; sha256 = "%s"; }',
            "add the tree of some/thing at refs/tags/v1 as a folder named source",
        ),
        (
            'providedFile { name = "absent.whl"; sha256 = "%s"; sentence = "run: vllm-nix fetch x"; }',
            "run: vllm-nix fetch x",
        ),
    ],
)
def test_a_missing_file_says_how_to_provide_it(nix: Nix, source: str, sentence: str) -> None:
    assert sentence in nix.fail(f"with {BASE}; {source % NEVER}")
