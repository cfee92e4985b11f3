"""DT-SCP: what a token may do."""

from typing import Any

import pytest
from pydantic import ValidationError

from auditor.policy.scope_catalogue import SCOPES
from tests.policy.policy_samples import DAY, NOW, SECOND, observed, policy_of, said, severity, token

NO = None


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ((), NO),
        (("metrics.read",), NO),
        (("settings.write",), "high"),
        (("Settings.Write",), NO),
        (("settings.write.more",), NO),
        (("metrics.read", "settings.write"), "high"),
        (("apiTokens.write", "settings.write"), "critical"),
        (("credentialVault.read",), "critical"),
        (("TenantTokenManagement",), "critical"),
        (("brand.new",), NO),
    ],
)
def test_scp_01_fires_for_scopes_of_tier_high_or_critical(scopes: tuple[str, ...], expected: str | None) -> None:
    assert severity(policy_of("DT-SCP-01"), observed(token(scopes=scopes))) == expected


def test_scp_01_follows_the_policys_own_tiers() -> None:
    policy = policy_of("DT-SCP-01", risk={"unknown": "high", "scopes": {"settings.write": "low"}})
    assert said(policy, observed(token(scopes=("settings.write",)))) is None
    assert severity(policy, observed(token(scopes=("brand.new",)))) == "high"


def test_scp_01_takes_an_explicit_list_in_place_of_the_tiers() -> None:
    policy = policy_of("DT-SCP-01", high_risk=["logs.read", "apiTokens.write"])
    assert said(policy, observed(token(scopes=("settings.write",)))) is None
    assert severity(policy, observed(token(scopes=("logs.read", "settings.write")))) == "high"
    assert severity(policy, observed(token(scopes=("apiTokens.write", "logs.read")))) == "critical"
    with pytest.raises(ValidationError, match="at least 1"):
        policy_of("DT-SCP-01", high_risk=[])


@pytest.mark.parametrize(
    ("owner", "scopes", "expected", "left"),
    [
        ("svc-terraform", ("settings.write",), NO, []),
        ("svc-terraform", ("WriteConfig", "settings.write"), "high", ["WriteConfig"]),
        ("svc-terraform", ("apiTokens.write", "settings.write"), "critical", ["apiTokens.write"]),
        ("svc-other", ("settings.write",), "high", ["settings.write"]),
        (None, ("settings.write",), "high", ["settings.write"]),
    ],
)
def test_scp_01_passes_what_an_approval_covers(
    owner: str | None, scopes: tuple[str, ...], expected: str | None, left: list[str]
) -> None:
    policy = policy_of("DT-SCP-01", approvals=[{"owner": "svc-terraform", "scopes": ["settings.*"]}])
    violation = said(policy, observed(token(owner=owner, scopes=scopes)))
    assert (violation.severity if violation else None) == expected
    assert (violation.evidence["scopes"] if violation else []) == left


def test_scp_01_is_critical_only_where_a_scope_that_is_left_is() -> None:
    both = observed(token(scopes=("apiTokens.write", "settings.write")))
    approved = policy_of("DT-SCP-01", approvals=[{"scopes": ["apiTokens.*"]}])
    listed = policy_of("DT-SCP-01", high_risk=["settings.write"])
    assert (severity(approved, both), severity(listed, both)) == ("high", "high")


def some(count: int, family: str = "own{}") -> tuple[str, ...]:
    return tuple(f"{family.format(number)}.s{number}" for number in range(count))


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ((), NO),
        (some(1), NO),
        (some(11, "logs"), NO),
        (some(12, "logs"), NO),
        (some(13, "logs"), "medium"),
        (some(4), NO),
        (some(5), NO),
        (some(6), "medium"),
        (
            ("DataExport", "ReadConfig", "WriteConfig", "LogExport", "Davis", "logs.read"),
            NO,
        ),  # five families of the six
        (("DataExport", "ReadConfig", "MemoryDump", "LogExport", "Davis", "metrics.read"), "medium"),
        (("openpipeline.events", "openpipeline.events.custom", "a.b", "c.d", "e.f", "g.h"), NO),
    ],
)
def test_scp_02_counts_scopes_and_families(scopes: tuple[str, ...], expected: str | None) -> None:
    assert severity(policy_of("DT-SCP-02"), observed(token(scopes=scopes))) == expected


def test_scp_02_applies_each_limit_by_itself() -> None:
    policy = policy_of("DT-SCP-02", scopes=2, families=9)
    assert severity(policy, observed(token(scopes=some(2)))) is None
    assert severity(policy, observed(token(scopes=some(3)))) == "medium"


@pytest.mark.parametrize(
    ("scopes", "combos"),
    [
        ((), []),
        (("apiTokens.write",), []),
        (("apiTokens.read", "apiTokens.write"), [["apiTokens.write", "apiTokens.read"]]),
        (("credentialVault.read", "settings.write"), [["credentialVault.read", "settings.write"]]),
        (("logs.ingest", "slo.write"), [["*.ingest", "*.write"]]),
        (("logs.ingest", "metrics.ingest"), []),
        (
            ("apiTokens.read", "apiTokens.write", "auditLogs.read"),
            [["apiTokens.write", "apiTokens.read"], ["auditLogs.read", "apiTokens.write"]],
        ),
    ],
)
def test_scp_03_names_every_combination_that_is_held(scopes: tuple[str, ...], combos: list[list[str]]) -> None:
    violation = said(policy_of("DT-SCP-03"), observed(token(scopes=scopes)))
    assert (violation.evidence["combos"] if violation else []) == combos
    assert violation is None or violation.severity == "high"


def test_scp_03_wants_a_scope_of_its_own_for_each_element() -> None:
    policy = policy_of("DT-SCP-03", combos=[["*.write", "settings.*"]])
    assert said(policy, observed(token(scopes=("settings.write",)))) is None
    assert severity(policy, observed(token(scopes=("settings.read", "settings.write")))) == "high"
    assert severity(policy, observed(token(scopes=("settings.write", "slo.write")))) == "high"


@pytest.mark.parametrize("combos", [[], [["a.b"]], [["a.b", "a.b"]], [[]]])
def test_scp_03_refuses_combinations_that_combine_nothing(combos: list[list[str]]) -> None:
    with pytest.raises(ValidationError):
        policy_of("DT-SCP-03", combos=combos)


PROFILES: list[dict[str, Any]] = [
    {"profile": "ingest", "name": "ingest-*", "scopes": ["*.ingest"]},
    {"profile": "reports", "owner": ["svc-reports"], "scopes": ["metrics.read", "slo.read"]},
]


@pytest.mark.parametrize(
    ("name", "owner", "scopes", "expected"),
    [
        ("ingest-1", "x", ("logs.ingest", "metrics.ingest"), NO),
        ("ingest-1", "x", ("logs.ingest", "logs.read"), "high"),
        ("ingest-1", "svc-reports", ("metrics.read",), "high"),
        ("other", "svc-reports", ("metrics.read",), NO),
        ("other", "svc-reports", ("metrics.read", "slo.write"), "high"),
        ("other", "x", ("settings.write",), NO),
        ("ingest-1", "x", (), NO),
    ],
)
def test_scp_04_judges_by_the_first_profile_that_selects(
    name: str, owner: str, scopes: tuple[str, ...], expected: str | None
) -> None:
    policy = policy_of("DT-SCP-04", profiles=PROFILES)
    assert severity(policy, observed(token(name=name, owner=owner, scopes=scopes))) == expected


def test_scp_04_judges_every_token_by_a_last_profile_without_conditions() -> None:
    policy = policy_of("DT-SCP-04", profiles=[*PROFILES, {"profile": "rest", "scopes": ["*.read"]}])
    violation = said(policy, observed(token(name="other", owner="x", scopes=("logs.read", "settings.write"))))
    assert violation is not None
    assert violation.evidence == {"profile": "rest", "scopes": ["settings.write"]}


POWER = ("settings.write",)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scopes": POWER, "last_used_date": NOW - 45 * DAY}, "high"),
        ({"scopes": POWER, "last_used_date": NOW - 45 * DAY - SECOND}, "high"),
        ({"scopes": POWER, "last_used_date": NOW - 45 * DAY + SECOND}, NO),
        ({"scopes": POWER, "last_used_date": NOW + DAY}, NO),
        ({"scopes": POWER, "last_used_date": None, "creation_date": NOW - 14 * DAY}, "high"),
        ({"scopes": POWER, "last_used_date": None, "creation_date": NOW - 14 * DAY - SECOND}, "high"),
        ({"scopes": POWER, "last_used_date": None, "creation_date": NOW - 14 * DAY + SECOND}, NO),
        ({"scopes": POWER, "last_used_date": None, "creation_date": None}, NO),
        ({"scopes": ("logs.read",), "last_used_date": NOW - 400 * DAY}, NO),
        ({"scopes": (), "last_used_date": NOW - 400 * DAY}, NO),
        ({"scopes": ("settings.write", "slo.read"), "last_used_date": None, "creation_date": NOW - DAY}, NO),
        ({"scopes": POWER, "last_used_date": NOW - 400 * DAY, "owner": "svc-approved"}, NO),
    ],
)
def test_scp_05_fires_for_power_without_use(changes: dict[str, object], expected: str | None) -> None:
    policy = policy_of("DT-SCP-05", approvals=[{"owner": "svc-approved", "scopes": "*"}])
    assert severity(policy, observed(token(**changes))) == expected


def test_scp_05_has_parameters_of_its_own() -> None:
    policy = policy_of("DT-SCP-05", high_risk=["logs.read"], stale={"days": {"low": 3}})
    assert severity(policy, observed(token(scopes=("logs.read",), last_used_date=NOW - 3 * DAY))) == "high"
    assert said(policy, observed(token(scopes=POWER, last_used_date=NOW - 400 * DAY))) is None


@pytest.mark.parametrize(
    ("scopes", "held"),
    [
        ((), []),
        (("logs.read",), []),
        (("DataExport", "logs.read"), ["DataExport"]),
        (("ReadConfig", "WriteConfig"), ["ReadConfig", "WriteConfig"]),
        (("BrandNew",), []),
    ],
)
def test_scp_06_names_scopes_of_the_old_kind(scopes: tuple[str, ...], held: list[str]) -> None:
    violation = said(policy_of("DT-SCP-06"), observed(token(scopes=scopes)))
    assert (violation.evidence["scopes"] if violation else []) == held
    assert violation is None or violation.severity == "low"


def test_scp_06_takes_every_catalogued_scope_without_a_dot() -> None:
    policy = policy_of("DT-SCP-06")
    for scope in SCOPES:
        assert (said(policy, observed(token(scopes=(scope,)))) is not None) is ("." not in scope), scope


def test_a_long_list_of_scopes_is_cut_in_the_message_and_whole_in_the_evidence() -> None:
    legacy = sorted(scope for scope in SCOPES if "." not in scope)[:8]
    violation = said(policy_of("DT-SCP-06"), observed(token(scopes=tuple(legacy))))
    assert violation is not None
    assert violation.message.endswith("and 3 more")
    assert violation.evidence["scopes"] == legacy
