"""One child for all that needs torch or vLLM imported: importing them is most of the time."""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_nix.verification.environment import Environment

# What vLLM raises for what went wrong in another process, which logs that to stderr.
_ELSEWHERE = re.compile("[Rr]oot cause|[Ss]ee stack trace|process failed to start")
# A line of a traceback's end, as it is or behind vLLM's "(EngineCore pid=7) ERROR 11-12 16:25:35 [core.py:396] ".
_RAISED = re.compile(
    r"(?:\([^()]{1,60}\) ){0,3}(?:[A-Z]{4,8} [^\]]{1,60}\] )?((?:\w{1,40}\.){0,6}\w{0,60}(?:Error|Exception): .{1,1000})"
)
MOST = 4  # causes of another process


class StepError(Exception):
    """A step of the survey raised, killed its interpreter, or hung; the message says which."""


Step = tuple[str, ...]  # its name in `probes/survey.py`, then its arguments


@dataclass(slots=True)
class Survey:
    """Steps, taken once and in order when the first answer is asked for.

    After a crash or a hang a new child goes on with the step after it.
    """

    environment: Environment
    steps: Sequence[Step]
    _answers: dict[Step, Mapping[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, *step: str) -> Mapping[str, Any]:
        """What `step` found. Raises `StepError`."""
        self.finish()
        if module := self._broken(step):
            raise StepError(f"{module} does not import")
        return answered(self._answers[step])

    def finish(self) -> None:
        """Waits until all steps are taken."""
        with self._lock:
            if not self._answers:
                self._take()

    def imports(self, module: str) -> bool:
        """Whether `module` imports, if that is one of the steps at all."""
        try:
            return ("import", module) not in self.steps or bool(self.answer("import", module))
        except StepError:
            return False

    def _take(self) -> None:
        left = list(self.steps)
        while left:
            outcome = self.environment.probe("survey", json.dumps(left), answers=len(left))
            for answer in outcome.answers:
                self._accept(_with_causes(answer, outcome.stderr), left)
            left = [step for step in left if step not in self._answers]
            if left:
                end = outcome.end or "the interpreter ended early"
                words = outcome.last_words()
                self._answers[left[0]] = {"error": f"{end}: {words}" if words else end}
                left = [step for step in left[1:] if not self._broken(step)]

    def _accept(self, answer: Mapping[str, Any], asked: Sequence[Step]) -> None:
        """Keeps an answer of the right shape: what is asked is not trusted."""
        named = answer.get("step")
        step = tuple(map(str, named)) if isinstance(named, list) else ()
        error, value = answer.get("error"), answer.get("value")
        if step in asked and (isinstance(error, str) or isinstance(value, dict)):
            self._answers[step] = answer

    def _broken(self, step: Step) -> str | None:
        """The module that a step stands on, if that one did not import."""
        for module in needed(step):
            if "error" in self._answers.get(("import", module), {}):
                return module
        return None


def _with_causes(answer: Mapping[str, Any], stderr: str) -> Mapping[str, Any]:
    """An answer whose error has its cause in what another process printed, with that before it."""
    error = answer.get("error")
    if not isinstance(error, str) or not _ELSEWHERE.search(error):
        return answer
    raised = (found[1] for found in map(_RAISED.match, stderr.splitlines()) if found)
    causes = [text for text in dict.fromkeys(raised) if text not in error][:MOST]
    return {**answer, "error": "; then ".join([*causes, error])}


def needed(step: Step) -> tuple[str, ...]:
    """The modules without which a step cannot be taken."""
    name, *arguments = step
    modules = {
        "import": (),
        "maps": tuple(arguments),
        "generate": ("torch", "vllm"),
        "kernels": ("torch", "vllm"),
        "bridge": ("torch", "numpy"),
    }
    return modules.get(name, ("torch",))


def answered(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The value of a step's answer. Raises `StepError` with its error, or if it has no value, and
    when it is asked for what it lacks."""
    error, value = answer.get("error"), answer.get("value")
    if error is not None or not isinstance(value, dict):
        raise StepError(str(error or "no answer of the shape that was asked for"))
    return _Answer(value)


class _Answer(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        raise StepError(f"no '{key}' in the answer of its process")
