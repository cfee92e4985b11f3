"""How hooks send over HTTP: to one place over TLS, without redirects, in bounded time, and telling no secret."""

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, Self

import aiohttp
from pydantic import Field, model_validator
from yarl import URL

from auditor import __version__
from auditor.alerts.base import HookSettings
from auditor.alerts.receiver import shown, trust_of
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError, DeliveryFailed, Problem
from auditor.model.secret import Secret
from auditor.outbound import ProxyUrl, is_loopback, name_of, retry_after_seconds

ANSWER_LIMIT: Final = 65_536
"""Bytes of an answer to a POST that are read at most."""

_REQUESTS_AT_ONCE: Final = 4


class HttpSettings(HookSettings):
    """What every hook that sends over HTTP may be told."""

    timeout_seconds: float = Field(default=15, gt=0, le=120)
    """For one attempt, all parts of it."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    proxy: ProxyUrl | None = None
    """HTTP proxy to go through."""
    allow_http: bool = False
    """Permit plain HTTP, to this machine only."""


class UrlSettings(HttpSettings):
    """The same with a URL that is no secret."""

    url: str
    """Where to send to, ``https://…``."""

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        checked_url(self.url, allow_http=self.allow_http)
        return self


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    """Up to a limit."""

    def __str__(self) -> str:
        return f"HTTP {self.status}"


def nothing_of(_answer: Answer) -> str:
    """Quote nothing of an answer; see ``Sender.post``."""
    return ""


class Sender:
    """The connections of one hook, and what all its requests have in common."""

    def __init__(self, name: str, settings: HttpSettings, session: aiohttp.ClientSession) -> None:
        self._name = name
        self._seconds = settings.timeout_seconds
        self._proxy = settings.proxy
        self._session = session

    @classmethod
    async def open(cls, name: str, settings: HttpSettings, resolver: Resolver) -> Self:
        """Make one, inside the event loop that will use it; it contacts nobody. Raises ``ConfigError``."""
        trust: ssl.SSLContext | bool = True
        if settings.ca_file is not None:
            trust = await trust_of(name, settings.ca_file, resolver.directory)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=_REQUESTS_AT_ONCE),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json", "User-Agent": f"auditor/{__version__}"},
        )
        return cls(name, settings, session)

    async def post(
        self,
        url: URL,
        body: bytes,
        now: datetime,
        *,
        headers: Mapping[str, str] | None = None,
        hints: Mapping[int, str] | None = None,
        quote: Callable[[Answer], str] = nothing_of,
    ) -> Answer:
        """POST a body, JSON unless ``headers`` say otherwise; as ``send``."""
        return await self.send("POST", url, body, now, headers=headers, hints=hints, quote=quote)

    async def get(
        self,
        url: URL,
        now: datetime,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        hints: Mapping[int, str] | None = None,
        quote: Callable[[Answer], str] = nothing_of,
    ) -> Answer:
        """GET what the other side knows, so many bytes at most; as ``send``."""
        return await self.send("GET", url, None, now, headers=headers, hints=hints, quote=quote, limit=limit)

    async def send(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        now: datetime,
        *,
        headers: Mapping[str, str] | None = None,
        hints: Mapping[int, str] | None = None,
        quote: Callable[[Answer], str] = nothing_of,
        limit: int = ANSWER_LIMIT,
    ) -> Answer:
        """Make a request and read so many bytes of its answer; any 2xx means that it was taken.

        Raises ``DeliveryFailed`` otherwise, naming hook, host and status, with what ``hints`` say of a status and what
        ``quote`` makes of the answer, from which secrets are cut. A date in its ``Retry-After`` is counted from its
        ``Date``, or from ``now`` where it has none.
        """
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                answer = Answer(response.status, await _read(response, limit))
        except TimeoutError:
            raise self.failed(url, f"no answer within {self._seconds:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise self.failed(url, f"certificate refused: {error.certificate_error}") from None
        except aiohttp.ClientHttpProxyError as error:
            raise self.failed(url, f"the proxy refused: HTTP {error.status}") from None
        except aiohttp.ClientResponseError:
            raise self.failed(url, "answer is not HTTP") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self.failed(url, f"no connection: {name_of(error)}") from None
        status = answer.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise self.failed(url, f"HTTP {status}: redirects are not followed; set url to where it leads")
        said = shown(quote(answer))
        raise self.failed(
            url,
            f"HTTP {status}{f': {said}' if said else ''}{(hints or {}).get(status, '')}",
            retry_after_seconds=retry_after_seconds(response.headers, now),
        )

    def failed(self, url: URL, reason: str, *, retry_after_seconds: float | None = None) -> DeliveryFailed:
        """Return the error of an attempt, with the host and no more of the URL: receivers put keys into paths."""
        return DeliveryFailed(f"hooks.{self._name}: {url.host}: {reason}", retry_after_seconds=retry_after_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def checked_url(text: str, *, allow_http: bool) -> URL:
    """Return a URL that alerts may be sent to; raises ``ValueError``, whose message holds no more of it than its host.

    It is ``https``, or ``http`` to this machine where ``allow_http`` says so, without user, password and fragment.
    """
    try:
        url = URL(text)
        host = url.host
    except ValueError:  # not told further: it may quote what is secret
        raise ValueError("url is not a URL; it must be like https://alerts.example.com/auditor") from None
    if url.scheme not in {"http", "https"} or not host:
        raise ValueError("url must be like https://alerts.example.com/auditor")
    if url.user or url.password or url.fragment:
        raise ValueError("url must have no user, password or fragment; a key of its own holds the hook's secret")
    if url.scheme == "http" and not (allow_http and is_loopback(host)):
        raise ValueError(f"url must be https (got http://{host}); set allow_http = true only for loopback")
    return url


def secret_url(secret: Secret, settings: HttpSettings, place: str) -> URL:
    """Return the URL that is a secret as a whole; raises ``ConfigError``, put to ``place``, where it will not do."""
    try:
        return checked_url(secret.reveal(), allow_http=settings.allow_http)
    except ValueError as error:
        raise ConfigError(Problem(place, f"what it points to will not do: {error}")) from None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a short answer to its end, so that its connection can be used again; the status stands, however it ends."""
    body = b""
    with suppress(aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, TimeoutError):
        async for chunk in response.content.iter_chunked(8_192):
            body += chunk
            if len(body) > limit:
                break
    return body[:limit]
