"""Addresses in texts, for who may not see those of clients."""

from __future__ import annotations

import pytest

from dnsvigil.web.masks import mask_texts, masked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("Client 192.0.2.77 asks.", "Client 192.0.2.0/24 asks."),
        ("192.0.2.77:53, 192.0.2.78.", "192.0.2.0/24:53, 192.0.2.0/24."),
        ("192.0.2.64/26", "192.0.2.0/24"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8:1:2ff::7", "2001:db8:1:200::/56"),
        ("2001:db8:0:7::/64 sends", "2001:db8::/56 sends"),
        ("(2001:DB8::1)", "(2001:db8::/56)"),
        ("::ffff:192.0.2.7", "::/56"),
        ("77.2.0.192.in-addr.arpa", "*.2.0.192.in-addr.arpa"),
        (f"{'7.' * 32}ip6.arpa", f"*.{'7.' * 14}ip6.arpa"),
        ("at 12:30:45 of 2026-03-01T12:30:45Z", "at 12:30:45 of 2026-03-01T12:30:45Z"),
        ("999.1.1.1 v1.2.3.4x", "999.1.1.1 v1.2.3.4x"),
        ("a.example: 3,000 names", "a.example: 3,000 names"),
        ("192.0.2.53 answers", "192.0.2.53 answers"),
    ],
)
def test_addresses_in_texts_are_masked(text, expected):
    def shown(address: str) -> bool:
        return address == "192.0.2.53"

    assert mask_texts(text, shown) == expected
    assert mask_texts({text: [text, {"a": (text,)}], "n": 7}, shown) == {
        expected: [expected, {"a": [expected]}],
        "n": 7,
    }


def test_what_is_no_address_stays():
    assert masked("a.example") == "a.example"
