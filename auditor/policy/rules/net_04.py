"""DT-NET-04: a token that is used from everywhere."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.history import Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import Count, PrefixParams, seen_uses
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.thresholds import Days
from auditor.policy.wording import day, listed


class ManyNetworks(PrefixParams):
    """How many networks are too many, and how long they are spoken of."""

    networks: Count = 3
    """How many networks a token may be used from within the window."""
    window_days: Days = 7
    """The length of the window in days; it ends at each use."""

    @cached_property
    def window(self) -> timedelta:
        """``window_days`` as a span."""
        return timedelta(days=self.window_days)

    @property
    def look_back(self) -> timedelta:
        """How far back the rule must see: the whole window of a use that is still spoken of."""
        return self.kept + self.window


def check(observation: Observation, _token: TokenMetadata, params: ManyNetworks, context: Context) -> Violation | None:
    """Fire where uses within ``window_days`` came from more than ``networks`` networks."""
    placed = [
        (use, network)
        for use in seen_uses(context.history, observation)
        if (network := params.network_of(use)) is not None
    ]
    if len({network for _use, network in placed}) <= params.networks:
        return None
    for position in range(len(placed) - 1, -1, -1):
        last, _network = placed[position]
        if context.now - last.observed_at >= params.kept:
            return None
        networks = _within(placed[: position + 1], last, params)
        if len(networks) > params.networks:
            return Violation(
                RULE.id,
                Severity.MEDIUM,
                f"used from {len(networks)} networks in the {params.window_days} days up to {day(last.used_at)}: "
                f"{listed(networks)}",
                {
                    "networks": networks,
                    "window_days": params.window_days,
                    "until": day(last.used_at),  # a day, so that uses of the same day change nothing
                },
            )
    return None


def _within(placed: Sequence[tuple[Use, str]], last: Use, params: ManyNetworks) -> list[str]:
    return sorted({network for use, network in placed if timedelta() <= last.used_at - use.used_at < params.window})


RULE = Rule(
    id="DT-NET-04",
    title="Many source networks for one token",
    kind=Kind.HISTORY,
    severity="medium",
    test=(
        "lastUsedIpAddress lay in more than N networks, of the length of the prefixes, within the days of the "
        "window; of the uses between two sweeps only the last can be seen, so there may be more"
    ),
    rationale=(
        "One token in many places is shared: it cannot be rotated without breaking somebody, and nobody can say who "
        "used it."
    ),
    remediation=(
        "Give each consumer a token of its own, then delete this one. Where a consumer runs behind many addresses by "
        "design, exempt it or widen the prefixes."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI9:2025",),
        Framework.NIST_800_53: ("AC-2(12)",),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("8.2.2",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
    },
    params=ManyNetworks,
    check=check,
    can_speak=lambda seen: seen.is_watched,
    sample=Sample(
        history=history_of(
            last_used_date=days_ago(1.5),
            last_used_ip_address="192.0.2.30",
            uses=tuple(
                Use(days_ago(5 - n), days_ago(5.5 - n), address)
                for n, address in enumerate(("198.51.100.4", "10.0.3.9", "10.8.0.2", "192.0.2.61", "192.0.2.30"))
            ),
        )
    ),
)
