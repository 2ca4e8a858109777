"""For which processor Python and the libraries are."""

import platform
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import PROCESSORS
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.known import EVERY_START


@check("machine", "Python and libraries are for the processor of the device, or of this machine")
def machine(context: Context) -> Iterator[Finding]:
    """Python and the libraries are for one processor: the device's, the target's, or this machine's.

    A Jetson is an aarch64 machine, so that an environment built on an x86_64 one is of no use there,
    whatever its GPU code. Wheels of another platform can also come singly, by `pip install --platform`
    or from a cache that two machines share: they install, and fail when they are imported ("cannot open
    shared object file", "Exec format error"). The header of each ELF file names its processor: of
    Python's, and of each distribution's libraries, of which one at least must be for the same. Files
    for others beside it, as debuggers have them, are no fault.

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
    yield ok(f"{own}, {len(packages)} distributions with libraries")


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
