from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from verification.environments import Sample
from verification.test_command import report, run
from vllm_nix.errors import InputError
from vllm_nix.verification import Finding, Report, Result, Status
from vllm_nix.verification.report import to_junit, write_junit


def test_one_test_case_for_each_check(tmp_path: Path) -> None:
    write_junit(report(), tmp_path / "report.xml")
    suites = ET.parse(tmp_path / "report.xml").getroot()
    (suite,) = suites
    numbers = {"tests": "4", "failures": "1", "errors": "0", "skipped": "1", "time": "3.000"}
    assert suites.attrib == numbers
    assert suite.attrib == {"name": "/environment", **numbers}
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == ["good", "left", "bad", "so-so"]
    failure = cases["bad"].find("failure")
    assert failure is not None
    assert failure.get("message") == "file: [b]fault 0 (expected none)"
    assert (failure.text or "").count("fix: fix it") == 9, "all of them, unlike the table"
    skipped = cases["left"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "no reason"
    assert [child.tag for child in cases["so-so"]] == ["system-out"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.xml"]


def test_any_text_is_valid_xml() -> None:
    text = "<&\"'> \x00\x1b[31m \ud800 \ufffe ]]> \N{PILE OF POO}"
    finding = Finding(Status.FAILED, text, fix="none")
    hostile = Report(Path("/e\x01"), None, False, True, (Result("x", "X", (finding,), 0),), 0)
    data = ET.tostring(to_junit(hostile), encoding="utf-8")
    failure = ET.fromstring(data).find("testsuite/testcase/failure")
    assert failure is not None
    assert str(failure.text).startswith("<&\"'> ")
    assert "]]> \N{PILE OF POO}" in str(failure.text)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone/report\.xml: No such file or directory"):
        write_junit(report(), tmp_path / "gone" / "report.xml")


def test_command(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sample.site / "numpy" / "__init__.py").unlink()
    file = tmp_path / "report.xml"
    assert run(str(sample.root), "--junit", str(file), "--only", "record", "wheel-set") == 1
    assert ET.parse(file).getroot().get("failures") == "1"
    assert "failed   record" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("/", "this is a folder; give a file"),
        ("", "this is a folder; give a file"),
        ("gone/report.xml", "there is no folder gone"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    sample: Sample, capsys: pytest.CaptureFixture[str], file: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        run(str(sample.root), "--junit", file, "--only", "record")
    assert capsys.readouterr().out == ""
