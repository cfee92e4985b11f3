"""DT-STA-03: a stored token that the environment no longer knows, before its time."""

from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.history import State
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import Count, EventParams, between, states
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.thresholds import Days
from auditor.policy.wording import day, iso, iso_or_none

_MISSING: Final = Outcome.MISSING


class Vanished(EventParams):
    """When a missing token has vanished, and how long it is spoken of."""

    purge_days: Days = 7
    """How many days the platform keeps an expired token: one that is missing from then on was purged, which is no
    finding."""
    confirm_sweeps: Count = 2
    """In how many sweeps running the token must be missing; lookups that failed count neither way."""
    recent_use_days: Days = 7
    """A token that was used so many days before it was missing makes the finding high."""

    @cached_property
    def purged_after(self) -> timedelta:
        """``purge_days`` as a span."""
        return timedelta(days=self.purge_days)

    @cached_property
    def recently(self) -> timedelta:
        """``recent_use_days`` as a span."""
        return timedelta(days=self.recent_use_days)

    @property
    def look_back(self) -> timedelta:
        """How far back the rule must see: to the first miss, also where the sweep that confirms it comes late."""
        return 2 * self.kept

    def speaks_of(self, since: datetime, misses: int, now: datetime) -> bool:
        """Whether an absence of so many lookups is still spoken of; the lookup that confirms it always does."""
        return misses == self.confirm_sweeps or now - since < self.kept


def check(observation: Observation, token: TokenMetadata, params: Vanished, context: Context) -> Violation | None:
    """Fire where lookups say that there is no such token, though it did not end in the ordinary way.

    A 404 is read as *purge* where the token had been expired for as long as the platform keeps one, and as *expired*
    where it was last found after its end: both are ordinary. Otherwise it was *revoked*; or, where no lookup ever found
    it, it is stored for the *wrong environment*, or was deleted before it was first looked up.
    """
    history = context.history
    misses = history.misses + 1
    if misses < params.confirm_sweeps:
        return None
    if history.last_found is None:
        since = observation.first_seen_at
        return _never_found(since) if since is not None and params.speaks_of(since, misses, context.now) else None
    seen = states(history, observation)
    if not seen or seen[-1].outcome is not _MISSING:
        return None
    gone = seen[-1]
    if not params.speaks_of(gone.at, misses, context.now) or _reading(token, gone, params) != "revoked":
        return None
    end, used = token.expiration_date, token.last_used_date
    is_recent = used is not None and gone.at - used <= params.recently
    return Violation(
        RULE.id,
        Severity.HIGH if is_recent else Severity.MEDIUM,
        f"deleted {between(gone.previous_at, gone.at)}, {_when(end, gone.at)}"
        + (f"; last used on {day(used)}" if used is not None else "; never used"),
        {
            "reading": "revoked",
            "deleted_after": iso_or_none(gone.previous_at),
            "missing_since": iso(gone.at),
            "expiration_date": iso_or_none(end),
            "last_used_date": iso_or_none(used),
            "enabled": token.enabled,
        },
    )


def _reading(token: TokenMetadata, gone: State, params: Vanished) -> str:
    end = token.expiration_date
    if end is None or gone.at < end:
        return "revoked"
    if gone.at - end >= params.purged_after:
        return "purge"
    # The platform still kept it, so somebody deleted it; after its end is nobody's concern.
    return "expired" if gone.previous_at is not None and gone.previous_at >= end else "revoked"


def _when(end: datetime | None, gone_at: datetime) -> str:
    if end is None:
        return "though it had no expiration date"
    if gone_at < end:
        return f"before its expiration on {day(end)}"
    return f"around its expiration on {day(end)}, sooner than the platform purges"


def _never_found(since: datetime) -> Violation:
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f"stored since {day(since)} at the latest, and never found in this environment: stored for the wrong "
        "environment, or deleted before its first lookup",
        {"reading": "wrong environment", "first_seen_at": iso(since), "missing_since": iso(since)},
    )


RULE = Rule(
    id="DT-STA-03",
    title="Vanished before expiry",
    kind=Kind.HISTORY,
    severity="medium (high if used in the last 7 days)",
    test=(
        "lookups of at least N sweeps running answer 404 (revoked, or the wrong environment); an expired token that "
        "the platform purged, or that was deleted after its end, is none. Who deleted it, and whether a token that "
        "was never found existed at all, cannot be seen"
    ),
    rationale=(
        "Somebody deleted a token that should still have worked: its consumer fails, or the deletion covers a trace. "
        "A secret that never worked here is stored in the wrong place, where it is exposed for nothing."
    ),
    remediation=(
        "Ask the owner. If the token was revoked on purpose, remove its secret from the store and see that its "
        "consumer has a successor; if not, read the environment's audit log. If it belongs to another environment, "
        "move it."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2(4)", "CM-8"),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("10.2.1.5",),
        Framework.CIS: ("6.2",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("11.2.2.f",),
    },
    params=Vanished,
    check=check,
    speaks_of_missing=True,
    sample=Sample(
        metadata=None,
        history=history_of(days=1, last_used_date=days_ago(1.5)),
        params={"confirm_sweeps": 1},
    ),
)
