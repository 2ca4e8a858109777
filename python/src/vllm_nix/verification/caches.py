"""Where what is compiled on first use is kept: whether this user may write there, and load it from there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from vllm_nix.verification.check import Context


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of `user`, a library; `variable` names another one, and did if it `is_named`."""

    user: str
    variable: str
    folder: Path
    is_named: bool


def unfit(context: Context) -> Iterator[tuple[Cache, str]]:
    """The caches that cannot be used, and why."""
    for cache in _caches(context):
        if context.manifest and not cache.is_named:
            continue  # the launcher has a home that one may write to
        if problem := _problem(cache.folder):
            yield cache, problem


def _caches(context: Context) -> Iterator[Cache]:
    """As triton/knobs.py, torch/_inductor/runtime/cache_dir_utils.py, vllm/envs.py and
    flashinfer/jit/env.py choose them."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 -- as they do, for a user without one too
    with suppress(KeyError, OSError):  # a user without a name
        inductors = f"torchinductor_{getuser()}"
        yield _cache(
            "torch's inductor", "TORCHINDUCTOR_CACHE_DIR", Path(tempfile.gettempdir(), inductors)
        )
    if context.installed("vllm"):
        common = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
        yield _cache("vLLM", "VLLM_CACHE_ROOT", common / "vllm")
    if context.triton() and not context.is_for_cpu:
        own = Path(os.environ.get("TRITON_HOME") or home)
        yield _cache("Triton", "TRITON_CACHE_DIR", own / ".triton/cache")
    if context.installed("flashinfer-python"):
        yield _cache("FlashInfer", "FLASHINFER_WORKSPACE_BASE", home)


def _cache(user: str, variable: str, otherwise: Path) -> Cache:
    named = os.environ.get(variable)
    return Cache(user, variable, Path(named).absolute() if named else otherwise, bool(named))


def _problem(folder: Path) -> str:
    """Why a folder cannot be made or used; "" if it can. Nothing is written to find out."""
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    try:
        if not there.is_dir():
            return f"{there} is no folder"
        if not os.access(there, os.W_OK | os.X_OK):
            return f"this user may not write to {there}"
        if os.statvfs(there).f_flag & os.ST_NOEXEC:
            return f"{there} is mounted noexec, so that nothing can be loaded from it"
    except OSError as error:
        return f"{there}: {error.strerror}"
    return ""
