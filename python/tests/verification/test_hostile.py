"""Environments made to take all time or memory, or to lead the checks elsewhere."""

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_binaries import Part, elf_file

from verification.environments import Sample, faults
from vllm_nix.errors import InputError, Unavailable
from vllm_nix.verification import Report, Status, installed, run, verify
from vllm_nix.verification.checks import recorded
from vllm_nix.verification.checks.requirements import MOST_CHARACTERS, MOST_REQUIREMENTS
from vllm_nix.verification.tiny_model import TinyModel

NEEDED, RUNPATH = 1, 29


def quickly(sample: Sample, *only: str) -> dict[str, str]:
    """The faults, found by looking at files for a few seconds; most take a tenth of one."""
    started = time.process_time()
    found = faults(verify(sample.root, only=only, files_only=True))
    assert time.process_time() - started < 8
    return found


def test_record_of_many_rows(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "MOST_ROWS", 50_000)
    sample.record("a,,\n" * 2_000_000)
    found = quickly(sample, "record", "ownership", "machine", "placeholders")
    said = "more than 50000 rows in all RECORDs: the rest is not read"
    assert found["record"].count(said) == 1, "and not once for each distribution"


def test_record_that_is_large(sample: Sample) -> None:
    with (sample.metadata("numpy", "2.3.5") / "RECORD").open("ab") as stream:
        os.truncate(stream.fileno(), 1 << 40)
    assert "RECORD is larger than 67108864 bytes" in quickly(sample, "record")["record"]


def test_a_file_with_a_hole(sample: Sample) -> None:
    (sample.site / "big.bin").touch()
    os.truncate(sample.site / "big.bin", 1 << 38)
    sample.record(f"big.bin,sha256=x,{1 << 38}")
    assert "1 file was not hashed" in quickly(sample, "record")["record"]


def test_recorded_files_behind_odd_links(sample: Sample) -> None:
    (sample.site / "loop").symlink_to("loop")
    (sample.site / "below").symlink_to("below/itself")
    (sample.site / "real").mkdir()
    (sample.site / "real/file").write_text("x")
    (sample.site / "folder").symlink_to("real")
    (sample.site / "chain").symlink_to("folder/file")
    deep = "d/" * 1500
    for row in ("loop/x", "below/x", "folder/file", "chain", f"{deep}x", "gone/x", "real/file/x"):
        sample.record(f"{row},,1")
    found = quickly(sample, "record")["record"]
    assert "folder/file: " not in found
    assert "chain: " not in found
    for name in ("loop/x", "below/x"):
        assert f"{name}: Too many levels of symbolic links" in found
    assert f"{deep}x: missing" in found
    assert "gone/x: missing" in found
    assert "real/file/x: Not a directory" in found


def test_gpu_code_in_a_hole(gpu_sample: Sample) -> None:
    os.truncate(gpu_sample.site / "vllm/_C.abi3.so", 1 << 38)
    started = time.process_time()
    found = faults(verify(gpu_sample.root, device="orin", only=["gpu-code"], files_only=True))
    assert time.process_time() - started < 8
    assert f"vllm/_C.abi3.so: its GPU code cannot be read: {1 << 38} bytes" in found["gpu-code"]


def test_many_requirements(sample: Sample) -> None:
    several = tuple(f"package-{index}>={index}" for index in range(30_000))
    sample.install("greedy", "1", requires=several)
    started = time.process_time()
    found = faults(verify(sample.root, only=["requirements"]))["requirements"]
    assert time.process_time() - started < 8
    assert f"30000 requirements (expected at most {MOST_REQUIREMENTS}" in found


def test_many_and_long_requirements_in_all(sample: Sample) -> None:
    """Each within what one distribution may have; and evaluated for many extras."""
    names = [f"extra{index}" for index in range(2_000)]
    marker = " or ".join(f'extra == "{name}"' for name in names[:200])
    sample.install("asking", "1", requires=(f"greedy0[{','.join(names)}]",))
    for index in range(3):
        several = tuple(f"package-{index}-{number}; {marker}" for number in range(100))
        sample.install(f"greedy{index}", "1", requires=several)
    started = time.process_time()
    found = faults(verify(sample.root, only=["requirements"]))["requirements"]
    assert time.process_time() - started < 8
    assert f"and {MOST_CHARACTERS} characters of them in all" in found


def test_versions_without_end(sample: Sample) -> None:
    """Python refuses to make a number of so many digits, in words that packaging does not expect."""
    digits = "9" * 5_000
    sample.install("greedy", digits[:200], requires=(f"numpy>={digits}", f"vllm=={digits}"))
    metadata = sample.metadata("greedy", digits[:200]) / "METADATA"
    metadata.write_text(metadata.read_text().replace(digits[:200], digits))
    sample.install("asking", "1", requires=("greedy>=1",))
    report = verify(sample.root, files_only=False, only=["requirements", "wheel-set", "imports"])
    assert "broke off" not in str(faults(report))


def test_metadata_that_is_large(sample: Sample) -> None:
    sample.install("greedy", "1", requires=("a" * (1 << 22),))
    assert (
        "METADATA cannot be read: larger than 4194304 bytes"
        in quickly(sample, "wheel-set")["wheel-set"]
    )


def test_what_is_no_name_stands_in_no_command(sample: Sample) -> None:
    for version in ("1", "2"):
        sample.install("a;touch x", version, {"numpy/shared.py": version})
    sample.install("numpy-more", "1", {"numpy/shared.py": "3"}, ("gone===`touch`",))
    sample.install("asking", "1", requires=("numpy-more",))
    (sample.site / "b$(touch x).egg-link").write_text("/gone\n")
    sample.install("flashinfer-python", "1;touch x")
    sample.install("flashinfer-cubin", "2")
    only = ["wheel-set", "ownership", "requirements", "attention"]
    report = verify(sample.root, device="a6000", only=only)
    fixes = [found.fix for result in report.results for found in result.findings]
    assert "METADATA has a name that is none: 'a;touch x'" in faults(report)["wheel-set"]
    commands = [fix for fix in fixes if "pip" in fix]
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command.partition(",")[0])
        assert sum("touch" in word for word in words) <= 1, "quoted, if it is there at all"
    assert "uninstall b-touch-x," in str(commands)


def test_a_name_without_end(sample: Sample) -> None:
    sample.install("greedy", "1", requires=("a" * 900_000,))
    metadata = sample.metadata("greedy", "1") / "METADATA"
    metadata.write_text(metadata.read_text().replace("Name: greedy", f"Name: {'b' * 900_000}"))
    report = verify(sample.root, only=["requirements", "wheel-set"])
    assert " more characters" in faults(report)["wheel-set"]
    assert len(json.dumps(report.to_json())) < 50_000


def test_run_paths(sample: Sample) -> None:
    needed = [(NEEDED, b"n%d.so" % index) for index in range(400)]
    paths = b":".join(b"/%d" % index for index in range(20_000))
    (sample.site / "bomb.so").write_bytes(elf_file(tags=[*needed, (RUNPATH, paths)]))
    (sample.site / "origin.so").write_bytes(
        elf_file(tags=[needed[0], (RUNPATH, b"$ORIGIN" * (1 << 17))])
    )
    (sample.site / "needy.so").write_bytes(elf_file(tags=needed * 50))
    started = time.process_time()
    found = faults(verify(sample.root, only=["elf"]))["elf"]
    assert time.process_time() - started < 8
    assert "bomb.so: a run path of 20000 folders, more than 500" in found
    assert "needy.so: needs 20000 libraries, more than the 500 looked for" in found
    assert "n0.so" in found


def test_links_to_everything(sample: Sample) -> None:
    (sample.site / "a.so").write_bytes(elf_file())
    (sample.site / "root").symlink_to("/")
    (sample.site / "proc").symlink_to("/proc")
    [result] = verify(sample.root, only=["elf"], files_only=True).results
    assert [finding.status for finding in result.findings] == [Status.OK]
    assert "not followed: proc -> /proc, root -> /" in result.findings[0].found


def test_metadata_of_the_kernel(sample: Sample) -> None:
    folder = sample.site / "a-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").symlink_to("/proc/kmsg")
    assert (
        "a file of the kernel's (proc, sysfs): not read"
        in quickly(sample, "wheel-set")["wheel-set"]
    )


def test_files_only_runs_nothing(sample: Sample) -> None:
    sign = sample.root / "ran"
    for name in ("python", "python3", "vllm"):
        program = sample.root / "bin" / name
        program.unlink(missing_ok=True)
        program.write_text(f"#!/bin/sh\ntouch {sign}\n")
        program.chmod(0o755)
    report = verify(sample.root, files_only=True)
    assert not sign.exists()
    assert report.exit_code == 1, "the RECORD of vllm names another bin/vllm"
    assert set(faults(report)) == {"record"}
    reasons = {result.id: result.reason for result in report.results}
    for id in ("interpreter", "imports", "token", "vllm-version", "requirements"):
        assert reasons[id] == "nothing of the environment is run (--files-only)"
    verify(sample.root, only=["interpreter"])
    assert sign.exists(), "otherwise it is"


@pytest.mark.parametrize(
    "place", ["~/", "~nouser/x", "~/a\0b", "~/..", "relative", "/", "/a/../../etc"]
)
def test_places_of_cann(sample: Sample, place: str) -> None:
    sample.declare(parameters={"cann": {"toolkit": [place]}})
    with pytest.raises(InputError, match=r"cann\.toolkit: .* is (not a folder such|in it)"):
        verify(sample.root, only=["manifest"])


ANSWERS = (
    "{}",
    '{"version": 5, "devices": [1]}',
    '{"version": "12.6", "devices": [{"x": 1}]}',
    '{"version": "12.6", "devices": 7}',
    '{"version": "12.6", "devices": [{"name": "x", "capability": "abc", "integrated": 0, "memory": 1}]}',
    '{"version": "12.6", "devices": [{"name": "x", "capability": "8.6", "integrated": 0, "memory": 1e999}]}',
)


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_of_the_driver(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str
) -> None:
    from vllm_nix.verification.environment import Environment
    from vllm_nix.verification.machine import BrokenDriver, ask_driver

    python = sample.root / "bin/python"
    python.unlink()
    python.write_text(f"#!/bin/sh\necho '{answer}' > /proc/self/fd/$4\n")
    python.chmod(0o755)
    found = ask_driver(Environment(sample.root, tmp_path, 20))
    assert isinstance(found, BrokenDriver)
    assert "cannot be asked: its process answers" in found.found


SURVEY = """#!{python}
import json, os, sys
if "survey.py" not in sys.argv[3]:
    os.execv({python!r}, [{name!r}, *sys.argv[1:]])
for step in json.loads(sys.argv[5]):
    os.write(int(sys.argv[4]), json.dumps({answer}).encode() + b"\\n")
"""


@pytest.mark.parametrize(
    "answer",
    ["{'x': 1}", "{'step': step, 'value': 5}", "{'step': step, 'value': {}}"],
)
def test_answers_of_the_survey(sample: Sample, answer: str) -> None:
    """One line for each check that asked, and none of our own errors where they can be kept apart."""
    python = sample.root / "bin/python"
    real = python.resolve()
    python.unlink()
    python.write_text(SURVEY.format(python=str(real), name=str(python), answer=answer))
    python.chmod(0o755)
    report = verify(sample.root, only=["imports", "torch-build", "distributed", "token"])
    assert report.exit_code == 1
    assert "broke off" not in "".join(faults(report).values())


HOARD = "kept = []\nwhile True: kept.append(b'x' * (1 << 20))\n"
GROW = "def grow(kept): grow([kept, b'x' * (1 << 16)])\nimport sys; sys.setrecursionlimit(1 << 30); grow(0)"


@pytest.mark.parametrize("code", [HOARD, f"import os; os.fork()\n{HOARD}", GROW])
def test_an_import_without_an_end_to_its_memory(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr("vllm_nix.process.free_memory", lambda: 400 << 20)
    sample.install("numpy", "2.3.5", {"numpy/__init__.py": code})
    report = verify(sample.root, only=["imports"])
    (finding,) = [one for one in report.results[0].findings if one.status is Status.FAILED]
    assert (finding.where, finding.found) == ("import numpy", "more than 0.3 GiB of memory")
    assert "end other programs" in finding.fix


def test_a_start_without_an_end_to_its_memory(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which .pth files are part of; what needs no Python is checked all the same."""
    monkeypatch.setattr("vllm_nix.process.free_memory", lambda: 400 << 20)
    (sample.site / "a.pth").write_text(
        "import sys; exec('k = []\\nwhile 1: k.append(bytes(9999))')"
    )
    report = verify(sample.root, only=["interpreter", "record"])
    assert report.exit_code == 3
    assert "more than 0.3 GiB of memory" in faults(report)["interpreter"]


def test_no_room_for_temporary_files(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvcc would say that the compiler of the machine is unfit."""
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    with pytest.raises(Unavailable, match=r"^/.* is full; name a folder with room in TMPDIR$"):
        verify(sample.root, only=["kernels"])
    assert verify(sample.root, only=["record"], files_only=True).exit_code == 0


def test_no_room_for_libraries(sample: Sample) -> None:
    """They would be called damaged."""
    library = sample.site / "numpy/core.so"
    library.write_bytes(elf_file(Part(".nv_fatbin")))
    os.truncate(library, 1 << 32)
    limited = ["bash", "-c", 'ulimit -v 3000000; exec "$@"', "-", *OURS]
    command = [*limited, "verify", str(sample.root), "--files-only", "--for", "8.6"]
    done = subprocess.run(
        [*command, "--only", "gpu-code"], capture_output=True, text=True, check=False
    )
    words = " ".join(done.stdout.split())
    assert "the check broke off: no memory or address space is left (see free, ulimit -v)" in words
    assert "fix: raise that limit, and start again" in words
    command = [*limited, "archs", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        3,
        "vllm-nix: no memory or address space is left (see free, ulimit -v)\n",
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -v"),
        (MemoryError(), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
    ],
)
def test_a_limit_is_not_the_environments_fault(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def raise_it(*_: object) -> None:
        raise error

    monkeypatch.setattr(recorded, "_strangers", raise_it)
    finding = faults(verify(sample.root, only=["record"]))["record"]
    assert said in finding
    assert "report this" not in finding
    monkeypatch.setattr(run, "read_packages", raise_it)
    with pytest.raises(Unavailable, match=said):
        verify(sample.root, only=["record"])


def test_a_model_is_not_printed() -> None:
    assert len(repr(TinyModel.make())) < 100


OURS = [sys.executable, "-m", "vllm_nix"]
SLEEPING = "import os, time; open({!r}, 'w').write(str(os.getpid())); time.sleep(600)"


def start(sample: Sample, stage: str) -> tuple[subprocess.Popen[str], Path]:
    """The command, and a file that is there once it is at a stage, if that runs the environment."""
    sign = sample.root.parent / "sign"
    options = ["--only", "record", "--deep"]
    if stage == "import":
        sample.install("numpy", "2.3.5", {"numpy/__init__.py": SLEEPING.format(str(sign))})
        options = ["--only", "imports"]
    elif stage == "python":  # the first question to it; a file that Python runs at every start
        (sample.site / "a.pth").write_text(f"import os; {SLEEPING.format(str(sign))}")
    else:  # files: one of 16 GiB is hashed
        (sample.site / "big.bin").touch()
        os.truncate(sample.site / "big.bin", 1 << 34)
        sample.record(f"big.bin,sha256=x,{1 << 34}")
    command = [*OURS, "verify", str(sample.root), *options]
    process = subprocess.Popen(
        # a shell's job in the background ignores these signals, and so would its children
        ["env", "--default-signal=INT,HUP", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(sample.root.parent), "STAGE": str(sample.root)},
    )
    deadline = time.monotonic() + 60
    while stage != "files" and not (sign.exists() and sign.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if stage == "files":
        while not open_in(process.pid, "big.bin"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    return process, sign


def open_in(process: int, name: str) -> bool:
    """Whether a process has a file of that name open (proc(5))."""
    with suppress(OSError):
        return any(one.readlink().name == name for one in Path(f"/proc/{process}/fd").iterdir())
    return False


def started_by(sample: Sample) -> list[str]:
    """What still runs of all that descends from the command, by a variable of its own."""
    mark = f"STAGE={sample.root}\0".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (place / "stat").read_text(errors="replace").rpartition(") ")[2][0]
            if state not in "ZX" and mark in (place / "environ").read_bytes():
                found.append((place / "cmdline").read_text(errors="replace"))
    return found


@pytest.mark.parametrize("stage", ["python", "import", "files"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_ends_all_within_a_second(sample: Sample, stage: str, name: str) -> None:
    """A second, where nothing else is at work: the kernel's timer sees to that (`cli._end`). Here,
    others may be."""
    number = signal.Signals[name]
    process, _ = start(sample, stage)
    with process:
        began = time.monotonic()
        process.send_signal(number)
        process.wait(20)
        took = time.monotonic() - began
        while started_by(sample) and time.monotonic() < began + 10:
            time.sleep(0.05)
        gone = time.monotonic() - began
        assert process.returncode in {128 + number, -number, -signal.SIGALRM}
        assert took < 1.5
        assert gone < 3
        assert process.stdout
        assert process.stdout.read() == ""
    places = sample.root.parent
    if name != "SIGKILL" and took < 0.5:  # it was not the timer that ended it
        assert not list(places.glob("vllm-nix-*"))
    environment = {**os.environ, "TMPDIR": str(places)}
    subprocess.run([*OURS, "verify", places / "no"], env=environment, check=False)
    assert list(places.glob("vllm-nix-*")) == []


def test_a_program_that_verifies_is_interrupted_as_well(sample: Sample) -> None:
    """By Python's own handler, while a file of 16 GiB is hashed."""
    (sample.site / "big.bin").touch()
    os.truncate(sample.site / "big.bin", 1 << 34)
    sample.record(f"big.bin,sha256=x,{1 << 34}")
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from vllm_nix.verification import verify;"
        "verify(sys.argv[1], only=['record'], files_only=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, sample.root], stderr=subprocess.PIPE, text=True
    ) as process:
        while not open_in(process.pid, "big.bin"):
            assert process.poll() is None
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        assert time.monotonic() - began < 1.5  # a second, with nothing else at work
        assert process.stderr
        assert "KeyboardInterrupt" in process.stderr.read()


def in_store(sample: Sample, monkeypatch: pytest.MonkeyPatch, *, deep: bool) -> Report:
    store = sample.root.parent / "store"
    (store / "x").mkdir(parents=True)
    file = sample.site / "numpy/__init__.py"
    data = file.read_bytes()
    file.rename(store / "x/__init__.py")
    file.symlink_to(store / "x/__init__.py")
    (store / "x/__init__.py").write_bytes(data.swapcase())
    monkeypatch.setattr(recorded, "store_dir", lambda: store)
    return verify(sample.root, only=["record"], files_only=True, deep=deep)


def test_files_of_the_store_are_not_hashed_again(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = in_store(sample, monkeypatch, deep=False)
    assert faults(report) == {}
    assert "1 of them in the Nix store, not hashed again" in report.results[0].findings[0].found


def test_unless_asked_to(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    found = faults(in_store(sample, monkeypatch, deep=True))
    assert "its sha256 is not the recorded one" in found["record"]


def test_budget_of_bytes(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MOST_HASHED", 100)
    found = faults(verify(sample.root, only=["record"], files_only=True))["record"]
    assert "files were not hashed" in found


def test_more_findings_than_anybody_reads(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vllm_nix.verification.run.MOST_FINDINGS", 50)
    for number in range(60):
        sample.record(f"numpy/{number}.py,sha256=x,1")
    (result,) = verify(sample.root, only=["record"]).results
    assert len(result.findings) == 51
    assert result.findings[-1].found == "more than 50 findings: the rest is not looked at"


def test_a_path_without_end(sample: Sample) -> None:
    customize = sample.site / "sitecustomize.py"
    customize.write_text("import sys; sys.path += [f'/gone/{n}' for n in range(200_000)]\n")
    started = time.monotonic()
    assert faults(verify(sample.root, only=["interpreter", "wheel-set"])) == {}
    assert time.monotonic() - started < 8


def test_a_binary_that_is_none(sample: Sample) -> None:
    (sample.site / "sitecustomize.py").write_text(
        "import os; os.readlink = lambda _: '/dev/zero'\n"
    )
    report = verify(sample.root, only=["interpreter", "elf"])
    assert "does not start: it is not a Python: it answers" in faults(report)["interpreter"]
    assert report.exit_code == 3


def test_a_folder_that_this_user_may_not_look_into(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "lstat", closed)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(InputError, match="may not be looked into by this user"):
        verify(sample.root, only=["interpreter"])
