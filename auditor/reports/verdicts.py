"""Verdicts on revoking tokens, as reports and commands read them: what the store recorded, judged."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final

import msgspec

from auditor.policy.revocation import Confidence, Judgement, Verdict, judge
from auditor.policy.scopes import RiskSettings
from auditor.reports.base import Verdicts
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


class Overview(msgspec.Struct, frozen=True):
    """Verdicts on the tokens of a report, counted, and those that can be revoked."""

    counts: Mapping[str, Mapping[Verdict, int]]
    """Environment → verdict → tokens; a verdict may be absent for none."""
    listed: Sequence[Judgement]
    """Tokens that can be revoked, surest first, and among equals the most powerful first."""
    unlisted: int
    """How many more can be."""


async def overview(verdicts: Verdicts, most: int) -> Overview:
    """Go through a stream of verdicts once and keep the first ``most`` of those that can be revoked."""
    counts: dict[str, dict[Verdict, int]] = {}
    kept: list[Judgement] = []
    revocable = 0
    async with aclosing(verdicts()) as batches:
        async for batch in batches:
            for judgement in batch:
                here = counts.setdefault(judgement.environment, {})
                here[judgement.verdict] = here.get(judgement.verdict, 0) + 1
            surest = [judgement for judgement in batch if judgement.verdict in REVOCABLE]
            revocable += len(surest)
            kept = sorted(kept + surest, key=_surest_first)[:most]
    return Overview(counts, kept, revocable - len(kept))


def _surest_first(judgement: Judgement) -> tuple[int, int, int, str, str]:
    return (
        REVOCABLE.index(judgement.verdict),
        -judgement.risk_tier.rank,
        -_CONFIDENCES.index(judgement.confidence),
        judgement.environment,
        judgement.label,
    )


_CONFIDENCES: Final = tuple(Confidence)
