"""DT-NET-02: a token used from another network than ever before."""

from typing import NamedTuple

from auditor.model.finding import Severity, Violation
from auditor.model.history import Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import Count, PrefixParams, seen_uses
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.wording import counted, iso, minute


class NetworkChanged(PrefixParams):
    """What one network is, and how long a change is spoken of."""

    sweeps: Count = 5
    """How many sweeps running must have seen a new use from one network before another is a change."""


class _Change(NamedTuple):
    before: str
    sweeps: int
    after: str
    use: Use


def check(
    observation: Observation, _token: TokenMetadata, params: NetworkChanged, context: Context
) -> Violation | None:
    """Fire where ``lastUsedIpAddress`` lies outside of the network that at least ``sweeps`` uses before came from.

    Uses without an address are passed over. Going back to the old network undoes nothing: the use took place.
    """
    last: _Change | None = None
    current, run = "", 0
    for use in seen_uses(context.history, observation):
        network = params.network_of(use)
        if network is None:
            continue
        if network == current:
            run += 1
            continue
        if run >= params.sweeps and context.now - use.observed_at < params.kept:
            last = _Change(current, run, network, use)
        current, run = network, 1
    if last is None:
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f"used on {minute(last.use.used_at)} from {last.use.ip_address}, outside of {last.before}, where the "
        f"{counted(last.sweeps, 'use')} that sweeps saw before came from",
        {
            "network_before": last.before,
            "uses_before": last.sweeps,
            "network": last.after,
            "ip_address": last.use.ip_address,
            "used_at": iso(last.use.used_at),
            "seen_at": iso(last.use.observed_at),
        },
    )


RULE = Rule(
    id="DT-NET-02",
    title="Source network changed",
    kind=Kind.HISTORY,
    severity="medium",
    test=(
        "lastUsedIpAddress left the network, of the length of the prefixes, that the uses seen by at least N sweeps "
        "running came from; of the uses between two sweeps only the last can be seen"
    ),
    rationale="A consumer seldom moves. A token that suddenly comes from elsewhere may have been copied there.",
    remediation=(
        "Ask the owner whether the consumer moved. Unless it did, disable the token, replace it and read the "
        "environment's audit log from that use on."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI2:2025",),
        Framework.NIST_800_53: ("AC-2(12)", "SI-4"),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("10.4.1.1",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
        Framework.DORA: ("Art10",),
    },
    params=NetworkChanged,
    check=check,
    can_speak=lambda seen: seen.is_watched,
    sample=Sample(
        metadata={"last_used_ip_address": "198.51.100.23"},
        history=history_of(
            last_used_date=days_ago(1.5),
            uses=tuple(Use(days_ago(n), days_ago(n + 0.5), "203.0.113.7") for n in range(9, 0, -1)),
        ),
    ),
)
