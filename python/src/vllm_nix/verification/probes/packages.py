"""Says where the modules of argv[2] lie, without importing them. Runs in the environment."""

from __future__ import annotations  # Python 3.8 runs it, as of vLLM 0.6

import importlib.util
import json
import os
import sys
from pathlib import Path


def places(name: str) -> list[str]:
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # noqa: BLE001 -- a finder of an editable install may do anything
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        # None is there if the finder keeps a package file by file, as meson-python's.
        found = [place for place in spec.submodule_search_locations if Path(place).is_dir()]
    elif spec.has_location and spec.origin:
        found = [spec.origin]
    else:
        return []
    return [str(Path(place).absolute()) for place in found if place]


def main() -> None:
    answer = {name: where for name in json.loads(sys.argv[2]) if (where := places(name))}
    os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
