"""Hook ``webhook``: an HTTPS POST that follows Standard Webhooks 1.0, signed so that the receiver can trust it."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

import aiohttp
from pydantic import Field, model_validator
from yarl import URL

from auditor.alerts.base import Hook, HookKind, HookSettings
from auditor.alerts.body import body_of
from auditor.credentials.reference import Resolver, SecretReference
from auditor.model.errors import ConfigError, DeliveryFailed, Problem
from auditor.model.message import Message
from auditor.model.secret import Secret
from auditor.outbound import ProxyUrl, is_loopback, name_of, retry_after_seconds, trusting

ANSWER_LIMIT: Final = 65_536
"""Bytes of an answer that are read at most; nothing in it matters but the status."""

_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = range(24, 65)  # Standard Webhooks: 192 to 512 bits
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "; does the receiver have this hook's secret?",
    HTTPStatus.FORBIDDEN: "; does the receiver have this hook's secret?",
    HTTPStatus.NOT_FOUND: "; is url right?",
    HTTPStatus.GONE: ": the receiver wants no more of these; remove the hook or change its url",
}


class WebhookSettings(HookSettings):
    """A ``[hooks.NAME]`` table with ``type = "webhook"``."""

    url: str
    """Where alerts are POSTed, ``https://…``."""
    secret: SecretReference
    """What signs them: ``whsec_`` and 24 to 64 random bytes in base64. ``openssl rand -base64 32`` makes the latter."""
    previous_secret: SecretReference | None = None
    """The secret before this one: while it is given, alerts bear both signatures and receivers can change over."""
    timeout_seconds: float = Field(default=15, gt=0, le=120)
    """For one attempt, all parts of it."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    proxy: ProxyUrl | None = None
    """HTTP proxy to go through."""
    allow_http: bool = False
    """Permit plain HTTP, to this machine only."""

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        try:
            url = URL(self.url)
        except ValueError as error:
            raise ValueError(f"url is not a URL: {error}") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("url must be like https://alerts.example.com/auditor")
        if url.user or url.password or url.fragment:
            raise ValueError("url must have no user, password or fragment; secret is what proves the sender")
        if url.scheme == "http" and not (self.allow_http and is_loopback(url.host)):
            raise ValueError(f"url must be https (got http://{url.host}); set allow_http = true only for loopback")
        return self


class Webhook:
    """One receiver and the connections to it."""

    def __init__(
        self, name: str, settings: WebhookSettings, keys: Sequence[bytes], session: aiohttp.ClientSession
    ) -> None:
        self.name = name
        self._url = URL(settings.url)
        self._seconds = settings.timeout_seconds
        self._proxy = settings.proxy
        self._keys = keys
        self._session = session

    async def deliver(self, message: Message, now: datetime) -> str:
        """POST the message; any 2xx means that it was taken."""
        body = body_of(message)
        headers = signed_headers(message.id, body, self._keys, now)
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                await _drain(response)
        except TimeoutError:
            raise self._failed(f"no answer within {self._seconds:g} s") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._failed(f"certificate refused: {error.certificate_error}") from None
        except aiohttp.ClientResponseError:
            raise self._failed("answer is not HTTP") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._failed(f"no connection: {name_of(error)}") from None
        return self._judge(response, now)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _judge(self, response: aiohttp.ClientResponse, now: datetime) -> str:
        status = response.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return f"HTTP {status}"
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise self._failed(f"HTTP {status}: redirects are not followed; set url to where it leads")
        raise DeliveryFailed(
            f"hooks.{self.name}: {self._url.host}: HTTP {status}{_HINTS.get(status, '')}",
            retry_after_seconds=retry_after_seconds(response.headers.get("Retry-After"), now),
        )

    def _failed(self, reason: str) -> DeliveryFailed:
        # The host and no more of the URL: receivers put keys into paths.
        return DeliveryFailed(f"hooks.{self.name}: {self._url.host}: {reason}")


def signed_headers(message_id: str, body: bytes, keys: Sequence[bytes], now: datetime) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with one signature (HMAC-SHA256) for each key."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short answer to its end, so that its connection can be used again; the status stands, however it ends."""
    size = 0
    with suppress(aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, TimeoutError):
        async for chunk in response.content.iter_chunked(8_192):
            size += len(chunk)
            if size > ANSWER_LIMIT:
                return


async def _open(name: str, settings: WebhookSettings, resolver: Resolver) -> Hook:
    references = {"secret": settings.secret, "previous_secret": settings.previous_secret}
    keys = [
        _key(await resolver.resolve(reference, place), place)
        for place, reference in ((f"hooks.{name}.{key}", reference) for key, reference in references.items())
        if reference is not None
    ]
    trust: ssl.SSLContext | bool = True
    if settings.ca_file is not None:
        path = resolver.directory / settings.ca_file
        try:
            trust = await asyncio.to_thread(trusting, path)
        except OSError as error:
            raise ConfigError(
                Problem(f"hooks.{name}.ca_file", f"{path}: no PEM certificates can be read from it: {error.strerror}")
            ) from error
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, limit=4),
        timeout=aiohttp.ClientTimeout(total=settings.timeout_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Content-Type": "application/json", "User-Agent": "auditor"},
    )
    return Webhook(name, settings, keys, session)


def _key(secret: Secret, place: str) -> bytes:
    text = secret.reveal()
    if not text.startswith(_PREFIX):
        raise _unfit(place, f"does not begin with {_PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise _unfit(place, f"is not base64 after {_PREFIX}") from None
    if len(key) not in _KEY_BYTES:
        raise _unfit(place, f"holds {len(key)} bytes, and 24 to 64 are needed")
    return key


def _unfit(place: str, what: str) -> ConfigError:
    return ConfigError(Problem(place, f'the secret {what}; make one with: echo "{_PREFIX}$(openssl rand -base64 32)"'))


KIND: Final = HookKind(name="webhook", settings=WebhookSettings, open=_open)
