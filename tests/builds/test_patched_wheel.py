"""A registry's wheel with patched Python files: its version says so, its RECORD is true."""

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Nix

pytestmark = pytest.mark.nix

MakeWheel = Callable[..., Path]
REPLACEMENTS = """
  { file = "pack/age.py"; old = "answer = 41\\n"; new = "answer = 42\\n"; }
  { file = "pack/age.py"; old = "not yet"; new = "verily"; }
  { before = "1.0"; file = "pack/gone.py"; old = "never"; new = ""; }
"""


@pytest.fixture
def wheel(make_wheel: MakeWheel) -> Path:
    files = {
        "pack/age.py": "answer = 41\n\n# not yet\n",
        "pack/other.py": "answer = 41\n",
        "pack/_C.abi3.so": bytes(range(256)) * 4096,
    }
    return make_wheel("pack", files, tag="cp38-abi3-manylinux1_x86_64")


def patched(wheel: Path, replacements: str = REPLACEMENTS, attribute: str = "") -> str:
    return f"""with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
      (vllmPackages.patchedWheel {{
        wheel = {{ name = "pack"; version = "1.0"; file = "{wheel.name}"; src = {wheel}; }};
        label = "verl";
        replacements = [ {replacements} ];
      }}){attribute}"""


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def untrue_rows(wheel: Path) -> list[str]:
    """The files of a wheel that its RECORD does not describe as they are."""
    files = contents(wheel)
    [record] = (name for name in files if name.endswith(".dist-info/RECORD"))
    rows = {name: rest for name, *rest in csv.reader(io.StringIO(files[record].decode()))}
    faults = sorted(rows.keys() ^ files.keys())
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        if name != record and rows.get(name) != [f"sha256={digest}", str(len(data))]:
            faults.append(name)
    return faults


def test_it_differs_where_it_says_so_and_nowhere_else(nix: Nix, wheel: Path) -> None:
    before, after = contents(wheel), contents(nix.build(patched(wheel)))
    info = "pack-1.0.dist-info"
    assert after.keys() == {name.replace(info, "pack-1.0+verl.dist-info") for name in before}
    assert after["pack/age.py"] == b"answer = 42\n\n# verily\n"
    assert after["pack/other.py"] == before["pack/other.py"]
    assert after["pack/_C.abi3.so"] == before["pack/_C.abi3.so"]
    assert b"\nVersion: 1.0+verl\n" in after["pack-1.0+verl.dist-info/METADATA"]
    assert after["pack-1.0+verl.dist-info/WHEEL"] == before[f"{info}/WHEEL"]


def test_its_record_is_true_and_its_name_is_known_beforehand(nix: Nix, wheel: Path) -> None:
    path = nix.build(patched(wheel))
    assert path.name.endswith("-pack-1.0+verl-cp38-abi3-manylinux1_x86_64.whl")
    assert untrue_rows(path) == []
    nix("nix-build", "--no-out-link", "--check", "--expr", patched(wheel))


def test_the_environment_gets_it_instead_of_the_registrys(nix: Nix, wheel: Path) -> None:
    unpacked = nix.build(
        f"""with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
        let file = {patched(wheel)}; in vllmPackages.unpackWheel {{
          inherit (file) name version file;
          src = file;
        }}"""
    )
    site = unpacked / "lib/python3.11/site-packages"
    assert (site / "pack/age.py").read_text() == "answer = 42\n\n# verily\n"
    assert (site / "pack-1.0+verl.dist-info/RECORD").exists()


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("pack/age.py", "pack 1.0: pack/age.py has no 'answer = 7'"),
        ("CMakeLists.txt", "pack 1.0: the wheel has no CMakeLists.txt"),
    ],
)
def test_what_is_gone_stops_the_build(nix: Nix, wheel: Path, file: str, sentence: str) -> None:
    replacement = f'{{ file = "{file}"; old = "answer = 7"; new = ""; }}'
    message = nix.fail(patched(wheel, replacement))
    assert sentence in message
    assert "Traceback" not in message
