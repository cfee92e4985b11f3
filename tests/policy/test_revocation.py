"""Verdicts on revoking a token: what decides, at which second, on what evidence, and how far it is to be trusted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.history import Use
from auditor.model.lookup import Outcome
from auditor.policy.revocation import (
    CLOCK_SKEW,
    DISABLED_LONG,
    OLD_EVIDENCE,
    Confidence,
    Judgement,
    Record,
    Successor,
    Verdict,
    cadence_of,
    judge,
)
from auditor.policy.scopes import RiskSettings
from tests.policy.policy_samples import DAY, HOUR, NOW, PUBLIC_ID, SECOND, token

SAFE, LIKELY, RISKY, DO_NOT = Verdict.SAFE, Verdict.LIKELY_SAFE, Verdict.RISKY, Verdict.DO_NOT_REVOKE
RANKS = {verdict: rank for rank, verdict in enumerate((DO_NOT, RISKY, LIKELY, SAFE))}
SUCCESSOR = Successor("dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA", NOW - 5 * DAY, NOW - HOUR)
EARLIEST, LATEST = datetime(2, 1, 1), datetime(9998, 12, 31, 23, 59, 59)  # noqa: DTZ001 -- hypothesis adds the zone
POWERFUL = ("metrics.ingest", "settings.write")


def record(silence: timedelta = HOUR, *, token_fields: dict[str, Any] | None = None, **changes: Any) -> Record:
    """A token that daily sweeps have watched for 400 days, used daily until ``silence`` ago."""
    last = NOW - silence
    fields: dict[str, Any] = {
        "environment": "prod",
        "label": PUBLIC_ID,
        "token": token(
            **{"creation_date": NOW - 500 * DAY, "expiration_date": None, "last_used_date": last} | (token_fields or {})
        ),
        "outcome": Outcome.FOUND,
        "first_evident_at": NOW - 400 * DAY,
        "evident_at": NOW,
        "lookups": 401,
        "misses": 0,
        "failures": 0,
        "reason": "",
        "disabled_since": None,
        "is_stored": True,
        "uses": daily(last),
        "successor": None,
    }
    return Record(**fields | changes)


def daily(last: Any, number: int = 10, pause: timedelta = DAY, address: str | None = "203.0.113.7") -> tuple[Use, ...]:
    return tuple(Use(last - n * pause + HOUR, last - n * pause, address) for n in reversed(range(number)))


def judged(*arguments: Any, now: Any = NOW, **changes: Any) -> Judgement:
    return judge(record(*arguments, **changes), RiskSettings(), now)


def unused(age: timedelta, **changes: Any) -> Judgement:
    fields = {"last_used_date": None, "last_used_ip_address": None, "creation_date": NOW - age}
    return judged(token_fields=fields | changes.pop("token_fields", {}), **{"uses": ()} | changes)


@pytest.mark.parametrize(
    ("silence", "verdict"),
    [
        (-SECOND, DO_NOT),
        (timedelta(), DO_NOT),
        (14 * DAY - SECOND, DO_NOT),
        (14 * DAY, RISKY),
        (14 * DAY + SECOND, RISKY),
        (45 * DAY - SECOND, RISKY),
        (45 * DAY, LIKELY),
        (45 * DAY + SECOND, LIKELY),
        (90 * DAY - SECOND, LIKELY),
        (90 * DAY, SAFE),
        (90 * DAY + SECOND, SAFE),
    ],
)
def test_silence_decides_on_a_token_in_force(silence: timedelta, verdict: Verdict) -> None:
    assert judged(silence).verdict is verdict


@pytest.mark.parametrize(
    ("silence", "verdict"),
    [
        (14 * DAY - SECOND, DO_NOT),
        (14 * DAY, RISKY),
        (90 * DAY - SECOND, RISKY),
        (90 * DAY, LIKELY),
        (180 * DAY - SECOND, LIKELY),
        (180 * DAY, SAFE),
    ],
)
def test_silence_of_a_powerful_token_has_to_last_twice_as_long(silence: timedelta, verdict: Verdict) -> None:
    assert judged(silence, token_fields={"scopes": POWERFUL}).verdict is verdict


@pytest.mark.parametrize(
    ("silence", "verdict"),
    [
        (3 * DAY - SECOND, DO_NOT),
        (3 * DAY, RISKY),
        (7 * DAY - SECOND, RISKY),
        (7 * DAY, LIKELY),
        (14 * DAY - SECOND, LIKELY),
        (14 * DAY, SAFE),
    ],
)
def test_less_silence_will_do_once_a_successor_is_in_use(silence: timedelta, verdict: Verdict) -> None:
    said = judged(silence, successor=SUCCESSOR)
    assert said.verdict is verdict
    assert said.successor == SUCCESSOR.label


def test_successor_that_was_not_used_after_the_token_was_has_not_taken_over() -> None:
    later = msgspec.structs.replace(SUCCESSOR, last_used_date=NOW - 20 * DAY)
    assert judged(20 * DAY + SECOND, successor=later).verdict is SAFE
    for silence in (20 * DAY, 20 * DAY - SECOND):
        said = judged(silence, successor=later)
        assert said.verdict is RISKY
        assert any("but this one was used later" in reason for reason in said.evidence)


@pytest.mark.parametrize(
    ("silence", "verdict"),
    [
        (60 * DAY - SECOND, DO_NOT),
        (60 * DAY, RISKY),
        (120 * DAY - SECOND, RISKY),
        (120 * DAY, LIKELY),
        (180 * DAY - SECOND, LIKELY),
        (180 * DAY, SAFE),
    ],
)
def test_silence_is_measured_by_the_longest_pause(silence: timedelta, verdict: Verdict) -> None:
    assert judged(silence, uses=daily(NOW - silence, pause=60 * DAY)).verdict is verdict


def test_network_that_comes_seldom_is_not_hidden_by_one_that_comes_often() -> None:
    last = NOW - 100 * DAY
    seldom = daily(last - HOUR, number=2, pause=60 * DAY, address="198.51.100.1")
    both = (*daily(last, number=90), *seldom)
    assert judged(100 * DAY, uses=daily(last, number=90)).verdict is SAFE
    assert cadence_of(both).longest_pause == 60 * DAY
    assert judged(100 * DAY, uses=both).verdict is RISKY


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (-DAY, RISKY),
        (timedelta(), RISKY),
        (30 * DAY - SECOND, RISKY),
        (30 * DAY, LIKELY),
        (90 * DAY - SECOND, LIKELY),
        (90 * DAY, SAFE),
    ],
)
def test_age_decides_on_a_token_never_used(age: timedelta, verdict: Verdict) -> None:
    assert unused(age).verdict is verdict


def test_use_that_is_not_told_of_any_more_counts_as_it_was_seen() -> None:
    said = unused(500 * DAY, uses=daily(NOW - DAY))
    assert said.verdict is DO_NOT
    assert said.last_used_date == NOW - DAY
    assert said.evidence[0] == "it was last used on 2026-06-14 from 203.0.113.7"
    assert "earlier lookups told of that use, and the last one of none" in said.evidence
    assert not any("earlier lookups" in reason for reason in judged(DAY).evidence)


@pytest.mark.parametrize(
    ("age", "verdict"), [(14 * DAY - SECOND, RISKY), (14 * DAY, LIKELY), (30 * DAY - SECOND, LIKELY), (30 * DAY, SAFE)]
)
def test_token_never_used_whose_successor_is_in_use_needs_less_age(age: timedelta, verdict: Verdict) -> None:
    assert unused(age, successor=SUCCESSOR).verdict is verdict


def test_token_without_a_creation_date_is_as_old_as_the_watch_over_it() -> None:
    fields = {"token_fields": {"creation_date": None}}
    assert unused(DAY, first_evident_at=NOW - 90 * DAY, **fields).verdict is SAFE
    said = unused(DAY, first_evident_at=NOW - 90 * DAY + SECOND, **fields)
    assert said.verdict is LIKELY
    assert said.evidence[0] == "it was never used and was seen first on 2026-03-17"


@pytest.mark.parametrize(("left", "verdict"), [(SECOND, DO_NOT), (timedelta(), SAFE), (-SECOND, SAFE)])
def test_expired_token_opens_nothing_any_more(left: timedelta, verdict: Verdict) -> None:
    assert judged(DAY, token_fields={"expiration_date": NOW + left}).verdict is verdict


@pytest.mark.parametrize(("after", "verdict"), [(CLOCK_SKEW, SAFE), (CLOCK_SKEW + SECOND, DO_NOT)])
def test_expired_token_that_was_used_since_is_judged_by_its_use(after: timedelta, verdict: Verdict) -> None:
    said = judged(DAY, token_fields={"expiration_date": NOW - DAY - after})
    assert said.verdict is verdict
    assert any("after it expired" in reason for reason in said.evidence) == (verdict is DO_NOT)


@pytest.mark.parametrize(
    ("since", "verdict"), [(timedelta(), LIKELY), (DISABLED_LONG - SECOND, LIKELY), (DISABLED_LONG, SAFE)]
)
def test_disabled_token_is_missed_by_nobody_after_a_while(since: timedelta, verdict: Verdict) -> None:
    said = judged(since + DAY, token_fields={"enabled": False}, disabled_since=NOW - since)
    assert said.verdict is verdict
    assert said.safe_from == (None if verdict is SAFE else NOW - since + DISABLED_LONG)


@pytest.mark.parametrize(("after", "verdict"), [(CLOCK_SKEW, SAFE), (CLOCK_SKEW + SECOND, DO_NOT)])
def test_disabled_token_that_was_used_since_is_judged_by_its_use(after: timedelta, verdict: Verdict) -> None:
    said = judged(8 * DAY, token_fields={"enabled": False}, disabled_since=NOW - 8 * DAY - after)
    assert said.verdict is verdict
    assert any("after a sweep saw it disabled" in reason for reason in said.evidence) == (verdict is DO_NOT)


def test_token_that_does_not_say_whether_it_is_enabled_counts_as_enabled() -> None:
    assert judged(token_fields={"enabled": None}).verdict is DO_NOT


@pytest.mark.parametrize("silence", [HOUR, 400 * DAY])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"failures": 1, "reason": "HTTP 429"}, "the last lookup gave no evidence (HTTP 429); the last evidence is of"),
        ({"failures": 3}, "the last 3 lookups gave no evidence; the last evidence is of 2026-06-15"),
        ({"outcome": None, "evident_at": None, "token": None}, "no lookup has given evidence about it yet"),
        ({"outcome": Outcome.MISSING, "misses": 1}, "the environment answered once, on 2026-06-15, that there is no"),
        ({"evident_at": NOW - OLD_EVIDENCE - SECOND}, "the last evidence is of 2026-06-01: no lookup since"),
        ({"evident_at": NOW - OLD_EVIDENCE - SECOND, "is_stored": False}, "no source holds it any more"),
    ],
)
def test_nothing_is_guessed_where_the_present_is_not_known(
    silence: timedelta, changes: dict[str, Any], reason: str
) -> None:
    said = judged(silence, **changes)
    assert (said.verdict, said.confidence, said.safe_from) == (Verdict.UNKNOWN, Confidence.LOW, None)
    assert reason in said.evidence[0]
    assert said.limits


def test_failed_lookup_makes_even_an_expired_token_unknown() -> None:
    assert judged(token_fields={"expiration_date": NOW - DAY}, failures=1).verdict is Verdict.UNKNOWN


def test_evidence_of_two_weeks_still_speaks() -> None:
    assert judged(100 * DAY, evident_at=NOW - OLD_EVIDENCE).verdict is SAFE


def test_token_that_is_missing_twice_running_is_gone() -> None:
    said = judged(outcome=Outcome.MISSING, misses=2)
    assert (said.verdict, said.confidence) == (Verdict.GONE, Confidence.HIGH)
    assert said.evidence[0].startswith("the environment answered in 2 lookups running that there is no such token")


def test_gone_token_that_was_never_found_has_no_name() -> None:
    said = judged(outcome=Outcome.MISSING, misses=5, token=None, uses=())
    assert (said.verdict, said.token_name, said.last_used_date) == (Verdict.GONE, None, None)


@pytest.mark.parametrize(
    ("age", "confidence"),
    [
        (2 * DAY, Confidence.HIGH),
        (2 * DAY + SECOND, Confidence.MEDIUM),
        (7 * DAY, Confidence.MEDIUM),
        (7 * DAY + SECOND, Confidence.LOW),
        (14 * DAY, Confidence.LOW),
    ],
)
@pytest.mark.parametrize(
    "changes", [{}, {"token_fields": {"expiration_date": NOW - 30 * DAY}}, {"outcome": Outcome.MISSING, "misses": 2}]
)
def test_confidence_falls_as_evidence_ages(age: timedelta, confidence: Confidence, changes: dict[str, Any]) -> None:
    said = judged(200 * DAY, evident_at=NOW - age, **changes)
    assert said.confidence is confidence
    assert bool(said.limits) == (confidence is not Confidence.HIGH)


@pytest.mark.parametrize(
    ("changes", "confidence", "limit"),
    [
        ({"lookups": 10, "first_evident_at": NOW - 30 * DAY, "evident_at": NOW}, Confidence.MEDIUM, "3 days apart"),
        ({"lookups": 16, "first_evident_at": NOW - 30 * DAY}, Confidence.HIGH, ""),
        ({"lookups": 9, "first_evident_at": NOW - 16 * DAY}, Confidence.MEDIUM, "only 9 lookups"),
        ({"lookups": 3, "first_evident_at": NOW - 16 * DAY}, Confidence.MEDIUM, "only 3 lookups"),
        ({"lookups": 2, "first_evident_at": NOW - 8 * DAY}, Confidence.LOW, "only 2 lookups"),
        ({"lookups": 1, "first_evident_at": NOW}, Confidence.LOW, "only 1 lookup gave"),
        ({"lookups": 99, "first_evident_at": NOW - 30 * DAY + SECOND}, Confidence.MEDIUM, "watched since"),
        ({"lookups": 99, "first_evident_at": NOW - 7 * DAY}, Confidence.MEDIUM, "watched since"),
        ({"lookups": 99, "first_evident_at": NOW - 7 * DAY + SECOND}, Confidence.LOW, "watched since"),
        ({"lookups": 51, "first_evident_at": NOW - 400 * DAY}, Confidence.MEDIUM, "8 days apart"),
        ({"lookups": 50, "first_evident_at": NOW - 400 * DAY}, Confidence.LOW, "8 days apart"),
        ({"uses": daily(NOW - 200 * DAY, number=2)}, Confidence.MEDIUM, "2 uses of it, too few"),
        ({"uses": daily(NOW - 200 * DAY, number=3)}, Confidence.HIGH, ""),
        ({"uses": ()}, Confidence.MEDIUM, "0 uses of it, too few"),
    ],
)
def test_confidence_in_silence_rests_on_how_it_was_watched(
    changes: dict[str, Any], confidence: Confidence, limit: str
) -> None:
    said = judged(200 * DAY, **changes)
    assert said.verdict is SAFE
    assert said.confidence is confidence
    assert any(limit in why for why in said.limits) or not limit


def test_watch_has_to_be_long_against_the_cadence() -> None:
    uses = daily(NOW - 200 * DAY, pause=60 * DAY)
    assert judged(200 * DAY, uses=uses, first_evident_at=NOW - 180 * DAY).confidence is Confidence.HIGH
    assert judged(200 * DAY, uses=uses, first_evident_at=NOW - 180 * DAY + SECOND).confidence is Confidence.MEDIUM
    assert judged(200 * DAY, uses=uses, first_evident_at=NOW - 60 * DAY).confidence is Confidence.MEDIUM
    assert judged(200 * DAY, uses=uses, first_evident_at=NOW - 60 * DAY + SECOND).confidence is Confidence.LOW


@pytest.mark.parametrize(("networks", "confidence"), [(3, Confidence.HIGH), (4, Confidence.MEDIUM)])
def test_many_networks_keep_confidence_down(networks: int, confidence: Confidence) -> None:
    uses = tuple(use for n in range(networks) for use in daily(NOW - 200 * DAY, address=f"198.51.{n}.1"))
    said = judged(200 * DAY, uses=uses)
    assert (said.verdict, said.confidence) == (SAFE, confidence)
    assert f"uses came from {networks} networks: 198.51.0.0/24, 198.51.1.0/24" in " ".join(said.evidence)


def test_use_of_yesterday_is_certain_however_short_the_watch() -> None:
    said = judged(DAY, lookups=1, first_evident_at=NOW, uses=())
    assert (said.verdict, said.confidence, said.limits) == (DO_NOT, Confidence.HIGH, ())


def test_evidence_names_what_was_weighed_with_dates() -> None:
    said = judged(50 * DAY, token_fields={"scopes": POWERFUL}, successor=SUCCESSOR, is_stored=False)
    assert said.evidence == (
        "it was last used on 2026-04-26 from 203.0.113.7",
        "sweeps saw 10 uses since 2026-04-17: 24 hours apart as a rule, 24 hours at most",
        (
            f"{SUCCESSOR.label} can stand in for it: same owner, same name but for its generation, all of its scopes, "
            "created on 2026-06-10, last used on 2026-06-15"
        ),
        "it holds scopes of high risk, which are used seldom, so its silence says less: settings.write",
        "no source holds it any more",
        "401 lookups gave evidence, from 2025-05-11 to 2026-06-15",
    )


def test_day_from_which_a_silent_token_is_safe_is_told() -> None:
    said = judged(50 * DAY)
    assert said.safe_from == NOW + 40 * DAY
    assert "if it stays unused, it counts as safe from 2026-07-25 on" in said.evidence
    assert judge(record(50 * DAY, evident_at=NOW + 40 * DAY), RiskSettings(), NOW + 40 * DAY).verdict is SAFE


def test_policy_says_which_scopes_are_powerful() -> None:
    tame = RiskSettings.model_validate({"scopes": {"settings.write": "low"}})
    silent = record(90 * DAY, token_fields={"scopes": POWERFUL})
    assert judge(silent, RiskSettings(), NOW).verdict is LIKELY
    assert judge(silent, tame, NOW).verdict is SAFE


def test_cadence_is_made_of_the_uses_that_sweeps_saw() -> None:
    nothing = cadence_of(())
    assert (nothing.uses, nothing.median_pause, nothing.longest_pause, nothing.networks) == (0, None, None, ())
    one = cadence_of((Use(NOW, NOW - HOUR, None),))
    assert (one.uses, one.since, one.median_pause, one.networks) == (1, NOW - HOUR, None, ())
    uses = [Use(NOW, NOW - age, "2001:db8:7::1") for age in (9 * DAY, 8 * DAY, 8 * DAY, 2 * DAY, DAY)]
    cadence = cadence_of(uses)
    assert (cadence.uses, cadence.median_pause, cadence.longest_pause) == (4, DAY, 6 * DAY)
    assert cadence.networks == ("2001:db8:7::/48",)


pauses = st.lists(st.timedeltas(min_value=timedelta(), max_value=200 * DAY), max_size=8)


@given(pauses, st.sampled_from([("metrics.ingest",), POWERFUL]), st.booleans(), st.integers(0, 3000))
def test_token_that_stays_unused_never_becomes_riskier(
    between: list[timedelta], scopes: tuple[str, ...], is_replaced: bool, hours: int
) -> None:
    last, uses = NOW, [Use(NOW, NOW, "203.0.113.7")]
    for pause in between:
        uses.insert(0, Use(uses[0].used_at - pause, uses[0].used_at - pause, "203.0.113.7"))
    successor = msgspec.structs.replace(SUCCESSOR, last_used_date=NOW + SECOND) if is_replaced else None
    silent = record(NOW - last, uses=tuple(uses), token_fields={"scopes": scopes}, successor=successor)
    ranks = []
    for later in (NOW + hours * HOUR, NOW + hours * HOUR + DAY, NOW + 2 * hours * HOUR + DAY):
        seen = msgspec.structs.replace(silent, evident_at=later)
        ranks.append(RANKS[judge(seen, RiskSettings(), later).verdict])
    assert ranks == sorted(ranks)


@given(st.timedeltas(min_value=timedelta(), max_value=800 * DAY), st.timedeltas(min_value=DAY, max_value=90 * DAY))
def test_more_power_more_pauses_and_no_successor_never_make_it_safer(silence: timedelta, pause: timedelta) -> None:
    plain = judged(silence, successor=SUCCESSOR if silence > HOUR else None)
    stricter = [
        judged(silence),
        judged(silence, token_fields={"scopes": POWERFUL}),
        judged(silence, uses=daily(NOW - silence, pause=pause)),
    ]
    assert all(RANKS[said.verdict] <= RANKS[plain.verdict] for said in stricter)


ANY_DATE = st.none() | st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC))


@given(ANY_DATE, ANY_DATE, ANY_DATE, st.lists(st.datetimes(EARLIEST, LATEST, timezones=st.just(UTC)), max_size=4))
def test_no_date_that_an_environment_may_send_is_too_much(
    created: datetime | None, expires: datetime | None, used: datetime | None, uses: list[datetime]
) -> None:
    fields = {"creation_date": created, "expiration_date": expires, "last_used_date": used}
    verdict = judged(token_fields=fields, uses=tuple(Use(NOW, instant, None) for instant in sorted(uses)))
    assert verdict.safe_from is None or verdict.safe_from.year < 2100
