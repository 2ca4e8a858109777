"""Runs the checks on an environment, side by side, and collects their report."""

import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

from vllm_nix import scratch
from vllm_nix.errors import Error, InputError, Unavailable, limit_met
from vllm_nix.targets import load_target
from vllm_nix.verification import cann
from vllm_nix.verification.arguments import check_arguments
from vllm_nix.verification.check import Check, Context, SkipError, failed
from vllm_nix.verification.checks import CHECKS
from vllm_nix.verification.checks.vllm import GENERATE, MODEL
from vllm_nix.verification.environment import (
    Environment,
    Interpreter,
    NotRun,
    ask_interpreter,
    read_manifest,
)
from vllm_nix.verification.facts import Facts, Once
from vllm_nix.verification.fixes import fix_closed, fix_for
from vllm_nix.verification.installed import Distribution
from vllm_nix.verification.linking import Linking, link
from vllm_nix.verification.machine import (
    BrokenDriver,
    Driver,
    Question,
    ask_driver,
    devices_here,
    jetpack_of,
    named_devices,
)
from vllm_nix.verification.makers import speller
from vllm_nix.verification.packages import Packages, read_packages
from vllm_nix.verification.report import Finding, Report, Result
from vllm_nix.verification.survey import Step, StepError, Survey
from vllm_nix.verification.tiny_model import TinyModel

LIMIT = 180.0
_ROOM = 1 << 24  # bytes for temporary files
MOST_FINDINGS = 10_000  # of a check: a RECORD may name any number of files that are not there
PATIENCE = 0.5  # seconds that programs have to end; their supervisors kill them

Progress = Callable[[Check, Result | None], None]


def verify(
    path: str | os.PathLike[str],
    target: str | None = None,
    *,
    device: str | None = None,
    cuda: str | None = None,
    jetpack: str | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    limit: float = LIMIT,
    deep: bool = False,
    files_only: bool = False,
    quick: bool = False,
    progress: Progress = lambda check, result: None,
) -> Report:
    """Checks the environment at `path`: a Nix build of this project, any virtual environment, or a
    site-packages folder alone.

    `device` is a GPU by name ("orin") or compute capability ("8.7"), to judge GPU code for; `cuda`
    the release that its driver runs, or `jetpack` the JetPack that says so. Without it, the
    target's, or this machine's, are judged for.

    `only` and `skip` are ids of checks. `limit` is how many seconds a child process may keep
    silent. `deep` has files of the Nix store hashed as well. `files_only` runs nothing of the
    environment, not even its Python, for one that is not trusted; `quick` leaves out what imports
    torch or vLLM, which is most of the time. `progress` is called, from any
    thread, as a check starts (without a result) and ends. Raises `InputError` for an unknown
    target, check or device, a folder that is not an environment, or a broken manifest, and its kind
    `InputTypeError` for an argument of a wrong type, and `Unavailable` where no temporary file has room; all
    else is a finding of the report.
    """
    check_arguments(
        path,
        {"target": target, "device": device, "cuda": cuda, "jetpack": jetpack},
        {"only": only, "skip": skip},
        limit,
        progress,
    )
    checks = _chosen(only, skip)
    root = Path(os.path.abspath(path))  # noqa: PTH100 -- links stay: $ORIGIN depends on them
    started = time.monotonic()
    with scratch.folder("vllm-nix-verify-") as place:
        steps = tuple(dict.fromkeys(step for check in checks for step in check.steps))
        environment = Environment(root, place, limit, files_only=files_only, quick=quick)
        if not files_only and _free(place) < _ROOM:
            # What compiles or imports there would fail, in words of its own.
            raise Unavailable(f"{place.parent} is full; name a folder with room in TMPDIR")
        if GENERATE in steps and not (files_only or quick):
            TinyModel.make().write(place / MODEL)
        try:
            context = _context(environment, steps, target, Question(device, cuda, jetpack), deep)
        except Error:
            raise
        except Exception as error:  # an environment in a state nobody thought of
            if met := limit_met(error):
                raise Unavailable(met) from error
            raise InputError(
                f"{root} cannot be looked at: {type(error).__name__}: {error}; "
                f"{fix_closed(str(error), 'make the environment again')}"
            ) from error
        results = _run_all(checks, context, progress)
    return Report(
        environment=root,
        target=target or (context.manifest.target if context.manifest else None),
        nix=context.manifest is not None,
        started=environment.is_bare or files_only or isinstance(context.interpreter, Interpreter),
        results=results,
        seconds=time.monotonic() - started,
        devices=tuple(map(str, context.devices)),
        gpus=context.devices,
        gpu_code=lambda: [(context.place(one.path), one) for one in context.facts.gpu_code()],
    )


def _free(place: Path) -> int:
    """Bytes that this user may still write there."""
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def _chosen(only: Collection[str], skip: Collection[str]) -> tuple[Check, ...]:
    known = [check.id for check in CHECKS]
    for name in (*only, *skip):
        if name not in known:
            raise InputError(f"unknown check '{name}'; there are: {', '.join(known)}")
    chosen = tuple(c for c in CHECKS if (not only or c.id in only) and c.id not in skip)
    if not chosen:
        raise InputError("no check is left to run: --skip takes away all that --only names")
    return chosen


def _context(
    environment: Environment,
    steps: Sequence[Step],
    target: str | None,
    question: Question,
    deep: bool,
) -> Context:
    manifest = read_manifest(environment.root)
    if manifest:
        environment = replace(environment, homes=cann.homes(manifest.parameters))
    wanted = load_target(target).data if target else manifest.parameters if manifest else {}
    named = named_devices(question, wanted)
    interpreter, driver, packages, distributions = _asked(environment)
    facts = Facts(environment.root, packages, distributions, environment.stop)
    launched = cann.places(manifest.parameters) if manifest else ()
    gaps: tuple[cann.Gap, ...] = ()
    if cann.applies(distributions):
        gaps = cann.gaps(facts.binaries(), packages.folders[0], launched=launched)
    if gaps:
        environment = replace(environment, settings=cann.WITHOUT)

    devices = named or (() if wanted else devices_here(question, driver))
    if (
        question.cuda
        and not devices
        and (environment.files_only or not isinstance(interpreter, str))
    ):
        raise InputError(f"--cuda {question.cuda} without a device, and none is here; add --for")

    def linked(_: None) -> Linking:
        return link(interpreter, manifest, wanted, distributions, facts, packages)

    return Context(
        environment=environment,
        interpreter=interpreter,
        packages=packages,
        distributions=distributions,
        manifest=manifest,
        target=target,
        parameters=wanted,
        survey=Survey(environment, steps),
        facts=facts,
        once_linked=Once(linked),
        devices=devices,
        is_asked=bool(named),
        is_here=question == Question(),
        jetpack=jetpack_of(question, wanted),
        driver=driver,
        cann=gaps,
        deep=deep,
        spelled=speller(environment, manifest, distributions),
    )


def _asked(
    environment: Environment,
) -> tuple[Interpreter | str, Driver | BrokenDriver | str, Packages, tuple[Distribution, ...]]:
    """What the environment's Python says: of itself, of the driver meanwhile, and where packages lie."""
    with ThreadPoolExecutor(1) as pool:
        try:
            asked = pool.submit(ask_driver, environment)
            interpreter = ask_interpreter(environment)
            packages, distributions = read_packages(environment, interpreter)
            driver: Driver | BrokenDriver | str = "there is no interpreter to ask the driver with"
            if environment.files_only:
                driver = interpreter if isinstance(interpreter, str) else driver
            elif isinstance(interpreter, Interpreter):
                driver = asked.result()
        except BaseException:
            environment.stop.set()
            raise
    return interpreter, driver, packages, distributions


def _run_all(checks: Sequence[Check], context: Context, progress: Progress) -> tuple[Result, ...]:
    """Those that wait for the survey wait together; the others share the processors left."""
    waiting = sum(1 for check in checks if check.steps)
    alone = context.environment.quick or context.environment.files_only
    rest = max(1, (os.cpu_count() or 1) - (0 if alone else 1))
    survey, pool = ThreadPoolExecutor(waiting or 1), ThreadPoolExecutor(rest)
    try:
        futures = {
            check.id: (survey if check.steps else pool).submit(_run, check, context, progress)
            for check in sorted(checks, key=lambda check: not check.slow)
        }
        return tuple(futures[check.id].result() for check in checks)
    except BaseException:  # Ctrl-C, which children in sessions of their own do not get
        context.environment.stop.set()
        raise
    finally:
        for one in (survey, pool):
            one.shutdown(wait=False, cancel_futures=True)
        context.environment.running.wait(PATIENCE)  # they may still write; readers of files do not


def _run(check: Check, context: Context, progress: Progress) -> Result:
    progress(check, None)
    started = time.monotonic()
    findings: tuple[Finding, ...] = ()
    reason, harmless = "", True
    try:
        if check.imports:
            context.environment.check_imports()
        findings = tuple(islice(check.run(context), MOST_FINDINGS + 1))
        if len(findings) > MOST_FINDINGS:
            found = f"more than {MOST_FINDINGS} findings: the rest is not looked at"
            rest = failed(found, fix="make the environment again; the first findings say why")
            findings = (*findings[:-1], rest)
    except SkipError as skip:
        reason, harmless = str(skip), skip.harmless
    except NotRun as skip:
        reason, harmless = str(skip), False
    except StepError as problem:
        by_hand = f"try the same by hand, with {context.environment.python}"
        fix = fix_for(str(problem), by_hand)
        findings = (failed(str(problem), fix=fix),)
    except InterruptedError:
        raise  # Ctrl-C: nobody waits for this result
    except Exception as error:  # noqa: BLE001 -- an environment in a state nobody thought of
        unknown = "report this, with the environment's wheels; it may be the environment's fault"
        met = limit_met(error)
        fix = fix_closed(str(error), unknown)
        findings = (
            failed(
                f"the check broke off: {met or f'{type(error).__name__}: {error}'}",
                fix="raise that limit, and start again" if met else fix,
            ),
        )
    findings = tuple(replace(one, fix=context.spelled(one.fix)) for one in findings)
    seconds = time.monotonic() - started
    result = Result(check.id, check.title, findings, seconds, reason, harmless)
    progress(check, result)
    return result
