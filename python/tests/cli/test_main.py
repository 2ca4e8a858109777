"""What holds for every command: its streams, its signals, its error line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vllm_nix

OURS = [sys.executable, "-m", "vllm_nix"]
# A Python that hangs, and has started a daemon.
HANGS = f"""#!{sys.executable}
import os, sys, time
from pathlib import Path
here = Path(__file__).parent
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        (here / "daemon").write_text(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
while not (here / "daemon").exists():
    time.sleep(0.01)
(here / "part").write_text(str(os.getpid()))
(here / "part").rename(here / "python-pid")
time.sleep(600)
"""


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    """An environment whose Python never answers."""
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/lib/python3.11/site-packages").mkdir(parents=True)
    (tmp_path / "env/bin/python").write_text(HANGS)
    (tmp_path / "env/bin/python").chmod(0o755)
    return tmp_path / "env"


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGINT", "SIGKILL"])
def test_a_signal_ends_the_command_and_all_that_it_started(
    hanging: Path, tmp_path: Path, how: str
) -> None:
    (tmp_path / "tmp").mkdir()
    # A test run in the background inherits that interrupts are ignored.
    command = ["env", "--default-signal", *OURS, "verify", str(hanging)]
    ours = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(hanging / "bin/python-pid")
    pids = [int((hanging / "bin" / name).read_text()) for name in ("python-pid", "daemon")]
    number = getattr(signal, how)
    started = time.monotonic()
    ours.send_signal(number)
    output, errors = ours.communicate(timeout=10)
    while any(map(is_alive, pids)) and time.monotonic() < started + 5:
        time.sleep(0.02)
    assert time.monotonic() - started < 1
    assert (output, errors) == ("", "")
    if how == "SIGKILL":
        assert ours.returncode == -number
    else:
        assert ours.returncode == 128 + number
        assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_nor_does_it_help_to_end_what_watches_it(hanging: Path, how: str) -> None:
    program = HANGS.replace(
        '(here / "part")', f'os.kill(os.getppid(), {getattr(signal, how)})\n(here / "part")', 1
    )
    (hanging / "bin/python").write_text(program)
    command = [*OURS, "verify", str(hanging), "--only", "interpreter", "--timeout", "2"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 3
    said = {"SIGKILL": "its supervisor was killed", "SIGSTOP": "no answer within 2 s"}
    assert said[how] in result.stdout
    assert not is_alive(int((hanging / "bin/daemon").read_text()))


def test_a_daemon_of_an_environment_ends_with_its_time(hanging: Path) -> None:
    command = [*OURS, "verify", str(hanging), "--only", "interpreter", "--timeout", "1"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 3
    assert "no answer within 1 s" in result.stdout
    assert not is_alive(int((hanging / "bin/daemon").read_text()))


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    command = f'exec "$@" {closed}'
    verify = [*OURS, "verify", sys.prefix, "--only", "interpreter", "--json"]
    result = subprocess.run(
        ["bash", "-c", command, "bash", *verify], check=False, capture_output=True, text=True
    )
    assert (result.returncode, json.loads(result.stdout)["exit_code"]) == (0, 0)


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_letters_that_the_locale_lacks(tmp_path: Path, locale: dict[str, str]) -> None:
    variables = {**os.environ, "PYTHONCOERCECLOCALE": "0", **locale}
    named = tmp_path / "é\u202e\x1b[31m"
    result = subprocess.run(
        [*OURS, "verify", os.fspath(named)],
        check=False,
        capture_output=True,
        text=True,
        env=variables,
    )
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"vllm-nix: {tmp_path}/")
    assert r"\x1b[31m" in result.stderr
    assert result.stderr.isascii()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["verify", "nowhere"], 2),
        (["verify", sys.prefix, "--only", "elf", "--html", "/dev/full"], 2),
        (["archs", "nowhere"], 2),
        (["archs", sys.executable, "--html", "/dev/full"], 2),
        (["slim", "nowhere", "--for", "8.6"], 2),
        (["serve", "cpu", "chats"], 2),
        (["fetch", "cpu", "--jobs", "0"], 2),
    ],
)
def test_json_says_what_the_exit_status_says(words: list[str], code: int) -> None:
    done = subprocess.run([*OURS, *words, "--json"], capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exit_code"]) == (code, code)
    assert done.stderr == f"vllm-nix: {answer['error']}\n"


def test_modules_of_another_python(tmp_path: Path) -> None:
    """PYTHONHOME, PYTHONPATH, as a cluster's modules or ROS set them: one line."""
    (tmp_path / "tomllib.py").write_text("import gone_from_here\n")
    (tmp_path / "tomli.py").write_text("import gone_from_here\n")
    ours = Path(vllm_nix.__file__).parents[1]  # which PYTHONPATH may be all that leads to
    variables = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ours}"}
    command = [*OURS, "verify", sys.prefix, "--only", "interpreter", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    said = "No module named 'gone_from_here'; unset PYTHONPATH, which another Python's modules come from"
    assert done.stderr == f"vllm-nix: {said}\n"
    assert (done.returncode, json.loads(done.stdout)["error"]) == (3, said)


@pytest.mark.parametrize("words", [["verify", "--timeout", "0"], ["archs", "--nope"], ["archs"]])
def test_json_after_a_command_line_that_is_none(words: list[str]) -> None:
    done = subprocess.run([*OURS, *words, "--json"], capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["exit_code"]) == (2, 2)
    assert done.stderr.endswith(f"error: {answer['error']}\n")


def test_json_after_an_interruption(hanging: Path) -> None:
    command = [*OURS, "verify", str(hanging), "--only", "interpreter", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        wait_for(hanging / "bin/daemon")
        process.terminate()
        assert process.stdout
        shown = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert shown == ""


@pytest.mark.skipif(not shutil.which("nix-store"), reason="Nix is not installed")
def test_an_interruption_of_the_answer() -> None:
    """Half of it may be out; the rest would say that all went well."""
    command = [*OURS, "fetch", "cpu", "cuda", "--list", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        first = process.stdout.read(1)  # the rest does not fit into a pipe
        process.terminate()
        time.sleep(0.2)
        shown = first + process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        json.loads(shown)


ODD = """
import os, signal, sys
import vllm_nix
import vllm_nix
from vllm_nix import cli
def run(args):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000): pass
    except KeyboardInterrupt:
        raise SyntaxError("of what reads modules") from None
from vllm_nix.cli import targets
targets.run = run
sys.argv = ["vllm-nix", "targets", "--json"]
cli.main()
"""


def test_an_exception_in_a_signals_place() -> None:
    done = subprocess.run([sys.executable, "-c", ODD], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")


def test_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    verify = [*OURS, "verify", sys.prefix, "--files-only", "--only", "placeholders"]
    command = [*verify, "--html", str(tmp_path / "pipe")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    said = f"vllm-nix: --html {tmp_path}/pipe: nobody reads this pipe\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        assert reader.stdout
        assert reader.stdout.read().startswith("<!doctype html>")


@pytest.mark.parametrize("words", [["targets", "--all"], ["params", "cuda"], ["serve", "cuda"]])
def test_a_table_fits_a_terminal(words: list[str]) -> None:
    """For another program each row is a line."""
    shown = {}
    for columns in ("", "40", "100"):
        variables = {**os.environ, "COLUMNS": columns}
        shown[columns] = subprocess.run(
            [*OURS, *words], capture_output=True, text=True, check=True, env=variables
        ).stdout
    assert max(map(len, shown["100"].splitlines())) <= 100
    assert len(shown["40"].splitlines()) > len(shown[""].splitlines())
    assert len({"".join(text.split()) for text in shown.values()}) == 1


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["slim", "--help"], ["targets"]])
def test_a_full_disk_is_no_success(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*OURS, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (3, "vllm-nix: No space left on device\n")


@pytest.mark.parametrize(
    "words",
    [
        ["targets", "\x1b[31mX"],
        ["verify", "--timeout", "\x1b[31mX"],
        ["serve", "cpu", "chat", "--model", "\x1b[31mX"],
        ["serve", "cpu", "chat", "--", "\x1b[31mX"],
    ],
)
def test_words_of_others_are_escaped(words: list[str]) -> None:
    """They may have been pasted."""
    done = subprocess.run([*OURS, *words], capture_output=True, text=True, check=False)
    shown = done.stdout + done.stderr
    assert shown.replace("\n", "").isprintable()
    assert "[31mX" in shown


def test_an_error_is_printed_on_one_line(tmp_path: Path) -> None:
    command = [*OURS, "verify", str(tmp_path / "a\nok       record \x1b[2J")]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.stderr.startswith(rf"vllm-nix: {tmp_path}/a\nok       record \x1b[2J is ")
    assert len(result.stderr.splitlines()) == 1


def test_a_file_mode_mask_does_not_take_our_own_rights() -> None:
    command = 'umask 777; exec "$@"'
    verify = [*OURS, "verify", sys.prefix, "--only", "interpreter"]
    unprivileged = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    reachable = [*unprivileged, "test", "-x", sys.executable]
    if subprocess.run(reachable, check=False, capture_output=True).returncode:
        unprivileged = []  # as root, for whom masks mean less
    result = subprocess.run(
        [*unprivileged, "bash", "-c", command, "bash", *verify],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout.split()[:2]) == (0, ["ok", "interpreter"])


def wait_for(file: Path) -> None:
    end = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < end, f"no {file} within 30 s"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("words", [("archs", "."), ("verify", "."), ("lock", "cpu", "--check")])
def test_a_working_directory_that_is_no_more(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "gone").mkdir()
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    command = ["sh", "-c", script, str(tmp_path / "gone"), *OURS, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == "vllm-nix: the current folder is gone; cd to one that is there\n"
    assert done.returncode == 3


def test_no_folder_takes_temporary_files(tmp_path: Path) -> None:
    """As with a limit of 0 on files, or where all is mounted read-only."""
    (tmp_path / "a-1.dist-info").mkdir()
    script = 'ulimit -f 0; exec "$@"'
    command = ["sh", "-c", script, "sh", *OURS, "verify", str(tmp_path), "--only", "elf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("vllm-nix: No usable temporary directory found in [")
    assert done.stderr.endswith("; name a folder that takes files in TMPDIR\n")
    assert done.returncode == 3
