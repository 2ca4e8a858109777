"""Writes an alias wheel: alias.py NAME VERSION REQUIREMENT FILE."""

import base64
import hashlib
import sys
import zipfile

name, version, requirement, path = sys.argv[1:]
folder = f"{name}-{version}.dist-info"
files = {
    "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requirement}\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: vllm-nix\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
rows = []
for file, text in files.items():
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
    rows.append(f"{folder}/{file},sha256={digest.decode()},{len(text.encode())}\n")
files["RECORD"] = "".join(rows) + f"{folder}/RECORD,,\n"
with zipfile.ZipFile(path, "w") as archive:
    for file, text in files.items():
        archive.writestr(zipfile.ZipInfo(f"{folder}/{file}"), text)  # of 1980: no clock in it
