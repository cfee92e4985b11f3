"""Verdicts on revoking tokens, as reports and commands read them: what the store recorded, judged."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final

from auditor.policy.revocation import Judgement, Verdict, judge
from auditor.policy.scopes import RiskSettings
from auditor.store.connection import Connection
from auditor.store.revocation import Filter, records, risks

REVOCABLE: Final = (Verdict.SAFE, Verdict.LIKELY_SAFE)
"""What can be revoked, surest first."""
MEANINGS: Final = {
    Verdict.SAFE: "nothing depends on it, by all that was recorded",
    Verdict.LIKELY_SAFE: "nothing seems to depend on it; disable it first and wait before deleting it",
    Verdict.RISKY: "something may depend on it: it has been silent for too short a time to tell",
    Verdict.DO_NOT_REVOKE: "something depends on it",
    Verdict.GONE: "there is nothing left to revoke: the environment no longer has it",
    Verdict.UNKNOWN: "nothing certain is known of it at present",
}


async def judgements(
    connection: Connection, wanted: Filter, now: datetime
) -> AsyncGenerator[Sequence[Judgement], None]:
    """Yield verdicts, by environment and token, in batches; the caller holds a transaction open meanwhile.

    How powerful scopes are is what the policy said that was applied last.
    """
    graded = await risks(connection)
    async for batch in records(connection, wanted, now):
        yield [judge(record, graded.get(record.environment, _UNGRADED), now) for record in batch]


async def verdict_on(connection: Connection, environment: str, label: str, now: datetime) -> Judgement | None:
    """Return the verdict on one token; None where there is no such token."""
    wanted = Filter(environments=(environment,), label=label)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = [judgement async for batch in judgements(connection, wanted, now) for judgement in batch]
    return found[0] if found else None


_UNGRADED: Final = RiskSettings()
