import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_nix.process import Outcome, run


def python(
    tmp_path: Path,
    code: str,
    limit: float | None = 10,
    total: float | None = None,
    whole: bool = False,
    memory: int = 0,
) -> Outcome:
    command = [sys.executable, "-c", f"import os, sys, time\n{code}", "{answers}"]
    return run(
        command,
        folder=tmp_path,
        environment={"PATH": os.defpath},
        limit=limit,
        total=total,
        whole=whole,
        memory=memory,
    )


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


def test_what_bash_says_of_the_locale_is_no_message() -> None:
    """As the launcher's does, on a base without the locale that LC_ALL names."""
    said = "/store/bin/bash: warning: setlocale: LC_ALL: cannot change locale (C.UTF-8)\n"
    assert Outcome(1, (), "", said).last_words() == ""
    assert Outcome(1, (), "", f"{said}no such file\n{said}").last_words() == "no such file"


def test_colours_are_not_kept(tmp_path: Path) -> None:
    outcome = python(tmp_path, "print('\\33[31;1merror:\\33[0m no'); sys.exit(1)")
    assert (outcome.stdout, outcome.last_words()) == ("error: no\n", "error: no")


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
    assert len(python(tmp_path, code, limit=1.5, total=20).answers) == 4


def test_but_not_the_total(tmp_path: Path) -> None:
    outcome = python(tmp_path, f"while True: time.sleep(0.1); {ANSWER % 1}", limit=5, total=1)
    assert outcome.end == "not done within 1 s"
    assert outcome.answers


@pytest.mark.parametrize("stream", [1, 2, "int(sys.argv[1])"])
def test_a_byte_now_and_then_is_no_answer(tmp_path: Path, stream: object) -> None:
    code = f"while True: time.sleep(0.1); os.write({stream}, b'\\n')"
    started = time.monotonic()
    assert python(tmp_path, code, limit=1, total=60).end == "no answer within 1 s"
    assert time.monotonic() - started < 5


def test_one_that_closes_its_output_goes_on(tmp_path: Path) -> None:
    code = f"for n in range(3): os.close(n)\ntime.sleep(0.5); {ANSWER % 1}; os._exit(3)"
    outcome = python(tmp_path, code)
    assert (outcome.status, outcome.answers) == (3, ({"n": 1},))


DAEMON = """
def daemon(code):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", "import os, time\\n" + code])
        os._exit(0)
daemon('open("daemon", "w").write(str(os.getpid())); os.rename("daemon", "pid"); time.sleep(600)')
while not os.path.exists("pid"):
    time.sleep(0.01)
"""


def test_a_daemon_does_not_outlive_the_run(tmp_path: Path) -> None:
    assert python(tmp_path, DAEMON).end == ""
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_daemon_does_not_outlive_the_limit(tmp_path: Path) -> None:
    assert python(tmp_path, DAEMON + "time.sleep(600)", limit=1).end == "no answer within 1 s"
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGINT", "SIGKILL"])
def test_nothing_outlives_us(tmp_path: Path, how: str) -> None:
    """Neither the program nor its daemon, a second after we were ended in whichever way."""
    program = "open('program', 'w').write(str(os.getpid()))" + DAEMON + "time.sleep(600)"
    ours = f"""
import os, sys, threading
from pathlib import Path
from vllm_nix.process import run
command = [sys.executable, "-c", "import os, sys, time\\n" + {program!r}]
environment = {{"PATH": os.defpath}}
worker = threading.Thread(target=lambda: run(command, folder=Path("."), environment=environment))
worker.daemon = True
worker.start()
worker.join()
"""
    # A test run in the background inherits that interrupts are ignored.
    command = ["env", "--default-signal=INT", "--default-signal=HUP", sys.executable, "-c", ours]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    for _ in range(1000):
        if (tmp_path / "pid").exists():
            break
        time.sleep(0.02)
    pids = [int((tmp_path / name).read_text()) for name in ("program", "pid")]
    child.send_signal(getattr(signal, how))
    child.wait(5)
    started = time.monotonic()
    assert all(map(gone, pids))
    assert time.monotonic() - started < 1


def test_a_supervisor_that_is_killed_takes_the_program_along(tmp_path: Path) -> None:
    code = "open('pid', 'w').write(str(os.getpid())); os.kill(os.getppid(), 9); time.sleep(600)"
    assert python(tmp_path, code).end == "its supervisor was killed"
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_supervisor_that_is_halted_does_not_help(tmp_path: Path) -> None:
    code = DAEMON + "os.kill(os.getppid(), 19); time.sleep(600)"
    started = time.monotonic()
    assert python(tmp_path, code, limit=1).end == "no answer within 1 s"
    assert time.monotonic() - started < 6
    assert gone(int((tmp_path / "pid").read_text()))


def test_shared_memory_goes_with_the_killed(tmp_path: Path) -> None:
    """Of which vLLM has much: it would stay in the machine's memory."""
    code = """if True:
        from multiprocessing.shared_memory import SharedMemory
        memory = SharedMemory(create=True, size=1000)
        open("name", "w").write(memory.name)
        time.sleep(100)"""
    assert python(tmp_path, code, limit=3).stopped
    assert not (Path("/dev/shm") / (tmp_path / "name").read_text()).exists()


def test_processes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_nix.process._PROCESSES", 20)
    code = "for n in range(50): os.fork() or time.sleep(600)\ntime.sleep(600)"
    assert python(tmp_path, code, limit=60).end == "51 processes at a time"


MEBIBYTE = 1 << 20
HOARD = "kept = []\nwhile len(kept) < {most}: kept.append(b'x' * (1 << 20)); time.sleep(0.002)\n"


@pytest.mark.parametrize("where", ["", "os.fork()\n", "os.fork() or os.setsid()\nos.fork()\n"])
def test_memory_is_bounded(tmp_path: Path, where: str) -> None:
    code = where + HOARD.format(most=2000) + "time.sleep(600)"
    started = time.monotonic()
    outcome = python(tmp_path, code, limit=60, memory=256 * MEBIBYTE)
    assert outcome.end == "more than 0.2 GiB of memory"
    assert time.monotonic() - started < 20


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the stack ends first")
def test_a_recursion_without_end_is_bounded(tmp_path: Path) -> None:
    code = "sys.setrecursionlimit(1 << 30)\ndef again(kept): return again([kept, b'x' * 10_000]) or 1\nagain(0)"
    assert python(tmp_path, code, limit=60, memory=256 * MEBIBYTE).end == (
        "more than 0.2 GiB of memory"
    )


@pytest.mark.parametrize("where", ["memfd", "/dev/shm"])
def test_files_in_memory_are_counted(tmp_path: Path, where: str) -> None:
    """Though no process maps them, nor has the second kind open."""
    code = f"""if True:
        for n in range(500):
            if {where!r} == "memfd": file = os.memfd_create("x") if not n else file
            else: file = os.open(f"{where}/vllm-nix-{{os.getpid()}}-{{n}}", os.O_CREAT | os.O_WRONLY)
            os.write(file, bytes(1 << 20))
            if {where!r} != "memfd": os.close(file)
        time.sleep(600)"""
    try:
        outcome = python(tmp_path, code, limit=60, memory=256 * MEBIBYTE)
        assert outcome.end == "more than 0.2 GiB of memory"
    finally:
        for left in Path("/dev/shm").glob("vllm-nix-*-*"):
            left.unlink()


def test_memory_that_is_shared_reserved_or_a_file_is_not_counted_again(tmp_path: Path) -> None:
    """As of CUDA, which reserves what no machine has, of workers that share, and of mapped weights."""
    code = f"""if True:
        import mmap
        size = 200 << 20
        reserved = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | 0x4000)  # MAP_NORESERVE
        with open("weights", "wb") as file: file.write(bytes(size))
        with open("weights", "rb") as file: weights = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        shared, own = mmap.mmap(-1, size), bytearray(b"x") * size
        shared[:] = b"x" * size
        for _ in range(2): os.fork()
        assert not any(weights[::4096]) and own[-1] == shared[-1]
        time.sleep(1)
        {ANSWER % 1}"""
    outcome = python(tmp_path, code, limit=60, memory=800 * MEBIBYTE)
    assert (outcome.end, outcome.answers[:1]) == ("", ({"n": 1},))


def test_the_kernel_takes_what_is_bounded_first(tmp_path: Path) -> None:
    code = "print(open('/proc/self/oom_score_adj').read())"
    assert python(tmp_path, code, memory=MEBIBYTE * 1000).stdout.split() == ["1000"]


def test_a_program_is_stopped_from_another_thread(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    sleep = ["sleep", "600"]
    assert run(sleep, environment={"PATH": os.defpath}, stop=stop).end == "stopped"
    assert run(sleep, environment={"PATH": os.defpath}, stop=stop).end == "stopped"


def test_signals_work_as_always_in_a_program(tmp_path: Path) -> None:
    code = "import signal; signals = ('INT', 'TERM', 'HUP', 'PIPE', 'CHLD')\n"
    code += "print([name for name in signals if signal.getsignal(getattr(signal, 'SIG' + name)) == signal.SIG_IGN])"
    assert python(tmp_path, code).stdout == "['PIPE']\n"  # Python's own doing


def test_no_descriptor_of_ours_reaches_a_program(tmp_path: Path) -> None:
    code = "print(sys.argv[1], os.open('.', os.O_RDONLY), *os.listdir('/proc/self/fd'))"
    answers, opened, *listed = map(int, python(tmp_path, code).stdout.split())
    reading = {3, 4, 5} - {answers, opened}  # what the listing itself is read from
    assert set(listed) - reading == {0, 1, 2, answers, opened}


def test_output_as_a_whole(tmp_path: Path) -> None:
    assert len(python(tmp_path, "print('x' * 5_000_000)", whole=True).stdout) == 5_000_001


def test_a_flood_of_output_is_stopped(tmp_path: Path) -> None:
    code = "while True: os.write(1, b'x' * 65536)"
    outcome = python(tmp_path, code, limit=60)
    assert outcome.end == "more than 64 MiB of output"
    assert len(outcome.stdout) == 1 << 16
    outcome = python(tmp_path, code, limit=60, whole=True)
    assert outcome.end == "more than 16 MiB of output"
    assert len(outcome.stdout) == 1 << 24


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
    with pytest.raises(PermissionError):
        run([tmp_path], folder=tmp_path, environment={}, limit=1)
    with pytest.raises(FileNotFoundError):
        run(["true"], folder=tmp_path / "none", environment={}, limit=1)
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before


ACTIONS = [  # of programs
    "os.write(1, b'x' * 100_000)",
    "os.write(2, bytes(range(256)))",
    "os.write(answers, b'{\"n\": 1}\\n')",
    "os.write(answers, b'[1]\\n{\"half\": ')",
    "os.write(answers, b'[' * 10_000 + b'\\n')",
    "os.close(1)",
    "os.close(answers)",
    "os.fork()",
    "os.setsid()",
    "os.fork() or (os.setsid(), time.sleep(600))",
    "os.kill(os.getppid(), 15)",
    "os.kill(0, 15)",
    "os.kill(os.getpid(), 11)",
    "os._exit(7)",
]


@settings(max_examples=15)
@given(st.lists(st.sampled_from(ACTIONS), max_size=6))
def test_whatever_a_program_does(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    mark = f"mark-{folder}"
    steps = "".join(f"try: {action}\nexcept OSError: pass\n" for action in actions)
    code = f"answers = int(sys.argv[1]); '{mark}'\n{steps}"
    started = time.monotonic()
    outcome = python(folder, code, limit=60)
    assert time.monotonic() - started < 30
    assert all(answer == {"n": 1} for answer in outcome.answers)
    assert outcome.status is not None
    left = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in process.read_bytes():
                left.append(process)
        except OSError:
            pass
    assert left == []
