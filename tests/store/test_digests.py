"""Digests: what is held leaves together, once, and as it was frozen."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from auditor.model.finding import Alert, Severity
from auditor.model.message import Message
from auditor.model.retention import Retention
from auditor.policy.routing.owners import Owners
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.routing.routing import Destination, Routing
from auditor.policy.routing.windows import DigestSettings, Windows
from auditor.store import outbox
from auditor.store.connection import Connection, Pool
from auditor.store.digests import SHOWN, arranged
from auditor.store.outbox import DeliveryState, Job
from auditor.store.outgoing import Outgoing
from auditor.sweep.due import Due
from auditor.sweep.pruning import prune
from tests.store.history import HOUR, NOW

HOURLY = Windows(DigestSettings(rest="1h"))


def routing(*, takes_digests: bool = True, is_addressed: bool = False) -> Routing:
    return Routing(
        [Destination(hook="team", windows=HOURLY, takes_digests=takes_digests, is_addressed=is_addressed)],
        Owners({"alice": ("alice@example.com",), "bob": ("bob@example.com",)}),
    )


def alert(severity: Severity, *, owner: str = "alice", event: str = "finding.opened", number: int = 0) -> Alert:
    return Alert(
        id=outbox.new_id(),
        event=event,
        severity=severity,
        environment="prod",
        at=NOW,
        data={"key": f"prod/{owner}/{number}", "owner": owner, "message": f"{severity} {number}"},
    )


async def hold(database: Pool, way: Routing, alerts: Sequence[Alert]) -> None:
    async with database.acquire() as connection, connection.transaction():
        outgoing = Outgoing(way, NOW)
        for one in alerts:
            matter = Matter(Topic.OPENED, one.severity, "prod", "DT-EXP-01", one.data["owner"])
            outgoing.put(one, matter, way.hooks(matter))
        await outgoing.write(connection)


async def messages(connection: Connection) -> list[Message]:
    """What the queue's jobs would deliver."""
    found: list[Message] = []
    for row in await connection.fetch("select payload from queue_job order by id"):
        job = msgspec.json.decode(row["payload"], type=Job)
        found.extend(one.message for one in await outbox.pending(connection, job))
    return found


async def test_held_alerts_leave_in_one_digest_when_their_time_has_come(database: Pool) -> None:
    way = routing()
    many = [alert(Severity.HIGH, owner="bob", number=number) for number in range(30)]
    await hold(database, way, [alert(Severity.LOW, event="finding.resolved"), alert(Severity.MEDIUM), *many])
    due = Due(database, way, ())
    assert await due.make(NOW + HOUR - timedelta(microseconds=1)) == 0
    assert await due.make(NOW + HOUR) == 1
    assert await due.make(NOW + 2 * HOUR) == 0
    async with database.acquire() as connection:
        (digest,) = await messages(connection)
        assert await outbox.count(connection) == {
            ("team", DeliveryState.GATHERED): 32,
            ("team", DeliveryState.PENDING): 1,
        }
    assert digest.is_digest
    assert digest.counts == {Severity.HIGH: 30, Severity.MEDIUM: 1, Severity.LOW: 1}
    assert (len(digest.alerts), digest.more) == (SHOWN, 32 - SHOWN)
    assert {shown.severity for shown in digest.alerts} == {Severity.HIGH}


async def test_digest_says_of_which_environment_and_owner_all_of_it_is_shown_or_not(database: Pool) -> None:
    way = routing()
    await hold(database, way, [alert(Severity.HIGH, number=number) for number in range(SHOWN + 1)])
    await Due(database, way, ()).make(NOW + HOUR)
    many = [alert(Severity.HIGH, number=number) for number in range(SHOWN)]
    await hold(database, way, [*many, replace(alert(Severity.LOW, owner="bob"), environment="test")])
    await Due(database, way, ()).make(NOW + 2 * HOUR)
    async with database.acquire() as connection:
        one, several = await messages(connection)
        assert (one.environment, one.owner, one.more) == ("prod", "alice", 1)
        assert (several.environment, several.owner, several.more) == (None, None, 1)
        assert {shown.environment for shown in several.alerts} == {"prod"}
        assert await connection.fetchval("select environment from alert where id = $1", several.id) == "*"


async def test_digest_stays_what_it_was_when_it_was_closed(database: Pool) -> None:
    way = routing()
    await hold(database, way, [alert(Severity.HIGH), alert(Severity.LOW)])
    await Due(database, way, ()).make(NOW + HOUR)
    async with database.acquire() as connection:
        before = await messages(connection)
        await connection.execute("update alert set data = '{}' where event <> 'digest'")
        await hold(database, way, [alert(Severity.CRITICAL)])
        assert (await messages(connection))[0] == before[0]


async def test_alert_that_is_alone_goes_by_itself(database: Pool) -> None:
    way, only = routing(), alert(Severity.HIGH)
    await hold(database, way, [only])
    await Due(database, way, ()).make(NOW + HOUR)
    async with database.acquire() as connection:
        assert await messages(connection) == [Message.of_one(only, ("alice@example.com",))]


async def test_who_is_addressed_gets_a_digest_of_their_own(database: Pool) -> None:
    way = routing(is_addressed=True)
    await hold(
        database, way, [alert(Severity.HIGH, owner=owner) for owner in ("alice", "bob", "alice", "bob", "carol")]
    )
    await Due(database, way, ()).make(NOW + HOUR)
    async with database.acquire() as connection:
        found = {one.recipients: sum(one.counts.values()) for one in await messages(connection)}
    assert found == {("alice@example.com",): 2, ("bob@example.com",): 2, (): 1}


async def test_hook_that_takes_no_digests_gets_each_alert_when_its_time_has_come(database: Pool) -> None:
    way = routing(takes_digests=False)
    await hold(database, way, [alert(Severity.HIGH, number=number) for number in range(3)])
    assert await Due(database, way, ()).make(NOW + HOUR) == 3
    async with database.acquire() as connection:
        assert [one.is_digest for one in await messages(connection)] == [False] * 3


async def test_replicas_make_one_digest(database: Pool) -> None:
    way = routing()
    await hold(database, way, [alert(Severity.HIGH), alert(Severity.LOW)])
    made = await asyncio.gather(*(Due(database, way, ()).make(NOW + HOUR) for _replica in range(4)))
    assert sum(made) == 1


async def test_what_a_hook_that_is_gone_held_is_let_go(database: Pool) -> None:
    await hold(database, routing(), [alert(Severity.HIGH), alert(Severity.LOW)])
    assert await Due(database, Routing(), ()).make(NOW + HOUR) == 2


async def test_what_is_delivered_is_forgotten_in_the_end_and_what_is_pending_is_not(database: Pool) -> None:
    way = routing()
    await hold(database, way, [alert(Severity.HIGH), alert(Severity.LOW)])
    await Due(database, way, ()).make(NOW + HOUR)
    kept, later = Retention(uses=None, alerts=timedelta(days=90), queue_log=None), NOW + timedelta(days=91)
    await prune(database, kept, later)
    async with database.acquire() as connection:
        assert await connection.fetchval("select count(*) from alert") == 3
        (digest,) = await messages(connection)
        await outbox.note(connection, "team", digest.id, state=DeliveryState.DELIVERED, answer="ok", now=NOW)
        await prune(database, kept, later)
        for table in ("alert", "delivery", "delivery_attempt"):
            assert await connection.fetchval(f"select count(*) from {table}") == 0, table


def test_alerts_of_one_environment_and_owner_stand_together_the_worst_first_and_good_news_last() -> None:
    bob_low, bob_high = alert(Severity.LOW, owner="bob"), alert(Severity.HIGH, owner="bob")
    alice, good = alert(Severity.MEDIUM), alert(Severity.CRITICAL, owner="carol", event="finding.resolved")
    assert arranged([good, bob_low, alice, bob_high]) == [bob_high, bob_low, alice, good]
