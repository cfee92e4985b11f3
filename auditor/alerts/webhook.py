"""Hook ``webhook``: an HTTPS POST that follows Standard Webhooks 1.0, signed so that the receiver can trust it."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final

from pydantic import Field
from yarl import URL

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.body import body_of
from auditor.alerts.enclosing import embedded, is_report
from auditor.alerts.http import Sender, UrlSettings
from auditor.credentials.reference import SecretReference
from auditor.model.errors import ConfigError, Problem
from auditor.model.message import Message
from auditor.model.secret import Secret

_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = range(24, 65)  # Standard Webhooks: 192 to 512 bits
_HINTS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "; does the receiver have this hook's secret?",
    HTTPStatus.FORBIDDEN: "; does the receiver have this hook's secret?",
    HTTPStatus.NOT_FOUND: "; is url right?",
    HTTPStatus.GONE: ": the receiver wants no more of these; remove the hook or change its url",
}


class WebhookSettings(UrlSettings):
    """A ``[hooks.NAME]`` table with ``type = "webhook"``."""

    url: str
    """Where alerts are POSTed, ``https://…``."""
    secret: SecretReference
    """What signs them: ``whsec_`` and 24 to 64 random bytes in base64. ``openssl rand -base64 32`` makes the latter."""
    previous_secret: SecretReference | None = None
    """The secret before this one: while it is given, alerts bear both signatures and receivers can change over."""
    embed_up_to_bytes: int = Field(default=0, ge=0, le=10_000_000)
    """A file of a report that has no more bytes than this is in the document, too, as ``content`` in base64; by default
    none is."""


class Webhook:
    """One receiver."""

    def __init__(self, name: str, url: URL, keys: Sequence[bytes], sender: Sender, embed_up_to_bytes: int) -> None:
        self.name = name
        self._url = url
        self._keys = keys
        self._sender = sender
        self._embed_up_to_bytes = embed_up_to_bytes

    async def deliver(self, message: Message, now: datetime) -> str:
        """POST the message; any 2xx means that it was taken."""
        if self._embed_up_to_bytes and is_report(message):
            message = await embedded(message, self._embed_up_to_bytes)
        body = body_of(message)
        headers = signed_headers(message.id, body, self._keys, now)
        return str(await self._sender.post(self._url, body, now, headers=headers, hints=_HINTS))

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()


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


async def _open(name: str, settings: WebhookSettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    references = {"secret": settings.secret, "previous_secret": settings.previous_secret}
    keys = [
        _key(await resolver.resolve(reference, place), place)
        for place, reference in ((f"hooks.{name}.{key}", reference) for key, reference in references.items())
        if reference is not None
    ]
    return Webhook(
        name, URL(settings.url), keys, await Sender.open(name, settings, resolver), settings.embed_up_to_bytes
    )


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
