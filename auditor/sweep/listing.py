"""Applies DT-INV-01: reads the environment's own list of tokens and compares it with what the stores hold."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Literal

import msgspec

from auditor.dynatrace.inventory import listed
from auditor.model.errors import ReadFailed
from auditor.model.finding import Resolution
from auditor.model.lookup import Observation, Outcome
from auditor.policy.lateness import Deadlines
from auditor.policy.observing import speakable
from auditor.policy.rules import inv_01
from auditor.policy.wording import counted
from auditor.store import comparing, inventory
from auditor.store.comparing import Standing
from auditor.store.connection import Connection, Pool
from auditor.sweep.comparing import Said, compare
from auditor.sweep.patience import unless
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller

RULE_ID = inv_01.RULE.id


async def read(
    pool: Pool,
    subject: Subject,
    *,
    environment: int,
    sweep: int,
    unread_sources: Collection[str],
    stopped: str | None,
    stopping: asyncio.Event,
) -> str | None:
    """Read the environment's list for ``judge``; return why DT-INV-01 cannot be judged, or None where it can.

    Every lookup of the sweep is recorded and the places of its tokens are settled. Takes a connection for each page and
    none while it waits for one. ``stopped`` is why the sweep stopped early; when ``stopping`` is set, the list is given
    up.
    """
    async with pool.acquire() as connection:
        reason = await _obstacle(connection, subject, environment, unread_sources, stopped)
        if reason is not None:
            return reason
        await inventory.begin(connection, environment)
    try:
        if not await unless(stopping, _gather(pool, subject, environment, sweep)):
            return "auditor was asked to stop before the environment's list was read"
    except ReadFailed as error:
        return f"the environment's list of tokens could not be read: {error}"
    return None


async def judge(
    connection: Connection,
    subject: Subject,
    teller: Teller,
    *,
    environment: int,
    sweep: int,
    reason: str | None,
    now: datetime,
) -> None:
    """Bring the findings of DT-INV-01 up to date, by the list that ``read`` has read, and forget the list.

    Where there is a ``reason`` why it cannot be judged, nothing is opened and nothing ends.
    """
    if reason is None:
        await _compare(connection, subject, teller, environment, sweep, now)
    await inventory.end(connection, sweep)


async def _obstacle(
    connection: Connection, subject: Subject, environment: int, unread_sources: Collection[str], stopped: str | None
) -> str | None:
    if not subject.inventory:
        return "inventory = false for this environment"
    if subject.client.api == "v1":
        return 'the API that api = "v1" stands for has no list of tokens'
    if stopped is not None:
        return f"the sweep stopped: {stopped}"
    if unread_sources:
        return f"what they hold would be taken for in no store: {', '.join(sorted(unread_sources))} not read"
    nameless = await inventory.nameless(connection, environment)
    if nameless:
        return (
            f"no lookup has told the id of {counted(nameless, 'stored token')} of the old format yet, "
            "which may be any of the list"
        )
    return None


async def _gather(pool: Pool, subject: Subject, environment: int, sweep: int) -> Literal[True]:
    """Read the list to its end."""
    own_id = subject.client.credential.public_id
    async with aclosing(listed(subject.client)) as pages:
        async for page in pages:
            async with pool.acquire() as connection:
                await inventory.gather(connection, sweep, environment, page, own_id=own_id)
    return True


async def _compare(
    connection: Connection, subject: Subject, teller: Teller, environment: int, sweep: int, now: datetime
) -> None:
    policy = subject.policy
    params = policy.params_of(RULE_ID)
    assert isinstance(params, inv_01.Unstored)
    settings = policy.document.settings_of(RULE_ID)
    severity = settings.severity if settings else None
    passed_over: set[str] = set()
    """Subjects of findings whose tokens are in no store still, but which the policy does not speak of any more."""

    async def said() -> AsyncGenerator[Sequence[Said], None]:
        async for batch in inventory.unstored(connection, sweep):
            spoken: list[Said] = []
            silent: list[str] = []
            for one in batch:
                token = one.token
                bearer = speakable(token.id)
                seen = Observation(subject.name, bearer, now, Outcome.FOUND, token, public_id=token.id)
                violation = None
                if not policy.is_narrowed(RULE_ID) or policy.selects(RULE_ID, seen, token):
                    violation = inv_01.check(
                        seen, token, params, policy.document.risk.tier_of_all(token.scopes), one.stored_for
                    )
                if violation is None:
                    silent.append(bearer)
                    continue
                if severity is not None:
                    violation = msgspec.structs.replace(violation, severity=severity)
                spoken.append(Said(bearer, violation))
            passed_over.update(map(str, await comparing.known(connection, environment, silent, (RULE_ID,))))
            yield spoken

    def ending(standing: Standing) -> Resolution:
        return Resolution.POLICY if standing.bearer in passed_over else Resolution.EVIDENCE

    async with aclosing(said()) as speech:
        await compare(
            connection,
            teller,
            environment=environment,
            sweep=sweep,
            rules=(RULE_ID,),
            said=speech,
            ending=ending,
            deadlines=Deadlines(policy, subject.name),
            now=now,
        )
