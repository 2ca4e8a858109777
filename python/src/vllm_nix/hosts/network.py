"""This machine's own addresses: which of them, on which interface, reaches another host."""

import ctypes
import ipaddress
import socket
from collections.abc import Iterator

from vllm_nix.errors import InputError, Unavailable


class _Entry(ctypes.Structure):
    """What getifaddrs(3) lists: its first fields are all that is read."""


_Entry._fields_ = [
    ("next", ctypes.POINTER(_Entry)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]
_PLACES = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}  # of an address in its sockaddr


def address_of(host: str) -> str:
    """The address of a host by its name, or its own. Raises `InputError`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
        reason = getattr(error, "strerror", None) or "it is not a host's name"
        raise InputError(f"head '{host}' is not an address: {reason}") from error
    address = str(found[0][4][0])
    plain = ipaddress.ip_address(address.partition("%")[0])
    if plain.is_loopback or plain.is_unspecified:
        raise InputError(
            f"head '{host}' is {address} on this host, where no other reaches it; give the address"
            " that others reach it by"
        )
    return address


def with_port(address: str, port: int) -> str:
    """Both as one word, in which an IPv6 address is in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def own_address_to(address: str) -> str:
    """The address that this machine has for those who are at another. Raises `Unavailable`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # of a datagram socket: nothing is sent
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Unavailable(f"no route from this host to {address}: {error.strerror}") from error


def interface_of(address: str) -> str | None:
    """The interface that has an address of this machine's; None if none has."""
    return next((name for name, its in _addresses() if its == address.partition("%")[0]), None)


def _addresses() -> Iterator[tuple[str, str]]:
    """Every interface with each of its addresses."""
    library = ctypes.CDLL(None)
    first = ctypes.POINTER(_Entry)()
    if library.getifaddrs(ctypes.byref(first)):
        return
    try:
        entry = first
        while entry:
            place = entry.contents.address
            family = ctypes.c_ushort.from_address(place).value if place else None
            for known, (start, size) in _PLACES.items():
                if family == known:
                    raw = ctypes.string_at(place + start, size)
                    yield entry.contents.name.decode(), socket.inet_ntop(known, raw)
            entry = entry.contents.next
    finally:
        library.freeifaddrs(first)
