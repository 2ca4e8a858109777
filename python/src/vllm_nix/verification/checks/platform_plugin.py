"""vLLM finds a platform: its own, or one that a plugin registers and whose software is there.

A vLLM that was built with VLLM_TARGET_DEVICE=empty has no platform of its own. A plugin, such as
vllm-ascend, registers one as an entry point in the group `vllm.platform_plugins`, and needs
software of the host: for Ascend CANN, found by the variables that its `set_env.sh` sets. Where
something is missing, vLLM says "Failed to infer device type" and no more; here it is named. While
CANN is not there, the other checks run with torch_npu's autoload and vLLM's plugins switched off.

Seen in vllm-ascend#262, #1440, #152, #6949. Groups: PyPA, entry points specification.
"""

from collections.abc import Iterator

from vllm_nix.verification import cann
from vllm_nix.verification.check import Context, Finding, SkipError, check, failed, ok, warning
from vllm_nix.verification.checks.placeholders import confession
from vllm_nix.verification.entry_points import EntryPoint, read_entry_points

GROUP = "vllm.platform_plugins"
# Distributions that exist to register a platform; where they lie, not what they are, is in doubt.
PLUGINS = ("vllm-ascend", "vllm-neuron", "vllm-gaudi", "vllm-spyre", "vllm-tpu")
SHOWN = 4  # missing libraries that are named


@check("platform-plugin", "vLLM has a platform, and the software that it stands on")
def platform_plugin(context: Context) -> Iterator[Finding]:
    plugins, problems = _plugins(context)
    yield from problems
    registered = {plugin.distribution for plugin in plugins}
    silent = [name for name in PLUGINS if context.installed(name) and name not in registered]
    broken = {finding.where for finding in problems}
    broken |= {found.name for found in context.distributions if confession(found)}
    for name in silent:
        if name not in broken:
            yield failed(
                f"registers nothing in {GROUP}",
                where=name,
                cure=f"install {name} again: its entry_points.txt is missing or another's",
            )
    if not plugins and not silent:
        if not _is_empty(context):
            raise SkipError("vLLM's own platform: no plugin is installed")
        yield failed(
            "vLLM was built without a platform (empty), and no plugin registers one",
            expected=f"an entry point in {GROUP}",
            cure="install the plugin for this device, such as vllm-ascend, in vLLM's version",
        )
    if len(plugins) > 1:
        yield warning(
            f"{len(plugins)} plugins: {', '.join(plugin.name for plugin in plugins)}",
            expected="one: vLLM stops if two of them find a device",
            cure="name the one to use in VLLM_PLUGINS",
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
        except (OSError, ValueError) as error:
            problems.append(failed(str(error), where=distribution.name, cure=again))
            continue
        for entry in entries:
            if entry.group != GROUP:
                continue
            if _is_there(context, entry.module):
                plugins.append(entry)
            else:
                found = f"registers {entry.value}, which is not installed"
                problems.append(failed(found, where=distribution.name, cure=again))
    return plugins, problems


def _is_there(context: Context, module: str) -> bool:
    """Whether the package of a module lies in site-packages, or is one that an editor installed."""
    top = module.partition(".")[0]
    places = [context.site_packages / top, *context.site_packages.glob(f"{top}.*")]
    editable = any(context.site_packages.glob("__editable__*"))
    return editable or any(place.exists() for place in places)


def _is_empty(context: Context) -> bool:
    vllm = context.installed("vllm")
    device = context.parameter("vllm", "device")
    return device == "empty" or (vllm is not None and "+empty" in vllm.version)


def _gap(gap: cann.Gap) -> Finding:
    more = len(gap.libraries) - SHOWN
    missing = ", ".join(gap.libraries[:SHOWN]) + (f" and {more} more" if more > 0 else "")
    missing += " not found"
    if gap.variables:
        missing += f"; {', '.join(gap.variables)} not set"
    if gap.part is cann.DRIVER:
        cure = "install Ascend's driver (HDK), and put its lib64/driver on LD_LIBRARY_PATH"
    elif gap.script:
        cure = f"source {gap.script}"
    else:
        cure = f"install {gap.part.name}, then source its {gap.part.script}"
    state = "is installed but not sourced" if gap.script else "is not installed"
    return failed(f"the {gap.part.name} {state}: {missing}", cure=cure)
