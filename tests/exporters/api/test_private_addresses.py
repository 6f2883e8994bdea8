"""Which answers are a private address of a public name."""

import pytest

from dnsvigil.api.passive_dns.private import is_private


@pytest.mark.parametrize("rdata", ["10.1.2.3", "172.31.0.1", "192.168.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1"])
def test_a_public_name_has_a_private_address(rdata: str) -> None:
    assert is_private("www.example.com", "A", rdata)


@pytest.mark.parametrize("rdata", ["fd00::1", "fe80::1", "::1"])
def test_a_public_name_has_a_private_address_of_ipv6(rdata: str) -> None:
    assert is_private("www.example.com", "AAAA", rdata)


@pytest.mark.parametrize(
    ("rrname", "rrtype", "rdata"),
    [
        ("www.example.com", "A", "192.0.2.1"),
        ("www.example.com", "A", "172.32.0.1"),
        ("www.example.com", "AAAA", "2001:db8::1"),
        ("www.example.com", "A", "10.1.2"),
        ("www.example.com", "TXT", "10.1.2.3"),
        ("printer.lan", "A", "10.1.2.3"),
        ("printer", "A", "10.1.2.3"),
    ],
)
def test_all_else_is_ordinary(rrname: str, rrtype: str, rdata: str) -> None:
    assert not is_private(rrname, rrtype, rdata)
