"""Word of findings that are still open: reminders, escalations to further hooks, and the end of flapping."""

from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Rule
from auditor.policy.lateness import Deadlines
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.routing.routing import Routing
from auditor.policy.waivers import said_of
from auditor.policy.wording import day
from auditor.store import attention, comparing, sweeps, told
from auditor.store.comparing import Standing
from auditor.store.connection import Connection
from auditor.store.digests import SHOWN
from auditor.store.outgoing import Outgoing
from auditor.sweep.alerting import About, finding_alert, matter_of
from auditor.sweep.comparing import about_of, as_selected
from auditor.sweep.introducing import summary_alert
from auditor.sweep.telling import flapping_words

_BATCH: Final = 500


class Watched(msgspec.Struct, frozen=True):
    """An environment whose findings are watched."""

    name: str
    rules: Mapping[str, Rule]
    deadlines: Deadlines


class Reminder:
    """Puts word of one environment's findings into the outbox, where it is due; each batch is one transaction."""

    def __init__(self, connection: Connection, routing: Routing, watched: Watched, now: datetime) -> None:
        self._connection = connection
        self._routing = routing
        self._watched = watched
        self._now = now

    async def run(self) -> None:
        """Put in all that is due; nothing of an environment that was never swept."""
        environment = await sweeps.known_id(self._connection, self._watched.name)
        if environment is None:
            return
        await self._remind(environment)
        for hook in self._routing.escalations:
            await self._escalate(environment, hook)
        await self._settle(environment)

    async def _remind(self, environment: int) -> None:
        """Remind of findings that are late, again whenever as long has passed as their severity allows."""
        ids = await attention.to_remind(self._connection, environment, self._watched.deadlines.spans, self._now)
        async for batch in self._batches(ids):
            async with self._connection.transaction():
                outgoing = Outgoing(self._routing, self._now)
                for one, about, said in batch:
                    if self._has_deadline(one):
                        self._put(outgoing, one, about, said, Topic.REMINDER, f"open since {self._since(one)}")
                await attention.reminded(self._connection, [one.finding.id for one, _about, _said in batch], self._now)
                await outgoing.write(self._connection)

    def _has_deadline(self, one: Standing) -> bool:
        deadlines = self._watched.deadlines
        return (
            not deadlines.is_narrowed
            or one.token is None
            or deadlines.selects(*as_selected(one.token, self._watched.name))
        )

    async def _escalate(self, environment: int, hook: str) -> None:
        """Tell a hook of what nobody mended or acknowledged in time."""
        destination = self._routing.destinations[hook]
        ids = await attention.unattended(
            self._connection,
            environment,
            hook,
            destination.min_severity,
            self._routing.escalations[hook],
            self._now,
        )
        is_each = destination.takes_digests or len(ids) <= SHOWN
        counts: Counter[Severity] = Counter()
        async with self._connection.transaction():
            async for batch in self._batches(ids):
                outgoing = Outgoing(self._routing, self._now)
                heard_of: list[int] = []
                for one, about, said in batch:
                    if not self._routing.is_wanted(hook, self._matter(Topic.UNATTENDED, about, said)):
                        continue
                    counts[said.severity] += 1
                    if is_each:
                        words = f"neither mended nor acknowledged since {self._since(one)}"
                        self._put(outgoing, one, about, said, Topic.UNATTENDED, words, (hook,))
                        heard_of.append(one.finding.id)
                passed_over = {one.finding.id for one, _about, _said in batch} - set(heard_of)
                await attention.escalate(self._connection, hook, heard_of, self._now, is_told=True)
                await attention.escalate(self._connection, hook, sorted(passed_over), self._now, is_told=False)
                await outgoing.write(self._connection)
            if counts and not is_each:
                what = "neither mended nor acknowledged in time"
                alert = summary_alert(self._watched.name, what, counts, self._now)
                outgoing = Outgoing(self._routing, self._now)
                outgoing.put(alert, Matter(Topic.UNATTENDED, alert.severity, self._watched.name), (hook,))
                await outgoing.write(self._connection)

    async def _settle(self, environment: int) -> None:
        """Say of flapping findings how they stand, once in a window."""
        while True:
            async with self._connection.transaction():
                settled = {
                    one.id: one
                    for one in await attention.settle(
                        self._connection, environment, self._routing.flapping_within, self._now, limit=_BATCH
                    )
                }
                outgoing = Outgoing(self._routing, self._now)
                spoken = [one.id for one in settled.values() if one.is_flapping or one.is_behind]
                heard = await told.heard(self._connection, [number for number in spoken if not settled[number].is_open])
                async for batch in self._batches(spoken):
                    for one, about, said in batch:
                        how = settled[one.finding.id]
                        if one.finding.waived is not None and how.is_open:
                            continue
                        topic = Topic.FLAPPING if how.is_flapping else Topic.REOPENED if how.is_open else Topic.RESOLVED
                        words = flapping_words(how.times, self._routing.flapping_within)
                        hooks = None
                        if topic is Topic.RESOLVED:
                            before = heard[one.finding.id]
                            end = self._matter(topic, about, said)
                            hooks = self._routing.hearers(end, before.worst, before.hooks)
                        words = words if how.is_flapping else "it has settled"
                        self._put(outgoing, one, about, said, topic, words, hooks)
                await outgoing.write(self._connection)
            if len(settled) < _BATCH:
                return

    async def _batches(self, ids: Sequence[int]) -> AsyncGenerator[Sequence[tuple[Standing, About, Violation]], None]:
        async for batch in comparing.by_ids(self._connection, array("q", ids), batch=_BATCH, in_their_order=True):
            found: list[tuple[Standing, About, Violation]] = []
            for one in batch:
                said = said_of(one.finding)
                found.append((one, about_of(one.bearer, one.token, said), said))
            yield found

    def _put(
        self,
        outgoing: Outgoing,
        one: Standing,
        about: About,
        said: Violation,
        topic: Topic,
        words: str,
        hooks: Sequence[str] | None = None,
    ) -> None:
        matter = self._matter(topic, about, said)
        wanted = self._routing.hooks(matter) if hooks is None else hooks
        if not wanted:
            return
        alert = finding_alert(
            f"finding.{topic.value}",
            self._watched.name,
            about,
            said,
            self._watched.rules,
            self._now,
            transition=topic.value,
            opened_at=one.finding.opened_at or self._now,
            message=f"{said.message}; {words}",
        )
        outgoing.put(alert, matter, wanted, is_gathered=True)

    def _matter(self, topic: Topic, about: About, said: Violation) -> Matter:
        return matter_of(topic, self._watched.name, about, said)

    def _since(self, one: Standing) -> str:
        return day(one.finding.severity_since or self._now)
