"""The first stage of a sweep: reads the sources, enrols what they hold, and gives on what is to be looked up.

Reading runs ahead of the lookups, so that the most urgent of many tokens is looked up first (``lookahead``). Where an
environment has a budget of lookups, the sources are read twice: everything is enrolled first, then chosen among, and
the second reading gives on what was chosen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime

import structlog

from auditor.model.errors import SourceError
from auditor.model.secret import Secret
from auditor.model.token import StoredToken
from auditor.policy.urgency import NEVER_LOOKED_UP, Choice, Urgency, urgency
from auditor.sources.base import Source
from auditor.store import choosing, tokens
from auditor.store.choosing import Candidate, Left
from auditor.store.connection import Pool
from auditor.store.tokens import Enrolment, KnownToken
from auditor.sweep.lookahead import LookAhead, Waiting
from auditor.sweep.subject import Progress, Subject

log = structlog.get_logger(__name__)

Enrolments = dict[bytes, tuple[Secret, Enrolment]]
"""A batch by fingerprint."""


class Enroller:
    """Reads an environment's sources for one sweep."""

    def __init__(
        self,
        pool: Pool,
        subject: Subject,
        *,
        environment: int,
        sweep: int,
        progress: Progress,
        ahead: LookAhead,
    ) -> None:
        self.problems: dict[str, str] = {}
        """Sources that were not read to their end, with the reason."""
        self.left: Left | None = None
        """What was not looked up, under a budget; None without one, or where the reading was ended early."""
        self._pool = pool
        self._subject = subject
        self._environment = environment
        self._sweep = sweep
        self._progress = progress
        self._ahead = ahead
        self._reading: asyncio.Timeout | None = None
        """Ends the reading early; None while there is none."""
        self._unread: set[str] = set()
        """Sources that the present reading has not come to the end of."""
        self._stopped: str | None = None
        """Why the reading is to end; None while it is not."""

    async def run(self, budget: int | None) -> None:
        """Read every source to its end, or until stopped, then say that no more will come.

        ``budget`` is how many lookups the sweep may make from now on; None without such a limit.
        """
        try:
            async with asyncio.timeout(0 if self._stopped is not None else None) as reading:
                self._reading = reading
                if budget is None:
                    await self._read(self._enrol)
                else:
                    await self._read(self._meet)
                    await self._choose(budget)
                    await self._read(self._take)
                    async with self._pool.acquire() as connection:
                        self.left = await choosing.count_left(connection, self._sweep, self._environment)
        except TimeoutError:
            if not reading.expired():
                raise
            self.problems |= dict.fromkeys(self._unread, f"not read: {self._stopped}")
        finally:
            self._reading = None
        self._ahead.end()

    def stop(self, reason: str) -> None:
        """Read no further."""
        self._stopped = reason
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def _read(self, use: Callable[[Enrolments], Awaitable[None]]) -> None:
        self._unread = {source.name for source in self._subject.sources}
        for source in self._subject.sources:
            try:
                async with aclosing(source.read()) as batches:
                    async for batch in batches:
                        if enrolments := self._of_this_environment(source, batch):
                            await use(enrolments)
            except SourceError as error:
                self.problems[source.name] = str(error)
                log.warning("source_unread", environment=self._subject.name, source=source.name, problem=str(error))
            self._unread.discard(source.name)

    def _of_this_environment(self, source: Source, batch: Sequence[StoredToken]) -> Enrolments:
        name, fingerprint = self._subject.name, self._subject.fingerprint
        ours: dict[bytes, list[StoredToken]] = {}
        for token in batch:
            if token.environment == name:
                ours.setdefault(fingerprint(token.secret), []).append(token)
            elif token.environment not in self._subject.environments:
                self.problems[source.name] = (
                    f'{token.location}: names the environment "{token.environment}", which is not configured; '
                    "configure it or correct the entry"
                )
        return {
            fingerprint: (
                found[0].secret,
                Enrolment(
                    fingerprint,
                    found[0].secret.public_id,
                    tuple([token.location for token in found]),
                    frozenset([tag for token in found for tag in token.tags]),
                ),
            )
            for fingerprint, found in ours.items()
        }

    async def _enrol(self, enrolments: Enrolments) -> None:
        """Enrol a batch, and give on what of it is met for the first time."""
        async with self._pool.acquire() as connection:
            enrolled = await tokens.enrol(
                connection,
                self._sweep,
                self._environment,
                [enrolment for _secret, enrolment in enrolments.values()],
                self._subject.clock(),
            )
        self._progress.enrolled += len(enrolled)
        fresh = [
            Waiting(enrolments[enrolment.fingerprint][0], enrolment, known)
            for enrolment, known in enrolled
            if known is None or known.last_sweep != self._sweep
        ]
        self._progress.done += len(enrolled) - len(fresh)  # looked up before the sweep was cut short
        await self._give_on(fresh)

    async def _give_on(self, batch: Iterable[Waiting]) -> None:
        now = self._subject.clock()
        await self._ahead.put([(self._urgency(waiting.known, now), waiting) for waiting in batch])

    def _urgency(self, one: KnownToken | Candidate | None, now: datetime) -> Urgency:
        if one is None:
            return NEVER_LOOKED_UP
        risk = self._subject.policy.document.risk
        return urgency(one.last_found, looked_up_at=one.looked_up_at, changed_at=one.changed_at, risk=risk, now=now)

    async def _meet(self, enrolments: Enrolments) -> None:
        batch = [enrolment for _secret, enrolment in enrolments.values()]
        async with self._pool.acquire() as connection:
            await tokens.meet(connection, self._sweep, batch)

    async def _choose(self, budget: int) -> None:
        choice = Choice(budget)
        now = self._subject.clock()
        async with self._pool.acquire() as connection, connection.transaction():
            done = await choosing.pass_over_done(connection, self._sweep, self._environment)
            async for one in choosing.candidates(connection, self._sweep, self._environment):
                choice.offer(one.fingerprint, self._urgency(one, now))
            chosen = choice.chosen()
            await choosing.choose(connection, self._sweep, list(chosen))
        self._progress.enrolled = done + len(chosen)
        self._progress.done = done

    async def _take(self, enrolments: Enrolments) -> None:
        """Give on what of a batch was chosen and not met before in this second reading."""
        async with self._pool.acquire() as connection:
            taken = await choosing.take(connection, self._sweep, list(enrolments))
            known = await tokens.known_of(connection, self._environment, taken, self._subject.clock())
        await self._give_on([Waiting(*enrolments[fingerprint], known.get(fingerprint)) for fingerprint in taken])
