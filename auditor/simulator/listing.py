"""The query of ``GET /api/v2/apiTokens``: which tokens, which fields, which order, which page.

Source: the provider's page *Access tokens API - GET all tokens*.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from auditor.simulator.answers import ApiError, Violation, as_v2
from auditor.simulator.token import Token

DEFAULT_PAGE_SIZE: Final = 200
PAGE_SIZES: Final = range(100, 10_001)
DEFAULT_FIELDS: Final = ("id", "name", "enabled", "owner", "creationDate")
EXTRA_FIELDS: Final = (
    "personalAccessToken",
    "modifiedDate",
    "expirationDate",
    "lastUsedDate",
    "lastUsedIpAddress",
    "scopes",
    "additionalMetadata",
)

_CRITERION: Final = re.compile(
    r'\s*(owner|personalAccessToken|scope)\(([^()"]*|\s*"[^"]*"(?:\s*,\s*"[^"]*")*\s*)\)\s*(?:,|$)'
)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_RELATIVE: Final = re.compile(r"now(?:([+-])(\d{1,6})([mhdwMy]))?")
_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "M": timedelta(days=30),
    "y": timedelta(days=365),
}

Criterion = Callable[[Token], bool]


class Query(NamedTuple):
    """A request for the first page, understood."""

    criteria: tuple[Criterion, ...]
    page_size: int
    fields: frozenset[str]
    is_newest_first: bool

    def select(self, tokens: Iterable[Token]) -> list[str]:
        """Return the ids of the tokens that fulfil all criteria, in the query's order."""
        chosen = [token for token in tokens if all(criterion(token) for criterion in self.criteria)]
        chosen.sort(key=lambda token: (token.creation_date, token.id), reverse=self.is_newest_first)
        return [token.id for token in chosen]

    def shape(self, token: Token) -> dict[str, object]:
        """Return the fields that the query asks for; unknown fields of the token go with ``additionalMetadata``."""
        hidden = _KNOWN - self.fields if "additionalMetadata" in self.fields else None
        answer = as_v2(token)
        if hidden is None:
            return {name: value for name, value in answer.items() if name in self.fields}
        return {name: value for name, value in answer.items() if name not in hidden}


_KNOWN: Final = frozenset((*DEFAULT_FIELDS, *EXTRA_FIELDS))


def parse_query(query: Mapping[str, str], now: datetime) -> Query:
    """Understand the query of a first page; raises ``ApiError`` 400 that names the parameter."""
    text = query.get("pageSize", str(DEFAULT_PAGE_SIZE))
    if not text.isdecimal() or int(text) not in PAGE_SIZES:
        raise _wrong("pageSize", f"must be between {PAGE_SIZES[0]} and {PAGE_SIZES[-1]}")
    sort = query.get("sort", "-creationDate")
    if sort not in ("creationDate", "-creationDate"):
        raise _wrong("sort", "must be creationDate or -creationDate")
    return Query(
        (*_selector(query.get("apiTokenSelector", "")), *_timeframe(query, now)),
        int(text),
        _fields(query.get("fields", "")),
        sort.startswith("-"),
    )


def parse_instant(text: str, now: datetime) -> datetime | None:
    """Return the instant that the API reads from ``text``, or None where it reads none.

    ISO 8601 (UTC where no zone is given), milliseconds since the epoch, or ``now-2w`` with the units m, h, d, w, M, y.
    """
    try:
        if match := _RELATIVE.fullmatch(text):
            sign, count, unit = match.groups()
            span = _UNITS[unit] * int(count) if unit else timedelta()
            return now - span if sign == "-" else now + span
        if text.isdecimal():
            return datetime.fromtimestamp(int(text) / 1_000, UTC)
        instant = msgspec.convert(text, datetime)
    except (msgspec.ValidationError, OverflowError, ValueError, OSError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _selector(text: str) -> list[Criterion]:
    criteria: list[Criterion] = []
    position = 0
    while position < len(text):
        match = _CRITERION.match(text, position)
        if match is None:
            raise _wrong("apiTokenSelector", f"cannot be read from character {position + 1} on")
        criteria.append(_criterion(match[1], match[2].strip()))
        position = match.end()
    return criteria


def _criterion(name: str, argument: str) -> Criterion:
    values = frozenset(_QUOTED.findall(argument))
    if name == "personalAccessToken":
        if argument not in ("true", "false"):
            raise _wrong("apiTokenSelector", "personalAccessToken takes true or false")
        return lambda token: token.personal_access_token == (argument == "true")
    if not values or (name == "owner" and len(values) > 1):
        raise _wrong("apiTokenSelector", 'owner takes one value in quotes, scope one or more: scope("a","b")')
    if name == "owner":
        return lambda token: token.owner in values
    return lambda token: not values.isdisjoint(token.scopes)


def _timeframe(query: Mapping[str, str], now: datetime) -> list[Criterion]:
    """``from`` and ``to`` concern the last use; a token never used is in no timeframe."""
    bounds = {"from": datetime.min.replace(tzinfo=UTC), "to": datetime.max.replace(tzinfo=UTC)}
    given = {name: query[name] for name in bounds if name in query}
    for name, text in given.items():
        instant = parse_instant(text, now)
        if instant is None:
            raise _wrong(name, "must be an ISO 8601 date, milliseconds since the epoch, or relative like now-2w")
        bounds[name] = instant
    if not given:
        return []
    return [lambda token: token.last_used_date is not None and bounds["from"] <= token.last_used_date <= bounds["to"]]


def _fields(text: str) -> frozenset[str]:
    """``+a,-b`` changes the default fields, ``a,b`` replaces them; the id is always there."""
    # An unescaped + in a query is a blank to whoever decodes it, so a blank before a name means +.
    parts = [part.strip() if part.strip()[:1] in ("+", "-") else part for part in text.split(",") if part.strip()]
    names = {part.strip("+- ") for part in parts}
    if not names <= _KNOWN:
        raise _wrong("fields", f"must be among {', '.join(sorted(_KNOWN))}")
    removed = {part.strip("- ") for part in parts if part.startswith("-")}
    added = {part.strip("+ ") for part in parts if part.startswith(("+", " "))}
    plain = names - removed - added
    return frozenset({"id"} | ((plain or set(DEFAULT_FIELDS)) | added) - removed)


def _wrong(parameter: str, message: str) -> ApiError:
    return ApiError(400, "Constraints violated.", [Violation(parameter, message, "QUERY")])
