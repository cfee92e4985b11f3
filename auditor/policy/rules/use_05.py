"""DT-USE-05: a token that was used like clockwork and fell silent."""

from datetime import timedelta
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.history import Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import EventParams, seen_uses
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.wording import counted, iso, minute

_LONGEST_REGULAR = 50


class Heartbeat(EventParams):
    """What a regular use is, and how long its end is spoken of."""

    sweeps: Annotated[int, Field(ge=10, le=_LONGEST_REGULAR, strict=True)] = 10
    """How many sweeps must have seen a new use, with no silence among them that would itself be one."""
    gaps: Annotated[int, Field(ge=2, le=100, strict=True)] = 5
    """A silence is longer than so many of the usual gaps between two of these uses (their median)."""

    @property
    def look_back(self) -> timedelta:
        """How far back the rule must see: to the last use, as long before the silence began to count as it is kept."""
        return 2 * self.kept


def check(observation: Observation, token: TokenMetadata, params: Heartbeat, context: Context) -> Violation | None:
    """Fire where the last use of a regular token lies further back than ``gaps`` of its usual gaps, until it is used.

    Silent for a token that is disabled or expired: its silence is no surprise.
    """
    if not context.history.uses or token.enabled is False:
        return None
    if token.expiration_date is not None and token.expiration_date <= context.now:
        return None
    used = sorted({use.used_at for use in seen_uses(context.history, observation)})[-params.sweeps :]
    if len(used) < params.sweeps:
        return None
    gaps = sorted(later - earlier for earlier, later in pairwise(used))
    usual = gaps[len(gaps) // 2]
    limit = params.gaps * usual
    silence = context.now - used[-1]
    if gaps[-1] > limit or silence <= limit or silence - limit >= params.kept:
        return None
    return Violation(
        RULE.id,
        Severity.LOW,
        f"used about every {_span(usual)}, and not since {minute(used[-1])}",
        {
            "last_used_date": iso(used[-1]),
            "usual_gap_seconds": int(usual.total_seconds()),
            "uses": len(used),
        },
    )


def _span(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return counted(round(span / timedelta(days=1)), "day")
    if span >= timedelta(hours=2):
        return counted(round(span / timedelta(hours=1)), "hour")
    return counted(max(1, round(span / timedelta(minutes=1))), "minute")


RULE = Rule(
    id="DT-USE-05",
    title="Heartbeat lost",
    kind=Kind.HISTORY,
    severity="low",
    test=(
        "the last N uses that sweeps saw were regular, and now - lastUsedDate is longer than M times their median "
        "gap; more than one use between two sweeps looks like one"
    ),
    rationale=(
        "A consumer that reported for weeks and stopped has failed, was shut down or has a new token. In each case "
        "nobody needs this one as it is."
    ),
    remediation=(
        "Ask the owner whether the consumer still runs. If it is gone or has a successor, delete the token; if it "
        "failed, this may be the first that anybody hears of it."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2(12)",),
        Framework.ISO_27001: ("A.8.16",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
    },
    params=Heartbeat,
    check=check,
    can_speak=lambda seen: seen.is_watched,
    sample=Sample(
        metadata={"last_used_date": days_ago(6)},
        history=history_of(
            last_used_date=days_ago(6),
            uses=tuple(Use(days_ago(n - 0.1), days_ago(n), "203.0.113.7") for n in range(18, 5, -1)),
        ),
    ),
)
