"""Build a target's environment in a checkout, verify it, start it, and ask its model something.

Goes on where it was stopped. TARGET is cpu unless another is named; its profile `chat` is started.
Options of Nix's own come after `--`.
"""

import argparse
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from vllm_nix.derivations import buildable, closure, instantiate, present_outputs
from vllm_nix.errors import Error, InputError
from vllm_nix.fetching.fetch import Progress, fetch, missing_sources
from vllm_nix.fetching.sources import BASES, Source, Sources, load_sources, this_system
from vllm_nix.process import run as run_program
from vllm_nix.serve import Profile, load_profile
from vllm_nix.serve.chat import Piece, free_port, last_lines, logged, running
from vllm_nix.serve.command import check_target_of, release_of
from vllm_nix.text import counted, printable, quoted

TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    from vllm_nix.verification import Report

EMBEDDED = ("--override-input", "nixpkgs", "path:./nix/debian")
QUESTION = "What is the capital of France? Answer in one sentence."
TOKENS = 200  # the most that an answer has
READY = 900.0  # seconds until a server must be ready; 30 to 60 on two cores
# What starts sooner, and costs speed that one question does not miss: no compiling, and on a processor
# one process instead of two for the engine. https://docs.vllm.ai/en/latest/configuration/env_vars/
QUICK = ("--enforce-eager",)
QUICK_ON_CPU = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1)),  # as vLLM counts them with two
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vllm-nix demo [TARGET] [options] [-- Nix's options]"
    parser.add_argument("target", metavar="TARGET", nargs="?", default="cpu")
    parser.add_argument(
        "--base", choices=BASES, default="debian", help="(default: debian, the embedded one)"
    )
    parser.add_argument(
        "--environment", type=Path, metavar="ENV", help="build nothing, take this one: ./result"
    )
    parser.add_argument("--question", metavar="TEXT", default=QUESTION, help=f"({QUESTION})")
    parser.add_argument(
        "--log", type=Path, metavar="FILE", default=Path("demo.log"), help="(default: demo.log)"
    )


def run(args: argparse.Namespace) -> int:
    profile = load_profile(args.target, "chat")
    if args.environment is None and not Path("flake.nix").is_file():
        raise InputError(
            f"{Path.cwd()} is not a checkout of vllm-nix; go to one, or give an environment that is"
            " built: --environment ./result"
        )
    try:
        args.log.write_text("", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--log {args.log}: {error.strerror}") from error
    demo = _Demo(args.target, args.log.absolute())
    try:
        with demo.shown():
            environment = args.environment
            if environment is None:
                environment = demo.build(args.base, args.rest)
            return demo.show(environment, profile, args.question)
    except InputError:  # the log says no more of it, and the same command would fail again
        raise
    except Error as error:
        raise type(error)(
            f"{error}; the whole log is in {args.log}, and the same command goes on from here"
        ) from error


class _Demo:
    """One run. Each step says what it does in a line that changes, and what it did in one that stays."""

    def __init__(self, target: str, log: Path) -> None:
        from rich.console import Console

        self.target, self.log = target, log
        self.start = time.monotonic()
        self.console = Console(markup=False, highlight=False, soft_wrap=True)
        self.status = self.console.status("starting")
        self.doing: dict[str, str] = {}  # by step
        self.next = 0.0  # when to say again, where there is no terminal
        self.stop = threading.Event()
        self.screen = threading.RLock()  # an answer is not to be written into
        self.built = self.total = 0  # derivations

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self.status:
            try:
                yield
            finally:
                self.stop.set()

    def say(self, step: str, text: str) -> None:
        """What a step is doing."""
        with self.screen:
            self.doing[step] = text
            if not self.console.is_terminal and time.monotonic() > self.next:
                self.next = time.monotonic() + max(15, (time.monotonic() - self.start) / 8)
                self.console.print(f"{self._time()}  ... {self._now()}")
            self.status.update(self._now()[: self.console.width - 4])

    def done(self, step: str, text: str) -> None:
        with self.screen:
            self.doing.pop(step, None)
            self.console.print(f"{self._time()}  {step:<7} {text}")
            self.status.update(self._now()[: self.console.width - 4])

    def _now(self) -> str:
        return " · ".join(f"{step} {text}" for step, text in self.doing.items())

    def _time(self) -> str:
        return f"{time.monotonic() - self.start:4.0f} s"

    # ---- build ----

    def build(self, base: str, options: Sequence[str]) -> Path:
        """The target's environment, at ./result. Raises `Error`."""
        sources = load_sources([self.target], this_system(), base)
        missing = missing_sources(sources)
        embedded = base == "debian"
        inputs = EMBEDDED if embedded else ()
        first = set(load_sources(["debian"]).files) if embedded else set()
        with ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(self._fetch, missing, first)
            try:
                self.say("build", "evaluating")
                top = instantiate(f".#vllm-{self.target}", [*inputs, *options])
                if embedded:  # elsewhere Nix fetches what it wants itself
                    self._build_what_comes(top, fetching, options)
                fetching.result()
                self._realise([top], options, link=Path("result"))
            except BaseException:
                self.stop.set()
                raise
        text = f"{counted(self.built, 'derivation')} in Nix's sandbox"
        self.done("build", text if self.built else "nothing to build")
        return Path("result")

    def _fetch(self, missing: Sources, base: Collection[Source]) -> None:
        """The base first, which can be built while the rest comes. Raises `Error`."""
        if not missing.files and not missing.executables:
            self.done("fetch", "nothing to fetch")
            return

        def progress(now: Progress) -> None:
            size, total = now.size / 1e6, now.total_size / 1e6
            self.say(
                "fetch", f"{now.files} of {now.total_files} files, {size:,.0f} of {total:,.0f} MB"
            )

        first = tuple(source for source in missing.files if source in base)
        rest = tuple(source for source in missing.files if source not in base)
        results = [
            fetch(part, progress=progress, stop=self.stop)
            for part in (Sources(first, missing.executables), Sources(rest))
        ]
        files, size = sum(len(one.fetched) for one in results), sum(one.size for one in results)
        self.done("fetch", f"{counted(files, 'file')}, {size / 1e6:,.0f} MB, each by its hash")

    def _build_what_comes(
        self, top: Path, fetching: "Future[None]", options: Sequence[str]
    ) -> None:
        """Builds what can be built until all is fetched."""
        derivations = closure(top)
        present = present_outputs(derivations)
        self.total = sum(
            not each.fetched and not present.issuperset(each.outputs)
            for each in derivations.values()
        )
        while not fetching.done():
            if ready := buildable(derivations, present_outputs(derivations)):
                self._realise(ready, options)
            else:
                self.say("build", "waits for files")
                time.sleep(1)

    def _realise(
        self, paths: Sequence[Path], options: Sequence[str], link: Path | None = None
    ) -> None:
        root = ["--add-root", str(link), "--indirect"] if link else []
        command = logged(["nix-store", "--realise", *map(str, paths), *root, *options], self.log)
        begin = self.log.stat().st_size
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(run_program, command, environment=os.environ, stop=self.stop)
            try:
                while not building.done():
                    names = _built(self.log, begin)
                    number = f"{self.built + len(names)}" + (
                        f" of {self.total}" if self.total else ""
                    )
                    self.say("build", f"{number}: {names[-1]}" if names else number)
                    time.sleep(0.3)
            except BaseException:
                self.stop.set()
                raise
        if end := building.result().end:
            raise Error(f"the build failed ({end}): {last_lines(self.log)}")
        self.built += len(_built(self.log, begin))

    # ---- show ----

    def show(self, environment: Path, profile: Profile, question: str) -> int:
        """Verifies the environment while its vLLM starts; asks it. Raises `Error`."""
        check_target_of(environment, self.target)
        key, port = secrets.token_hex(16), free_port()
        profile = load_profile(
            self.target,
            profile.name,
            {"port": port},
            release=release_of(environment),
            environment=environment,
        )
        model = profile.values["model"]
        if not all(map(profile.place, profile.models)):
            raise InputError(
                f"{model} is not on this machine; download it:"
                f" vllm-nix model {self.target} {profile.name} --environment {environment}"
            )
        command = profile.command(QUICK)
        variables = {**command.variables, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
        variables |= QUICK_ON_CPU if profile.device == "cpu" else {}
        with (
            ThreadPoolExecutor(1) as pool,
            running(
                command.words, environment, variables, port=port, key=key, log=self.log
            ) as server,
        ):
            verifying = pool.submit(self._verify, environment)
            for seconds in server.wait(READY):
                self.say("start", f"{model}, {seconds:.0f} s")
            self.done("start", f"{model} on port {port}")
            with self.screen:
                self.status.stop()
                self._answer(server.ask(model, question, TOKENS), question)
                self.status.start()
            report = verifying.result()
        self.status.stop()
        self._last_words(environment, profile)
        return report.exit_code

    def _verify(self, environment: Path) -> "Report":
        from vllm_nix.verification import verify
        from vllm_nix.verification.report import print_report

        self.say("verify", "reading files")
        report = verify(
            environment,
            files_only=True,  # that the rest imports and counts right, the answer shows
            progress=lambda check, result: self.say("verify", check.id),
        )
        good = sum(result.status == "ok" for result in report.results)
        if report.exit_code:
            self.done("verify", "something is wrong:")
            print_report(report, self.console)
        else:
            self.done("verify", f"{counted(good, 'check')} of its files passed, none failed")
        return report

    def _answer(self, pieces: Iterator[Piece], question: str) -> None:
        print(f"\n  You   {printable(question)}\n  vLLM  ", end="", flush=True)
        first, tokens = 0.0, 0
        for piece in pieces:
            if piece.text and not first:
                first = time.monotonic()
            tokens = tokens or piece.tokens
            print(printable(piece.text, "\n").replace("\n", "\n        "), end="", flush=True)
            last = time.monotonic()
        if not tokens:
            raise Error("vLLM answers with nothing")
        rate = f", {(tokens - 1) / (last - first):.0f} tokens a second" if tokens > 1 else ""
        print(f"\n        ({counted(tokens, 'token')}{rate})\n", flush=True)

    def _last_words(self, environment: Path, profile: Profile) -> None:
        own = Path(sys.argv[0])
        own = own.with_name(own.name.removeprefix("."))  # pkgs/vllm-nix/archs is before it
        command = "vllm-nix" if sys.argv[0] == "vllm-nix" else _relative(own)
        model = profile.place(profile.values["model"])
        given = quoted(str(environment))
        places = {
            "environment": f"{environment} ({environment.resolve()})",
            "model": model,
            "log": _relative(self.log),
        }
        following = {
            f'demo {self.target} --environment {given} --question "Why is the sky blue?"': "another",
            f"serve {self.target} {profile.name} --environment {given}": "for your programs",
            "targets": "which target is for this machine",
        }
        for name, place in places.items():
            print(f"  {name:<12} {printable(place)}")
        print("\nNext:")
        for words, text in following.items():
            print(printable(f"  {command} {words}   # {text}"))


def _relative(path: Path) -> str:
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _built(log: Path, begin: int) -> list[str]:
    """The names of the derivations whose build began after `begin` bytes of the log."""
    with log.open(encoding="utf-8", errors="replace") as stream:
        stream.seek(begin)
        found = re.findall(r"^building '/\S+/[a-z0-9]{32}-(\S+)\.drv'", stream.read(), re.MULTILINE)
    return [name.removeprefix("python3.11-") for name in found]
