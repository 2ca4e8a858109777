"""An environment's launcher: the path, the caller's Python variables, and the host's driver as one set."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from tests.builds.test_wheel import expression
from tests.conftest import OPTIONS, ROOT, Nix, write_wheel

pytestmark = pytest.mark.nix

MakeWheel = Callable[..., Path]
VLLM = {
    "vllm/__init__.py": "def main():\n    print('started')\n",
    "vllm/server.py": "print('served')\n",
    "vllm-1.0.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm:main\n",
}
DRIVER = ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1")
PLATFORM = ("libdxcore.so", "libnvrm_gpu.so")
LINKS = """
import json, os
folder = os.environ.get("LD_LIBRARY_PATH", "")
assert folder == os.environ.get("TRITON_LIBCUDA_PATH", "")
names = os.listdir(folder) if folder else ()
print(json.dumps({"folder": folder, **{name: os.path.realpath(f"{folder}/{name}") for name in names}}))
"""
LAUNCHERS = """
  let
    base = system: import ./nix/debian { inherit system; overlays = [ (import ./overlays) ]; };
    launcher = name: target:
      (base (builtins.head target.systems)).vllmPackages."vllm-${name}".launcher;
  in builtins.mapAttrs (name: target: builtins.unsafeDiscardStringContext (launcher name target))
    (import ./nix/lib).targets
"""


@pytest.fixture(scope="module")
def cuda(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment whose target names a driver's libraries."""
    names = " ".join(f'"{name}"' for name in DRIVER[::-1] + PLATFORM)
    wheel = write_wheel(tmp_path_factory.mktemp("wheel"), "vllm", VLLM)
    return nix.build(expression(wheel, attribute="environment", arguments=f"driver = [ {names} ];"))


def install(folder: Path, release: str, *names: str) -> None:
    """A driver as its installer leaves it: files with the release in their names, and links to them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or DRIVER:
        file = folder / f"{name.partition('.so')[0]}.so.{release}"
        file.write_text(release)
        (folder / name).symlink_to(file.name)


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)


def links(*command: str | Path, **variables: str) -> dict[str, str]:
    """The links that the Python of a command finds, with their ends, and their folder."""
    result = run(*command, "-c", LINKS, **variables)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    found: dict[str, str] = json.loads(result.stdout)
    return found


def ends(found: Mapping[str, str]) -> set[str]:
    return {Path(end).name for name, end in found.items() if name != "folder"}


def host(root: Path, *mounts: str) -> tuple[str, ...]:
    """A command's first words: on a host of its own, whose /run and /usr/lib lie in `root`."""
    for folder in ("run", "usr/lib"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    steps = [
        *mounts,
        f"mount --bind {root}/run /run",
        f"mount --bind {root}/usr/lib /usr/lib",
        'exec "$@"',
    ]
    return (*namespace(), shell(), "-c", " && ".join(steps), "host")


@cache
def namespace() -> tuple[str, ...]:
    unshare = shutil.which("unshare")
    words = (f"{unshare}", "--user", "--map-root-user", "--mount", "--uts")
    if not unshare or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    return words


def shell() -> str:
    found = shutil.which("sh")
    assert found
    return found


@cache
def launchers() -> dict[str, str]:
    options = [word for name, value in OPTIONS.items() for word in ("--option", name, value)]
    command = ["nix-instantiate", *options, "--eval", "--strict", "--json", "--expr", LAUNCHERS]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = json.loads(text)
    return found


TARGETS = sorted(path.parent.name for path in (ROOT / "nix/targets").glob("*/target.toml"))


@pytest.mark.parametrize("target", TARGETS)
def test_no_target_runs_what_lies_in_the_working_directory(nix: Nix, target: str) -> None:
    text = launchers()[target].replace("@out@", "/out")
    start, export, _ = text.partition("\nexport PATH=$REPLY\n")
    assert export
    bash = shutil.which("bash")
    assert bash
    for path, kept in {None: None, "": [], "::/usr/bin:.:bin:/bin:": ["/usr/bin", "/bin"]}.items():
        variables = {} if path is None else {"PATH": path}
        said = run(bash, "-c", f'{start}{export}printf %s "$PATH"', **variables).stdout
        first, *rest = said.split(":")
        assert first == "/out/bin"
        assert all(each.startswith("/") for each in rest), said
        if kept is not None:
            tools = [each for each in rest if each.startswith("/nix/store/")]
            assert rest == tools + kept


@pytest.mark.parametrize("path", ["", ":", "/nowhere:", ":/nowhere"])
def test_a_program_is_not_taken_from_the_working_directory(
    nix: Nix, make_wheel: MakeWheel, tmp_path: Path, path: str
) -> None:
    environment = nix.build(expression(make_wheel("any", {"any.py": ""}), attribute="environment"))
    (tmp_path / "planted").write_text("#!/bin/sh\necho planted\n")
    (tmp_path / "planted").chmod(0o755)
    code = "import shutil, subprocess; print(shutil.which('planted')); subprocess.run(['planted'])"
    inside = ("/usr/bin/env", f"--chdir={tmp_path}")
    result = run(*inside, environment / "bin/python", "-c", code, PATH=path)
    assert result.stdout == "None\n"
    assert "FileNotFoundError" in result.stderr


def test_the_callers_python_does_not_leak_in(cuda: Path, tmp_path: Path) -> None:
    (tmp_path / "stranger.py").touch()
    (tmp_path / "startup.py").write_text("print('leaked')\n")
    look = "import importlib.util; print(importlib.util.find_spec('stranger') is not None)"
    python, home, folder = cuda / "bin/python", str(tmp_path), str(tmp_path)
    leaks = {"PYTHONPATH": folder, "PYTHONHOME": "/nowhere", "PYTHONINSPECT": "1"}
    result = run(python, "-c", look, HOME=home, PYTHONSTARTUP=f"{folder}/startup.py", **leaks)
    assert (result.stdout, result.stderr) == ("False\n", "")
    assert run(python, "-c", look, HOME=home, VLLM_NIX_PYTHONPATH=folder).stdout == "True\n"


@pytest.mark.parametrize("path", [":", "{0}:", "::{0}"])
def test_an_empty_element_is_not_the_working_directory(
    cuda: Path, tmp_path: Path, path: str
) -> None:
    """As `export CPATH=$CPATH:/opt/include` leaves one, where nothing was before."""
    kept = path.format("/kept").strip(":")
    gccs = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "COMPILER_PATH", "LIBRARY_PATH")
    lists = (*gccs, "LD_RUN_PATH", "VLLM_NIX_PYTHONPATH")
    variables = dict.fromkeys(lists, path.format("/kept"))
    code = "import os, json; print(json.dumps([v for k, v in os.environ.items() if 'PATH' in k]))"
    python = cuda / "bin/python"
    said = json.loads(run(python, "-c", code, HOME=str(tmp_path), **variables).stdout)
    expected = ["", kept] if kept else [""]
    assert {each for each in said if "bin" not in each} <= {*expected}
    assert said.count(kept) >= 4
    relative = {"VLLM_NIX_PYTHONPATH": "modules"}  # which is asked for
    said = run(python, "-c", code, HOME=str(tmp_path), **relative).stdout
    assert "modules" in json.loads(said)


def test_nothing_of_the_callers_shell_comes_in(cuda: Path, tmp_path: Path) -> None:
    """Clusters set BASH_ENV for their modules; a shell may export functions and options."""
    (tmp_path / "modules.sh").write_text("echo leaked; exit 7\n")
    variables = {
        "HOME": str(tmp_path),
        "BASH_ENV": str(tmp_path / "modules.sh"),
        "SHELLOPTS": "errexit:nounset:xtrace",
        "BASHOPTS": "failglob",
        "BASH_FUNC_unset%%": "() { echo leaked; }",
    }
    install(tmp_path / "driver", "580.95.05")
    result = run(cuda / "bin/python", "-c", "print('good')", **variables)
    assert (result.stdout, result.stderr) == ("good\n", "")
    script = "import subprocess; subprocess.run(['bash', '-c', 'echo good'], check=True)"
    result = run(cuda / "bin/python", "-c", script, **variables, PATH=os.environ["PATH"])
    assert result.stdout == "good\n", "as a compiler's wrapper is one"
    result = run(
        *(cuda / "bin/python", "-c", "print('good')"),
        LD_LIBRARY_PATH=f"{tmp_path}/driver",
        **variables,
    )
    assert (result.stdout, result.stderr) == ("good\n", "")


@pytest.mark.parametrize(
    "variables",
    [
        {"XDG_CACHE_HOME": "cache"},
        {"HOME": "."},
        {"HOME": "{0}/a:b"},
        {"XDG_RUNTIME_DIR": "{0}/a;b"},
        {"XDG_CACHE_HOME": "{0}/$ORIGIN"},
        {"HOME": "/nonexistent", "TMPDIR": "tmp"},
        {"HOME": "/nonexistent", "TMPDIR": "{0}/a:b"},
    ],
    ids=str,
)
def test_the_folder_of_links_is_found_from_everywhere(
    cuda: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """A relative path would be another one in each working directory, a colon the end of it."""
    for name in ("a:b", "a;b", "cache", "tmp", "home"):
        (tmp_path / name).mkdir()
    install(tmp_path / "driver", "580.95.05")
    changed = {name: value.format(tmp_path) for name, value in variables.items()}
    inside = ("/usr/bin/env", f"--chdir={tmp_path}", cuda / "bin/python")
    library_path = f"{tmp_path}/driver"
    given = {"HOME": f"{tmp_path}/home", **changed, "LD_LIBRARY_PATH": library_path}
    folder = links(*inside, **given)["folder"]
    assert folder.startswith("/")
    assert not set(":;$") & set(folder)


def test_both_separators_of_library_path(cuda: Path, tmp_path: Path) -> None:
    install(tmp_path / "driver", "580.95.05")
    found = links(
        cuda / "bin/python",
        HOME=str(tmp_path),
        LD_LIBRARY_PATH=f"/nowhere;{tmp_path}/driver;/gone:",
    )
    assert ends(found) == {f"{name.partition('.so')[0]}.so.580.95.05" for name in DRIVER}


def test_a_toolkits_stub_is_no_driver(cuda: Path, tmp_path: Path) -> None:
    """Images link stubs/libcuda.so to libcuda.so.1, to link with; it starts no device (error 34)."""
    install(tmp_path / "lib64/stubs", "580.95.05", "libcuda.so.1")
    stubs = f"{tmp_path}/lib64/stubs"
    assert links(cuda / "bin/python", HOME=str(tmp_path), LD_LIBRARY_PATH=stubs) == {"folder": ""}
    install(tmp_path / "driver", "535.216.01")
    both = f"{stubs}/:{tmp_path}/driver"
    found = links(cuda / "bin/python", HOME=str(tmp_path), LD_LIBRARY_PATH=both)
    assert "libcuda.so.535.216.01" in ends(found)


@pytest.mark.parametrize(
    "variables", [{"FUNCNEST": "1"}, {"PYTHONEXECUTABLE": "/nowhere/python"}], ids=str
)
def test_a_variable_that_would_stop_it(
    cuda: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """The one bash's own, by which it ended with status 0, the other Python's."""
    install(tmp_path / "driver", "580.95.05")
    result = run(
        *(cuda / "bin/python", "-c", "import sys, vllm; print(sys.executable)"),
        HOME=str(tmp_path),
        LD_LIBRARY_PATH=f"{tmp_path}/driver",
        **variables,
    )
    assert (result.stdout, result.stderr) == (f"{cuda}/bin/python\n", "")


def test_it_needs_neither_dev_nor_proc(cuda: Path, tmp_path: Path) -> None:
    """As a chroot has none."""
    install(tmp_path / "driver", "580.95.05")
    mounts = [f"mount -t tmpfs none {place}" for place in ("/dev", "/proc")]
    words = [*host(tmp_path / "root", *mounts), str(cuda / "bin/python")]
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    found = links(*words, LD_LIBRARY_PATH=f"{tmp_path}/driver", **variables)
    assert found.keys() == {"folder", "libcuda.so", *DRIVER}


def test_verl_opens_libnuma_by_the_name_that_it_has_for_it(
    nix: Nix, make_wheel: MakeWheel, tmp_path: Path
) -> None:
    environment = nix.build(
        expression(
            make_wheel("verl", {"verl.py": ""}),
            attribute="environment",
            arguments='driver = [ "libcuda.so.1" ];',
        )
    )
    install(tmp_path / "driver", "580.95.05")
    variables = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": f"{tmp_path}/driver"}
    code = "import ctypes; print(ctypes.CDLL('libnuma.so').numa_available() in (0, -1))"
    said = run(environment / "bin/python", "-c", code, **variables)
    assert (said.stdout, said.stderr) == ("True\n", "")
    assert "libnuma.so" in links(environment / "bin/python", **variables)


def test_what_one_process_sets_for_another_stays(cuda: Path, tmp_path: Path) -> None:
    """Ray starts its workers with the modules of a job on PYTHONPATH, by sys.executable."""
    (tmp_path / "job.py").write_text("print('job')\n")
    code = (
        "import os, subprocess, sys;"
        f"subprocess.run([sys.executable, '-c', 'import job'], env=os.environ | {{'PYTHONPATH': {str(tmp_path)!r}}})"
    )
    assert run(cuda / "bin/python", "-c", code, HOME=str(tmp_path)).stdout == "job\n"
    known = "import os; print([name for name in os.environ if name.startswith('VLLM_')])"
    said = run(cuda / "bin/python", "-c", known, VLLM_NIX_PYTHONPATH="/nowhere").stdout
    assert said == "[]\n", "vLLM warns of variables VLLM_... that it does not know"


def test_the_driver_comes_from_one_folder(cuda: Path, tmp_path: Path) -> None:
    install(tmp_path / "580", "580.95.05", "libcuda.so.1", "libnvidia-ml.so.1")
    install(tmp_path / "535", "535.216.01")
    path = f"relative::{tmp_path}/580:{tmp_path}/535"
    found = links(cuda / "bin/python", HOME=str(tmp_path), LD_LIBRARY_PATH=path)
    assert found.keys() == {"folder", "libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1"}
    assert ends(found) == {"libcuda.so.580.95.05", "libnvidia-ml.so.580.95.05"}


def test_a_link_follows_to_the_drivers_own_folder(cuda: Path, tmp_path: Path) -> None:
    """As Debian's alternatives have it, here with a file of an older release beside the links."""
    own, shared = tmp_path / "nvidia/current", tmp_path / "shared"
    install(own, "580.95.05")
    install(shared, "535.216.01")
    (shared / "libcuda.so.1").unlink()
    (shared / "libcuda.so.1").symlink_to(own / "libcuda.so.1")
    found = links(cuda / "bin/python", HOME=str(tmp_path), LD_LIBRARY_PATH=str(shared))
    assert {Path(end).parent for name, end in found.items() if name != "folder"} == {own}


def test_a_container_in_which_no_ldconfig_has_run(cuda: Path, tmp_path: Path) -> None:
    """NVIDIA's container toolkit mounts the files alone; an older release's may lie beside them."""
    driver = tmp_path / "driver"
    install(driver, "580.95.05")
    (driver / "libnvidia-ml.so.535.216.01").write_text("535")
    (driver / "libcuda.so.470.82.01").touch()  # of a container that the image was saved from
    for name in DRIVER:
        (driver / name).unlink()
    found = links(cuda / "bin/python", HOME=str(tmp_path), LD_LIBRARY_PATH=str(driver))
    assert found.keys() == {"folder", "libcuda.so", *DRIVER}
    assert all(end.endswith(".so.580.95.05") for end in ends(found))


def test_a_process_that_it_starts_finds_the_same(cuda: Path, tmp_path: Path) -> None:
    """vLLM's workers start the environment's Python again, with LD_LIBRARY_PATH as it is by then."""
    install(tmp_path / "driver", "580.95.05")
    variables = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": f"{tmp_path}/driver"}
    found = links(cuda / "bin/python", **variables)
    nested = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LINKS!r}], check=True)"
    )
    assert json.loads(run(cuda / "bin/python", "-c", nested, **variables).stdout) == found


def test_another_releases_library_in_the_same_folder_is_left_out(
    cuda: Path, tmp_path: Path
) -> None:
    install(tmp_path / "driver", "580.95.05", "libcuda.so.1", "libnvidia-ml.so.1")
    install(tmp_path / "driver", "535.216.01", "libnvidia-ptxjitcompiler.so.1")
    variables = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": f"{tmp_path}/driver"}
    result = run(cuda / "bin/python", "-c", LINKS, **variables)
    assert "libnvidia-ptxjitcompiler.so.1" not in json.loads(result.stdout)
    assert result.stderr == (
        f"vllm-test: left out {tmp_path}/driver/libnvidia-ptxjitcompiler.so.535.216.01: libcuda.so.1"
        " is of driver 580.95.05; install one release of NVIDIA's driver\n"
    )


def test_links_of_an_earlier_start_are_gone(cuda: Path, tmp_path: Path) -> None:
    driver = tmp_path / "driver"
    variables = {"XDG_RUNTIME_DIR": str(tmp_path), "LD_LIBRARY_PATH": str(driver)}
    install(driver, "535.216.01")
    assert len(links(cuda / "bin/python", **variables)) == 5
    shutil.rmtree(driver)
    install(driver, "580.95.05", "libcuda.so.1")
    found = links(cuda / "bin/python", **variables)
    assert ends(found) == {"libcuda.so.580.95.05"}
    # What tmp cleaners and others do to the folder.
    (Path(found["folder"]) / "libcuda.so.1").unlink()
    (Path(found["folder"]) / "libother.so").symlink_to("/usr/lib/libother.so")
    assert links(cuda / "bin/python", **variables) == found


def test_triton_links_by_either_name(
    cuda: Path, compile_library: Callable[..., bytes], tmp_path: Path
) -> None:
    """Triton 3.1 and 3.2 say -lcuda."""
    driver = tmp_path / "driver"
    driver.mkdir()
    library = compile_library("int cuInit(int x) { return x; }", "-Wl,-soname,libcuda.so.1")
    (driver / "libcuda.so.1").write_bytes(library)
    found = links(cuda / "bin/python", HOME=str(tmp_path), LD_LIBRARY_PATH=str(driver))
    source = "int cuInit(int); int f(void) { return cuInit(7); }"
    compile_library(source, f"-L{found['folder']}", "-lcuda", name="kernel.so")
    load = f"import ctypes; print(ctypes.CDLL('{tmp_path}/kernel.so').f())"
    variables = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": str(driver)}
    assert run(cuda / "bin/python", "-c", load, **variables).stdout == "7\n"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (  # a Linux driver that somebody installed in WSL does not count
            {
                "/usr/lib/wsl/lib": ("1.1", *DRIVER, "libdxcore.so"),
                "/usr/lib/x86_64-linux-gnu": ("535.216.01", *DRIVER),
            },
            {"/usr/lib/wsl/lib": (*DRIVER, "libdxcore.so")},
        ),
        (  # a container in WSL: the driver is mounted elsewhere
            {
                "/usr/local/nvidia/lib64": ("1.1", *DRIVER),
                "/usr/lib/wsl/lib": ("1", "libdxcore.so"),
            },
            {"/usr/local/nvidia/lib64": DRIVER, "/usr/lib/wsl/lib": ("libdxcore.so",)},
        ),
        (  # L4T
            {
                "/usr/lib/x86_64-linux-gnu/nvidia": ("540.4.0", *DRIVER),
                "/usr/lib/x86_64-linux-gnu/tegra": ("1", "libnvrm_gpu.so"),
            },
            {
                "/usr/lib/x86_64-linux-gnu/nvidia": DRIVER,
                "/usr/lib/x86_64-linux-gnu/tegra": ("libnvrm_gpu.so",),
            },
        ),
        (  # NixOS, with another distribution's folders mounted
            {
                "/run/opengl-driver/lib": ("580.95.05", "libcuda.so.1"),
                "/usr/lib/x86_64-linux-gnu": ("535.216.01", *DRIVER),
            },
            {"/run/opengl-driver/lib": ("libcuda.so.1",)},
        ),
        ({"/usr/lib/x86_64-linux-gnu": ("535.216.01", *DRIVER[1:])}, {}),
    ],
    ids=["wsl", "wsl-container", "l4t", "nixos", "no-libcuda"],
)
def test_hosts_of_each_shape(
    cuda: Path,
    tmp_path: Path,
    places: dict[str, tuple[str, ...]],
    expected: dict[str, tuple[str, ...]],
) -> None:
    root, extra = tmp_path / "root", []
    for folder, (release, *names) in places.items():
        install(root / folder[1:], release, *names)
        if folder.startswith("/usr/local"):
            extra.append(f"mount --bind {root}/usr/local /usr/local")
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    found = links(*host(root, *extra), cuda / "bin/python", **variables)
    wanted = {name: folder for folder, names in expected.items() for name in names}
    if expected:
        wanted["libcuda.so"] = wanted["libcuda.so.1"]
    assert {
        name: str(Path(end).parent) for name, end in found.items() if name != "folder"
    } == wanted


def test_an_image_that_was_saved_from_a_container(cuda: Path, tmp_path: Path) -> None:
    """It has empty files where the driver had been mounted; this host's driver lies elsewhere."""
    saved, driver = tmp_path / "saved", tmp_path / "driver"
    install(saved, "535.216.01")
    for name in DRIVER:
        (saved / name).write_text("")
    variables = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": f"{saved}:{driver}"}
    assert links(cuda / "bin/python", **variables)["folder"] == ""
    install(driver, "580.95.05")
    found = links(cuda / "bin/python", **variables)
    assert {Path(end).parent for name, end in found.items() if name != "folder"} == {driver}


@pytest.mark.parametrize("named", ["{0}", "/nowhere:{0}/"])
def test_a_compatibility_package_that_is_named_goes_first(
    cuda: Path, tmp_path: Path, named: str
) -> None:
    """As `verify` says for a driver that is too old; a folder of another name does not."""
    root = tmp_path / "root"
    install(root / "usr/lib/x86_64-linux-gnu", "535.216.01")
    compat = "/usr/local/cuda-13.0/compat"
    newer = ("libcuda.so.1", "libnvidia-ptxjitcompiler.so.1")
    install(root / compat[1:], "580.95.05", *newer)
    install(root / "usr/local/other", "580.95.05", *newer)
    mount = f"mount --bind {root}/usr/local /usr/local"
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [*host(root, mount), str(cuda / "bin/python")]
    of_driver = {f"{name.partition('.so')[0]}.so.535.216.01" for name in DRIVER}
    assert ends(links(*command, **variables)) == of_driver
    other = links(*command, **variables, LD_LIBRARY_PATH="/usr/local/other")
    assert ends(other) == of_driver
    found = links(*command, **variables, LD_LIBRARY_PATH=named.format(compat))
    assert {name: end for name, end in found.items() if name != "folder"} == {
        **{name: f"{compat}/{name.partition('.so')[0]}.so.580.95.05" for name in newer},
        "libcuda.so": f"{compat}/libcuda.so.580.95.05",
        "libnvidia-ml.so.1": "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.535.216.01",
    }


def test_hosts_that_share_a_home_share_no_folder(cuda: Path, tmp_path: Path) -> None:
    install(tmp_path / "driver", "580.95.05")
    variables = {
        "HOME": str(tmp_path),
        "LD_LIBRARY_PATH": f"{tmp_path}/driver",
        "PATH": os.environ["PATH"],
        "HOSTNAME": "as-the-batch-system-has-it",
    }
    folders = {
        links(
            *host(tmp_path / "root", f"echo {name} > /proc/sys/kernel/hostname"),
            cuda / "bin/python",
            **variables,
        )["folder"]
        for name in ("one", "two")
    }
    assert len(folders) == 2
    assert all(Path(folder).is_relative_to(tmp_path / ".cache") for folder in folders)


def test_starts_at_once_all_find_every_library(cuda: Path, tmp_path: Path) -> None:
    for folder in ("580", "535"):
        install(tmp_path / folder, f"{folder}.1")
    folders = [f"{tmp_path}/580", f"{tmp_path}/535"] * 8

    def start(folder: str) -> dict[str, str]:
        return links(cuda / "bin/python", XDG_RUNTIME_DIR=str(tmp_path), LD_LIBRARY_PATH=folder)

    with ThreadPoolExecutor(len(folders)) as pool:
        for folder, found in zip(folders, pool.map(start, folders), strict=True):
            assert found.keys() == {"folder", "libcuda.so", *DRIVER}
            assert {str(Path(end).parent) for end in found.values()} - {folder} == {
                f"{tmp_path}/vllm-nix/drivers"
            }
    assert len(list((tmp_path / "vllm-nix/drivers").iterdir())) == 2, "nothing half-made stays"


@pytest.mark.parametrize(
    "mount",
    [
        "mount --bind {home} {home} && mount -o remount,bind,ro {home}",
        "mount -t tmpfs -o nr_inodes=1 full {home}",
    ],
    ids=["read-only", "full"],
)
def test_a_home_that_takes_nothing(cuda: Path, tmp_path: Path, mount: str) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    install(tmp_path / "driver", "580.95.05")
    variables = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": os.environ["PATH"]}
    command = [*host(tmp_path / "root", mount.format(home=home)), str(cuda / "bin/python")]
    found = links(*command, LD_LIBRARY_PATH=f"{tmp_path}/driver", **variables)
    assert found["folder"].startswith(f"{temporary}/vllm-nix-0/")
    assert len(found) == 5


def test_no_room_anywhere_is_one_sentence(cuda: Path, tmp_path: Path) -> None:
    install(tmp_path / "driver", "580.95.05")
    for folder in ("full", "root"):
        (tmp_path / folder).mkdir()
    mounts = [
        f"mount -t tmpfs -o nr_inodes=1 full {tmp_path}/full",
        f"mount --rbind {tmp_path} /mnt",  # to be reached when /tmp is full
        *(f"mount --bind /mnt/full {place}" for place in ("/dev/shm", "/tmp")),
    ]
    moved = [word.replace(f"{tmp_path}/root", "/mnt/root") for word in host(tmp_path / "root")]
    command = [*moved[:-2], " && ".join([*mounts, moved[-2]]), moved[-1]]
    variables = {
        "HOME": "/mnt/full",
        "LD_LIBRARY_PATH": "/mnt/driver",
        "PATH": os.environ["PATH"],
    }
    result = run(*command, cuda / "bin/vllm", **variables)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "vllm-test: no links to the driver: nothing can be written in XDG_RUNTIME_DIR, ~/.cache,"
        " TMPDIR, /tmp and /dev/shm; set TMPDIR to a folder with room\n"
    )


def test_a_planted_link_is_not_followed(cuda: Path, tmp_path: Path) -> None:
    own, temporary = tmp_path / "own", tmp_path / "tmp"
    own.mkdir()
    temporary.mkdir()
    (temporary / f"vllm-nix-{os.getuid()}").symlink_to(own)
    install(tmp_path / "driver", "580.95.05")
    variables = {"HOME": "/nonexistent", "TMPDIR": str(temporary)}
    driver = f"{tmp_path}/driver"
    found = links(cuda / "bin/python", LD_LIBRARY_PATH=driver, **variables)
    assert list(own.iterdir()) == []
    assert Path(found["folder"]).resolve().is_relative_to(temporary)
    home = run(cuda / "bin/python", "-c", "import os; print(os.environ['HOME'])", **variables)
    assert Path(home.stdout.strip()).resolve().parent == temporary


@pytest.mark.parametrize("command", [("vllm",), ("python", "-m", "vllm.server")])
def test_vllm_without_a_driver_is_one_sentence(
    cuda: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    program, *arguments = command
    words = [*host(tmp_path / "root"), str(cuda / "bin" / program), *arguments]
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    result = run(*words, **variables)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "vllm: this machine has no libcuda.so.1: install NVIDIA's driver, "
        "start a container with --gpus all, or name the driver's folder in LD_LIBRARY_PATH\n"
    )
    install(tmp_path / "driver", "580.95.05")
    result = run(*words, LD_LIBRARY_PATH=f"{tmp_path}/driver", **variables)
    assert result.stdout in {"started\n", "served\n"}


def test_a_tool_of_the_shell_gets_the_same(nix: Nix, make_wheel: MakeWheel, tmp_path: Path) -> None:
    names = " ".join(f'"{name}"' for name in DRIVER)
    environment = expression(
        make_wheel("vllm", VLLM), attribute="environment", arguments=f"driver = [ {names} ];"
    )
    tool = nix.build(f"""
        with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
        vllmPackages.withDriver ({environment}) (writeShellScriptBin "tool" ''
          echo "$LD_LIBRARY_PATH|$PYTHONPATH|$*"
        '')
    """)
    install(tmp_path / "driver", "580.95.05")
    variables = {"HOME": str(tmp_path), "LD_LIBRARY_PATH": f"{tmp_path}/driver"}
    said = run(tool / "bin/tool", "a b", "c", PYTHONPATH="/leak", **variables).stdout
    folder, path, arguments = said.rstrip("\n").split("|")
    assert {file.name for file in Path(folder).iterdir()} == {"libcuda.so", *DRIVER}
    assert (path, arguments) == ("", "a b c")
