"""DT-EXP, DT-ROT, DT-USE and DT-STA-01: dates against now, at the boundaries."""

from datetime import timedelta

import pytest

from tests.policy.policy_samples import DAY, HOUR, NOW, SECOND, observed, policy_of, said, severity, token

NO = None
NARROW = ("metrics.ingest",)
HIGH = ("settings.write",)
CRITICAL = ("apiTokens.write",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"expiration_date": NOW}, NO),
        ({"expiration_date": NOW - 900 * DAY}, NO),
        ({"expiration_date": None}, "high"),
        ({"expiration_date": None, "enabled": None}, "high"),
        ({"expiration_date": None, "enabled": False}, NO),
        ({"expiration_date": None, "scopes": ()}, "high"),
        ({"expiration_date": None, "scopes": HIGH}, "critical"),
        ({"expiration_date": None, "scopes": CRITICAL}, "critical"),
        ({"expiration_date": None, "scopes": ("InstallerDownload",)}, NO),
        ({"expiration_date": None, "scopes": ("InstallerDownload", "logs.read")}, "high"),
        ({"expiration_date": None, "name": "OneAgent-7"}, NO),
        ({"expiration_date": None, "name": "my-oneagent-7"}, "high"),
        ({"expiration_date": None, "name": None}, "high"),
        ({"expiration_date": None, "name": ""}, "high"),
    ],
)
def test_exp_01_fires_without_an_end(changes: dict[str, object], expected: str | None) -> None:
    policy = policy_of("DT-EXP-01", exempt_scopes=["InstallerDownload"], exempt_names="oneagent-*")
    assert severity(policy, observed(token(**changes))) == expected


@pytest.mark.parametrize(
    ("scopes", "lifetime", "expected"),
    [
        (NARROW, 365 * DAY - SECOND, NO),
        (NARROW, 365 * DAY, NO),
        (NARROW, 365 * DAY + SECOND, "medium"),
        (HIGH, 180 * DAY, NO),
        (HIGH, 180 * DAY + SECOND, "high"),
        (CRITICAL, 90 * DAY, NO),
        (CRITICAL, 90 * DAY + SECOND, "high"),
        ((), 365 * DAY + SECOND, "medium"),
        (("brand.new",), 365 * DAY + SECOND, "medium"),
        (NARROW, timedelta(), NO),
        (NARROW, -DAY, NO),
    ],
)
def test_exp_02_allows_exactly_the_longest_lifetime(
    scopes: tuple[str, ...], lifetime: timedelta, expected: str | None
) -> None:
    created = NOW - 30 * DAY
    seen = observed(token(scopes=scopes, creation_date=created, expiration_date=created + lifetime))
    assert severity(policy_of("DT-EXP-02"), seen) == expected


@pytest.mark.parametrize("missing", ["creation_date", "expiration_date"])
def test_exp_02_is_silent_without_both_dates(missing: str) -> None:
    dates = {"creation_date": NOW - 900 * DAY, "expiration_date": NOW + 900 * DAY, missing: None}
    assert said(policy_of("DT-EXP-02"), observed(token(**dates))) is None


@pytest.mark.parametrize(("lifetime", "days"), [(365 * DAY + SECOND, 366), (366 * DAY, 366), (730 * DAY, 730)])
def test_exp_02_names_more_days_than_are_allowed(lifetime: timedelta, days: int) -> None:
    violation = said(policy_of("DT-EXP-02"), observed(token(creation_date=NOW, expiration_date=NOW + lifetime)))
    assert violation is not None
    assert violation.message == f"made to live {days} days; low-risk tokens may live 365"


def test_exp_02_takes_each_tiers_own_days() -> None:
    policy = policy_of("DT-EXP-02", max_days={"critical": 1, "high": 2, "medium": 3, "default": 4})
    for scopes, allowed in ((CRITICAL, 1), (HIGH, 2), (("brand.new",), 3), (NARROW, 4), ((), 4)):
        for lifetime, expected in ((allowed * DAY, False), (allowed * DAY + SECOND, True)):
            seen = observed(token(scopes=scopes, creation_date=NOW, expiration_date=NOW + lifetime))
            assert (said(policy, seen) is not None) is expected, (scopes, lifetime)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (900 * DAY, NO),
        (60 * DAY + SECOND, NO),
        (60 * DAY, "info"),
        (60 * DAY - SECOND, "info"),
        (30 * DAY + SECOND, "info"),
        (30 * DAY, "low"),
        (30 * DAY - SECOND, "low"),
        (14 * DAY + SECOND, "low"),
        (14 * DAY, "medium"),
        (14 * DAY - SECOND, "medium"),
        (7 * DAY + SECOND, "medium"),
        (7 * DAY, "high"),
        (7 * DAY - SECOND, "high"),
        (DAY + SECOND, "high"),
        (DAY, "critical"),
        (DAY - SECOND, "critical"),
        (SECOND, "critical"),
        (timedelta(), "critical"),
        (-SECOND, NO),
    ],
)
def test_exp_03_speaks_with_the_tightest_threshold(left: timedelta, expected: str | None) -> None:
    seen = observed(token(expiration_date=NOW + left, last_used_date=NOW - HOUR))
    assert severity(policy_of("DT-EXP-03"), seen) == expected


@pytest.mark.parametrize(
    ("last_used_before_end", "use_weight", "expected"),
    [
        (timedelta(), True, "critical"),
        (8 * DAY - SECOND, True, "critical"),
        (8 * DAY, True, "critical"),
        (8 * DAY + SECOND, True, "high"),
        (None, True, "high"),
        (None, False, "critical"),
    ],
)
def test_exp_03_is_critical_only_for_tokens_in_use(
    last_used_before_end: timedelta | None, use_weight: bool, expected: str
) -> None:
    end = NOW + HOUR
    used = None if last_used_before_end is None else end - last_used_before_end
    seen = observed(token(expiration_date=end, last_used_date=used))
    assert severity(policy_of("DT-EXP-03", use_weight=use_weight), seen) == expected


def test_exp_03_counts_recent_use_back_from_an_operators_own_threshold() -> None:
    policy = policy_of("DT-EXP-03", thresholds={"critical": 5}, recent_use_days=2)
    for left in (5 * DAY, timedelta()):
        end = NOW + left
        used, idle = (token(expiration_date=end, last_used_date=end - 7 * DAY - more) for more in (timedelta(), SECOND))
        assert (severity(policy, observed(used)), severity(policy, observed(idle))) == ("critical", "high")


def test_exp_03_takes_an_operators_ladder_in_place_of_its_own() -> None:
    policy = policy_of("DT-EXP-03", thresholds={"medium": 5})
    assert severity(policy, observed(token(expiration_date=NOW + 6 * DAY))) is None
    assert severity(policy, observed(token(expiration_date=NOW + 5 * DAY))) == "medium"
    assert severity(policy, observed(token(expiration_date=NOW))) == "medium"


def test_exp_03_is_silent_without_an_end() -> None:
    assert said(policy_of("DT-EXP-03"), observed(token(expiration_date=None))) is None


@pytest.mark.parametrize(
    ("grace_hours", "since", "expected"),
    [
        (0, timedelta(), NO),
        (0, SECOND, "low"),
        (0, -SECOND, NO),
        (24, DAY - SECOND, NO),
        (24, DAY, NO),
        (24, DAY + SECOND, "low"),
        (0, 900 * DAY, "low"),
    ],
)
def test_exp_04_fires_once_the_end_is_past(grace_hours: int, since: timedelta, expected: str | None) -> None:
    policy = policy_of("DT-EXP-04", grace_hours=grace_hours)
    assert severity(policy, observed(token(expiration_date=NOW - since))) == expected
    assert said(policy, observed(token(expiration_date=None))) is None


@pytest.mark.parametrize(
    ("scopes", "age", "expected"),
    [
        (NARROW, 365 * DAY - SECOND, NO),
        (NARROW, 365 * DAY, "medium"),
        (NARROW, 365 * DAY + SECOND, "medium"),
        ((), 365 * DAY, "medium"),
        (HIGH, 180 * DAY - SECOND, NO),
        (HIGH, 180 * DAY, "high"),
        (CRITICAL, 90 * DAY - SECOND, NO),
        (CRITICAL, 90 * DAY, "high"),
        (CRITICAL, timedelta(), NO),
        (NARROW, -400 * DAY, NO),
    ],
)
def test_rot_01_fires_at_the_rotation_period(scopes: tuple[str, ...], age: timedelta, expected: str | None) -> None:
    policy = policy_of("DT-ROT-01")
    assert severity(policy, observed(token(scopes=scopes, creation_date=NOW - age))) == expected
    assert said(policy, observed(token(scopes=scopes, creation_date=None))) is None


@pytest.mark.parametrize(
    ("scopes", "age", "expected"),
    [
        (NARROW, 30 * DAY - SECOND, NO),
        (NARROW, 30 * DAY, "medium"),
        (NARROW, 30 * DAY + SECOND, "medium"),
        ((), 30 * DAY, "medium"),
        (HIGH, 14 * DAY - SECOND, NO),
        (HIGH, 14 * DAY, "medium"),
        (CRITICAL, 14 * DAY - SECOND, NO),
        (CRITICAL, 14 * DAY, "medium"),
        (CRITICAL, timedelta(), NO),
        (CRITICAL, -DAY, NO),
    ],
)
def test_use_01_fires_for_a_token_never_used_in_its_time(
    scopes: tuple[str, ...], age: timedelta, expected: str | None
) -> None:
    policy = policy_of("DT-USE-01")
    unused = token(scopes=scopes, creation_date=NOW - age, last_used_date=None)
    assert severity(policy, observed(unused)) == expected


@pytest.mark.parametrize("changes", [{"creation_date": None}, {"last_used_date": NOW - 90 * DAY}])
def test_use_01_is_silent_for_a_used_or_dateless_token(changes: dict[str, object]) -> None:
    old = {"creation_date": NOW - 100 * DAY, "last_used_date": None} | changes
    assert said(policy_of("DT-USE-01"), observed(token(**old))) is None


@pytest.mark.parametrize(
    ("scopes", "idle", "expected"),
    [
        (NARROW, 45 * DAY - SECOND, NO),
        (NARROW, 45 * DAY, "low"),
        (NARROW, 45 * DAY + SECOND, "low"),
        (NARROW, 90 * DAY - SECOND, "low"),
        (NARROW, 90 * DAY, "medium"),
        (NARROW, 180 * DAY - SECOND, "medium"),
        (NARROW, 180 * DAY, "high"),
        (HIGH, 45 * DAY - SECOND, NO),
        (NARROW, 180 * DAY + SECOND, "high"),
        (HIGH, 45 * DAY, "high"),
        (CRITICAL, 45 * DAY, "high"),
        ((), 45 * DAY, "low"),
        (NARROW, timedelta(), NO),
        (NARROW, -DAY, NO),
    ],
)
def test_use_02_climbs_its_ladder(scopes: tuple[str, ...], idle: timedelta, expected: str | None) -> None:
    policy = policy_of("DT-USE-02")
    assert severity(policy, observed(token(scopes=scopes, last_used_date=NOW - idle))) == expected
    assert said(policy, observed(token(scopes=scopes, last_used_date=None))) is None


def test_use_02_keeps_a_critical_step_of_an_operator_for_high_risk_tokens() -> None:
    policy = policy_of("DT-USE-02", days={"low": 10, "critical": 20})
    assert severity(policy, observed(token(scopes=HIGH, last_used_date=NOW - 19 * DAY))) == "high"
    assert severity(policy, observed(token(scopes=HIGH, last_used_date=NOW - 20 * DAY))) == "critical"


@pytest.mark.parametrize(
    ("enabled", "since", "expected"),
    [
        (False, NOW - 30 * DAY - SECOND, "low"),
        (False, NOW - 30 * DAY, "low"),
        (False, NOW - 30 * DAY + SECOND, NO),
        (False, NOW, NO),
        (False, NOW + DAY, NO),
        (False, None, NO),
        (True, NOW - 90 * DAY, NO),
        (None, NOW - 90 * DAY, NO),
    ],
)
def test_sta_01_counts_from_the_first_sweep_that_saw_it_disabled(
    enabled: bool | None, since: object, expected: str | None
) -> None:
    seen = observed(token(enabled=enabled), disabled_since=since)
    assert severity(policy_of("DT-STA-01"), seen) == expected


def test_sta_01_takes_an_operators_days() -> None:
    policy = policy_of("DT-STA-01", days=1)
    for since, expected in ((NOW - DAY + SECOND, NO), (NOW - DAY, "low")):
        assert severity(policy, observed(token(enabled=False), disabled_since=since)) == expected
