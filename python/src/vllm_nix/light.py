"""What typing and functools have, for what `archs` needs: to import those takes as long as Python's start.

Dataclasses take longer still.
"""

from __future__ import annotations  # typing need not be imported for

import sys

__all__ = ["NamedTuple", "once"]
TYPE_CHECKING = False  # see vllm_nix/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# From 3.14 on, a class has no annotations until somebody asks.
if TYPE_CHECKING or sys.version_info >= (3, 14):
    from typing import NamedTuple
else:
    from collections import namedtuple

    class _Maker(type):
        """Makes a named tuple of the class below it."""

        def __new__(cls, name, bases, body):
            fields = body.pop("__annotations__", {})
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for key, value in body.items():
                if key not in ("__module__", "__slots__"):
                    setattr(made, key, value)
            made.__annotations__ = fields
            return made

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})


def once(make: Callable[[], T]) -> Callable[[], T]:
    """functools.cache, for a function without arguments."""
    made: list[T] = []

    def get() -> T:
        if not made:
            made.append(make())
        return made[0]

    return get
