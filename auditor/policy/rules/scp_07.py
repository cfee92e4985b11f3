"""DT-SCP-07: a token that was given more power than it had."""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import ChangeWindow, EventParams, Step, recent, steps
from auditor.policy.sampling import history_of
from auditor.policy.selectors import Alternatives, matcher
from auditor.policy.wording import iso, iso_or_none, listed


class ScopeChange(ChangeWindow):
    """Scopes that a change ticket adds to the selected tokens."""

    scopes: Alternatives = ("*",)
    """Globs over the names of the scopes that may be added."""

    @cached_property
    def allows(self) -> Callable[[str], bool]:
        """The test of ``scopes``."""
        return matcher(self.scopes)


class ScopesAdded(EventParams):
    """Which added scopes are expected, and how long the others are spoken of."""

    ignore_if_change_ticket: tuple[ScopeChange, ...] = ()
    """Changes that were decided: selected tokens may be given these scopes between ``starts_at`` and ``ends_at``. A
    change counts as made in that time where it can have been, between the lookups that saw the token without the scope
    and with it."""


def check(observation: Observation, token: TokenMetadata, params: ScopesAdded, context: Context) -> Violation | None:
    """Fire where the token was given scopes that it still holds; critical where one of them is high-risk."""
    held = frozenset(token.scopes)
    added: dict[str, Step] = {}
    for step in recent(steps(context.history, observation), params, context.now):
        if step.before.scopes == step.after.scopes:
            continue
        new = held.intersection(step.after.scopes).difference(step.before.scopes)
        if not new:
            continue
        tickets = [ticket for ticket in params.ignore_if_change_ticket if ticket.covers(step, observation, context)]
        for scope in sorted(new):
            if any(ticket.allows(scope) for ticket in tickets):
                added.pop(scope, None)
            else:
                added[scope] = step
    if not added:
        return None
    last = max(added.values(), key=_seen)
    high_risk = context.risk.high_risk_among(tuple(added))
    return Violation(
        RULE.id,
        Severity.CRITICAL if high_risk else Severity.HIGH,
        f"given scopes that it did not have, last {last.between}: {listed(list(added))}",
        {
            "added": [
                {"scope": scope, "added_after": iso_or_none(step.since), "seen_at": iso(step.at)}
                for scope, step in added.items()
            ],
            "scopes_before": list(next(iter(added.values())).before.scopes),
            "scopes": list(token.scopes),
            "high_risk": list(high_risk),
        },
    )


def _seen(step: Step) -> datetime:
    return step.at


RULE = Rule(
    id="DT-SCP-07",
    title="Scope escalation",
    kind=Kind.HISTORY,
    severity="high (critical if an added scope is high-risk)",
    test=(
        "scopes hold one that an earlier lookup did not show, no ticket covers it, and it was not taken away since; "
        "a scope that came and went between two lookups cannot be seen, but see DT-SCP-08"
    ),
    rationale=(
        "A token that is already deployed and trusted is the quietest place to put more power: no new secret "
        "appears, and whoever holds a copy gains it too."
    ),
    remediation=(
        "Ask who added the scope and what for. Unless it was decided, take it away, rotate the token and read the "
        "environment's audit log; where it was, record the ticket in ignore_if_change_ticket."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI5:2025",),
        Framework.NIST_800_53: ("AC-2(4)", "AC-6", "CM-3"),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("7.2.3", "8.2.4", "10.2.1.5"),
        Framework.CIS: ("6.1",),
        Framework.SOC_2: ("CC6.3", "CC8.1"),
        Framework.NIS2: ("3.2.3.b",),
        Framework.DORA: ("Art9",),
    },
    params=ScopesAdded,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    example=(
        "ignore_if_change_ticket = [\n"
        '  { ticket = "C-1", starts_at = 2026-03-31T08:00:00Z, ends_at = 2026-04-01T08:00:00Z, scopes = ["logs.*"] },\n'
        "]"
    ),
    sample=Sample(
        metadata={"scopes": ("logs.ingest", "metrics.ingest", "settings.write")},
        history=history_of(),
    ),
)
