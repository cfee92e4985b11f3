"""What holds for every HTTP request that leaves: where it may go, and how its failures are told without a secret."""

import ipaddress
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator
from yarl import URL

LONGEST_WAIT_SECONDS: Final = 86_400.0
"""However long somebody asked to be left alone."""


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address stays on this machine."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_url(text: str) -> str:
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("proxy must be like http://proxy.example.com:3128")
    if url.user or url.password:
        raise ValueError("proxy must not hold a password; let the proxy know this machine by its address")
    return text


ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
"""An HTTP proxy that needs no password."""


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of a PEM file instead of the system's.

    Raises ``OSError`` (``ssl.SSLError`` included) where the file cannot be used.
    """
    return ssl.create_default_context(cafile=ca_file)


def sent_at(headers: Mapping[str, str], now: datetime) -> datetime:
    """Return when an answer was sent by the clock of who sent it: its ``Date``, or ``now`` where that is unusable.

    Other instants in the same answer are of that clock, too, which may be a day away from ours.
    """
    return _date(headers.get("Date", "")) or now


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return what an answer's ``Retry-After`` asks for: a number or a date (RFC 9110 §10.2.3), a day at most.

    A date is counted from the answer's ``Date``; ``now`` stands in where that is missing.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_SECONDS)
    date = _date(text)
    if date is None:
        return None
    return min(max(0.0, (date - sent_at(headers, now)).total_seconds()), LONGEST_WAIT_SECONDS)


def _date(text: str) -> datetime | None:
    """Read an HTTP date (RFC 9110 §5.6.7); None where it is none, or names no zone."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the second for zones of many digits
        return None
    return date if date.tzinfo else None


def name_of(error: Exception) -> str:
    """Name a connection's error without what it may quote."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__
