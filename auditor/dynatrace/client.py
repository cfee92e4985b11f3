"""Looks tokens up in one environment: ``POST /api/v2/apiTokens/lookup`` (or v1), within its budget.

Every lookup ends in one of the outcomes of ``auditor.model.lookup.Outcome``; it never raises for what the other side
does. The auditor's own token goes into the ``Authorization`` header and the looked-up one into the body; neither is
ever part of a URL, a reason or a log line. Redirects are not followed: they would carry both elsewhere.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
import stamina
import structlog
from yarl import URL

from auditor.dynatrace.answer import Api, MalformedAnswer, decode, error_code
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.model.errors import ConfigError, Problem
from auditor.model.lookup import Lookup, Outcome
from auditor.model.secret import Secret
from auditor.outbound import name_of, retry_after_seconds, trusting

ANSWER_LIMIT: Final = 1_000_000
"""Bytes of an answer that are read at most; a token's metadata are a few hundred."""

_PATHS: Final[dict[Api, str]] = {"v2": "/api/v2/apiTokens/lookup", "v1": "/api/v1/tokens/lookup"}
_RETRY_AFTER_LIMIT: Final = 60.0
_WAIT_INITIAL: Final = 0.25
_WAIT_MAX: Final = 10.0

log = structlog.get_logger(__name__)

# Retries are counted in each lookup and logged here at debug; stamina's own warning a retry would drown a log.
stamina.instrumentation.set_on_retry_hooks(())


class _Passing(Exception):
    """A failure that may pass: worth another attempt. Carries how the lookup ends when there is none left."""

    def __init__(self, outcome: Outcome, reason: str, status: int | None = None, wait_seconds: float | None = None):
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason
        self.status = status
        self.wait_seconds = wait_seconds


class Client:
    """One environment's lookups. Open it with ``async with``; it keeps connections alive until it closes.

    ``clock`` gives the instant that a lookup is dated with.
    """

    def __init__(
        self, name: str, settings: EnvironmentSettings, credential: Secret, *, clock: Callable[[], datetime]
    ) -> None:
        self.name = name
        self.concurrency = settings.concurrency
        self.credential = credential
        self._api = settings.api
        self._attempts = settings.attempts
        self._clock = clock
        self._url = URL(settings.url + _PATHS[settings.api])
        self._proxy = URL(settings.proxy) if settings.proxy else None
        self._pace = _Pace(settings.requests_per_second)
        self._timeout = aiohttp.ClientTimeout(
            total=settings.total_timeout_seconds,
            sock_connect=settings.connect_timeout_seconds,
            sock_read=settings.read_timeout_seconds,
        )
        self._ca_file = settings.ca_file
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        try:
            trust = trusting(self._ca_file) if self._ca_file else True
        except OSError as error:
            raise ConfigError(
                Problem(f"environments.{self.name}.ca_file", f"{self._ca_file} cannot be used: {name_of(error)}")
            ) from error
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.concurrency, ssl=trust, ttl_dns_cache=60),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "Authorization": f"Api-Token {self.credential.reveal()}",
                "Content-Type": "application/json; charset=utf-8",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "auditor",
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def lookup(self, secret: Secret) -> Lookup:
        """Look one token up and return how that ended, after retries of what may pass.

        429, 5xx, broken connections and truncated answers are tried again, ``Retry-After`` obeyed up to a minute.
        """
        try:
            return await self._attempt(secret, 1)
        except _Passing as failure:
            return await self._try_again(secret, failure)

    async def _try_again(self, secret: Secret, first: _Passing) -> Lookup:
        """Retry under stamina, which is given the first failure to start from: most lookups never need it."""
        number = 0
        try:
            async for attempt in stamina.retry_context(
                on=_next_wait,
                attempts=self._attempts,
                timeout=None,
                wait_initial=_WAIT_INITIAL,
                wait_max=_WAIT_MAX,
                wait_jitter=_WAIT_INITIAL,
            ):
                with attempt:
                    number += 1
                    if number == 1:
                        raise first
                    return await self._attempt(secret, number)
        except _Passing as last:
            return self._ended(last.outcome, last.reason, last.status, number)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, secret: Secret, number: int) -> Lookup:
        assert self._session is not None, "the client is opened with async with"
        await self._pace.wait()
        body = msgspec.json.encode({"token": secret.reveal()})
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False, proxy=self._proxy) as response:
                content = await _read(response)
        except TimeoutError:
            raise self._passing(Outcome.UNREACHABLE, "timed out", number) from None
        except aiohttp.ClientPayloadError:
            raise self._passing(Outcome.MALFORMED, "answer was cut short", number) from None
        except aiohttp.ClientConnectorCertificateError as error:
            return self._ended(Outcome.UNREACHABLE, f"certificate refused: {error.certificate_error}", None, number)
        except aiohttp.ClientResponseError:
            raise self._passing(Outcome.MALFORMED, "answer is not HTTP", number) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._passing(Outcome.UNREACHABLE, f"no connection: {name_of(error)}", number) from None
        return self._judge(response, content, number)

    def _judge(self, response: aiohttp.ClientResponse, content: bytes | None, number: int) -> Lookup:
        status = response.status
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._refusal_that_passes(response, number)
        if content is None:
            return self._ended(Outcome.MALFORMED, f"answer is larger than {ANSWER_LIMIT} bytes", status, number)
        if status == HTTPStatus.OK:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                return self._ended(Outcome.MALFORMED, "answer is compressed, which was not asked for", status, number)
            try:
                metadata = decode(self._api, content)
            except MalformedAnswer as error:
                return self._ended(Outcome.MALFORMED, str(error), status, number)
            return Lookup(Outcome.FOUND, self._clock(), metadata, "", status, number)
        is_ours = error_code(content) == status
        if status == HTTPStatus.NOT_FOUND and is_ours:
            return self._ended(Outcome.MISSING, "no such token in this environment", status, number)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            by = "the API" if is_ours else "something before the API (a proxy?)"
            return self._ended(Outcome.REFUSED, f"HTTP {status} from {by}", status, number)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return self._ended(Outcome.MALFORMED, f"HTTP {status}: redirects are not followed", status, number)
        by = "" if is_ours else ", not in the API's error format (is url right?)"
        return self._ended(Outcome.MALFORMED, f"HTTP {status}{by}", status, number)

    def _refusal_that_passes(self, response: aiohttp.ClientResponse, number: int) -> _Passing:
        status = response.status
        wait_seconds = retry_after_seconds(response.headers.get("Retry-After"), self._clock())
        if wait_seconds is not None and wait_seconds <= _RETRY_AFTER_LIMIT:
            self._pace.pause(wait_seconds)  # the environment asked; it means every lookup, not just this one
        outcome = Outcome.THROTTLED if status == HTTPStatus.TOO_MANY_REQUESTS else Outcome.UNREACHABLE
        return self._passing(outcome, f"HTTP {status}", number, status, wait_seconds)

    def _passing(
        self, outcome: Outcome, reason: str, number: int, status: int | None = None, wait_seconds: float | None = None
    ) -> _Passing:
        log.debug("lookup_attempt_failed", environment=self.name, reason=reason, attempt=number)
        return _Passing(outcome, reason, status, wait_seconds)

    def _ended(self, outcome: Outcome, reason: str, status: int | None, number: int) -> Lookup:
        return Lookup(outcome, self._clock(), None, reason, status, number)


class _Pace:
    """When the next request may leave: the operator's ceiling, and pauses that the environment asked for."""

    def __init__(self, requests_per_second: float | None) -> None:
        self._interval = 1 / requests_per_second if requests_per_second else 0.0
        self._next = 0.0

    async def wait(self) -> None:
        """Return when a request may leave, and take its place."""
        if self._next == 0.0 and self._interval == 0.0:
            return
        now = asyncio.get_running_loop().time()
        leave_at = max(now, self._next)
        self._next = leave_at + self._interval
        if leave_at > now:
            await asyncio.sleep(leave_at - now)

    def pause(self, seconds: float) -> None:
        """Let no further request leave before ``seconds`` have passed."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None where it is larger than ``ANSWER_LIMIT``; no more than that is ever held."""
    length = response.content_length
    if length is not None:
        return await response.read() if length <= ANSWER_LIMIT else None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            return None
    return bytes(body)


def _next_wait(failure: Exception) -> bool | float:
    """Decide for stamina: whether to try again, or after how many seconds where the environment said so."""
    if not isinstance(failure, _Passing):
        return False
    if failure.wait_seconds is None:
        return True
    return failure.wait_seconds if failure.wait_seconds <= _RETRY_AFTER_LIMIT else False
