"""Arguments of the Python interface, checked by type: not every caller has a type checker.

An argument is called by its function and name, such as ``verify: only``. Each raises `InputTypeError`.
"""

from collections.abc import Collection

from vllm_nix.errors import InputTypeError


def check_text(argument: str, value: object, *, optional: bool = False) -> None:
    """Checks that it is a string, or None where it is `optional`."""
    if not (isinstance(value, str) or (optional and value is None)):
        raise wrong(argument, "a string or None" if optional else "a string", value)


def check_texts(argument: str, value: object, wanted: str = "a list of strings") -> None:
    """Checks that it is a collection of strings, and not a string, which is one of its letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise wrong(argument, wanted, value)
    for one in value:
        if not isinstance(one, str):
            raise wrong(argument, wanted, one)


def wrong(argument: str, wanted: str, got: object) -> InputTypeError:
    """The error that says what was `wanted` of an argument, and what it `got`."""
    return InputTypeError(f"{argument}: expected {wanted}, got {got!r} ({type(got).__name__})")
