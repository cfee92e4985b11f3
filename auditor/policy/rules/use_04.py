"""DT-USE-04: a token that was used when it should not have worked."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from auditor.model.finding import Severity, Violation
from auditor.model.history import State, Use
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import EventParams, Seconds, advances, states
from auditor.policy.sampling import days_ago, history_of
from auditor.policy.wording import iso, minute


class UsedInVain(EventParams):
    """How exact dates are, and how long such a use is spoken of."""

    skew_seconds: Seconds = 300
    """By how many seconds clocks may differ: a use so shortly after the end, or after the lookup that saw the token
    disabled, is none."""

    @cached_property
    def skew(self) -> timedelta:
        """``skew_seconds`` as a span."""
        return timedelta(seconds=self.skew_seconds)


class _Misuse(NamedTuple):
    use: Use
    was_expired: bool
    since: datetime
    """When the token ended, or was first seen disabled."""


def check(observation: Observation, token: TokenMetadata, params: UsedInVain, context: Context) -> Violation | None:
    """Fire where ``lastUsedDate`` advanced past ``expirationDate``, or while the token was disabled.

    It was disabled where a lookup before the use and the one that showed it say so. A later end, given afterwards,
    takes a use past the end back.
    """
    history = context.history
    seen = states(history, observation)
    was_disabled = token.enabled is False or any(
        state.metadata is not None and state.metadata.enabled is False for state in seen
    )
    last: _Misuse | None = None
    for _before, use in advances(history, observation):
        if context.now - use.observed_at >= params.kept:
            continue
        expired_at = _expired_at(use, token, seen, params)
        if expired_at is not None:
            last = _Misuse(use, True, expired_at)
            continue
        disabled_at = _disabled_at(use, observation, token, seen) if was_disabled else None
        if disabled_at is not None and use.used_at - disabled_at > params.skew:
            last = _Misuse(use, False, disabled_at)
    if last is None:
        return None
    use = last.use
    state = f"it expired on {minute(last.since)}" if last.was_expired else f"disabled since {minute(last.since)}"
    return Violation(
        RULE.id,
        Severity.CRITICAL,
        f"used on {minute(use.used_at)}"
        + (f" from {use.ip_address}" if use.ip_address else "")
        + f", though {state}{'' if last.was_expired else ' at the latest'}",
        {
            "reason": "expired" if last.was_expired else "disabled",
            "since": iso(last.since),
            "used_at": iso(use.used_at),
            "ip_address": use.ip_address,
            "seen_at": iso(use.observed_at),
        },
    )


def _expired_at(use: Use, token: TokenMetadata, seen: Sequence[State], params: UsedInVain) -> datetime | None:
    """Return when the token ended, where it had at the use by every end that it was known to have from then on."""
    if token.expiration_date is None or use.used_at <= token.expiration_date:
        return None
    last = token.expiration_date
    for state in reversed(seen):
        if state.metadata is not None:
            end = state.metadata.expiration_date
            if end is None:
                return None
            last = max(last, end)
        if state.at <= use.used_at:
            break
    return last if use.used_at - last > params.skew else None


def _disabled_at(use: Use, observation: Observation, token: TokenMetadata, seen: Sequence[State]) -> datetime | None:
    """Return since when the token was seen disabled, where it was so by the lookup that saw the use."""
    if not seen:
        return observation.disabled_since if token.enabled is False else None
    since: datetime | None = None
    for state in seen:
        if state.at > use.observed_at:
            break
        if state.metadata is None or state.metadata.enabled is not False:
            since = None
        elif since is None:
            since = state.at
    return since


RULE = Rule(
    id="DT-USE-04",
    title="Used while expired or disabled",
    kind=Kind.HISTORY,
    severity="critical",
    test=(
        "lastUsedDate advanced to later than expirationDate, or to later than the first of two lookups that saw "
        "enabled = false and of which the second showed the use; a use after the token was disabled and before a "
        "lookup saw it so cannot be told from one before"
    ),
    rationale=(
        "The platform should have refused it. Either it does not enforce the end, or the state was changed and put "
        "back between lookups, or the dates are not to be trusted: the token is not off when it is thought to be."
    ),
    remediation=(
        "Treat it as an incident: delete the token, read the environment's audit log around the use, and report it "
        "to the provider."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI4:2025",),
        Framework.NIST_800_53: ("AC-3", "SI-4"),
        Framework.ISO_27001: ("A.8.5",),
        Framework.PCI_DSS: ("10.4.1.1",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
        Framework.DORA: ("Art10",),
    },
    params=UsedInVain,
    check=check,
    can_speak=lambda seen: seen.is_watched,
    sample=Sample(
        metadata={"enabled": False},
        observation={"disabled_since": days_ago(5)},
        history=history_of(
            enabled=False, last_used_date=days_ago(6), uses=(Use(days_ago(6), days_ago(6), "203.0.113.7"),)
        ),
    ),
)
