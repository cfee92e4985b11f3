"""What holds of every rule that ships."""

import json
import re
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.finding import Severity
from auditor.model.history import NO_HISTORY
from auditor.model.lookup import TokenMetadata
from auditor.model.table import meanings
from auditor.policy.base import Feeds, Framework, Kind, Rule
from auditor.policy.controls import CONTROLS
from auditor.policy.document import PolicyDocument, RuleSettings
from auditor.policy.engine import Policy
from auditor.policy.registry import SHIPPED
from auditor.policy.scope_catalogue import SCOPES
from auditor.policy.scopes import RiskTier
from auditor.policy.validation import check_document
from tests.policy.policy_samples import NOW, PUBLIC_ID, observed

BASELINE = Path(__file__).parents[2] / "config" / "policies" / "baseline.toml"
ids = pytest.mark.parametrize("rule", SHIPPED, ids=lambda rule: rule.id)

CONFIGURED: dict[str, Any] = {
    "DT-NET-01": {"cidrs": ["203.0.113.0/24"], "networks": [{"owner": "a*", "cidrs": ["10.0.0.0/8", "::/3"]}]},
    "DT-NET-03": {"egress_cidrs": ["203.0.113.0/24"]},
    "DT-NET-05": {"human_cidrs": ["10.0.0.0/8"]},
    "DT-SCP-01": {"approvals": [{"name_regex": "^a", "scopes": ["*.write"]}]},
    "DT-SCP-04": {"profiles": [{"profile": "ingest", "name": "ingest-*", "scopes": ["*.ingest"]}]},
    "DT-PAT-01": {"server_cidrs": ["203.0.113.0/24"]},
    "DT-PAT-02": {"env_selector": {"environment": "prod"}},
}
EVERYTHING = Policy(
    PolicyDocument.model_validate({"name": "everything", "rules": CONFIGURED}),
    SHIPPED,
    feeds=Feeds(
        owners=frozenset({"svc-ingest"}),
        leavers={"eve": NOW},
        attestations={"dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA": NOW},
    ),
    environment_kind="production",
)


def baseline() -> PolicyDocument:
    return PolicyDocument.model_validate(tomllib.loads(BASELINE.read_text(encoding="utf-8")))


def test_every_rule_of_the_catalogue_ships_in_its_order() -> None:
    families = ["EXP", "ROT", "USE", "NET", "SCP", "OWN", "PAT", "STA", "FMT", "NAM", "ENV", "INV", "AUD"]
    kinds = Counter(rule.kind for rule in SHIPPED)
    assert (kinds[Kind.SNAPSHOT], kinds[Kind.HISTORY]) == (24, 15)
    assert len({rule.id for rule in SHIPPED}) == len(SHIPPED)
    assert [rule.id for rule in SHIPPED] == sorted(
        (rule.id for rule in SHIPPED), key=lambda name: (families.index(name[3:6]), name)
    )


@ids
def test_rule_says_what_people_need(rule: Rule) -> None:
    assert re.fullmatch(r"DT-[A-Z]{3}-\d\d", rule.id)
    assert rule.check.__module__.endswith("." + rule.id[3:].lower().replace("-", "_"))
    assert all((rule.title, rule.severity, rule.test, rule.rationale, rule.remediation))
    assert rule.severity.split()[0] in set(Severity) or rule.id == "DT-AUD-04"  # whose findings are other rules'


@ids
def test_parameters_are_described_have_defaults_and_clash_with_no_setting(rule: Rule) -> None:
    rule.params()
    assert meanings(rule.params).keys() == rule.params.model_fields.keys()
    assert not rule.params.model_fields.keys() & RuleSettings.model_fields.keys()


@ids
def test_example_fits_the_rule(rule: Rule) -> None:
    table = tomllib.loads(rule.example)
    document = PolicyDocument.model_validate({"name": "example", "rules": {rule.id: table}})
    assert check_document(document, SHIPPED) == []
    assert not table or document.params_of(rule) != rule.params(), "an example of the defaults shows nothing"


def test_every_control_of_a_rule_has_a_title() -> None:
    named = {(framework, control) for rule in SHIPPED for framework, ids in rule.controls.items() for control in ids}
    assert named <= {(framework, control) for framework, titles in CONTROLS.items() for control in titles}
    assert all(title == title.strip() != "" for titles in CONTROLS.values() for title in titles.values())
    assert list(CONTROLS) == list(Framework)


SOURCE = Path(__file__).parents[3] / "shared" / "controls.json"
PREFIXES = dict(zip(Framework, ("NHI", "NIST", "ISO", "PCI", "CIS", "SOC2", "NIS2", "DORA"), strict=True))


@pytest.mark.skipif(not SOURCE.exists(), reason="the texts that the catalogue was made from are not here")
def test_catalogue_of_controls_is_that_of_its_source() -> None:
    source = json.loads(SOURCE.read_text())
    shipped = {
        f"{PREFIXES[framework]}:{control}": title
        for framework, ids in CONTROLS.items()
        for control, title in ids.items()
    }
    assert shipped.keys() == source.keys()
    for key, title in shipped.items():
        whole = re.sub(r"^(\d|[A-Z]+\d\.\d) ", "", source[key])  # some begin with their own id, or a part of it
        assert whole.startswith(title.removesuffix("…").rstrip(" ,")), key


def test_baseline_names_every_rule_with_its_defaults() -> None:
    document = baseline()
    assert check_document(document, SHIPPED) == []
    assert list(document.rules) == [rule.id for rule in SHIPPED]
    for rule in SHIPPED:
        assert document.params_of(rule) == rule.params(), rule.id
        assert set(document.rules[rule.id].model_extra or {}) >= {
            name for name, field in rule.params.model_fields.items() if field.default is not None
        }, f"baseline.toml leaves out a parameter of {rule.id}"


def test_baseline_reports_what_is_not_configured_as_not_assessed() -> None:
    policy = Policy(baseline(), SHIPPED, feeds=Feeds(), environment_kind=None)
    assert set(policy.unassessed) == {
        "DT-NET-01",
        "DT-NET-03",
        "DT-NET-05",
        "DT-SCP-04",
        "DT-OWN-01",
        "DT-OWN-02",
        "DT-PAT-02",
        "DT-ENV-02",
        "DT-INV-02",
    }
    assert all(policy.unassessed.values())
    assert set(policy.assessed) | set(policy.unassessed) == {rule.id for rule in SHIPPED}


def test_environment_of_an_unknown_kind_is_not_assessed_for_foreign_names() -> None:
    policy = Policy(baseline(), SHIPPED, feeds=Feeds(), environment_kind="sandbox")
    assert '"sandbox"' in policy.unassessed["DT-ENV-02"]


def test_quiet_token_breaks_no_rule() -> None:
    assert EVERYTHING.unassessed == {}
    assert EVERYTHING.evaluate(observed(), NO_HISTORY, NOW) == []


def test_a_scopes_tier_is_one_of_the_known() -> None:
    assert {scope.tier for scope in SCOPES.values()} <= set(RiskTier)


instants = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), NOW]
)
texts = st.text(st.characters(), max_size=40) | st.sampled_from(["dev", "ci", "eve", "a\nb", "\ud800", "x" * 500, ""])
tokens = st.builds(
    TokenMetadata,
    id=texts,
    name=st.none() | texts,
    owner=st.none() | texts,
    enabled=st.none() | st.booleans(),
    personal_access_token=st.none() | st.booleans(),
    creation_date=st.none() | instants,
    modified_date=st.none() | instants,
    expiration_date=st.none() | instants,
    last_used_date=st.none() | instants,
    last_used_ip_address=st.none() | texts | st.ip_addresses().map(str),
    scopes=st.lists(st.sampled_from(sorted(SCOPES)) | texts, max_size=30).map(lambda names: tuple(sorted(set(names)))),
)


@given(
    tokens,
    instants,
    st.none() | instants,
    st.none() | st.just(PUBLIC_ID),
)
def test_evaluation_takes_any_token_and_says_only_json(
    metadata: TokenMetadata, now: datetime, disabled_since: datetime | None, public_id: str | None
) -> None:
    seen = observed(metadata, disabled_since=disabled_since, public_id=public_id)
    for violation in EVERYTHING.evaluate(seen, NO_HISTORY, now):
        assert violation.message
        assert len(violation.message) < 700
        assert violation.rule_id in EVERYTHING.assessed
        # JSON types only; a lone surrogate is text, though UTF-8 has no bytes for it
        assert msgspec.to_builtins(violation.evidence) == violation.evidence
