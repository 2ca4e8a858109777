"""What a check is: a function from the environment to findings, with a name and a title."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vllm_nix.verification.context import Context, SkipError
from vllm_nix.verification.report import Finding, Status
from vllm_nix.verification.survey import Step

__all__ = ["BUSY", "Check", "Context", "Finding", "SkipError", "check", "failed", "ok", "warning"]

BUSY = "it hangs; or this machine is busy: then give it longer, as --timeout 600"
Run = Callable[[Context], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """`run` yields at least one finding, or raises `SkipError`. `steps` are what it will
    ask the survey for; `slow` ones are started first."""

    id: str
    title: str
    run: Run
    steps: tuple[Step, ...] = ()
    slow: bool = False


def check(
    id: str, title: str, *, steps: tuple[Step, ...] = (), slow: bool = False
) -> Callable[[Run], Check]:
    """Makes a check of the function below; list its module in `checks/__init__.py`."""
    return lambda run: Check(id, title, run, steps, slow)


def ok(found: str, where: str = "") -> Finding:
    return Finding(Status.OK, found, where)


def warning(found: str, *, where: str = "", expected: str = "", cure: str) -> Finding:
    return Finding(Status.WARNING, found, where, expected, cure)


def failed(found: str, *, where: str = "", expected: str = "", cure: str) -> Finding:
    return Finding(Status.FAILED, found, where, expected, cure)
