"""An image of an environment: its layers, its configuration, and what it does when it runs."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.builds.test_wheel import expression
from tests.conftest import Nix, emulated, said, write_wheel

pytestmark = pytest.mark.nix

MAIN = "import sys\ndef main():\n    print('vllm', *sys.argv[1:])\n"
LARGE = 2_000_001
VARIABLES = (
    "HOME=/home/vllm",
    "USER=vllm",
    "PATH=/opt/vllm/bin:/bin:",
    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
)


@dataclass(frozen=True)
class Image:
    program: Path
    data: bytes

    @property
    def archive(self) -> tarfile.TarFile:
        return tarfile.open(fileobj=io.BytesIO(self.data))

    def json(self, name: str) -> Any:
        file = self.archive.extractfile(name)
        assert file
        return json.load(file)

    @property
    def manifest(self) -> dict[str, Any]:
        [manifest] = self.json("manifest.json")
        return dict(manifest)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.json(self.manifest["Config"]))

    def layer(self, name: str) -> bytes:
        file = self.archive.extractfile(name)
        assert file
        return file.read()

    @property
    def layers(self) -> list[list[tarfile.TarInfo]]:
        return [
            tarfile.open(fileobj=io.BytesIO(self.layer(name))).getmembers()
            for name in self.manifest["Layers"]
        ]

    @property
    def paths(self) -> list[list[str]]:
        """The store paths of each layer, without their hashes."""
        tops = [
            [m.name.split("/") for m in layer if m.name.count("/") == 2] for layer in self.layers
        ]
        return [[parts[2].partition("-")[2] for parts in top if parts[0] == "nix"] for top in tops]


Build = Callable[..., Image]


@pytest.fixture(scope="module")
def build(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("wheels")
    entry = "[console_scripts]\nvllm = vllm:main\n"

    @cache
    def build_image(
        version: str = "1.0", driver: str = "", more: str = "", system: str = ""
    ) -> Image:
        vllm = {"vllm/__init__.py": MAIN, f"vllm-{version}.dist-info/entry_points.txt": entry}
        wheels = [
            write_wheel(folder, "vllm", vllm, version=version),
            write_wheel(folder, "torch", {"torch/__init__.py": ""}),
            *(write_wheel(folder, name, {f"{name}.py": ""}) for name in ("certifi", "small")),
        ]
        target = f'more = {{ vllm = {{ version = "{version}"; distribution = "vllm"; }}; {more} }};'
        other = f'system = "{system}";' if system else ""
        text = expression(
            *wheels,
            attribute="environment.image",
            arguments=f"driver = [ {driver} ]; {target} {other}",
        )
        # The lock knows sizes.
        for name in ("vllm", "torch"):
            text = text.replace(f'name = "{name}";', f'name = "{name}"; size = {LARGE};')
        for name in ("certifi", "small"):
            text = text.replace(f'name = "{name}";', f'name = "{name}"; size = 1;')
        emulation = ("--option", "extra-platforms", system) if system else ()
        built = nix("nix-build", "--no-out-link", *emulation, "--expr", text)
        program = Path(built.stdout.strip())
        return Image(program, subprocess.run([program], capture_output=True, check=True).stdout)

    return build_image


def test_it_is_the_same_each_time_and_what_it_says_it_is(build: Build) -> None:
    image = build()
    assert subprocess.run([image.program], capture_output=True, check=True).stdout == image.data
    name = image.manifest["Config"]
    assert hashlib.sha256(image.layer(name)).hexdigest() == name.removesuffix(".json")
    digests = [hashlib.sha256(image.layer(each)).hexdigest() for each in image.manifest["Layers"]]
    assert image.config["rootfs"]["diff_ids"] == [f"sha256:{digest}" for digest in digests]
    assert image.manifest["RepoTags"] == ["vllm-test:1.0"]
    assert image.config["created"] == "1970-01-01T00:00:01+00:00"
    assert {member.mtime for layer in image.layers for member in layer} == {1}


def test_a_layer_for_what_is_large_or_shared(build: Build) -> None:
    *store, files = build().paths
    assert files == []
    alone = [paths[0] for paths in store if len(paths) == 1]
    assert alone[0] == "glibc"
    assert {"bash", "coreutils", "python311"} < set(alone)
    small, vllm, environment = store[-3:]
    assert store[-4] == ["python3.11-torch-1.0"]
    assert sorted(small) == ["python3.11-certifi-1.0", "python3.11-small-1.0"]
    assert vllm == ["python3.11-vllm-1.0"]
    assert sorted(environment) == ["entrypoint", "healthcheck", "vllm-test"]


def test_another_vllm_moves_what_has_it_alone(build: Build) -> None:
    images = [build(version=version) for version in ("1.0", "1.1")]
    assert images[0].paths[:-3] == images[1].paths[:-3]
    old, new = (image.config["rootfs"]["diff_ids"] for image in images)
    assert old[:-3] == new[:-3]
    assert not set(old[-3:]) & set(new[-3:])


def test_who_runs_it_and_where(build: Build) -> None:
    config = build().config["config"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/models"
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    assert config["Volumes"] == {"/home/vllm/.cache/huggingface": {}}
    assert [each for each in config["Env"] if each.startswith(VARIABLES)] == config["Env"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/bin/healthcheck", "8000"]
    assert "Cmd" not in config or config["Cmd"] == []
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "vllm-test"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["vllm-nix.vllm.version"] == "1.0"
    assert labels["vllm-nix.redistributable"] == "true"


def test_a_target_with_a_driver_asks_for_it(build: Build) -> None:
    more = 'cuda.capabilities = [ "8.6" "9.0" ];'
    config = build(driver='"libcuda.so.1"', more=more).config["config"]
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} < set(
        config["Env"]
    )
    assert config["Labels"]["vllm-nix.cuda.capabilities"] == "8.6 9.0"


def test_files_are_roots_and_read_only_but_for_a_home(build: Build) -> None:
    layers = build().layers
    assert {(m.uid, m.gid) for layer in layers for m in layer} == {(0, 0)}
    store = {m.mode for layer in layers[:-1] for m in layer if m.name.count("/") > 1}
    assert store <= {0o444, 0o555, 0o777}
    assert all(m.issym() for layer in layers[:-1] for m in layer if m.mode == 0o777)
    writable = {m.name for m in layers[-1] if m.mode & 0o2 and not m.issym()}
    assert writable == {
        "./tmp",
        "./home/vllm",
        "./home/vllm/.cache",
        "./home/vllm/.cache/huggingface",
    }
    assert {m.mode for m in layers[-1] if m.name in writable} == {0o1777}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "vllm serve"),
        (("owner/name", "--port", "1"), "vllm serve owner/name --port 1"),
        (("--model", "owner/name"), "vllm serve --model owner/name"),
        (("gpt2",), "vllm serve gpt2"),
        (("serve", "owner/name"), "vllm serve owner/name"),
        (("bench", "serve"), "vllm bench serve"),
        (("vllm", "--version"), "vllm --version"),
        (("python", "-c", "print(1)"), "1"),
    ],
)
def test_what_stands_behind_its_name(
    build: Build, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    """As in vLLM's own image, whose entrypoint is `vllm serve`, or with the words of vLLM's command line."""
    image = build()
    [entrypoint] = [m for m in image.layers[-1] if m.name == "./bin/entrypoint"]
    [vllm] = [m for m in image.layers[-1] if m.name == "./opt/vllm"]
    (tmp_path / "owner/name").mkdir(parents=True)  # a model's folder is no program
    result = subprocess.run(
        [entrypoint.linkname, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": f"{vllm.linkname}/bin", "HOME": str(tmp_path)},
    )
    assert result.stdout == f"{expected}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a namespace of processes")
def test_it_ends_when_it_is_told_to(build: Build, tmp_path: Path) -> None:
    """Also while vLLM has no handler for SIGTERM, which Linux then keeps from a container's first process."""
    [entrypoint] = [m for m in build().layers[-1] if m.name == "./bin/entrypoint"]
    vllm = tmp_path / "vllm"
    vllm.write_text("#!/bin/sh\necho $$\nexec /bin/sleep 60\n")
    vllm.chmod(0o755)
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", entrypoint.linkname, "serve", "model"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"2\n"
        [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        try:
            assert process.wait(10) == 128 + signal.SIGTERM
        finally:
            process.kill()


def test_it_says_so_in_one_line_when_it_was_not_written(build: Build) -> None:
    program = build().program
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run([program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert result.stderr == b"the image is not whole: No space left on device\n"


def test_there_is_none_of_a_vllm_that_cannot_serve(
    nix: Nix, make_wheel: Callable[..., Path]
) -> None:
    target = 'more.vllm = { version = "0.3.3"; distribution = "vllm"; };'
    text = expression(
        make_wheel("any", {"any.py": ""}), attribute="environment.image", arguments=target
    )
    assert "its vLLM 0.3.3 has no `vllm serve`" in nix.fail(text)


@pytest.fixture
def podman() -> Iterator[tuple[str, ...]]:
    found = shutil.which("podman")
    if not found or not shutil.which("runc") or os.geteuid():
        pytest.skip("needs podman and runc, and root: apt-get install podman runc")
    folder = tempfile.mkdtemp()  # Podman takes no runroot of more than 50 characters
    store = ("--root", f"{folder}/store", "--runroot", f"{folder}/run")
    # crun refuses some machines' control groups; vfs would copy every layer as often as there are layers above.
    engine = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay")
    command = (found, *store, *engine)
    yield command
    subprocess.run([*command, "rm", "--all", "--force"], check=False, capture_output=True)
    subprocess.run(["umount", f"{folder}/store/overlay"], check=False, capture_output=True)
    shutil.rmtree(folder)


LIMITS = ("--network=host", "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=1000:1000")


@pytest.mark.slow
def test_podman_runs_it(build: Build, podman: tuple[str, ...], tmp_path: Path) -> None:
    names = ("libcuda.so.1", "libnvidia-ml.so.1")
    image = build(driver=" ".join(f'"{name}"' for name in names))
    (tmp_path / "image.tar").write_bytes(image.data)
    said(*podman, "load", "--input", tmp_path / "image.tar")
    run = (*podman, "run", "--rm", *LIMITS)
    write = "id -u; touch ~/x ~/.cache/huggingface/x /tmp/x && ! touch /opt/x /nix/store/x"
    assert said(*run, "vllm-test:1.0", "sh", "-c", write) == "1000\n"
    assert said(*run, "--user", "12345:0", "vllm-test:1.0", "sh", "-c", write) == "12345\n"

    (tmp_path / "driver").mkdir()
    for name in names:
        (tmp_path / "driver" / name.replace(".1", ".580.95.05")).touch()
    code = "import os; print(*sorted(os.listdir(os.environ['LD_LIBRARY_PATH'])))"
    for folder in ("/usr/lib64", f"/usr/lib/{os.uname().machine}-linux-gnu"):
        mount = ("--volume", f"{tmp_path}/driver:{folder}:ro")
        found = said(*run, *mount, "vllm-test:1.0", "python", "-c", code)
        assert found.split() == ["libcuda.so", *names]
    assert said(*run, *mount, "vllm-test:1.0", "owner/name") == "vllm serve owner/name\n"


@emulated
@pytest.mark.slow
def test_another_machine_makes_it_and_podman_runs_it(
    build: Build, podman: tuple[str, ...], tmp_path: Path
) -> None:
    """An image for aarch64. Needs `vllm-nix fetch --system aarch64-linux debian`."""
    image = build(system="aarch64-linux")
    assert image.config["architecture"] == "arm64"
    assert subprocess.run([image.program], capture_output=True, check=True).stdout == image.data
    (tmp_path / "image.tar").write_bytes(image.data)
    said(*podman, "load", "--input", tmp_path / "image.tar")
    shown = json.loads(said(*podman, "image", "inspect", "vllm-test:1.0"))
    assert [each["Architecture"] for each in shown] == ["arm64"]
    run = (*podman, "run", "--rm", *LIMITS, "vllm-test:1.0")
    code = "import os; print(os.uname().machine)"
    assert said(*run, "python", "-c", code) == "aarch64\n"
    assert said(*run, "owner/name") == "vllm serve owner/name\n"
