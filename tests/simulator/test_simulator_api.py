from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from auditor.simulator.fleet import generate
from auditor.simulator.server import Simulator, serve
from auditor.simulator.token import SimulatedToken
from auditor.simulator.world import SteppedClock, World

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
V2 = "/api/v2/apiTokens"
LOOKUP = f"{V2}/lookup"
LOOKUP_V1 = "/api/v1/tokens/lookup"


@dataclass(frozen=True)
class Client:
    """An HTTP client with the secret of an own token, and the world that it talks to."""

    session: aiohttp.ClientSession
    simulator: Simulator
    clock: SteppedClock
    own: SimulatedToken

    @property
    def world(self) -> World:
        return self.simulator.environments["prod"].world

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        secret: str | None = "",
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> tuple[int, dict[str, object]]:
        """Return status and decoded body. ``secret``: empty for the own token, None for no header at all."""
        headers = {} if secret is None else {"Authorization": f"Api-Token {secret or self.own.secret}"}
        url = self.simulator.url("prod") + path
        data = msgspec.json.encode(body) if body is not None else data
        async with self.session.request(method, url, data=data, headers=headers, params=params) as response:
            text = await response.read()
            if text:
                assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            return response.status, msgspec.json.decode(text, type=dict[str, object]) if text else {}

    async def error(self, method: str, path: str, **options: object) -> tuple[int, str]:
        """Return status and message of an error, after a look at its envelope."""
        status, answer = await self.call(method, path, **options)  # type: ignore[arg-type]  # passed through
        error = answer["error"]
        assert isinstance(error, dict)
        assert error["code"] == status
        return status, error["message"]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    clock = SteppedClock(NOW)
    world = World(generate(11, 450, NOW), clock=clock)
    own = world.create("auditor", ["apiTokens.read", "apiTokens.write"])
    async with serve({"prod": world}) as simulator, aiohttp.ClientSession() as session:
        yield Client(session, simulator, clock, own)


async def test_lookup_answers_metadata_without_the_secret(client: Client) -> None:
    created = client.world.create("myToken", ["metrics.read"], owner="john.smith", expiration_date=NOW)
    client.clock.advance(timedelta(milliseconds=144))
    client.world.use(created.token.id, "34.197.2.44")
    assert await client.call("POST", LOOKUP, {"token": created.secret}) == (
        200,
        {
            "id": created.token.id,
            "name": "myToken",
            "enabled": True,
            "owner": "john.smith",
            "personalAccessToken": False,
            "creationDate": "2026-11-24T09:00:00.000Z",
            "modifiedDate": "2026-11-24T09:00:00.000Z",
            "expirationDate": "2026-11-24T09:00:00.000Z",
            "lastUsedDate": "2026-11-24T09:00:00.144Z",
            "lastUsedIpAddress": "34.197.2.44",
            "scopes": ["metrics.read"],
        },
    )


async def test_lookup_leaves_out_what_a_token_does_not_have(client: Client) -> None:
    created = client.world.create("fresh", ["metrics.read"], owner=None)
    _, answer = await client.call("POST", LOOKUP, {"token": created.secret})
    assert answer.keys().isdisjoint({"owner", "expirationDate", "lastUsedDate", "lastUsedIpAddress"})


async def test_lookup_tells_expired_and_disabled_tokens(client: Client) -> None:
    created = client.world.create("old", ["metrics.read"], expiration_date=NOW - timedelta(days=6))
    client.world.disable(created.token.id)
    status, answer = await client.call("POST", LOOKUP, {"token": created.secret})
    assert (status, answer["enabled"]) == (200, False)


async def test_v1_lookup_answers_in_the_old_shape(client: Client) -> None:
    old = next(entry for entry in generate(11, 450, NOW) if not entry.secret.startswith("dt0"))
    token = client.world.change(
        old.token.id,
        creation_date=datetime(2020, 11, 5, 8, 15, 30, 144_000, tzinfo=UTC),
        expiration_date=None,
        last_used_date=None,
        owner="john.smith",
        scopes=("InstallerDownload", "DataExport"),
    )
    assert await client.call("POST", LOOKUP_V1, {"token": old.secret}) == (
        200,
        {
            "id": token.id,
            "name": token.name,
            "userId": "john.smith",
            "revoked": not token.enabled,
            "created": 1_604_564_130_144,
            "personalAccessToken": token.personal_access_token,
            "scopes": ["InstallerDownload", "DataExport"],
        },
    )


async def test_v1_lookup_answers_expiry_and_use_in_milliseconds(client: Client) -> None:
    created = client.world.create("a", ["metrics.read"], expiration_date=NOW + timedelta(seconds=1))
    client.world.use(created.token.id)
    _, answer = await client.call("POST", LOOKUP_V1, {"token": created.secret})
    milliseconds = int(NOW.timestamp()) * 1_000
    assert (answer["expires"], answer["lastUse"]) == (milliseconds + 1_000, milliseconds)


@pytest.mark.parametrize("path", [LOOKUP, LOOKUP_V1])
async def test_lookup_of_unknown_deleted_or_purged_token_is_404(client: Client, path: str) -> None:
    deleted = client.world.create("deleted", ["metrics.read"])
    client.world.delete(deleted.token.id)
    purged = client.world.create("purged", ["metrics.read"], expiration_date=NOW - timedelta(days=7))
    for secret in ("nothing", deleted.secret, purged.secret):
        status, message = await client.error("POST", path, body={"token": secret})
        assert status == 404
        assert secret not in message


async def test_lookup_of_another_token_is_a_use_of_the_own_token_only(client: Client) -> None:
    created = client.world.create("a", ["metrics.read"])
    client.clock.advance(timedelta(hours=1))
    await client.call("POST", LOOKUP, {"token": created.secret})
    own = client.world.get(client.own.token.id)
    assert own is not None
    assert (own.last_used_date, own.last_used_ip_address) == (NOW + timedelta(hours=1), "127.0.0.1")
    assert client.world.get(created.token.id) == created.token


async def test_lookup_of_a_token_with_itself_moves_its_last_used_date(client: Client) -> None:
    created = client.world.create("a", ["metrics.read"])
    client.clock.advance(timedelta(hours=1))
    _, answer = await client.call("POST", LOOKUP, {"token": created.secret}, secret=created.secret)
    assert answer["lastUsedDate"] == "2026-11-24T10:00:00.000Z"


async def test_missing_authorization_is_401(client: Client) -> None:
    assert (await client.error("POST", LOOKUP, body={"token": "x"}, secret=None))[0] == 401


async def test_other_authorization_scheme_is_401(client: Client) -> None:
    headers = {"Authorization": f"Bearer {client.own.secret}"}
    async with client.session.get(client.simulator.url("prod") + V2, headers=headers) as response:
        assert response.status == 401


async def test_unknown_disabled_expired_and_deleted_tokens_do_not_authenticate(client: Client) -> None:
    tokens = [client.world.create(name, ["metrics.read"]) for name in ("disabled", "expired", "deleted")]
    client.world.disable(tokens[0].token.id)
    client.world.expire(tokens[1].token.id)
    client.world.delete(tokens[2].token.id)
    for secret in ("unknown", *(token.secret for token in tokens)):
        status, message = await client.error("POST", LOOKUP, body={"token": client.own.secret}, secret=secret)
        assert status == 401
        assert secret not in message


async def test_missing_scope_is_403_and_named(client: Client) -> None:
    weak = client.world.create("weak", ["metrics.read"]).secret
    status, message = await client.error("GET", V2, secret=weak)
    assert status == 403
    assert "apiTokens.read" in message
    for method, path in (("POST", V2), ("PUT", f"{V2}/x"), ("DELETE", f"{V2}/x")):
        status, message = await client.error(method, path, secret=weak)
        assert status == 403
        assert "apiTokens.write" in message


async def test_lookup_needs_any_scope(client: Client) -> None:
    none = client.world.create("none", [])
    assert (await client.error("POST", LOOKUP, body={"token": none.secret}, secret=none.secret))[0] == 403


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_lookup_with_a_body_that_is_not_json_is_400(client: Client, data: bytes) -> None:
    assert (await client.error("POST", LOOKUP, data=data))[0] == 400


@pytest.mark.parametrize("body", [[], {}, {"token": None}, {"token": 5}, {"token": ""}, {"secret": "x"}])
async def test_lookup_without_a_token_violates_a_constraint(client: Client, body: object) -> None:
    status, answer = await client.call("POST", LOOKUP, body)
    assert status == 400
    assert violated_paths(answer) == ["token"]


def violated_paths(answer: dict[str, object]) -> list[str]:
    error = answer["error"]
    assert isinstance(error, dict)
    for violation in error["constraintViolations"]:
        assert violation.keys() == {"path", "message", "parameterLocation", "location"}
    return [violation["path"] for violation in error["constraintViolations"]]


async def test_body_over_one_megabyte_is_refused(client: Client) -> None:
    assert (await client.error("POST", LOOKUP, data=b" " * 1_000_001))[0] == 413


async def test_list_goes_through_all_tokens_page_by_page(client: Client) -> None:
    ids = []
    params = {"pageSize": "100"}
    sizes = []
    while True:
        status, answer = await client.call("GET", V2, params=params)
        assert (status, answer["totalCount"], answer["pageSize"]) == (200, 451, 100)
        page = answer["apiTokens"]
        assert isinstance(page, list)
        sizes.append(len(page))
        ids += [token["id"] for token in page]
        if "nextPageKey" not in answer:
            break
        params = {"nextPageKey": str(answer["nextPageKey"])}
    assert sizes == [100, 100, 100, 100, 51]
    assert sorted(ids) == sorted(token.id for token in client.world.tokens())
    assert ids[0] == client.own.token.id


async def test_list_shows_200_tokens_with_few_fields_by_default(client: Client) -> None:
    _, answer = await client.call("GET", V2)
    page = answer["apiTokens"]
    assert isinstance(page, list)
    assert len(page) == 200
    assert page[0].keys() == {"id", "name", "enabled", "owner", "creationDate"}


async def test_a_page_can_be_asked_for_again_and_shows_no_token_deleted_since(client: Client) -> None:
    _, first = await client.call("GET", V2)
    key = str(first["nextPageKey"])
    _, second = await client.call("GET", V2, params={"nextPageKey": key})
    page = second["apiTokens"]
    assert isinstance(page, list)
    client.world.delete(page[0]["id"])
    _, again = await client.call("GET", V2, params={"nextPageKey": key})
    assert again["apiTokens"] == page[1:]


async def test_next_page_key_must_stand_alone_and_be_known(client: Client) -> None:
    _, first = await client.call("GET", V2)
    key = str(first["nextPageKey"])
    for params in ({"nextPageKey": key, "pageSize": "200"}, {"nextPageKey": "unknown"}):
        status, answer = await client.call("GET", V2, params=params)
        assert status == 400
        assert violated_paths(answer) == ["nextPageKey"]


async def test_list_obeys_selector_and_fields(client: Client) -> None:
    created = client.world.create("a", ["quantum.read"], owner="o")
    params = {"apiTokenSelector": 'scope("quantum.read")', "fields": "scopes"}
    _, answer = await client.call("GET", V2, params=params)
    assert answer["apiTokens"] == [{"id": created.token.id, "scopes": ["quantum.read"]}]


async def test_get_answers_what_a_lookup_does(client: Client) -> None:
    created = client.world.create("a", ["metrics.read"])
    assert await client.call("GET", f"{V2}/{created.token.id}") == await client.call(
        "POST", LOOKUP, {"token": created.secret}
    )


async def test_unknown_id_is_404(client: Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await client.error(method, f"{V2}/dt0c01.NOBODY", body={"name": "b"}))[0] == 404


async def test_put_changes_name_enabled_and_scopes(client: Client) -> None:
    token = client.world.create("a", ["metrics.read"]).token
    client.clock.advance(timedelta(hours=1))
    assert await client.call("PUT", f"{V2}/{token.id}", {"enabled": False}) == (204, {})
    state = client.world.get(token.id)
    assert state is not None
    assert (state.enabled, state.name, state.modified_date) == (False, "a", NOW)
    await client.call("PUT", f"{V2}/{token.id}", {"name": "b", "scopes": ["logs.read"]})
    state = client.world.get(token.id)
    assert state is not None
    assert (state.enabled, state.name, state.scopes) == (False, "b", ("logs.read",))
    assert state.modified_date == NOW + timedelta(hours=1)


async def test_put_refuses_to_update_the_token_that_authenticates(client: Client) -> None:
    status, _ = await client.error("PUT", f"{V2}/{client.own.token.id}", body={"name": "b"})
    assert status == 400
    state = client.world.get(client.own.token.id)
    assert state is not None
    assert state.name == "auditor"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": " "}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": [1]}, "scopes[0]"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
async def test_put_with_a_bad_body_names_the_field(client: Client, body: object, path: str) -> None:
    token = client.world.create("a", ["metrics.read"]).token
    status, answer = await client.call("PUT", f"{V2}/{token.id}", body)
    assert status == 400
    assert violated_paths(answer) == [path]
    assert client.world.get(token.id) == token


async def test_delete_removes_the_token(client: Client) -> None:
    created = client.world.create("a", ["metrics.read"])
    assert await client.call("DELETE", f"{V2}/{created.token.id}") == (204, {})
    assert (await client.error("POST", LOOKUP, body={"token": created.secret}))[0] == 404


async def test_created_token_can_authenticate(client: Client) -> None:
    body = {"name": "new", "scopes": ["metrics.read"], "expirationDate": "now+2d", "personalAccessToken": True}
    status, answer = await client.call("POST", V2, body)
    secret = answer["token"]
    assert isinstance(secret, str)
    assert (status, answer["expirationDate"]) == (201, "2026-11-26T09:00:00.000Z")
    assert secret.startswith(f"{answer['id']}.")
    status, found = await client.call("POST", LOOKUP, {"token": client.own.secret}, secret=secret)
    assert (status, found["id"]) == (200, client.own.token.id)
    state = client.world.by_secret(secret)
    assert state is not None
    assert (state.owner, state.personal_access_token) == ("demo.operator", True)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"scopes": ["metrics.read"]}, "name"),
        ({"name": "a"}, "scopes"),
        ({"name": "a", "scopes": ["metrics.read"], "expirationDate": "now-1d"}, "expirationDate"),
        ({"name": "a", "scopes": ["metrics.read"], "expirationDate": "soon"}, "expirationDate"),
        ([], "body"),
    ],
)
async def test_create_with_a_bad_body_names_the_field(client: Client, body: object, path: str) -> None:
    status, answer = await client.call("POST", V2, body)
    assert status == 400
    assert violated_paths(answer) == [path]


async def test_unknown_call_is_404_in_the_envelope(client: Client) -> None:
    assert (await client.error("GET", "/api/v2/unknown"))[0] == 404
    assert (await client.error("GET", LOOKUP_V1))[0] == 404
