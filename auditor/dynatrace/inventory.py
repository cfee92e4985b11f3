"""Reads what tokens an environment has: all of them, ``GET /api/v2/apiTokens``, or one, ``GET /api/v2/apiTokens/{id}``.

Both need the scope ``apiTokens.read``, and tell metadata only, never a secret. Source: the provider's pages *Access
tokens API - GET all tokens* and *GET a token*.
"""

from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec

from auditor.dynatrace.answer import MalformedAnswer, decode, decode_page
from auditor.dynatrace.client import ANSWER_LIMIT, Client
from auditor.model.errors import ReadFailed
from auditor.model.lookup import Lookup, Outcome, TokenMetadata

PAGE_SIZE: Final = 10_000
"""Tokens a page, the most that the API gives."""
PAGE_LIMIT: Final = 64_000_000
"""Bytes of a page that are read at most: some 6,000 a token, where a few hundred are usual."""

_PATH: Final = "/api/v2/apiTokens"
_FIELDS: Final = "+personalAccessToken,+expirationDate,+lastUsedDate,+lastUsedIpAddress,+scopes"
"""What the list leaves out unless it is asked for; it gives id, name, enabled, owner and creationDate always."""
_SCOPE: Final = "apiTokens.read"


async def listed(client: Client) -> AsyncGenerator[Sequence[TokenMetadata], None]:
    """Yield all tokens of the environment, page by page, in the order of the API: newest first.

    The list is whole exactly when the generator ends without an error. Raises ``ReadFailed`` where a page cannot be had
    and where the list contradicts itself: it ends before all tokens that it counts, or goes on without any.
    """
    query = {"pageSize": str(PAGE_SIZE), "fields": _FIELDS}
    keys: set[str] = set()
    tokens = 0
    while True:
        body = await _read(client, _PATH, query, PAGE_LIMIT)
        try:
            page = decode_page(body)
        except MalformedAnswer as error:
            raise _malformed(client, str(error)) from None
        del body  # not held while the page is worked on
        tokens += len(page.tokens)
        yield page.tokens
        key = page.next_page_key
        if not key:
            if page.total_count is not None and tokens < page.total_count:
                raise _malformed(client, f"the list ended after {tokens} of {page.total_count} tokens")
            return
        if key in keys or not page.tokens:
            raise _malformed(client, f"the list does not end: after {tokens} tokens it began to repeat itself")
        keys.add(key)
        query = {"nextPageKey": key}


async def read_token(client: Client, token_id: str) -> TokenMetadata:
    """Return the metadata of the token of an id ``prefix.public``; raises ``ReadFailed``."""
    body = await _read(client, f"{_PATH}/{quote(token_id, safe='')}", {}, ANSWER_LIMIT)
    try:
        return decode("v2", body)
    except MalformedAnswer as error:
        raise _malformed(client, str(error)) from None


async def _read(client: Client, path: str, query: dict[str, str], limit: int) -> bytes:
    try:
        return await client.read(path, query, limit=limit)
    except ReadFailed as error:
        ended = error.ended
        if ended.status == HTTPStatus.FORBIDDEN:
            reason = f"{ended.reason}; reading tokens needs the scope {_SCOPE}"
            raise ReadFailed(msgspec.structs.replace(ended, reason=reason)) from None
        raise


def _malformed(client: Client, reason: str) -> ReadFailed:
    return ReadFailed(Lookup(Outcome.MALFORMED, client.clock(), None, reason, int(HTTPStatus.OK)))
