"""This machine's addresses."""

import socket

import pytest

from vllm_nix.errors import InputError
from vllm_nix.hosts.network import address_of, interface_of, own_address_to


def test_an_interface_is_found_by_its_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("192.0.2.77") is None
    assert interface_of("127.0.0.1") in {name for _, name in socket.if_nameindex()}


def test_who_reaches_whom() -> None:
    assert own_address_to("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "fault"),
    [
        ("127.0.0.1", "is 127.0.0.1 on this host, where no other reaches it"),
        ("localhost", "on this host, where no other reaches it"),
        ("0.0.0.0", "where no other reaches it"),
        ("no.such.host.invalid", "is not an address: "),
        ("a" * 70 + ".b", "is not an address: "),
        ("", "is not an address: "),
    ],
)
def test_what_is_no_head(host: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        address_of(host)
