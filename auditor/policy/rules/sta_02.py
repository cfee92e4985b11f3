"""DT-STA-02: a token that was disabled and works again."""

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Rule, Sample
from auditor.policy.events import ChangeWindow, EventParams, Step, recent, steps
from auditor.policy.sampling import history_of
from auditor.policy.wording import iso, iso_or_none


class Reenabled(EventParams):
    """When enabling a token again is expected, and how long it is spoken of elsewhere."""

    approved_window: tuple[ChangeWindow, ...] = ()
    """Times in which the selected tokens may be enabled again. A token counts as enabled in that time where it can have
    been, between the lookup that saw it disabled last and the one that saw it enabled."""


def check(observation: Observation, token: TokenMetadata, params: Reenabled, context: Context) -> Violation | None:
    """Fire where ``enabled`` went from false to true, until the token is disabled again."""
    if token.enabled is not True:
        return None
    last: Step | None = None
    for step in recent(steps(context.history, observation), params, context.now):
        if step.before.enabled is False and step.after.enabled is True:
            last = step
    if last is None or any(window.covers(last, observation, context) for window in params.approved_window):
        return None
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"disabled before, and enabled again {last.between}",
        {
            "enabled_before": False,
            "enabled": True,
            "changed_after": iso_or_none(last.since),
            "seen_at": iso(last.at),
        },
    )


RULE = Rule(
    id="DT-STA-02",
    title="Re-enabled",
    kind=Kind.HISTORY,
    severity="high",
    test=(
        "enabled was false at an earlier lookup and is true since a later one, outside of the approved windows; the "
        "API does not record it (modifiedDate does not move), so a token disabled or enabled for less than the time "
        "between two lookups cannot be seen"
    ),
    rationale=(
        "A token is disabled because it leaked, because its owner left or because nobody needs it. Enabled again, it "
        "opens the door that was closed on purpose, and the platform keeps no record of it in the token."
    ),
    remediation=(
        "Ask who enabled it and why. Unless it was decided, disable it again and create a new token for the "
        "consumer; where it was, record the time in approved_window."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025",),
        Framework.NIST_800_53: ("AC-2(4)", "AU-12"),
        Framework.ISO_27001: ("A.5.18",),
        Framework.PCI_DSS: ("8.2.4", "10.2.1.5"),
        Framework.CIS: ("6.1",),
        Framework.SOC_2: ("CC6.3", "CC7.2"),
        Framework.NIS2: ("3.2.3.b",),
        Framework.DORA: ("Art10",),
    },
    params=Reenabled,
    check=check,
    can_speak=lambda seen: seen.is_changed,
    example=(
        "approved_window = [\n"
        '  { ticket = "CHG-1042", starts_at = 2026-03-31T08:00:00Z, ends_at = 2026-03-31T20:00:00Z, tag = "lab" },\n'
        "]"
    ),
    sample=Sample(history=history_of(enabled=False)),
)
