"""Where alerts go, when, and to whom."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from auditor.model.finding import Severity
from auditor.policy.routing.owners import Addresses, Owners, is_address
from auditor.policy.routing.route import Matter, Route, Topic
from auditor.policy.routing.routing import Destination, Routing
from auditor.policy.routing.windows import DigestSettings, QuietHours, Windows, next_close

VIENNA = ZoneInfo("Europe/Vienna")
UTC_ZONE = ZoneInfo("UTC")
FRIDAY = datetime(2026, 11, 27, 18, 30, tzinfo=UTC)  # half past seven in Vienna


def matter(topic: Topic = Topic.OPENED, severity: Severity = Severity.HIGH, **more: Any) -> Matter:
    return Matter(topic, severity, "prod", "DT-EXP-01", "alice", frozenset({"ci"}))._replace(**more)


def route(**conditions: object) -> Route:
    return Route.model_validate(conditions)


@pytest.mark.parametrize(
    ("conditions", "is_let_through"),
    [
        ({}, True),
        ({"about": "opened"}, True),
        ({"about": ["resolved", "reopened"]}, False),
        ({"environment": "PR*"}, True),
        ({"environment": "test"}, False),
        ({"owner": ["bob", "al*"]}, True),
        ({"tag": "ci"}, True),
        ({"tag": "prod"}, False),
        ({"rule": "DT-EXP-*"}, True),
        ({"min_severity": "critical"}, False),
        ({"owner": "alice", "min_severity": "high"}, True),
        ({"owner": "alice", "tag": "none"}, False),
    ],
)
def test_route_lets_through_what_meets_all_its_conditions(conditions: dict[str, object], is_let_through: bool) -> None:
    assert route(**conditions).compile()(matter()) is is_let_through


def test_lost_coverage_is_a_finding_of_its_rule_until_it_is_resolved() -> None:
    lost = route(about="coverage_lost").compile()
    assert lost(matter(rule_id="DT-AUD-02"))
    assert lost(matter(Topic.ESCALATED, rule_id="DT-AUD-02"))
    assert not lost(matter(Topic.RESOLVED, rule_id="DT-AUD-02"))
    assert not lost(matter())


def test_hooks_get_what_is_bad_enough_and_let_through_by_any_and_exempted_by_none() -> None:
    routing = Routing(
        [
            Destination(hook="all"),
            Destination(hook="bad", min_severity=Severity.CRITICAL),
            Destination(hook="mine", only=[route(owner="bob"), route(environment="prod")], exempt=[route(tag="quiet")]),
        ]
    )
    assert routing.hooks(matter()) == ("all", "mine")
    assert routing.hooks(matter(tags=frozenset({"quiet"}))) == ("all",)
    assert routing.hooks(matter(severity=Severity.CRITICAL, environment="test")) == ("all", "bad")


def test_alerts_about_auditor_itself_pass_the_least_severity_and_no_condition() -> None:
    routing = Routing(
        [
            Destination(hook="bad", min_severity=Severity.CRITICAL),
            Destination(hook="other", only=[route(environment="test")]),
        ]
    )
    assert routing.hooks(matter(Topic.SWEEP_FAILED)) == ("bad",)


def test_hook_of_escalations_gets_what_nobody_attended_to_and_word_of_dead_letters_only() -> None:
    routing = Routing([Destination(hook="first"), Destination(hook="boss", escalation_after=timedelta(days=1))])
    assert list(routing.hooks(matter())) == ["first"]
    assert list(routing.hooks(matter(Topic.SWEEP_FAILED))) == ["first"]
    assert list(routing.hooks(matter(Topic.UNATTENDED))) == ["boss"]
    assert list(routing.hooks(matter(Topic.DELIVERY_DEAD))) == ["first", "boss"]


def windows(digest: dict[str, str] | None = None, quiet: dict[str, object] | None = None) -> Windows:
    return Windows(
        None if digest is None else DigestSettings.model_validate(digest),
        None if quiet is None else QuietHours.model_validate(quiet),
        VIENNA,
    )


@pytest.mark.parametrize(
    ("window", "local"),
    [
        ("1h", "2026-11-27T20:00"),
        ("20:00", "2026-11-27T20:00"),
        ("08:00", "2026-11-28T08:00"),
        ("19:30", "2026-11-28T19:30"),
        ("mon 08:00", "2026-11-30T08:00"),
        ("fri 19:30", "2026-12-04T19:30"),
    ],
)
def test_digest_closes_at_the_next_time_of_its_window(window: str, local: str) -> None:
    due = windows({"high": window}).due(Severity.HIGH, FRIDAY)
    assert due == datetime.fromisoformat(local).replace(tzinfo=VIENNA)


def test_critical_alerts_and_those_about_auditor_leave_at_once_unless_somebody_says_otherwise() -> None:
    daily = windows({"rest": "08:00"})
    assert daily.due(Severity.CRITICAL, FRIDAY) is None
    assert daily.due(Severity.LOW, FRIDAY) is not None
    assert daily.due(Severity.LOW, FRIDAY, is_operational=True) is None
    assert windows({"critical": "1h"}).due(Severity.CRITICAL, FRIDAY) is not None


@pytest.mark.parametrize(
    ("quiet", "local"),
    [
        ({}, None),
        ({"start": "19:00"}, "2026-11-28T07:00"),
        ({"start": "19:00", "weekends": True}, "2026-11-30T07:00"),
        ({"start": "12:00", "end": "20:00"}, "2026-11-27T20:00"),
        ({"start": "12:00", "end": "13:00"}, None),
        ({"start": "19:00", "unless": "high"}, None),
    ],
)
def test_what_comes_up_in_quiet_hours_waits_for_their_end(quiet: dict[str, object], local: str | None) -> None:
    due = windows(quiet=quiet).due(Severity.HIGH, FRIDAY)
    assert due == (None if local is None else datetime.fromisoformat(local).replace(tzinfo=VIENNA))


def test_digest_that_closes_in_quiet_hours_waits_for_their_end_too() -> None:
    due = windows({"high": "20:00"}, {"start": "19:00"}).due(Severity.HIGH, FRIDAY - timedelta(hours=3))
    assert due == datetime(2026, 11, 28, 7, tzinfo=VIENNA)


@given(
    st.integers(0, 2 * 365 * 24 * 60).map(lambda minutes: FRIDAY + timedelta(minutes=minutes)),
    st.sampled_from(["1m", "1h", "7d", "02:30", "00:00", "sun 02:30"]),
    st.sampled_from([None, {}, {"start": "02:15", "end": "02:45"}, {"weekends": True}]),
)
def test_digest_closes_later_and_within_a_few_days_whatever_the_clocks_do(
    now: datetime, window: str, quiet: dict[str, object] | None
) -> None:
    due = windows({"low": window}, quiet).due(Severity.LOW, now)
    assert due is not None
    assert now < due <= now + timedelta(days=11)


ZONES = st.sampled_from(
    ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Asia/Kolkata", "UTC"]
).map(ZoneInfo)
"""Whose clocks change by an hour, by half of one, at midnight, and never."""
INSTANTS = st.integers(0, 16 * 365 * 24 * 60).map(
    lambda minutes: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
CLOCKS = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda clock: f"{clock[0]:02}:{clock[1]:02}")
NEAR_CHANGES = st.sampled_from(
    [datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 10, 23, tzinfo=UTC), datetime(2026, 4, 3, tzinfo=UTC)]
).flatmap(lambda day: st.integers(0, 4 * 24 * 60).map(lambda minutes: day + timedelta(minutes=minutes)))


def closes(window: str, now: datetime, zone: ZoneInfo, count: int) -> list[datetime]:
    following = next_close(window, zone)
    found = [following(now)]
    while len(found) < count:
        found.append(following(found[-1]))
    return found


def shown(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the clocks of a zone show."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of a zone never show this, for they were put forward."""
    return shown(wall.replace(tzinfo=zone).astimezone(UTC), zone) != wall


@given(st.one_of(INSTANTS, NEAR_CHANGES), CLOCKS, ZONES)
@example(datetime(2026, 10, 25, 0, 45, tzinfo=UTC), "02:30", VIENNA)  # between the two times that clocks show it
@example(datetime(2026, 3, 29, 0, 45, tzinfo=UTC), "02:30", VIENNA)  # on the day on which they do not
def test_daily_digest_closes_once_each_day_when_the_clocks_show_its_time(
    now: datetime, clock: str, zone: ZoneInfo
) -> None:
    found = closes(clock, now, zone, 9)
    days = [shown(close, zone).date() for close in found]
    assert days == [days[0] + timedelta(days=number) for number in range(len(days))]
    assert now < found[0] <= now + timedelta(hours=25, minutes=59)
    for close, day in zip(found, days, strict=True):
        wall = datetime.combine(day, time.fromisoformat(clock))
        late = shown(close, zone) - wall
        assert late == timedelta() or (is_skipped(wall, zone) and late <= timedelta(hours=1))


@given(st.one_of(INSTANTS, NEAR_CHANGES), CLOCKS, ZONES, st.integers(0, 6))
def test_weekly_digest_closes_on_its_day(now: datetime, clock: str, zone: ZoneInfo, weekday: int) -> None:
    name = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[weekday]
    found = [shown(close, zone) for close in closes(f"{name} {clock}", now, zone, 4)]
    assert {close.weekday() for close in found} == {weekday}
    assert {(later.date() - close.date()).days for close, later in pairwise(found)} == {7}


@given(st.one_of(INSTANTS, NEAR_CHANGES), ZONES, st.sampled_from(["15m", "1h", "6h"]))
def test_digest_of_a_span_closes_after_it_whatever_the_clocks_do(now: datetime, zone: ZoneInfo, window: str) -> None:
    span = timedelta(seconds={"15m": 900, "1h": 3_600, "6h": 21_600}[window])
    found = closes(window, now, zone, 9)
    assert now < found[0] <= now + span
    assert {later - close for close, later in pairwise(found)} == {span}
    assert found == closes(window, now + (found[0] - now) / 2, UTC_ZONE, 9)  # replicas agree, wherever they are


def is_quiet(quiet: QuietHours, wall: datetime) -> bool:
    """By the clocks that people see."""
    start, end = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end)
    in_hours = start <= wall.time() < end if start < end else wall.time() >= start or wall.time() < end
    return in_hours or (quiet.weekends and wall.weekday() >= 5)


@given(st.one_of(INSTANTS, NEAR_CHANGES), CLOCKS, CLOCKS, st.booleans(), ZONES)
def test_quiet_hours_hold_back_until_they_end_and_no_longer(
    now: datetime, start: str, end: str, weekends: bool, zone: ZoneInfo
) -> None:
    assume(start != end)
    quiet = QuietHours(start=start, end=end, weekends=weekends)
    until = quiet.over(now, zone)
    assert (until is not None) == is_quiet(quiet, shown(now, zone))
    if until is not None:
        assert not is_quiet(quiet, shown(until, zone))
        between = [now + (until - now) * part / 50 for part in range(50)]
        assert all(is_quiet(quiet, shown(instant, zone)) for instant in between)


@pytest.mark.parametrize("window", ["0s", "8d", "25:00", "8:00", "monday 08:00", "hourly", ""])
def test_window_that_is_none_is_refused(window: str) -> None:
    with pytest.raises(ValidationError):
        DigestSettings.model_validate({"rest": window})


def owners(**table: object) -> Owners:
    return Owners({name: TypeAdapter(Addresses).validate_python(value) for name, value in table.items()})


def test_name_goes_before_globs_and_these_in_their_order() -> None:
    known = owners(
        **{"ci-*": "ci@example.com", "CI-deploy": ["a@example.com", "b@example.com"], "*": "all@example.com"}
    )
    assert known.addresses_of("ci-deploy") == ("a@example.com", "b@example.com")
    assert known.addresses_of("ci-build") == ("ci@example.com",)
    assert known.addresses_of("somebody") == known.addresses_of(None) == ("all@example.com",)
    assert owners().addresses_of("somebody") == ()


def test_owner_that_is_an_address_stands_for_itself_where_that_is_allowed() -> None:
    known = owners(**{"*@example.com": "{owner}", "*": "all@example.com"})
    assert known.addresses_of("alice@example.com") == ("alice@example.com",)
    assert known.addresses_of("mallory@evil.example") == ("all@example.com",)
    assert known.addresses_of("a, b@example.com") == ("all@example.com",)
    assert known.addresses_of("x\r\nBcc: y@example.com") == ("all@example.com",)


@given(st.text())
def test_address_has_nothing_that_a_header_could_be_made_of(text: str) -> None:
    if is_address(text):
        assert text.isprintable()
        assert not set(text) & set(' ,;:<>"\r\n')
