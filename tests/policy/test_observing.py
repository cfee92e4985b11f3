"""What a lookup amounts to: an observation, a label, a change, a use."""

from typing import Any

import msgspec
import pytest

from auditor.model.lookup import Lookup, Observation, Outcome, TokenMetadata
from auditor.model.token import Location
from auditor.policy.observing import is_changed, is_the_same, is_use_withdrawn, is_used, label_of, observe
from tests.policy.policy_samples import DAY, HOUR, NOW, PUBLIC_ID, observed, token

FINGERPRINT = bytes(range(16))
SPELLED = "fp:000102030405060708090a0b0c0d0e0f"
MISSING = Lookup(Outcome.MISSING, NOW, None, "no such token in this environment", 404)


def found(metadata: TokenMetadata, days: int = 0) -> Lookup:
    return Lookup(Outcome.FOUND, NOW + days * DAY, metadata, "", 200)


def observation_of(lookup: Lookup, previous: Observation | None = None) -> Observation | None:
    return observe(
        lookup,
        previous,
        environment="prod",
        label=PUBLIC_ID,
        public_id=PUBLIC_ID,
        locations=(Location("vault", "line 1"),),
        tags=("lab",),
        first_seen_at=NOW - 9 * DAY,
    )


@pytest.mark.parametrize(
    ("public_id", "lookup", "label"),
    [
        (PUBLIC_ID, found(token(id="other")), PUBLIC_ID),
        (None, found(token(id="6f6f0b1e-7b6b-4a52-9d6c-0a6a4f4c7f10")), "6f6f0b1e-7b6b-4a52-9d6c-0a6a4f4c7f10"),
        (None, found(token(id=PUBLIC_ID)), PUBLIC_ID),
        (None, MISSING, SPELLED),
        (None, found(token(id="a/b")), SPELLED),
        (None, found(token(id="fp:00")), SPELLED),
        (None, found(token(id="x" * 101)), SPELLED),
        (None, found(token(id="a\nb")), SPELLED),
    ],
)
def test_label_is_public_id_else_the_id_that_was_told_else_the_fingerprint(
    public_id: str | None, lookup: Lookup, label: str
) -> None:
    assert label_of(public_id, FINGERPRINT, lookup) == label


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if not outcome.is_evidence])
def test_lookup_without_evidence_is_no_observation(outcome: Outcome) -> None:
    assert observation_of(Lookup(outcome, NOW, None, "why")) is None


def test_observation_says_what_the_lookup_and_the_store_know() -> None:
    assert observation_of(found(token())) == Observation(
        "prod",
        PUBLIC_ID,
        NOW,
        Outcome.FOUND,
        token(),
        PUBLIC_ID,
        (Location("vault", "line 1"),),
        frozenset({"lab"}),
        NOW - 9 * DAY,
        None,
    )


def test_token_is_disabled_since_a_sweep_first_saw_it_so_without_a_break() -> None:
    since: list[object] = []
    previous = None
    for day, enabled in enumerate((True, False, False, True, False, None, False)):
        previous = observation_of(found(token(enabled=enabled), day), previous)
        assert previous is not None
        since.append(previous.disabled_since and (previous.disabled_since - NOW).days)
    assert since == [None, 1, 1, None, 4, None, 6]


def test_token_that_is_missing_is_not_disabled() -> None:
    disabled = observation_of(found(token(enabled=False)))
    missing = observation_of(MISSING, disabled)
    assert missing is not None
    assert (missing.metadata, missing.disabled_since) == (None, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"last_used_date": NOW}, False),
        ({"last_used_ip_address": "198.51.100.1"}, False),
        ({"last_used_date": None, "last_used_ip_address": None}, False),
        ({"name": "renamed"}, True),
        ({"enabled": False}, True),
        ({"scopes": ("metrics.ingest", "metrics.read")}, True),
        ({"expiration_date": None}, True),
        ({"modified_date": NOW}, True),
        ({"additional_metadata": {"dashboardId": "7"}}, True),
        ({"name": "renamed", "last_used_date": NOW}, True),
    ],
)
def test_anything_but_use_is_a_change(changes: dict[str, Any], expected: bool) -> None:
    assert is_changed(observed(token(**changes)), observed()) is expected
    assert is_the_same(observed(token(**changes)), observed()) is not bool(changes)


def test_first_observation_disappearance_and_return_are_changes() -> None:
    gone = msgspec.structs.replace(observed(), outcome=Outcome.MISSING, metadata=None)
    assert is_changed(observed(), None)
    assert is_changed(gone, observed())
    assert is_changed(observed(), gone)
    assert not is_changed(gone, gone)
    assert not any(is_the_same(*pair) for pair in ((observed(), None), (gone, observed()), (observed(), gone)))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, False),
        ({}, {"last_used_date": NOW}, True),
        ({}, {"last_used_ip_address": "198.51.100.1"}, True),
        ({}, {"last_used_date": NOW - 2 * HOUR}, True),
        ({"last_used_date": None}, {}, True),
        ({}, {"last_used_date": None}, False),
        ({"last_used_date": None}, {"last_used_date": None}, False),
        ({"name": "old"}, {}, False),
    ],
)
def test_use_is_a_date_or_an_address_that_moved(before: dict[str, Any], after: dict[str, Any], expected: bool) -> None:
    assert is_used(observed(token(**after)), observed(token(**before))) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"last_used_date": None}, True),
        ({}, {"last_used_date": None, "name": "new"}, True),
        ({}, {}, False),
        ({}, {"last_used_date": NOW}, False),
        ({"last_used_date": None}, {}, False),
        ({"last_used_date": None}, {"last_used_date": None}, False),
    ],
)
def test_use_is_withdrawn_where_one_was_told_of_and_none_is(
    before: dict[str, Any], after: dict[str, Any], expected: bool
) -> None:
    assert is_use_withdrawn(observed(token(**after)), token(**before)) is expected
    assert not is_use_withdrawn(observed(token(**after)), None)


def test_first_use_that_is_seen_is_a_use() -> None:
    assert is_used(observed(), None)
    assert not is_used(observed(token(last_used_date=None)), None)
    gone = msgspec.structs.replace(observed(), outcome=Outcome.MISSING, metadata=None)
    assert not is_used(gone, observed())
