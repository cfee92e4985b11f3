"""How scopes are classified: as shipped, as a policy says, and where neither knows one."""

import pytest

from auditor.policy.scope_catalogue import SCOPES
from auditor.policy.scopes import Access, RiskSettings, RiskTier
from tests.policy.policy_samples import observed, policy_of, severity, token


@pytest.mark.parametrize("name", SCOPES)
def test_every_shipped_scope_is_classified(name: str) -> None:
    scope, settings = SCOPES[name], RiskSettings()
    assert scope.label
    assert settings.is_known(name)
    assert settings.tier_of(name) is RiskTier(scope.tier)
    assert settings.access_of(name) is Access(scope.access)
    assert settings.family_of(name) == scope.family


def test_name_of_a_shipped_scope_never_contradicts_its_access() -> None:
    for name, scope in SCOPES.items():
        end = name.rpartition(".")[2]
        if end in {"read", "ingest"}:
            assert scope.access == end, name
        if end in {"write", "create", "install"}:
            assert scope.access in {"write", "admin"}, name


def test_scopes_that_make_credentials_are_the_critical_ones() -> None:
    critical = {name for name, scope in SCOPES.items() if scope.tier == "critical"}
    assert {SCOPES[name].family for name in critical} == {"tokens", "credentials"}
    assert critical >= {name for name, scope in SCOPES.items() if scope.family == "tokens" and scope.access == "admin"}


@pytest.mark.parametrize(
    ("said", "tier", "family", "access"),
    [
        ({}, "medium", "newThings", Access.WRITE),
        ({"newThings.write": "high"}, "high", "newThings", Access.WRITE),
        ({"newThings.write": {"family": "settings"}}, "medium", "settings", Access.WRITE),
        ({"newThings.write": {"tier": "low", "access": "admin"}}, "low", "newThings", Access.ADMIN),
    ],
)
def test_policy_classifies_what_does_not_ship(said: dict[str, object], tier: str, family: str, access: Access) -> None:
    settings = RiskSettings.model_validate({"scopes": said})
    name = "newThings.write"
    assert (settings.tier_of(name), settings.family_of(name), settings.access_of(name)) == (tier, family, access)
    assert settings.is_known(name) is bool(said)


def test_policy_says_otherwise_of_what_ships_and_leaves_the_rest() -> None:
    settings = RiskSettings.model_validate({"unknown": "high", "scopes": {"logs.read": {"family": "secrets"}}})
    assert (settings.tier_of("logs.read"), settings.family_of("logs.read")) == (RiskTier.MEDIUM, "secrets")
    assert settings.access_of("logs.read") is Access.READ
    assert settings.tier_of("never.heard") is RiskTier.HIGH


@pytest.mark.parametrize("name", ["Unheard", "x.y", "", "."])
def test_nothing_is_guessed_of_the_access_where_the_name_does_not_tell(name: str) -> None:
    assert RiskSettings().access_of(name) is None


def test_families_of_the_policy_are_counted() -> None:
    held = token(scopes=("a.read", "b.read", "c.read", "d.read", "e.read", "f.read"))
    assert severity(policy_of("DT-SCP-02"), observed(held)) == "medium"
    risk = {"scopes": {"a.read": {"family": "b"}}}
    assert severity(policy_of("DT-SCP-02", risk=risk), observed(held)) is None
