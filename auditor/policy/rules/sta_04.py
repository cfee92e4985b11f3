"""DT-STA-04: a token that was gone and is there again."""

from auditor.model.finding import Severity, Violation
from auditor.model.history import History, State
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import Count, EventParams, between, states
from auditor.policy.sampling import days_ago, ordinary_observation, ordinary_token
from auditor.policy.wording import counted, iso, iso_or_none, minute


class CameBack(EventParams):
    """When a token counts as gone, and how long its return is spoken of."""

    confirm_sweeps: Count = 2
    """In how many sweeps running it must have been missing; lookups that failed count neither way."""


def check(observation: Observation, _token: TokenMetadata, params: CameBack, context: Context) -> Violation | None:
    """Fire where a token is found that lookups had said does not exist; until it is missing again."""
    last: tuple[State | None, State] | None = None
    before: State | None = None
    for state in states(context.history, observation):
        is_return = state.outcome is Outcome.FOUND and state.misses_before >= params.confirm_sweeps
        if is_return and context.now - state.at < params.kept:
            last = before, state
        before = state
    if last is None:
        return None
    gone, back = last
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"missing in {counted(back.misses_before, 'sweep')}"
        + (f" from {minute(gone.at)} on" if gone else "")
        + f", and found again: it came back {between(back.previous_at, back.at)}",
        {
            "misses": back.misses_before,
            "missing_since": iso(gone.at) if gone else None,
            "missing_until": iso_or_none(back.previous_at),
            "seen_at": iso(back.at),
        },
    )


RULE = Rule(
    id="DT-STA-04",
    title="Came back",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "lookups of at least N sweeps running answered 404, and a later one found the token; a shorter absence than "
        "that is not looked at"
    ),
    rationale=(
        "A deleted token cannot be restored by ordinary means. One that works again points to a restored or swapped "
        "environment, to answers that were tampered with, or to lookups that did not reach where they should."
    ),
    remediation=(
        "See whether the environment was restored or its address now leads elsewhere. If not, read its audit log, "
        "and replace the token."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI4:2025",),
        Framework.NIST_800_53: ("AC-2(4)", "SI-4"),
        Framework.ISO_27001: ("A.8.16",),
        Framework.PCI_DSS: ("10.4.1.1",),
        Framework.CIS: ("8.11",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("3.2.4",),
    },
    params=CameBack,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    sample=Sample(
        history=History(
            ordinary_observation(None, at=days_ago(1)),
            ordinary_token(),
            (State(days_ago(20), Outcome.FOUND, ordinary_token()), State(days_ago(3), Outcome.MISSING, None)),
            misses=3,
        )
    ),
)
