"""The list of an environment's tokens, over real sockets: page by page, whole or said not to be."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stamina

from auditor.dynatrace import inventory
from auditor.dynatrace.client import Client
from auditor.dynatrace.inventory import PAGE_SIZE, listed, read_token
from auditor.model.errors import ReadFailed
from auditor.model.lookup import Outcome, TokenMetadata
from auditor.model.secret import Secret
from auditor.simulator import Environment, Fault, Faults, Plan, SteppedClock, World, generate, serve
from tests.dynatrace.lookup_servers import NOW, OWN, PUBLIC_ID, answering, client_of, http


@pytest.fixture(autouse=True)
def _no_waits_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@asynccontextmanager
async def staged(
    *scopes: str, faults: Faults | None = None, **settings: Any
) -> AsyncIterator[tuple[Client, World, Environment]]:
    clock = SteppedClock(NOW)
    world = World(clock=clock)
    own = world.create("own", scopes or ["apiTokens.read"])
    async with (
        serve({"prod": world}, faults=faults) as simulator,
        client_of(simulator.url("prod"), clock=clock, own=Secret(own.secret), **settings) as client,
    ):
        yield client, world, simulator.environments["prod"]


async def pages_of(client: Client) -> list[Sequence[TokenMetadata]]:
    return [page async for page in listed(client)]


def page(*tokens: object, **more: object) -> bytes:
    body = {"apiTokens": list(tokens), "pageSize": PAGE_SIZE, **more}
    return http(200, json.dumps(body).encode(), Content_Type="application/json")


async def failure(*answers: bytes) -> str:
    async with answering(*answers) as server, client_of(server.url, attempts=1) as client:
        with pytest.raises(ReadFailed) as caught:
            await pages_of(client)
    return str(caught.value)


async def test_every_token_is_listed_once_with_what_rules_need() -> None:
    async with staged() as (client, world, _api):
        for made in generate("list", 50, NOW):
            world.add(made)
        (tokens,) = await pages_of(client)
        assert sorted(token.id for token in tokens) == sorted(token.id for token in world.tokens())
        for token in tokens:
            held = world.get(token.id)
            assert held is not None
            assert (token.name, token.owner, token.scopes) == (held.name, held.owner, tuple(sorted(set(held.scopes))))
            assert (token.expiration_date is None) is (held.expiration_date is None)
            assert (token.last_used_date is None) is (held.last_used_date is None)
            assert token.personal_access_token is held.personal_access_token


async def test_list_goes_over_as_many_pages_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "PAGE_SIZE", 100)
    async with staged() as (client, world, _api):
        for number in range(250):
            world.create(f"t{number}", ["metrics.read"])
        pages = await pages_of(client)
        assert [len(tokens) for tokens in pages] == [100, 100, 51]
        assert {token.id for tokens in pages for token in tokens} == {token.id for token in world.tokens()}


async def test_first_page_is_asked_for_in_full_and_the_next_by_its_key_alone() -> None:
    token = {"id": PUBLIC_ID, "scopes": []}
    async with (
        answering(page(token, nextPageKey="A+B/="), page({"id": "dt0c01.B", "scopes": []})) as server,
        client_of(server.url) as client,
    ):
        pages = await pages_of(client)
    assert [[token.id for token in tokens] for tokens in pages] == [[PUBLIC_ID], ["dt0c01.B"]]
    first, second = (urlsplit(request.target) for request in server.requests)
    assert first.path == second.path == "/api/v2/apiTokens"
    assert parse_qs(first.query) == {
        "pageSize": ["10000"],
        "fields": ["+personalAccessToken,+expirationDate,+lastUsedDate,+lastUsedIpAddress,+scopes"],
    }
    assert parse_qs(second.query) == {"nextPageKey": ["A+B/="]}
    assert {request.headers["authorization"] for request in server.requests} == {f"Api-Token {OWN.reveal()}"}


async def test_missing_scope_is_told_and_not_tried_again() -> None:
    async with staged("metrics.read") as (client, _world, api):
        with pytest.raises(ReadFailed) as caught:
            await pages_of(client)
        assert api.answers == {403: 1}
    assert caught.value.ended.outcome is Outcome.REFUSED
    assert str(caught.value) == "HTTP 403 from the API; reading tokens needs the scope apiTokens.read"


async def test_what_may_pass_is_tried_again() -> None:
    faults = Faults(plans=(Plan(faults=(Fault.SERVER_ERROR, Fault.RESET, Fault.TRUNCATED)),))
    async with staged(faults=faults) as (client, _world, _api):
        assert [len(tokens) for tokens in await pages_of(client)] == [1]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.SERVER_ERROR, Outcome.UNREACHABLE),
        (Fault.RESET, Outcome.UNREACHABLE),
        (Fault.TRUNCATED, Outcome.MALFORMED),
        (Fault.HTML, Outcome.MALFORMED),
        (Fault.PROXY_FORBIDDEN, Outcome.REFUSED),
    ],
)
async def test_list_that_cannot_be_had_is_no_empty_list(fault: Fault, outcome: Outcome) -> None:
    async with staged(faults=Faults(plans=(Plan(then=fault),)), attempts=2) as (client, _world, _api):
        with pytest.raises(ReadFailed) as caught:
            await pages_of(client)
    assert caught.value.ended.outcome is outcome


async def test_failure_of_a_later_page_ends_the_list() -> None:
    async with (
        answering(page({"id": PUBLIC_ID, "scopes": []}, nextPageKey="next"), http(500)) as server,
        client_of(server.url, attempts=1) as client,
    ):
        tokens = listed(client)
        assert [token.id for token in await anext(tokens)] == [PUBLIC_ID]
        with pytest.raises(ReadFailed, match="HTTP 500"):
            await anext(tokens)


async def test_list_that_ends_before_its_own_count_is_not_whole() -> None:
    token = {"id": PUBLIC_ID, "scopes": []}
    assert await failure(page(token, totalCount=2)) == "the list ended after 1 of 2 tokens"
    async with answering(page(token, totalCount=1)) as server, client_of(server.url) as client:
        assert len(await pages_of(client)) == 1


async def test_list_that_goes_round_in_circles_ends() -> None:
    again = page({"id": PUBLIC_ID, "scopes": []}, nextPageKey="same")
    assert "does not end" in await failure(again)
    assert "does not end" in await failure(page(nextPageKey="more"))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"apiTokens": null}', b'{"totalCount": 3}', b'{"apiTokens": [{"name": "x"}]}', b"<html>"]
)
async def test_answer_that_is_no_list_is_malformed(body: bytes) -> None:
    async with answering(http(200, body)) as server, client_of(server.url, attempts=1) as client:
        with pytest.raises(ReadFailed) as caught:
            await pages_of(client)
    assert caught.value.ended.outcome is Outcome.MALFORMED


async def test_page_may_be_larger_than_a_lookups_answer_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    large = page({"id": PUBLIC_ID, "scopes": [], "name": "x" * 2_000_000})
    async with answering(large) as server, client_of(server.url, attempts=1) as client:
        assert len(await pages_of(client)) == 1
    monkeypatch.setattr(inventory, "PAGE_LIMIT", 1_000_000)
    assert await failure(large) == "answer is larger than 1000000 bytes"


async def test_compressed_page_is_not_taken() -> None:
    assert "compressed" in await failure(http(200, b'{"apiTokens": []}', Content_Encoding="gzip"))


async def test_pages_keep_to_the_pace_that_lookups_keep() -> None:
    async with staged() as (client, world, api):
        api.set_faults(Faults(plans=(Plan(faults=(Fault.THROTTLED,)),), retry_after_seconds=3_600))
        with pytest.raises(ReadFailed, match="asks to be left alone"):
            await pages_of(client)
        lookup = await client.lookup(Secret(world.create("t", ["metrics.read"]).secret))
        assert (lookup.outcome, lookup.attempts) == (Outcome.THROTTLED, 0)


async def test_one_token_is_read_by_its_id() -> None:
    async with staged() as (client, world, _api):
        token = world.create("one", ["metrics.read"], expiration_date=NOW + timedelta(days=3))
        read = await read_token(client, token.token.id)
        assert (read.id, read.name, read.expiration_date) == (token.token.id, "one", NOW + timedelta(days=3))
        with pytest.raises(ReadFailed) as caught:
            await read_token(client, PUBLIC_ID)
        assert caught.value.ended.outcome is Outcome.MISSING


async def test_id_with_odd_characters_stays_in_the_path() -> None:
    async with answering(http(404)) as server, client_of(server.url, attempts=1) as client:
        with pytest.raises(ReadFailed):
            await read_token(client, "../x?y#z/ä")
    assert server.requests[0].target == "/api/v2/apiTokens/..%2Fx%3Fy%23z%2F%C3%A4"
