"""DT-OWN, DT-PAT, DT-ENV-02, DT-INV-02, DT-STA-06 and DT-FMT-01: whose token it is, what it is called, which it is."""

from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError

from auditor.policy.base import Feeds
from tests.policy.policy_samples import DAY, HOUR, NOW, PUBLIC_ID, SECOND, observed, policy_of, said, severity, token

NO = None


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("ada.lovelace", NO),
        ("Ada.Lovelace", NO),
        ("svc-ingest", NO),
        ("SVC-ingest", NO),
        ("bob", "high"),
        (" svc-ingest ", NO),
        ("my-svc-ingest", "high"),
        (None, "high"),
        ("", "high"),
        ("  ", "high"),
    ],
)
def test_own_01_knows_owners_by_feed_and_pattern(owner: str | None, expected: str | None) -> None:
    policy = policy_of("DT-OWN-01", feeds=Feeds(owners=frozenset({"ada.lovelace"})), patterns=["svc-*"])
    assert severity(policy, observed(token(owner=owner))) == expected


def test_own_01_trusts_an_empty_feed() -> None:
    assert severity(policy_of("DT-OWN-01", feeds=Feeds(owners=frozenset())), observed()) == "high"


def test_own_01_is_applied_with_patterns_alone() -> None:
    assert said(policy_of("DT-OWN-01", patterns="svc-*"), observed()) is None


def test_own_01_is_not_assessed_while_its_feed_cannot_be_read() -> None:
    policy = policy_of("DT-OWN-01", feeds=Feeds(unread={"owners": "owners.txt: Permission denied"}), patterns="svc-*")
    assert policy.assessed == ()
    assert "owners.txt: Permission denied" in policy.unassessed["DT-OWN-01"]


@pytest.mark.parametrize(
    ("owner", "left_at", "expected"),
    [
        ("eve", NOW - 24 * HOUR, "critical"),
        ("Eve", NOW - 24 * HOUR, "critical"),
        (" eve ", NOW - 24 * HOUR, "critical"),
        ("eve", NOW - 24 * HOUR - SECOND, "critical"),
        ("eve", NOW - 24 * HOUR + SECOND, NO),
        ("eve", NOW, NO),
        ("", NOW - 99 * DAY, NO),
        ("eve", NOW + 30 * DAY, NO),
        ("bob", NOW - 99 * DAY, NO),
        (None, NOW - 99 * DAY, NO),
    ],
)
def test_own_02_fires_when_the_grace_after_leaving_is_over(
    owner: str | None, left_at: datetime, expected: str | None
) -> None:
    policy = policy_of("DT-OWN-02", feeds=Feeds(leavers={"eve": left_at}))
    assert severity(policy, observed(token(owner=owner))) == expected


@pytest.mark.parametrize(("left_at", "expected"), [(NOW - SECOND, "critical"), (NOW, "critical"), (NOW + SECOND, NO)])
def test_own_02_fires_at_once_without_a_grace(left_at: datetime, expected: str | None) -> None:
    policy = policy_of("DT-OWN-02", feeds=Feeds(leavers={"eve": left_at}), grace_hours=0)
    assert severity(policy, observed(token(owner="eve"))) == expected


def test_own_02_is_applied_with_a_feed_in_which_nobody_left() -> None:
    assert said(policy_of("DT-OWN-02", feeds=Feeds(leavers={})), observed()) is None


@pytest.mark.parametrize(
    ("personal", "name", "address", "expected"),
    [
        (True, "jenkins-prod", None, "high"),
        (True, "My_CI_token", None, "high"),
        (True, "svc.backup", None, "high"),
        (True, "incident review", None, NO),
        (True, "social-dashboards", None, NO),
        (True, None, None, NO),
        (True, "", "203.0.113.9", "high"),
        (True, None, "203.0.113.0", "high"),
        (True, None, "203.0.113.255", "high"),
        (True, None, "203.0.112.255", NO),
        (True, None, "::ffff:203.0.113.9", "high"),
        (True, "dashboards", "203.0.114.9", NO),
        (True, "dashboards", "nowhere", NO),
        (False, "jenkins-prod", "203.0.113.9", NO),
        (None, "jenkins-prod", "203.0.113.9", NO),
    ],
)
def test_pat_01_knows_machines_by_name_and_network(
    personal: bool | None, name: str | None, address: str | None, expected: str | None
) -> None:
    policy = policy_of("DT-PAT-01", server_cidrs=["203.0.113.0/24"])
    seen = observed(token(personal_access_token=personal, name=name, last_used_ip_address=address))
    assert severity(policy, seen) == expected


@pytest.mark.parametrize(
    ("personal", "environment", "expected"),
    [(True, "prod", "medium"), (True, "lab", NO), (False, "prod", NO), (None, "prod", NO)],
)
def test_pat_02_forbids_personal_tokens_where_selected(
    personal: bool | None, environment: str, expected: str | None
) -> None:
    policy = policy_of("DT-PAT-02", env_selector={"environment": "prod*"})
    seen = observed(token(personal_access_token=personal), environment=environment)
    assert severity(policy, seen) == expected


def test_pat_02_forbids_personal_tokens_everywhere_with_a_selector_without_conditions() -> None:
    assert severity(policy_of("DT-PAT-02", env_selector={}), observed(token(personal_access_token=True))) == "medium"


@pytest.mark.parametrize(
    ("kind", "name", "owner", "expected"),
    [
        ("production", "dev-ingest", "x", "medium"),
        ("production", "ingest_QA_2", "x", "medium"),
        ("production", "ingest", "team-staging", "medium"),
        ("production", "contest latest device", "attested", NO),
        ("production", "prod-ingest", "x", NO),
        ("production", None, None, NO),
        ("production", "", "", NO),
        ("production", None, "team-staging", "medium"),
        ("production", "", "qa", "medium"),
        ("test", "prod-ingest", "x", "medium"),
        ("test", "ingest", "Production team", "medium"),
        ("test", "nonprod-ingest", "x", NO),
        ("test", "non-prod ingest", "pre-prod", NO),
        ("test", "product catalogue", "reproduce", NO),
        ("test", "dev-ingest", "x", NO),
    ],
)
def test_env_02_tells_names_of_another_kind_of_environment(
    kind: str, name: str | None, owner: str | None, expected: str | None
) -> None:
    assert severity(policy_of("DT-ENV-02", kind=kind), observed(token(name=name, owner=owner))) == expected


@pytest.mark.parametrize("pattern", ["(", ""])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ValidationError):
        policy_of("DT-ENV-02", kind="production", regex={"production": pattern})


@pytest.mark.parametrize(
    ("scopes", "confirmed", "age", "expected"),
    [
        (("logs.read",), 180 * DAY + SECOND, 900 * DAY, "medium"),
        (("logs.read",), 180 * DAY, 900 * DAY, "medium"),
        (("logs.read",), timedelta(), 900 * DAY, NO),
        (("logs.read",), -DAY, 900 * DAY, NO),
        ((), 180 * DAY, 900 * DAY, "medium"),
        (("logs.read",), 180 * DAY - SECOND, 900 * DAY, NO),
        (("settings.write",), 180 * DAY - SECOND, 900 * DAY, NO),
        (("apiTokens.write",), 90 * DAY, 900 * DAY, "medium"),
        (("apiTokens.write",), 90 * DAY - SECOND, 900 * DAY, NO),
        (("logs.read",), None, 180 * DAY, "medium"),
        (("logs.read",), None, 180 * DAY - SECOND, NO),
        (("logs.read",), None, None, NO),
        (("logs.read",), 180 * DAY, None, "medium"),
    ],
)
def test_inv_02_counts_from_the_last_confirmation_or_the_creation(
    scopes: tuple[str, ...], confirmed: timedelta | None, age: timedelta | None, expected: str | None
) -> None:
    feed = {} if confirmed is None else {PUBLIC_ID: NOW - confirmed}
    created = None if age is None else NOW - age
    seen = observed(token(scopes=scopes, creation_date=created))
    assert severity(policy_of("DT-INV-02", feeds=Feeds(attestations=feed)), seen) == expected


def test_inv_02_knows_a_token_of_the_old_format_by_the_answers_id() -> None:
    policy = policy_of("DT-INV-02", feeds=Feeds(attestations={"old-uuid": NOW}))
    old = token(id="old-uuid", creation_date=NOW - 900 * DAY)
    assert said(policy, observed(old, public_id=None)) is None


@pytest.mark.parametrize(
    ("answered", "public_id", "expected"),
    [
        (PUBLIC_ID, PUBLIC_ID, NO),
        ("dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA", PUBLIC_ID, "critical"),
        ("", PUBLIC_ID, "critical"),
        (PUBLIC_ID.lower(), PUBLIC_ID, "critical"),
        (f"{PUBLIC_ID} ", PUBLIC_ID, "critical"),
        ("old-uuid", None, NO),
    ],
)
def test_sta_06_compares_the_answers_id_with_the_stored_one(
    answered: str, public_id: str | None, expected: str | None
) -> None:
    assert severity(policy_of("DT-STA-06"), observed(token(id=answered), public_id=public_id)) == expected


@pytest.mark.parametrize(("public_id", "expected"), [(PUBLIC_ID, NO), (None, "medium")])
def test_fmt_01_fires_for_a_value_without_a_public_id(public_id: str | None, expected: str | None) -> None:
    assert severity(policy_of("DT-FMT-01"), observed(public_id=public_id)) == expected
