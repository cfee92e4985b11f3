from datetime import UTC, datetime, timedelta

import pytest

from auditor.simulator.fleet import generate
from auditor.simulator.world import SteppedClock, UnknownToken, World

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOW)


@pytest.fixture
def world(clock: SteppedClock) -> World:
    return World(clock=clock)


def test_token_is_found_by_secret_and_by_id(clock: SteppedClock) -> None:
    fleet = [*generate(3, 100, NOW)]
    world = World(fleet, clock=clock)
    assert len(world) == 100
    assert all(world.by_secret(entry.secret) == world.get(entry.token.id) == entry.token for entry in fleet)


def test_unknown_secret_is_nobodys(world: World) -> None:
    assert world.by_secret("half a pair \ud83d") is None


def test_created_tokens_are_the_same_in_every_run(clock: SteppedClock) -> None:
    first, second = (World(clock=clock, seed=5).create("a", ["metrics.read"]) for _ in range(2))
    assert first == second
    assert first != World(clock=clock, seed=6).create("a", ["metrics.read"])


def test_use_moves_last_used_date_and_keeps_the_address(world: World, clock: SteppedClock) -> None:
    token = world.create("a", ["metrics.read"]).token
    assert world.use(token.id, "10.0.0.1").last_used_date == NOW
    clock.advance(HOUR)
    used = world.use(token.id)
    assert (used.last_used_date, used.last_used_ip_address) == (NOW + HOUR, "10.0.0.1")


def test_scopes_and_name_move_modified_date(world: World, clock: SteppedClock) -> None:
    token = world.create("a", ["metrics.read"]).token
    clock.advance(HOUR)
    renamed = world.rename(token.id, "b")
    clock.advance(HOUR)
    grown = world.add_scopes(token.id, "logs.read", "metrics.read")
    assert (renamed.name, renamed.modified_date) == ("b", NOW + HOUR)
    assert (grown.scopes, grown.modified_date) == (("metrics.read", "logs.read"), NOW + 2 * HOUR)


def test_enabling_and_disabling_leave_modified_date(world: World, clock: SteppedClock) -> None:
    token = world.create("a", ["metrics.read"]).token
    clock.advance(HOUR)
    disabled = world.disable(token.id)
    assert (disabled.enabled, disabled.modified_date) == (False, NOW)
    assert world.enable(token.id) == token


def test_expired_token_is_listed_for_seven_days_and_then_purged(world: World, clock: SteppedClock) -> None:
    created = world.create("a", ["metrics.read"])
    world.expire(created.token.id)
    clock.advance(timedelta(days=7, milliseconds=-1))
    assert world.by_secret(created.secret) is not None
    clock.advance(timedelta(milliseconds=1))
    assert world.by_secret(created.secret) is None
    assert world.get(created.token.id) is None
    assert [*world.tokens()] == []
    assert world.purge() == [created.token.id]
    assert world.purge() == []


def test_rotation_leaves_two_usable_tokens(world: World, clock: SteppedClock) -> None:
    old = world.create("a", ["metrics.read"], owner="jane", expiration_date=NOW + timedelta(days=30))
    clock.advance(HOUR)
    new = world.rotate(old.token.id)
    assert new.secret != old.secret
    assert new.token.id != old.token.id
    assert (new.token.name, new.token.owner, new.token.scopes) == ("a", "jane", ("metrics.read",))
    assert new.token.expiration_date == NOW + HOUR + timedelta(days=30)
    assert world.by_secret(old.secret) == old.token
    assert world.use(old.token.id).last_used_date == NOW + HOUR


def test_deleted_token_is_gone_until_restored(world: World) -> None:
    created = world.create("a", ["metrics.read"])
    state = world.delete(created.token.id)
    assert world.by_secret(created.secret) is None
    with pytest.raises(UnknownToken, match=created.token.id):
        world.disable(created.token.id)
    world.restore(state)
    assert world.by_secret(created.secret) == state


def test_change_sets_what_no_call_of_the_api_could(world: World) -> None:
    token = world.create("a", ["metrics.read"]).token
    changed = world.change(token.id, owner=None, creation_date=NOW - HOUR)
    assert (changed.owner, changed.creation_date, changed.modified_date) == (None, NOW - HOUR, NOW)


def test_find_returns_tokens_in_the_order_in_which_they_came(world: World) -> None:
    tokens = [world.create(name, ["metrics.read"]).token for name in "abc"]
    world.disable(tokens[1].id)
    assert [token.name for token in world.find(lambda token: token.enabled)] == ["a", "c"]
