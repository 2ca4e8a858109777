"""Errors that a user can act on: one line each, naming the value, the place and the way out."""

import errno


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


def limit_met(error: BaseException) -> str:
    """Which limit of this machine's or shell's was met, and how to see it; "" if none was."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "no memory or address space is left (see free, ulimit -v)"
    if number in (errno.EMFILE, errno.ENFILE):
        return "too many files are open at a time (see ulimit -n)"
    if number == errno.EAGAIN or "can't start new thread" in str(error):
        return "no more processes or threads may be started (see ulimit -u)"
    return ""
