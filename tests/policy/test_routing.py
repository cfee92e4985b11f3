"""Where alerts go, when, and to whom."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from auditor.model.finding import Severity
from auditor.policy.routing.owners import Addresses, Owners, is_address
from auditor.policy.routing.route import Matter, Route, Topic
from auditor.policy.routing.routing import Destination, Routing
from auditor.policy.routing.windows import DigestSettings, QuietHours, Windows

VIENNA = ZoneInfo("Europe/Vienna")
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
