"""What the lookup's answer says: decodes v2 and v1 into the same metadata.

Sources: the provider's page *POST token lookup* (v2); ``POST /api/v1/tokens/lookup`` answers ``id, name, userId,
revoked, created, expires, lastUse, personalAccessToken, scopes`` with times in milliseconds since the epoch. In the
provider's OpenAPI document every field is optional; here two are not. An answer without ``id`` is about no token,
whoever sent it; and one without ``scopes``, as it gives a token that has none an empty list, leaves unknown what its
token may do: taken for nothing, it would end findings. Unknown fields and scopes are tolerated: the provider adds both
without notice.
A page of ``GET /api/v2/apiTokens`` holds the same objects.
"""

import re
from collections.abc import Callable, Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, TypeVar

import msgspec

from auditor.model.lookup import TokenMetadata
from auditor.model.secret import TOKEN_FORMAT

T = TypeVar("T")
Api = Literal["v1", "v2"]
"""Which lookup an environment offers."""

_TOKEN_LENGTH: Final = len("dt0c01.") + 24 + len(".") + 64
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SEPARATOR: Final = "\x1f"
"""Scopes are stored joined by it; none has one, nor is any empty."""
# The driver takes the very first and the very last instant of the calendar for infinities, and gives those back as
# instants without a zone.
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + timedelta(microseconds=1)
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=1)
_SHORT: Final = 60
_SCOPES_KEPT: Final = 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# In JSON text: an escaped backslash, a whole surrogate pair, or half of one (group 1), which RFC 8259 §8.2 allows a
# sender to write and no Unicode text can hold.
_SURROGATE: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class MalformedAnswer(Exception):
    """An answer that is not the API's; the message holds no part of the answer."""


class _V2(msgspec.Struct, rename="camel", gc=False):
    id: str
    scopes: list[str]
    name: str | None = None
    owner: str | None = None
    enabled: bool | None = None
    personal_access_token: bool | None = None
    creation_date: datetime | None = None
    modified_date: datetime | None = None
    expiration_date: datetime | None = None
    last_used_date: datetime | None = None
    last_used_ip_address: str | None = None
    additional_metadata: dict[str, str | None] | None = None


class _V1(msgspec.Struct, rename="camel", gc=False):
    id: str
    scopes: list[str]
    name: str | None = None
    user_id: str | None = None
    revoked: bool | None = None
    personal_access_token: bool | None = None
    created: int | None = None
    expires: int | None = None
    last_use: int | None = None


class _Page(msgspec.Struct, rename="camel", gc=False):
    api_tokens: list[_V2]
    total_count: int | None = None
    next_page_key: str | None = None


class ListedPage(msgspec.Struct, frozen=True, gc=False):
    """One page of the environment's list of tokens."""

    tokens: tuple[TokenMetadata, ...]
    total_count: int | None
    """How many tokens all pages hold together, as this one has it."""
    next_page_key: str | None
    """What asks for the next page; None for the last."""


class _ErrorBody(msgspec.Struct):
    code: int


class _Envelope(msgspec.Struct):
    error: _ErrorBody


_decode_v2: Final = msgspec.json.Decoder(_V2).decode
_decode_v1: Final = msgspec.json.Decoder(_V1).decode
_decode_page: Final = msgspec.json.Decoder(_Page).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def decode(api: Api, body: bytes) -> TokenMetadata:
    """Return the metadata that an answer with status 200 gives.

    Raises ``MalformedAnswer`` where the body is not the API's. Characters that no database can hold (NUL, half of
    a surrogate pair) are replaced by U+FFFD; of a whole token in a text, somebody's name for a token for instance, the
    secret part is cut off; a name, owner or address that is blank is none; dates become UTC.
    """
    return _reading(_DECODERS[api], body)


def decode_page(body: bytes) -> ListedPage:
    """Return a page of ``GET /api/v2/apiTokens``, each token as ``decode`` gives it; raises as that does."""
    return _reading(_page, body)


def _reading(read: Callable[[bytes], T], body: bytes) -> T:
    try:
        return _mending(read, body)
    except msgspec.ValidationError as error:
        # msgspec names types and the path only, never a value.
        raise MalformedAnswer(f"answer does not fit the API: {error}") from None
    except OverflowError:
        raise MalformedAnswer("answer holds a date outside of the years 1 to 9999") from None
    except RecursionError:
        raise MalformedAnswer("answer is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MalformedAnswer(_kind_of(body)) from None


def error_code(body: bytes) -> int | None:
    """Return the code in the API's own error envelope, or None where the body is something else."""
    try:
        return _mending(_decode_envelope, body).error.code
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _page(body: bytes) -> ListedPage:
    answer = _decode_page(body)
    return ListedPage(tuple([_token(token) for token in answer.api_tokens]), answer.total_count, answer.next_page_key)


def _from_v2(body: bytes) -> TokenMetadata:
    return _token(_decode_v2(body))


def _token(answer: _V2) -> TokenMetadata:
    if not answer.id:
        raise msgspec.ValidationError("empty id")
    return TokenMetadata(
        id=_storable(answer.id),
        name=_storable_or_none(answer.name),
        owner=_storable_or_none(answer.owner),
        enabled=answer.enabled,
        personal_access_token=answer.personal_access_token,
        creation_date=_utc(answer.creation_date),
        modified_date=_utc(answer.modified_date),
        expiration_date=_utc(answer.expiration_date),
        last_used_date=_utc(answer.last_used_date),
        last_used_ip_address=_storable_or_none(answer.last_used_ip_address),
        scopes=_scopes(answer.scopes),
        additional_metadata=_metadata(answer.additional_metadata) if answer.additional_metadata else {},
    )


def _from_v1(body: bytes) -> TokenMetadata:
    answer = _decode_v1(body)
    if not answer.id:
        raise msgspec.ValidationError("empty id")
    return TokenMetadata(
        id=_storable(answer.id),
        name=_storable_or_none(answer.name),
        owner=_storable_or_none(answer.user_id),
        enabled=None if answer.revoked is None else not answer.revoked,
        personal_access_token=answer.personal_access_token,
        creation_date=_from_milliseconds(answer.created),
        expiration_date=_from_milliseconds(answer.expires),
        last_used_date=_from_milliseconds(answer.last_use),
        scopes=_scopes(answer.scopes),
    )


_DECODERS: Final[Mapping[Api, Callable[[bytes], TokenMetadata]]] = {"v1": _from_v1, "v2": _from_v2}


def _mending(read: Callable[[bytes], T], body: bytes) -> T:
    """Read JSON; where it cannot be read, try again with halves of surrogate pairs replaced."""
    try:
        return read(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return read(_SURROGATE.sub(_mend, body))


def _mend(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def _utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if value.tzinfo is None:  # the API writes a zone always; a date without one is read as the UTC that it means
        value = value.replace(tzinfo=UTC)
    elif value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value if MINYEAR < value.year < MAXYEAR else min(max(value, _EARLIEST), _LATEST)


def _from_milliseconds(value: int | None) -> datetime | None:
    return None if value is None else _utc(_EPOCH + timedelta(milliseconds=value))


def _scopes(scopes: list[str]) -> tuple[str, ...]:
    return tuple(sorted({_short_scope(scope) if len(scope) <= _SHORT else _scope(scope) for scope in scopes if scope}))


def _scope(scope: str) -> str:
    return _storable(scope).replace(_SEPARATOR, _REPLACEMENT)


_short_scope: Final = lru_cache(maxsize=_SCOPES_KEPT)(_scope)
"""Remembers: there are few scopes, and every token holds some. Long ones are none of the API's, and have no end."""


def _metadata(values: dict[str, str | None]) -> dict[str, str]:
    return {_storable(key): _storable(value or "") for key, value in values.items()}


def _storable(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", _REPLACEMENT)
    return TOKEN_FORMAT.sub(r"\1.…", text) if len(text) >= _TOKEN_LENGTH else text


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None or text.isspace() else _storable(text) or None


def _kind_of(body: bytes) -> str:
    """Say what a body is that is not JSON, without repeating any of it."""
    start = body[:200].lstrip()
    if not start:
        return "empty answer"
    if start.startswith(b"<"):
        return "an HTML page instead of the API's answer (a proxy or a login page?)"
    return "answer is not JSON, or was cut short"
