"""AWS Neuron: what is built without its SDK, what is said where the SDK is needed, and that the SDK's
files would do. Its own are not here: files of the same names and shapes stand in, in a copy of the tree.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest

from tests.builds.test_wheel import expression
from tests.conftest import EMBEDDED, ROOT, Nix, said
from vllm_nix.serve import load_profile
from vllm_nix.verification.tiny_model import TinyModel

pytestmark = pytest.mark.nix

SDK = tomllib.loads((ROOT / "pkgs/neuron/sdk.toml").read_text())
STAND_IN = ROOT / "tests/builds/neuron"
PACKAGES = "with import ./nix/debian { overlays = [ (import ./overlays) ]; }; vllmPackages"
TORCH = ("libc10.so", "libtorch.so", "libtorch_cpu.so", "libtorch_python.so")
XLA = "_XLAC.cpython-311-x86_64-linux-gnu.so"
TARGETS = {"neuron": "2.16.0", "neuron_0_7": "2.21.1", "neuron_0_24": "2.32.0"}


@pytest.mark.parametrize(
    ("target", "version", "compiler", "required"),
    [
        (
            "neuron",
            "0.3.3+neuron212",
            "2.12",
            {
                "sentencepiece",
                "numpy",
                "transformers-neuronx>=0.9.0",
                "torch-neuronx>=2.1.0",
                "neuronx-cc",
                "fastapi",
                "uvicorn[standard]",
                "pydantic>=2.0",
                "prometheus_client>=0.18.0",
            },
        ),
        ("neuron_0_7", "0.7.3+neuron216", "2.16", {"torch-neuronx>=2.5.0", "neuronx-cc"}),
    ],
)
def test_the_wheel_is_named_after_the_compiler(
    nix: Nix, target: str, version: str, compiler: str, required: set[str]
) -> None:
    built = nix.build(f"{PACKAGES}.{target}.vllm")
    assert built.name.endswith(f"-vllm-{version}-py3-none-any.whl")
    with zipfile.ZipFile(built) as wheel:
        metadata = HeaderParser().parsestr(
            wheel.read(f"vllm-{version}.dist-info/METADATA").decode()
        )
        assert "vllm/engine/llm_engine.py" in wheel.namelist()
    assert metadata["Version"] == version
    asked = {each.replace(" ", "") for each in metadata.get_all("Requires-Dist", [])}
    assert asked >= required
    assert not {each for each in asked if each.startswith(("torch==", "xformers", "triton"))}
    assert version.endswith(f"neuron{compiler.replace('.', '')}")
    assert SDK[TARGETS[target]]["wheels"]["neuronx-cc"]["version"].startswith(f"{compiler}.")


def test_its_engine_generates_with_a_stand_in_for_the_sdk(
    nix: Nix, environment: Path, tmp_path: Path
) -> None:
    """vLLM 0.3.3 as `serve neuron chat` starts it, up to what it asks of transformers-neuronx: more
    prompts than slots, of several lengths, and each answer is that of its own prompt alone."""
    with zipfile.ZipFile(nix.build(f"{PACKAGES}.neuron.vllm")) as wheel:
        wheel.extractall(tmp_path / "wheel")
    model = tmp_path / "model"
    TinyModel.make().write(model)
    config = json.loads((model / "config.json").read_text())
    config |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    (model / "config.json").write_text(json.dumps(config))

    overrides = {"model": str(model), "max-model-len": 256, "max-num-seqs": 4}
    words = load_profile("neuron", "chat", overrides).command().words
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10], [11], [12, 13], list(range(100, 200)), [14] * 40]
    printed = said(
        environment / "bin/python",
        STAND_IN / "generate.py",
        *words,
        input=json.dumps(prompts),
        cwd=tmp_path,
        env={
            "HF_HUB_OFFLINE": "1",
            "HOME": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "VLLM_NIX_PYTHONPATH": f"{tmp_path / 'wheel'}:{STAND_IN}",
            "TMPDIR": str(tmp_path),
        },
    )
    assert json.loads(printed.splitlines()[-1]) == [answer(prompt) for prompt in prompts]


def answer(prompt: list[int]) -> list[int]:
    """What the stand-in's model says after a prompt."""
    tokens = list(prompt)
    for _ in range(6):
        tokens.append((7 * sum(tokens) + len(tokens)) % 512)
    return tokens[len(prompt) :]


def test_a_file_of_the_sdk_says_whose_it_is_and_what_to_run(nix: Nix) -> None:
    file = SDK["2.16.0"]["wheels"]["neuronx-cc"]["file"].replace("+", "%2B")
    assert (
        "not in the store; it is AWS's to hand out: "
        f"https://pip.repos.neuron.amazonaws.com/neuronx-cc/{file}; "
        "then run: vllm-nix fetch neuron --system x86_64-linux --from FOLDER"
    ) in nix.fail(f"{PACKAGES}.neuron.neuronx-cc")


@pytest.mark.parametrize(
    ("target", "name", "place"),
    [
        ("neuron", "neuronx-hwm", "https://pip.repos.neuron.amazonaws.com/neuronx-hwm/"),
        ("neuron_0_7", "neuronx-cc", "https://pip.repos.neuron.amazonaws.com/neuronx-cc/"),
        ("neuron_0_24", "vllm-neuron", "https://pip.repos.neuron.amazonaws.com/vllm-neuron/"),
    ],
)
def test_a_file_without_a_published_hash_is_refused(
    nix: Nix, target: str, name: str, place: str
) -> None:
    file = SDK[TARGETS[target]]["wheels"][name]["file"]
    assert (
        f"{file} of AWS Neuron's SDK {TARGETS[target]} is AWS's to hand out, and has no published"
        f" hash: download it from {place}, write its sha256sum into pkgs/neuron/sdk.toml, then run:"
        f" vllm-nix fetch {target} --system x86_64-linux --from FOLDER"
    ) in nix.fail(f"{PACKAGES}.{target}.{name}")


def test_a_wheel_whose_tags_nobody_names_is_asked_for_with_its_name(nix: Nix) -> None:
    row = SDK["2.32.0"]["wheels"]["libtorch-neuronx-lite"]
    place = "https://pip.repos.neuron.amazonaws.com/libtorch-neuronx-lite/"
    assert (
        f"libtorch-neuronx-lite-{row['version']} of AWS Neuron's SDK 2.32.0 is AWS's to hand out, and has"
        f" no published hash: download it from {place}, write its name (file) and its sha256sum into"
        " pkgs/neuron/sdk.toml, then run: vllm-nix fetch neuron_0_24 --system x86_64-linux --from FOLDER"
    ) in nix.fail(f"{PACKAGES}.neuron_0_24.libtorch-neuronx-lite")


def test_the_plugins_lock_reads_what_is_made_here_and_what_awss_wheels_require(nix: Nix) -> None:
    built = nix.build(f"{PACKAGES}.neuron_0_24.built")
    found = {path.name.partition("-")[0]: path for path in built.iterdir()}
    assert set(found) == {
        *("libtorch_neuronx_lite", "neuronx_cc", "nki", "torch_xla", "vllm", "vllm_neuron")
    }
    assert found["vllm"].name.startswith("vllm-0.24.0+empty-")
    with zipfile.ZipFile(found["vllm_neuron"]) as wheel:
        text = wheel.read("vllm_neuron-0.24.0.1.1.0+e8242a9.dist-info/METADATA").decode()
    assert "vllm==0.24.0" in HeaderParser().parsestr(text).get_all("Requires-Dist", [])


@pytest.mark.parametrize("target", TARGETS)
def test_the_flake_has_the_targets(nix: Nix, target: str) -> None:
    """The environment, its wheels, and the shell with the tools: instantiated without a file of AWS's."""
    nix("nix", "eval", "--raw", *EMBEDDED, f".#vllm-{target}.wheels.drvPath")
    shell = nix(
        "nix", "eval", "--raw", *EMBEDDED, f".#devShells.x86_64-linux.{target}.drvPath"
    ).stdout
    shown = json.loads(nix("nix", "show-derivation", shell).stdout)
    inputs = " ".join(shown[shell]["inputDrvs"])
    assert f"neuron-tools-{TARGETS[target]}" in inputs
    assert f"-vllm-{target}.drv" in inputs


def test_hydra_publishes_nothing_of_the_sdk(nix: Nix) -> None:
    jobs = json.loads(
        nix(
            *("nix", "eval", "--json", *EMBEDDED, ".#hydraJobs", "--apply"),
            "jobs: { packages = builtins.attrNames jobs.packages.x86_64-linux; "
            "checks = builtins.attrNames jobs.checks.x86_64-linux; "
            "components = builtins.attrNames jobs.components.x86_64-linux.neuron; }",
        ).stdout
    )
    assert jobs["components"] == ["transformers-neuronx", "vllm"]
    for kind in ("packages", "checks"):
        assert "vllm-cpu" in jobs[kind]
        assert not [name for name in jobs[kind] if "neuron" in name]


def test_on_nixpkgs_it_is_unfree_and_awss_own_address(nix: Nix) -> None:
    """nixpkgs refuses by the licence; its fetchurl is handed the address."""
    shown = nix(
        *("nix-instantiate", "--eval", "--strict", "--json", "--expr"),
        f"""let sdk = (({PACKAGES}).neuron.overrideScope (_: _: {{
              providedFile = null;
              fetchurl = file: {{ inherit (file) url sha256; free = isFree file; }};
            }})).neuronSdk;
            isFree = package: builtins.all (license: license.free) package.meta.license;
            in sdk.debs.aws-neuronx-tools
               // {{ whole = isFree ({PACKAGES}).vllm-neuron; }}""",
    )
    assert json.loads(shown.stdout) == {
        "url": "https://apt.repos.neuron.amazonaws.com/pool/main/a/aws-neuronx-tools/"
        "aws-neuronx-tools_2.16.1.0_amd64.deb",
        "sha256": SDK["2.16.0"]["debs"]["aws-neuronx-tools"]["sha256"],
        "free": False,
        "whole": False,
    }


@pytest.mark.skipif(Path("/dev/neuron0").exists(), reason="this machine has a Neuron device")
def test_vllm_says_that_there_is_no_driver(nix: Nix, make_wheel: Callable[..., Path]) -> None:
    vllm = {
        "vllm/__init__.py": "def main():\n    print('0.7.3')\n",
        "vllm-1.0.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm:main\n",
    }
    built = expression(
        make_wheel("vllm", vllm), attribute="environment", arguments="more.neuron = { };"
    )
    programs = nix.build(built) / "bin"
    for command in (["vllm", "serve"], ["python", "-m", "vllm.entrypoints.openai.api_server"]):
        ended = subprocess.run(
            [programs / command[0], *command[1:]], check=False, capture_output=True, text=True
        )
        assert ended.returncode == 3
        assert ended.stderr == (
            "vllm: this machine has no /dev/neuron0: it is no Trainium or Inferentia instance,"
            " or lacks AWS's driver, aws-neuronx-dkms\n"
        )
    subprocess.run([programs / "python", "-c", "import vllm"], check=True)


@dataclass(frozen=True)
class Copy:
    """A copy of the tree whose sdk.toml has the hashes of stand-ins, which are in the store."""

    root: Path
    target: str

    def of(self, value: str) -> str:
        """The expression of a value in the target's scope."""
        return f"with ({PACKAGES.replace('./', f'{self.root}/')}).{self.target}; {value}"


@pytest.fixture
def copy(
    tmp_path: Path,
    make_wheel: Callable[..., Path],
    compile_library: Callable[..., bytes],
) -> Callable[..., Copy]:
    """Makes the copy; `requires` are the SDK's wheels' own, instead of those in sdk.toml."""

    def make(target: str = "neuron", **requires: list[str]) -> Copy:
        root, files = tmp_path / "tree", tmp_path / "files"
        files.mkdir()
        for folder in ("nix", "overlays", "pkgs", "python/src"):
            shutil.copytree(ROOT / folder, root / folder, symlinks=True)
        path = root / "pkgs/neuron/sdk.toml"
        text = re.sub(r"(?m)^sha256 = .*\n", "", path.read_text())
        for kind, rows in SDK[TARGETS[target]].items():
            for name, row in rows.items():
                made = stand_in(name, row, requires.get(name.replace("-", "_")))
                text = re.sub(
                    rf'(\["{TARGETS[target]}"\.{kind}\.{name}\]\nversion = ".*?").*(\nfile = .*)?',
                    rf'\1\nfile = "{made.name}"\nsha256 = "{sha256(made)}"',
                    text,
                )
        path.write_text(text)
        torch_of_pytorchs_index(root, target)
        fetched = subprocess.run(
            [sys.executable, "-m", "vllm_nix", "fetch", target, "--from", os.fspath(files)],
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": os.fspath(root / "python/src"),
                "XDG_CACHE_HOME": os.fspath(tmp_path / "cache"),
            },
            capture_output=True,
            text=True,
        )
        # The lock's wheels are not in that folder, and need not be here.
        assert fetched.returncode == 0 or "of the files needed: " in fetched.stderr
        return Copy(root, target)

    def sha256(file: Path) -> str:
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def stand_in(name: str, row: dict[str, Any], requires: list[str] | None) -> Path:
        module = name.replace("-", "_")
        # The tags of two of AWS's wheels are not known.
        tagged = f"{module}-{row['version']}-cp311-cp311-linux_x86_64.whl"
        target = tmp_path / "files" / str(row.get("file", tagged))
        if target.suffix == ".deb":
            pack(target, deb_files(name))
        else:
            files = {
                f"{module}/__init__.py": "",
                **wheel_files(name, f"{module}-{row['version']}.dist-info"),
            }
            own = row["requires"] if requires is None else requires
            lines = "".join(f"Requires-Dist: {each}\n" for each in own)
            made = make_wheel(module, files, description=lines, version=row["version"])
            target.write_bytes(made.read_bytes())
        return target

    def torch_of_pytorchs_index(root: Path, target: str) -> None:
        """Its "+cpu" is not in the registry: the libraries that others are linked with."""
        lock = root / "nix/targets" / target / "pylock.x86_64-linux.toml"
        row = re.compile(r'(path = "(torch-([^-]*\+cpu)-.*)"\n\n.*\nsha256 = ")\w+')
        if found := row.search(lock.read_text()):
            files = {f"torch/lib/{name}": library(name) for name in TORCH}
            made = make_wheel("torch", {"torch/__init__.py": "", **files}, version=found[3])
            shutil.copy(made, tmp_path / "files" / found[2])
            lock.write_text(row.sub(rf"\g<1>{sha256(made)}", lock.read_text()))

    def wheel_files(name: str, info: str) -> dict[str, bytes]:
        """Its libraries, by names that are public, linked as the registry's torch-xla 2.9.0 is."""
        if name == "libneuronxla":
            return {"libneuronxla/libneuronpjrt.so": runtime_user("libneuronpjrt.so")}
        if name == "torch-xla":
            return {XLA: library(XLA, *TORCH, "libpython3.11.so.1.0")}
        if name == "vllm-neuron":
            return {
                f"{info}/entry_points.txt": b"[vllm.platform_plugins]\nneuron = vllm_neuron:register\n"
            }
        if name == "libtorch-neuronx-lite":
            runtime()
            made = library("libtorchneuron.so", *TORCH, "libnrt.so.1")
            return {"libtorch_neuronx_lite/lib/libtorchneuron.so": made}
        return {}

    def library(name: str, *needed: str) -> bytes:
        """An empty one, linked with others."""
        for each in needed:
            if not (tmp_path / each).exists():
                library(each)
        flags = [f"-L{tmp_path}", "-Wl,--no-as-needed", *(f"-l:{each}" for each in needed)]
        return compile_library("int made;", f"-Wl,-soname,{name}", *flags, name=name)

    def runtime() -> bytes:
        return compile_library("int nrt;", "-Wl,-soname,libnrt.so.1", name="libnrt.so.1")

    def runtime_user(name: str) -> bytes:
        runtime()
        source = "extern int nrt; int *at = &nrt;"
        return compile_library(source, f"-L{tmp_path}", "-l:libnrt.so.1", name=name)

    def program() -> bytes:
        runtime()
        (tmp_path / "program.c").write_text("extern int nrt; int main() { return nrt; }")
        command = ["gcc", "program.c", "-o", "program", f"-L{tmp_path}", "-l:libnrt.so.1"]
        subprocess.run(command, check=True, cwd=tmp_path)
        return (tmp_path / "program").read_bytes()

    def deb_files(name: str) -> dict[str, bytes]:
        return {
            "aws-neuronx-runtime-lib": {"lib/libnrt.so.1": runtime()},
            "aws-neuronx-collectives": {"lib/libnccom.so": runtime_user("libnccom.so")},
            "aws-neuronx-tools": {"bin/neuron-ls": program(), "bin/neuron-top": program()},
        }[name]

    def pack(deb: Path, files: dict[str, bytes]) -> None:
        tree = tmp_path / "deb"
        shutil.rmtree(tree, ignore_errors=True)
        for place, content in files.items():
            path = tree / "root/opt/aws/neuron" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755)
        (tree / "debian-binary").write_text("2.0\n")
        members = ["debian-binary", "data.tar.xz"]
        subprocess.run(["tar", "-C", "root", "-cJf", "data.tar.xz", "."], check=True, cwd=tree)
        subprocess.run(["ar", "rc", deb, *members], check=True, cwd=tree)

    return make


def loads(library: Path) -> bool:
    command = [sys.executable, "-c", f"import ctypes; ctypes.CDLL({os.fspath(library)!r})"]
    return subprocess.run(command, check=False).returncode == 0


def missing(library: Path) -> set[str]:
    """What it is linked with, and its own paths do not find: torch's, until there is an environment."""
    said = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"(\S+) => not found", said))


def test_the_tools_run_and_find_the_runtime(nix: Nix, copy: Callable[..., Copy]) -> None:
    tools = nix.build(copy().of("neuronSdk.tools"))
    for program in ("neuron-ls", "neuron-top"):
        subprocess.run([program], check=True, env={"PATH": f"{tools}/bin"})
    assert loads(tools / "lib/libnccom.so")


@pytest.mark.parametrize(
    ("target", "libraries"),
    [
        ("neuron", ["libneuronpjrt.so"]),
        ("neuron_0_24", [XLA, "libtorchneuron.so"]),
    ],
)
def test_the_wheels_get_what_they_require_and_find_the_runtime(
    nix: Nix, copy: Callable[..., Copy], target: str, libraries: list[str]
) -> None:
    """The lock has what sdk.toml says of them. torch-xla's extension asks for libpython, a base's."""
    names = SDK[TARGETS[target]]["wheels"]
    wheels = " ".join(f"(unpackBuilt {name})" for name in names)
    built = nix("nix-build", "--no-out-link", "--expr", copy(target).of(f"[ {wheels} ]"))
    assert len(built.stdout.split()) == len(names)
    files = [file for path in built.stdout.split() for file in Path(path).rglob("*.so")]
    assert sorted(file.name for file in files) == libraries
    for file in files:
        assert missing(file) <= set(TORCH)


def test_a_requirement_that_the_lock_lacks_is_named(nix: Nix, copy: Callable[..., Copy]) -> None:
    """The lock was resolved by what is public of their metadata; their own is checked."""
    own = ["torch==2.2.*", "unheard-of", "libneuronxla (<3.0,>2.0.x)", "torch-xla==2.1.1"]
    assert (
        f"{SDK['2.16.0']['wheels']['torch-neuronx']['file']} requires torch==2.2.*, not 2.1.1,"
        " unheard-of, which is not there: correct its `requires` in pkgs/neuron/sdk.toml,"
        " and lock neuron again"
    ) in nix.fail(copy(torch_neuronx=own).of("torch-neuronx"))


@pytest.mark.slow
def test_the_plugins_environment_is_assembled(nix: Nix, copy: Callable[..., Copy]) -> None:
    """Every library found, no file claimed twice, its distributions those of the lock and of the SDK. Needs
    `vllm-nix fetch neuron_0_24`, which ends at torch where PyTorch's index is out of reach."""
    built = nix.build(copy("neuron_0_24").of("vllm-neuron_0_24"))
    command = [sys.executable, "-m", "vllm_nix", "verify", str(built), "--files-only", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    report = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    assert {check["status"] for check in report.values()} == {"ok", "skipped"}
    good = (
        "elf",
        "manifest",
        "ownership",
        "placeholders",
        "platform-plugin",
        "record",
        "wheel-set",
    )
    assert {report[name]["status"] for name in good} == {"ok"}
    lock = tomllib.loads((ROOT / "nix/targets/neuron_0_24/pylock.x86_64-linux.toml").read_text())
    count = len(lock["packages"]) + len(SDK["2.32.0"]["wheels"]) + len(["vllm"])
    assert report["wheel-set"]["findings"][0]["found"] == f"{count} distributions"
    assert {"aws", "jupyter", "vllm"} <= {program.name for program in (built / "bin").iterdir()}
