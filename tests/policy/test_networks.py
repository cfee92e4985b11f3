"""Addresses are told apart by the networks they lie in."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.policy.networks import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.0", "203.0.113.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("203.0.114.0", "203.0.114.0/24"),
        ("2001:db8:1::1", "2001:db8:1::/48"),
        ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::/48"),
        ("2001:db8:2::", "2001:db8:2::/48"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("not an address", "not an address"),
        ("", ""),
    ],
)
def test_address_lies_in_the_network_around_it(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_networks_of_version_4_are_those_of_the_standard_library(address: ipaddress.IPv4Address, prefix: int) -> None:
    assert network_of(str(address), v4_prefix=prefix) == str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))


@given(st.ip_addresses(v=6), st.integers(0, 128))
def test_networks_of_version_6_are_those_of_the_standard_library(address: ipaddress.IPv6Address, prefix: int) -> None:
    if address.ipv4_mapped is None:
        wanted = str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
        assert network_of(str(address), v6_prefix=prefix) == wanted
