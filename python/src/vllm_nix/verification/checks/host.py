"""What the host provides beside the GPU's driver: platforms, their software, memory."""

import os
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from vllm_nix.binaries.linker import host_folders
from vllm_nix.text import some
from vllm_nix.verification import cann
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.checks.distributions import confession
from vllm_nix.verification.fixes import fix_for
from vllm_nix.verification.installed import EntryPoint, read_entry_points
from vllm_nix.verification.machine import Driver

FIRST, LAST = Version("0.5.5"), Version("0.6.4.post1")


@check("nvml", "On Jetson, vLLM finds its platform without NVML")
def nvml(context: Context) -> Iterator[Finding]:
    """On Jetson, vLLM does not need NVML to find its platform.

    vLLM 0.5.5 to 0.6.4.post1 take it for a CUDA platform after a successful `nvmlInit`. Jetson's
    driver has no NVML for its GPU, so these versions see no device there ("Failed to infer device
    type", "NVML Shared Library Not Found"). Only the version is looked at: nothing is run.

    Seen in vllm#9728; fixed by vllm#9735, in 0.6.5.
    """
    jetsons = [device for device in context.gpus() if device.capability.jetson]
    vllm = context.installed("vllm")
    if not jetsons:
        raise SkipError("not a Jetson: its driver has NVML")
    if vllm is None:
        raise SkipError("vLLM is not installed")
    try:
        version = Version(Version(vllm.version).public)
    except ValueError:
        raise SkipError(f"{vllm.version!r} is not a version: see `wheel-set`") from None
    if FIRST <= version <= LAST:
        yield failed(
            f"vLLM {vllm.version} asks NVML for its platform, and {jetsons[0]} has none",
            expected=f"older than {FIRST}, or newer than {LAST}",
            fix="use vLLM 0.6.5 or newer, or backport its change of platforms/__init__.py",
        )
    else:
        yield ok(f"vLLM {vllm.version} asks the CUDA runtime")


NOTE = (
    "shares the host's memory: start with --gpu-memory-utilization 0.6, and raise it while "
    "the host keeps what it needs"
)


@check("memory", "What to know of memory that GPU and host share")
def memory(context: Context) -> Iterator[Finding]:
    """A note on memory, where GPU and processor share it.

    An integrated GPU, as Jetson's or GB10, has the host's memory. `--gpu-memory-utilization` is
    then a share of all of it, in which the operating system, its page cache and vLLM's own
    processes count as used: the default of 0.9 leaves them a tenth, and vLLM fails at start
    ("Free memory on device ... is less than desired") or has the kernel kill something. This is a
    note: nothing is wrong with the environment.

    Seen in vllm#13131, vllm#18679, vllm#48140, vllm#35356, vllm#46307 (GB10).
    """
    devices = context.gpus()
    shared = [str(device) for device in devices if device.capability.integrated]
    if isinstance(context.driver, Driver) and not context.is_asked:
        shared = [
            f"{gpu.name} ({gpu.memory / 2**30:.0f} GiB)"
            for gpu in context.driver.devices
            if gpu.integrated
        ]
    if not shared:
        raise SkipError("the GPU has memory of its own")
    yield ok(f"{shared[0]} {NOTE}")


GROUP = "vllm.platform_plugins"
# Distributions that exist to register a platform; where they lie, not what they are, is in doubt.
PLUGINS = ("vllm-ascend", "vllm-neuron", "vllm-gaudi", "vllm-spyre", "vllm-tpu")
SHOWN = 4  # missing libraries that are named


@check("platform-plugin", "vLLM has a platform, and the software that it stands on")
def platform_plugin(context: Context) -> Iterator[Finding]:
    """vLLM finds a platform: its own, or one that a plugin registers and whose software is there.

    A vLLM that was built with VLLM_TARGET_DEVICE=empty has no platform of its own. A plugin, such as
    vllm-ascend, registers one as an entry point in the group `vllm.platform_plugins`, and needs
    software of the host: for Ascend CANN, found by the variables that its `set_env.sh` sets. Where
    something is missing, vLLM says "Failed to infer device type" and no more; here it is named. While
    CANN is not there, the other checks run with torch_npu's autoload and vLLM's plugins switched off.

    Seen in vllm-ascend#262, #1440, #152, #6949. Groups: PyPA, entry points specification.
    """
    plugins, problems = _plugins(context)
    yield from problems
    registered = {plugin.distribution for plugin in plugins}
    silent = [name for name in PLUGINS if context.installed(name) and name not in registered]
    broken = {finding.where for finding in problems}
    broken |= {found.name for found in context.distributions if confession(context, found)}
    for name in silent:
        if name not in broken:
            yield failed(
                f"registers nothing in {GROUP}",
                where=name,
                fix=f"install {name} again: its entry_points.txt is missing or another's",
            )
    if not plugins and not silent:
        if not _is_empty(context):
            raise SkipError("vLLM's own platform: no plugin is installed")
        yield failed(
            "vLLM was built without a platform (empty), and no plugin registers one",
            expected=f"an entry point in {GROUP}",
            fix="install the plugin for this device, such as vllm-ascend, in vLLM's version",
        )
    if len(plugins) > 1:
        yield warning(
            f"{len(plugins)} plugins: {', '.join(plugin.name for plugin in plugins)}",
            expected="one: vLLM stops if two of them find a device",
            fix="name the one to use in VLLM_PLUGINS",
        )
    for gap in context.cann:
        yield _gap(gap)
    for plugin in plugins:
        yield ok(f"{plugin.name} = {plugin.value}", plugin.distribution)


def _plugins(context: Context) -> tuple[list[EntryPoint], list[Finding]]:
    """The platform plugins that can be found, and findings for those that cannot."""
    plugins: list[EntryPoint] = []
    problems: list[Finding] = []
    for distribution in context.distributions:
        again = f"install {distribution.name} again"
        try:
            entries = read_entry_points(distribution)
        except ValueError as error:
            problems.append(failed(str(error), where=distribution.name, fix=again))
            continue
        for entry in entries:
            if entry.group != GROUP:
                continue
            if _is_there(context, entry.module):
                plugins.append(entry)
            else:
                found = f"registers {entry.value}, which is not installed"
                problems.append(failed(found, where=distribution.name, fix=again))
    return plugins, problems


def _is_there(context: Context, module: str) -> bool:
    """Whether the package of a module is there, as far as can be said."""
    top = module.partition(".")[0]
    return bool(context.packages.find(top) or context.packages.unfollowed)


def _is_empty(context: Context) -> bool:
    vllm = context.installed("vllm")
    device = context.parameter("vllm", "device")
    return device == "empty" or (vllm is not None and "+empty" in vllm.version)


def _gap(gap: cann.Gap) -> Finding:
    missing = f"{some(gap.libraries, SHOWN)} not found"
    if gap.variables:
        missing += f"; {', '.join(gap.variables)} not set"
    if gap.part is cann.DRIVER:
        fix = "install Ascend's driver (HDK), and put its lib64/driver on LD_LIBRARY_PATH"
    elif gap.script:
        fix = f"source {gap.script}"
    else:
        fix = f"install {gap.part.name}, then source its {gap.part.script}"
    state = "is installed but not sourced" if gap.script else "is not installed"
    return failed(f"the {gap.part.name} {state}: {missing}", fix=fix)


DEVICES = Path("/dev")
AWS, RUNTIME = Path("/opt/aws/neuron/lib"), "libnrt.so.1"  # where AWS's packages put it


@check("neuron", "AWS Neuron's devices are there, for a vLLM that is built for them")
def neuron(context: Context) -> Iterator[Finding]:
    """AWS Neuron's devices are there, for a vLLM that is built for them.

    The driver is the host's: aws-neuronx-dkms makes /dev/neuron0 and so on, one of each chip. Whoever
    may not open them all gets an error of the runtime's, libnrt, which is the host's as well but in a
    Nix build. Seen in vllm#3291, aws-neuron-sdk#1017.
    """
    if not _applies(context):
        raise SkipError("not for AWS Neuron")
    if reason := lacks_neuron(context):
        raise SkipError(reason, harmless=False)
    devices = _devices()
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    for device in closed:
        yield failed(
            f"{device} is not this user's to open",
            expected="reading and writing",
            fix="add the user to the device's group, or loosen its udev rule",
        )
    folders = (AWS, *host_folders())
    if not context.manifest and not any((folder / RUNTIME).exists() for folder in folders):
        yield failed(
            f"there is no {RUNTIME}", where=str(AWS), fix=fix_for(f"{RUNTIME}: cannot open")
        )
    if not closed:
        yield ok(f"{len(devices)} devices")


def lacks_neuron(context: Context) -> str:
    """Why a vLLM that is built for Neuron cannot start here; "" if it could, or is for another."""
    if not _applies(context) or _devices():
        return ""
    return (
        f"no {DEVICES}/neuron0 here: it is no Trainium or Inferentia instance, or lacks AWS's driver,"
        " aws-neuronx-dkms"
    )


def _applies(context: Context) -> bool:
    vllm = context.installed("vllm")
    return "neuron" in context.parameters or (vllm is not None and "+neuron" in vllm.version)


def _devices() -> list[Path]:
    return sorted(DEVICES.glob("neuron[0-9]*"))
