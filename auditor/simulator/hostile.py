"""Awkward but possible values: whatever a person or a newer API could put where the auditor must read it."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from auditor.simulator.token import Token

_TEXTS: Final = (
    "bell \x07 escape \x1b[31mred\x1b[0m tab \t newline \n return \r",
    "=cmd|' /C calc'!A0",
    "+SUM(1+1)*cmd|' /C calc'!A0",
    "@SUM(A1:A9)",
    "-2+3",
    "<script>alert(document.domain)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; drop table findings; --",
    "{{ 7 * 7 }} ${7*7} <%= 7 %>",
    "right to left \u202egnp.tneilc\u202c and back",
    "zero\u200bwidth\u2060and\ufeffmarks",
    "\N{FIRE}\N{WOMAN}\u200d\N{PERSONAL COMPUTER}\N{REGIONAL INDICATOR SYMBOL LETTER A}",
    "n" * 10_000,
    "nul \0 inside",
    "half a surrogate pair \ud83d inside",
    "../../../../etc/passwd",
    "%s%s%n {0} {name!r} [bold]markup[/bold]",
    "",
    " ",
)

_SCOPES: Final[tuple[tuple[str, ...], ...]] = (
    ("quantum.entangle", "metrics.read"),
    ("=cmd()", "<b>scope</b>"),
    (),
    tuple(f"future{number}.write" for number in range(300)),
    ("metrics.read", "metrics.read", "METRICS.READ", "metrics.read "),
)

_OVERLAYS: Final[tuple[dict[str, object], ...]] = (
    {"tokenType": "API_TOKEN_V3", "governance": {"reviewedBy": None, "labels": ["a", {"b": [1, 2.5]}]}},
    {"additionalMetadata": {"dashboardId": "<script>", "": ""}},
    {"owner": None, "lastUsedDate": None},
    {"score": 1e308, "big": 2**63},
)

_ADDRESSES: Final = ("not an address", "::ffff:10.0.0.1", "fe80::1%eth0", "2600:1f18::1", "999.1.1.1", "")


def made_hostile(token: Token, index: int, now: datetime) -> Token:
    """Return ``token`` with awkward values in its name, owner, scopes, address, dates and unknown fields.

    Each list is gone through by ``index``, so that a fleet of some twenty tokens meets every value.
    """
    text = _TEXTS[index % len(_TEXTS)]
    return msgspec.structs.replace(
        token,
        name=text,
        owner=_TEXTS[(index * 7 + 3) % len(_TEXTS)],
        scopes=_SCOPES[index % len(_SCOPES)],
        overlay=_OVERLAYS[index % len(_OVERLAYS)],
        last_used_ip_address=_ADDRESSES[index % len(_ADDRESSES)],
        **_dates(index, now),
    )


def _dates(index: int, now: datetime) -> dict[str, datetime]:
    """Dates at the edges of what a calendar holds, and in the wrong order; most tokens keep theirs."""
    match index % 5:
        case 0:
            return {"expiration_date": datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)}
        case 1:
            return {"creation_date": now + timedelta(days=400)}
        case 2:
            return {"last_used_date": datetime(1, 1, 1, tzinfo=UTC), "creation_date": datetime(1970, 1, 1, tzinfo=UTC)}
        case _:
            return {}
