"""The JSON document that an alert leaves as, the same for every hook that sends JSON and for every attempt."""

from datetime import UTC

import msgspec

from auditor.model.finding import Alert
from auditor.redaction import redact_values


def body_of(alert: Alert) -> bytes:
    """Return ``{"type", "timestamp", "data"}``, as Standard Webhooks recommends; equal alerts give equal bytes.

    ``data`` is the alert's, with ``environment`` and ``severity``. It holds outside text, such as a token's name, from
    which whatever looks like a secret is cut.
    """
    return _encode(_document(alert))


def body_with_id(alert: Alert) -> bytes:
    """Return the same document with the alert's ``id``, for hooks that have no header to put it in."""
    return _encode({"id": alert.id, **_document(alert)})


def _document(alert: Alert) -> dict[str, object]:
    data = {"environment": alert.environment, "severity": alert.severity.value, **alert.data}
    # By shape and not by key: what stands under "token" is the label that the token goes by.
    return {"type": alert.event, "timestamp": alert.at.astimezone(UTC), "data": redact_values(data, by_key=False)}


def _encode(document: dict[str, object]) -> bytes:
    return msgspec.json.encode(document, order="deterministic")
