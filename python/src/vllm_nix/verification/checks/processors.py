"""For which processor Python and the libraries are."""

import platform
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import PROCESSORS
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.known import ATTENTION, EVERY_START


@check("machine", "Python and libraries are for the processor of the device, or of this machine")
def machine(context: Context) -> Iterator[Finding]:
    """Python and the libraries are for one processor: the device's, the target's, or this machine's.

    A Jetson is an aarch64 machine, so that an environment built on an x86_64 one is of no use there,
    whatever its GPU code. Wheels of another platform can also come singly, by `pip install --platform`
    or from a cache that two machines share: they install, and fail when they are imported ("cannot open
    shared object file", "Exec format error"). The header of each ELF file names its processor: of
    Python's, and of each distribution's libraries, of which one at least must be for the same. Files
    for others beside it, as debuggers have them, are no fault. Compiled modules are for one Python as
    well, by their names (cpython-310): where a package has none for this one, it does not import.

    Seen in jetson-containers#1514.
    """
    packages, essential = _packages(context)
    own = _python(context) or _commonest(packages)
    if own is None:
        raise SkipError("no ELF files")
    wanted, because = _wanted(context)
    if wanted and own not in wanted:
        yield failed(
            f"the environment is for {own}",
            expected=f"{' or '.join(wanted)}, {because}",
            fix=f"make it on such a machine; this one's wheels are for {own}",
        )
    for name, machines in packages.items():
        if own not in machines:
            yield (failed if context.manifest or name in essential else warning)(
                f"its libraries are for {', '.join(sorted(machines))}",
                where=name,
                expected=f"{own}, as the environment",
                fix=f"install {name} again, from a wheel for {own}",
            )
    yield from _for_another_python(context)
    yield ok(f"{own}, {len(packages)} distributions with libraries")


_MODULE = re.compile(r"\.(?:cpython-([0-9]+t?)[a-z]*-[^.]*|abi3)\.so$")  # PEP 3149


def _for_another_python(context: Context) -> Iterator[Finding]:
    """Packages whose modules are all for other Pythons, which pass over them by their names."""
    if isinstance(context.interpreter, str):
        return
    python = ".".join(context.interpreter.version.split(".")[:2])
    own = python.replace(".", "")
    found: defaultdict[str, set[str]] = defaultdict(set)
    for file in context.facts.binaries().images:
        if module := _MODULE.search(file.name):
            found[context.packages.top(file)].add((module[1] or own).rstrip("t"))
    for package, tags in sorted(found.items()):
        if own not in tags:
            theirs = ", ".join(f"{tag[0]}.{tag[1:]}" for tag in sorted(tags))
            name = package.partition(".")[0]
            report = failed if name in EVERY_START or name.startswith(ATTENTION) else warning
            yield report(
                f"its compiled modules are for Python {theirs}",
                where=package,
                expected=f"Python {python}, as the environment's",
                fix=f"install {name} again, with this Python",
            )


def _packages(context: Context) -> tuple[dict[str, set[str]], set[str]]:
    """By distribution, or by top-level folder of what no RECORD lists: the processors that its
    libraries are for. And those that every start of vLLM loads."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    essential = set()
    records = context.facts.records()
    for file, number in context.facts.binaries().machines().items():
        if number in PROCESSORS:
            folder = context.packages.top(file).partition(".")[0]
            owner = records.owner(file)
            name = owner.name if owner else folder
            found[name].add(PROCESSORS[number])
            if folder in EVERY_START:
                essential.add(name)
    return dict(sorted(found.items())), essential


def _python(context: Context) -> str | None:
    """The processor that the interpreter is for, whether it starts here or not."""
    python = context.environment.python
    binary = python if isinstance(context.interpreter, str) else context.interpreter.binary
    try:
        return PROCESSORS.get(elf.read(binary).machine)
    except (ElfError, OSError):
        return None  # see `interpreter`


def _commonest(packages: dict[str, set[str]]) -> str | None:
    counts = Counter(name for machines in packages.values() for name in sorted(machines))
    return counts.most_common(1)[0][0] if counts else None


def _wanted(context: Context) -> tuple[Collection[str], str]:
    """The processors that would do, and why."""
    for device in context.devices if context.is_asked else ():
        if device.machine:
            return [device.machine], f"as {device.name} has it"
    if systems := context.parameter("systems"):
        return [system.partition("-")[0] for system in systems], "as the target has it"
    is_whole = not (context.environment.is_bare or context.environment.files_only)
    if isinstance(context.interpreter, str) and is_whole:
        return [platform.machine()], "as this machine"
    return [], ""
