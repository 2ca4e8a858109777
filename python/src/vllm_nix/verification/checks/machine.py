"""Python and the libraries are for one processor: the device's, the target's, or this machine's.

A Jetson is an aarch64 machine, so that an environment made on an x86_64 one is of no use there,
whatever its GPU code. Wheels of another platform can also come singly, by `pip install --platform`
or from a cache that two machines share: they install, and fail when they are imported ("cannot open
shared object file", "Exec format error"). The header of each ELF file names its processor: of
Python's, and of each distribution's libraries, of which one at least must be for the same. Files
for others beside it, as debuggers bring them, are no fault.

Seen in jetson-containers#1514.
"""

import platform
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator

from vllm_nix.binaries import elf
from vllm_nix.binaries.elf import ElfError
from vllm_nix.binaries.files import PROCESSORS
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.checks.elf import ESSENTIAL
from vllm_nix.verification.owners import owners


@check("machine", "Python and libraries are for the processor of the device, or of this machine")
def machine(context: Context) -> Iterator[Finding]:
    packages, essential = _packages(context)
    own = _python(context) or _commonest(packages)
    if own is None:
        raise SkipError("no ELF files")
    wanted, because = _wanted(context)
    if wanted and own not in wanted:
        yield failed(
            f"the environment is for {own}",
            expected=f"{' or '.join(wanted)}, {because}",
            cure=f"make it on such a machine; this one's wheels are for {own}",
        )
    for name, machines in packages.items():
        if own not in machines:
            yield (failed if context.manifest or name in essential else warning)(
                f"its libraries are for {', '.join(sorted(machines))}",
                where=name,
                expected=f"{own}, as the environment",
                cure=f"install {name} again, from a wheel for {own}",
            )
    yield ok(f"{own}, {len(packages)} distributions with libraries")


def _packages(context: Context) -> tuple[dict[str, set[str]], set[str]]:
    """By distribution, or by top-level folder of what no RECORD lists: the processors that its
    libraries are for. And those that every start of vLLM loads."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    essential = set()
    owned, _ = owners(context)
    for file, number in context.elf_files.found().machines().items():
        if number in PROCESSORS:
            folder = file.relative_to(context.site_packages).parts[0].partition(".")[0]
            claims = owned.get(file)
            name = claims[0].distribution.name if claims else folder
            found[name].add(PROCESSORS[number])
            if folder in ESSENTIAL:
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
    if isinstance(context.interpreter, str) and not context.environment.is_bare:
        return [platform.machine()], "as this machine"
    return [], ""
