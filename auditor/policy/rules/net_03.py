"""DT-NET-03: a token that was used from inside, and now from outside."""

from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.history import Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample, Setting
from auditor.policy.events import EventParams, seen_uses
from auditor.policy.networks import PRIVATE, Cidr, Networks, parse_address
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.wording import iso, minute


class AddressClasses(EventParams):
    """Which addresses are the organisation's own, and how long a use from elsewhere is spoken of."""

    egress_cidrs: tuple[Cidr, ...] = ()
    """Networks that the organisation's own traffic leaves from, in CIDR notation; private addresses are its own too."""

    @cached_property
    def egress(self) -> Networks:
        """``egress_cidrs``, compiled."""
        return Networks(self.egress_cidrs)


def check(
    observation: Observation, _token: TokenMetadata, params: AddressClasses, context: Context
) -> Violation | None:
    """Fire where ``lastUsedIpAddress`` went from a private or egress address to any other.

    Uses without an address are passed over. Going back to the inside undoes nothing: the use took place.
    """
    last: tuple[Use, Use] | None = None
    inside: Use | None = None
    for use in seen_uses(context.history, observation):
        address = parse_address(use.ip_address) if use.ip_address else None
        if address is None:
            continue
        if address in PRIVATE or address in params.egress:
            inside = use
            continue
        if inside is not None and context.now - use.observed_at < params.kept:
            last = inside, use
        inside = None
    if last is None:
        return None
    before, use = last
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"used on {minute(use.used_at)} from the public address {use.ip_address}, after {before.ip_address} inside",
        {
            "ip_address_before": before.ip_address,
            "ip_address": use.ip_address,
            "used_at": iso(use.used_at),
            "seen_at": iso(use.observed_at),
        },
    )


def unassessable(params: AddressClasses, _setting: Setting) -> str | None:
    """Return a reason where nothing says which public addresses are the organisation's own."""
    return None if params.egress_cidrs else "no egress networks are configured; set egress_cidrs"


RULE = Rule(
    id="DT-NET-03",
    title="Address class changed (private/egress to public)",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "lastUsedIpAddress was private or in egress_cidrs at one use seen and neither at the next; of the uses "
        "between two sweeps only the last can be seen"
    ),
    rationale=(
        "A token that never left the organisation's own networks and is then used from the internet has most likely "
        "been carried out."
    ),
    remediation=(
        "Disable the token at once unless the owner knows the address; replace it and read the environment's audit "
        "log from that use on. If the address is the organisation's own, add its network to egress_cidrs."
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
    params=AddressClasses,
    check=check,
    can_speak=lambda seen: seen.is_watched,
    unassessable=unassessable,
    example='egress_cidrs = ["203.0.113.0/26", "2001:db8:10::/48"]',
    sample=Sample(
        metadata={"last_used_ip_address": "198.51.100.23"},
        history=history_of(last_used_date=days_ago(1.5), uses=(Use(days_ago(1), days_ago(1.5), "10.20.0.7"),)),
        params={"egress_cidrs": ["203.0.113.0/26"]},
    ),
)
