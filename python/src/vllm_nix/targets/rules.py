"""What a target's parameters must be to one another: data/targets/rules.toml, interpreted.

`nix/lib/rules.nix` interprets the same file, and says what is wrong in the same words.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from packaging.version import Version

from vllm_nix.errors import InputError
from vllm_nix.gpu.capability import ComputeCapability

Data = Mapping[str, Any]


def check_rules(rules: Data, file: str, data: Data) -> None:
    """Checks a target's `data`, which has passed the schema. Raises `InputError`."""

    def fault(text: str) -> NoReturn:
        raise InputError(f"{file}: {text}")

    _check_releases(rules, fault, data)
    if "cuda" in data:
        _check_capabilities(rules, fault, data)
    for rule in rules["refuse"]:
        if all(_holds(data, *condition) for condition in rule["when"]) and not any(
            _holds(data, *condition) for condition in rule["unless"]
        ):
            fault(rule["because"])


def _check_releases(rules: Data, fault: Any, data: Data) -> None:
    torch, vllm = data["torch"]["version"], data["vllm"]["version"]
    distribution = data["vllm"]["distribution"]
    torch_of = rules["torch-of"][distribution]
    if data["vllm"]["device"] in rules["pure-devices"]:
        torch_of = {vllm: Version(torch).public}
    if vllm not in torch_of:
        fault(
            f"vllm.version: no torch is known for {distribution} {vllm}; "
            f"known releases: {', '.join(sorted(torch_of))}"
        )
    if Version(torch).public != torch_of[vllm]:
        fault(
            f"torch.version: {distribution} {vllm} is compiled against torch {torch_of[vllm]}, "
            f"not {torch}"
        )
    for key, wanted in rules["vllm-ascend"].get(_plugin(data), {}).items():
        if wanted not in _values(data, key):
            found = "".join(_values(data, key)) or "nothing"
            fault(f"{key}: vllm-ascend {_plugin(data)} goes with {wanted}, not {found}")
    if "triton" in data:
        triton, triton_of = data["triton"]["version"], rules["triton-of"]
        if Version(torch).public not in triton_of:
            fault(
                f"triton.version: no triton is known for torch {torch}; "
                f"known torch releases: {', '.join(sorted(triton_of))}"
            )
        if triton != triton_of[Version(torch).public]:
            fault(
                f"triton.version: torch {torch} imports triton "
                f"{triton_of[Version(torch).public]}, not {triton}"
            )


def _plugin(data: Data) -> str:
    return str(data.get("vllm-ascend", {}).get("version", ""))


def _check_capabilities(rules: Data, fault: Any, data: Data) -> None:
    toolkit, capabilities = data["cuda"]["toolkit"], data["cuda"]["capabilities"]
    parsed = [ComputeCapability.parse(text) for text in capabilities]
    jetson = [capability for capability in parsed if capability.jetson]
    desktop = [capability for capability in parsed if not capability.jetson]
    foreign = [system for system in data["systems"] if system != "aarch64-linux"]
    if jetson and desktop:
        fault(
            f"cuda.capabilities: {jetson[0]} is Jetson's and {desktop[0]} is not; "
            "one build cannot serve both"
        )
    if jetson and foreign:
        fault(f"systems: Jetson's capability {jetson[0]} is for aarch64-linux, not {foreign[0]}")
    for capability in parsed:
        if not capability.is_compiled_by(toolkit):
            able = f"{capability.compiled_by} can"
            fault(f"cuda.capabilities: CUDA {toolkit} cannot compile for {capability}; {able}")


def _holds(data: Data, key: str, wanted: str) -> bool:
    found = _values(data, key)
    if wanted.startswith("< "):
        return any(Version(value) < Version(wanted[2:]) for value in found)
    if wanted.startswith(">= "):
        return any(Version(value) >= Version(wanted[3:]) for value in found)
    if wanted.startswith("+"):
        return any((Version(value).local or "").startswith(wanted[1:]) for value in found)
    return wanted in found


def _values(data: Data, key: str) -> list[str]:
    value: Any = data
    for name in key.split("."):
        value = value.get(name, {})
    if value == {}:
        return []
    return value if isinstance(value, list) else [value]
