"""DT-EXP-07: a token whose end was moved."""

from datetime import datetime
from operator import attrgetter, eq, ne
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import ReversibleParams, standing, steps
from auditor.policy.sampling import days_ahead, history_of
from auditor.policy.wording import iso, iso_or_none, minute

_end: Final = attrgetter("expiration_date")


class ExpirationMoved(ReversibleParams):
    """Which moves of the expiration date are spoken of, and for how long."""

    allow_shorten: bool = False
    """Whether a token may be given an earlier end, or one where it had none."""


def check(
    observation: Observation, _token: TokenMetadata, params: ExpirationMoved, context: Context
) -> Violation | None:
    """Fire where ``expirationDate`` differs from what it was, until it is put back.

    With ``allow_shorten`` only where it moved to later or was removed, until the token ends no later than before.
    """
    step = standing(
        steps(context.history, observation),
        params,
        context.now,
        _end,
        counts=_is_later if params.allow_shorten else ne,
        undoes=_is_no_later if params.allow_shorten else eq,
    )
    if step is None:
        return None
    before, after = step.before.expiration_date, step.after.expiration_date
    if after is None:
        what = f"its expiration date {_shown(before)} was removed"
    elif before is None:
        what = f"it was given the expiration date {_shown(after)}"
    else:
        what = f"its expiration date moved from {_shown(before)} to {_shown(after)}"
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"{what} {step.between}",
        {
            "expiration_date_before": iso_or_none(before),
            "expiration_date": iso_or_none(after),
            "changed_after": iso_or_none(step.since),
            "seen_at": iso(step.at),
        },
    )


def _shown(end: datetime | None) -> str:
    return "never" if end is None else minute(end)


def _is_later(before: datetime | None, after: datetime | None) -> bool:
    return before is not None and (after is None or after > before)


def _is_no_later(before: datetime | None, now: datetime | None) -> bool:
    return not _is_later(before, now)


RULE = Rule(
    id="DT-EXP-07",
    title="Expiration date moved or removed",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "expirationDate differs from that of an earlier lookup and was not put back; a date that came and went "
        "between two lookups cannot be seen"
    ),
    rationale=(
        "The expiration date of a token is not meant to be edited. A token that lives longer than was decided "
        "defeats the decision, and where the platform does not allow the edit, somebody found a way around it."
    ),
    remediation=(
        "Read the environment's audit log for the time between the two lookups. Unless the change was decided, "
        "rotate the token and delete this one."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI7:2025",),
        Framework.NIST_800_53: ("AC-2(4)", "AU-6"),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("8.2.4",),
        Framework.SOC_2: ("CC6.1", "CC8.1"),
        Framework.NIS2: ("11.2.2.f",),
        Framework.DORA: ("Art9",),
    },
    params=ExpirationMoved,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    sample=Sample(history=history_of(expiration_date=days_ahead(3))),
)
