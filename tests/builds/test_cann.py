"""The launcher of an environment for Ascend: CANN found on the host, or missed in one sentence."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builds.test_wheel import expression
from tests.conftest import Built, Nix
from vllm_nix.verification import cann as verified
from vllm_nix.verification.environment import Environment

pytestmark = pytest.mark.nix

CMAKE = "torch/share/cmake/Torch/TorchConfig.cmake"
NEEDED = "libascendcl.so"
VLLM = {
    "vllm.py": "def main():\n    print('0.7.3')\n",
    "vllm-1.0.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm:main\n",
}
NOWHERE = 'toolkit = [ "/n" ]; atb = [ "/n" ]; driver = [ "/n" ];'
WITHOUT = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", "VLLM_PLUGINS": ""}
VARIABLES = "import os; print(os.environ.get('{}', ''))"


@dataclass(frozen=True)
class Ascend(Built):
    """An environment whose CANN would be in `root`."""

    root: Path

    def variable(self, name: str, **variables: str) -> list[str]:
        result = self("python", "-c", VARIABLES.format(name), **variables)
        assert result.stderr == ""
        return result.stdout.strip().split(":")


@pytest.fixture
def ascend(
    nix: Nix,
    make_wheel: Callable[..., Path],
    compile_library: Callable[..., bytes],
    tmp_path: Path,
) -> Ascend:
    (tmp_path / "home").mkdir()
    compile_library("int f(void) { return 1; }", f"-Wl,-soname,{NEEDED}", name=NEEDED)
    plugin = compile_library("int f(void); int g(void) { return f(); }", "-L.", f"-l:{NEEDED}")
    root = tmp_path / "Ascend"
    cann = f"""
        version = "8.1.RC1";
        toolkit = [ "{root}/ascend-toolkit/latest" "~/Ascend/ascend-toolkit/latest" ];
        atb = [ "{root}/nnal/atb/latest/atb" ];
        driver = [ "{root}/driver/lib64" ];
        libraries = [ "{NEEDED}" ];"""
    wheels = [
        make_wheel("vllm", VLLM),
        make_wheel("torch", {CMAKE: 'set(FLAGS "-D_GLIBCXX_USE_CXX11_ABI=0")\n'}),
        make_wheel("npu", {"npu/libnpu.so": plugin}, tag="cp311-cp311-linux_x86_64"),
    ]
    arguments = f"more.cann = {{ {cann} }};"
    path = nix.build(expression(*wheels, attribute="environment", arguments=arguments))
    return Ascend(path, root / "home", root)


@pytest.fixture
def cann(ascend: Ascend, compile_library: Callable[..., bytes]) -> Path:
    """CANN as it lies on a host: the toolkit, ATB for each ABI, the driver."""
    library = compile_library("int f(void) { return 910; }", f"-Wl,-soname,{NEEDED}")
    files = [
        f"ascend-toolkit/latest/lib64/{NEEDED}",
        "ascend-toolkit/latest/lib64/plugin/opskernel/libops.so",
        "ascend-toolkit/latest/python/site-packages/acl.py",
        "ascend-toolkit/latest/bin/atc",
        "nnal/atb/latest/atb/cxx_abi_0/lib/libatb.so",
        "nnal/atb/latest/atb/cxx_abi_1/lib/libatb.so",
        "driver/lib64/driver/libascend_hal.so",
    ]
    for file in files:
        place = ascend.root / file
        place.parent.mkdir(parents=True)
        place.write_bytes(library if file.endswith(".so") else b"")
    return ascend.root


def test_it_sets_what_its_own_scripts_would(ascend: Ascend, cann: Path) -> None:
    toolkit, atb = cann / "ascend-toolkit/latest", cann / "nnal/atb/latest/atb/cxx_abi_0"
    for name, value in {
        "ASCEND_HOME_PATH": toolkit,
        "ASCEND_TOOLKIT_HOME": toolkit,
        "ASCEND_OPP_PATH": toolkit / "opp",
        "ATB_HOME_PATH": atb,
    }.items():
        assert ascend.variable(name) == [str(value)]
    other = str(atb.with_name("cxx_abi_1"))  # by a set_env.sh that found no torch
    assert ascend.variable("ATB_HOME_PATH", ATB_HOME_PATH=other) == [str(atb)]
    folders = ascend.variable("LD_LIBRARY_PATH", LD_LIBRARY_PATH="/usr/lib")
    assert set(folders) == {
        str(folder)
        for folder in (
            atb / "lib",
            toolkit / "lib64",
            toolkit / "lib64/plugin/opskernel",
            cann / "driver/lib64",
            cann / "driver/lib64/driver",
        )
    }
    assert str(toolkit / "python/site-packages") in ascend.variable("PYTHONPATH")
    assert str(toolkit / "bin") in ascend.variable("PATH", PATH="/usr/bin")


@pytest.mark.parametrize("version", ["8.1.RC1", "8.1.RC1.beta1", "8.0.RC2"])
def test_another_release_of_it_is_named(ascend: Ascend, cann: Path, version: str) -> None:
    info = cann / "ascend-toolkit/latest/x86_64-linux/ascend_toolkit_install.info"
    info.parent.mkdir()
    info.write_text(f"package_name=Ascend-cann-toolkit\nversion={version}\ninnerversion=V1\n")
    toolkit = cann / "ascend-toolkit/latest"
    sentence = f"vllm-test: CANN {version} in {toolkit}; it was built for 8.1.RC1\n"
    result = ascend("vllm")
    assert result.returncode == 0
    assert result.stderr == (sentence if version == "8.0.RC2" else "")


def test_its_libraries_are_loaded(ascend: Ascend, cann: Path) -> None:
    load = "import ctypes, npu; print(ctypes.CDLL(npu.__path__[0] + '/libnpu.so').g())"
    assert ascend("python", "-c", load).stdout == "910\n"
    assert ascend("vllm").stdout == "0.7.3\n"


def test_another_toolkit_is_taken_where_the_user_says_so(ascend: Ascend, cann: Path) -> None:
    other = cann.parent / "other"
    (cann / "ascend-toolkit/latest").rename(other)
    assert ascend.variable("ASCEND_HOME_PATH", ASCEND_HOME_PATH=str(other)) == [str(other)]


def test_verify_finds_what_lies_in_the_users_own_home(
    ascend: Ascend, cann: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where CANN is for who installs it without being root; verify's children have another home."""
    home = tmp_path / "home"
    (home / "Ascend").mkdir()
    (cann / "ascend-toolkit").rename(home / "Ascend/ascend-toolkit")
    monkeypatch.setenv("HOME", str(home))
    parameters = json.loads((ascend.path / "share/vllm-nix/target.json").read_text())["parameters"]
    environment = Environment(ascend.path, tmp_path, 60, homes=verified.homes(parameters))
    outcome = environment.run(environment.python, "-c", VARIABLES.format("ASCEND_HOME_PATH"))
    found = Path(outcome.stdout.strip()).resolve()
    assert found == home / "Ascend/ascend-toolkit/latest"
    assert found in verified.places(parameters)


def test_a_process_that_it_starts_finds_the_same(ascend: Ascend, cann: Path) -> None:
    """vLLM's workers and CANN's compiler start the environment's Python again."""
    nested = "import subprocess, sys; subprocess.run([sys.executable, '-c', \"{}\"])"
    result = ascend("python", "-c", nested.format(VARIABLES.format("PYTHONPATH")))
    assert result.stdout.strip().split(":") == ascend.variable("PYTHONPATH")


def test_what_is_missing_is_one_sentence(ascend: Ascend) -> None:
    result = ascend("vllm", "--version")
    assert result.returncode == 3
    root = ascend.root
    assert result.stderr == (
        "vllm-test: this machine lacks parts of CANN: the toolkit 8.1.RC1 (no ASCEND_HOME_PATH, and"
        f" not in {root}/ascend-toolkit/latest ~/Ascend/ascend-toolkit/latest), ATB of nnal (no"
        f" ATB_HOME_PATH, and not in {root}/nnal/atb/latest/atb), the NPU's driver (not in"
        f" {root}/driver/lib64); TORCH_DEVICE_BACKEND_AUTOLOAD=0 and VLLM_PLUGINS= do without\n"
    )
    assert ascend("python", "-c", "print(1)").stdout == "1\n", "what needs no CANN runs"


def test_a_part_alone_is_named(ascend: Ascend, cann: Path) -> None:
    (cann / "nnal").rename(cann / "elsewhere")
    result = ascend("vllm")
    assert "lacks parts of CANN: ATB of nnal (no ATB_HOME_PATH" in result.stderr
    assert "toolkit" not in result.stderr.partition("ascend-toolkit")[0]


def test_checks_without_hardware_are_quiet(ascend: Ascend) -> None:
    result = ascend("vllm", "--version", **WITHOUT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0.7.3\n", "")


def test_a_library_that_is_not_cann_s_still_fails_the_assembly(
    nix: Nix, make_wheel: Callable[..., Path], compile_library: Callable[..., bytes]
) -> None:
    compile_library("void f(void) {}", "-Wl,-soname,libstranger.so", name="libstranger.so")
    library = compile_library("void f(void); void g(void) { f(); }", "-L.", "-l:libstranger.so")
    wheel = make_wheel("needy", {"needy.so": library}, tag="cp311-cp311-linux_x86_64")
    lacking = f'more.cann = {{ version = "1"; libraries = [ "{NEEDED}" ]; {NOWHERE} }};'
    message = nix.fail(expression(wheel, attribute="environment", arguments=lacking))
    assert "needy.so needs libstranger.so, which is in no wheel" in message
