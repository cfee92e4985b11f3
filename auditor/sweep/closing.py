"""What is judged once at a sweep's end and is neither of one token nor of tokens beside one another.

The environment's own list of tokens, the audit itself, and the findings that are past their deadlines.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import structlog

from auditor.model.sweep import RuleStanding, RuleState, SweepSummary
from auditor.policy.engine import Policy
from auditor.policy.lateness import Deadlines
from auditor.store.connection import Connection
from auditor.sweep import escalating, listing, self_audit
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller

_JUDGED: Final = (listing.RULE_ID, *self_audit.JUDGED)
_NOT_YET: Final = "it is judged at a sweep's end, which this sweep did not come to"

log = structlog.get_logger(__name__)


def unjudged(policy: Policy) -> Mapping[str, RuleStanding]:
    """Return how the rules of this stage stand as long as a sweep has not come to its end."""
    assessed = frozenset(policy.assessed)
    return {rule_id: RuleStanding(RuleState.NOT_ASSESSED, _NOT_YET) for rule_id in _JUDGED if rule_id in assessed}


async def judge(
    connection: Connection,
    subject: Subject,
    teller: Teller,
    *,
    environment: int,
    summary: SweepSummary,
    stopped: str | None,
    stopping: asyncio.Event,
    now: datetime,
) -> Mapping[str, RuleStanding]:
    """Bring the findings of these rules up to date, after those of all others; return how each rule stands now.

    ``summary`` is what the sweep came to, with its status, and the places of its tokens are settled. ``stopped`` is why
    it stopped early, None where it did not; ``stopping`` is set when somebody asks it to.
    """
    reasons: dict[str, str | None] = {}
    if listing.RULE_ID in subject.policy.assessed:
        reasons[listing.RULE_ID] = await listing.judge(
            connection,
            subject,
            teller,
            environment=environment,
            summary=summary,
            stopped=stopped,
            stopping=stopping,
            now=now,
        )
    reasons |= await self_audit.judge(
        connection,
        subject,
        teller,
        environment=environment,
        summary=summary,
        stopped=stopped,
        stopping=stopping,
        now=now,
    )
    await escalating.escalate(
        connection,
        teller,
        Deadlines(subject.policy, subject.name),
        environment=environment,
        sweep=summary.id,
        now=now,
    )
    for rule_id, reason in reasons.items():
        if reason is not None:
            log.info("rule_not_assessed", environment=subject.name, sweep=summary.id, rule=rule_id, reason=reason)
    return {
        rule_id: RuleStanding(RuleState.ASSESSED) if reason is None else RuleStanding(RuleState.NOT_ASSESSED, reason)
        for rule_id, reason in reasons.items()
    }
