"""Whether a vendor's wheel gets what it requires: check_requirements.py WHEEL FILE ROWS TARGET.

The locks were resolved by what is publicly known of its metadata; here is its own. The variable
`PACKAGES` has the `versions` of the others, and as `settled` what the target excludes or overrides.
"""

import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def main() -> None:
    wheel, file, rows, target = sys.argv[1:]
    packages = json.loads(os.environ["PACKAGES"])
    settled = {name_of(requirement) for requirement in packages["settled"]}
    if missing := list(unmet(Path(wheel), packages["versions"], settled)):
        sys.exit(
            f"{file} requires {', '.join(missing)}: correct its `requires` in {rows},"
            f" and lock {target} again"
        )


def unmet(wheel: Path, versions: dict[str, str], settled: set[str]) -> Iterator[str]:
    """What the others are not, in the wheel's own words."""
    with zipfile.ZipFile(wheel) as archive:
        [member] = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(member).decode())
    for text in metadata.get_all("Requires-Dist", []):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # "libneuronxla (<3.0,>2.0.x)"
            requirement = Requirement(name_of(text))
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        if name in settled:
            continue
        version = versions.get(name)
        if not version:
            yield f"{text}, which is not there"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{text}, not {version}"


def name_of(requirement: str) -> str:
    return canonicalize_name(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])


if __name__ == "__main__":
    main()
