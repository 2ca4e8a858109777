"""Wheels assembled: links, collisions, unresolved libraries, and what a change rebuilds."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builds.test_wheel import expression
from tests.conftest import Nix
from vllm_nix.binaries import elf
from vllm_nix.binaries.symbols import read_symbols

pytestmark = pytest.mark.nix

MakeWheel = Callable[..., Path]


def environment(*wheels: Path, arguments: str = "") -> str:
    return expression(*wheels, attribute="environment", arguments=arguments)


def run(path: Path, code: str, **variables: str) -> str:
    return subprocess.run(
        [path / "bin/python", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": "/nonexistent", **variables},
    ).stdout.strip()


def test_it_is_a_virtual_environment_of_its_wheels_alone(nix: Nix, make_wheel: MakeWheel) -> None:
    one = make_wheel("one", {"shared/one.py": "import sys; print(sys.prefix)\n"})
    two = make_wheel("two", {"shared/two.py": "from shared import one\n"})
    path = nix.build(environment(one, two))
    assert run(path, "import shared.two") == str(path)
    assert run(path, "import sys; print(sys.executable)") == f"{path}/bin/python"
    manifest = json.loads((path / "share/vllm-nix/target.json").read_text())
    assert [(wheel["name"], wheel["file"]) for wheel in manifest["wheels"]] == [
        ("one", one.name),
        ("two", two.name),
    ]


def test_programs_start_with_the_environments_python(nix: Nix, make_wheel: MakeWheel) -> None:
    wheel = make_wheel(
        "tool",
        {
            "tool.py": "def main():\n    import sys\n    print(sys.prefix)\n",
            "tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool = tool:main\n",
        },
    )
    path = nix.build(environment(wheel))
    result = subprocess.run([path / "bin/tool"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(path)


def test_a_home_is_found_where_none_can_be_written(
    nix: Nix, make_wheel: MakeWheel, tmp_path: Path
) -> None:
    path = nix.build(environment(make_wheel("any", {"any.py": ""})))
    code = "import os; print(os.environ['HOME'])"
    assert run(path, code, TMPDIR=str(tmp_path)).startswith(f"{tmp_path}/vllm-nix-")


def test_two_wheels_may_own_a_file_if_it_is_the_same(nix: Nix, make_wheel: MakeWheel) -> None:
    one = make_wheel("same1", {"ns/__init__.py": "", "ns/one.py": ""})
    two = make_wheel("same2", {"ns/__init__.py": "", "ns/two.py": ""})
    path = nix.build(environment(one, two))
    assert run(path, "import ns.one, ns.two; print('both')") == "both"


def test_two_wheels_may_not_own_a_file_that_differs(nix: Nix, make_wheel: MakeWheel) -> None:
    one = make_wheel("differ1", {"ns/__init__.py": "a = 1\n"})
    two = make_wheel("differ2", {"ns/__init__.py": "a = 2\n"})
    assert (
        "lib/python3.11/site-packages/ns/__init__.py: two wheels own this file and differ: "
        "differ1 and differ2"
    ) in nix.fail(environment(one, two))


def test_a_library_in_no_wheel_is_named(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes]
) -> None:
    compile_library("void f(void) {}", "-Wl,-soname,libgone.so.3", name="libgone.so.3")
    library = compile_library("void f(void); void g(void) { f(); }", "-L.", "-l:libgone.so.3")
    wheel = make_wheel("needy", {"needy.so": library}, tag="cp311-cp311-linux_x86_64")
    assert (
        "needy: lib/python3.11/site-packages/needy.so needs libgone.so.3, which is in no wheel, "
        "not in the base and in neither driver.libraries nor wheels.optional-libraries of the target"
    ) in nix.fail(environment(wheel))
    nix.build(environment(wheel, arguments='driver = [ "libgone.so.3" ];'))
    nix.build(environment(wheel, arguments='optional."libgone.so.3" = "nothing loads it";'))


def test_a_library_is_found_in_another_wheel_through_the_links(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes]
) -> None:
    lower = compile_library(
        "int f(void) { return 7; }", "-Wl,-soname,liblower.so", name="liblower.so"
    )
    upper = compile_library(
        "int f(void); int g(void) { return f(); }",
        "-L.",
        "-l:liblower.so",
        "-Wl,-rpath,$ORIGIN/../lower/lib",
        name="libupper.so",
    )
    tag = "cp311-cp311-linux_x86_64"
    path = nix.build(
        environment(
            make_wheel("lower", {"lower/lib/liblower.so": lower}, tag=tag),
            make_wheel("upper", {"upper/libupper.so": upper}, tag=tag),
        )
    )
    code = (
        "import ctypes, site; "
        "print(ctypes.CDLL(site.getsitepackages()[0] + '/upper/libupper.so').g())"
    )
    assert run(path, code) == "7"


def test_the_drivers_library_is_found_and_nothing_beside_it(
    nix: Nix,
    make_wheel: MakeWheel,
    compile_library: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "libdriver.so.1").write_bytes(compile_library("int f(void) { return 9; }"))
    (host / "libother.so.1").write_bytes(compile_library("int f(void) { return 8; }"))
    path = nix.build(
        environment(
            make_wheel("any", {"any.py": ""}),
            arguments='driver = [ "libdriver.so.1" ];',
        )
    )
    variables = {"LD_LIBRARY_PATH": str(host), "XDG_RUNTIME_DIR": str(tmp_path)}
    load = "import ctypes; print(ctypes.CDLL('{}').f())"
    assert run(path, load.format("libdriver.so.1"), **variables) == "9"
    with pytest.raises(subprocess.CalledProcessError):
        run(path, load.format("libother.so.1"), **variables)
    gone = {"XDG_RUNTIME_DIR": str(tmp_path / "gone"), "HOME": str(tmp_path)}
    assert run(path, load.format("libdriver.so.1"), **{**variables, **gone}) == "9"
    assert not (tmp_path / "gone").exists()


def test_the_wheels_toolkit_is_cuda_home(
    nix: Nix, make_wheel: MakeWheel, compile_library: Callable[..., bytes]
) -> None:
    runtime = compile_library("int f(void) { return 3; }", "-Wl,-soname,libcudart.so.13")
    path = nix.build(
        environment(
            make_wheel("nvidia_cuda_nvcc", {"nvidia/cu13/bin/nvcc": "", "nvidia/__init__.py": ""}),
            make_wheel(
                "nvidia_cuda_runtime",
                {
                    "nvidia/cu13/lib/libcudart.so.13": runtime,
                    "nvidia/cu13/include/cuda.h": "CUresult CUDAAPI cuInit(unsigned int);\n",
                },
            ),
        )
    )
    home = Path(run(path, "import os; print(os.environ['CUDA_HOME'])", CUDA_HOME="/usr/local/cuda"))
    assert (home / "bin/nvcc").is_file()
    assert (home / "lib64/libcudart.so").read_bytes()[:4] == b"\x7fELF"
    stub = home / "lib64/stubs/libcuda.so"
    dynamic = elf.read(stub).dynamic
    assert dynamic
    assert dynamic.soname == "libcuda.so.1"
    assert b"cuInit" in read_symbols(stub).defined


def test_a_placeholder_is_refused(nix: Nix, make_wheel: MakeWheel) -> None:
    """As the public registry's neuronx-cc 1.0.post1 is, but for its hash."""
    words = (
        "WRONG PACKAGE. Please install the package from Neuron Repository - "
        "pip.repos.neuron.amazonaws.com"
    )
    module = f'raise RuntimeError("{words}")\n'
    metadata = f"\n\n{words}\n\n"
    wheel = make_wheel("neuronx_cc", {"neuronx-cc/__init__.py": module}, "py3-none-any", metadata)
    message = nix.fail(environment(wheel))
    assert f"neuronx-cc is a placeholder for a package that is kept elsewhere: {words}" in message
    real = make_wheel("talks", {"talks.py": "x = 1\n" * 20000}, "py3-none-any", metadata)
    nix.build(environment(real))


def test_a_changed_wheel_rebuilds_itself_and_the_links(nix: Nix, make_wheel: MakeWheel) -> None:
    others = [make_wheel(f"other{n}", {f"other{n}.py": ""}) for n in range(3)]
    nix.build(environment(*others, make_wheel("changing", {"changing.py": "a = 1\n"})))
    changed = make_wheel("changing", {"changing.py": "a = 2\n"})
    plan = nix("nix-build", "--dry-run", "--expr", environment(*others, changed)).stderr
    built = sorted(
        line.split("-", 1)[1].strip() for line in plan.splitlines() if line.endswith(".drv")
    )
    assert built == ["python3.11-changing-1.0.drv", "target.json.drv", "vllm-test.drv"]
