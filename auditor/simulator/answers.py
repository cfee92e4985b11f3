"""The API's answers: tokens as v1 and v2 write them, and the error envelope."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from auditor.simulator.token import Token

JSON: Final = "application/json; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"

_encode: Final = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A whole answer, before anything happens to it on its way."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = {}


class Violation(NamedTuple):
    """One entry of ``constraintViolations``: what is wrong with which part of a request."""

    path: str
    message: str
    location: str = "PAYLOAD_BODY"


class ApiError(Exception):
    """The API answers with an error envelope."""

    def __init__(self, status: int, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.answer = error_answer(status, message, violations)


def error_answer(
    status: int, message: str, violations: Sequence[Violation] = (), headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an error in the API's envelope."""
    error: dict[str, object] = {"code": status, "message": message}
    if violations:
        error["constraintViolations"] = [
            {"path": path, "message": text, "parameterLocation": location, "location": None}
            for path, text, location in violations
        ]
    return Answer(status, encode({"error": error}), headers=headers or {})


def encode(value: Mapping[str, object]) -> bytes:
    """Return ``value`` as JSON; half a surrogate pair, which UTF-8 cannot hold, is written as an escape."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def as_v2(token: Token) -> dict[str, object]:
    """Return the ``ApiToken`` object of API v2; absent fields are absent."""
    answer: dict[str, object] = {"id": token.id, "name": token.name, "enabled": token.enabled}
    if token.owner is not None:
        answer["owner"] = token.owner
    answer["personalAccessToken"] = token.personal_access_token
    answer["creationDate"] = _iso(token.creation_date)
    if token.modified_date is not None:
        answer["modifiedDate"] = _iso(token.modified_date)
    if token.expiration_date is not None:
        answer["expirationDate"] = _iso(token.expiration_date)
    if token.last_used_date is not None:
        answer["lastUsedDate"] = _iso(token.last_used_date)
    if token.last_used_ip_address is not None:
        answer["lastUsedIpAddress"] = token.last_used_ip_address
    answer["scopes"] = token.scopes
    if token.additional_metadata:
        answer["additionalMetadata"] = token.additional_metadata
    if token.overlay:
        answer |= token.overlay
    return answer


def as_v1(token: Token) -> dict[str, object]:
    """Return the metadata as API v1 writes it: ``revoked``, ``userId``, times in milliseconds since the epoch."""
    answer: dict[str, object] = {"id": token.id, "name": token.name}
    if token.owner is not None:
        answer["userId"] = token.owner
    answer["revoked"] = not token.enabled
    answer["created"] = _epoch_milliseconds(token.creation_date)
    if token.expiration_date is not None:
        answer["expires"] = _epoch_milliseconds(token.expiration_date)
    if token.last_used_date is not None:
        answer["lastUse"] = _epoch_milliseconds(token.last_used_date)
    answer["personalAccessToken"] = token.personal_access_token
    answer["scopes"] = token.scopes
    if token.overlay:
        answer |= token.overlay
    return answer


def _iso(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds")[:-6] + "Z"  # in place of +00:00


def _epoch_milliseconds(instant: datetime) -> int:
    return round(instant.timestamp() * 1_000)
