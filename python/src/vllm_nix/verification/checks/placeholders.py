"""No installed distribution is a placeholder for one that is kept elsewhere.

What counts is their own text, in packages with next to no code; no list of names. The words are
those that the assembly goes by: data/targets/placeholders.toml.

Measured: neuronx-cc 1.0.post1, torch-neuronx 1.0, transformers-neuronx 0.1, libneuronxla 1.0,
neuronx-distributed 0.1 and vllm-neuron 0.1.0, all below 7 kB; their texts say where to go.
"""

import re
import tomllib
from collections.abc import Iterator

from packaging.metadata import parse_email

from vllm_nix.data import TARGETS
from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.distributions import Distribution, read_record, read_text

_RULE = tomllib.loads((TARGETS / "placeholders.toml").read_text())
LARGEST: int = _RULE["largest"]
SIGN = re.compile("|".join(map(re.escape, _RULE["words"])), re.IGNORECASE)


@check("placeholders", "No distribution is a placeholder for one that is kept elsewhere")
def placeholders(context: Context) -> Iterator[Finding]:
    for distribution in context.distributions:
        if words := confession(distribution):
            yield failed(
                f'{distribution.version} says "{words}"',
                where=distribution.name,
                expected="the software of that name",
                cure=f"pip uninstall {distribution.name}, then install it from there",
            )
    yield ok(f"{len(context.distributions)} distributions, none of them")


def confession(distribution: Distribution) -> str:
    """The sentence in which a tiny distribution says that it is not the real one, or ""."""
    try:
        entries = read_record(distribution) or ()
        if sum(entry.size or 0 for entry in entries) > LARGEST:
            return ""
        raw, _ = parse_email(read_text(distribution.folder / "METADATA"))
    except (OSError, ValueError):
        return ""  # see `wheel-set` and `record`
    first = re.split(r"\n\s*\n", raw.get("description", "").strip())[0]
    lines = [raw.get("summary", ""), *first.splitlines()]
    return next((line.strip()[:200] for line in lines if SIGN.search(line)), "")
