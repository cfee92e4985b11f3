"""DT-AUD-03 at its boundaries: a waiver that ended, is too long, was approved by nobody else, or is unused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from auditor.model.finding import Severity
from auditor.model.waiver import Waiver
from auditor.policy.rules import aud_03
from auditor.policy.waivers import WaiverSettings

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
SINCE = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = SINCE + 90 * DAY

TERMS: dict[str, Any] = {
    "id": "w1",
    "owner": "svc-ci",
    "approver": "jane.doe",
    "reason": "moves to OAuth",
    "ticket": "SEC-12",
    "since": SINCE,
    "until": UNTIL,
}


def spoken(
    now: datetime = SINCE,
    *,
    first_seen_at: datetime = SINCE,
    matched_at: datetime | None = None,
    settings: WaiverSettings | None = None,
    idle_days: int = 30,
    **terms: Any,
) -> dict[str, str]:
    standing = aud_03.Standing(Waiver(**(TERMS | terms)), first_seen_at, matched_at)
    params = aud_03.WaiverCare(idle_days=idle_days)
    violations = list(aud_03.check(standing, params, settings or WaiverSettings(), now))
    assert {violation.severity for violation in violations} <= {Severity.MEDIUM}
    return {violation.discriminator: violation.message for violation in violations}


def test_waiver_in_use_is_no_finding() -> None:
    assert spoken(SINCE + 60 * DAY, matched_at=SINCE + 59 * DAY) == {}


@pytest.mark.parametrize(
    ("now", "is_told"), [(UNTIL - SECOND, False), (UNTIL, True), (UNTIL + SECOND, True), (UNTIL + 999 * DAY, True)]
)
def test_waiver_that_ended_and_still_stands_is_told(now: datetime, is_told: bool) -> None:
    told = spoken(now, matched_at=UNTIL - DAY)
    assert told == (
        {"ended": "waiver w1 ended 2027-01-30 00:00 UTC and still stands; renew or remove it"} if is_told else {}
    )


@pytest.mark.parametrize(("until", "is_told"), [(UNTIL - SECOND, False), (UNTIL, False), (UNTIL + SECOND, True)])
def test_span_beyond_the_policys_is_told(until: datetime, is_told: bool) -> None:
    assert ("too-long" in spoken(until=until)) is is_told
    assert "too-long" in spoken(settings=WaiverSettings(max_days=89))


@pytest.mark.parametrize(
    ("approver", "is_told"), [("jane.doe", False), ("svc-ci", True), (" SVC-CI ", True), ("", True), (" ", True)]
)
def test_waiver_that_nobody_but_its_owner_approved_is_told(approver: str, is_told: bool) -> None:
    assert set(spoken(approver=approver)) == ({"unapproved"} if is_told else set())


@pytest.mark.parametrize(("idle", "is_told"), [(30 * DAY - SECOND, False), (30 * DAY, True), (30 * DAY + SECOND, True)])
def test_waiver_is_unused_after_so_many_days_without_a_finding(idle: timedelta, is_told: bool) -> None:
    never = spoken(SINCE + idle)
    assert never == ({"unused": "waiver w1 has muted no finding ever; remove it"} if is_told else {})
    matched_at = SINCE + 10 * DAY
    once = spoken(matched_at + idle, matched_at=matched_at)
    assert once == ({"unused": "waiver w1 has muted no finding since 2026-11-11; remove it"} if is_told else {})
    first_seen_at = SINCE + 5 * DAY
    assert bool(spoken(first_seen_at + idle, first_seen_at=first_seen_at)) is is_told
    early = spoken(SINCE + idle, first_seen_at=SINCE - 20 * DAY)
    assert bool(early) is is_told, "before it is in force, it cannot be used"


def test_days_without_use_are_the_policys() -> None:
    assert "unused" in spoken(SINCE + DAY, idle_days=1)
    assert spoken(SINCE + DAY - SECOND, idle_days=1) == {}


def test_waiver_that_is_not_in_force_is_never_unused() -> None:
    assert set(spoken(UNTIL + 999 * DAY)) == {"ended"}
    assert spoken(SINCE - SECOND, first_seen_at=SINCE - 99 * DAY) == {}


def test_several_faults_are_told_each_by_itself() -> None:
    assert set(spoken(UNTIL + DAY, until=UNTIL + SECOND, approver="svc-ci")) == {"ended", "too-long", "unapproved"}


def test_message_stays_the_same_as_days_go_by() -> None:
    assert spoken(UNTIL) == spoken(UNTIL + 7 * DAY)
    assert spoken(SINCE + 31 * DAY) == spoken(SINCE + 40 * DAY)
