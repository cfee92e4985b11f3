"""DT-PAT-01: a person's token that a machine uses."""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.networks import Cidr, Networks, parse_address
from auditor.policy.selectors import Regex

_AUTOMATION: Final = (
    r"(?i)(?<![a-z])(?:ci|cd|cicd|jenkins|gitlab|github|azure-?devops|argo|tekton|terraform|ansible|puppet|monaco"
    r"|pipeline|build|deploy|deployment|automation|cron|job|batch|scheduler|script|bot|svc|service|exporter|operator)"
    r"(?![a-z])"
)


class MachineUse(Params):
    """How a machine's use of a token shows."""

    regex: Regex = _AUTOMATION
    """A name in which this regular expression is found is a machine's."""
    server_cidrs: tuple[Cidr, ...] = ()
    """Networks where only machines sit, in CIDR notation."""

    @cached_property
    def finds(self) -> Callable[[str], re.Match[str] | None]:
        """The search for ``regex``."""
        return re.compile(self.regex).search

    @cached_property
    def servers(self) -> Networks:
        """``server_cidrs``, compiled."""
        return Networks(self.server_cidrs)


def check(_observation: Observation, token: TokenMetadata, params: MachineUse, _context: Context) -> Violation | None:
    """Fire where a personal token has a machine's name, or was last used from one of ``server_cidrs``.

    Silent where ``personalAccessToken`` is absent. A machine's regular cadence is not looked at: one observation does
    not show it.
    """
    if token.personal_access_token is not True:
        return None
    found = params.finds(token.name) if token.name else None
    address = parse_address(token.last_used_ip_address) if params.server_cidrs and token.last_used_ip_address else None
    if found is not None:
        sign = f'its name says "{found[0]}"'
    elif address is not None and address in params.servers:
        sign = f"it was last used from {token.last_used_ip_address}, where servers sit"
    else:
        return None
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"a personal token that a service seems to use: {sign}",
        {"personal_access_token": True, "name": token.name, "last_used_ip_address": token.last_used_ip_address},
    )


RULE = Rule(
    id="DT-PAT-01",
    title="Personal token used as a service credential",
    kind=Kind.SNAPSHOT,
    severity="high",
    test="personalAccessToken, and the name looks like automation or lastUsedIpAddress lies in server_cidrs",
    rationale=(
        "A personal token ends and changes with its person: the service stops when they leave, and until then acts in "
        "their name."
    ),
    remediation="Create an API token with a service as its owner, move the consumer to it, then delete this one.",
    controls={
        Framework.OWASP_NHI: ("NHI1:2025", "NHI4:2025"),
        Framework.NIST_800_53: ("IA-2", "IA-4"),
        Framework.ISO_27001: ("A.5.16",),
        Framework.PCI_DSS: ("8.2.2",),
        Framework.CIS: ("5.5",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.5.2.a",),
    },
    params=MachineUse,
    check=check,
    example="regex = '(?i)^(ci|svc|bot)-'\nserver_cidrs = [\"203.0.113.0/24\"]",
    sample=Sample(metadata={"name": "jenkins-nightly", "owner": "mara.lindqvist", "personal_access_token": True}),
)
