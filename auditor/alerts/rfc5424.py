"""Syslog messages by RFC 5424, with structured data, and cut to what a transport can carry."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")
_ESCAPED: Final = re.compile(r'(["\\\]])')
_SHORTENED: Final = "…"
_SHORTEST: Final = 16


def syslog_message(
    *,
    priority: int,
    at: datetime,
    host: str,
    app: str,
    event: str,
    sd_id: str,
    fields: Mapping[str, str],
    text: str,
    limit: int,
) -> bytes:
    """Return one message of so many bytes at most; ``priority`` is facility times 8 plus severity (§6.2.1).

    Where it would be too long, the longest of its texts are cut first, and marked with ``…``. Text is UTF-8 after a BOM
    where it is more than ASCII (§6.4).
    """
    length = limit
    while True:
        data = "".join(f' {name}="{_escaped(_cut(value, length))}"' for name, value in fields.items())
        words = _cut(text, length)
        head = f"<{priority}>1 {_instant(at)} {_name(host, 255)} {_name(app, 48)} - {_name(event, 32)} [{sd_id}{data}] "
        message = head.encode() + (b"" if words.isascii() else b"\xef\xbb\xbf") + words.encode()
        if len(message) <= limit or length <= _SHORTEST:
            return message
        length = length * 3 // 4


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _name(text: str, limit: int) -> str:
    """Return a header field (§6.2): printable ASCII without spaces, or ``-`` where there is nothing to say."""
    return _UNPRINTABLE.sub("_", text)[:limit] or "-"


def _escaped(text: str) -> str:
    """Escape a value of structured data (§6.3.3)."""
    return _ESCAPED.sub(r"\\\1", text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}{_SHORTENED}"
