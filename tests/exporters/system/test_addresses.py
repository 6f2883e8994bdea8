"""Addresses in networks, by their texts."""

from __future__ import annotations

import ipaddress

import pytest

from dnsvigil.system.addresses import begin_of, is_in


@pytest.mark.parametrize("text", ["10.0.3.0/24", "16.0.0.0/6", "0.0.0.0/0", "2001:db8::/64", "2001:db8::/33", "::/3"])
def test_all_addresses_of_a_network_begin_alike(text):
    network = ipaddress.ip_network(text)
    for place in (0, 1, network.num_addresses // 3, network.num_addresses // 2, network.num_addresses - 1):
        assert str(network[place]).startswith(begin_of(network))


@pytest.mark.parametrize(
    ("text", "network", "inside"),
    [
        ("192.0.2.7", "192.0.2.0/24", True),
        ("192.0.3.0", "192.0.2.0/24", False),
        ("192.0.2.0/25", "192.0.2.0/24", True),
        ("192.0.2.0/24", "192.0.2.0/24", True),
        ("192.0.2.0/23", "192.0.2.0/24", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:DB8:0:7::/64", "2001:db8::/32", True),
        ("::ffff:192.0.2.7", "192.0.2.0/24", False),
        ("192.0.2.7", "::/0", False),
        ("192.0.2.7/x", "192.0.2.0/24", False),
        ("192.0.2.7\0", "192.0.2.0/24", False),
        ("\ud800", "192.0.2.0/24", False),
        ("www.example.com", "0.0.0.0/0", False),
        ("", "0.0.0.0/0", False),
    ],
)
def test_a_text_lies_in_a_network_as_a_whole_or_not_at_all(text, network, inside):
    assert is_in(text, ipaddress.ip_network(network)) == inside
