"""When tokens expire, counted and one by one: which count, on which day, and in what order."""

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from auditor.policy.rules.exp_06 import Cliff
from auditor.store.connection import Connection, Pool
from auditor.store.forecast import Ends, endings, ends
from tests.store.history import HOUR, MISSING, NOW, Swept, begin, enrolment, failed, found

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
TODAY = date(2026, 11, 24)
MIDNIGHT = NOW.replace(hour=0)
UNTIL = date(2027, 11, 23)


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


def label(number: int) -> str:
    return f"dt0c01.{number:024d}"


async def store(sweep: Swept, *tokens: dict[str, Any]) -> None:
    """Record tokens as found, with these fields, and end the sweep."""
    await sweep.record(
        *(
            (enrolment(str(n), public_id=label(n)), found(sweep.now, **{"id": label(n)} | fields))
            for n, fields in enumerate(tokens)
        )
    )
    await sweep.finish()


async def counted(connection: Connection, until: date = UNTIL, *environments: str) -> list[Ends]:
    return list(await ends(connection, NOW, until, environments))


async def read(connection: Connection, *days: date, batch: int = 1000) -> list[tuple[str, str | None]]:
    async with connection.transaction():
        return [
            (one.label, one.owner)
            async for several in endings(connection, "prod", days, NOW, batch=batch)
            for one in several
        ]


@pytest.mark.parametrize(
    ("fields", "active", "days"),
    [
        ({"expiration_date": NOW + SECOND}, 1, {TODAY: 1}),
        ({"expiration_date": NOW}, 0, {}),
        ({"expiration_date": NOW - SECOND}, 0, {}),
        ({"expiration_date": None}, 1, {}),
        ({"expiration_date": MIDNIGHT + 40 * DAY - SECOND}, 1, {TODAY + 39 * DAY: 1}),
        ({"expiration_date": MIDNIGHT + 40 * DAY}, 1, {TODAY + 40 * DAY: 1}),
        ({"expiration_date": MIDNIGHT + 365 * DAY - SECOND}, 1, {UNTIL: 1}),
        ({"expiration_date": MIDNIGHT + 365 * DAY}, 1, {}),
        ({"enabled": False}, 0, {}),
        ({"enabled": None}, 1, {TODAY + 80 * DAY: 1}),
    ],
)
async def test_live_tokens_count_on_the_day_they_expire(
    connection: Connection, fields: dict[str, Any], active: int, days: dict[date, int]
) -> None:
    await store(await begin(connection), fields)
    assert await counted(connection) == [Ends("prod", active, days, Cliff())]
    assert len(await read(connection, *days)) == len(days)


async def test_token_that_is_missing_or_no_longer_stored_does_not_count(connection: Connection) -> None:
    await store(await begin(connection), {}, {}, {})
    later = await begin(connection, now=NOW + HOUR)
    await later.record(
        (enrolment("0", public_id=label(0)), msgspec.structs.replace(MISSING, at=NOW + HOUR)),
        (enrolment("1", public_id=label(1)), msgspec.structs.replace(failed(), at=NOW + HOUR)),
    )
    await later.finish()
    assert await counted(connection) == [Ends("prod", 1, {TODAY + 80 * DAY: 1}, Cliff())]
    assert await read(connection, TODAY + 80 * DAY) == [(label(1), "svc-ingest")]


async def test_environments_are_counted_apart_and_narrowed(connection: Connection) -> None:
    await store(await begin(connection, "staging"), {}, {"expiration_date": None})
    await store(await begin(connection, "prod"), {})
    await (await begin(connection, "empty")).finish()
    await begin(connection, "unfinished")
    assert [(one.environment, one.active) for one in await counted(connection)] == [
        ("empty", 0),
        ("prod", 1),
        ("staging", 2),
    ]
    assert [one.environment for one in await counted(connection, UNTIL, "staging", "prod")] == ["prod", "staging"]


async def test_endings_come_by_day_owner_and_label_in_batches_of_any_size(connection: Connection) -> None:
    first, second = NOW + 30 * DAY, NOW + 40 * DAY
    await store(
        await begin(connection),
        {"owner": "b", "expiration_date": second},
        {"owner": None, "expiration_date": first},
        {"owner": "b", "expiration_date": first + HOUR},
        {"owner": "a", "expiration_date": first + 2 * HOUR},
        {"owner": "b", "expiration_date": first},
        {"owner": "a", "expiration_date": NOW + 50 * DAY},
    )
    for batch in (1, 2, 5, 6):
        assert await read(connection, TODAY + 30 * DAY, TODAY + 40 * DAY, batch=batch) == [
            (label(3), "a"),
            (label(2), "b"),
            (label(4), "b"),
            (label(1), None),
            (label(0), "b"),
        ]
    assert await read(connection) == []


@pytest.mark.parametrize(
    ("table", "cliff"),
    [
        ('{"min_count": 7, "enabled": true}', Cliff(min_count=7)),
        ('{"window_days": 7, "pct": 2.5, "severity": "high", "only": []}', Cliff(window_days=7, pct=2.5)),
        ('{"no_such_parameter": 1}', Cliff()),
    ],
)
async def test_cliff_is_what_the_last_sweep_s_policy_says(connection: Connection, table: str, cliff: Cliff) -> None:
    await store(await begin(connection), {})
    await connection.execute(
        "insert into policy (digest, document, first_applied_at) values ($1, $2, $3)",
        "f" * 64,
        f'{{"name": "strict", "rules": {{"DT-EXP-06": {table}}}}}',
        NOW,
    )
    sweep = await begin(connection, now=NOW + HOUR)
    await connection.execute("update sweep set policy_digest = $1 where id = $2", "f" * 64, sweep.id)
    assert [one.cliff for one in await counted(connection)] == [Cliff()]
    await sweep.finish()
    assert [one.cliff for one in await counted(connection)] == [cliff]
