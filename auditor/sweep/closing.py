"""What is judged once at a sweep's end and is neither of one token nor of tokens beside one another.

The environment's own list of tokens, the audit itself, and the findings that are past their deadlines.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

import msgspec
import structlog

from auditor.model.lookup import TokenMetadata
from auditor.model.sweep import RuleStanding, RuleState, SweepSummary
from auditor.policy.engine import Policy
from auditor.policy.lateness import Deadlines
from auditor.policy.rules import aud_05
from auditor.store.connection import Connection, Pool
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


class Answers(msgspec.Struct, frozen=True):
    """What the environment answered at a sweep's end."""

    why_no_list: str | None
    """Why its list of tokens was not read; None where it was, or no rule needs it."""
    own: TokenMetadata | str
    """What it said of auditor's own token, or why that is not known."""


async def ask(
    pool: Pool,
    subject: Subject,
    *,
    environment: int,
    sweep: int,
    unread_sources: Collection[str],
    stopped: str | None,
    stopping: asyncio.Event,
) -> Answers:
    """Ask the environment what ``judge`` needs; nobody else waits for how long it takes.

    Every lookup of the sweep is recorded and the places of its tokens are settled. ``stopped`` is why the sweep stopped
    early, None where it did not; ``stopping`` is set when somebody asks it to.
    """
    assessed = frozenset(subject.policy.assessed)
    why_no_list = None
    if listing.RULE_ID in assessed:
        why_no_list = await listing.read(
            pool,
            subject,
            environment=environment,
            sweep=sweep,
            unread_sources=unread_sources,
            stopped=stopped,
            stopping=stopping,
        )
    own: TokenMetadata | str = "no rule asks for it"
    if aud_05.RULE.id in assessed:
        own = await self_audit.read_own_token(subject, stopped=stopped, stopping=stopping)
    return Answers(why_no_list, own)


async def judge(
    connection: Connection,
    subject: Subject,
    teller: Teller,
    *,
    environment: int,
    summary: SweepSummary,
    answers: Answers,
    now: datetime,
) -> Mapping[str, RuleStanding]:
    """Bring the findings of these rules up to date, after those of all others; return how each rule stands now.

    ``summary`` is what the sweep came to, with its status.
    """
    reasons: dict[str, str | None] = {}
    if listing.RULE_ID in subject.policy.assessed:
        reasons[listing.RULE_ID] = answers.why_no_list
        await listing.judge(
            connection,
            subject,
            teller,
            environment=environment,
            sweep=summary.id,
            reason=answers.why_no_list,
            now=now,
        )
    reasons |= await self_audit.judge(
        connection, subject, teller, environment=environment, summary=summary, own=answers.own, now=now
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
