"""The environment's own list beside what its stores hold, in SQL."""

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

from auditor.model.lookup import Lookup, Outcome, TokenMetadata
from auditor.store import inventory
from auditor.store.connection import Connection, Pool
from auditor.store.inventory import Unstored
from tests.store.history import HOUR, MISSING, NOW, TOKEN, Swept, begin, enrolment, failed, found

STORED = enrolment("one")
OLD = enrolment("of the old format", public_id=None)


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


def listed(token_id: str, **fields: object) -> TokenMetadata:
    return msgspec.structs.replace(TOKEN, id=token_id, **fields)


async def unstored(sweep: Swept, *tokens: TokenMetadata, own_id: str | None = None) -> list[Unstored]:
    await inventory.gather(sweep.connection, sweep.id, sweep.environment, tokens, own_id=own_id)
    return [one async for batch in inventory.unstored(sweep.connection, sweep.id, batch=2) for one in batch]


def ids(found: Sequence[Unstored]) -> list[str]:
    return [one.token.id for one in found]


async def test_listed_token_that_is_stored_is_not_kept(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((STORED, found()))
    assert ids(await unstored(sweep, TOKEN, listed("dt0c01.B"))) == ["dt0c01.B"]


@pytest.mark.parametrize("lookup", [MISSING, failed()], ids=["missing", "failed"])
async def test_stored_token_is_stored_whatever_its_lookup_said(connection: Connection, lookup: Lookup) -> None:
    sweep = await begin(connection)
    await sweep.record((STORED, lookup))
    assert await unstored(sweep, TOKEN) == []


async def test_kept_token_is_read_back_as_it_was_listed(connection: Connection) -> None:
    sweep = await begin(connection)
    assert await unstored(sweep, TOKEN) == [Unstored(TOKEN, ())]


async def test_token_of_the_old_format_is_known_by_the_id_that_a_lookup_told(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((OLD, found(id="1f0c-old")))
    assert await unstored(sweep, listed("1f0c-old")) == []


async def test_token_whose_lookup_told_another_id_is_stored_under_both(connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((STORED, found(id="dt0c01.OTHER")))
    assert ids(await unstored(sweep, listed("dt0c01.OTHER"), TOKEN, listed("dt0c01.B"))) == ["dt0c01.B"]


async def test_token_that_is_stored_no_longer_is_kept(connection: Connection) -> None:
    await (await begin(connection)).record((STORED, found()))
    later = await begin(connection, now=NOW + HOUR)
    await later.finish()
    assert ids(await unstored(await begin(connection, now=NOW + 2 * HOUR), TOKEN)) == [TOKEN.id]


async def test_token_stored_for_another_environment_says_for_which(connection: Connection) -> None:
    for name in ("dev", "test"):
        other = await begin(connection, name)
        await other.record((STORED, MISSING))
    sweep = await begin(connection)
    assert await unstored(sweep, TOKEN, listed("dt0c01.B")) == [
        Unstored(listed("dt0c01.B"), ()),
        Unstored(TOKEN, ("dev", "test")),
    ]


async def test_own_token_is_not_kept(connection: Connection) -> None:
    sweep = await begin(connection)
    assert await unstored(sweep, TOKEN, own_id=TOKEN.id) == []


async def test_pages_add_up_and_a_token_on_two_of_them_counts_once(connection: Connection) -> None:
    sweep = await begin(connection)
    await unstored(sweep, *(listed(f"dt0c01.{n}") for n in range(5)))
    assert ids(await unstored(sweep, listed("dt0c01.4"), listed("dt0c01.5"))) == [f"dt0c01.{n}" for n in range(6)]


async def test_what_a_sweep_gathered_is_its_own_and_goes_with_it(connection: Connection) -> None:
    sweep = await begin(connection)
    await unstored(sweep, TOKEN)
    other = await begin(connection, "dev")
    assert await unstored(other) == []
    await inventory.begin(connection, other.environment)
    assert ids(await unstored(sweep)) == [TOKEN.id]
    await inventory.end(connection, sweep.id)
    assert await unstored(sweep) == []


async def test_what_a_sweep_left_behind_goes_when_the_next_begins(connection: Connection) -> None:
    await unstored(await begin(connection), TOKEN)
    later = await begin(connection, now=NOW + HOUR)
    await inventory.begin(connection, later.environment)
    assert await connection.fetchval("select count(*) from unstored") == 0


@pytest.mark.parametrize(
    ("lookup", "count"),
    [(failed(), 1), (failed(Outcome.UNREACHABLE, "away"), 1), (MISSING, 0), (found(id="1f0c-old"), 0)],
    ids=["throttled", "unreachable", "missing", "found"],
)
async def test_stored_token_without_an_id_may_be_any_until_a_lookup_says(
    connection: Connection, lookup: Lookup, count: int
) -> None:
    sweep = await begin(connection)
    await sweep.record((OLD, lookup), (STORED, failed()))
    assert await inventory.nameless(connection, sweep.environment) == count
