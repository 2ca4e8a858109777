"""The tool that made an environment, and what a fix is in its words. Not every environment has a pip: the
one on PATH is then another's, and changes that."""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vllm_nix.binaries.files import open_regular
from vllm_nix.text import quoted
from vllm_nix.verification.environment import Environment, Manifest
from vllm_nix.verification.installed import Distribution, is_version

AGAIN = "make the environment again"
FORCED = "--force-reinstall"
_PIP = re.compile(r"\bpip (install|uninstall|check)\b")
_WHOLE = re.compile(r"\binstall ([a-z0-9][a-z0-9-]*) again\b")
_LARGEST = 1 << 16  # bytes of a pyvenv.cfg, which has 300


@dataclass(frozen=True, slots=True)
class Maker:
    """How pip's commands are given, with {} for install, uninstall or check; what has it install again what
    is there; and the command that makes the environment again, if there is one."""

    pip: str = "pip {}"
    forced: str = FORCED
    again: str = ""


def maker(root: Path) -> Maker:
    """By what pipx, `uv tool` and uv leave in the environment; Poetry, PDM and hatch leave no pip there."""
    where, name = quoted(str(root)), quoted(root.name)
    is_uvs = _is_uvs(root)
    # uv's files are hard links into its cache: what was changed here was changed there.
    forced = f"{FORCED} --no-cache" if is_uvs else FORCED
    if (root / "pipx_metadata.json").exists():
        return Maker(f"pipx runpip {name} {{}}", forced, f"pipx reinstall {name}")
    uv = Maker(f"uv pip {{}} -p {where}", forced)
    if (root / "uv-receipt.toml").exists():
        return replace(uv, again=f"uv tool install --reinstall {name}")
    if any((root / "bin" / name).exists() for name in ("pip", "pip3")):
        return Maker()
    return uv if is_uvs else Maker(f"pip --python {where} {{}}")


def _is_uvs(root: Path) -> bool:
    with suppress(OSError), open_regular(root / "pyvenv.cfg") as stream:
        return re.search(rb"^uv = ", stream.read(_LARGEST), re.MULTILINE) is not None
    return False


def speller(
    environment: Environment, manifest: Manifest | None, distributions: Iterable[Distribution]
) -> Callable[[str], str]:
    """What makes of a fix the commands that do it here; not in Nix's own."""
    if manifest:
        return lambda fix: fix
    root = environment.root
    # A folder of packages alone: without --upgrade, pip leaves there what is there.
    bare = Maker(forced=f"--upgrade --target {quoted(str(root))}")
    made = bare if environment.is_bare else maker(root)
    known = {
        one.name: one for one in distributions if not (one.manager or one.editable or one.problem)
    }

    def whole(found: re.Match[str]) -> str:
        """Its command: without a force, pip and its like say that it is there."""
        one = known.get(found[1])
        if one is None or not is_version(one.version):
            return found[0]
        label = ", from where it came" if "+" in one.version else ""
        command = f"pip install {FORCED} --no-deps {one.name}=={one.version}{label}"
        return f"{found[0]} ({command})"

    def spelled(fix: str) -> str:
        fix = _WHOLE.sub(whole, fix).replace(FORCED, made.forced)
        fix = _PIP.sub(lambda found: made.pip.replace("{}", found[1]), fix)
        return fix.replace(AGAIN, f"{AGAIN} ({made.again})") if made.again else fix

    return spelled
