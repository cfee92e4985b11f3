"""Applies the rules that judge the audit itself: what could not be audited, how much was, and auditor's own token."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final

import msgspec

from auditor.dynatrace.inventory import read_token
from auditor.model.account import SweepAccount
from auditor.model.errors import ReadFailed
from auditor.model.finding import Resolution, Violation
from auditor.model.lookup import TokenMetadata
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.policy.lateness import Deadlines
from auditor.policy.rules import aud_01, aud_02, aud_05
from auditor.store import account
from auditor.store.account import Failing
from auditor.store.comparing import Standing
from auditor.store.connection import Connection
from auditor.sweep.comparing import ENVIRONMENT, Said, as_selected, compare
from auditor.sweep.patience import unless
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller

JUDGED: Final = (aud_01.RULE.id, aud_02.RULE.id, aud_05.RULE.id)
"""The rules that this module applies."""


async def read_own_token(subject: Subject, *, stopped: str | None, stopping: asyncio.Event) -> TokenMetadata | str:
    """Return what the environment says of auditor's own token, for ``judge``, or why that is not known.

    ``stopped`` is why the sweep stopped early, and ``stopping`` is set when somebody asks it to.
    """
    if stopped is not None:
        return f"the sweep stopped: {stopped}"
    own = await unless(stopping, _own_token(subject))
    return "auditor was asked to stop before its own token was read" if own is None else own


async def _own_token(subject: Subject) -> TokenMetadata | str:
    """It may read itself where it may read tokens at all.

    A lookup with itself is made only where ``self_lookup`` permits it, and every sweep of such an environment says so.
    """
    client = subject.client
    public_id = client.credential.public_id
    if client.api == "v1":
        reason = 'the API that api = "v1" stands for cannot read a token by its id'
    elif public_id is None:
        reason = "auditor's own token is of the old format, whose id nothing tells"
    else:
        try:
            return await read_token(client, public_id)
        except ReadFailed as error:
            reason = f"auditor's own token could not be read: {error}"
    if not subject.self_lookup:
        return f"{reason}; self_lookup = true would look it up with itself, which may move its lastUsedDate"
    lookup = await client.lookup(client.credential)
    return lookup.metadata or f"{reason}; looking it up with itself failed: {lookup.reason}"


async def judge(
    connection: Connection,
    subject: Subject,
    teller: Teller,
    *,
    environment: int,
    summary: SweepSummary,
    own: TokenMetadata | str,
    now: datetime,
) -> Mapping[str, str | None]:
    """Bring the findings of the rules of ``JUDGED`` that the policy assesses up to date.

    Returns for each of them why it cannot be assessed in this sweep, and then it has opened nothing and ended nothing;
    None where it had its say. ``summary`` is what the sweep came to; ``own`` is what ``read_own_token`` returned.
    """
    audit = _SelfAudit(connection, subject, teller, environment, summary.id, now)
    reasons: dict[str, str | None] = {}
    assessed = frozenset(subject.policy.assessed)
    if aud_01.RULE.id in assessed:
        reasons[aud_01.RULE.id] = await audit.judge_failing()
    if aud_02.RULE.id in assessed:
        reasons[aud_02.RULE.id] = await audit.judge_coverage(summary)
    if aud_05.RULE.id in assessed:
        reasons[aud_05.RULE.id] = await audit.judge_own_token(own)
    return reasons


class _SelfAudit:
    """Judges one sweep, each rule by a method of its own, which returns why the rule cannot be assessed."""

    def __init__(
        self, connection: Connection, subject: Subject, teller: Teller, environment: int, sweep: int, now: datetime
    ) -> None:
        self._connection = connection
        self._subject = subject
        self._teller = teller
        self._environment = environment
        self._sweep = sweep
        self._now = now

    async def judge_failing(self) -> str | None:
        """Apply DT-AUD-01 to every stored token of which sweep after sweep got no evidence.

        A finding ends when a lookup was evident since, whatever it said of the token, and not by anything else.
        """
        rule_id = aud_01.RULE.id
        params = self._subject.policy.params_of(rule_id)
        assert isinstance(params, aud_01.Persistence)

        async def said() -> AsyncGenerator[Sequence[Said], None]:
            async with aclosing(account.failing(self._connection, self._environment, params.sweeps)) as batches:
                async for batch in batches:
                    spoken: list[Said] = []
                    for one in batch:
                        violation = aud_01.check(one.unaudited, params)
                        if violation is not None and self._selects(rule_id, one):
                            spoken.append(Said(one.token.id, violation))
                    yield spoken

        def ending(standing: Standing) -> Resolution | None:
            token = standing.token
            if token and not self._subject.policy.selects(rule_id, *as_selected(token, self._subject.name)):
                return Resolution.POLICY
            return Resolution.EVIDENCE if token and not token.failures else None

        await self._compare(rule_id, said(), ending)
        return None

    def _selects(self, rule_id: str, failing: Failing) -> bool:
        policy = self._subject.policy
        return not policy.is_narrowed(rule_id) or policy.selects(
            rule_id, *as_selected(failing.token, self._subject.name)
        )

    async def judge_coverage(self, summary: SweepSummary) -> str | None:
        """Apply DT-AUD-02 to the environment; ``summary`` is what the sweep came to."""
        rule_id = aud_02.RULE.id
        params = self._subject.policy.params_of(rule_id)
        assert isinstance(params, aud_02.Coverage)
        full_since, was_ever_full = await self._full_since(summary)
        swept = SweepAccount(
            summary=summary,
            full_since=full_since,
            was_ever_full=was_ever_full,
            slots_passed=None
            if self._subject.slots is None
            else self._subject.slots(full_since, self._now, params.intervals + 1),
        )
        violation = aud_02.check(swept, params)
        if violation is None and (reason := aud_02.inconclusive(swept)) is not None:
            return reason
        await self._of_environment(rule_id, [violation] if violation else [])
        return None

    async def _full_since(self, summary: SweepSummary) -> tuple[datetime, bool]:
        if summary.status is SweepStatus.COMPLETE:
            return summary.started_at, True
        before, was_ever_full = await account.last_full(self._connection, self._environment, before=summary.id)
        return before or summary.started_at, was_ever_full

    async def judge_own_token(self, own: TokenMetadata | str) -> str | None:
        """Apply DT-AUD-05 to the token that authenticates auditor, or to why it is not known."""
        if isinstance(own, str):
            return own
        params = self._subject.policy.params_of(aud_05.RULE.id)
        assert isinstance(params, aud_05.OwnToken)
        risk = self._subject.policy.document.risk
        await self._of_environment(aud_05.RULE.id, aud_05.check(own, params, risk, self._now))
        return None

    async def _of_environment(self, rule_id: str, violations: Sequence[Violation]) -> None:
        async def said() -> AsyncGenerator[Sequence[Said], None]:
            yield [Said(ENVIRONMENT, violation) for violation in violations]

        await self._compare(rule_id, said(), lambda _standing: Resolution.EVIDENCE)

    async def _compare(
        self,
        rule_id: str,
        said: AsyncGenerator[Sequence[Said], None],
        ending: Callable[[Standing], Resolution | None],
    ) -> None:
        settings = self._subject.policy.document.settings_of(rule_id)
        severity = settings.severity if settings else None

        async def graded() -> AsyncGenerator[Sequence[Said], None]:
            async with aclosing(said):
                async for batch in said:
                    yield (
                        batch
                        if severity is None
                        else [
                            Said(one.bearer, msgspec.structs.replace(one.violation, severity=severity)) for one in batch
                        ]
                    )

        async with aclosing(graded()) as speech:
            await compare(
                self._connection,
                self._teller,
                environment=self._environment,
                sweep=self._sweep,
                rules=(rule_id,),
                said=speech,
                ending=ending,
                deadlines=Deadlines(self._subject.policy, self._subject.name),
                now=self._now,
            )
