"""Writes a wheel of nothing but metadata: metadata_wheel.py FILE NAME VERSION [REQUIREMENT...]."""

import sys
import zipfile

file, name, version, *requires = sys.argv[1:]
info = f"{name.replace('-', '_')}-{version}.dist-info"
texts = {
    "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    + "".join(f"Requires-Dist: {each}\n" for each in requires),
    "WHEEL": "Wheel-Version: 1.0\nGenerator: vllm-nix\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
texts["RECORD"] = "".join(f"{info}/{each},,\n" for each in [*texts, "RECORD"])
with zipfile.ZipFile(file, "w") as archive:
    for each, text in texts.items():
        archive.writestr(zipfile.ZipInfo(f"{info}/{each}"), text)  # of 1980: no clock in it
