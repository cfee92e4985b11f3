"""Rules of policies: what they say, how the engine takes them, and the tests that stand beside them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from auditor.model.finding import Resolution
from auditor.model.history import NO_HISTORY, History
from auditor.model.sweep import RuleState
from auditor.model.token import Location
from auditor.policy.base import Framework, Kind
from auditor.policy.registry import rules, rules_of
from auditor.policy.validation import check_document
from auditor.policy.written.message import check_message, fill_in
from tests.policy.policy_samples import DAY, HOUR, NOW, PUBLIC_ID, observed, token
from tests.policy.written_samples import RULE, policy_of, written

MALLORYS = observed(token(owner="mallory"))


def problems_of(*tables: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """What is wrong in a policy's rules, each with its key."""
    found = check_document(written(*tables, **changes), rules().values())
    return [(".".join(map(str, path)), message) for path, message in found]


def test_rule_speaks_of_tokens_of_which_its_condition_is_true() -> None:
    (violation,) = policy_of().evaluate(MALLORYS, NO_HISTORY, NOW)
    assert (violation.rule_id, violation.severity, violation.message) == ("ACME-01", "medium", "belongs to mallory")
    assert violation.evidence == {"token.owner": "mallory"}
    assert violation.discriminator == ""
    assert policy_of().evaluate(observed(), NO_HISTORY, NOW) == []


def test_written_rules_stand_beside_the_catalogue() -> None:
    table = {"controls": {"CIS v8.1": ["5.3"]}, "when": "previous != null\n  && token.enabled == true"}
    known = rules_of(written(table))
    assert list(known)[:-1] == list(rules())
    rule = known["ACME-01"]
    assert (rule.title, rule.severity, rule.kind) == ("A rule of ours", "medium", Kind.HISTORY)
    assert rule.test == "previous != null && token.enabled == true"
    assert rule.controls == {Framework.CIS: ("5.3",)}
    assert rules_of(written())["ACME-01"].kind is Kind.SNAPSHOT


def test_selectors_and_enabled_narrow_a_written_rule() -> None:
    assert policy_of({"only": [{"name": "other-*"}]}).evaluate(MALLORYS, NO_HISTORY, NOW) == []
    assert policy_of({"exempt": [{"owner": "mal*"}]}).evaluate(MALLORYS, NO_HISTORY, NOW) == []
    off = policy_of({"enabled": False})
    assert off.evaluate(MALLORYS, NO_HISTORY, NOW) == []
    assert off.standings["ACME-01"].state is RuleState.DISABLED
    assert policy_of().standings["ACME-01"].state is RuleState.ASSESSED


def test_rules_of_one_policy_do_not_disturb_one_another() -> None:
    policy = policy_of(
        {"id": "ACME-01", "when": "token.owner == 'mallory'"},
        {"id": "ACME-02", "when": "previous.owner == 'x'", "message": "was x's"},
        {"id": "ACME-03", "when": "token.expiration_date - now < duration('1h')", "message": "ends soon"},
        {"id": "ACME-04", "when": "token.last_used_date == null", "message": "was never used"},
    )
    ending = observed(token(owner="mallory", expiration_date=NOW + HOUR / 2))
    endless = observed(token(owner="mallory", expiration_date=None, last_used_date=None))
    for _ in range(2):  # what one token was bound to does not stay for the next
        violations, unassessed = policy.assess(ending, NO_HISTORY, NOW)
        assert [violation.rule_id for violation in violations] == ["ACME-01", "ACME-03"]
        assert set(unassessed) == {"ACME-02"}
        violations, unassessed = policy.assess(endless, NO_HISTORY, NOW)
        assert [violation.rule_id for violation in violations] == ["ACME-01", "ACME-04"]
        assert set(unassessed) == {"ACME-02", "ACME-03"}


def test_rule_that_cannot_tell_neither_passes_nor_ends_a_finding() -> None:
    policy = policy_of({"when": "token.expiration_date - now < duration('1h')", "message": "ends soon"})
    endless = observed(token(expiration_date=None))
    violations, unassessed = policy.assess(endless, NO_HISTORY, NOW)
    assert violations == []
    assert list(unassessed) == ["ACME-01"]
    assert policy.verdict("ACME-01", endless, unassessed) is None
    assert policy.verdict("ACME-01", observed()) is Resolution.EVIDENCE
    assert policy.assess(observed(), NO_HISTORY, NOW) == ([], {})


def test_written_rules_say_nothing_of_missing_tokens() -> None:
    from auditor.model.lookup import Observation, Outcome

    gone = Observation("prod", PUBLIC_ID, NOW, Outcome.MISSING, None, public_id=PUBLIC_ID)
    assert policy_of({"when": "true"}).assess(gone, History(MALLORYS, MALLORYS.metadata), NOW) == ([], {})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("plain", "plain"),
        ("{token.owner} and {token.owner}", "mallory and mallory"),
        ("in {{braces}}", "in {braces}"),
        ("holds {token.scopes}", "holds metrics.ingest"),
        ("tagged {tags}", "tagged none"),
        ("ends {token.expiration_date}", "ends 2026-09-03 12:00 UTC"),
        ("changed {token.modified_date}", "changed none"),
        ("enabled: {token.enabled}", "enabled: yes"),
        ("was {previous.owner}'s", "was none's"),
        ("in {locations}", "in vault: entry 7"),
        ("{risk} in {environment.name} ({environment.kind})", "low in prod (none)"),
        ("{public_id} since {first_seen}", f"{PUBLIC_ID} since none"),
    ],
)
def test_message_shows_values_in_words(message: str, expected: str) -> None:
    seen = observed(MALLORYS.metadata, locations=(Location("vault", "entry 7"),)) if MALLORYS.metadata else MALLORYS
    (violation,) = policy_of({"message": message}).evaluate(seen, NO_HISTORY, NOW)
    assert violation.message == expected


def test_long_values_are_cut_in_messages_and_whole_in_evidence() -> None:
    policy = policy_of({"when": 'token.name.startsWith("x")', "message": "{token.name}"})
    (violation,) = policy.evaluate(observed(token(name="x" * 5000)), NO_HISTORY, NOW)
    assert violation.message == "x" * 80 + "…"
    assert violation.evidence == {"token.name": "x" * 5000}


def test_evidence_and_message_stay_the_same_as_time_goes_by() -> None:
    policy = policy_of({"when": "now > token.creation_date", "message": "made {token.creation_date}"})
    first, later = (policy.evaluate(observed(), NO_HISTORY, NOW + days * DAY) for days in (0, 3))
    assert first == later
    assert first[0].evidence == {"token.creation_date": "2026-06-05T12:00:00Z"}


def test_discriminator_tells_values_apart_and_shows_none() -> None:
    policy = policy_of({"when": "true", "message": "x", "discriminator": ["token.owner", "token.scopes"]})

    def of(**changes: Any) -> str:
        (violation,) = policy.evaluate(observed(token(**changes)), NO_HISTORY, NOW)
        return violation.discriminator

    assert len({of(), of(owner="mallory"), of(owner=None), of(scopes=("a",)), of(owner="", scopes=())}) == 5
    assert of(owner="mallory") == of(owner="mallory", name="another")
    assert all(character in "0123456789abcdef" for character in of(owner="mallory/../\0")[:16])
    assert len(of()) == 16


@pytest.mark.parametrize(
    ("table", "key", "problem"),
    [
        ({"message": "{token.ownr}"}, "message", '"token.ownr" is no variable; did you mean "token.owner"?'),
        ({"message": "{token}"}, "message", '"token" is no variable'),
        ({"message": "{}"}, "message", '"" is no variable'),
        ({"message": "{0.__class__}"}, "message", '"0.__class__" is no variable'),
        ({"message": "{token.owner.__class__}"}, "message", '"token.owner.__class__" is no variable'),
        ({"message": "{token.owner!r}"}, "message", "{token.owner} takes nothing after the name"),
        ({"message": "{token.owner:>99999999}"}, "message", "{token.owner} takes nothing after the name"),
        ({"message": "{token.owner"}, "message", "expected '}' before end of string"),
        ({"message": "a } b"}, "message", "Single '}' encountered in format string"),
        ({"message": "at {now}"}, "message", '"now" cannot be shown here; it is another in every sweep'),
        ({"message": "{token.additional_metadata}"}, "message", '"token.additional_metadata" cannot be shown here'),
        ({"discriminator": ["token.ownr"]}, "discriminator", '"token.ownr" is no variable'),
        ({"discriminator": ["now"]}, "discriminator", '"now" cannot be shown here'),
        ({"when": "token.ownr == 'x'"}, "when", "at column 6: undeclared reference"),
    ],
)
def test_mistake_in_a_rule_is_told_with_its_key(table: dict[str, Any], key: str, problem: str) -> None:
    ((place, told),) = problems_of(table)
    assert place == f"rule.0.{key}"
    assert told.startswith(problem)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"id": "DT-EXP-99"}, "the prefix DT- is that of rules that ship; choose one of your own"),
        ({"id": "acme-01"}, "must be a prefix of your own"),
        ({"id": "ACME"}, "must be a prefix of your own"),
        ({"id": "ACME-01/x"}, "must be a prefix of your own"),
        ({"id": "ACME-" + "0" * 99}, "must be a prefix of your own"),
        ({"title": "two\nlines"}, "must be one line, without control characters"),
        ({"title": " "}, "must not be empty"),
        ({"message": "\x1b[31m"}, "must be one line, without control characters"),
        ({"when": "\n"}, "must not be empty"),
        ({"when": "x" * 4001}, "at most 4000"),
        ({"rationale": ""}, "must not be empty"),
        ({"severity": "grave"}, "critical"),
        ({"controls": {"Our own": ["1"]}}, "OWASP NHI"),
        ({"whem": "true"}, "Extra inputs"),
        ({"test": [{"token": {}, "expect": "maybe"}]}, "violation"),
        ({"test": [{"token": {}, "expect": "none", "now": datetime(2026, 1, 1)}]}, "timezone"),  # noqa: DTZ001
        ({"test": [{"token": {"nam": "x"}, "expect": "none"}]}, "Extra inputs"),
    ],
)
def test_table_of_a_rule_is_checked_for_its_form(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem.replace("(", r"\(")):
        written(table)


def test_ids_are_unique_and_settings_stand_in_the_rules_own_table() -> None:
    assert problems_of({}, {"id": "ACME-02"}, {}) == [
        ("rule.2.id", 'there is a rule "ACME-01" already; an id is one rule\'s')
    ]
    assert problems_of({}, rules={"ACME-01": {"enabled": False}}) == [
        ("rules.ACME-01", '"ACME-01" is set up in its own [[rule]] table; move these keys there')
    ]


def failing(test: dict[str, Any], **table: Any) -> list[tuple[str, str]]:
    return [(place.removeprefix("rule.0.test.0."), told) for place, told in problems_of(table | {"test": [test]})]


GIVEN = {"token": {"owner": "mallory"}, "expect": "violation"}


def test_test_that_holds_is_no_problem() -> None:
    assert failing(GIVEN | {"severity": "medium", "message": "belongs to mallory"}) == []
    assert failing({"token": {"owner": "bob"}, "expect": "none"}) == []
    assert failing({"token": {}, "expect": "none"}) == []


def test_test_that_fails_tells_what_the_rule_says() -> None:
    assert failing(GIVEN | {"token": {"owner": "bob"}}) == [
        ("expect", "the test expects violation, but the rule says nothing")
    ]
    assert failing(GIVEN | {"expect": "none", "name": "hers"}) == [
        ("expect", 'the test expects none, but the rule says: medium: "belongs to mallory" ("hers")')
    ]
    assert failing(GIVEN | {"severity": "high", "message": "is bob's"}) == [
        ("severity", "the test expects high, but the violation is medium"),
        ("message", 'the message is "belongs to mallory"'),
    ]
    assert failing({"token": {}, "expect": "none"}, when="token.enabled") == [
        ("expect", "the test expects none, but the rule cannot tell: the condition comes to null")
    ]
    assert failing({"token": {}, "expect": "not assessed"}, when="token.enabled") == []


def test_test_gives_everything_that_a_rule_can_see() -> None:
    instant = datetime(2026, 6, 15, 12, tzinfo=UTC)
    everything = {
        "token": {
            "id": "dt0c01.X",
            "name": "n",
            "owner": "o",
            "enabled": True,
            "personal_access_token": False,
            "creation_date": instant - DAY,
            "modified_date": instant - DAY,
            "expiration_date": instant + DAY,
            "last_used_date": instant - HOUR,
            "last_used_ip_address": "10.0.0.1",
            "scopes": ["b", "apiTokens.write", "b"],
            "additional_metadata": {"k": "v"},
        },
        "previous": {"owner": "before"},
        "locations": [{"source": "vault", "place": "entry"}],
        "tags": ["t"],
        "environment": {"name": "lab", "kind": "test"},
        "public_id": "dt0c01.Y",
        "first_seen": instant - DAY,
        "now": instant,
        "expect": "violation",
    }
    when = """
        token.id == "dt0c01.X" && token.name == "n" && token.owner == "o" && token.enabled == true
        && token.personal_access_token == false && now - token.creation_date == duration("24h")
        && token.modified_date == token.creation_date && token.expiration_date - now == duration("24h")
        && now - token.last_used_date == duration("1h") && token.last_used_ip_address == "10.0.0.1"
        && token.scopes == ["apiTokens.write", "b"] && token.additional_metadata == {"k": "v"}
        && previous.owner == "before" && previous.name == null && locations == [{"source": "vault", "place": "entry"}]
        && tags == ["t"] && environment.name == "lab" && environment.kind == "test" && public_id == "dt0c01.Y"
        && first_seen == token.creation_date && risk == "critical"
    """
    assert failing(everything, when=when) == []
    assert failing(everything | {"tags": []}, when=when) != []


def test_test_says_when_it_is_where_the_rule_asks() -> None:
    assert failing(GIVEN, when="token.owner == 'mallory' && now > timestamp('2026-01-01T00:00:00Z')") == [
        ("now", "is missing; the rule uses it, so say at which instant to judge")
    ]


def test_tests_run_with_selectors_and_tiers_of_the_policy_and_of_disabled_rules() -> None:
    assert failing(GIVEN, exempt=[{"owner": "mallory"}]) != []
    assert failing(GIVEN, enabled=False) == []
    assert failing(GIVEN | {"expect": "none"}, enabled=False) != []
    test = {"token": {"scopes": ["our.scope"]}, "expect": "violation"}
    table = {"when": "risk == 'critical'", "message": "x", "test": [test]}
    assert problems_of(table) != []
    assert problems_of(table, risk={"scopes": {"our.scope": "critical"}}) == []


def test_tests_run_only_where_the_rule_is_sound() -> None:
    assert [place for place, _ in problems_of({"when": "1", "test": [GIVEN | {"expect": "none"}]})] == ["rule.0.when"]


@given(st.text(max_size=200))
def test_no_text_breaks_a_template(template: str) -> None:
    if not check_message(template):
        values: dict[str, Any] = {}
        if "{" not in template.replace("{{", ""):
            assert fill_in(template, values) == template.replace("{{", "{").replace("}}", "}")


def test_policy_content_holds_its_rules() -> None:
    assert written().digest != written({"severity": "high"}).digest
    assert RULE["title"] in written().content.decode()
