import itertools
import json
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from auditor.simulator.answers import as_v1, as_v2, encode
from auditor.simulator.fleet import generate, secrets
from auditor.simulator.token import Condition, SimulatedToken, Token

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SIZE = 4_000


@pytest.fixture(scope="module")
def fleet() -> list[SimulatedToken]:
    return [*generate(7, SIZE, NOW)]


def test_same_seed_gives_same_fleet(fleet: list[SimulatedToken]) -> None:
    assert [*generate(7, 50, NOW)] == fleet[:50]


def test_other_seed_gives_other_tokens(fleet: list[SimulatedToken]) -> None:
    assert {entry.token.id for entry in generate(8, 200, NOW)}.isdisjoint(entry.token.id for entry in fleet)


def test_secrets_alone_are_those_of_the_fleet_at_any_time(fleet: list[SimulatedToken]) -> None:
    assert [*secrets(7, 300)] == [entry.secret for entry in fleet[:300]]
    assert [*secrets(7, 300)] == [entry.secret for entry in generate(7, 300, NOW + timedelta(days=40))]


def test_ids_and_secrets_are_unique(fleet: list[SimulatedToken]) -> None:
    assert len({entry.token.id for entry in fleet}) == len({entry.secret for entry in fleet}) == SIZE


def test_secrets_have_todays_format_and_a_few_the_old_one(fleet: list[SimulatedToken]) -> None:
    modern = [entry for entry in fleet if re.fullmatch(r"dt0c01\.[A-Z2-7]{24}\.[A-Z2-7]{64}", entry.secret)]
    old = [entry for entry in fleet if re.fullmatch(r"[A-Za-z0-9_-]{21}", entry.secret)]
    assert len(modern) + len(old) == SIZE
    assert all(entry.secret.startswith(entry.token.id + ".") for entry in modern)
    assert 0.005 < len(old) / SIZE < 0.04
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", entry.token.id) for entry in old)


def test_repr_holds_no_secret(fleet: list[SimulatedToken]) -> None:
    for entry in fleet[:300]:
        assert entry.secret not in repr(entry)
        assert entry.secret.rpartition(".")[2] not in repr(entry)


def test_most_tokens_are_healthy_and_every_condition_occurs(fleet: list[SimulatedToken]) -> None:
    shares = Counter(entry.condition for entry in fleet)
    assert set(shares) == set(Condition)
    assert 0.7 < shares[Condition.HEALTHY] / SIZE < 0.85


def test_healthy_tokens_are_in_use_enabled_and_far_from_expiry(fleet: list[SimulatedToken]) -> None:
    for token in (entry.token for entry in fleet if entry.condition is Condition.HEALTHY):
        assert token.enabled
        assert token.expiration_date is not None
        assert token.expiration_date - NOW > timedelta(days=60)
        assert token.expiration_date - token.creation_date <= timedelta(days=365)
        assert token.last_used_date is not None
        assert NOW - token.last_used_date < timedelta(days=10)


def test_conditions_are_what_they_say(fleet: list[SimulatedToken]) -> None:
    def tokens(condition: Condition) -> list[Token]:
        return [entry.token for entry in fleet if entry.condition is condition]

    assert all(token.expiration_date is None for token in tokens(Condition.NO_EXPIRY))
    assert all(not token.enabled for token in tokens(Condition.DISABLED))
    assert all(token.last_used_date is None for token in tokens(Condition.NEVER_USED))
    assert all(token.personal_access_token for token in tokens(Condition.PERSONAL_AUTOMATION))
    assert all(token.is_expired(NOW) and not token.is_purged(NOW) for token in tokens(Condition.EXPIRED))
    for token in tokens(Condition.STALE):
        assert token.last_used_date is not None
        assert NOW - token.last_used_date >= timedelta(days=46)
    for token in tokens(Condition.EXPIRING_SOON):
        assert token.expiration_date is not None
        assert timedelta() < token.expiration_date - NOW <= timedelta(days=30)
    for token in tokens(Condition.LONG_LIVED):
        assert token.expiration_date is not None
        assert token.expiration_date - token.creation_date > timedelta(days=365)


def test_dates_are_in_order_and_to_the_millisecond(fleet: list[SimulatedToken]) -> None:
    for token in (entry.token for entry in fleet):
        dates = [token.creation_date, token.modified_date, token.last_used_date]
        present = [date for date in dates if date is not None]
        assert all(token.creation_date <= date <= NOW for date in present)
        assert all(date.microsecond % 1_000 == 0 for date in present)
        if token.last_used_date and token.expiration_date:
            assert token.last_used_date <= token.expiration_date


def test_fleet_is_generated_one_token_at_a_time() -> None:
    tracemalloc.start()
    try:
        generated = sum(1 for _ in itertools.islice(generate(1, 200_000, NOW), 1_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert generated == 1_000
    assert peak < 100_000


@pytest.mark.parametrize("shape", [as_v1, as_v2])
def test_hostile_fleet_is_awkward_and_can_still_be_sent(shape: Callable[[Token], dict[str, object]]) -> None:
    tokens = [entry.token for entry in generate(7, 40, NOW, hostile=True)]
    names = "".join(token.name for token in tokens)
    for awkward in ("\x1b", "=cmd", "<script>", "\u202e", "\0", "\ud83d", "\N{FIRE}"):
        assert awkward in names
    assert max(len(token.name) for token in tokens) == 10_000
    assert any("quantum.entangle" in token.scopes for token in tokens)
    for token in tokens:
        sent = json.loads(encode(shape(token)))
        assert sent["name"] == token.name
        assert sent.items() >= token.overlay.items()


def test_hostile_fleet_has_the_same_secrets() -> None:
    assert [entry.secret for entry in generate(7, 50, NOW, hostile=True)] == [*secrets(7, 50)]
