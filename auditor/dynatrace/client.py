"""Looks tokens up in one environment: ``POST /api/v2/apiTokens/lookup`` (or v1), within its budget.

What else is asked of the environment goes the same way, with ``Client.read``. Every lookup ends in one of the outcomes
of ``auditor.model.lookup.Outcome``; it never raises for what the other side does. The auditor's own token goes into the
``Authorization`` header and the looked-up one into the body; neither is ever part of a URL, a reason or a log line.
Redirects are not followed: they would carry both elsewhere.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec
import stamina
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from multidict import istr
from yarl import URL

from auditor.dynatrace.answer import Api, MalformedAnswer, decode, error_code
from auditor.dynatrace.deadline import Deadline
from auditor.dynatrace.gate import Gate
from auditor.dynatrace.limit import Limit
from auditor.dynatrace.pace import Pace, allowance_of
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.dynatrace.wire import Answer, Wire
from auditor.model.errors import ConfigError, Problem, ReadFailed
from auditor.model.lookup import Lookup, Outcome
from auditor.model.secret import Secret
from auditor.outbound import name_of, retry_after_seconds, trusting

T = TypeVar("T")

ANSWER_LIMIT: Final = 1_000_000
"""Bytes of an answer that are read at most; a token's metadata are a few hundred."""

_PATHS: Final[dict[Api, str]] = {"v2": "/api/v2/apiTokens/lookup", "v1": "/api/v1/tokens/lookup"}
# For every answer, and comparing an enumeration's member is slow.
_OK: Final = int(HTTPStatus.OK)
_TOO_MANY: Final = int(HTTPStatus.TOO_MANY_REQUESTS)
_THEIR_ERROR: Final = int(HTTPStatus.INTERNAL_SERVER_ERROR)
_FOUND: Final = Outcome.FOUND
_COMPRESSED: Final = "answer is compressed, which was not asked for"
_RETRY_AFTER_LIMIT: Final = 60.0
_REMAINING: Final = istr("X-RateLimit-Remaining")
_WAIT_INITIAL: Final = 0.25
_WAIT_MAX: Final = 10.0

log = structlog.get_logger(__name__)

# Retries are counted in each lookup and logged here at debug; stamina's own warning a retry would drown a log.
stamina.instrumentation.set_on_retry_hooks(())


class _Passing(Exception):
    """A failure that may pass: worth another attempt. Carries how the lookup ends when there is none left."""

    def __init__(self, lookup: Lookup, wait_seconds: float | None = None) -> None:
        super().__init__(lookup.reason)
        self.lookup = lookup
        self.wait_seconds = wait_seconds
        """How long the environment asked to be left alone; None where it did not say."""


class Client:
    """One environment's lookups and reads. Open it with ``async with``; it keeps connections alive until it closes.

    ``clock`` gives the instant that a lookup is dated with; ``limit`` is what this process learned of the environment
    before.
    """

    def __init__(
        self,
        name: str,
        settings: EnvironmentSettings,
        credential: Secret,
        *,
        clock: Callable[[], datetime],
        limit: Limit | None = None,
    ) -> None:
        self.name = name
        self.concurrency = settings.concurrency
        self.limit = limit or Limit(settings.concurrency)
        self.limit.set_ceiling(settings.concurrency)
        self._gate = Gate(self.limit)
        self.credential = credential
        self.api = settings.api
        self._attempts = settings.attempts
        self.clock = clock
        self._base = settings.url
        url = URL(settings.url + _PATHS[settings.api])
        is_read_limited = settings.read_timeout_seconds < settings.total_timeout_seconds
        self._wire = Wire(
            url,
            {
                "Authorization": f"Api-Token {credential.reveal()}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "auditor",
            },
            connections=settings.concurrency,
            proxy=URL(settings.proxy) if settings.proxy else None,
            connect_seconds=settings.connect_timeout_seconds,
            # A limit for one read that is no shorter than the one for the whole would only cost.
            read_seconds=settings.read_timeout_seconds if is_read_limited else None,
        )
        self._lookup_head = self._wire.head("POST", url)
        self._pace = Pace(settings.requests_per_second)
        self._departure = asyncio.Lock()
        self._closed: tuple[datetime, Outcome, str] | None = None
        """Until when the environment asked to be left alone, where that is too long to wait, and in which answer."""
        self._deadline = Deadline(settings.total_timeout_seconds)
        self._ca_file = settings.ca_file

    async def __aenter__(self) -> Self:
        try:
            trust = trusting(self._ca_file) if self._ca_file else None
        except OSError as error:
            raise ConfigError(
                Problem(
                    f"environments.{self.name}.ca_file",
                    f"{self._ca_file} cannot be used: {name_of(error)}; name a PEM file of certificates",
                )
            ) from error
        self._time = asyncio.get_running_loop().time
        self._wire.open(trust)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._wire.close()
        self._deadline.close()

    @property
    def room(self) -> int:
        """How many requests could leave at once; what is asked beyond them waits for its turn."""
        return self._gate.room

    def resume(self, learned: int) -> None:
        """Go on from what another process learned of the environment (``Limit.resume``)."""
        self.limit.resume(learned)
        self._gate.permitted = self.limit.value

    async def lookup(self, secret: Secret) -> Lookup:
        """Look one token up and return how that ended, after retries of what may pass.

        429, 5xx, broken connections and truncated answers are tried again. ``Retry-After`` is obeyed: up to a minute
        by waiting, else by giving up, and then nothing is sent before that time and ``attempts`` can be 0.
        """
        try:
            return await self._look_up(secret, 1)
        except _Passing as failure:
            first = failure
        try:
            return await self._try_again(lambda number: self._look_up(secret, number), first)
        except _Passing as last:
            return last.lookup

    async def read(self, path: str, query: Mapping[str, str], *, limit: int) -> bytes:
        """Return the body of a ``GET`` of the API, of ``limit`` bytes at most; tries again as ``lookup`` does.

        ``path`` follows the environment's base URL and ``query`` must hold no secret. Raises ``ReadFailed``, which says
        how it ended, for anything but an answer with status 200.
        """
        head = self._wire.head("GET", URL(self._base + path).with_query(query))

        async def attempt(number: int) -> bytes:
            answer = await self._exchange(head, None, number, limit)
            if answer.status != _OK or answer.content is None:
                raise ReadFailed(self._judge_failure(answer, number, limit))
            if _is_compressed(answer):
                raise ReadFailed(self._ended(Outcome.MALFORMED, _COMPRESSED, _OK, number))
            return answer.content

        try:
            return await attempt(1)
        except _Passing as failure:
            first = failure
        try:
            return await self._try_again(attempt, first)
        except _Passing as last:
            raise ReadFailed(last.lookup) from None

    async def _try_again(self, attempt: Callable[[int], Awaitable[T]], first: _Passing) -> T:
        """Retry under stamina, which is given the first failure to start from: most requests never need it.

        Raises ``_Passing`` where the last attempt failed, too.
        """
        number = 0
        async for trial in stamina.retry_context(
            on=_next_wait,
            attempts=self._attempts,
            timeout=None,
            wait_initial=_WAIT_INITIAL,
            wait_max=_WAIT_MAX,
            wait_jitter=_WAIT_INITIAL,
        ):
            with trial:
                number += 1
                if number == 1:
                    raise first
                return await attempt(number)
        raise AssertionError("the last attempt returns or raises")

    async def _look_up(self, secret: Secret, number: int) -> Lookup:
        body = msgspec.json.encode({"token": secret.reveal()})
        answer = await self._exchange(self._lookup_head, body, number, ANSWER_LIMIT)
        if answer.status == _OK and answer.content is not None:
            return self._judge_found(answer, answer.content, number)
        return self._judge_failure(answer, number, ANSWER_LIMIT)

    async def _exchange(self, head: bytes, body: bytes | None, number: int, limit: int) -> Answer:
        """Send one request and return its answer; raises ``_Passing`` where there is no whole answer."""
        gate = self._gate
        if gate.room and not self._pace.holds_up and self._closed is None:
            gate.under_way += 1
        else:
            await self._depart(number)
        under_way = gate.under_way
        time = self._time
        started = time()
        try:
            with self._deadline:
                answer = await self._wire.send(head, body, limit)
            self._learn(answer, started, time(), under_way)
            return answer
        except aiohttp.ConnectionTimeoutError:
            raise self._passing(Outcome.UNREACHABLE, "timed out while connecting", number) from None
        except TimeoutError:
            raise self._passing(Outcome.UNREACHABLE, "timed out", number) from None
        except aiohttp.ClientPayloadError:
            raise self._passing(Outcome.MALFORMED, "answer was cut short", number) from None
        except aiohttp.ClientConnectorCertificateError as error:
            # Another attempt would be as vain.
            raise self._passing(
                Outcome.UNREACHABLE, f"certificate refused: {_flaw(error)}", number, None, _RETRY_AFTER_LIMIT + 1
            ) from None
        except aiohttp.ClientHttpProxyError as error:
            raise self._passing(Outcome.UNREACHABLE, f"proxy refused: HTTP {error.status}", number) from None
        except (HttpProcessingError, aiohttp.ClientResponseError):  # the latter by a proxy
            raise self._passing(Outcome.MALFORMED, "answer is not HTTP", number) from None
        except aiohttp.ServerDisconnectedError:
            raise self._passing(Outcome.UNREACHABLE, "connection closed without an answer", number) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._passing(Outcome.UNREACHABLE, f"no connection: {name_of(error)}", number) from None
        finally:
            gate.leave()

    async def _depart(self, number: int) -> None:
        """Take a place as soon as a request may leave. It is not held while the environment is left alone.

        One waits for that to end and the others for it, so that few wake up.
        """
        time = self._time
        while True:
            await self._gate.enter()
            if self._closed is None and not self._pace.take(time()):
                return
            self._gate.leave()
            self._refuse_while_closed(number)
            async with self._departure:
                while seconds := self._pace.seconds_to_wait(time()):  # noqa: ASYNC110 -- it is time that it waits for
                    await asyncio.sleep(seconds)

    def _refuse_while_closed(self, number: int) -> None:
        if self._closed is not None:
            until, outcome, reason = self._closed
            if self.clock() < until:
                raise self._passing(outcome, f"not attempted: {reason}", number - 1, None, _RETRY_AFTER_LIMIT + 1)
            self._closed = None

    def _learn(self, answer: Answer, started: float, now: float, under_way: int) -> None:
        """Take from an answer how many requests may be under way; what failed otherwise tells nothing of it."""
        status, headers = answer.status, answer.headers
        allowance = allowance_of(headers, self.clock()) if _REMAINING in headers else None
        if status == _TOO_MANY:
            if allowance is None or allowance.remaining > 0 or not allowance.reset_seconds:
                self._give_way(headers, started, now, under_way)
        elif status < _THEIR_ERROR:
            self.limit.answered(started, now, under_way)
        self._gate.permitted = self.limit.value
        if allowance is None:
            return
        if allowance.remaining > 0:
            self._gate.permitted = min(self._gate.permitted, allowance.remaining)
        elif allowance.reset_seconds:
            self._leave_alone(allowance.reset_seconds, Outcome.THROTTLED, "the quota is used up")

    def _give_way(self, headers: Mapping[str, str], started: float, now: float, under_way: int) -> None:
        before = self.limit.value
        asked_seconds = retry_after_seconds(headers, self.clock())
        if pause := self.limit.throttled(started, now, under_way, asked_seconds or 0.0):
            self._pace.pause(now, pause)
        if self.limit.value <= before // 2:
            log.warning(
                "concurrency_cut",
                environment=self.name,
                before=before,
                now=self.limit.value,
                reason="the environment answers 429 again and again, or after a long wait: it serves less than before",
            )

    def _leave_alone(self, seconds: float, outcome: Outcome, reason: str) -> str:
        """Send nothing for so long, which holds for every request; return the reason with what follows from it."""
        if seconds <= _RETRY_AFTER_LIMIT:
            self._pace.pause(self._time(), seconds)
            return reason
        until = self.clock() + timedelta(seconds=seconds)
        reason += f", asks to be left alone until {until:%Y-%m-%d %H:%M:%S} UTC"
        self._closed = (until, outcome, reason)
        return reason

    def _judge_failure(self, answer: Answer, number: int, limit: int) -> Lookup:
        """Say how an answer ends that is not one with status 200 and a body; raises ``_Passing`` for what may pass."""
        status, content = answer.status, answer.content
        if status == _TOO_MANY or status >= _THEIR_ERROR:
            raise self._refusal_that_passes(answer, number)
        if content is None:
            return self._ended(Outcome.MALFORMED, f"answer is larger than {limit} bytes", status, number)
        is_ours = error_code(content) == status
        if status == HTTPStatus.NOT_FOUND and is_ours:
            return self._ended(Outcome.MISSING, "no such token in this environment", status, number)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            by = "the API" if is_ours else "something before the API (a proxy?)"
            return self._ended(Outcome.REFUSED, f"HTTP {status} from {by}", status, number)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return self._ended(
                Outcome.MALFORMED, f"HTTP {status}: redirects are not followed; is url right?", status, number
            )
        by = "" if is_ours else ", not in the API's error format (is url right?)"
        return self._ended(Outcome.MALFORMED, f"HTTP {status}{by}", status, number)

    def _judge_found(self, answer: Answer, content: bytes, number: int) -> Lookup:
        if _is_compressed(answer):
            return self._ended(Outcome.MALFORMED, _COMPRESSED, _OK, number)
        try:
            metadata = decode(self.api, content)
        except MalformedAnswer as error:
            return self._ended(Outcome.MALFORMED, str(error), _OK, number)
        return Lookup(_FOUND, self.clock(), metadata, "", _OK, number)

    def _refusal_that_passes(self, answer: Answer, number: int) -> _Passing:
        status = answer.status
        outcome = Outcome.THROTTLED if status == _TOO_MANY else Outcome.UNREACHABLE
        reason = f"HTTP {status}"
        now = self.clock()
        wait_seconds = retry_after_seconds(answer.headers, now)
        if wait_seconds is None and status == _TOO_MANY:
            allowance = allowance_of(answer.headers, now)
            wait_seconds = allowance.reset_seconds if allowance and not allowance.remaining else None
        if wait_seconds is not None:
            reason = self._leave_alone(wait_seconds, outcome, reason)
        return self._passing(outcome, reason, number, status, wait_seconds)

    def _passing(
        self, outcome: Outcome, reason: str, number: int, status: int | None = None, wait_seconds: float | None = None
    ) -> _Passing:
        log.debug("lookup_attempt_failed", environment=self.name, reason=reason, attempt=number)
        return _Passing(self._ended(outcome, reason, status, number), wait_seconds)

    def _ended(self, outcome: Outcome, reason: str, status: int | None, number: int) -> Lookup:
        return Lookup(outcome, self.clock(), None, reason, status, number)


def _is_compressed(answer: Answer) -> bool:
    return bool(answer.headers) and answer.headers.get("Content-Encoding", "identity").lower() != "identity"


def _next_wait(failure: Exception) -> bool | float:
    """Decide for stamina: whether to try again, or after how many seconds where the environment said so.

    0 seconds (``Retry-After: 0``, a quota that is reset already) are no answer to when: stamina would send all attempts
    at once, so they are spread as where nothing was said.
    """
    if not isinstance(failure, _Passing):
        return False
    if not failure.wait_seconds:
        return True
    return failure.wait_seconds if failure.wait_seconds <= _RETRY_AFTER_LIMIT else False


def _flaw(error: aiohttp.ClientConnectorCertificateError) -> str:
    """Say what is wrong with a certificate: ``self-signed certificate``, ``certificate has expired``."""
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else name_of(cause)
