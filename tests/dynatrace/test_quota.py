"""The quota of an older cluster, over real sockets: obeyed where its headers make sense, survived where they do not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import stamina

from auditor.dynatrace.client import Client
from auditor.model.lookup import Outcome
from auditor.model.secret import Secret
from auditor.simulator import Environment, Quota, SteppedClock, World, serve
from tests.daemon.stage import until
from tests.dynatrace.lookup_servers import NOW, TOKEN, answering, client_of, http

_NEVER = str(10**30)


def _microseconds(**later: int) -> str:
    return str(int((NOW + timedelta(**later)).timestamp() * 1_000_000))


@asynccontextmanager
async def metered(quota: Quota, **settings: Any) -> AsyncIterator[tuple[Client, Environment, Secret]]:
    """An environment with a quota, its client and a token of it."""
    world = World(clock=SteppedClock(NOW))
    own, token = (Secret(world.create(name, ["metrics.read"]).secret) for name in ("own", "other"))
    async with (
        serve({"prod": world}) as simulator,
        client_of(simulator.url("prod"), own=own, **settings) as client,
    ):
        environment = simulator.environments["prod"]
        environment.set_quota(quota)
        yield client, environment, token


async def test_lookups_wait_for_the_next_span_and_hardly_one_is_refused() -> None:
    async with metered(Quota(requests=10, seconds=0.03), concurrency=4) as (client, environment, token):
        lookups = await asyncio.gather(*(client.lookup(token) for _number in range(40)))
    assert {lookup.outcome for lookup in lookups} == {Outcome.FOUND}
    assert environment.answers[429] <= 4 * 3  # in each span those that left before its end was known


@pytest.mark.parametrize(
    "reset",
    [_microseconds(seconds=-1), _microseconds(days=-9_000), "0", _microseconds(days=2), _NEVER, "-1", "soon", ""],
    ids=["just over", "long over", "1970", "in two days", "in ages", "negative", "no number", "empty"],
)
async def test_reset_that_makes_no_sense_neither_ends_the_lookups_nor_has_them_repeated_without_a_pause(
    reset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.dynatrace.client._WAIT_INITIAL", 0.01)
    monkeypatch.setattr("auditor.dynatrace.limit._PAUSE_FIRST", 0.001)
    async with metered(Quota(requests=10, seconds=0.03, reset=reset)) as (client, environment, token):
        lookups = await asyncio.gather(*(client.lookup(token) for _number in range(25)))
    assert {lookup.outcome for lookup in lookups} == {Outcome.FOUND}
    assert environment.answers[429] <= 25


@pytest.mark.parametrize(
    ("status", "asks"),
    [
        (429, {"Retry_After": "0"}),
        (503, {"Retry_After": "0"}),
        (429, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": _microseconds(seconds=-1)}),
        (429, {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": _NEVER}),
        (429, {"X_RateLimit_Remaining": "0"}),
    ],
    ids=["at once", "at once, 503", "reset is over", "reset is in ages", "no reset"],
)
async def test_attempts_of_a_lookup_are_spread_where_the_environment_names_no_time_to_wait(
    status: int, asks: dict[str, str]
) -> None:
    with stamina.set_testing(False):
        async with (
            answering(http(status, b"", **asks)) as server,
            client_of(server.url, attempts=5) as client,
            asyncio.TaskGroup() as lookups,
        ):
            lookup = lookups.create_task(client.lookup(TOKEN))
            await until(lambda: bool(server.requests))
            await asyncio.sleep(0.05)
            assert not lookup.done()
            assert len(server.requests) == 1
            lookup.cancel()
