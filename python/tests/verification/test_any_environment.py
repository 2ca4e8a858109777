"""Environments that hold anything at all, of whose files alone is judged."""

import io
import json
import xml.etree.ElementTree as ET
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_binaries import cubin, elf_file, entry, fatbin_of, shared_library
from rich.console import Console

from vllm_nix.errors import InputError
from vllm_nix.html.verify import verify_page
from vllm_nix.text import printable
from vllm_nix.verification import opened, verify
from vllm_nix.verification.report import print_report, to_junit

NUMPY, VLLM, EDITABLE = "numpy-2.3.5.dist-info", "vllm-0.9.0.dist-info", "demo-1.0.dist-info"
LIBRARY = shared_library([fatbin_of(entry(2, 86, cubin(86)), entry(1, 90))])
NEEDS = elf_file(
    tags=[(1, b"libc10.so"), (15, b"$ORIGIN/../x"), (14, b"libme.so"), (1, b"libme.so")]
)
ORIGIN = {"url": "file:///tmp/x", "dir_info": {"editable": True}}
MANIFEST = {
    "schema": 1,
    "target": "cuda",
    "python": "3.11",
    "parameters": {"cuda": {"toolkit": "13.0", "capabilities": ["8.6"]}},
    "driver-libraries": ["libcuda.so.1"],
    "wheels": [{"name": "numpy", "version": "2.3.5", "path": "/nix/store/x"}],
}
# By their places from site-packages on: what is healthy.
FILES: dict[str, bytes] = {
    f"{NUMPY}/METADATA": b"Metadata-Version: 2.1\nName: numpy\nVersion: 2.3.5\nRequires-Dist: six>=1; extra == 'x'\n",
    f"{NUMPY}/RECORD": b"numpy/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n",
    f"{NUMPY}/WHEEL": b"Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n",
    f"{VLLM}/METADATA": b"Name: vllm\nVersion: 0.9.0\nRequires-Dist: torch==2.7.0\n",
    f"{VLLM}/RECORD": b"vllm/_C.abi3.so,,\n../../../bin/vllm,,\n",
    f"{VLLM}/entry_points.txt": b"[vllm.platform_plugins]\nascend = vllm_ascend:register\n",
    f"{EDITABLE}/METADATA": b"Name: demo\nVersion: 1.0\n",
    f"{EDITABLE}/direct_url.json": json.dumps(ORIGIN).encode(),
    "__editable___demo_1_0_finder.py": b"MAPPING = {'demo': '/tmp/x'}\n",
    "_demo_editable_loader.py": b"install('demo', {'demo'}, '/tmp/x', [], False)\n",
    "demo.pth": b"import __editable___demo_1_0_finder\n/tmp\n",
    "old.egg-link": b"/tmp\n.\n",
    "old.egg-info/PKG-INFO": b"Name: old\nVersion: 1\n",
    "numpy/__init__.py": b"",
    "vllm/__init__.py": b"from vllm import _C\n",
    "vllm/_version.py": b"__version__ = '0.9.0'\n",
    "vllm/_C.abi3.so": LIBRARY,
    "torch/version.py": b"__version__ = '2.7.0'\ncuda = '12.8'\n",
    "torch/lib/libtorch_cuda.so": LIBRARY,
    "torch/lib/libc10.so": NEEDS,
    "nvidia/cuda_runtime/lib/libcudart.so.12": NEEDS,
    "flash_attn/flash_attn_2_cuda.so": NEEDS,
    "../../../pyvenv.cfg": b"home = /usr/bin\nversion = 3.11.2\n",
    "../../../conda-meta/demo-1.json": b'{"name": "demo", "files": ["bin/vllm"]}',
    "../../../share/vllm-nix/target.json": json.dumps(MANIFEST).encode(),
}
EVIL = "\x1b[2J\u202e\x9b31m\u2028\r\nok       record          all is well <script>"
WORDS = [
    EVIL,
    "\0",
    "\udcff",
    "[" * 3000,
    "9" * 5000,
    "../" * 9,
    "/proc/self",
    "numpy",
    "==",
    "sha256=",
    ",",
    "\n",
]

words = st.lists(st.sampled_from(WORDS) | st.text(max_size=9), max_size=6).map("".join)
pieces = st.binary(max_size=30) | words.map(
    lambda text: text.encode("utf-8", "surrogateescape" if "\udcff" in text else "surrogatepass")
)
changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), pieces), min_size=1, max_size=4)


def changed(data: bytes, rows: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, piece in rows:
        start = int(place * len(data))
        data = data[:start] + piece + data[start + length :]
    return data


@given(
    files=st.dictionaries(st.sampled_from(sorted(FILES)), changes, min_size=1, max_size=5),
    gone=st.sets(st.sampled_from(sorted(FILES)), max_size=20),
)
def test_any_environment_is_reported(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, Any], gone: set[str]
) -> None:
    root = tmp_path_factory.mktemp("env")
    (root / "bin").mkdir()
    (root / "bin/python").touch()
    for place, data in FILES.items():
        if place not in gone - files.keys():
            path = (root / "lib/python3.11/site-packages" / place).resolve()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(changed(data, files.get(place, [])))
    try:
        report = verify(root, device="8.6", cuda="12.8", files_only=True)
    except InputError as error:
        assert printable(error).isprintable()
        assert "looked at" not in str(error)
        return
    assert report.seconds < 20
    shown = io.StringIO()
    print_report(report, Console(file=shown))
    for line in shown.getvalue().splitlines():
        assert line.isprintable()
        assert not line.startswith("ok       record          all is well")
    assert "broke off" not in shown.getvalue()
    assert json.loads(json.dumps(report.to_json()))["exit_code"] == report.exit_code
    ET.fromstring(ET.tostring(to_junit(report)))
    page = verify_page(report)
    assert page.replace("\n", "").replace("\t", "").isprintable()
    assert "<script>\n" in page or "well <script>" not in page


def test_a_package_that_is_all_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder, or the __init__.py in it, may be a link to anywhere."""
    monkeypatch.setattr(Path, "glob", lambda *_: repeat(Path("/x")))
    packages = SimpleNamespace(find=lambda _: [Path("/")])
    context = cast(Any, SimpleNamespace(packages=packages, facts=SimpleNamespace(stop=None)))
    assert not opened._opens_libraries(context, "x")
