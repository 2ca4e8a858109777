"""What typing, collections and functools have, for what `archs` needs: to import those takes as long as
Python's start. Dataclasses take longer still.

For the same reason these modules name the types of collections.abc by `_collections_abc`, which Python has
loaded at its start.
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
    from _collections import _tuplegetter

    class _Tuple(tuple):
        """What collections.namedtuple gives; to import that and have it make ten classes takes 3 ms."""

        __slots__ = ()

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                values = _complete(cls, values, named)
            return tuple.__new__(cls, values)

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            shown = (f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({', '.join(shown)})"

        def _asdict(self):
            return dict(zip(self._fields, self))  # noqa: B905 -- of one length

        def _replace(self, **named):
            return type(self)(**{**self._asdict(), **named})

    def _complete(cls, values, named):
        """The values of all fields; a call is checked as a function's with these parameters is."""
        given = dict(zip(cls._fields, values))  # noqa: B905 -- some may be named
        wrong = [name for name in named if name in given or name not in cls._fields]
        whole = {**cls._field_defaults, **given, **named}
        missing = [name for name in cls._fields if name not in whole]
        if wrong or missing or len(values) > len(cls._fields):
            said = f"missing {missing}, unexpected {wrong}, {len(values)} values"
            raise TypeError(f"{cls.__name__}({', '.join(cls._fields)}): {said}")
        return [whole[name] for name in cls._fields]

    class _Maker(type):
        """Makes a named tuple of the class below it."""

        def __new__(cls, name, bases, body):
            fields = tuple(body["__annotations__"])
            defaults = {field: body.pop(field) for field in fields if field in body}
            getters = {field: _tuplegetter(at, None) for at, field in enumerate(fields)}
            own = {"__slots__": (), "_fields": fields, "_field_defaults": defaults}
            return type(name, (_Tuple,), {**body, **getters, **own, "__match_args__": fields})

    NamedTuple = type.__new__(_Maker, "NamedTuple", (), {})


def once(make: Callable[[], T]) -> Callable[[], T]:
    """functools.cache, for a function without arguments."""
    made: list[T] = []

    def get() -> T:
        if not made:
            made.append(make())
        return made[0]

    return get
