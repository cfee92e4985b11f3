"""The first stage of a sweep: reads the sources, enrols what they hold, and gives on what is to be looked up.

Reading runs ahead of the lookups, so that the most urgent of many tokens is looked up first (``lookahead``). Where an
environment has a budget of lookups, everything is read before any of it is looked up: as many secrets as the budget
allows are kept, those of the best choice so far.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

import msgspec
import structlog

from auditor.model.errors import SourceError
from auditor.model.secret import Secret
from auditor.model.token import StoredToken
from auditor.policy.urgency import NEVER_LOOKED_UP, Choice, Urgency, urgency
from auditor.sources.base import BATCH, Source
from auditor.store import tokens
from auditor.store.connection import Pool
from auditor.store.tokens import Enrolment, KnownToken
from auditor.sweep.lookahead import LookAhead, Waiting
from auditor.sweep.subject import Progress, Subject

log = structlog.get_logger(__name__)

Enrolments = dict[bytes, tuple[Secret, Enrolment]]
"""A batch by fingerprint."""


class Left(msgspec.Struct, frozen=True):
    """How many tokens a sweep under a budget enrolled and did not choose to look up."""

    unchosen: int
    unmet: int
    """Of these, the ones that no sweep has ever looked up."""


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
        """What a budget left; None without one, or where the reading was ended early."""
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
        chosen: list[Waiting] = []
        try:
            async with asyncio.timeout(0 if self._stopped is not None else None) as reading:
                self._reading = reading
                if budget is None:
                    await self._read(self._give_on)
                else:
                    chosen = await self._choose(budget)
        except TimeoutError:
            if not reading.expired():
                raise
            self.problems |= dict.fromkeys(self._unread, f"not read: {self._stopped}")
        finally:
            self._reading = None
        await self._give_on_chosen(chosen)
        self._ahead.end()

    def stop(self, reason: str) -> None:
        """Read no further."""
        self._stopped = reason
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def _read(self, use: Callable[[Sequence[Waiting]], Awaitable[None]]) -> None:
        """Enrol everything, and have what is to be looked up used."""
        self._unread = {source.name for source in self._subject.sources}
        for source in self._subject.sources:
            try:
                async with aclosing(source.read()) as batches:
                    async for batch in batches:
                        if enrolments := self._of_this_environment(source, batch):
                            await use(await self._enrol(enrolments))
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

    async def _enrol(self, enrolments: Enrolments) -> Sequence[Waiting]:
        """Enrol a batch, and return what of it the sweep meets for the first time and has not looked up."""
        async with self._pool.acquire() as connection:
            enrolled = await tokens.enrol(
                connection,
                self._sweep,
                self._environment,
                [enrolment for _secret, enrolment in enrolments.values()],
                self._subject.clock(),
            )
        fresh = [
            Waiting(enrolments[enrolment.fingerprint][0], enrolment, known)
            for enrolment, known in enrolled
            if known is None or known.last_sweep != self._sweep
        ]
        done = len(enrolled) - len(fresh)  # looked up before the sweep was cut short
        self._progress.enrolled += done
        self._progress.done += done
        return fresh

    async def _give_on(self, batch: Sequence[Waiting]) -> None:
        now = self._subject.clock()
        self._progress.enrolled += len(batch)
        await self._ahead.put([(self._urgency(waiting.known, now), waiting) for waiting in batch])

    def _urgency(self, known: KnownToken | None, now: datetime) -> Urgency:
        if known is None:
            return NEVER_LOOKED_UP
        return urgency(
            known.last_found,
            looked_up_at=known.looked_up_at,
            changed_at=known.changed_at,
            risk=self._subject.policy.document.risk,
            now=now,
        )

    async def _choose(self, budget: int) -> list[Waiting]:
        """Read everything, and return what of it a budget allows to look up."""
        choice = Choice[Waiting](budget)
        unmet = 0

        async def offer(batch: Sequence[Waiting]) -> None:
            nonlocal unmet
            now = self._subject.clock()
            for waiting in batch:
                unmet += waiting.known is None
                # Without what is known of it, which is two thirds of what it takes in memory.
                without = Waiting(waiting.secret, waiting.enrolment, None)
                choice.offer(without, self._urgency(waiting.known, now))

        await self._read(offer)
        chosen = choice.chosen()
        self.left = Left(choice.offered - len(chosen), max(unmet - len(chosen), 0))  # unmet ones are chosen before all
        return chosen

    async def _give_on_chosen(self, chosen: list[Waiting]) -> None:
        while chosen:
            batch = chosen[:BATCH]
            del chosen[:BATCH]
            fingerprints = [waiting.enrolment.fingerprint for waiting in batch]
            async with self._pool.acquire() as connection:
                known = await tokens.known_of(connection, self._environment, fingerprints, self._subject.clock())
            await self._give_on(
                [
                    Waiting(waiting.secret, waiting.enrolment, known.get(fingerprint))
                    for fingerprint, waiting in zip(fingerprints, batch, strict=True)
                ]
            )
