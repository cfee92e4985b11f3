"""DT-NET-05: a service's token used from where people sit."""

from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.networks import Cidr, Networks, parse_address
from auditor.policy.wording import iso_or_none


class HumanNetworks(Params):
    """Where people sit."""

    human_cidrs: tuple[Cidr, ...] = ()
    """Networks of offices, workstations and the VPN, in CIDR notation."""

    @cached_property
    def networks(self) -> Networks:
        """``human_cidrs``, compiled."""
        return Networks(self.human_cidrs)


def check(
    _observation: Observation, token: TokenMetadata, params: HumanNetworks, _context: Context
) -> Violation | None:
    """Fire where a token that is not personal was last used from one of ``human_cidrs``.

    Silent where ``personalAccessToken`` or ``lastUsedIpAddress`` is absent, or the address is none.
    """
    if token.personal_access_token is not False or token.last_used_ip_address is None:
        return None
    address = parse_address(token.last_used_ip_address)
    if address is None or address not in params.networks:
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f"a service's token, last used from {token.last_used_ip_address}, where people sit",
        {
            "last_used_ip_address": token.last_used_ip_address,
            "last_used_date": iso_or_none(token.last_used_date),
            "personal_access_token": False,
        },
    )


def unassessable(params: HumanNetworks, _setting: Setting) -> str | None:
    """Return a reason where no networks are configured."""
    return None if params.human_cidrs else "no networks of people are configured; set human_cidrs"


RULE = Rule(
    id="DT-NET-05",
    title="Service token used from human network",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="lastUsedIpAddress lies in human_cidrs and personalAccessToken is false",
    rationale="Somebody who borrows a service's token acts under its name, and leaves with a copy of it.",
    remediation="Ask who used it; give that person a token of their own with the scopes they need; rotate this one.",
    controls={
        Framework.OWASP_NHI: ("NHI10:2025",),
        Framework.NIST_800_53: ("AC-2(12)", "IA-2"),
        Framework.ISO_27001: ("A.5.16",),
        Framework.PCI_DSS: ("8.2.2",),
        Framework.CIS: ("5.4",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.5.2.a",),
    },
    params=HumanNetworks,
    check=check,
    unassessable=unassessable,
    example='human_cidrs = ["10.20.0.0/16", "198.51.100.128/25"]',
    sample=Sample(metadata={"last_used_ip_address": "10.20.4.17"}, params={"human_cidrs": ["10.20.0.0/16"]}),
)
