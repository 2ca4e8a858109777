"""Words for an exception and for what it came from. Loaded by the probes, so: standard library only."""

import re

MOST = 8  # exceptions of a chain that are named
LONGEST = 1000  # exceptions of a chain that are looked at
LONG = 1500  # characters of one
# Lines of a compiler's, a linker's or another process's output that say why; not the frames of tracebacks.
_TELLING = re.compile(r"^\S.*(?:[Ee]rror|[Cc]annot|[Ff]atal|[Uu]ndefined|[Nn]ot found|No such)")
_LONG_LINE = 400  # commands have longer ones


def describe(error: BaseException) -> str:
    """An exception and those that it was raised from, the first cause first: wrappers say less.

    Of a module that stands in for another one which is missing, the last one tried comes first. Of a
    group, all are causes.
    """
    said, after = [_words(error)], []
    seen = {id(error)}
    stands_in = False
    for _ in range(LONGEST):
        members = getattr(error, "exceptions", None)
        members = members if isinstance(members, (list, tuple)) and members else (None,)
        others = [one for one in members[1:MOST] if isinstance(one, BaseException)]
        said = [*map(_first_cause, others), *said]
        below = error.__cause__ or error.__context__ or members[0]
        if not isinstance(below, BaseException) or id(below) in seen:
            break
        if error.__cause__ is None and isinstance(error, ImportError):
            kinds = (error, below)
            stands_in = stands_in or any(isinstance(one, ModuleNotFoundError) for one in kinds)
        seen.add(id(below))
        if stands_in:
            after.append(_words(below))
        else:
            said.insert(0, _words(below))
        error = below
    told = list(dict.fromkeys([*said, *after]))
    if len(told) > MOST:
        told = [*told[: MOST // 2], "...", *told[-MOST // 2 :]]
    return "; then ".join(told)[:4000]


def _first_cause(error: BaseException) -> str:
    for _ in range(LONGEST):
        below = error.__cause__ or error.__context__
        if below is None:
            break
        error = below
    return _words(error)


def _words(error: BaseException) -> str:
    try:
        message = str(error).strip()
    except Exception:  # noqa: BLE001 -- of a class of anybody's
        message = ""
    text = f"{type(error).__name__}: {message or 'no message'}"
    return text if len(text) <= LONG else _shortened(text)


def _shortened(text: str) -> str:
    """Its first line, those that say why, and its last: what a process printed has its cause far down."""
    first, *lines = (line.rstrip() for line in text[:1_000_000].splitlines())
    told = [line for line in lines if len(line) <= _LONG_LINE and _TELLING.match(line)]
    if len(told) > MOST:
        told = [*told[: MOST // 2], "...", *told[-MOST // 2 :]]
    kept = [first[:_LONG_LINE], *told, *(line[:_LONG_LINE] for line in lines[-1:])]
    return "\n".join(dict.fromkeys(kept))[:LONG]
