"""Secrets and ids of tokens, derived from a seed: the same seed and index give the same token everywhere."""

from base64 import b32encode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

PREFIX: Final = "dt0c01"

_OLD_FORMAT_BELOW: Final = 4  # of 256: about 1.6 % of a fleet


class Minted(NamedTuple):
    """A new secret and the id that its environment gives it."""

    secret: str
    id: str

    def __repr__(self) -> str:
        return f"Minted(id={self.id!r})"


def mint(seed: int | str, index: int, *, modern: bool = False) -> Minted:
    """Return the token number ``index`` of ``seed``.

    Most have today's format ``dt0c01.public.secret``; a few have the old one: 21 characters, nothing of them public,
    and a UUID as id. With ``modern`` none has the old one.
    """
    digest = blake2b(f"{seed}:{index}".encode()).digest()
    if digest[63] < _OLD_FORMAT_BELOW and not modern:
        return Minted(urlsafe_b64encode(digest[:18])[:21].decode(), str(UUID(bytes=digest[32:48], version=4)))
    text = b32encode(digest[:55]).decode()
    public_id = f"{PREFIX}.{text[:24]}"
    return Minted(f"{public_id}.{text[24:]}", public_id)
