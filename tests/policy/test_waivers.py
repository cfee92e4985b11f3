"""What waivers cover, from when until when, and what becomes of a finding when one begins, changes or ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.model.finding import Severity, Transition, Waived
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.lifecycle import KnownFinding
from auditor.policy.scopes import RiskTier
from auditor.policy.waivers import (
    FindingId,
    Setting,
    View,
    WaiverEntry,
    Waivers,
    WaiversDocument,
    WaiverSettings,
    check_waivers,
    end_of,
    finding_of,
    instant,
    is_muted,
    waived_after,
    waiver_change,
)

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
LABEL = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
FINDING = FindingId("prod", LABEL, "DT-EXP-01", "")
KEY = f"prod/{LABEL}/DT-EXP-01"

TERMS: dict[str, Any] = {
    "id": "w1",
    "owner": "svc-ci",
    "approver": "jane.doe",
    "reason": "moves to OAuth in January",
    "ticket": "SEC-12",
    "since": "2026-11-01",
    "until": "2026-12-01",
}


def entry(**changes: Any) -> WaiverEntry:
    """A waiver of FINDING by its key, unless ``changes`` say otherwise."""
    values = {**TERMS, **({} if "rules" in changes else {"finding": KEY}), **changes}
    return WaiverEntry.model_validate({name: value for name, value in values.items() if value is not None})


def view(**changes: Any) -> View:
    token = TokenMetadata(id=LABEL, **({"name": "ci-deploy", "owner": "svc-ci", "scopes": ("logs.read",)} | changes))
    return View(Observation("prod", LABEL, SINCE, Outcome.FOUND, token), token, RiskTier.LOW)


def covering(
    *entries: WaiverEntry,
    finding: FindingId = FINDING,
    seen: View | None = None,
    before: WaiverEntry | None = None,
    now: datetime = SINCE,
) -> str | None:
    waiver = Waivers(entries).covering(finding, seen, before.terms if before else None, now)
    return waiver.id if waiver else None


def known(severity: Severity = Severity.HIGH, waived: Waived | None = None) -> KnownFinding:
    return KnownFinding(1, "DT-EXP-01", "", severity, True, "never expires", {"a": 1}, waived)


# From when until when


@pytest.mark.parametrize(
    ("now", "is_covered"),
    [
        (SINCE - SECOND, False),
        (SINCE, True),
        (SINCE + SECOND, True),
        (UNTIL - SECOND, True),
        (UNTIL, False),
        (UNTIL + SECOND, False),
    ],
)
def test_waiver_is_in_force_from_its_first_instant_until_its_last(now: datetime, is_covered: bool) -> None:
    assert entry().terms.is_in_force(now) is is_covered
    assert covering(entry(), now=now) == ("w1" if is_covered else None)
    selective = entry(rules=["DT-EXP-01"], only=[{"owner": "svc-*"}])
    assert covering(selective, seen=view(), now=now) == ("w1" if is_covered else None)


@given(st.datetimes(datetime(2026, 10, 1), datetime(2027, 1, 1), timezones=st.just(UTC)), st.timedeltas(timedelta()))  # noqa: DTZ001
def test_waiver_that_ended_covers_nothing_ever_again(now: datetime, later: timedelta) -> None:
    if now >= UNTIL:
        try:
            after = now + later
        except OverflowError:
            return
        assert covering(entry(), now=after) is None


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-12-01", UNTIL),
        ("2026-12-01T00:00:00Z", UNTIL),
        ("2026-12-01T01:00:00+01:00", UNTIL),
        ("2026-12-01T00:00:00", UNTIL),
        ("2026-12-01 18:30", datetime(2026, 12, 1, 18, 30, tzinfo=UTC)),
    ],
)
def test_instants_are_read_as_utc_and_a_day_as_its_beginning(written: str, read: datetime) -> None:
    assert instant(written) == read
    assert entry(until=written).until.utcoffset() == timedelta()


@pytest.mark.parametrize("written", ["tomorrow", "2026-13-01", "", "9999-12-31T23:59-05:00", 20261201, True, None])
def test_what_is_no_instant_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match=r"must be a day such as 2027-01-31|Field required"):
        entry(until=written)


# What it covers


@pytest.mark.parametrize(
    "other",
    [
        FINDING._replace(environment="staging"),
        FINDING._replace(label="dt0c01.ANOTHER"),
        FINDING._replace(rule_id="DT-EXP-02"),
        FINDING._replace(discriminator="x"),
    ],
)
def test_key_covers_that_one_finding_only(other: FindingId) -> None:
    assert covering(entry()) == "w1"
    assert covering(entry(), finding=other) is None


def test_one_waiver_may_name_several_findings() -> None:
    other = f"prod/{LABEL}/DT-NET-04/a/b"
    both = entry(finding=[KEY, other])
    assert finding_of(other) == FindingId("prod", LABEL, "DT-NET-04", "a/b")
    assert covering(both, finding=FindingId("prod", LABEL, "DT-NET-04", "a/b")) == "w1"


@pytest.mark.parametrize(
    ("only", "is_covered"),
    [
        ([{"owner": "svc-*"}], True),
        ([{"owner": "svc-*", "name": "other"}], False),
        ([{"name": "other"}, {"scope": "logs.*"}], True),
        ([{"environment": "staging"}], False),
        ([{"risk": "high"}], False),
    ],
)
def test_rules_are_covered_on_the_tokens_that_any_selector_selects(
    only: list[dict[str, Any]], is_covered: bool
) -> None:
    waiver = entry(rules=["DT-EXP-01", "DT-EXP-02"], only=only)
    assert covering(waiver, seen=view()) == ("w1" if is_covered else None)
    assert covering(waiver, seen=view(), finding=FINDING._replace(rule_id="DT-USE-01")) is None


def test_discriminator_narrows_what_is_covered() -> None:
    waiver = entry(rules=["DT-SCP-03"], only=[{"owner": "svc-*"}], discriminator="*.write")
    finding = FINDING._replace(rule_id="DT-SCP-03")
    assert covering(waiver, seen=view(), finding=finding._replace(discriminator="settings.write")) == "w1"
    assert covering(waiver, seen=view(), finding=finding) is None


def test_selector_that_cannot_see_the_token_keeps_what_it_covered_and_begins_nothing() -> None:
    waiver = entry(rules=["DT-EXP-01"], only=[{"owner": "svc-*"}])
    assert covering(waiver) is None
    assert covering(waiver, before=waiver) == "w1"
    assert covering(waiver, before=entry(id="w2")) is None
    assert covering(waiver, before=waiver, now=UNTIL) is None


def test_of_several_the_one_that_lasts_longest_covers() -> None:
    longer, other = entry(id="a", until="2026-12-02"), entry(id="b", until="2026-12-02")
    assert covering(entry(), longer, other) == covering(other, longer, entry()) == "b"
    assert covering(entry(), longer, now=UNTIL) == "a"


def test_waivers_know_of_which_rules_they_speak() -> None:
    waivers = Waivers([entry(), entry(rules=["DT-USE-01"], only=[{"owner": "x"}])])
    assert [waivers.may_cover(rule) for rule in ("DT-EXP-01", "DT-USE-01", "DT-USE-02")] == [True, True, False]
    assert [waivers.has_selectors_for(rule) for rule in ("DT-EXP-01", "DT-USE-01")] == [False, True]
    assert (list(waivers.findings), list(waivers.selecting)) == ([FINDING], ["DT-USE-01"])


# What becomes of a finding


def test_finding_begins_to_be_waived_and_stays_what_it_is() -> None:
    change = waiver_change(known(), entry().terms)
    assert change is not None
    assert (change.transition, change.waiver, change.resolution) == (Transition.WAIVED, entry().terms, None)
    said = change.violation
    assert (said.severity, said.message, said.evidence) == (Severity.HIGH, "never expires", {"a": 1})


def test_nothing_happens_while_the_same_waiver_covers_or_none_does() -> None:
    assert waiver_change(known(), None) is None
    assert waiver_change(known(waived=Waived(entry().terms, Severity.LOW)), entry().terms) is None


@pytest.mark.parametrize("changes", [{"until": "2026-12-02"}, {"approver": "someone"}, {"reason": "another"}])
def test_other_terms_are_told_as_waived_anew(changes: dict[str, Any]) -> None:
    before = Waived(entry().terms, Severity.LOW)
    change = waiver_change(known(waived=before), entry(**changes).terms)
    assert change is not None
    assert (change.transition, change.waiver) == (Transition.WAIVED, entry(**changes).terms)
    assert waived_after(before, change.waiver, Severity.HIGH) == Waived(entry(**changes).terms, Severity.HIGH)


def test_finding_lapses_when_nothing_covers_it_any_more() -> None:
    change = waiver_change(known(waived=Waived(entry().terms, Severity.HIGH)), None)
    assert change is not None
    assert (change.transition, change.waiver) == (Transition.LAPSED, entry().terms)


def test_end_of_a_waiver_is_told_with_its_cause() -> None:
    assert end_of(entry().terms, UNTIL) == "its waiver w1 ended 2026-12-01 00:00 UTC"
    assert end_of(entry().terms, UNTIL - SECOND) == "its waiver w1 was withdrawn, or covers it no more"


@pytest.mark.parametrize(
    ("transition", "severity", "told"),
    [
        (Transition.OPENED, Severity.MEDIUM, False),
        (Transition.REOPENED, Severity.LOW, False),
        (Transition.ESCALATED, Severity.MEDIUM, False),
        (Transition.ESCALATED, Severity.HIGH, True),
        (Transition.RESOLVED, Severity.LOW, True),
    ],
)
def test_waived_finding_is_alerted_only_above_what_was_accepted_or_when_it_ends(
    transition: Transition, severity: Severity, told: bool
) -> None:
    waived = Waived(entry().terms, Severity.MEDIUM)
    assert is_muted(transition, severity, waived) is not told
    assert not is_muted(transition, severity, None)


def test_waiver_on_the_same_terms_does_not_accept_a_higher_severity() -> None:
    before = Waived(entry().terms, Severity.LOW)
    assert waived_after(before, entry().terms, Severity.CRITICAL) == before
    assert waived_after(None, entry().terms, Severity.HIGH) == Waived(entry().terms, Severity.HIGH)
    assert waived_after(before, None, Severity.HIGH) is None


# What a waiver may be


@pytest.mark.parametrize(("days", "is_too_long"), [(89, False), (90, False), (91, True)])
def test_span_is_counted_from_since_to_until(days: int, is_too_long: bool) -> None:
    waiver = entry(until=(SINCE + days * DAY).isoformat()).terms
    assert WaiverSettings().is_too_long(waiver) is is_too_long


def test_span_is_too_long_by_one_second() -> None:
    waiver = entry(until=(SINCE + 90 * DAY + SECOND).isoformat()).terms
    assert WaiverSettings().is_too_long(waiver)


@pytest.mark.parametrize(
    ("now", "is_due"),
    [
        (UNTIL - 14 * DAY - SECOND, False),
        (UNTIL - 14 * DAY, True),
        (UNTIL - 14 * DAY + SECOND, True),
        (UNTIL - SECOND, True),
        (UNTIL, False),
    ],
)
def test_waiver_warns_from_so_many_days_before_its_end(now: datetime, is_due: bool) -> None:
    assert WaiverSettings(warn_days=14).is_due_to_warn(entry().terms, now) is is_due
    assert not WaiverSettings(warn_days=0).is_due_to_warn(entry().terms, now)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"finding": None}, 'names either finding = "…", or rules'),
        ({"rules": ["DT-EXP-01"], "finding": KEY}, "names either"),
        ({"only": [{"owner": "x"}]}, "only and discriminator go with rules"),
        ({"rules": ["DT-EXP-01"]}, "must say which tokens"),
        ({"rules": ["DT-EXP-01"], "only": [{}]}, "says nothing, so it would select every token"),
        ({"rules": ["DT-EXP-01"], "only": [{"owner": "x"}, {}]}, "says nothing, so it would select every token"),
        ({"rules": ["DT-EXP-01"], "only": [{"name": []}]}, "must not be empty"),
        ({"rules": ["DT-EXP-01"], "only": [{"owner": "x", "risk": []}]}, "must not be empty"),
        ({"rules": ["DT-EXP-01"], "only": [{"owner": "x"}], "discriminator": []}, "must not be empty"),
        ({"until": "2026-11-01"}, "until must be after since"),
        ({"approver": " "}, "must not be empty"),
        ({"approver": None}, "Field required"),
        ({"owner": None}, "Field required"),
        ({"reason": "a\nb"}, "must be one line"),
        ({"ticket": f"see {LABEL}.{'A' * 64}"}, "holds a token"),
        ({"finding": f"prod/{LABEL}.{'A' * 64}/DT-EXP-01"}, "holds a token"),
        ({"finding": f"{LABEL}.{'A' * 64}"}, "holds a token"),
        ({"id": "a/b"}, "must be of letters, digits"),
        ({"finding": "prod/x"}, "is no key of a finding"),
        ({"finding": "prod//DT-EXP-01"}, "is no key of a finding"),
        ({"expires": "2026-12-01"}, "Extra inputs"),
    ],
)
def test_waiver_that_says_too_little_or_too_much_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        entry(**changes)


def test_file_is_checked_for_spans_and_for_names_of_nothing() -> None:
    document = WaiversDocument(
        waiver=(
            entry(),
            entry(until="2027-01-30T00:00:01"),
            entry(finding=[KEY, f"prd/{LABEL}/DT-EXP-01"]),
            entry(finding=f"prod/{LABEL}/DT-EXP-1"),
            entry(rules=["DT-EXP-01", "DT-EXP-1"], only=[{"owner": "x"}]),
            entry(rules=["DT-EXP-01"], only=[{"environment": "prd*"}]),
        )
    )
    problems = list(check_waivers(document, {"prod": Setting(WaiverSettings(), {"DT-EXP-01"})}))
    assert [path for path, _message in problems] == [
        ("waiver", 1, "until"),
        ("waiver", 2, "finding", 1),
        ("waiver", 3, "finding", 0),
        ("waiver", 4, "rules", 1),
        ("waiver", 5, "only"),
    ]
    assert [message.split(";")[0] for _path, message in problems] == [
        "90 days, 0:00:01 after since, and the policy allows 90",
        f'"prd/{LABEL}/DT-EXP-01": unknown environment "prd"',
        f'"prod/{LABEL}/DT-EXP-1": unknown rule "DT-EXP-1"',
        'unknown rule "DT-EXP-1"',
        "its selectors select no environment",
    ]


def test_span_is_that_of_the_environments_that_a_waiver_may_speak_of() -> None:
    strict = {
        "prod": Setting(WaiverSettings(max_days=30), {"DT-EXP-01"}),
        "lab": Setting(WaiverSettings(max_days=31), {"DT-EXP-01"}),
    }
    for changes, is_refused in (
        ({"until": "2026-12-01"}, False),
        ({"until": "2026-12-02"}, True),
        ({"until": "2026-12-02", "finding": f"lab/{LABEL}/DT-EXP-01"}, False),
        ({"until": "2026-12-02", "rules": ["DT-EXP-01"], "only": [{"environment": "LAB"}]}, False),
        ({"until": "2026-12-02", "rules": ["DT-EXP-01"], "only": [{"owner": "x"}]}, True),
    ):
        document = WaiversDocument(waiver=(entry(**changes),))
        assert bool(list(check_waivers(document, strict))) is is_refused, changes


def test_terms_survive_the_database_as_they_are() -> None:
    terms = entry(until="2026-12-01T01:30:00.5+01:00").terms
    assert msgspec.json.decode(msgspec.json.encode(terms), type=type(terms)) == terms
