"""How files are shared out among the clients: large ones alone, small ones together."""

from collections import Counter
from collections.abc import Iterable

from vllm_nix.fetching.sources import DebSource, PipSource, Source, WheelSource

# Bytes. A client's start costs as much as a few megabytes, so that small files share one.
LARGE = 16 << 20
TOGETHER = 32 << 20
MOST_FILES = 24


def batches(sources: Iterable[Source]) -> list[list[Source]]:
    """Groups that one client can fetch in one run, in the order in which they should start."""
    ordered = sorted(sources, key=lambda source: -(source.size or 0))
    alone = [[source] for source in ordered if _is_alone(source)]
    groups: dict[object, list[list[Source]]] = {}
    seen: Counter[object] = Counter()
    for source in ordered:
        if not _is_alone(source):
            kind: object = type(source)
            if isinstance(source, PipSource):
                # pip refuses two versions of a package in one run ("ResolutionImpossible").
                kind = (kind, source.python, seen[source.name])
                seen[source.name] += 1
            elif isinstance(source, DebSource):
                kind = (kind, source.suite)  # which may have a mirror of its own
            group = groups.setdefault(kind, [[]])
            size = sum(other.size or 0 for other in group[-1])
            if len(group[-1]) >= MOST_FILES or size + (source.size or 0) > TOGETHER:
                group.append([])
            group[-1].append(source)
    return alone + [batch for group in groups.values() for batch in group]


def _is_alone(source: Source) -> bool:
    # A wheel with its own index alone may be looked for there.
    has_index = isinstance(source, WheelSource) and source.index is not None
    return has_index or (source.size or 0) > LARGE
