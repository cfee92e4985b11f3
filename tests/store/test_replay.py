"""Reading stored observations again: as they are now, and as they were at any instant before."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from auditor.model.lookup import Lookup, Outcome
from auditor.store import replay
from auditor.store.connection import Connection, Pool
from auditor.store.replay import Slice
from auditor.store.tokens import KnownToken
from tests.store.history import HOUR, MISSING, NOW, begin, enrolment, failed, found

DAY = timedelta(days=1)
ALL = Slice("prod", 0, 2**62)


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


async def stored(connection: Connection, at: datetime | None = None, wanted: Slice = ALL) -> list[KnownToken]:
    """Return what is replayed, now or as of an instant, less what has no history."""
    async with replay.one_instant(connection):
        batches = replay.present(connection, wanted) if at is None else replay.past(connection, wanted, at)
        return [
            msgspec.structs.replace(token, uses=0, notable_use_at=None) async for batch in batches for token in batch
        ]


def changed(rng: random.Random, lookup: Lookup, now: datetime) -> Lookup:
    """Return what the next lookup may say of a token."""
    if rng.random() < 0.15:
        return msgspec.structs.replace(MISSING, at=now)
    fields: dict[str, Any] = msgspec.structs.asdict(lookup.metadata) if lookup.metadata else {}
    happened = rng.random()
    if happened < 0.2:
        fields["enabled"] = not fields.get("enabled", True)
    elif happened < 0.3:
        fields["name"] = rng.choice(("a", "b", None))
    elif happened < 0.4:
        fields["scopes"] = tuple(sorted(rng.sample(("logs.read", "metrics.read", "x"), 2)))
    elif happened < 0.6:
        fields |= {"last_used_date": now - HOUR, "last_used_ip_address": rng.choice(("10.0.0.1", "10.0.0.2"))}
    elif happened < 0.7:
        fields |= {"last_used_date": None, "last_used_ip_address": None}
    elif happened < 0.75:
        fields["expiration_date"] = rng.choice((None, now + DAY))
    if rng.random() < 0.05:
        fields |= {"last_used_date": None, "last_used_ip_address": None}
    return found(now, **fields)


@pytest.mark.parametrize("seed", range(4))
async def test_past_is_what_was_present_then(connection: Connection, seed: int) -> None:
    rng = random.Random(seed)
    entries = [enrolment(f"secret {number}", public_id=f"dt0c01.{number:024d}") for number in range(25)]
    lookups: dict[int, Lookup] = {number: found() for number in range(25)}
    then: dict[datetime, Sequence[KnownToken]] = {}
    for days in range(12):
        now = NOW + days * DAY
        sweep = await begin(connection, now=now)
        held = [number for number in range(25) if number < 5 + 3 * days and rng.random() < 0.97]
        for number in held:
            lookups[number] = changed(rng, lookups[number], now)
        await sweep.record(*((entries[number], lookups[number]) for number in held))
        await sweep.finish()
        then[now] = await stored(connection)
    assert sum(map(len, then.values())) > 100
    returned = {label for seen in then.values() for label in gone(seen, then[NOW + 11 * DAY])}
    for now, present in then.items():
        past = {token.label: token for token in await stored(connection, now)}
        for token in present:
            # Of a token that was stored no longer for a while, or is not now, the store keeps no dates of that.
            if token.label in past or token.label not in returned:
                assert past[token.label] == token, (seed, now)


def gone(before: Sequence[KnownToken], after: Sequence[KnownToken]) -> set[str]:
    return {token.label for token in before} - {token.label for token in after}


async def test_token_is_as_it_was_between_two_sweeps(connection: Connection) -> None:
    entry = enrolment("one")
    for days, fields in ((0, {}), (2, {"enabled": False}), (5, {"enabled": False, "name": "b"}), (8, {"name": "b"})):
        sweep = await begin(connection, now=NOW + days * DAY)
        await sweep.record((entry, found(NOW + days * DAY, **fields)))
        await sweep.finish()
    seen = {}
    for days in (0, 1, 3, 6, 9):
        (token,) = await stored(connection, NOW + days * DAY)
        assert token.previous is not None
        assert token.previous.metadata is not None
        seen[days] = (token.previous.metadata.enabled, token.previous.metadata.name, token.previous.disabled_since)
    assert seen == {
        0: (True, "ingest", None),
        1: (True, "ingest", None),
        3: (False, "ingest", NOW + 2 * DAY),
        6: (False, "b", NOW + 2 * DAY),
        9: (True, "b", None),
    }
    assert await stored(connection, NOW - timedelta(seconds=1)) == []


async def test_missing_token_keeps_what_last_found_it(connection: Connection) -> None:
    entry = enrolment("one")
    for days, lookup in enumerate((found(), MISSING, MISSING)):
        sweep = await begin(connection, now=NOW + days * DAY)
        await sweep.record((entry, msgspec.structs.replace(lookup, at=NOW + days * DAY)))
        await sweep.finish()
    (now,) = await stored(connection)
    (then,) = await stored(connection, NOW + 1 * DAY)
    assert (now.misses, then.misses) == (2, 1)
    for token in (now, then):
        assert token.previous is not None
        assert (token.previous.outcome, token.previous.metadata) == (Outcome.MISSING, None)
        assert token.last_found is not None
        assert token.last_found.name == "ingest"


async def test_token_without_evidence_or_in_no_source_is_left_out(connection: Connection) -> None:
    gone, unknown, kept = (enrolment(name, public_id=f"dt0c01.{name:A>24}") for name in ("GONE", "UNKNOWN", "KEPT"))
    first = await begin(connection)
    await first.record((gone, found(id="a")), (unknown, failed()), (kept, found(id="b")))
    await first.finish()
    second = await begin(connection, now=NOW + DAY)
    await second.record((unknown, failed()), (kept, found(NOW + DAY, id="b")))
    await second.finish()
    assert [token.label for token in await stored(connection)] == [kept.public_id]
    assert {token.label for token in await stored(connection, NOW + HOUR)} == {kept.public_id, gone.public_id}


async def test_slices_hold_every_token_once(connection: Connection) -> None:
    for name, tokens in (("prod", 23), ("staging", 5), ("empty", 0)):
        sweep = await begin(connection, name)
        await sweep.record(
            *((enrolment(f"{name}{n}", public_id=f"dt0c01.{n:024d}"), found(id=str(n))) for n in range(tokens))
        )
        await sweep.finish()
    cut = await replay.slices(connection, ["staging", "empty", "prod"], 5)
    assert [where.environment for where in cut] == ["staging", *["prod"] * 5]
    read = [(where.environment, token.label) for where in cut for token in await stored(connection, wanted=where)]
    assert len(read) == len(set(read)) == 28


async def test_connections_that_join_see_one_instant_and_write_nothing(database: Pool) -> None:
    async with database.acquire() as one, database.acquire() as two, database.acquire() as other:
        await (await begin(one)).record((enrolment("one"), found()))
        async with replay.one_instant(one) as snapshot:
            await (await begin(other)).record((enrolment("two", public_id="dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA"), found()))
            async with replay.joined(two, snapshot):
                assert await two.fetchval("select count(*) from token") == 1
                with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                    await two.execute("delete from token_use")


async def test_token_is_found_by_label_public_id_and_finding_key(connection: Connection) -> None:
    one = enrolment("one", public_id="dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA")
    copy = enrolment("damaged copy", public_id="dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA")
    for name in ("prod", "staging"):
        await (await begin(connection, name)).record((one, found()), *(((copy, found()),) if name == "prod" else ()))

    async def names(name: str, *environments: str) -> list[tuple[str, str]]:
        return [(token.environment, token.label) for token in await replay.named(connection, name, environments)]

    label = "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA"
    told_apart = f"{label}~{copy.fingerprint[:4].hex()}"
    assert await names(label) == [("prod", label), ("prod", told_apart), ("staging", label)]
    assert await names(label, "staging") == [("staging", label)]
    assert await names(told_apart) == [("prod", told_apart)]
    assert await names(f"staging/{label}/DT-EXP-01") == [("staging", label)]
    assert await names(f"staging/{label}/DT-EXP-06/2026-01-01") == [("staging", label)]
    assert await names(f"prod/{label}", "staging") == []
    assert await names("dt0c01.BBBB") == []
