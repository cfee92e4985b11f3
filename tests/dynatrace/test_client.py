"""The lookup client on real sockets: every way in which an environment can answer, or not."""

import asyncio
import gzip
import io
import json
import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import stamina
import structlog
from structlog.testing import capture_logs

from auditor.dynatrace.client import ANSWER_LIMIT, Client
from auditor.log import configure
from auditor.model.errors import ConfigError
from auditor.model.lookup import Lookup, Outcome
from auditor.model.secret import Secret
from auditor.simulator import Capacity, Environment, Fault, Faults, Plan, SimulatedToken, SteppedClock, World, serve
from tests.dynatrace.lookup_servers import (
    NOW,
    OWN,
    PUBLIC_ID,
    TOKEN,
    Answer,
    Server,
    answering,
    client_of,
    connect_proxy,
    http,
    listening,
    make_certificate,
)

FOUND = http(200, json.dumps({"id": PUBLIC_ID, "scopes": []}).encode(), Content_Type="application/json")
MISSING = http(404, b'{"error":{"code":404,"message":"Token not found"}}')


@pytest.fixture(autouse=True)
def _no_waits_between_attempts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("auditor.dynatrace.limit._PAUSE_FIRST", 0.001)
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


def http_date(later: timedelta) -> str:
    return format_datetime(NOW + later, usegmt=True)


class Stage:
    def __init__(self, client: Client, environment: Environment, world: World, url: str) -> None:
        self.client, self.environment, self.world, self.url = client, environment, world, url
        self.token = world.create("other", ["metrics.read"])

    async def lookup(self, token: SimulatedToken | None = None) -> Lookup:
        return await self.client.lookup(Secret((token or self.token).secret))


@asynccontextmanager
async def staged(
    faults: Faults | None = None, *, capacity: Capacity | None = None, **settings: Any
) -> AsyncIterator[Stage]:
    clock = SteppedClock(NOW)
    world = World(clock=clock)
    own = world.create("own", ["metrics.read"])
    async with (
        serve({"prod": world}, faults=faults, capacity=capacity) as simulator,
        client_of(simulator.url("prod"), clock=clock, own=Secret(own.secret), **settings) as client,
    ):
        yield Stage(client, simulator.environments["prod"], world, simulator.url("prod"))


def always(fault: Fault, **settings: float) -> Faults:
    return Faults(plans=(Plan(then=fault),), **settings)  # type: ignore[arg-type]  # numbers only


async def answered(*answers: Answer, attempts: int = 1, **settings: Any) -> Lookup:
    """Return how a lookup ends where the server sends these answers."""
    async with answering(*answers) as server, client_of(server.url, attempts=attempts, **settings) as client:
        return await client.lookup(TOKEN)


def failed(outcome: Outcome, reason: str, status: int | None = None, attempts: int = 1) -> Lookup:
    return Lookup(outcome, NOW, None, reason, status, attempts)


@pytest.mark.parametrize("api", ["v2", "v1"])
async def test_token_is_found(api: str) -> None:
    async with staged(api=api) as stage:
        lookup = await stage.lookup()
    assert (lookup.outcome, lookup.status, lookup.attempts, lookup.reason) == (Outcome.FOUND, 200, 1, "")
    assert lookup.at == NOW
    assert lookup.metadata is not None
    assert (lookup.metadata.id, lookup.metadata.name) == (stage.token.token.id, "other")
    assert (lookup.metadata.creation_date, lookup.metadata.enabled) == (NOW, True)


@pytest.mark.parametrize("api", ["v2", "v1"])
async def test_token_that_is_not_there_is_missing(api: str) -> None:
    async with staged(api=api) as stage:
        stage.world.delete(stage.token.token.id)
        lookup = await stage.lookup()
    assert lookup == failed(Outcome.MISSING, "no such token in this environment", 404)


async def test_own_token_that_is_not_accepted_is_refused_at_once() -> None:
    async with staged() as stage:
        stage.world.disable(stage.world.find(lambda token: token.name == "own")[0].id)
        lookup = await stage.lookup()
    assert lookup == failed(Outcome.REFUSED, "HTTP 401 from the API", 401)


async def test_proxys_page_is_told_from_the_apis_refusal() -> None:
    async with staged(always(Fault.PROXY_FORBIDDEN)) as stage:
        lookup = await stage.lookup()
    assert lookup == failed(Outcome.REFUSED, "HTTP 403 from something before the API (a proxy?)", 403)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (http(404, b"<html>not here</html>"), 404),
        (http(404), 404),
        (http(404, b'{"error":{"code":410,"message":"x"}}'), 404),
        (http(404, b'{"message":"no Route matched"}'), 404),
        (http(400, b"bad"), 400),
        (http(204), 204),
    ],
)
async def test_only_the_apis_own_404_means_missing(answer: bytes, status: int) -> None:
    lookup = await answered(answer)
    reason = f"HTTP {status}, not in the API's error format (is url right?)"
    assert lookup == failed(Outcome.MALFORMED, reason, status)


async def test_other_refusal_of_the_api_is_malformed() -> None:
    lookup = await answered(http(400, b'{"error":{"code":400,"message":"x"}}'))
    assert lookup == failed(Outcome.MALFORMED, "HTTP 400", 400)


async def test_wrong_base_url_is_never_missing() -> None:
    async with staged() as stage, client_of(stage.url + "-typo") as client:
        lookup = await client.lookup(TOKEN)
    assert (lookup.outcome, lookup.status) == (Outcome.MALFORMED, 404)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            http(200, b"<!DOCTYPE html><p>Sign in"),
            "an HTML page instead of the API's answer (a proxy or a login page?)",
        ),
        (http(200), "empty answer"),
        (http(200, b"{}"), "answer does not fit the API: Object missing required field `id`"),
        (
            http(200, gzip.compress(b'{"id":"x","scopes":[]}', mtime=0), Content_Encoding="gzip"),
            "answer is compressed, which was not asked for",
        ),
    ],
)
async def test_good_status_without_a_good_answer_is_malformed(answer: bytes, reason: str) -> None:
    assert await answered(answer, attempts=3) == failed(Outcome.MALFORMED, reason, 200)


async def test_encoding_that_is_none_is_no_compression() -> None:
    lookup = await answered(http(200, b'{"id":"x","scopes":[]}', Content_Encoding="Identity"))
    assert lookup.outcome is Outcome.FOUND


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status: int) -> None:
    async with answering(FOUND) as elsewhere:
        lookup = await answered(http(status, Location=f"{elsewhere.url}/api/v2/apiTokens/lookup"))
    assert lookup == failed(Outcome.MALFORMED, f"HTTP {status}: redirects are not followed; is url right?", status)
    assert (elsewhere.connections, elsewhere.requests) == (0, [])


# Retries


@pytest.mark.parametrize(
    ("answer", "outcome", "reason", "status"),
    [
        (http(429), Outcome.THROTTLED, "HTTP 429", 429),
        (http(429, b'{"error":{"code":429}}', Retry_After="0"), Outcome.THROTTLED, "HTTP 429", 429),
        (http(429, Retry_After="Tue, 24 Nov 2026 11:00:00 GMT"), Outcome.THROTTLED, "HTTP 429", 429),
        (http(429, Retry_After="soon"), Outcome.THROTTLED, "HTTP 429", 429),
        (http(500), Outcome.UNREACHABLE, "HTTP 500", 500),
        (http(502, b"<html>"), Outcome.UNREACHABLE, "HTTP 502", 502),
        (http(503, b'{"error":{"code":503}}', Retry_After="0"), Outcome.UNREACHABLE, "HTTP 503", 503),
        (http(599), Outcome.UNREACHABLE, "HTTP 599", 599),
        (http(999), Outcome.UNREACHABLE, "HTTP 999", 999),
        (http(500, b"n" * (ANSWER_LIMIT + 1)), Outcome.UNREACHABLE, "HTTP 500", 500),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Outcome.MALFORMED, "answer is not HTTP", None),
    ],
)
async def test_what_may_pass_is_tried_again_to_the_end(
    answer: bytes, outcome: Outcome, reason: str, status: int | None
) -> None:
    async with answering(answer) as server, client_of(server.url, attempts=3) as client:
        lookup = await client.lookup(TOKEN)
    assert lookup == failed(outcome, reason, status, attempts=3)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "outcome", "reason", "status"),
    [
        (Fault.RESET, Outcome.UNREACHABLE, "no connection: Connection reset by peer", None),
        (Fault.TRUNCATED, Outcome.MALFORMED, "answer was cut short", None),
        (Fault.SERVER_ERROR, Outcome.UNREACHABLE, "HTTP 503", 503),
        (Fault.SERVER_ERROR_EMPTY, Outcome.UNREACHABLE, "HTTP 502", 502),
    ],
)
async def test_lookup_recovers_after_two_failures(
    fault: Fault, outcome: Outcome, reason: str, status: int | None
) -> None:
    async with staged(Faults(plans=(Plan((fault, fault)),)), attempts=3) as stage:
        recovered = await stage.lookup()
        stage.environment.set_faults(always(fault))
        lost = await stage.lookup()
    assert (recovered.outcome, recovered.attempts) == (Outcome.FOUND, 3)
    assert lost == failed(outcome, reason, status, attempts=3)


async def test_first_attempt_is_the_last_where_one_is_allowed() -> None:
    assert (await answered(http(500), FOUND, attempts=1)).attempts == 1


async def test_connection_closed_without_an_answer_is_tried_again() -> None:
    async def close(_writer: asyncio.StreamWriter) -> None:
        pass

    lookup = await answered(close, attempts=2)
    assert lookup == failed(Outcome.UNREACHABLE, "connection closed without an answer", attempts=2)
    assert (await answered(close, FOUND, attempts=2)).outcome is Outcome.FOUND


@pytest.mark.parametrize(
    "asks",
    [
        {"Retry_After": "60"},
        {"Retry_After": http_date(timedelta(seconds=60))},
        {"Retry_After": http_date(timedelta(days=-1, seconds=60)), "Date": http_date(timedelta(days=-1))},
        {"Retry_After": http_date(timedelta(days=1, seconds=60)), "Date": http_date(timedelta(days=1))},
    ],
    ids=["seconds", "date", "clock a day behind", "clock a day ahead"],
)
async def test_nothing_is_sent_while_the_environment_asks_for_a_pause(asks: dict[str, str]) -> None:
    async with (
        answering(http(429, b"", **asks), FOUND) as server,
        client_of(server.url, attempts=2) as client,
        asyncio.TaskGroup() as lookups,
    ):
        with capture_logs() as events:
            first = lookups.create_task(client.lookup(TOKEN))
            while not events:  # noqa: ASYNC110 -- until the answer is understood
                await asyncio.sleep(0.001)
        second = lookups.create_task(client.lookup(TOKEN))
        _done, waiting = await asyncio.wait({first, second}, timeout=0.05)
        assert (waiting, len(server.requests)) == ({first, second}, 1)
        first.cancel()
        second.cancel()


@pytest.mark.parametrize(
    ("status", "outcome", "retry_after"),
    [
        (429, Outcome.THROTTLED, "3600"),
        (503, Outcome.UNREACHABLE, format_datetime(NOW + timedelta(hours=1), usegmt=True)),
    ],
)
async def test_environment_that_asks_for_a_long_pause_is_left_alone_for_so_long(
    status: int, outcome: Outcome, retry_after: str
) -> None:
    clock = SteppedClock(NOW)
    asks = f"HTTP {status}, asks to be left alone until 2026-11-24 13:00:00 UTC"
    async with (
        answering(http(status, Retry_After=retry_after), FOUND) as server,
        client_of(server.url, clock=clock, attempts=5) as client,
    ):
        assert await client.lookup(TOKEN) == failed(outcome, asks, status)
        assert await client.lookup(TOKEN) == failed(outcome, f"not attempted: {asks}", attempts=0)
        assert len(server.requests) == 1
        clock.advance(timedelta(hours=1))
        assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND


def quota(remaining: int, seconds: float) -> dict[str, str]:
    resets_at = NOW + timedelta(seconds=seconds)
    return {
        "X_RateLimit_Remaining": str(remaining),
        "X_RateLimit_Reset": str(int(resets_at.timestamp() * 1_000_000)),
    }


@pytest.mark.parametrize("status", [200, 429])
async def test_nothing_is_sent_before_a_quota_that_is_used_up_is_reset(status: int) -> None:
    answer = http(status, json.dumps({"id": PUBLIC_ID, "scopes": []}).encode(), **quota(0, 50))
    async with (
        answering(answer, FOUND) as server,
        client_of(server.url, attempts=1) as client,
        asyncio.TaskGroup() as lookups,
    ):
        await client.lookup(TOKEN)
        second = lookups.create_task(client.lookup(TOKEN))
        _done, waiting = await asyncio.wait({second}, timeout=0.05)
        assert (waiting, len(server.requests)) == ({second}, 1)
        second.cancel()


async def test_quota_that_is_reset_much_later_ends_the_lookups_until_then() -> None:
    clock = SteppedClock(NOW)
    answer = http(200, json.dumps({"id": PUBLIC_ID, "scopes": []}).encode(), **quota(0, 3600))
    async with answering(answer, FOUND) as server, client_of(server.url, clock=clock) as client:
        assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND
        assert await client.lookup(TOKEN) == failed(
            Outcome.THROTTLED,
            "not attempted: the quota is used up, asks to be left alone until 2026-11-24 13:00:00 UTC",
            attempts=0,
        )
        clock.advance(timedelta(hours=1))
        assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND


async def test_no_more_are_under_way_than_a_quota_leaves() -> None:
    answer = http(200, json.dumps({"id": PUBLIC_ID, "scopes": []}).encode(), **quota(2, 50))
    async with answering(answer) as server, client_of(server.url) as client:
        assert client.room > 2
        await client.lookup(TOKEN)
        assert client.room == 2


# Connections


async def test_nobody_listening_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with client_of(f"http://127.0.0.1:{port}", attempts=2) as client:
        lookup = await client.lookup(TOKEN)
    assert (lookup.outcome, lookup.status, lookup.attempts) == (Outcome.UNREACHABLE, None, 2)
    assert lookup.reason.startswith("no connection: ")
    assert "onnect" in lookup.reason


async def test_name_that_does_not_resolve_is_unreachable() -> None:
    async with client_of("https://environment.invalid", attempts=1) as client:
        lookup = await client.lookup(TOKEN)
    assert lookup.outcome is Outcome.UNREACHABLE
    assert lookup.reason.startswith("no connection: ")
    assert "invalid" not in lookup.reason


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        ({"total_timeout_seconds": 0.05}, always(Fault.DRIP, drip_seconds=0.01)),
        ({"total_timeout_seconds": 0.05}, always(Fault.LATENCY, latency_seconds=5)),
        ({"read_timeout_seconds": 0.05}, always(Fault.LATENCY, latency_seconds=5)),
    ],
)
async def test_answer_that_takes_too_long_is_unreachable(limits: dict[str, Any], fault: Faults) -> None:
    async with staged(fault, attempts=2, **limits) as stage:
        assert await stage.lookup() == failed(Outcome.UNREACHABLE, "timed out", attempts=2)


async def test_server_that_never_greets_is_told_as_a_timeout_while_connecting() -> None:
    async def hang(server: Server, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await server.is_released.wait()

    async with (
        listening(hang) as server,
        client_of(f"https://127.0.0.1:{server.port}", attempts=1, connect_timeout_seconds=0.05) as client,
    ):
        lookup = await client.lookup(TOKEN)
    assert lookup == failed(Outcome.UNREACHABLE, "timed out while connecting")


async def test_oversized_answer_that_says_so_is_not_read() -> None:
    sent = 0

    async def send(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        sent = await _flood(writer)

    lookup = await answered(send)
    assert lookup == failed(Outcome.MALFORMED, "answer is larger than 1000000 bytes", 200)
    assert sent < 20_000_000


async def test_oversized_answer_is_read_no_further_than_the_limit() -> None:
    sent = 0

    async def send(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        sent = await _flood(writer)

    lookup = await answered(send)
    assert lookup == failed(Outcome.MALFORMED, "answer is larger than 1000000 bytes", 200)
    assert sent < 20_000_000


async def _flood(writer: asyncio.StreamWriter) -> int:
    """Write 100 MB, or what the other side takes of them."""
    sent = 0
    try:
        while sent < 100_000_000:
            writer.write(b"n" * 100_000)
            await writer.drain()
            sent += 100_000
    except ConnectionError:
        pass
    return sent


async def test_chunked_answer_is_limited_too() -> None:
    async with staged(always(Fault.OVERSIZED)) as stage:
        lookup = await stage.lookup()
    assert lookup == failed(Outcome.MALFORMED, "answer is larger than 1000000 bytes", 200)


async def test_answer_of_just_the_limit_is_read() -> None:
    body = b'{"id":"x","scopes":[],"n":"' + b"n" * (ANSWER_LIMIT - 29) + b'"}'
    assert len(body) == ANSWER_LIMIT
    assert (await answered(http(200, body))).outcome is Outcome.FOUND
    assert (await answered(http(200, body + b" "))).outcome is Outcome.MALFORMED


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\x00\xff\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: abc\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nxx",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        HEAD + b"Transfer-Encoding: nonsense\r\n\r\n{}",
        HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Type: \xff\xfe; charset=nonsense\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Set-Cookie: \x01=\x02; domain=\xff\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        HEAD + b"X: y\r\n" * 10_000 + b"\r\n",
        HEAD + b": nothing\r\n\r\n",
        HEAD + b"X: a\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Location: http://[::1\r\nRetry-After: \xc2\xb2\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 -2359\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: " + b"9" * 5_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 407 Proxy\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_nothing_that_a_server_sends_makes_a_lookup_raise_or_be_evidence(sent: bytes) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    lookup = await answered(send, total_timeout_seconds=2)
    assert lookup.outcome.is_failure
    assert lookup.reason


async def test_second_answer_that_nobody_asked_for_is_not_taken_for_the_next_tokens() -> None:
    other = http(200, b'{"id":"somebody else","scopes":[]}')
    async with answering(FOUND + other, FOUND) as server, client_of(server.url) as client:
        lookups = [await client.lookup(TOKEN), await client.lookup(TOKEN)]
    assert [lookup.metadata.id for lookup in lookups if lookup.metadata] == [PUBLIC_ID, PUBLIC_ID]


async def test_many_lookups_share_few_connections() -> None:
    async with answering(FOUND) as server, client_of(server.url, concurrency=4) as client:
        for _round in range(3):
            lookups = await asyncio.gather(*(client.lookup(TOKEN) for _number in range(50)))
            assert {lookup.outcome for lookup in lookups} == {Outcome.FOUND}
    assert (len(server.requests), server.connections) == (150, 4)


async def test_requests_under_way_come_to_what_the_environment_can_take() -> None:
    capacity = Capacity(workers=2, queue=1, service_seconds=0.008)  # one less than a client begins with
    async with staged(capacity=capacity, attempts=20) as stage:
        lookups = await asyncio.gather(*(stage.lookup() for _number in range(100)))
        assert stage.environment.answers[429] > 0
        assert stage.environment.answers[429] < 10
        async with asyncio.timeout(20):
            while stage.client.limit.value < 2:  # for as long as it makes up for its 429s
                lookups += await asyncio.gather(stage.lookup(), stage.lookup())
        assert 2 <= stage.client.limit.value <= 4
    assert {lookup.outcome for lookup in lookups} == {Outcome.FOUND}
    assert max(lookup.attempts for lookup in lookups) > 1


async def test_lookup_that_waits_for_its_next_attempt_holds_no_place() -> None:
    stamina.set_testing(False)
    async with (
        answering(http(503, Retry_After="59"), FOUND) as server,
        client_of(server.url, concurrency=1) as client,
        asyncio.TaskGroup() as lookups,
    ):
        waiting = lookups.create_task(client.lookup(TOKEN))
        while not server.requests or not client.room:  # noqa: ASYNC110 -- the server only counts
            await asyncio.sleep(0.001)
        assert not waiting.done()
        waiting.cancel()


async def test_cut_of_the_limit_to_half_is_logged(debug_log: io.StringIO) -> None:
    async with answering(http(429)) as server, client_of(server.url, attempts=1) as client:
        for _number in range(4):
            await client.lookup(TOKEN)
    cuts = [json.loads(line) for line in debug_log.getvalue().splitlines() if "concurrency_cut" in line]
    assert [(cut["environment"], cut["level"], cut["before"], cut["now"]) for cut in cuts] == [
        ("prod", "warning", 4, 1)
    ]


async def test_ceiling_holds_requests_back() -> None:
    async with (
        answering(FOUND) as server,
        client_of(server.url, requests_per_second=0.01) as client,
        asyncio.TaskGroup() as lookups,
    ):
        tasks = {lookups.create_task(client.lookup(TOKEN)) for _number in range(3)}
        done, waiting = await asyncio.wait(tasks, timeout=0.05)
        assert (len(done), len(waiting), len(server.requests)) == (1, 2, 1)
        for task in waiting:
            task.cancel()


async def test_lookup_that_is_cancelled_while_it_waits_does_not_block_the_others() -> None:
    async with (
        answering(FOUND) as server,
        client_of(server.url, requests_per_second=100) as client,
        asyncio.TaskGroup() as lookups,
    ):
        tasks = [lookups.create_task(client.lookup(TOKEN)) for _number in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
    assert [task.cancelled() for task in tasks] == [False, True, False, False]


# TLS and proxies


async def test_certificate_that_nobody_vouches_for_is_refused_at_once(tmp_path: Path) -> None:
    _certificate, tls = make_certificate(tmp_path)
    async with (
        answering(FOUND, tls=tls) as server,
        client_of(f"https://127.0.0.1:{server.port}", attempts=3) as client,
    ):
        lookup = await client.lookup(TOKEN)
    assert lookup == failed(Outcome.UNREACHABLE, "certificate refused: self-signed certificate")
    assert server.requests == []


async def test_ca_file_makes_a_certificate_trusted(tmp_path: Path) -> None:
    certificate, tls = make_certificate(tmp_path)
    async with (
        answering(FOUND, tls=tls) as server,
        client_of(f"https://127.0.0.1:{server.port}", ca_file=certificate) as client,
    ):
        assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND


async def test_expired_certificate_is_refused_though_it_is_trusted(tmp_path: Path) -> None:
    certificate, tls = make_certificate(tmp_path, ended=True)
    async with (
        answering(FOUND, tls=tls) as server,
        client_of(f"https://127.0.0.1:{server.port}", ca_file=certificate) as client,
    ):
        lookup = await client.lookup(TOKEN)
    assert lookup == failed(Outcome.UNREACHABLE, "certificate refused: certificate has expired")


async def test_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    certificate, tls = make_certificate(tmp_path)
    async with (
        answering(FOUND, tls=tls) as server,
        client_of(f"https://localhost:{server.port}", ca_file=certificate, attempts=3) as client,
    ):
        lookup = await client.lookup(TOKEN)
    assert (lookup.outcome, lookup.attempts) == (Outcome.UNREACHABLE, 1)
    assert lookup.reason.startswith("certificate refused: Hostname mismatch")


async def test_plain_http_where_https_is_expected_is_unreachable() -> None:
    async def answer_at_once(_server: Server, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(FOUND)

    async with listening(answer_at_once) as server, client_of(f"https://127.0.0.1:{server.port}", attempts=1) as client:
        lookup = await client.lookup(TOKEN)
    assert lookup.outcome is Outcome.UNREACHABLE
    assert lookup.reason.startswith("no connection: ")


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_ca_file_that_cannot_be_used_is_told_with_its_place(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as refused:
        async with client_of("https://127.0.0.1", ca_file=path):
            pass
    assert str(refused.value).startswith(f"environments.prod.ca_file: {path} cannot be used: ")
    assert str(refused.value).endswith("; name a PEM file of certificates")


async def test_proxy_carries_the_lookup_without_any_secret_shown_to_it(tmp_path: Path) -> None:
    certificate, tls = make_certificate(tmp_path)
    async with (
        connect_proxy() as proxy,
        answering(FOUND, tls=tls) as server,
        client_of(f"https://127.0.0.1:{server.port}", ca_file=certificate, proxy=proxy.url) as client,
    ):
        assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND
    assert [request.target for request in proxy.requests] == [f"127.0.0.1:{server.port}"]
    assert not {"authorization", "proxy-authorization"} & set(proxy.requests[0].headers)
    assert OWN.reveal() not in repr(proxy.requests)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_proxy_that_refuses_is_told_as_such(status: int) -> None:
    async with (
        connect_proxy(http(status, b"<html>no</html>")) as proxy,
        client_of("https://environment.invalid", proxy=proxy.url, attempts=2) as client,
    ):
        lookup = await client.lookup(TOKEN)
    assert lookup == failed(Outcome.UNREACHABLE, f"proxy refused: HTTP {status}", attempts=2)


async def test_proxy_that_does_not_speak_http_is_told_as_such() -> None:
    async with (
        connect_proxy(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as proxy,
        client_of("https://environment.invalid", proxy=proxy.url, attempts=2) as client,
    ):
        lookup = await client.lookup(TOKEN)
    assert lookup == failed(Outcome.MALFORMED, "answer is not HTTP", attempts=2)


# What leaves


async def test_request_is_the_providers() -> None:
    async with answering(FOUND) as server, client_of(f"{server.url}/e/1/") as client:
        await client.lookup(TOKEN)
    request = server.requests[0]
    assert request.target == "/e/1/api/v2/apiTokens/lookup"
    assert json.loads(request.body) == {"token": TOKEN.reveal()}
    assert request.headers["authorization"] == f"Api-Token {OWN.reveal()}"
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


async def test_v1_has_its_own_address() -> None:
    async with answering(FOUND) as server, client_of(server.url, api="v1") as client:
        assert (await client.lookup(TOKEN)).outcome is Outcome.FOUND
    assert server.requests[0].target == "/api/v1/tokens/lookup"


async def test_cookies_are_not_kept() -> None:
    async with answering(http(429, Set_Cookie="a=b"), FOUND) as server, client_of(server.url, attempts=2) as client:
        await client.lookup(TOKEN)
    assert "cookie" not in server.requests[1].headers


@pytest.fixture
def debug_log() -> Iterator[io.StringIO]:
    """Everything that any library logs; what redaction does not know by its shape stays as it is."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    out = io.StringIO()
    configure("json", "debug", out, environ={})
    yield out
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


async def test_no_secret_is_logged_or_given_as_a_reason(debug_log: io.StringIO, tmp_path: Path) -> None:
    secret = Secret("a-token-of-the-old-format-that-no-redaction-knows")
    asyncio.get_running_loop().set_debug(True)

    def echo(status: int) -> bytes:
        return http(status, f'{{"id":{{"{secret.reveal()}":1}},"x":"{OWN.reveal()}"}}'.encode(), Location=OWN.reveal())

    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(echo(200)[:-9])

    async def noise(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {secret.reveal()}: {OWN.reveal()}\r\n{OWN.reveal()}\r\n\r\n".encode())

    answers: tuple[Answer, ...] = (*map(echo, (200, 302, 400, 401, 403, 404, 429, 500)), cut, noise)
    reasons = []
    for answer in answers:
        async with answering(answer) as server, client_of(server.url, attempts=2) as client:
            lookup = await client.lookup(secret)
            assert lookup.metadata is None
            reasons.append(lookup.reason)
    _certificate, tls = make_certificate(tmp_path)
    async with answering(FOUND, tls=tls) as server, client_of(f"https://127.0.0.1:{server.port}") as client:
        reasons.append((await client.lookup(secret)).reason)
    text = debug_log.getvalue() + "".join(reasons)
    assert "lookup_attempt_failed" in text
    for said in (secret.reveal(), OWN.reveal()):
        assert said not in text
