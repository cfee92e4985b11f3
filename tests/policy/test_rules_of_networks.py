"""DT-NET: where a token was last used from."""

from typing import Any

import pytest
from pydantic import ValidationError

from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.networks import Networks, parse_address
from auditor.policy.registry import rules
from tests.policy.policy_samples import observed, policy_of, said, severity, token

NO = None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.0", NO),
        ("203.0.113.255", NO),
        ("203.0.112.255", "high"),
        ("203.0.114.0", "high"),
        ("::ffff:203.0.113.9", NO),
        ("::ffff:203.0.114.9", "high"),
        ("2001:db8:10::1", NO),
        ("2001:db8:11::1", "high"),
        ("2001:db8:10:ffff:ffff:ffff:ffff:ffff", NO),
        ("2001:db8:f:ffff:ffff:ffff:ffff:ffff", "high"),
        ("192.0.2.7", NO),
        ("192.0.2.8", "high"),
        ("10.1.2.3", "high"),
        (None, NO),
        ("", NO),
        ("not an address", NO),
        ("203.0.114.0:443", NO),
    ],
)
def test_net_01_fires_outside_of_the_networks(address: str | None, expected: str | None) -> None:
    policy = policy_of("DT-NET-01", cidrs=["203.0.113.0/24", "2001:db8:10::/48", "192.0.2.7"])
    assert severity(policy, observed(token(last_used_ip_address=address))) == expected


def test_net_01_is_critical_for_a_high_risk_token() -> None:
    policy = policy_of("DT-NET-01", cidrs=["198.51.100.0/24"])
    assert severity(policy, observed(token(scopes=("settings.write",)))) == "critical"


@pytest.mark.parametrize(
    ("owner", "address", "expected"),
    [
        ("svc-ci", "198.51.100.1", NO),
        ("svc-ci", "198.51.101.1", NO),
        ("svc-ci", "203.0.113.1", "high"),
        ("svc-other", "203.0.113.1", NO),
        ("svc-other", "198.51.100.1", "high"),
    ],
)
def test_net_01_takes_the_networks_of_all_entries_that_select(owner: str, address: str, expected: str | None) -> None:
    policy = policy_of(
        "DT-NET-01",
        cidrs=["203.0.113.0/24"],
        networks=[
            {"owner": "svc-ci", "cidrs": ["198.51.100.0/24"]},
            {"owner": "svc-c*", "cidrs": ["198.51.101.0/24"]},
        ],
    )
    assert severity(policy, observed(token(owner=owner, last_used_ip_address=address))) == expected


def test_net_01_is_silent_for_a_token_that_no_networks_are_configured_for() -> None:
    policy = policy_of("DT-NET-01", networks=[{"owner": "svc-ci", "cidrs": ["198.51.100.0/24"]}])
    assert said(policy, observed(token(owner="svc-other"))) is None


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.1.1", "127.0.0.1", "fd00::1", "fe80::1", "::1"])
def test_net_01_passes_private_addresses_only_where_told(address: str) -> None:
    seen = observed(token(last_used_ip_address=address))
    assert severity(policy_of("DT-NET-01", cidrs=["203.0.113.0/24"]), seen) == "high"
    assert severity(policy_of("DT-NET-01", cidrs=["203.0.113.0/24"], treat_private="allow"), seen) is None


@pytest.mark.parametrize(
    ("personal", "address", "expected"),
    [
        (False, "10.20.255.255", "medium"),
        (False, "10.20.0.0", "medium"),
        (False, "10.19.255.255", NO),
        (False, "10.21.0.0", NO),
        (False, "::ffff:10.20.0.1", "medium"),
        (True, "10.20.0.1", NO),
        (None, "10.20.0.1", NO),
        (False, None, NO),
        (False, "10.20", NO),
    ],
)
def test_net_05_fires_for_a_services_token_among_people(
    personal: bool | None, address: str | None, expected: str | None
) -> None:
    seen = observed(token(personal_access_token=personal, last_used_ip_address=address))
    assert severity(policy_of("DT-NET-05", human_cidrs=["10.20.0.0/16"]), seen) == expected


@pytest.mark.parametrize(
    ("cidr", "message"),
    [
        ("10.0.0.1/8", "has host bits set"),
        ("10.0.0.0/33", "not a network in CIDR notation"),
        ("office", "not a network in CIDR notation"),
        ("", "not a network in CIDR notation"),
        ("::ffff:10.0.0.0/104", "write the IPv4 network"),
    ],
)
def test_a_network_that_is_none_is_refused(cidr: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        policy_of("DT-NET-05", human_cidrs=[cidr])


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.7/32", "::/0", "2001:db8::/33"])
def test_networks_agree_with_the_standard_library(cidr: str) -> None:
    import ipaddress

    network = ipaddress.ip_network(cidr)
    for text in ("0.0.0.0", "10.0.0.7", "10.255.255.255", "11.0.0.0", "255.255.255.255", "::", "2001:db8:8000::"):
        address = parse_address(text)
        assert address is not None
        assert (address in Networks([cidr])) is (ipaddress.ip_address(text) in network), text


def test_no_networks_are_false_and_hold_nothing() -> None:
    address = parse_address("10.0.0.1")
    assert address is not None
    assert not Networks([])
    assert address not in Networks([])


@pytest.mark.parametrize(
    "table", [{"DT-NET-01": {"networks": [{"owner": "x"}]}}, {"DT-NET-05": {"human_cidrs": "10.0.0.0/8"}}]
)
def test_networks_of_the_wrong_shape_are_refused(table: dict[str, Any]) -> None:
    document = PolicyDocument.model_validate({"name": "test", "rules": table})
    with pytest.raises(ValidationError):
        Policy(document, tuple(rules().values()), feeds=Feeds(), environment_kind=None)
