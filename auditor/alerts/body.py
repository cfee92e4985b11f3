"""The JSON document that a message leaves as, the same for every hook that sends JSON and for every attempt."""

from datetime import UTC, datetime

import msgspec

from auditor.model.finding import Alert
from auditor.model.message import Message
from auditor.redaction import redact_values


def body_of(message: Message) -> bytes:
    """Return ``{"type", "timestamp", "data"}``, as Standard Webhooks recommends; equal messages give equal bytes.

    Of one alert, ``data`` is the alert's with ``environment`` and ``severity``. Of a digest (``type`` is ``digest``) it
    is ``counts`` by severity, ``more`` for how many of these are not shown, and ``alerts``: the others, each a document
    of its own with its ``id``. It holds outside text, such as a token's name, from which whatever looks like a secret
    is cut.
    """
    return _encode(_document(message))


def body_with_id(message: Message) -> bytes:
    """Return the same document with the message's ``id``, for hooks that have no header to put it in."""
    return _encode({"id": message.id, **_document(message)})


def _document(message: Message) -> dict[str, object]:
    if not message.is_digest:
        return _of_alert(message.alerts[0])
    shown = [{"id": alert.id, **_of_alert(alert)} for alert in message.alerts]
    return _dated("digest", message.at, {"counts": message.counts, "more": message.more, "alerts": shown})


def _of_alert(alert: Alert) -> dict[str, object]:
    data = {"environment": alert.environment, "severity": alert.severity.value, **alert.data}
    # By shape and not by key: what stands under "token" is the label that the token goes by.
    return _dated(alert.event, alert.at, redact_values(data, by_key=False))


def _dated(kind: str, at: datetime, data: object) -> dict[str, object]:
    return {"type": kind, "timestamp": at.astimezone(UTC), "data": data}


def _encode(document: dict[str, object]) -> bytes:
    return msgspec.json.encode(document, order="deterministic")
