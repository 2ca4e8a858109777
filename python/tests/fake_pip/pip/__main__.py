"""A pip that "downloads" from $FAKE_PIP_WHEELS as slowly or wrongly as a test needs.

A wheel called `slow` is written by half, and never finished; one called `lie` has other bytes.
"""

import os
import shutil
import sys
import time
from pathlib import Path

wheels = Path(os.environ["FAKE_PIP_WHEELS"])
arguments = sys.argv[1:]
folder = Path(arguments[arguments.index("--dest") + 1])
for line in Path(arguments[arguments.index("--requirement") + 1]).read_text().splitlines():
    name, _, version = line.split()[0].partition("==")
    (wheel,) = wheels.glob(f"{name}-{version}-*.whl")
    if name == "slow":
        content = wheel.read_bytes()
        (folder / wheel.name).write_bytes(content[: len(content) // 2])
        (wheels / "slow.pid").write_text(str(os.getpid()))
        time.sleep(600)
    shutil.copy(wheel, folder)
    if name == "lie":
        (folder / wheel.name).write_bytes(b"not what was asked for")
