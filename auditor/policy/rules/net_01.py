"""DT-NET-01: a token last used from a network that it should not be used from."""

from functools import cached_property
from typing import Literal

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.networks import PRIVATE, Cidr, Networks, parse_address
from auditor.policy.selectors import Predicate, Selector
from auditor.policy.wording import iso_or_none


class NetworkGrant(Selector):
    """Networks that the selected tokens may be used from."""

    cidrs: tuple[Cidr, ...] = Field(min_length=1)
    """Networks in CIDR notation."""


class AllowedNetworks(Params):
    """Where tokens may be used from."""

    cidrs: tuple[Cidr, ...] = ()
    """Networks for every token that no entry of ``networks`` selects."""
    networks: tuple[NetworkGrant, ...] = ()
    """Networks for selected tokens, in place of ``cidrs``: a token may be used from those of all entries that select
    it."""
    treat_private: Literal["check", "allow"] = "check"
    """``allow`` passes every private, loopback and link-local address; ``check`` compares it like any other."""

    @cached_property
    def general(self) -> Networks:
        """``cidrs``, compiled."""
        return Networks(self.cidrs)

    @cached_property
    def granted(self) -> tuple[tuple[Predicate, Networks], ...]:
        """``networks``, compiled."""
        return tuple((grant.compile(), Networks(grant.cidrs)) for grant in self.networks)


def check(
    observation: Observation, token: TokenMetadata, params: AllowedNetworks, context: Context
) -> Violation | None:
    """Fire where ``lastUsedIpAddress`` lies in none of the token's networks.

    Silent where the address is absent or is none, and for a token that no networks are configured for.
    """
    if token.last_used_ip_address is None:
        return None
    address = parse_address(token.last_used_ip_address)
    if address is None:
        return None
    is_configured = False
    for selects, networks in params.granted:
        if selects(observation, token, context.tier):
            is_configured = True
            if address in networks:
                return None
    if not is_configured and (not params.general or address in params.general):
        return None
    if params.treat_private == "allow" and address in PRIVATE:
        return None
    return Violation(
        RULE.id,
        Severity.CRITICAL if context.tier.is_high_risk else Severity.HIGH,
        f"last used from {token.last_used_ip_address}, outside of its allowed networks",
        {
            "last_used_ip_address": token.last_used_ip_address,
            "last_used_date": iso_or_none(token.last_used_date),
            "risk_tier": context.tier,
        },
    )


def unassessable(params: AllowedNetworks, _setting: Setting) -> str | None:
    """Return a reason where no networks are configured."""
    if params.cidrs or params.networks:
        return None
    return "no allowed networks are configured; set cidrs or networks"


RULE = Rule(
    id="DT-NET-01",
    title="Last use from outside allowed networks",
    kind=Kind.SNAPSHOT,
    severity="high (critical with a high-risk scope)",
    test="lastUsedIpAddress lies in none of the networks allowed for the token",
    rationale="A use from a place where no consumer runs is the first and often the only sign of a leaked token.",
    remediation=(
        "Find out who sat at that address. Unless a known consumer did, disable the token at once, replace it and read "
        "the environment's audit log; if one did, add its network to the policy."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI2:2025",),
        Framework.NIST_800_53: ("AC-2(12)", "SI-4"),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("10.4.1.1",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC6.6", "CC7.2"),
        Framework.NIS2: ("3.2.3.c",),
        Framework.DORA: ("Art10",),
    },
    params=AllowedNetworks,
    check=check,
    unassessable=unassessable,
    example=(
        'cidrs = ["203.0.113.0/24", "2001:db8:10::/48"]\n'
        'networks = [{ owner = "svc-ci", cidrs = ["198.51.100.16/28"] }]\n'
        'treat_private = "allow"'
    ),
    sample=Sample(metadata={"last_used_ip_address": "198.51.100.23"}, params={"cidrs": ["203.0.113.0/24"]}),
)
