"""JSON as reports write it: bytes in which no token keeps its secret part and no character breaks the encoding."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from auditor.model.secret import TOKEN_FORMAT

_ENCODER: Final = msgspec.json.Encoder()
_TOKEN: Final = re.compile(TOKEN_FORMAT.pattern.encode())
_CUT: Final = r"\1.…".encode()


def encoded(value: object) -> bytes:
    """Return a value as JSON; token shapes lose their secret part, and lone surrogates become U+FFFD."""
    return redacted_bytes(unredacted(value))


def unredacted(value: object) -> bytes:
    """Return a value as ``encoded`` does but for token shapes, which the caller cuts from all that it writes."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return _ENCODER.encode(_without_surrogates(value))


def encoded_lines(values: Sequence[object]) -> bytes:
    """Return each value as ``encoded`` does, on a line of its own."""
    try:
        text = _ENCODER.encode_lines(values)
    except UnicodeEncodeError:
        text = _ENCODER.encode_lines([_without_surrogates(value) for value in values])
    return redacted_bytes(text)


def redacted_bytes(text: bytes) -> bytes:
    """Cut the secret part off whatever has the shape of a whole token, in UTF-8."""
    return _TOKEN.sub(_CUT, text)


def _without_surrogates(value: object) -> object:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD wherever they stand."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, msgspec.Struct):
        members = msgspec.structs.asdict(value)
        if value.__struct_config__.omit_defaults:
            members = {name: member for name, member in members.items() if member is not None}
        return _without_surrogates(members)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(member) for member in value]
    return value
