"""That a draft model is smaller than the model it drafts for: otherwise it makes everything slower."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_nix.errors import InputError
from vllm_nix.serve.models import WEIGHTS


def check_sizes(values: Mapping[str, Any]) -> None:
    """Checks a profile's two models if both are folders, or else both names say their size.

    Raises `InputError`.
    """
    if "draft-model" not in values:
        return
    model, draft = values["model"], values["draft-model"]
    for measure, form in ((weights, "{:.3g} GB"), (parameters, "{:g}B parameters")):
        ours, its = measure(model), measure(draft)
        if ours is None or its is None:
            continue
        if its > ours:
            raise InputError(
                f"the draft model {draft} ({form.format(its)}) is larger than the model"
                f" {model} ({form.format(ours)}); give a smaller --draft-model"
            )
        return


def weights(model: str) -> float | None:
    """The weight files of a model's folder in GB; None if it is no folder that has some."""
    files = [file for pattern in WEIGHTS for file in Path(model).expanduser().glob(pattern)]
    return sum(file.stat().st_size for file in files) / 1e9 or None


def parameters(model: str) -> float | None:
    """The billions of parameters that a model's name says, such as 0.5 of ``Qwen2.5-0.5B``."""
    found = re.findall(
        r"(?<![A-Za-z0-9.])([0-9]+(?:[.][0-9]+)?)([BM])(?![A-Za-z0-9])",
        Path(model).name,
        re.IGNORECASE,
    )
    sizes = [float(number) / (1 if unit in "bB" else 1000) for number, unit in found]
    return max(sizes, default=None)
