"""Writes the wheel flashinfer-jit-cache: wheel.py VERSION FILE MODULE..., of folders that compile.py made.

FlashInfer looks for the package of this name, of its own version, before it compiles (flashinfer/jit/env.py): before
0.7 for a folder, from then on for providers, each with the GPUs that its modules are for.
"""

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path

PACKAGE = '''"""FlashInfer's modules, compiled beforehand."""

from pathlib import Path
from types import SimpleNamespace

__version__ = "{version}"
ARCHITECTURES = {architectures}
MODULES = {modules}


def get_jit_cache_dir():
    return str(Path(__file__).parent / "jit_cache")


def get_jit_cache_providers():
    return (
        SimpleNamespace(
            provider_id="vllm-nix",
            distribution="flashinfer-jit-cache",
            version=__version__,
            jit_cache_dir=get_jit_cache_dir(),
            cuda_architectures=ARCHITECTURES,
            modules=MODULES,
        ),
    )
'''


def main() -> None:
    version, file, *folders = sys.argv[1:]
    tag = "-".join(Path(file).name.removesuffix(".whl").rsplit("-", 3)[1:])
    facts = {folder: json.loads(Path(folder, "module.json").read_text()) for folder in folders}
    package = PACKAGE.format(
        version=version,
        architectures=sorted({each for one in facts.values() for each in one["architectures"]}),
        modules=sorted(name for one in facts.values() for name in one["names"]),
    )
    info = f"flashinfer_jit_cache-{version}.dist-info"
    content = {"flashinfer_jit_cache/__init__.py": package.encode()}
    for folder, one in facts.items():
        for name in one["names"]:
            library = f"{name}/{name}.so"
            content[f"flashinfer_jit_cache/jit_cache/{library}"] = Path(
                folder, library
            ).read_bytes()
    content[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: flashinfer-jit-cache\nVersion: {version}\n"
        f"Requires-Dist: flashinfer-python=={version.partition('+')[0]}\n".encode()
    )
    content[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: vllm-nix\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    record = "".join(
        f"{name},sha256={digest(data)},{len(data)}\n" for name, data in content.items()
    )
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # of 1980: no clock in it


def digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main()
