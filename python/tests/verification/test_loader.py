"""Libraries that do not load, though what they need lies in the environment: each judged as ld.so
does, with libraries that gcc made, and most beside what importing them really says."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_binaries import elf_file

from verification.cuda import cuda_torch, with_symbols
from verification.environments import Sample, faults, healthy
from vllm_nix.binaries import elf
from vllm_nix.binaries.symbols import Versions, demangle, read_versions
from vllm_nix.verification import verify

INIT = "int PyInit__C(void) { return 0; }\n"
CPP = "_ZN3c104warnEv"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    return tmp_path


def library(
    file: Path, code: str = "int unused;\n", *needs: Path, options: Sequence[str] = ()
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    source = file.with_suffix(".c")
    source.write_text(code)
    command = ["gcc", "-w", "-shared", "-fPIC", "-o", str(file), str(source)]
    # The embedded base's linker adds run paths of its own, but where a file has no loader.
    command.append("-Wl,--no-dynamic-linker")
    command += ["-Wl,--no-as-needed", f"-Wl,-soname,{file.name}", *map(str, needs), *options]
    subprocess.run(command, check=True)
    source.unlink()
    return file


def found(sample: Sample, check: str = "elf") -> str:
    return faults(verify(sample.root, only=[check])).get(check, "")


def imports(sample: Sample, code: str) -> str:
    """What the environment's Python really says."""
    command = [str(sample.root / "bin/python"), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or ["ok"])[-1]


def cudart(sample: Sample, major: int, folder: str) -> Path:
    code = f"int cudart{major}(void) {{ return {major}; }}\n"
    return library(sample.site / f"nvidia/{folder}/lib/libcudart.so.{major}", code)


def torch_with(sample: Sample, needs: Path) -> Path:
    """torch/lib/libtorch_cpu.so, which finds its own cudart, loaded by torch's __init__."""
    runtime = "-Wl,-rpath,$ORIGIN/../../nvidia/cu13/lib"
    own = library(sample.site / "torch/lib/libtorch_cpu.so", "int t;\n", needs, options=[runtime])
    text = (sample.site / "torch/__init__.py").read_text()
    load = f"import ctypes\nctypes.CDLL({str(own)!r}, ctypes.RTLD_GLOBAL)\n"
    (sample.site / "torch/__init__.py").write_text(load + text)
    return own


@pytest.mark.parametrize("place", ["vllm/_C.abi3.so", "vllm/deep/er/_moe_C.abi3.so"])
def test_a_runtime_that_nothing_loads(gpu_sample: Sample, made: Path, place: str) -> None:
    torch_with(gpu_sample, cudart(gpu_sample, 13, "cu13"))
    twelve = cudart(gpu_sample, 12, "cuda_runtime")
    code = f"int cudart12(void);\nint use(void) {{ return cudart12(); }}\n{INIT}"
    file = library(gpu_sample.site / place, code, twelve)
    assert "libcudart.so.12: cannot open" in imports(
        gpu_sample, f"import torch, ctypes; ctypes.CDLL({str(file)!r})"
    )
    assert found(gpu_sample) == (
        f"failed {place}: needs libcudart.so.12, which it does not find, and nothing before it loads "
        "(expected a run path to nvidia/cuda_runtime/lib, where it lies)\n"
    )
    fix = verify(gpu_sample.root, only=["elf"]).results[0].findings[0].fix
    assert fix == "install the build of vllm that needs libcudart.so.13, which torch loads"
    for root in (gpu_sample.root, gpu_sample.site):  # by its files alone, too
        report = verify(root, only=["elf"], files_only=True)
        assert "needs libcudart.so.12, which it does not find" in faults(report)["elf"]


@pytest.mark.parametrize("name", ["flash_attn_2_cuda.so", "xformers/_C.so"])
def test_attention_kernels_that_do_not_load(gpu_sample: Sample, made: Path, name: str) -> None:
    torch_with(gpu_sample, cudart(gpu_sample, 13, "cu13"))
    twelve = cudart(gpu_sample, 12, "cuda_runtime")
    file = library(gpu_sample.site / name, INIT, twelve)
    gpu_sample.install("kernels", "1", {name: file.read_bytes()}, requires=("torch",))
    assert found(gpu_sample).startswith(f"failed {name}: needs libcudart.so.12, which it does not")
    fix = verify(gpu_sample.root, only=["elf"]).results[0].findings[0].fix
    assert fix == "install the build of kernels that needs libcudart.so.13, which torch loads"


def test_a_runtime_that_torch_has_loaded(gpu_sample: Sample, made: Path) -> None:
    runtime = cudart(gpu_sample, 13, "cu13")
    torch_with(gpu_sample, runtime)
    code = f"int cudart13(void);\nint use(void) {{ return cudart13(); }}\n{INIT}"
    file = library(gpu_sample.site / "vllm/_C.abi3.so", code, runtime)
    assert imports(gpu_sample, f"import torch, ctypes; ctypes.CDLL({str(file)!r})") == "ok"
    assert found(gpu_sample) == ""
    assert found(gpu_sample, "torch-abi") == ""


def test_what_torch_opens_later_has_loaded_nothing(gpu_sample: Sample, made: Path) -> None:
    """libtorch_cuda_linalg.so finds cuSOLVER by its own run path, and only when a matrix is solved."""
    lib = gpu_sample.site / "torch/lib"
    solver = library(gpu_sample.site / "nvidia/cusolver/lib/libcusolver.so.11", "int s(void);\n")
    path = ["-Wl,-rpath,$ORIGIN:$ORIGIN/lib:$ORIGIN/../../nvidia/cusolver/lib"]
    own = library(lib / "libtorch_cpu.so", "int t;\n")
    late = library(lib / "libtorch_cuda_linalg.so", "int l;\n", own, solver, options=path)
    module = gpu_sample.site / f"torch/_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    library(module, INIT, own, options=path)
    library(gpu_sample.site / "vllm/_C.abi3.so", INIT, solver)
    report = verify(gpu_sample.root, only=["elf"], quick=True)
    assert "vllm/_C.abi3.so: needs libcusolver.so.11, which it does not" in faults(report)["elf"]
    assert "linalg" not in faults(report)["elf"]
    library(module, INIT, own, late, options=path)
    assert faults(verify(gpu_sample.root, only=["elf"], quick=True)) == {}


def test_what_torchs_python_opens_is_asked_of_it(gpu_sample: Sample, made: Path) -> None:
    """Not by any list of names: `import torch` is run, and what it maps counts."""
    runtime = cudart(gpu_sample, 12, "cuda_runtime")
    library(gpu_sample.site / "vllm/_C.abi3.so", INIT, runtime)
    assert "needs libcudart.so.12, which it does not find" in found(gpu_sample)
    text = (gpu_sample.site / "torch/__init__.py").read_text()
    load = f"import ctypes\nctypes.CDLL({str(runtime)!r}, ctypes.RTLD_GLOBAL)\n"
    (gpu_sample.site / "torch/__init__.py").write_text(load + text)
    assert found(gpu_sample) == ""


def test_torchs_own_table_of_what_it_preloads(gpu_sample: Sample, made: Path) -> None:
    """As its __init__ has it: without running it, of the wheels that are there."""
    from vllm_nix.verification.linking import _preloaded

    runtime = cudart(gpu_sample, 12, "cuda_runtime")
    other = cudart(gpu_sample, 13, "cu13")
    file = gpu_sample.site / "torch/__init__.py"
    images = dict.fromkeys((runtime, other))
    table = "cuda_libs = {{'cuda_runtime': 'libcudart.so.*[0-9]'}}\n{}"
    for text, needed, expected in (
        (table.format(""), False, []),
        (table.format(""), True, [runtime]),
        (table.format("load(required=False)"), False, [runtime]),
        ('_preload_cuda_deps("cuda_runtime", "libcudart.so.*[0-9]")', False, [runtime]),
        ("cuda_libs = [('other', 'libcudart.so.*[0-9]')]", True, [other]),
        ("", True, []),
    ):
        file.write_text(text)
        assert list(_preloaded(file.parent, images, needed)) == expected, text  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["libtorch_global_deps.so", "_C.so"])
def test_what_torch_itself_does_not_find_at_its_time(
    gpu_sample: Sample, made: Path, first: str
) -> None:
    """Though another library of torch's, which is loaded later, would find it."""
    lib = gpu_sample.site / "torch/lib"
    part = library(gpu_sample.site / "nvidia/part/lib/libpart.so.1")
    path = ["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../../nvidia/part/lib"]
    library(lib / "libtorch_cuda.so", "int t;\n", part, options=path)
    file = lib / first if "deps" in first else lib.parent / first
    library(file, "int PyInit__C_x;\n", part)
    text = (gpu_sample.site / "torch/__init__.py").read_text()
    load = f"import ctypes\nctypes.CDLL({str(file)!r}, ctypes.RTLD_GLOBAL)\n"
    (gpu_sample.site / "torch/__init__.py").write_text(load + text)
    assert "libpart.so.1: cannot open" in imports(gpu_sample, "import torch")
    name = file.relative_to(gpu_sample.site)
    assert found(gpu_sample).startswith(f"failed {name}: needs libpart.so.1, which it does not")
    library(file, "int PyInit__C_x;\n", part, options=[f"-Wl,-rpath,{part.parent}"])
    assert imports(gpu_sample, "import torch") == "ok"
    assert found(gpu_sample) == ""


def test_a_run_path_is_the_librarys_own(gpu_sample: Sample, made: Path) -> None:
    """DT_RUNPATH does not hold for what a library loads; DT_RPATH does."""
    deep = library(gpu_sample.site / "extra/deep/libdeep.so.1")
    middle = library(gpu_sample.site / "extra/lib/libmiddle.so.1", "int m;\n", deep)
    paths = "-Wl,-rpath,$ORIGIN/../extra/lib:$ORIGIN/../extra/deep"
    library(
        gpu_sample.site / "vllm/_C.abi3.so", INIT, middle, options=["-Wl,--enable-new-dtags", paths]
    )
    assert "extra/lib/libmiddle.so.1: needs libdeep.so.1, which it does not find" in found(
        gpu_sample
    )
    library(
        gpu_sample.site / "vllm/_C.abi3.so",
        INIT,
        middle,
        options=["-Wl,--disable-new-dtags", paths],
    )
    assert found(gpu_sample) == ""


def test_library_path_of_the_environment(
    gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = library(made / "away/libaway.so.1")
    library(gpu_sample.site / "vllm/_C.abi3.so", INIT, away)
    assert "needs libaway.so.1, which is nowhere" in found(gpu_sample)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(away.parent))
    assert found(gpu_sample) == ""


def test_another_package_may_open_it_itself(gpu_sample: Sample, made: Path) -> None:
    """As xgrammar has it: a library of a package that it requires, which that one's Python opens."""
    part = library(gpu_sample.site / "part/lib/libpart.so")
    library(gpu_sample.site / "extra/libextra.so", "int e;\n", part)
    gpu_sample.install(
        "part", "1", {"part/lib/libpart.so": part.read_bytes(), "part/__init__.py": ""}
    )
    extra = {"extra/libextra.so": (gpu_sample.site / "extra/libextra.so").read_bytes()}
    gpu_sample.install("extra", "1", extra)
    assert found(gpu_sample).startswith(
        "warning extra/libextra.so: needs libpart.so, which it does"
    )
    gpu_sample.install("extra", "1", extra, requires=("part>=1",))
    assert found(gpu_sample).startswith(
        "warning extra/libextra.so: needs libpart.so, which it does"
    )
    (gpu_sample.site / "part/__init__.py").write_text(
        "import ctypes\nctypes.CDLL('lib/libpart.so')\n"
    )
    assert found(gpu_sample) == ""


@pytest.mark.parametrize(("text", "status"), [("", "warning"), ("import gone", "failed")])
def test_a_part_of_a_package_that_nix_built(
    gpu_sample: Sample, made: Path, text: str, status: str
) -> None:
    """As cupy's cusolver: the rest of the package is tried."""
    part = library(gpu_sample.site / "part/lib/libpart.so")
    extra = library(gpu_sample.site / "extra/deep.abi3.so", INIT, part)
    (gpu_sample.site / "extra/__init__.py").write_text(f"{text}\n")
    gpu_sample.install("extra", "1", {"extra/deep.abi3.so": extra.read_bytes()})
    gpu_sample.declare()
    unknown = faults(verify(gpu_sample.root, only=["elf"], files_only=True))["elf"]
    assert unknown.startswith("warning extra/deep.abi3.so: needs libpart.so")
    assert found(gpu_sample).startswith(f"{status} extra/deep.abi3.so: needs libpart.so, which it")


# A loader that is not the host's. -----------------------------------------------------------------


def test_a_python_whose_loader_does_not_look_in_the_hosts_folders(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Nix's, for which a wheel's libstdc++.so.6 is not there, whatever the host has."""
    loader, patchelf = Path("/lib64/ld-linux-x86-64.so.2"), shutil.which("patchelf")
    python = Path(sys.executable).resolve()
    if (
        not patchelf
        or not loader.exists()
        or b"/lib/x86_64-linux-gnu/\0" not in loader.read_bytes()
    ):
        pytest.skip("needs patchelf and Debian's loader")
    data = loader.read_bytes().replace(b"/etc/ld.so.cache\0", b"/nix/ld.so.cache\0")
    for one in (b"/lib/x86_64-linux-gnu/\0", b"/lib/\0"):
        data = data.replace(one, one.replace(b"/lib/", b"/nix/"))
    own = made / "store" / "ld.so"
    own.parent.mkdir()
    own.write_bytes(data)
    own.chmod(0o755)
    needed = subprocess.run(
        ["ldd", str(python)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {
        str(Path(line.split(" => ")[1].split(" (")[0]).parent) for line in needed if " => " in line
    }
    for folder in folders:
        for name in ("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libutil.so.1"):
            if (Path(folder) / name).exists():
                shutil.copy(Path(folder) / name, own.parent / name)
    sample = healthy(tmp_path / "environment")
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        (sample.root / "bin" / name).unlink(missing_ok=True)
    copy = sample.root / "bin/python"
    shutil.copy(python, copy)
    run_path = ":".join([str(own.parent), *sorted(folders - {"/lib/x86_64-linux-gnu"})])
    # One change a call: patchelf 0.14 writes the name of the library for the run path.
    for change in (
        ("--set-interpreter", own),
        ("--add-needed", "libm.so.6"),
        ("--force-rpath", "--set-rpath", run_path),
    ):
        subprocess.run([patchelf, *change, copy], check=True)
    module = sample.site / "vllm/_C.abi3.so"
    library(module, INIT, options=["-l:libstdc++.so.6"])
    assert imports(sample, "print()") == "ok"
    load = f"import sys; sys.path.insert(0, {str(module.parent)!r}); import _C"
    assert "libstdc++.so.6: cannot open" in imports(sample, load)
    assert "vllm/_C.abi3.so: needs libstdc++.so.6, which is nowhere" in found(sample)
    monkeypatch.setenv("NIX_STORE_DIR", str(tmp_path))
    (sample.site / "numpy/__init__.py").write_text(f"import ctypes; ctypes.CDLL({str(module)!r})")
    results = verify(sample.root, only=["elf", "imports"]).results
    fixes = [one.fix for result in results for one in result.findings if one.fix]
    assert len(fixes) >= 2
    assert all(fix.startswith("this Python is Nix's") for fix in fixes), (
        "apt-get does nothing for it"
    )


# Versions of symbols. ------------------------------------------------------------------------------


def versioned(folder: Path, *versions: str) -> Path:
    """libpart.so.1, whose function `part` has the last of the versions."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "part.map"
    script.write_text(
        "".join(f"{one} {{ }};\n" for one in versions[:-1])
        + f"{versions[-1]} {{ global: part; }};\n"
    )
    options = [f"-Wl,--version-script={script}"]
    return library(folder / "libpart.so.1", "int part(void) { return 1; }\n", options=options)


def test_versions_of_symbols(gpu_sample: Sample, made: Path) -> None:
    new = versioned(made / "new", "PART_1.2", "PART_1.10")
    path = ["-Wl,-rpath,$ORIGIN"]
    code = f"int part(void);\nint use(void) {{ return part(); }}\n{INIT}"
    file = library(gpu_sample.site / "vllm/_C.abi3.so", code, new, options=path)
    shutil.copy(new, gpu_sample.site / "vllm/libpart.so.1")
    assert found(gpu_sample) == ""
    shutil.copy(
        versioned(made / "old", "PART_1.2", "PART_1.9"), gpu_sample.site / "vllm/libpart.so.1"
    )
    assert "version `PART_1.10' not found" in imports(
        gpu_sample, f"import ctypes; ctypes.CDLL({str(file)!r})"
    )
    assert found(gpu_sample) == (
        "failed vllm/_C.abi3.so: needs PART_1.10 of libpart.so.1, which has up to PART_1.9 (expected )\n"
    )
    # Without any versions it is taken as it is.
    shutil.copy(
        library(made / "none/libpart.so.1", "int part(void) { return 1; }\n"),
        gpu_sample.site / "vllm/libpart.so.1",
    )
    assert imports(gpu_sample, f"import ctypes; ctypes.CDLL({str(file)!r})") == "ok"
    assert found(gpu_sample) == ""
    read = read_versions(file)
    assert read.needed["libpart.so.1"] == ("PART_1.10",)
    assert read_versions(made / "new/libpart.so.1").defined >= {"PART_1.2", "PART_1.10"}


def fix_of(sample: Sample, check: str) -> str:
    return verify(sample.root, only=[check]).results[0].findings[0].fix


@pytest.mark.parametrize(
    ("version", "fix"),
    [
        ("GLIBCXX_3.4.99", "conda install -c conda-forge libstdcxx"),
        ("PART_1.10", "install a build of vllm for an older system, or a newer libpart.so.1"),
    ],
)
def test_what_to_do_about_a_version(gpu_sample: Sample, made: Path, version: str, fix: str) -> None:
    family = version.partition("_")[0]
    code = f"int part(void);\nint use(void) {{ return part(); }}\n{INIT}"
    new = versioned(made / "new", f"{family}_1", version)
    file = gpu_sample.site / "vllm/_C.abi3.so"
    library(file, code, new, options=["-Wl,-rpath,$ORIGIN"])
    shutil.copy(versioned(made / "old", f"{family}_1"), file.parent / "libpart.so.1")
    assert fix in fix_of(gpu_sample, "elf")


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("ncclCommWindowRegister", "libnccl.so.2"),
        ("cublasLtSomething", "libcublasLt.so.13"),
        ("_ZN3c104warnEv", "libtorch_cpu.so"),
    ],
)
def test_what_library_path_hides_is_to_be_taken_out_of_it(
    gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch, symbol: str, name: str
) -> None:
    """vllm#9494, nccl#1784: the environment has what is needed, and another one is found first."""
    own = library(gpu_sample.site / "own" / name, f"int {symbol}(void) {{ return 1; }}\n")
    code = f"int {symbol}(void);\nint use(void) {{ return {symbol}(); }}\n{INIT}"
    path = ["-Wl,--enable-new-dtags,-rpath,$ORIGIN/../own"]
    library(gpu_sample.site / "vllm/_C.abi3.so", code, own, options=path)
    assert found(gpu_sample, "torch-abi") == ""
    other = library(made / "other" / name)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/gone:{other.parent}/")
    assert symbol in found(gpu_sample, "torch-abi")
    fix = f"take {other.parent} out of LD_LIBRARY_PATH: its {name} is found first"
    assert fix_of(gpu_sample, "torch-abi") == fix


def test_an_older_library_below_torchs(
    gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vllm#10300: cuSPARSE asks for what CUDA's older libnvJitLink does not have."""
    nvidia, path = gpu_sample.site / "nvidia", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../../"
    name = "__nvJitLinkComplete_12_4"
    linker = library(
        nvidia / "nvjitlink/lib/libnvJitLink.so.12", f"int {name}(void) {{ return 1; }}\n"
    )
    code = f"int {name}(void);\nint sparse(void) {{ return {name}(); }}\n"
    options = [f"{path}nvjitlink/lib"]
    sparse = library(nvidia / "cusparse/lib/libcusparse.so.12", code, linker, options=options)
    options = [f"{path}nvidia/cusparse/lib"]
    library(gpu_sample.site / "torch/lib/libtorch_cuda.so", "int t;\n", sparse, options=options)
    assert found(gpu_sample, "torch-abi") == ""
    other = library(made / "cuda/libnvJitLink.so.12").parent
    monkeypatch.setenv("LD_LIBRARY_PATH", str(other))
    assert f"libcusparse.so.12: needs {name}" in found(gpu_sample, "torch-abi")
    fix = f"take {other} out of LD_LIBRARY_PATH: its libnvJitLink.so.12 is found first"
    assert fix_of(gpu_sample, "torch-abi") == fix


@pytest.mark.parametrize(("tags", "is_found"), [("new", True), ("old", False)])
def test_cudas_libraries_by_library_path(
    gpu_sample: Sample,
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    tags: str,
    is_found: bool,
) -> None:
    """It goes before DT_RUNPATH, and after DT_RPATH."""
    own = library(gpu_sample.site / "nvidia/cublas/lib/libcublas.so.12")
    path = [f"-Wl,--{'en' if tags == 'new' else 'dis'}able-new-dtags"]
    path.append("-Wl,-rpath,$ORIGIN/../../nvidia/cublas/lib")
    library(gpu_sample.site / "torch/lib/libtorch_cuda.so", "int t;\n", own, options=path)
    other = library(made / "cuda/libcublas.so.12")
    library(made / "cuda/libcudnn.so.9")  # which nothing asks for
    for folder in (own.parent, made / "gone"):
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
        assert found(gpu_sample) == ""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(other.parent))
    said = f"warning {other.parent}: torch loads libcublas.so.12 from there, by LD_LIBRARY_PATH"
    assert found(gpu_sample).startswith(said) is is_found


def test_what_library_path_has_is_no_cause_where_nothing_has_the_symbol(
    gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = library(made / "other/libpart.so.1")
    code = f"int gone(void);\nint use(void) {{ return gone(); }}\n{INIT}"
    library(gpu_sample.site / "vllm/_C.abi3.so", code, other)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(other.parent))
    assert "needs gone" in found(gpu_sample, "torch-abi")
    assert "LD_LIBRARY_PATH" not in fix_of(gpu_sample, "torch-abi")


def test_what_a_run_path_finds_first(gpu_sample: Sample, made: Path) -> None:
    """A build's folder, that its run path still leads to, has an older one than the environment."""
    name, symbol = "libpart.so.1", "part2"
    own = library(gpu_sample.site / "own" / name, f"int {symbol}(void) {{ return 1; }}\n")
    other = library(made / "build" / name)
    code = f"int {symbol}(void);\nint use(void) {{ return {symbol}(); }}\n{INIT}"
    path = [f"-Wl,--disable-new-dtags,-rpath,{other.parent}:$ORIGIN/../own"]
    library(gpu_sample.site / "vllm/_C.abi3.so", code, own, options=path)
    assert "needs part2" in found(gpu_sample, "torch-abi")
    assert fix_of(gpu_sample, "torch-abi").startswith(f"{other} is found before")
    other.unlink()
    assert found(gpu_sample, "torch-abi") == ""


def test_a_module_beside_its_package_is_its_distributions(gpu_sample: Sample, made: Path) -> None:
    """flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so is flash-attn's."""
    code = f"int gone(void);\nint use(void) {{ return gone(); }}\n{INIT}"
    tag = sysconfig.get_config_var("EXT_SUFFIX")
    data = library(made / "module.so", code).read_bytes()
    gpu_sample.install("flash-attn", "2.8.3", {f"flash_attn_2_cuda{tag}": data})
    assert "needs gone" in found(gpu_sample, "torch-abi")
    assert fix_of(gpu_sample, "torch-abi").startswith("install flash-attn and what it needs again")
    gone = library(made / "libgone.so.3")
    data = library(made / "module.so", "int unused;\n", gone).read_bytes()
    gpu_sample.install("causal-conv1d", "1.5", {f"causal_conv1d_cuda{tag}": data})
    gpu_sample.uninstall("flash-attn", "2.8.3")
    (gpu_sample.site / f"flash_attn_2_cuda{tag}").unlink()
    assert "does not import: ImportError: libgone.so.3" in found(gpu_sample)


def test_an_older_library_that_torch_loads_first(gpu_sample: Sample, made: Path) -> None:
    """saturncloud/images#483: the system's libstdc++.so.6, which conda's scipy finds too old."""
    new = versioned(gpu_sample.root / "own", "PART_1.2", "PART_1.10")
    old = versioned(made / "old", "PART_1.2", "PART_1.9")
    torch_with(gpu_sample, old)
    shutil.copy(old, gpu_sample.site / "torch/lib/libpart.so.1")
    path = ["-Wl,--enable-new-dtags,-rpath,$ORIGIN"]
    library(gpu_sample.site / "torch/lib/libtorch_cpu.so", "int t;\n", old, options=path)
    code = f"int part(void);\nint use(void) {{ return part(); }}\n{INIT}"
    path = [f"-Wl,-rpath,{new.parent}"]
    scipy = library(gpu_sample.site / "scipy/_core.so", code, new, options=path)
    load = f"import ctypes; ctypes.CDLL({str(scipy)!r})"
    assert imports(gpu_sample, load) == "ok"
    assert "version `PART_1.10' not found" in imports(gpu_sample, f"import torch; {load}")
    assert "scipy/_core.so: needs PART_1.10, which " in found(gpu_sample)
    assert fix_of(gpu_sample, "elf").startswith(f"export LD_LIBRARY_PATH={new.parent}, for torch")
    shutil.copy(new, gpu_sample.site / "torch/lib/libpart.so.1")
    assert imports(gpu_sample, f"import torch; {load}") == "ok"
    assert found(gpu_sample) == ""


def test_what_is_to_be_preloaded_and_is_not_there(
    gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vllm#37561: of which the loader says a line, and goes on."""
    there = library(made / "libthere.so")
    monkeypatch.setenv("LD_PRELOAD", f"{there}:{made}/libtcmalloc_minimal.so.4")
    said = found(gpu_sample)
    assert said.startswith(f"warning {made}/libtcmalloc_minimal.so.4: LD_PRELOAD names it")
    assert said.count("\n") == 1
    monkeypatch.setenv("LD_PRELOAD", str(there))
    assert found(gpu_sample) == ""


def test_an_older_version_by_library_path(
    gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = versioned(made / "new", "PART_1.2", "PART_1.10")
    code = f"int part(void);\nint use(void) {{ return part(); }}\n{INIT}"
    library(gpu_sample.site / "vllm/_C.abi3.so", code, new)
    old = versioned(made / "old", "PART_1.2", "PART_1.9").parent
    monkeypatch.setenv("LD_LIBRARY_PATH", str(old))
    assert "needs PART_1.10" in found(gpu_sample)
    assert (
        fix_of(gpu_sample, "elf")
        == f"take {old} out of LD_LIBRARY_PATH: its libpart.so.1 is found first"
    )


@pytest.mark.parametrize(
    ("needed", "jetpack", "good"),
    [
        ("GLIBC_2.35", "6.2", True),
        ("GLIBC_2.38", "6.2", False),
        ("GLIBC_2.38", "7.2", True),
        ("GLIBC_2.4", "5.1", True),
        ("GLIBC_2.34", "5.1", False),
        ("GLIBCXX_3.4.30", "6.2", True),
        ("GLIBCXX_3.4.32", "6.2", False),
        ("CXXABI_1.3.15", "6.2", False),
        ("GLIBC_ABI_DT_RELR", "6.2", False),
        ("GLIBC_PRIVATE", "6.2", True),
        ("OTHER_9.9", "6.2", True),
    ],
)
def test_the_system_of_a_jetpack(
    gpu_sample: Sample, monkeypatch: pytest.MonkeyPatch, needed: str, jetpack: str, good: bool
) -> None:
    library_ = "libstdc++.so.6" if "XX" in needed else "libc.so.6"

    def versions(file: Path) -> Versions:
        return Versions({library_: (needed,)} if file.name == "_C.abi3.so" else {}, frozenset())

    monkeypatch.setattr("vllm_nix.verification.facts.read_versions", versions)
    report = verify(gpu_sample.root, device="orin", jetpack=jetpack, only=["elf"])
    assert (faults(report) == {}) is good
    if not good:
        assert f"as JetPack {jetpack} has it" in faults(report)["elf"]
        assert faults(report)["elf"].startswith(
            "failed vllm/_C.abi3.so: needs GLIBC" if "GLIBC" in needed else "failed"
        )
    gpu_sample.install("own", "1", {f"own/{library_}": elf_file(tags=[])})
    assert "as JetPack" not in faults(
        verify(gpu_sample.root, device="orin", jetpack=jetpack, only=["elf"])
    ).get("elf", "")


# Undefined symbols. --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("torch_library_impl", "torch"),
        ("_ZN4vllm6kernelEv", "vllm::kernel"),
        ("cudaMallocAsync", "libcudart"),
        ("PyUnicode_NoSuchThing", "Python"),
        ("ncclNoSuchThing", "libnccl"),
        ("_ZNSt6vectorIiSaIiEE7no_suchEv", "libstdc++"),
        ("plain_c", "one of the libraries that it needs"),
    ],
)
def test_any_symbol_counts(gpu_sample: Sample, made: Path, name: str, owner: str) -> None:
    file = library(
        gpu_sample.site / "vllm/_C.abi3.so",
        f"int {name}(void);\nint use(void) {{ return {name}(); }}\n{INIT}",
    )
    assert f"undefined symbol: {name}" in imports(
        gpu_sample, f"import ctypes, os; ctypes.CDLL({str(file)!r}, os.RTLD_NOW)"
    )
    text = found(gpu_sample, "torch-abi")
    assert text.startswith(f"failed vllm/_C.abi3.so: needs {name} (expected ")
    assert owner in text


def test_what_a_library_sees(gpu_sample: Sample, made: Path) -> None:
    """Weak names may be missing; Python's own are there; what was loaded for another alone is not seen."""
    code = "int maybe(void) __attribute__((weak));\nint PyErr_Occurred(void);\nint lib(void);\nint malloc();\n"
    use = f"int use(void) {{ return maybe ? maybe() : PyErr_Occurred() + lib() + malloc(1); }}\n{INIT}"
    part = library(gpu_sample.site / "vllm/libpart.so", "int lib(void) { return 1; }\n")
    path = ["-Wl,-rpath,$ORIGIN"]
    library(gpu_sample.site / "vllm/_C.abi3.so", code + use, part, options=path)
    assert found(gpu_sample, "torch-abi") == ""
    library(gpu_sample.site / "vllm/_other.abi3.so", INIT, part, options=path)
    library(gpu_sample.site / "vllm/_C.abi3.so", code + use)
    assert "vllm/_C.abi3.so: needs lib (expected" in found(gpu_sample, "torch-abi")


def test_a_package_for_another_python(gpu_sample: Sample, made: Path) -> None:
    """As a folder of packages that a new Python took over; names of modules say for which they are."""
    own = "cpython-{}{}".format(*sys.version_info[:2])
    library(gpu_sample.site / f"numpy/_core.{own}-x86_64-linux-gnu.so")
    library(gpu_sample.site / "numpy/_other.cpython-27-x86_64-linux-gnu.so")
    assert found(gpu_sample, "machine") == ""
    library(gpu_sample.site / "tokenizers/tokenizers.cpython-27-x86_64-linux-gnu.so")
    assert "failed tokenizers: its compiled modules are for Python 2.7" in found(
        gpu_sample, "machine"
    )
    library(gpu_sample.site / "tokenizers/tokenizers.abi3.so")
    assert found(gpu_sample, "machine") == ""


def test_an_extension_for_another_python_is_passed_over(gpu_sample: Sample, made: Path) -> None:
    """As vLLM 0.24's DeepGEMM has one for each, whose names say for which."""
    code = f"int nowhere(void);\nint use(void) {{ return nowhere(); }}\n{INIT}"
    library(gpu_sample.site / "vllm/_C.cpython-399-x86_64-linux-gnu.so", code)
    assert found(gpu_sample, "torch-abi") == ""
    own = f"vllm/_C.{sys.implementation.cache_tag}-x86_64-linux-gnu.so"
    library(gpu_sample.site / own, code)
    assert f"{own}: needs nowhere (expected" in found(gpu_sample, "torch-abi")


@pytest.mark.parametrize(
    "first", ["import torch_npu._C", "from torch_npu import _C", "from ._C import x"]
)
def test_a_package_may_load_its_library_first(gpu_sample: Sample, made: Path, first: str) -> None:
    """As torch_npu does: what its _C loads is there for all that lies in the package."""
    folder = gpu_sample.site / "torch_npu"
    own = library(folder / "lib/libnpu.so")
    library(folder / "_C.abi3.so", INIT, own, options=["-Wl,-rpath,$ORIGIN/lib"])
    part = library(folder / "deep/_part.abi3.so", INIT, own)
    (folder / "__init__.py").write_text(f"x = 1\n{first}\n")
    assert found(gpu_sample) == ""
    (folder / "__init__.py").write_text(f"# {first}\n")
    assert "torch_npu/deep/_part.abi3.so: needs libnpu.so, which it does not find" in found(
        gpu_sample
    )
    load = "import ctypes; ctypes.CDLL({!r})"
    assert "libnpu.so: cannot open" in imports(gpu_sample, load.format(str(part)))
    both = load.format(str(folder / "_C.abi3.so")) + "; " + load.format(str(part))
    assert imports(gpu_sample, both) == "ok"


@pytest.mark.parametrize("opens", ["torch.ops.load_library", "ctypes.CDLL"])
def test_a_package_may_open_its_library_first(gpu_sample: Sample, made: Path, opens: str) -> None:
    """As torchaudio and torch_npu 2.10 do, by its path; that is not assumed of torch and vLLM."""
    for name in ("torchaudio", "vllm"):
        folder = gpu_sample.site / name
        library(folder / "lib/_part.so", "int unused;\n", library(folder / "lib/libpart.so"))
        (folder / "deep").mkdir()
        (folder / "deep/load.py").write_text(f"{opens}(path)\n")
    text = found(gpu_sample)
    assert "vllm/lib/_part.so: needs libpart.so, which it does not find" in text
    assert "torchaudio/lib/_part.so" not in text
    folder = gpu_sample.site / "torchaudio"
    (folder / "deep/load.py").write_text("")
    assert "torchaudio/lib/_part.so: needs libpart.so" in found(gpu_sample)
    whole = made / "store/torchaudio"  # as in Nix's environments, whose folders are links
    whole.mkdir(parents=True)
    (whole / "__init__.py").write_text(f"{opens}(path)\n")
    (folder / "__init__.py").symlink_to(whole / "__init__.py")
    assert "torchaudio/lib/_part.so" not in found(gpu_sample)


def test_what_a_plugin_has_for_its_device_is_not_torchs(gpu_sample: Sample, made: Path) -> None:
    """vllm_ascend 0.23 has a library that runs on the NPU's own processor, whose C library has more."""
    code = "int memcpy_s(void);\nint use(void) { return memcpy_s(); }\n"
    library(gpu_sample.site / "vllm_ascend/kernels/libaicpu.so", code)
    assert found(gpu_sample, "torch-abi") == ""
    library(gpu_sample.site / "vllm/kernels/libaicpu.so", code)
    assert "vllm/kernels/libaicpu.so: needs memcpy_s" in found(gpu_sample, "torch-abi")


def test_a_library_sees_what_is_loaded_with_it(gpu_sample: Sample, made: Path) -> None:
    """What needs it, and what that needs; of which nothing is known where a part of that is away."""
    folder = gpu_sample.site / "vllm"
    use = "int lib(void);\nint use(void) { return lib(); }\n"
    part = library(folder / "libpart.so", use)
    path = ["-Wl,-rpath,$ORIGIN"]
    library(folder / "libwhole.so", "int lib(void) { return 1; }\n", part, options=path)
    assert found(gpu_sample, "torch-abi") == ""
    whole = library(folder / "libwhole.so", "int other(void) { return 1; }\n", part, options=path)
    assert "vllm/libpart.so: needs lib (expected" in found(gpu_sample, "torch-abi")
    away = library(made / "libaway.so", "int lib(void) { return 1; }\n")
    library(whole, "int other(void) { return 1; }\n", part, away, options=path)
    assert found(gpu_sample, "torch-abi") == ""


def test_the_drivers_symbols_are_another_machines(gpu_sample: Sample, made: Path) -> None:
    driver = library(made / "driver/libcuda.so.1", "int cuLaunchKernel(void) { return 0; }\n")
    code = f"int cuLaunchKernel(void);\nint use(void) {{ return cuLaunchKernel(); }}\n{INIT}"
    library(gpu_sample.site / "vllm/_C.abi3.so", code, driver)
    assert found(gpu_sample, "torch-abi") == found(gpu_sample) == ""
    library(gpu_sample.site / "vllm/_C.abi3.so", code)
    assert "needs cuLaunchKernel" in found(gpu_sample, "torch-abi")


def test_torchs_names_differ(gpu_sample: Sample) -> None:
    cuda_torch(gpu_sample, files={"torch/lib/libc10.so": with_symbols(defined=(CPP,))})
    needs = with_symbols(needed=(CPP, "_ZN2at4_ops3newEv", "other"), libraries=("libc10.so",))
    gpu_sample.install("flash-attn", "2.5.9", {"flash_attn_2_cuda.so": needs})
    lines = found(gpu_sample, "torch-abi").splitlines()
    assert (
        "needs _ZN2at4_ops3newEv (expected symbols that torch 2.5.1 has: it is at::_ops::new)"
        in lines[0]
    )
    assert "needs other (expected one of the libraries" in lines[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (b"_ZN2at4_ops3newEv", "at::_ops::new"),
        (b"_ZNK3c106SymInt10guard_int_EPKcl", "c10::SymInt::guard_int_"),
        (b"_ZTVN5torch3jit8FunctionE", "vtable of torch::jit::Function"),
        (b"_ZN3c105ErrorD1Ev", "c10::Error::~Error"),
        (b"_ZN3c105ErrorC2Ev", "c10::Error::Error"),
        (b"_ZSt9terminatev", "std::terminate"),
        (b"_ZNSt6vectorIiE4pushEv", "std::vector"),
        (b"_Z3addii", "add"),
        (b"cudaMalloc", ""),
        (b"_Z", ""),
        (b"_ZN", ""),
        (b"_ZN9999at", "at"),
        (b"_Z\xff\xfe", ""),
    ],
)
def test_demangle(name: bytes, words: str) -> None:
    assert demangle(name) == words


def test_what_is_preloaded(gpu_sample: Sample, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LD_PRELOAD's libraries are there by their names, with their symbols."""
    own = library(made / "own/libpre.so", "int pre(void) { return 1; }\n")
    code = f"int pre(void);\nint use(void) {{ return pre(); }}\n{INIT}"
    library(gpu_sample.site / "vllm/_C.abi3.so", code, own)
    assert "needs libpre.so, which is nowhere" in found(gpu_sample)
    monkeypatch.setenv("LD_PRELOAD", f"{own} /nowhere/lib.so")
    assert "cannot open" not in imports(gpu_sample, "import vllm._C")
    assert "needs libpre.so" not in found(gpu_sample)
    assert found(gpu_sample, "torch-abi") == ""


def test_a_path_of_where_it_was_built(gpu_sample: Sample, made: Path) -> None:
    code = f"int deep(void);\nint use(void) {{ return deep(); }}\n{INIT}"
    deep = library(made / "deep/libdeep.so", "int deep(void) { return 1; }\n")
    deep = library(deep, "int deep(void) { return 1; }\n", options=["-Wl,-soname,deep/libdeep.so"])
    library(gpu_sample.site / "vllm/_C.abi3.so", code, deep)
    assert "deep/libdeep.so: cannot open" in imports(gpu_sample, "import vllm._C")
    report = verify(gpu_sample.root, only=["elf"])
    assert "needs deep/libdeep.so, which is nowhere" in faults(report)["elf"]
    assert "--replace-needed deep/libdeep.so libdeep.so " in report.results[0].findings[0].fix


def test_a_file_that_the_loader_stops_at(gpu_sample: Sample, made: Path) -> None:
    own = library(gpu_sample.site / "vllm/libs/libown.so", "int own(void) { return 1; }\n")
    (gpu_sample.site / "vllm/lfs").mkdir()
    (gpu_sample.site / "vllm/lfs/libown.so").write_text(
        "version https://git-lfs.github.com/spec/v1\n"
    )
    code = f"int own(void);\nint use(void) {{ return own(); }}\n{INIT}"
    path = "-Wl,-rpath,$ORIGIN/lfs:$ORIGIN/libs"
    library(gpu_sample.site / "vllm/_C.abi3.so", code, own, options=[path])
    said = imports(gpu_sample, "import vllm._C")
    assert "file too short" in said or "invalid ELF header" in said
    assert "finds vllm/lfs/libown.so first, and stops: it is no ELF file" in found(gpu_sample)
    (gpu_sample.site / "vllm/lfs/libown.so").unlink()  # the fix
    assert found(gpu_sample) == ""


@pytest.mark.parametrize("is_nix", [False, True])
def test_a_library_for_musl(
    gpu_sample: Sample, made: Path, is_nix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel for another libc, for a Python that Nix made as well."""
    if is_nix:
        monkeypatch.setenv("NIX_STORE_DIR", str(Path(sys.executable).resolve().parents[1]))
    musl = library(made / "libc.musl-x86_64.so.1")
    library(gpu_sample.site / "vllm/_C.abi3.so", INIT, musl)
    report = verify(gpu_sample.root, only=["elf"])
    assert "needs libc.musl-x86_64.so.1, which is nowhere" in faults(report)["elf"]
    assert "manylinux" in report.results[0].findings[0].fix


SCRIPT = {
    "absent": "V_1 { global: f; g; local: *; };\nV_2 { global: h; } V_1;\n",
    "there": "V_1 { global: f; local: *; };\nV_2 { global: g; h; } V_1;\n",
    "none": "",
}


@pytest.mark.parametrize("script", SCRIPT)
@pytest.mark.parametrize("stripped", [False, True])
def test_a_symbol_in_another_version(
    gpu_sample: Sample, made: Path, script: str, stripped: bool
) -> None:
    """The loader refuses g@V_2 where g is V_1's, though the library has V_2; without versions it warns.
    With or without section headers, which it does not read."""
    code = "int f(void) { return 1; } int g(void) { return 2; } int h(void) { return 3; }\n"
    (made / "map").write_text(SCRIPT["there"])
    full = library(made / "libv.so.3", code, options=[f"-Wl,--version-script={made}/map"])
    user = f"int f(void);int g(void);\nint use(void) {{ return f() + g(); }}\n{INIT}"
    run_path = "-Wl,-rpath,$ORIGIN/libs"
    file = library(gpu_sample.site / "vllm/_C.abi3.so", user, full, options=[run_path])
    (made / "map").write_text(SCRIPT[script])
    options = [f"-Wl,--version-script={made}/map"] if SCRIPT[script] else []
    own = library(gpu_sample.site / "vllm/libs/libv.so.3", code, options=options)
    if stripped:
        for one in (file, own):
            without_sections(one)
    said = imports(gpu_sample, "import vllm._C")
    assert ("undefined symbol: g" in said) == (script == "absent"), said
    found_ = found(gpu_sample, "torch-abi")
    assert ("vllm/_C.abi3.so: needs g@V_2" in found_) == (script == "absent"), found_
    assert found(gpu_sample) == ""


def without_sections(file: Path) -> None:
    """As `strip --strip-section-headers` and UPX leave it."""
    data = bytearray(file.read_bytes())
    data[0x28:0x30], data[0x3C:0x40] = bytes(8), bytes(4)
    file.write_bytes(data)


def test_an_undefined_symbol_of_a_file_without_sections(gpu_sample: Sample, made: Path) -> None:
    file = library(
        gpu_sample.site / "vllm/_C.abi3.so",
        f"int gone(void);int u(void) {{ return gone(); }}\n{INIT}",
    )
    without_sections(file)
    assert "undefined symbol: gone" in imports(gpu_sample, "import vllm._C")
    assert "vllm/_C.abi3.so: needs gone " in found(gpu_sample, "torch-abi")


@pytest.mark.parametrize("tag", [5, 6], ids=["strings", "symbols"])
def test_tables_that_are_nowhere(gpu_sample: Sample, made: Path, tag: int) -> None:
    """The loader dies of it; nobody else reads what the dynamic section says."""
    file = library(gpu_sample.site / "vllm/_C.abi3.so", INIT)
    data = bytearray(file.read_bytes())
    image = elf.read(file)
    (segment,) = (one for one in image.segments if one.type == elf.PT_DYNAMIC)
    for at in range(segment.offset, segment.offset + segment.size, 16):
        if int.from_bytes(data[at : at + 8], "little") == tag:
            data[at + 8 : at + 16] = (1 << 62).to_bytes(8, "little")
    file.write_bytes(data)
    faults_ = faults(verify(gpu_sample.root, only=["elf", "torch-abi"]))
    assert f"address {1 << 62:#x}" in "".join(faults_.values()) or "at address" in faults_["elf"]
