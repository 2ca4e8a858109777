"""What distributions require of one another."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vllm_nix.binaries.files import go_on
from vllm_nix.text import quoted
from vllm_nix.verification.check import Context, Finding, SkipError, check, ok, warning
from vllm_nix.verification.known import EVERY_START

# Each requirement is evaluated for all extras that others ask for. vllm-cuda's have 129,000 characters.
MOST_REQUIREMENTS, MOST_CHARACTERS, MOST_EXTRAS = 2_000, 1 << 20, 32


@check("requirements", "Each distribution's requirements are installed")
def requirements(context: Context) -> Iterator[Finding]:
    """What each distribution requires is installed, in a version that it accepts.

    As `pip check`, but with extras, and without those that the target leaves out on purpose. A warning
    only: many requirements are of uses that nobody has (PEP 508). Conflicts that pip "resolves" by
    ignoring them show here, as vllm's torch beside vllm-ascend's.

    Seen in vllm-ascend#12404, #8286, #3266.
    """
    if context.manifest:
        raise SkipError("the manifest says exactly what belongs in it")
    markers = context.python().markers
    left_out = set(context.parameter("wheels", "exclude") or ())
    installed = {found.name: found.version for found in context.distributions}
    requirements, cut = _parsed(context)
    extras = _extras(requirements.values(), markers)
    pinned = _pinned(context, requirements, installed)
    for distribution in context.distributions:
        if distribution.manager:
            continue  # which keeps what it needs, and leaves out what it has made optional
        if distribution.folder in cut:
            yield warning(
                f"{len(distribution.requires)} requirements",
                where=f"{distribution.name} {distribution.version}",
                expected=f"at most {MOST_REQUIREMENTS}, and {MOST_CHARACTERS} characters of them in all:"
                " the rest is not looked at",
                fix=f"is this {distribution.name}? Install it again from where you trust",
            )
        for requirement in requirements[distribution.folder]:
            go_on(context.facts.stop)
            if not _applies(requirement, markers, extras.get(distribution.name, {""})):
                continue
            name = canonicalize_name(requirement.name)
            version = installed.get(name)
            if name in left_out:
                continue
            if version is None or not _accepts(requirement, version):
                use = "" if name in EVERY_START else ", if you use it"
                with_ = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
                wanted = f"{requirement.name}{with_}{requirement.specifier}"
                fix = f"pip install {quoted(wanted)}{use}"
                if version and (other := pinned.get(name, "")):
                    fix = f"install the {distribution.name} for {name} {version}, which {other} asks for"
                yield warning(
                    f"{name} {version}" if version else f"{name} is not installed",
                    where=f"{distribution.name} {distribution.version}",
                    expected=f"{requirement.name}{requirement.specifier}",
                    fix=fix,
                )
    yield ok(f"requirements of {len(installed)} distributions")


def _pinned(
    context: Context,
    requirements: Mapping[Path, Sequence[Requirement]],
    installed: Mapping[str, str],
) -> dict[str, str]:
    """By name: who asks for just the version that is there, as vLLM does for its torch."""
    return {
        name: distribution.name
        for distribution in context.distributions
        for requirement in requirements[distribution.folder]
        if (version := installed.get(name := canonicalize_name(requirement.name)))
        and any(one.operator in ("==", "===") for one in requirement.specifier)
        and _accepts(requirement, version)
    }


def _extras(
    requirements: Iterable[Sequence[Requirement]], markers: Mapping[str, str]
) -> dict[str, set[str]]:
    """The extras that distributions ask others for, by name; "" is the distribution without."""
    asked: dict[str, set[str]] = {}
    for several in requirements:
        for requirement in several:
            if requirement.extras and _applies(requirement, markers, {""}):
                name = canonicalize_name(requirement.name)
                extras = asked.setdefault(name, {""})
                extras.update(sorted(requirement.extras)[: MOST_EXTRAS - len(extras)])
    return asked


def _parsed(context: Context) -> tuple[dict[Path, list[Requirement]], set[Path]]:
    """The requirements of each distribution, by its folder, and those of which not all are read."""
    found: dict[Path, list[Requirement]] = {}
    cut: set[Path] = set()
    left = MOST_CHARACTERS
    for distribution in context.distributions:
        here = found[distribution.folder] = []
        for number, text in enumerate(distribution.requires):
            go_on(context.facts.stop)
            left -= len(text)
            if number == MOST_REQUIREMENTS or left < 0:
                left += len(text)
                cut.add(distribution.folder)
                break
            # Old distributions have others; pip ignores them as well once they are installed.
            with suppress(ValueError, RecursionError):
                here.append(Requirement(text))
    return found, cut


def _applies(requirement: Requirement, markers: Mapping[str, str], extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    try:
        return any(requirement.marker.evaluate({**markers, "extra": extra}) for extra in extras)
    except ValueError:
        return False  # as packaging 26 answers for `platform_release >= "20.0"`; 25 raises


def _accepts(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except ValueError:
        return False
