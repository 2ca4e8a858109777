"""Whether compiled files find what they load."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vllm_nix.binaries.linker import LinkerError
from vllm_nix.gpu.device import jetpack_release
from vllm_nix.text import quoted, some
from vllm_nix.verification import symbol_versions
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.environment import NotRun
from vllm_nix.verification.fixes import fix_closed, fix_for
from vllm_nix.verification.foreign import host_library
from vllm_nix.verification.known import ATTENTION, EVERY_START
from vllm_nix.verification.lacks import TORCHS_MAPS, is_essential, lacks
from vllm_nix.verification.overridden import replaced, take_out
from vllm_nix.verification.owning import fix_again, fix_gone, owner_of
from vllm_nix.verification.report import Status
from vllm_nix.verification.survey import StepError, Survey

SHOWN = 6  # missing libraries of a package that are named


@check(
    "elf",
    "Every ELF file is whole and finds the libraries that it needs",
    steps=(("import", "torch"), TORCHS_MAPS),
    imports=False,  # in doubt alone
)
def elf_files(context: Context) -> Iterator[Finding]:
    """Every library that an installed file needs is in the environment, or where its base looks.

    The names that each ELF file asks for (DT_NEEDED) are looked up as ld.so(8) does: what is loaded
    already goes by its name, Python's libraries and those of `import torch` first; then along the run
    paths (DT_RPATH of the chain that asks, or its own DT_RUNPATH) and LD_LIBRARY_PATH, then where the
    loader of this Python looks, which may be another than the host's. That a library lies somewhere in
    the environment is not enough: something must find it. In doubt, `import torch` is run, and what it
    maps counts. The versions of symbols that a file needs (GLIBC_2.34, GLIBCXX_3.4.30) must be in the
    library that it gets, also where `import torch` has loaded another one of that name, as the system's
    libstdc++.so.6 before conda's.

    A truncated file is found as well; one for another processor is `machine`'s. A plain environment may
    have libraries that only some uses load: there, what torch and vLLM need is an error, the rest a
    warning for each package, with what importing it says. So is in Nix's what part of a package alone
    misses, if the package imports. Of libraries for several releases of FFmpeg or CUDA (torchcodec,
    bitsandbytes), one that loads is enough, or the one for torch's. The driver's libraries count as
    found: `live-device` tries them.

    What torch loads from LD_LIBRARY_PATH instead of the environment's own is said: another release of
    CUDA's libraries fails when it is called ("CUBLAS_STATUS_INVALID_VALUE").

    Seen in vllm#36099, vllm#31018, vllm#52300, vllm#9494, saturncloud/images#483.
    """
    found = context.facts.binaries()
    for file, problem in found.broken.items():
        fix = fix_closed(problem, fix_again(context, file))
        yield failed(problem, where=context.place(file), fix=fix)
    for path, why in found.tree.left_out.items():
        yield warning(why, where=context.place(path), fix="look there yourself, if it should count")
    yield from _too_new_for_jetpack(context)
    away = [f"{context.place(path)} -> {end}" for path, end in found.tree.links_out.items()]
    note = f"; links out of the environment are not followed: {', '.join(away)}" if away else ""
    if isinstance(context.interpreter, str):
        note = f"; without Python, what the environment does not have counts as the host's{note}"
        if not found.images and not found.broken:
            raise SkipError("no ELF files")
    optional: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    works: dict[str, bool | None] = {}  # packages that do without what a part of them needs
    for file, lack in lacks(context):
        if isinstance(lack, LinkerError):
            fix = f"{fix_again(context, file)}, from where you trust"
            yield failed(str(lack), where=context.place(file), fix=fix)
            continue
        package = context.packages.top(file)
        for name, place in lack.elsewhere.items():
            finding = _out_of_reach(context, file, name, place)
            if package not in works:
                works[package] = _works_without(context, package)
            if works[package] and context.manifest:
                fix = f"{finding.fix}, for that part of it; `import {package}` works without"
                finding = replace(finding, fix=fix)
            yield finding if works[package] is False else replace(finding, status=Status.WARNING)
        for name, at in lack.stops.items():
            yield (failed if is_essential(context, file) else warning)(
                f"needs {name}; the loader finds {context.place(Path(at))} first, and stops: it is no ELF file",
                where=context.place(file),
                fix="install what owns that file again (a download that git-lfs or a mirror cut short), or delete it",
            )
        if lack.nowhere and is_essential(context, file):
            fix = _fix_missing(context, lack.nowhere[0], file)
            if context.manifest:
                fix += "; or list it in wheels.optional-libraries"
            yield failed(_needs(lack.nowhere), where=context.place(file), fix=fix)
        elif lack.nowhere:
            optional[package].update(dict.fromkeys(lack.nowhere, file))
        for version, library, newest in lack.versions:
            whose = owner_of(context, file)
            fix = f"install a build of {whose} for an older system, or a newer {library}"
            if version.startswith(("GLIBC", "CXXABI")):
                fix = fix_for(f"version `{version}' not found", fix)
            fix = take_out(context, file, library.partition(".so")[0]) or fix
            yield (failed if is_essential(context, file) else warning)(
                f"needs {version} of {library}, which has up to {newest}",
                where=context.place(file),
                fix=fix,
            )
        for version, chosen, first in lack.displaced:
            yield warning(
                f"needs {version}, which {first} lacks, and `import torch` loads that before it",
                where=context.place(file),
                expected=f"the one in {chosen}, which it finds by itself",
                fix=f"export LD_LIBRARY_PATH={chosen}, for torch as well; or import {package} first",
            )
    for package, libraries in optional.items():
        yield _partly(context, package, list(libraries))
    if not isinstance(context.interpreter, str):
        loaded = context.linking().bare.names
        for name in (name for name in context.interpreter.preload if not loaded.get(name)):
            yield warning(
                "LD_PRELOAD names it, and the loader goes on without: it is not there or for another processor",
                where=name,
                fix="install it, or take it out of LD_PRELOAD",
            )
    for folder, names in replaced(context).items():
        yield warning(
            f"torch loads {', '.join(names[:SHOWN])} from there, by LD_LIBRARY_PATH",
            where=str(folder),
            expected="the environment's own, with which it was released",
            fix=f"take {folder} out of LD_LIBRARY_PATH",
        )
    yield ok(f"{len(found.images)} ELF files{note}")


def _fix_missing(context: Context, name: str, file: Path) -> str:
    """For a library that nothing has."""
    if fix := fix_gone(context, name):
        return fix
    if "/" not in name:
        message = f"{name}: cannot open shared object file: No such file or directory"
        return host_library(context, message) or fix_for(message, f"install what has {name}")
    own = name.rpartition("/")[2]
    return (
        f"{name} is a path of where it was built: build it against a {own} with a soname, or "
        f"patchelf --replace-needed {quoted(name)} {quoted(own)} {quoted(str(file))}"
    )


def _partly(context: Context, package: str, names: list[str]) -> Finding:
    """The finding for a package that may well do without libraries: that it imports is tried."""
    gone = next(filter(None, (fix_gone(context, name) for name in names)), "")
    install = gone or fix_for(f"{names[0]}: cannot open", f"install what has {names[0]}")
    module = package.partition(".")[0] if package.endswith(".so") else package
    needs, fix = _needs(names), f"{install}, if you use that part of {module}"
    problem = _import_error(context, module)
    if problem is None:
        return warning(needs, where=package, fix=fix)
    if problem:
        found = f"{needs}; it does not import: {problem}"
        fix = host_library(context, problem) or fix_for(problem, install)
        return warning(found, where=package, fix=fix)
    return warning(needs, where=package, fix=f"{fix}; `import {module}` works without")


def _works_without(context: Context, package: str) -> bool | None:
    """Whether a package does without what a part of it lacks; None if nobody knows."""
    if package in EVERY_START:
        return False
    if isinstance(context.interpreter, str) or context.environment.quick:
        return None
    if context.manifest:
        return _import_error(context, package) == ""
    return False if package.startswith(ATTENTION) else None


def _import_error(context: Context, package: str) -> str | None:
    """What importing a package says, "" if it works; None if no package has such a name, or none is to
    be imported."""
    if not package.isidentifier():
        return None
    step = ("import", package)
    try:
        Survey(context.environment, [step]).answer(*step)
    except StepError as problem:
        return str(problem)
    except NotRun:
        return None
    return ""


def _out_of_reach(context: Context, file: Path, name: str, place: Path) -> Finding:
    """The finding for a library that is in the environment, where nothing looks for it."""
    stem = name.partition(".so")[0]
    loaded = context.linking().torch.names
    other = next((one for one in loaded if one.partition(".so")[0] == stem and one != name), "")
    whose = owner_of(context, file)
    if other:
        fix = f"install the build of {whose} that needs {other}, which torch loads"
    else:
        fix = f"install a build of {whose} whose run path leads there"
    if not other and not context.manifest:
        fix += f", or put {quoted(str(place.parent))} on LD_LIBRARY_PATH"
    return failed(
        f"needs {name}, which it does not find, and nothing before it loads",
        where=context.place(file),
        expected=f"a run path to {context.place(place.parent)}, where it lies",
        fix=fix,
    )


def _needs(names: list[str]) -> str:
    are = "is" if len(names) == 1 else "are"
    return f"needs {some(names, SHOWN)}, which {are} nowhere"


def _too_new_for_jetpack(context: Context) -> Iterator[Finding]:
    """Files that need newer C and C++ libraries than the JetPack has that was asked for. A Nix build
    has its own, and so has an environment for those that are in it."""
    if context.jetpack is None or context.manifest:
        return
    release = jetpack_release(context.jetpack)
    images = context.facts.binaries().images
    inside = {file.name for file in images}
    for file in images:
        newest = symbol_versions.too_new(context.facts, file, release, inside)
        if newest is None:
            continue
        version, library = newest
        family = version.partition("_")[0]
        package = context.packages.top(file)
        yield (failed if package in EVERY_START else warning)(
            f"needs {version} of {library}",
            where=context.place(file),
            expected=f"up to {family}_{release.symbols[family]}, as JetPack {release.release} has it",
            fix=f"install a build of {owner_of(context, file)} for an older system (manylinux), or build it there",
        )
