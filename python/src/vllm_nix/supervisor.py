"""Runs one command for `vllm_nix.process`, and leaves no process behind.

    python -I -S supervisor.py REPORT LIFE PROCESSES MEMORY COMMAND [ARGUMENT ...]

It stands between us and the command because a process that is killed cannot clean up after itself:
when LIFE, the end of a pipe that we hold, closes, for whatever reason, all that descends from the
command is killed. As a subreaper (prctl(2)) it inherits daemons, which otherwise become init's.
A process of its own, it changes nothing in the program that uses this library.

REPORT takes one line: `error ERRNO` if the command did not start, `ended STATUS` as in waitpid(2),
`crowd COUNT` if it had more than PROCESSES descendants, or `memory MEMORY` if these had more bytes
than that; of either bound, 0 is none. Where there is no prctl or no /proc (not Linux), only
the command's process group is killed.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

_PDEATHSIG, _SUBREAPER = 1, 36  # linux/prctl.h
_PERIOD = 0.5  # seconds between two looks at how many processes there are
_GLANCE = 0.1  # and at the memory of those that are known: a processor fills some 3 GB in a second
_CLEANING = 0.7  # seconds for those who remove what the killed have left
_PATIENCE = (
    2.0  # seconds after which a process that cannot be killed is left: it hangs in the kernel
)


def descendants(root: int, spare: Collection[int] = ()) -> list[int]:
    """All processes below `root`, but for those in `spare` and below them, by proc(5).

    None where there is no such file system.
    """
    parents: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208 -- pathlib doubles the time to start
            if name.isdecimal():
                with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                    # PID (NAME) STATE PARENT ...; the name may itself hold brackets and spaces
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
                    parents.setdefault(parent, []).append(int(name))
    found = [root]
    for process in found:
        found += (child for child in parents.get(process, ()) if child not in spare)
    return found[1:]


def memory(processes: Collection[int], most: int, shared: int = 0) -> int:
    """Bytes that nothing but ending processes gives back: their own and what they share, once.

    Of `shared` bytes, which this machine has more than when they began, nothing says whose they are: a
    file in memory (memfd, tmpfs) need not be mapped by anybody.
    Address space that is only reserved, as CUDA reserves hundreds of GB, and files that are mapped are
    none of it. Most often a first sum, of all that is resident, is not more than `most`, and is enough.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    first = sum(page * int((_words(each, "statm") or (0, 0))[1]) for each in processes)
    if first + shared <= most:
        return first + shared
    sizes = [_own_memory(each) for each in processes]
    return sum(own for own, _ in sizes) + max(shared, sum(mapped for _, mapped in sizes))


def shared_memory() -> int:
    """Bytes of this machine's, files in memory among them (proc_meminfo(5)); 0 if it does not say."""
    return _size(_words("", "meminfo"), b"Shmem:")


def _own_memory(process: int) -> tuple[int, int]:
    """A process's own, and what it maps of shared memory, by proc_pid_smaps(5); where that is another's
    secret, what is resident."""
    words = _words(process, "smaps_rollup")
    if words:
        own = _size(words, b"Pss_Anon:") + _size(words, b"SwapPss:")
        return own, _size(words, b"Pss_Shmem:")
    resident, shared = map(int, (_words(process, "statm") or (0, 0, 0))[1:3])
    return os.sysconf("SC_PAGE_SIZE") * (resident - shared), 0


def _size(words: list[bytes], name: bytes) -> int:
    return 1024 * int(words[words.index(name) + 1]) if name in words else 0


def _words(process: int | str, name: str) -> list[bytes]:
    """Those of one of a process's files, none if it has ended; or, without a process, of the machine's."""
    try:
        with open(f"/proc/{process}/{name}", "rb") as file:  # noqa: PTH123
            return file.read().split()
    except OSError:
        return []


def kill_below(root: int, spare: Collection[int] = ()) -> list[int]:
    """Kills the `descendants`: first they are halted, so that none can fork away. Returns them."""
    found: list[int] = []
    for number in (signal.SIGSTOP, signal.SIGKILL):
        found = descendants(root, spare)
        for process in found:
            with suppress(OSError):
                os.kill(process, number)
    return found


def become_subreaper() -> None:
    """Makes this process the parent of what its descendants leave behind (prctl(2))."""
    _prctl(_SUBREAPER, 1)


def main() -> None:
    report, life, most, most_memory = map(int, sys.argv[1:5])
    os.set_inheritable(report, False)
    os.set_inheritable(life, False)
    become_subreaper()
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # LIFE alone says when to end
    try:
        child = _start(sys.argv[5:], first_to_go=bool(most_memory))
    except OSError as error:
        os.write(report, b"error %d" % (error.errno or 0))
        return
    _let_go(keep=(report, life, woken, wake))
    try:
        if outcome := _follow(child, life, woken, most, most_memory):
            with suppress(OSError):  # nobody may be there to read it
                os.write(report, outcome)
    finally:
        _end_all(child)


def _start(command: list[str], first_to_go: bool) -> int:
    """Starts the command in a session of its own. Raises OSError if it cannot be executed.

    If it is the `first_to_go`, the kernel kills it, and not what else runs here, should memory end."""
    parent = os.getpid()
    failed, failing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _prctl(_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            os.setsid()
            if first_to_go:
                with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123
                    score.write("1000")
            for number in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGXFSZ"):
                signal.signal(getattr(signal, number), signal.SIG_DFL)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(failing, b"%d" % (error.errno or 0))
        finally:
            os._exit(127)
    os.close(failing)
    reason = os.read(failed, 16)
    os.close(failed)
    if reason:
        os.waitpid(child, 0)
        raise OSError(int(reason), os.strerror(int(reason)))
    return child


def _let_go(keep: tuple[int, ...]) -> None:
    """Closes the command's pipes: their readers are to see when the command itself closes them."""
    empty = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(empty, stream)
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    except OSError:
        found = list(range(256))
    for descriptor in found:
        if descriptor > 2 and descriptor not in keep:
            with suppress(OSError):
                os.close(descriptor)


def _follow(child: int, life: int, woken: int, most: int, most_memory: int) -> bytes | None:
    """Waits for what is to be reported; None if the command is no longer wanted."""
    counted, known, before = time.monotonic(), [child], shared_memory()
    while True:
        if life in select.select([life, woken], (), (), _GLANCE if most_memory else _PERIOD)[0]:
            return None
        with suppress(BlockingIOError):
            os.read(woken, 1 << 10)
        for process, status in _ended():
            if process == child:
                return b"ended %d" % status
        if time.monotonic() > counted + _PERIOD:
            counted, known = time.monotonic(), descendants(os.getpid())
            if most and len(known) > most:
                return b"crowd %d" % len(known)
        if not most_memory:
            continue
        shared = max(0, shared_memory() - before)
        if memory(known, most_memory, shared) > most_memory:
            return b"memory %d" % most_memory


def _ended() -> Iterator[tuple[int, int]]:
    """The children, one's own and those inherited, that have ended, with their statuses."""
    with suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            yield process, status


def _end_all(child: int) -> None:
    if cleaners := [each for each in descendants(os.getpid()) if _cleans_up(each)]:
        start = time.monotonic()
        while time.monotonic() < start + _CLEANING and any(map(_cleans_up, cleaners)):
            kill_below(os.getpid(), cleaners)
            for _ in _ended():
                pass
            time.sleep(0.002)
    with suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    start = time.monotonic()
    while time.monotonic() < start + _PATIENCE:
        kill_below(os.getpid())
        for _ in _ended():
            pass
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
        except ChildProcessError:
            return


def _cleans_up(process: int) -> bool:
    """Whether it is Python's own, which removes shared memory once all that use it have ended."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as words:  # noqa: PTH123
            return b"from multiprocessing.resource_tracker import main" in words.read(1 << 12)
    except OSError:
        return False


def _prctl(option: int, value: int) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))


if __name__ == "__main__":
    main()
