"""What services need that keep a state for each thing: one key for all messages about it, and whether they end it."""

import hashlib
from typing import Final

from auditor.model.finding import Alert
from auditor.outside_text import visible
from auditor.redaction import redact

_ENDS: Final = frozenset({"finding.resolved", "test.ended"})
_HASH_LENGTH: Final = 32


def key_of(alert: Alert, limit: int) -> str:
    """Return the key of what an alert is about, of so many characters at most: the same for all alerts about it.

    Of a finding it is the finding's own key, of a waiver its id in the environment, of a report its name, and else
    event and environment. Too long a key is cut, and ends in a hash of the whole.
    """
    parts = ["auditor", alert.environment, alert.event.removesuffix(".ended")]
    if alert.event.startswith("finding."):
        parts = ["auditor", str(alert.data.get("key") or alert.id)]
    elif isinstance(waiver := alert.data.get("waiver"), dict):
        parts.append(str(waiver.get("id")))
    elif alert.event.startswith("report."):
        parts.append(str(alert.data.get("report")))
    elif alert.event in {"test", "test.ended"}:
        parts.append(str(alert.data.get("hook")))
    key = visible(redact("/".join(parts)))
    if len(key) <= limit:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{key[: limit - _HASH_LENGTH - 1]}/{digest}"


def ends(alert: Alert) -> bool:
    """Whether an alert says that what it is about is over."""
    return alert.event in _ENDS
