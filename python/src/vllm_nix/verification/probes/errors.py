"""Words for an exception and for what it came from. Loaded by the probes, so: standard library only."""

MOST = 8  # exceptions of a chain


def describe(error: BaseException) -> str:
    """An exception and those that it was raised from, the first cause first: wrappers say less.

    Of a module that stands in for another one which is missing, the last one tried comes first.
    """
    said, after = [_words(error)], []
    seen = {id(error)}
    stands_in = False
    for _ in range(MOST):
        stands_in = stands_in or (
            error.__cause__ is None and isinstance(error, ModuleNotFoundError)
        )
        members = getattr(error, "exceptions", None) or (None,)
        below = error.__cause__ or error.__context__ or members[0]
        if not isinstance(below, BaseException) or id(below) in seen:
            break
        seen.add(id(below))
        if stands_in:
            after.append(_words(below))
        else:
            said.insert(0, _words(below))
        error = below
    return "; then ".join(dict.fromkeys([*said, *after]))[:4000]


def _words(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text}"[:1500]
