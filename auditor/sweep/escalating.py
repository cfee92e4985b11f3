"""Applies DT-AUD-04 to the findings that no rule spoke of: late is late, whether their tokens were audited or not."""

from array import array
from datetime import datetime

from auditor.model.finding import Transition, Violation
from auditor.policy.lateness import Deadlines
from auditor.policy.lifecycle import Change, KnownFinding
from auditor.store import comparing, findings
from auditor.store.chain import linked
from auditor.store.connection import Connection
from auditor.store.findings import Bearer
from auditor.sweep.alerting import About
from auditor.sweep.comparing import about_of, deadline_of
from auditor.sweep.telling import Teller


async def escalate(
    connection: Connection, teller: Teller, deadlines: Deadlines, *, environment: int, sweep: int, now: datetime
) -> None:
    """Escalate every open finding of an environment that passed its deadline and was not escalated for it yet.

    A finding whose rule spoke in this sweep was judged there, by the same deadlines. Each batch is one transaction.
    """
    ids = array("q", await findings.past_deadline(connection, environment, deadlines.spans, now))
    async for batch in comparing.by_ids(connection, ids):
        happened: list[tuple[Bearer, About, Change]] = []
        for one in batch:
            said = _last_said(one.finding)
            late, is_newly_late = deadline_of(deadlines, one.bearer, one.token, now)(one.finding, said)
            if is_newly_late:
                change = Change(Transition.ESCALATED, one.finding, late)
                happened.append((one.bearer, about_of(one.bearer, one.token, late), change))
        if not happened:
            continue
        told = [(about, change) for _bearer, about, change in happened]
        async with linked(connection, environment, now):
            await findings.apply(
                connection, sweep, environment, [(bearer, change) for bearer, _about, change in happened], now
            )
            await teller.put_into_outbox(connection, told, now)
        teller.tell(told, now)


def _last_said(finding: KnownFinding) -> Violation:
    return Violation(finding.rule_id, finding.severity, finding.message, finding.evidence, finding.discriminator)
