"""A report as JUnit XML, as CI systems read it: one test case per check.

The format has no schema of its own; these are the elements and attributes that the common readers
share. A warning is a test that passed, with its text as output.
"""

import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from vllm_nix.errors import InputError
from vllm_nix.verification.render import lines
from vllm_nix.verification.report import Report, Status

# What XML 1.0 has no way to write (section 2.2).
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(report: Report, file: Path) -> None:
    """Writes the whole report, or nothing. Raises `InputError` if the file cannot be written."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        ET.ElementTree(to_junit(report)).write(part, encoding="utf-8", xml_declaration=True)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"--junit {file}: {error.strerror}") from None


def to_junit(report: Report) -> ET.Element:
    """The element `testsuites`, with one suite."""
    statuses = [result.status for result in report.results]
    numbers = {
        "tests": str(len(statuses)),
        "failures": str(statuses.count(Status.FAILED)),
        "errors": "0",
        "skipped": str(statuses.count(Status.SKIPPED)),
        "time": f"{report.seconds:.3f}",
    }
    suites = ET.Element("testsuites", numbers)
    suite = ET.SubElement(suites, "testsuite", {"name": _text(str(report.environment)), **numbers})
    for result in report.results:
        name = {"classname": "vllm-nix.verify", "name": result.id}
        case = ET.SubElement(suite, "testcase", {**name, "time": f"{result.seconds:.3f}"})
        told = _text("\n".join(lines(result, shown=None)))
        if result.status is Status.FAILED:
            first = told.partition("\n")[0]
            ET.SubElement(case, "failure", {"message": first, "type": result.id}).text = told
        elif result.status is Status.SKIPPED:
            ET.SubElement(case, "skipped", {"message": told})
        else:
            ET.SubElement(case, "system-out").text = told
    return suites


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
