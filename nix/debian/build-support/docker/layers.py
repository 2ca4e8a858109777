"""Divides a closure among the layers of an image, by a pipeline of steps that have nixpkgs' names.

    layers.py GRAPH PIPELINE [EXCLUDED...]

GRAPH is what Nix exports (path, deriver, number of references, references), PIPELINE a list in JSON, of
`[step, argument...]`. A step takes a graph and gives a graph, several in order, or several by name;
all that are left are the layers, the lowest first.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

Graph = dict[str, set[str]]  # path → the other paths of the graph that it refers to


def main() -> None:
    graph, pipeline, *excluded = sys.argv[1:]
    found = read_graph(Path(graph).read_text(encoding="ascii"))
    left = induced(found, found.keys() - set(excluded))
    layers = flatten(pipe(json.loads(Path(pipeline).read_text(encoding="utf-8")), left))
    json.dump([sorted(layer) for layer in layers if layer], sys.stdout)


def read_graph(text: str) -> Graph:
    lines = iter(text.splitlines())
    graph: Graph = {}
    for path in lines:
        next(lines)
        graph[path] = set(islice(lines, int(next(lines))))
    return induced(graph, graph)


def induced(graph: Graph, paths: Iterable[str]) -> Graph:
    kept = set(paths)
    return {path: graph[path] & kept - {path} for path in kept}


def subcomponent_out(paths: list[str], graph: Graph) -> dict[str, Graph]:
    """`main` is these paths and what they refer to, `rest` all others."""
    found: set[str] = set()
    new = set(paths) & graph.keys()
    while new:
        found |= new
        new = {other for path in new for other in graph[path]} - found
    return {"main": induced(graph, found), "rest": induced(graph, graph.keys() - found)}


def popularity_contest(graph: Graph) -> list[Graph]:
    """Each path by itself; first what most others need, then by name."""
    needs = {path: subcomponent_out([path], graph)["main"].keys() for path in graph}
    popularity = {path: sum(path in need for need in needs.values()) for path in graph}

    def key(path: str) -> tuple[int, str, str]:
        return -popularity[path], path.partition("-")[2], path

    return [{path: set()} for path in sorted(graph, key=key)]


def limit_layers(most: int, graphs: list[Graph]) -> list[Graph]:
    """As many at most: the last has all that is left."""
    last: Graph = {path: set() for graph in graphs[most - 1 :] for path in graph}
    return [*graphs[: most - 1], last]


def over(name: str, step: list[Any], graphs: dict[str, Any]) -> dict[str, Any]:
    return {**graphs, name: pipe([step], graphs[name])}


def pipe(steps: list[list[Any]], value: Any) -> Any:
    for name, *arguments in steps:
        if name not in STEPS:
            sys.exit(f"layeringPipeline: nix/debian has no step {name}; it has {', '.join(STEPS)}")
        value = STEPS[name](*arguments, value)
    return value


STEPS: dict[str, Callable[..., Any]] = {
    step.__name__: step for step in (limit_layers, over, pipe, popularity_contest, subcomponent_out)
}


def flatten(value: Any) -> Iterator[Graph]:
    if isinstance(value, list):
        for each in value:
            yield from flatten(each)
    elif value.keys() <= {"main", "rest"}:
        yield from flatten(list(value.values()))
    else:
        yield value


if __name__ == "__main__":
    main()
