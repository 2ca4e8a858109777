"""What each distribution requires is installed, in a version that it accepts.

As `pip check`, but with extras, and without those that the target leaves out on purpose. A warning
only: many requirements are of uses that nobody has (PEP 508). Conflicts that pip "resolves" by
ignoring them show here, as vllm's torch beside vllm-ascend's.

Seen in vllm-ascend#12404, #8286, #3266.
"""

from collections.abc import Iterator, Mapping

from packaging.markers import UndefinedComparison
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from vllm_nix.verification.check import Context, Finding, SkipError, check, ok, warning


@check("requirements", "Each distribution's requirements are installed")
def requirements(context: Context) -> Iterator[Finding]:
    if context.manifest:
        raise SkipError("the manifest says exactly what belongs in it")
    markers = context.python().markers
    left_out = set(context.parameter("wheels", "exclude") or ())
    installed = {found.name: found.version for found in context.distributions}
    extras = _extras(context, markers)
    for distribution in context.distributions:
        for requirement in _parsed(distribution.requires):
            if not _applies(requirement, markers, extras.get(distribution.name, {""})):
                continue
            name = canonicalize_name(requirement.name)
            version = installed.get(name)
            if name in left_out:
                continue
            if version is None or not _accepts(requirement, version):
                yield warning(
                    f"{name} {version}" if version else f"{name} is not installed",
                    where=f"{distribution.name} {distribution.version}",
                    expected=f"{requirement.name}{requirement.specifier}",
                    cure=f'pip install "{requirement.name}{requirement.specifier}", if you use it',
                )
    yield ok(f"requirements of {len(installed)} distributions")


def _extras(context: Context, markers: Mapping[str, str]) -> dict[str, set[str]]:
    """The extras that other distributions ask for, by name; "" is the distribution without."""
    asked: dict[str, set[str]] = {}
    for distribution in context.distributions:
        for requirement in _parsed(distribution.requires):
            if requirement.extras and _applies(requirement, markers, {""}):
                name = canonicalize_name(requirement.name)
                asked.setdefault(name, {""}).update(requirement.extras)
    return asked


def _parsed(texts: tuple[str, ...]) -> Iterator[Requirement]:
    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue  # of old distributions; pip ignores them as well once installed


def _applies(requirement: Requirement, markers: Mapping[str, str], extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    try:
        return any(requirement.marker.evaluate({**markers, "extra": extra}) for extra in extras)
    except (InvalidVersion, UndefinedComparison):
        return False  # as packaging 26 answers for `platform_release >= "20.0"`; 25 raises


def _accepts(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False
