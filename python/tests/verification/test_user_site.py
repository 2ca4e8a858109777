"""What `pip install --user` has put beside a Python: it is looked at as that Python does."""

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from verification.environments import Sample, faults
from vllm_nix.verification import Status, verify

RELEASE = "python{}.{}".format(*sys.version_info[:2])


@dataclass(frozen=True)
class Place(Sample):
    """A site-packages folder that is not a virtual environment's."""

    folder: Path

    @property
    def site(self) -> Path:
        return self.folder


@pytest.fixture
def installed(tmp_path: Path) -> Place:
    """A Python in a folder of its own, as conda and /usr have theirs, without packages."""
    root = tmp_path / "conda"
    library = root / "lib" / RELEASE
    library.mkdir(parents=True)
    for entry in Path(sysconfig.get_path("stdlib")).iterdir():
        if entry.name not in ("site-packages", "dist-packages"):
            (library / entry.name).symlink_to(entry)
    (root / "bin").mkdir()
    python = root / "bin" / RELEASE
    shutil.copy(Path(sys.executable).resolve(), python)
    (root / "bin" / "python").symlink_to(RELEASE)
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    asked = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    folder = Path(asked.stdout.strip())
    assert folder.is_relative_to(root)
    folder.mkdir(parents=True, exist_ok=True)
    return Place(root, folder)


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The folder of the user's packages, empty."""
    base = tmp_path / "home" / ".local"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = base / "lib" / RELEASE / "site-packages"
    folder.mkdir(parents=True)
    return Place(base, folder)


def numpy(place: Place, version: str) -> None:
    place.install("numpy", version, {"numpy/__init__.py": f"__version__ = '{version}'\n"})


def test_all_of_vllm_is_the_users(sample: Sample, installed: Place, users: Place) -> None:
    """With its command in ~/.local/bin, as pip without root's rights has it on a Jetson."""
    shutil.copytree(sample.site, users.site, dirs_exist_ok=True)
    command = users.root / "bin" / "vllm"
    command.parent.mkdir()
    text = (sample.root / "bin" / "vllm").read_text().partition("\n")[2]
    command.write_text(f"#!{installed.root}/bin/python\n{text}")
    command.chmod(0o755)
    only = faults(verify(installed.root, only=["record"]))["record"]
    assert only.startswith(f"failed {command}: ")  # for its first line was changed
    assert only.count("\n") == 1
    report = verify(installed.root, skip=["record", "compilers"])  # there is no Python.h
    assert faults(report) == {}
    by_id = {result.id: result for result in report.results}
    for check in ("imports", "vllm-version", "token", "wheel-set", "requirements"):
        assert by_id[check].status is Status.OK
    (users.site / "torch" / "__init__.py").write_text("raise ImportError('torn')")
    found = faults(verify(installed.root, only=["record", "imports"]))
    assert "torch/__init__.py" in found["record"]
    assert "ImportError: torn" in found["imports"]


def test_the_users_go_first(
    installed: Place, users: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    numpy(installed, "2.3.5")
    numpy(users, "1.26.4")
    users.install("some", "1.0", requires=("numpy<2",))
    found = faults(verify(installed.root, only=["interpreter", "requirements", "wheel-set"]))
    warning = "the user's site-packages hide the environment's own numpy"
    assert found == {"interpreter": f"warning {users.site}: {warning} (expected )\n"}
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")  # the fix
    assert faults(verify(installed.root, only=["interpreter", "requirements"])) == {}
    users.uninstall("some", "1.0")
    installed.install("some", "1.0", requires=("numpy<2",))
    # Without it, Debian's own installer is meant, where this Python is Debian's.
    (installed.metadata("some", "1.0") / "INSTALLER").write_text("pip\n")
    assert "numpy 2.3.5 (expected numpy<2)" in str(
        faults(verify(installed.root, only=["requirements"]))
    )


def test_newer_ones_than_the_distributions_are_no_fault(installed: Place, users: Place) -> None:
    """Debian's packages lie in another folder than what pip installs there."""
    debian = Place(installed.root, installed.root / "lib" / "python3" / "dist-packages")
    debian.folder.mkdir(parents=True)
    numpy(debian, "1.24.2")
    numpy(users, "2.3.5")
    (installed.site / "debian.pth").write_text(f"{debian.folder}\n")
    assert faults(verify(installed.root, only=["interpreter", "wheel-set"])) == {}


def test_a_virtual_environment_has_none_but_with_the_systems(sample: Sample, users: Place) -> None:
    users.install("some", "1.0", requires=("absent",))
    numpy(users, "1.26.4")
    only = ["interpreter", "requirements"]
    assert faults(verify(sample.root, only=only)) == {}
    config = sample.root / "pyvenv.cfg"
    config.write_text(config.read_text().replace("packages = false", "packages = true"))
    assert "absent" in faults(verify(sample.root, only=only))["requirements"]
    assert "interpreter" not in faults(
        verify(sample.root, only=only)
    )  # its own go before the user's


def test_a_user_without_a_home(
    sample: Sample, users: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUSERBASE", "~nosuchuser/x")
    assert faults(verify(sample.root, only=["interpreter"])) == {}


def test_commands_of_a_conda_environment_that_was_copied(installed: Place) -> None:
    """Its vllm and its pip are another's; Debian's Python has its commands in another folder anyway."""
    entries = {"vllm-0.32.0.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm:main\n"}
    installed.install("vllm", "0.32.0", entries)
    command = installed.root / "bin" / "vllm"
    command.write_text(f"#!{installed.root}/bin/python\n")
    (installed.root / "conda-meta").mkdir()
    assert faults(verify(installed.root, only=["interpreter"])) == {}
    command.write_text("#!/opt/conda/envs/other/bin/python\n")
    found = faults(verify(installed.root, only=["interpreter"]))["interpreter"]
    assert "vllm: started by /opt/conda/envs/other/bin/python, which is not there" in found
    (installed.root / "conda-meta").rmdir()
    assert faults(verify(installed.root, only=["interpreter"])) == {}
