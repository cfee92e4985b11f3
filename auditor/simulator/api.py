"""The token API of one environment: what each call answers and what it changes. Neither waits nor knows HTTP's wire.

Facts: the provider's page *POST token lookup*, its siblings for list, read, create, update and delete, and the v1
lookup of older Managed clusters.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from auditor.simulator.answers import Answer, ApiError, Violation, as_v1, as_v2, encode
from auditor.simulator.listing import Query, parse_instant, parse_query
from auditor.simulator.token import Token
from auditor.simulator.world import World

MAX_BODY: Final = 1_000_000
"""Bytes of a request's body; the provider refuses more than 1 MB."""

_SCHEME: Final = "Api-Token "
_PAGES_KEPT: Final = 64

_decode: Final = msgspec.json.Decoder().decode


class Call(NamedTuple):
    """What a request asks of the API."""

    authorization: str | None
    ip_address: str | None
    body: bytes = b""
    query: Mapping[str, str] = {}
    token_id: str = ""
    """The id in the path, where the path has one."""

    def __repr__(self) -> str:
        return f"Call({self.token_id!r})"


class _Page(NamedTuple):
    query: Query
    ids: list[str]
    start: int


class Api:
    """The calls of one environment. Each checks the authentication, which is a use of that token, then its scope.

    Calls raise ``ApiError``, whose ``answer`` is the envelope to send.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self._page_number = 0

    def lookup_v2(self, call: Call) -> Answer:
        """``POST /api/v2/apiTokens/lookup``: metadata of the token whose secret is in the body; any scope will do."""
        self._authenticated(call)
        return Answer(200, encode(as_v2(self._looked_up(call))))

    def lookup_v1(self, call: Call) -> Answer:
        """``POST /api/v1/tokens/lookup``: the same of API v1."""
        self._authenticated(call)
        return Answer(200, encode(as_v1(self._looked_up(call))))

    def list_tokens(self, call: Call) -> Answer:
        """``GET /api/v2/apiTokens``: metadata of all tokens, page by page, as of the first page's moment."""
        self._authenticated(call, "apiTokens.read")
        page = self._page(call.query)
        end = page.start + page.query.page_size
        tokens = (self.world.get(token_id) for token_id in page.ids[page.start : end])
        answer: dict[str, object] = {
            "totalCount": len(page.ids),
            "pageSize": page.query.page_size,
            "apiTokens": [page.query.shape(token) for token in tokens if token is not None],
        }
        if end < len(page.ids):
            answer["nextPageKey"] = self._keep(page._replace(start=end))
        return Answer(200, encode(answer))

    def get_token(self, call: Call) -> Answer:
        """``GET /api/v2/apiTokens/{id}``."""
        self._authenticated(call, "apiTokens.read")
        return Answer(200, encode(as_v2(self._named(call))))

    def update_token(self, call: Call) -> Answer:
        """``PUT /api/v2/apiTokens/{id}``: name, enabled, scopes; refuses to update the token that authenticates."""
        caller = self._authenticated(call, "apiTokens.write")
        token = self._named(call)
        if token.id == caller.id:
            raise ApiError(400, "The token used for authentication cannot be updated.")
        body = _body(call.body)
        if body.name is not msgspec.UNSET and body.name != token.name:
            self.world.rename(token.id, body.name)
        if body.scopes is not msgspec.UNSET and set(body.scopes) != set(token.scopes):
            self.world.set_scopes(token.id, body.scopes)
        if body.enabled is not msgspec.UNSET:
            self.world.change(token.id, enabled=body.enabled)
        return Answer(204)

    def delete_token(self, call: Call) -> Answer:
        """``DELETE /api/v2/apiTokens/{id}``."""
        self._authenticated(call, "apiTokens.write")
        self.world.delete(self._named(call).id)
        return Answer(204)

    def create_token(self, call: Call) -> Answer:
        """``POST /api/v2/apiTokens``: answers id and secret; the new token belongs to the caller's owner."""
        caller = self._authenticated(call, "apiTokens.write")
        body = _body(call.body)
        if body.name is msgspec.UNSET or body.scopes is msgspec.UNSET:
            missing = "name" if body.name is msgspec.UNSET else "scopes"
            raise _violated(missing, "must not be null")
        expiration_date = None
        if body.expiration_date is not None:
            expiration_date = parse_instant(body.expiration_date, self.world.now)
            if expiration_date is None or expiration_date <= self.world.now:
                raise _violated("expirationDate", "must be a date in the future")
        created = self.world.create(
            body.name,
            body.scopes,
            owner=caller.owner,
            expiration_date=expiration_date,
            personal_access_token=body.personal_access_token,
        )
        answer: dict[str, object] = {"id": created.token.id, "token": created.secret}
        if "expirationDate" in (fields := as_v2(created.token)):
            answer["expirationDate"] = fields["expirationDate"]
        return Answer(201, encode(answer))

    def _authenticated(self, call: Call, scope: str | None = None) -> Token:
        """Return the caller's token, used now; raises 401 where it is not valid and 403 where it lacks ``scope``."""
        if call.authorization is None:
            raise ApiError(401, "Missing authorization parameter.")
        if not call.authorization.startswith(_SCHEME):
            raise ApiError(401, "Unsupported authorization scheme; use Api-Token.")
        token = self.world.by_secret(call.authorization.removeprefix(_SCHEME))
        if token is None or not token.is_valid(self.world.now):
            raise ApiError(401, "Token Authentication failed")
        token = self.world.use(token.id, call.ip_address)
        if scope is None and not token.scopes:
            raise ApiError(403, "Token is missing required scope. Any scope will do.")
        if scope is not None and scope not in token.scopes:
            raise ApiError(403, f"Token is missing required scope. Use one of: {scope}")
        return token

    def _looked_up(self, call: Call) -> Token:
        token = self.world.by_secret(secret_in(call.body))
        if token is None:
            raise ApiError(404, "No token exists for the given secret.")
        return token

    def _named(self, call: Call) -> Token:
        token = self.world.get(call.token_id)
        if token is None:
            raise ApiError(404, "No token exists for the given id.")
        return token

    def _page(self, query: Mapping[str, str]) -> _Page:
        key = query.get("nextPageKey")
        if key is None:
            parsed = parse_query(query, self.world.now)
            return _Page(parsed, parsed.select(self.world.tokens()), 0)
        if len(query) > 1:
            message = "must be the only parameter of the query"
        elif key in self._pages:
            return self._pages[key]
        else:
            message = "is not valid or no longer so; start again from the first page"
        raise ApiError(400, "Constraints violated.", [Violation("nextPageKey", message, "QUERY")])

    def _keep(self, page: _Page) -> str:
        """Return a key for a page to come. Only the latest keys live, so that listings nobody finishes cost little."""
        self._page_number += 1
        key = f"AQAAA{self._page_number:08X}{page.start:08X}"
        self._pages[key] = page
        if len(self._pages) > _PAGES_KEPT:
            self._pages.popitem(last=False)
        return key


class _Body(msgspec.Struct, rename="camel"):
    """The bodies of create and update."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    scopes: list[str] | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    personal_access_token: bool = False
    expiration_date: str | None = None

    def __post_init__(self) -> None:
        if self.name is not msgspec.UNSET and not self.name.strip():
            raise ValueError("must not be blank - at `$.name`")
        if self.scopes is not msgspec.UNSET and not self.scopes:
            raise ValueError("must hold at least one scope - at `$.scopes`")


_decode_body: Final = msgspec.json.Decoder(_Body).decode


def secret_in(body: bytes) -> str:
    """Return the secret that a lookup's body holds; raises ``ApiError`` 400 where it holds none."""
    try:
        parsed = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "Could not map JSON to the expected object.") from None
    secret = parsed.get("token") if isinstance(parsed, dict) else None
    if not isinstance(secret, str) or not secret:
        raise _violated("token", "must be a string" if secret else "must not be null")
    return secret


def _body(body: bytes) -> _Body:
    try:
        return _decode_body(body)
    except msgspec.ValidationError as error:  # names types and the path, never a value
        message, _, path = str(error).partition(" - at `$")
        raise _violated(path.strip("`.") or "body", message.removesuffix(" - at")) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "Could not map JSON to the expected object.") from None


def _violated(path: str, message: str) -> ApiError:
    return ApiError(400, "Constraints violated.", [Violation(path, message)])
