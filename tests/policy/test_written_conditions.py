"""Conditions in CEL: what they may say, what they come to, and that none of them can hang or run anything."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.docs import ROOT
from auditor.model.history import History
from auditor.model.lookup import Observation, Outcome
from auditor.model.token import Location
from auditor.policy.written.condition import check_condition
from auditor.policy.written.variables import VARIABLES
from tests.policy.policy_samples import DAY, NOW, PUBLIC_ID, observed, token
from tests.policy.written_samples import answer, policy_of

SEEN = observed(
    token(
        name="ingest-frankfurt",
        owner="svc-ingest",
        expiration_date=None,
        modified_date=None,
        personal_access_token=None,
        scopes=("logs.ingest", "metrics.ingest", "settings.write"),
        additional_metadata={"team": "blue"},
    ),
    locations=(Location("vault", "a"), Location("ci-main", "deploy.env:3")),
    tags=frozenset({"lab", "eu"}),
    first_seen_at=NOW - 3 * DAY,
)
BEFORE = History(previous=observed(token(owner="svc-old", enabled=False, expiration_date=NOW + DAY)))


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ('token.name == "ingest-frankfurt"', True),
        ('token.name == "other"', False),
        ("token.personal_access_token == null", True),
        ("token.expiration_date == null", True),
        ("token.creation_date == null", False),
        ("token.modified_date == null && token.expiration_date == null && token.creation_date != null", True),
        ('now - token.creation_date == duration("240h")', True),
        ('now - token.creation_date > duration("240h")', False),
        ("token.creation_date.getFullYear() == 2026", True),
        ('token.creation_date.getHours("Europe/Vienna") == 14', True),
        ('token.creation_date == timestamp("2026-06-05T12:00:00Z")', True),
        ("size(token.scopes) == 3 && token.scopes[0] == 'logs.ingest'", True),
        ('"settings.write" in token.scopes', True),
        ('token.scopes.exists(scope, scope.endsWith(".write"))', True),
        ('token.scopes.all(scope, scope.endsWith(".ingest"))', False),
        ('token.scopes.exists_one(scope, scope.startsWith("logs"))', True),
        ('token.scopes.filter(scope, scope.endsWith(".ingest")).size() == 2', True),
        ("token.scopes.map(scope, size(scope)) == [11, 14, 14]", True),
        ('token.scopes.exists(a, tags.exists(b, a.contains(b)))', False),
        ('token.additional_metadata.team == "blue"', True),
        ('"team" in token.additional_metadata && token.additional_metadata["team"] != "red"', True),
        ('locations.exists(place, place.source == "ci-main" && place.place.endsWith(":3"))', True),
        ("locations[1].source == 'ci-main' && size(locations) == 2", True),
        ('tags == ["eu", "lab"]', True),
        ('environment.name == "prod" && environment.kind == null', True),
        (f'public_id == "{PUBLIC_ID}" && token.id == public_id', True),
        ('now - first_seen == duration("72h")', True),
        ('risk == "high" && risk in ["high", "critical"]', True),
        ('token.name.matches("^ingest-[a-z]+$")', True),
        ('token.name.matches("FRANK")', False),
        ('token.name.matches("(?i)FRANK")', True),
        ("previous == null", False),
        ('previous != null && previous.owner != token.owner', True),
        ("previous.enabled == false && token.enabled == true", True),
        ("previous.expiration_date != token.expiration_date", True),
        # What CEL's specification says of errors: they are absorbed where the other side decides.
        ('true || 1 / 0 == 1', True),
        ("1 / 0 == 1 && false", False),
        ("token.enabled ? true : 1 / 0 == 1", True),
        ('token.personal_access_token == true || token.name != null', True),
        ("'a' < 'b' && 2 > 1 && 1.5 < 2.0 && 7 % 4 == 3", True),
        ('size("größe") == 5 && "größe".contains("öß")', True),
        ("-9223372036854775808 < 9223372036854775807", True),
    ],
)  # fmt: skip
def test_condition_comes_to_what_cel_says(when: str, expected: bool) -> None:
    assert check_condition(when).problems == ()
    assert answer(when, SEEN, BEFORE) is expected


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ('token.expiration_date - now < duration("24h")', "No matching overloads found : _-_(null_type, timestamp)"),
        ("token.personal_access_token", "the condition comes to null"),
        ("!token.personal_access_token", "No matching overloads found : !_(null_type)"),
        ("1 / 0 == 1", "divide by zero"),
        ("9223372036854775807 + 1 > 0", "integer overflow"),
        ('token.scopes[7] == "x"', "Index error: index=7 size=3"),
        ('token.additional_metadata.nothing == "x"', 'Key not found in map : "nothing"'),
        ("timestamp(token.name) < now", "String to Timestamp conversion failed"),
        ("int(token.name) > 1", "cannot convert string to int"),
    ],
)
def test_condition_without_an_answer_is_not_assessed(when: str, reason: str) -> None:
    assert check_condition(when).problems == ()
    assert str(answer(when, SEEN, BEFORE)).startswith(reason[:30])


def test_fields_of_previous_have_no_value_without_an_observation_before() -> None:
    assert answer("previous == null", SEEN) is True
    assert isinstance(answer('previous.owner == "x"', SEEN), str)
    assert isinstance(answer("previous.owner == null", SEEN), str)
    gone = Observation("prod", PUBLIC_ID, NOW, Outcome.MISSING, None, public_id=PUBLIC_ID)
    assert answer("previous == null", SEEN, History(gone, token(owner="svc-old"))) is True


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("1 +", "at column 4: Syntax error"),
        ("'a\0b' == ''", "holds characters that no text may hold"),
        ("'\ud800' == ''", "holds characters that no text may hold"),
        ("token.nam == 'x'", 'at column 6: undeclared reference to \'token.nam\'; did you mean "token.name"?'),
        ("tokn.name == 'x'", "at column 5: undeclared reference to 'tokn.name'; did you mean"),
        ("token == null", "at column 1: undeclared reference to 'token'; name one of its fields: id, name,"),
        ("token == previous", "at column 1: undeclared reference to 'token'"),
        ("environment == 'x'", "at column 1: undeclared reference to 'environment'; name one of its fields: name"),
        ("true &&\n  token.foo == 1", "at line 2, column 8: undeclared reference to 'token.foo'"),
        ("token.name + 1 == 2", "at column 12: found no matching overload for '_+_'"),
        ("token.name == 1", "at column 12: found no matching overload for '_==_'"),
        ("token.creation_date > 5", "at column 21: found no matching overload for '_>_'"),
        ("token.name.size", "at column 11: "),
        ("size(token.scopes)", "comes to int, not bool; compare it with something"),
        ("'x'", "comes to string, not bool"),
        ("[token.enabled]", "comes to list<bool>, not bool"),
        ("previous", "comes to observation, not bool"),
        ("open('/etc/passwd') == ''", "at column 5: undeclared reference to 'open'"),
        ("__import__('os').system('true') == 0", "at column 11: undeclared reference to '__import__'"),
        ("token.name.__class__ == null", "at column 11: "),
        ("token.scopes.exists(s, s.foo == 1)", "at column 25: "),
        ("locations.exists(l, l.sourc == 'a')", "undefined field 'sourc'; a location has source and place"),
        ("locations[0].file == 'a'", "undefined field 'file'; a location has source and place"),
        ("token.name.matches('[')", "matches(): invalid regular expression: missing ]"),
        ("token.name.matches('((a{100}){100}){100}')", "matches(): invalid regular expression"),
        ("token.name.matches(token.owner)", "matches() takes a pattern that is written out"),
        ("now - token.creation_date > duration('90 days')", 'duration("90 days"): String to Duration'),
        ("timestamp('soon') > now", 'timestamp("soon"): String to Timestamp conversion failed'),
        ("token.scopes.exists(s, s + 'x' == '')", "joins texts or lists within a loop"),
        ("token.scopes.map(s, s + s).size() > 1", "joins texts or lists within a loop"),
        ("token.scopes.map(s, [s] + [s]).size() > 1", "joins texts or lists within a loop"),
        ("token.scopes.map(s, [s, s]).map(s, [s, s]).size() > 1", "combines map() with another loop"),
        ("token.scopes.exists(t, token.scopes.map(s, t).size() > 1)", "combines map() with another loop"),
        ("token.scopes.map(s, s != '', [s, s]).map(s, s != [], [s, s]).size() > 1", "combines map() with another loop"),
        ("token.scopes.map(s, s.size()).exists(n, n > 3)", "combines map() with another loop"),
        ("tags.all(a, tags.all(b, tags.all(c, a == b)))", "loops within loops within loops; two are the most"),
        ("(" * 100 + "true" + ")" * 100, "is nested too deeply"),
        ("[" * 100 + "]" * 100 + " == []", "is nested too deeply"),
        ("1" + "+1" * 100 + " == 1", "is nested too deeply"),
        ("true ? true : (" * 100 + "true" + ")" * 100, "is nested too deeply"),
    ],
)  # fmt: skip
def test_condition_that_cannot_be_right_is_refused(when: str, problem: str) -> None:
    problems = check_condition(when).problems
    assert any(told.startswith(problem) for told in problems), problems


def test_every_mistake_of_a_condition_is_told() -> None:
    problems = check_condition("token.nam == 'a' || token.ownr == 'b' || nov > now").problems
    assert [re.findall(r"to '(.*?)'", problem) for problem in problems] == [["token.nam"], ["token.ownr"], ["nov"]]


def test_check_tells_which_variables_are_used() -> None:
    assert check_condition("previous != null && previous.owner != token.owner && now > now").variables == (
        "token.owner",
        "previous",
        "previous.owner",
        "now",
    )


def test_words_in_texts_are_no_variables() -> None:
    assert check_condition('"token.name" != "now"').variables == ()


PIECES = [
    *("token", ".", "name", "scopes", "previous", "(", ")", "[", "]", "{", "}", "exists", "map", "s", ",", "+", "=="),
    *("&&", "||", "!", "?", ":", "'", '"', "null", "true", "1", "0x", "1e999", "b'\\xff'", "\\", "//", "\n"),
    *("matches", "in", "has", "now", "-", "9" * 30, "\x00", "\ud800", "locations", "size", "duration"),
]


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(PIECES),
            max_size=40,
        ).map("".join),
    )
)  # fmt: skip
def test_no_text_breaks_the_check(text: str) -> None:
    checked = check_condition(text)
    if not checked.problems:
        assert isinstance(answer(text, SEEN, BEFORE), bool | str)


@pytest.mark.parametrize(
    ("when", "metadata"),
    [
        ('token.name.matches("^(a+)+$")', {"name": "a" * 9_999 + "b"}),
        ('token.name.matches("^(a|aa)+$")', {"name": "a" * 9_999 + "b"}),
        ('token.name.matches("(.*)*x{1,500}y")', {"name": "x" * 10_000}),
        ('token.scopes.exists(s, s.matches("^(a|a?)+$"))', {"scopes": ("a" * 99 + "b",) * 1000}),
        ("token.scopes.all(a, token.scopes.all(b, a == b))", {"scopes": ("same",) * 1000}),
    ],
)
def test_no_token_makes_a_condition_hang(when: str, metadata: dict[str, Any]) -> None:
    """A backtracking engine, or loops without a bound, would not come back before the tests are ended."""
    assert check_condition(when).problems == ()
    assert answer(when, observed(token(**metadata))) is not True


def test_turns_of_loops_are_bounded_together() -> None:
    many = observed(token(scopes=tuple(f"scope-{number}" for number in range(1000))))
    assert answer("token.scopes.exists(a, a == 'scope-999')", many) is True
    assert (
        answer("token.scopes.all(a, token.scopes.all(b, a.size() + b.size() > 0))", many) == "Iteration budget exceeded"
    )


@pytest.mark.parametrize(
    ("when", "metadata"),
    [
        ('token.name == "x"', {"name": "x" * 10_001}),
        ('token.name == "x"', {"name": "\ud800"}),
        ("size(token.scopes) > 1", {"scopes": ("a",) * 1001}),
        ("size(token.scopes) > 1", {"scopes": ("a" * 1001,) * 100}),
        ('token.additional_metadata.a == "b"', {"additional_metadata": {"a": "b" * 100_000}}),
    ],
)
def test_token_too_large_or_no_text_is_not_assessed(when: str, metadata: dict[str, Any]) -> None:
    assert isinstance(answer(when, observed(token(**metadata))), str)


@pytest.mark.parametrize(
    "name", ["a'b\"c\\", "{token.owner}", "${x}", "%s", "\u202e", "é\U0001f600", "' || true || '", ""]
)
def test_names_are_values_and_no_code(name: str) -> None:
    seen = observed(token(name=name, owner=name))
    assert answer("token.name == token.owner", seen) is True
    assert answer('token.name == "something else"', seen) is False
    policy = policy_of({"when": "true", "message": "is called {token.name}"})
    (violation,) = policy.evaluate(seen, History(), NOW)
    assert violation.message == f"is called {name}"


def test_token_with_so_many_places_that_not_all_are_known_is_not_assessed() -> None:
    places = tuple(Location("vault", str(number)) for number in range(1000))
    assert answer("size(locations) == 999", observed(locations=places[:999])) is True
    assert isinstance(answer("size(locations) == 1000", observed(locations=places)), str)


def test_places_that_no_text_may_hold_are_compared_all_the_same() -> None:
    seen = observed(locations=(Location("vault", "a\0\udcff"),))
    assert answer('locations[0].place == "a\ufffd\ufffd"', seen) is True


def test_any_set_of_absent_instants_is_evaluated() -> None:
    names = ("creation_date", "modified_date", "expiration_date", "last_used_date")
    policy = policy_of({"when": " && ".join(f"token.{name} != null" for name in names), "message": "all are there"})
    for bits in range(16):
        there = {name: NOW if bits >> position & 1 else None for position, name in enumerate(names)}
        assert bool(policy.evaluate(observed(token(**there)), History(), NOW)) is (bits == 15)


def test_instants_keep_their_fractions_and_may_be_old() -> None:
    exact = datetime(2026, 6, 15, 11, 59, 59, 999_999, tzinfo=UTC)
    seen = observed(token(creation_date=exact, last_used_date=datetime(1970, 1, 1, tzinfo=UTC)))
    assert answer('now - token.creation_date == duration("0.000001s")', seen) is True
    assert answer("int(token.last_used_date) == 0", seen) is True


def test_documentation_has_every_variable() -> None:
    page = (ROOT / "docs" / "writing-rules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    told = [(variable.name, variable.shape.value, variable.meaning) for variable in VARIABLES.values()]
    assert rows == [row for row in told if not row[0].startswith("previous.")]
