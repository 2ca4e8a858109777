"""Errors that a user can act on: one line each, naming the value, the place and the way out."""


class Error(Exception):
    """What was asked for failed. The command prints the message alone, without a traceback."""

    exit_code = 1
    """With which the command ends."""


class InputError(Error):
    """The arguments or a file given by the user are wrong."""

    exit_code = 2


class Unavailable(Error):
    """Something this machine should provide is missing: Nix, a network, room on the disk."""

    exit_code = 3


class InputTypeError(InputError, TypeError):
    """An argument of a function has the wrong type."""
