import os
import sys
import time
from pathlib import Path

import pytest

from vllm_nix.process import Outcome, run


def python(tmp_path: Path, code: str, limit: float = 10) -> Outcome:
    command = [sys.executable, "-c", f"import os, sys, time\n{code}", "{answers}"]
    return run(command, folder=tmp_path, environment={"PATH": os.defpath}, limit=limit)


def gone(pid: int) -> bool:
    """Whether a process has ended, waiting a little for whoever inherits it."""
    for _ in range(100):
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


ANSWER = "os.write(int(sys.argv[1]), b'{\"n\": %s}\\n')"


def test_answers_and_output(tmp_path: Path) -> None:
    outcome = python(tmp_path, f"{ANSWER % 1}; {ANSWER % 2}; print('out'); sys.exit('err')")
    assert outcome.answers == ({"n": 1}, {"n": 2})
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")
    assert (outcome.status, outcome.end) == (1, "exit status 1")
    assert outcome.last_words() == "err"


def test_a_good_end_has_no_words(tmp_path: Path) -> None:
    assert python(tmp_path, "").end == ""


def test_crash(tmp_path: Path) -> None:
    assert python(tmp_path, "os.abort()").end == "killed by SIGABRT"


def test_last_words_are_the_message(tmp_path: Path) -> None:
    outcome = python(tmp_path, "print('log', file=sys.stderr); raise ValueError('one\\ntwo')")
    assert outcome.last_words() == "ValueError: one\ntwo"


def test_half_an_answer_is_none(tmp_path: Path) -> None:
    code = 'os.write(int(sys.argv[1]), b\'[1]\\n{"n": 1}\\n{"n": \')'
    assert python(tmp_path, code).answers == ({"n": 1},)


def test_limit_kills_the_whole_group(tmp_path: Path) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    started = time.monotonic()
    outcome = python(tmp_path, f"{code}; time.sleep(600)", limit=0.5)
    assert outcome.end == "no answer within 0.5 s"
    assert time.monotonic() - started < 5
    assert gone(int(outcome.stdout))


def test_what_it_leaves_running_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    outcome = python(tmp_path, code)
    assert outcome.end == ""
    assert gone(int(outcome.stdout))


def test_each_answer_starts_the_limit_anew(tmp_path: Path) -> None:
    code = f"for i in range(4): time.sleep(0.5); {ANSWER % 1}"
    assert len(python(tmp_path, code, limit=1.5).answers) == 4


def test_output_is_bounded(tmp_path: Path) -> None:
    outcome = python(tmp_path, "print('x' * 50_000_000 + 'end')")
    assert len(outcome.stdout) <= 1 << 16
    assert outcome.stdout.endswith("end\n")


def test_a_flood_of_answers_is_stopped(tmp_path: Path) -> None:
    outcome = python(tmp_path, "while True: os.write(int(sys.argv[1]), b'{}' + b' ' * 50_000)")
    assert outcome.status is None


def test_works_in_its_folder_without_input(tmp_path: Path) -> None:
    outcome = python(tmp_path, "print(os.getcwd(), repr(sys.stdin.read()))")
    assert outcome.stdout == f"{tmp_path} ''\n"


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    with pytest.raises(FileNotFoundError):
        run([tmp_path / "none"], folder=tmp_path, environment={}, limit=1)
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before
