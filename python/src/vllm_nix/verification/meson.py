"""What meson-python installed as editable: files of a source and of a build folder, one by one.

Its loader, a file of site-packages, has the names of the modules and the build's folder, and Meson's plan of the
installation there says which file goes where. Neither is run: importing such a package builds it.
(meson-python, Editable installs; Meson, IDE integration, install plan)
"""

import ast
import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.utils import canonicalize_name

from vllm_nix.binaries.files import open_regular
from vllm_nix.verification.installed import Distribution

_LOADER = "_editable_loader.py"
_PLAN = "meson-info/intro-install_plan.json"
_SITE = ("{py_platlib}", "{py_purelib}")
# Far above real ones: a loader has 16 kB, NumPy's plan 0.4 MB.
_MOST_LOADER, _MOST_PLAN, _MOST_FILES = 1 << 18, 1 << 26, 100_000


def planned_files(distribution: Distribution) -> Mapping[str, Path]:
    """Its files by their paths from site-packages on; empty if meson-python did not install it, or what it wrote
    cannot be read."""
    try:
        loader = next(
            file
            for file in sorted(distribution.place.glob(f"_*{_LOADER}"))
            if canonicalize_name(file.name[1:].removesuffix(_LOADER)) == distribution.name
        )
        modules, folder = _told(_read(loader, _MOST_LOADER))
        plan = json.loads(_read(Path(folder, _PLAN), _MOST_PLAN))
        found: dict[str, Path] = {}
        for path, place in islice(_files(plan), _MOST_FILES):
            if path and path.partition("/")[0].partition(".")[0] in modules:
                found[path] = place
        return found
    except (
        OSError,
        StopIteration,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        SyntaxError,
    ):
        return {}
    except (RecursionError, MemoryError):  # as of thousands of brackets
        return {}


def _told(loader: str) -> tuple[set[str], str]:
    """The modules and the build's folder, which the loader gives to its finder: a set, then a path."""
    for call in ast.walk(ast.parse(loader)):
        if isinstance(call, ast.Call):
            for names, folder in zip(call.args, call.args[1:], strict=False):
                if isinstance(names, ast.Set) and isinstance(folder, ast.Constant):
                    return set(ast.literal_eval(names)), _absolute(folder.value)
    raise LookupError("no set of modules")


def _files(plan: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Path]]:
    """Of all that goes below site-packages, the path there and the file; without a path, what was looked at beside."""
    for kind, targets in plan.items():
        for source, target in targets.items():
            first, *rest = PurePosixPath(target["destination"]).parts
            if first not in _SITE or ".." in rest or not rest:
                continue
            path, place = "/".join(rest), Path(_absolute(source))
            if kind == "install_subdirs" or (kind == "targets" and place.is_dir()):
                for below in _below(place, target):
                    yield below and f"{path}/{below}", place / below
            else:
                yield path, place


def _below(folder: Path, target: Mapping[str, Any]) -> Iterator[str]:
    """The files of a folder that is installed whole; "" for those that are named, and for each folder."""
    without = {os.path.normpath(one) for one in target.get("exclude_files", [])}
    folders_without = {os.path.normpath(one) for one in target.get("exclude_dirs", [])}
    for place, folders, files in os.walk(folder):
        here = os.path.relpath(place, folder)
        folders[:] = sorted(
            one for one in folders if os.path.normpath(f"{here}/{one}") not in folders_without
        )
        yield ""
        names = (os.path.normpath(f"{here}/{one}") for one in sorted(files))
        yield from ("" if name in without else name for name in names)


def _read(file: Path, most: int) -> str:
    with open_regular(file) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most} bytes")
    return data.decode("utf-8")


def _absolute(path: object) -> str:
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise ValueError(f"{path!r} is not an absolute path")
    return os.path.normpath(path)
