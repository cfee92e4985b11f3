"""DT-EXP-06: many tokens that end at the same time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.fleet import ExpiryWindow
from auditor.policy.sampling import SAMPLED_AT
from auditor.policy.thresholds import Days
from auditor.policy.wording import counted, day

Count = Annotated[int, Field(ge=2, le=1_000_000_000, strict=True)]
Percent = Annotated[float, Field(gt=0, le=100)]


_LAST_DAY: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""Of what Python can reckon with; tokens are made to end on it."""


class Cliff(Params):
    """How many ends at one time are too many."""

    window_days: Days = 1
    """The span of days that is looked at, from midnight UTC."""
    min_count: Count = 10
    """From so many tokens on, a window is a cliff."""
    pct: Percent = 10
    """From so many percent of the live tokens on, a window is a cliff."""
    pct_min_count: Count = 3
    """The share counts only from so many tokens on."""
    needs: Literal["any", "all"] = "any"
    """Whether the count or the share will do, or both are needed; for a large fleet, where many end on any day."""


def check(window: ExpiryWindow, params: Cliff, _now: datetime) -> Iterator[Violation]:
    """Fire for a window with at least ``min_count`` ends or at least ``pct`` percent of the live tokens' ends."""
    are_many = window.tokens >= params.min_count
    is_large_share = window.tokens >= params.pct_min_count and window.tokens * 100 >= params.pct * window.active
    if not ((are_many and is_large_share) if params.needs == "all" else (are_many or is_large_share)):
        return
    last = window.starts_at + min(timedelta(days=params.window_days - 1), _LAST_DAY - window.starts_at)
    span = f"on {day(window.starts_at)}"
    if params.window_days > 1:
        span = f"from {day(window.starts_at)} to {day(last)}"
    share = round(100 * window.tokens / window.active, 1)
    yield Violation(
        RULE.id,
        Severity.MEDIUM,
        f"{counted(window.tokens, 'token')} of {window.active} expire {span}",
        {
            "first_day": day(window.starts_at),
            "last_day": day(last),
            "tokens": window.tokens,
            "active_tokens": window.active,
            "percent": share,
        },
        discriminator=day(window.starts_at),
    )


RULE = Rule(
    id="DT-EXP-06",
    title="Expiry cliff",
    kind=Kind.FLEET,
    severity="medium",
    test="at least N tokens, or P percent of the live ones, expire within one span of days",
    rationale=(
        "Tokens that were made together end together. Whoever has to renew them gets no chance to learn from the first "
        "one, and one missed day stops everything at once."
    ),
    remediation=(
        "Renew some of them early, spread over the weeks before, each with a different end. Create tokens of one batch "
        "with lifetimes that differ by days."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI7:2025",),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.SOC_2: ("A1.2",),
        Framework.DORA: ("Art9",),
    },
    params=Cliff,
    check=check,
    candidates=ExpiryWindow,
    sample=Sample(candidate=ExpiryWindow(SAMPLED_AT.replace(month=12, hour=0), 14, 120)),
)
