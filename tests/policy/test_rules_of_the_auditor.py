"""Rules about the audit itself, at their boundaries."""

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.model.account import SweepAccount, Unaudited
from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Lookup, Outcome
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.policy.rules import aud_01, aud_02, aud_04, aud_05, inv_01
from auditor.policy.scopes import RiskSettings, RiskTier
from tests.policy.policy_samples import DAY, NOW, SECOND, observed, token

THROTTLED = Lookup(Outcome.THROTTLED, NOW, None, "HTTP 429", 429, 4)


def unaudited(failures: int, evident_at: datetime | None = NOW - 9 * DAY) -> Unaudited:
    return Unaudited(THROTTLED, failures, evident_at)


@pytest.mark.parametrize(
    ("failures", "severity"),
    [(1, None), (2, None), (3, "medium"), (4, "medium"), (5, "medium"), (6, "high"), (7, "high"), (10_000, "high")],
)
def test_token_without_evidence_is_told_from_the_third_sweep_and_is_high_from_the_sixth(
    failures: int, severity: str | None
) -> None:
    violation = aud_01.check(unaudited(failures), aud_01.Persistence())
    assert (violation.severity if violation else None) == severity


@pytest.mark.parametrize(("failures", "severity"), [(1, "medium"), (2, "high")])
def test_sweeps_without_evidence_are_the_policys(failures: int, severity: str) -> None:
    violation = aud_01.check(unaudited(failures), aud_01.Persistence(sweeps=1, high_sweeps=2))
    assert violation is not None
    assert violation.severity == severity


def test_unaudited_token_tells_when_it_was_last_audited_and_why_it_is_not() -> None:
    violation = aud_01.check(unaudited(3), aud_01.Persistence())
    assert violation is not None
    assert violation.message == "not audited in 3 or more sweeps running, last audited on 2026-06-06: HTTP 429"
    assert violation.evidence["outcome"] == "throttled"
    never = aud_01.check(unaudited(6, None), aud_01.Persistence())
    assert never is not None
    assert never.message == "not audited in 6 or more sweeps running, never audited: HTTP 429"
    assert never.evidence["last_evidence_at"] is None


def test_words_of_an_unaudited_token_stand_still_while_nothing_changes() -> None:
    assert aud_01.check(unaudited(3), aud_01.Persistence()) == aud_01.check(unaudited(5), aud_01.Persistence())


def test_high_never_comes_before_medium() -> None:
    with pytest.raises(ValidationError, match=r"high_sweeps \(2\) must not be less than sweeps \(3\)"):
        aud_01.Persistence(high_sweeps=2)


def account(
    found: int = 100,
    missing: int = 0,
    failed: int = 0,
    *,
    slots: int | None = 0,
    status: SweepStatus = SweepStatus.COMPLETE,
    unread: dict[str, str] | None = None,
    ever_full: bool = True,
) -> SweepAccount:
    return SweepAccount(
        summary=SweepSummary(
            id=7,
            environment="prod",
            started_at=NOW,
            finished_at=NOW,
            status=status,
            enrolled=found + missing + failed,
            found=found,
            missing=missing,
            failed=failed,
            source_problems=unread or {},
        ),
        full_since=NOW - 3 * DAY,
        was_ever_full=ever_full,
        slots_passed=slots,
    )


@pytest.mark.parametrize(
    ("found", "missing", "failed", "fires"),
    [
        (100, 0, 0, False),
        (99, 0, 1, False),
        (0, 99, 1, False),
        (98, 0, 2, True),
        (989, 0, 11, True),
        (990, 0, 10, False),
        (0, 0, 1, True),
        (0, 0, 0, False),
    ],
)
def test_coverage_fires_below_its_target_and_not_at_it(found: int, missing: int, failed: int, fires: bool) -> None:
    assert (aud_02.check(account(found, missing, failed), aud_02.Coverage()) is not None) is fires


@pytest.mark.parametrize(("slots", "fires"), [(None, False), (0, False), (1, False), (2, False), (3, True), (9, True)])
def test_full_sweep_is_late_after_more_than_two_intervals(slots: int | None, fires: bool) -> None:
    violation = aud_02.check(account(slots=slots), aud_02.Coverage())
    assert (violation is not None) is fires
    if violation:
        assert violation.message == (
            "no full sweep since that of 2026-06-12 12:00 UTC, for more than 2 intervals of the schedule"
        )


def test_low_coverage_and_a_late_full_sweep_are_one_finding() -> None:
    violation = aud_02.check(account(1, failed=1, slots=3, ever_full=False), aud_02.Coverage(target=1, intervals=1))
    assert violation is not None
    assert violation.severity == "high"
    assert violation.message == (
        "1 of 2 tokens audited, target 100%; no full sweep yet, for more than 1 interval of the schedule"
    )
    assert violation.evidence["last_full_sweep_at"] is None


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (account(), None),
        (account(99, failed=1, status=SweepStatus.INCOMPLETE), None),
        (account(0), None),
        (account(unread={"vault": "gone", "b": "x"}, status=SweepStatus.INCOMPLETE), "not read to the end: b, vault"),
        (account(0, status=SweepStatus.FAILED), "the sweep failed"),
    ],
)
def test_silence_about_coverage_is_a_pass_only_where_all_was_read(one: SweepAccount, reason: str | None) -> None:
    assert aud_02.check(one, aud_02.Coverage()) is None
    assert aud_02.inconclusive(one) == reason


OPEN = Violation("DT-EXP-01", Severity.MEDIUM, "never expires", {"days": 1}, "d")


@pytest.mark.parametrize(
    ("severity", "days", "raised"),
    [("critical", 1, "critical"), ("high", 7, "critical"), ("medium", 30, "high"), ("low", 90, "medium")],
)
def test_finding_rises_one_step_at_its_deadline(severity: str, days: int, raised: str) -> None:
    violation = msgspec.structs.replace(OPEN, severity=Severity(severity))
    params, due = aud_04.Overdue(), NOW + days * DAY
    assert aud_04.check(violation, NOW, params, due - SECOND) == violation
    for now in (due, due + SECOND, due + 1000 * DAY):
        late = aud_04.check(violation, NOW, params, now)
        assert (late.severity, late.rule_id, late.discriminator) == (raised, "DT-EXP-01", "d")
        span = "1 day" if days == 1 else f"{days} days"
        assert late.message == f"never expires; {severity} since 2026-06-15, past its deadline of {span}"
        assert late.evidence == {
            "days": 1,
            "overdue": {
                "rule": "DT-AUD-04",
                "severity": severity,
                "since": "2026-06-15T12:00:00Z",
                "sla_days": days,
            },
        }


def test_severity_without_a_deadline_never_rises() -> None:
    info = msgspec.structs.replace(OPEN, severity=Severity.INFO)
    assert aud_04.check(info, NOW, aud_04.Overdue(), NOW + 9999 * DAY) == info
    only_high = aud_04.Overdue.model_validate({"sla": {"high": 7}})
    assert aud_04.check(OPEN, NOW, only_high, NOW + 9999 * DAY) == OPEN


@pytest.mark.parametrize("sla", [{"critical": 8, "high": 7}, {"medium": 30, "low": 29}, {}, {"high": 0}])
def test_worse_severity_never_has_more_time(sla: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        aud_04.Overdue.model_validate({"sla": sla})


spans = st.timedeltas(timedelta(), timedelta(days=400))


@given(st.sampled_from(Severity), spans, spans)
def test_lateness_never_eases_as_time_passes_and_never_adds_up(
    severity: Severity, age: timedelta, more: timedelta
) -> None:
    violation = msgspec.structs.replace(OPEN, severity=severity)
    earlier = aud_04.check(violation, NOW - age, aud_04.Overdue(), NOW)
    later = aud_04.check(violation, NOW - age, aud_04.Overdue(), NOW + more)
    assert severity.rank <= earlier.severity.rank <= later.severity.rank <= severity.rank + 1


RISK = RiskSettings()


def complaints(**changes: object) -> dict[str, str]:
    own = token(**{"name": "auditor", "scopes": ("apiTokens.read",), **changes})
    return {violation.discriminator: violation.message for violation in aud_05.check(own, aud_05.OwnToken(), RISK, NOW)}


@pytest.mark.parametrize(
    ("scopes", "surplus"),
    [
        (("apiTokens.read",), None),
        ((), None),
        (("metrics.read",), None),
        (("apiTokens.read", "metrics.read"), "metrics.read"),
        (("metrics.read", "slo.read"), "metrics.read, slo.read"),
        (("logs.read",), "logs.read"),
        (("settings.write",), "settings.write"),
        (("apiTokens.read", "apiTokens.write"), "apiTokens.write"),
        (("unheard.of",), "unheard.of"),
    ],
)
def test_own_token_may_read_tokens_or_hold_one_harmless_scope(scopes: tuple[str, ...], surplus: str | None) -> None:
    said = complaints(scopes=scopes).get("scopes")
    assert (None if said is None else said.rpartition(": ")[2]) == surplus


@pytest.mark.parametrize(
    ("left", "fires"),
    [
        (14 * DAY + SECOND, False),
        (14 * DAY, True),
        (14 * DAY - SECOND, True),
        (timedelta(), True),
        (-DAY, True),
    ],
)
def test_own_token_is_told_when_its_end_is_near(left: timedelta, fires: bool) -> None:
    assert ("expiration" in complaints(expiration_date=NOW + left)) is fires


def test_own_token_without_an_end_is_told() -> None:
    assert complaints(expiration_date=None) == {
        "expiration": "auditor's own token dt0c01.ST2EY72KQINMH574WMNVI7YN never expires"
    }
    assert complaints(expiration_date=datetime.max.replace(tzinfo=NOW.tzinfo)) == {}


def test_own_token_may_hold_what_the_policy_allows() -> None:
    params = aud_05.OwnToken.model_validate({"allowed_scopes": ["apiTokens.*", "metrics.read"], "days": 100})
    own = token(scopes=("apiTokens.read", "apiTokens.write", "metrics.read"), expiration_date=NOW + 101 * DAY)
    assert aud_05.check(own, params, RISK, NOW) == []


def test_token_in_no_store_is_as_bad_as_its_scopes() -> None:
    params = inv_01.Unstored()
    low = inv_01.check(observed(), token(), params, RiskTier.MEDIUM)
    high = inv_01.check(observed(), token(), params, RiskTier.HIGH)
    assert low is not None
    assert high is not None
    assert (low.severity, high.severity) == ("medium", "high")
    assert low.message == "exists in the environment and in no store"
    assert (low.evidence["name"], low.evidence["owner"]) == ("ingest-frankfurt", "svc-ingest")


def test_token_stored_for_another_environment_is_told_as_such() -> None:
    violation = inv_01.check(observed(), token(), inv_01.Unstored(), RiskTier.LOW, ("dev",))
    assert violation is not None
    assert violation.message == "stored for 1 other environment (dev) and not for this one"


@pytest.mark.parametrize(
    ("selector", "is_ignored"),
    [
        ({"name": "ingest-*"}, True),
        ({"name": "other-*"}, False),
        ({"owner": "svc-ingest", "scope": "metrics.ingest"}, True),
        ({"environment": "prod"}, True),
        ({"environment": "dev"}, False),
        ({"personal": True}, False),
        ({"risk": "low"}, True),
        ({"source": "*"}, False),
        ({"tag": "*"}, False),
    ],
)
def test_ignored_tokens_need_no_store(selector: dict[str, object], is_ignored: bool) -> None:
    params = inv_01.Unstored.model_validate({"ignore_selectors": [{"name": "nothing"}, selector]})
    assert (inv_01.check(observed(), token(), params, RiskTier.LOW) is None) is is_ignored
