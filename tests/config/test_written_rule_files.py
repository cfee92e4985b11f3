"""Rules in policy files: files laid over one another, and mistakes told with file and line."""

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from auditor.config.load import Config, load
from auditor.model.errors import ConfigError
from auditor.policy.written.document import GivenToken, RuleTest, WrittenRule
from tests.config.shipped import CONFIG
from tests.config.test_configuration import GOOD

RULE = """\
[[rule]]
id = "ACME-01"
title = "A rule of ours"
severity = "low"
when = 'token.owner == "mallory"'
message = "belongs to {token.owner}"
rationale = "Because."
remediation = "Give it back."
"""
SECOND = RULE.replace("ACME-01", "ACME-02")


def loaded(directory: Path, **files: str) -> Config:
    """Read a configuration with policy files of these names, laid over one another in this order."""
    for name, text in files.items():
        (directory / f"{name}.toml").write_text(text, encoding="utf-8")
    named = ", ".join(f'"{name}.toml"' for name in files)
    (directory / "auditor.toml").write_text(f"{GOOD}[policy]\nfiles = [{named}]\n", encoding="utf-8")
    return load(directory / "auditor.toml")


def told(directory: Path, **files: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        loaded(directory, **files)
    return str(refused.value).replace(f"{directory}/", "").split("\n")


def test_shipped_examples_are_sound_and_pass_their_tests(tmp_path: Path) -> None:
    files = {
        name: (CONFIG / "policies" / f"{name}.toml").read_text(encoding="utf-8") for name in ("baseline", "own-rules")
    }
    rules = loaded(tmp_path, **files).policy.rule
    assert [rule.id for rule in rules] == ["ACME-01", "ACME-02", "ACME-03", "ACME-04"]
    assert all(rule.test for rule in rules)
    wrong = files["own-rules"].replace('duration("720h")', 'duration("721h")')
    assert [line.split(": ")[1] for line in told(tmp_path, **files | {"own-rules": wrong})] == [
        "rule[1].test[1].expect"
    ]


def test_shipped_examples_lead_an_editor_to_their_schema() -> None:
    first = (CONFIG / "policies" / "own-rules.toml").read_text(encoding="utf-8").split("\n", 1)[0]
    assert first == "#:schema ../schemas/policy.schema.json"


def test_rules_of_one_id_are_merged_key_by_key(tmp_path: Path) -> None:
    over = '[[rule]]\nid = "ACME-02"\nseverity = "high"\n[[rule]]\nid = "ACME-01"\nenabled = false\n'
    config = loaded(tmp_path, base=f'name = "a"\n{RULE}{SECOND}', over=over + RULE.replace("ACME-01", "ACME-03"))
    rules = {rule.id: (rule.severity.value, rule.enabled, rule.title) for rule in config.policy.rule}
    assert rules == {
        "ACME-01": ("low", False, "A rule of ours"),
        "ACME-02": ("high", True, "A rule of ours"),
        "ACME-03": ("low", True, "A rule of ours"),
    }


def test_tests_of_a_file_below_run_against_the_rule_as_changed(tmp_path: Path) -> None:
    test = '[[rule.test]]\ntoken = { owner = "mallory" }\nexpect = "violation"\n'
    over = '[[rule]]\nid = "ACME-01"\nwhen = \'token.owner == "bob"\'\n'
    assert told(tmp_path, base=f'name = "a"\n{RULE}{test}', over=over) == [
        "base.toml:12: rule[0].test[0].expect: the test expects violation, but the rule says nothing"
    ]
    mended = over + test.replace("mallory", "bob")
    assert len(loaded(tmp_path, base=f'name = "a"\n{RULE}{test}', over=mended).policy.rule) == 1


def test_key_that_is_missing_in_a_test_is_put_to_the_file_that_replaces_the_tests(tmp_path: Path) -> None:
    test = '[[rule.test]]\ntoken = {}\nexpect = "none"\n'
    over = f'{SECOND}\n[[rule]]\nid = "ACME-01"\n{test.replace("expect", "# expect")}'
    assert told(tmp_path, base=f'name = "a"\n{RULE}{test}', over=over) == [
        "over.toml:12: rule[1].test[0].expect: is missing; add it"
    ]


def test_mistake_is_told_where_the_file_with_the_last_word_has_it(tmp_path: Path) -> None:
    over = f'{SECOND}\n[[rule]]\nid = "ACME-01"\nwhen = "token.ownr == null"\n'
    (line,) = told(tmp_path, base=f'name = "a"\n{RULE}', over=over)
    assert line == (
        "over.toml:12: rule[1].when: at column 6: undeclared reference to 'token.ownr'; did you mean \"token.owner\"?"
    )


def test_every_mistake_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    base = f'name = "a"\n{RULE}{SECOND}{RULE}'.replace("{token.owner}", "{token.ownr}", 1)
    over = """\
[[rule]]
id = "ACME-02"
when = '''
token.enabled == true
&& token.scopes.exists(s, s.matches("["))
'''
[[rule.test]]
token = {}
expect = "none"
[[rule]]
id = "ACME-04"
severity = "grave"
[rules."ACME-02"]
enabled = false
"""
    lines = told(tmp_path, base=base, over=over)
    assert [line.split(" ", 2)[:2] for line in lines] == [
        ["over.toml:10:", "rule[1].title:"],
        ["over.toml:12:", "rule[1].severity:"],
        *(["over.toml:10:", f"rule[1].{key}:"] for key in ("when", "message", "rationale", "remediation")),
        ["base.toml:7:", "rule[0].message:"],
        ["over.toml:3:", "rule[0].when:"],
        ["base.toml:19:", "rule[2].id:"],
        ["over.toml:13:", "rules.ACME-02:"],
    ]


def test_rules_are_judged_by_the_tiers_of_a_policy_that_is_wrong_elsewhere(tmp_path: Path) -> None:
    rule = RULE.replace('token.owner == "mallory"', 'risk == "critical"')
    test = '[[rule.test]]\ntoken = { scopes = ["our.scope"] }\nexpect = "violation"\n'
    for tiers, wrong in (('{ "our.scope" = "critical" }', "nam"), ('{ "our.scope" = "worst" }', "risk")):
        base = f'name = "a"\nrisk.scopes = {tiers}\n{"" if wrong == "risk" else "nam = 1"}\n{rule}{test}'
        (line,) = told(tmp_path, base=base)
        assert f": {wrong}" in line


def test_id_that_is_taken_is_told_at_the_second(tmp_path: Path) -> None:
    (line,) = told(tmp_path, base=f'name = "a"\n{RULE}{RULE}')
    assert line == 'base.toml:11: rule[1].id: there is a rule "ACME-01" already; an id is one rule\'s'


@pytest.mark.parametrize("value", ["[]", "{}", "1", "true", "2026-01-01", "''", "[[rule]]"])
def test_id_that_is_no_id_is_told(tmp_path: Path, value: str) -> None:
    lines = told(tmp_path, base=f'name = "a"\n{RULE}', over=f"[[rule]]\nid = {value}\n[rules.ACME-01]\n")
    assert any(line.startswith(("over.toml:2: rule[0].id: ", "over.toml:2: is not TOML")) for line in lines), lines


@pytest.mark.parametrize("other", [RULE, ""])
def test_rule_in_single_brackets_is_no_rule(tmp_path: Path, other: str) -> None:
    single = RULE.replace("[[rule]]", "[rule]")
    (line,) = told(tmp_path, base=f'name = "a"\n{other}', over=single)
    assert line.endswith("rule: is a list of tables; write [[rule]], with two brackets, above each rule")


@pytest.mark.parametrize("model", [WrittenRule, RuleTest, GivenToken])
def test_examples_show_the_keys_that_rules_have(model: type[BaseModel]) -> None:
    text = (CONFIG / "policies" / "own-rules.toml").read_text(encoding="utf-8")
    rules = tomllib.loads(text)["rule"]
    tests = [test for rule in rules for test in rule["test"]]
    shown = {WrittenRule: rules, RuleTest: tests, GivenToken: [test["token"] for test in tests]}[model]
    unshown = {"only", "tags", "public_id", "first_seen", "id", "modified_date", "additional_metadata"}
    keys = {key for table in shown for key in table} | unshown
    assert set(model.model_fields) <= keys


def test_alerts_are_routed_by_the_rules_of_any_policy(tmp_path: Path) -> None:
    hook = '[hooks.h]\ntype = "command"\nargv = ["/bin/true"]\nonly = [{ rule = ["ACME-02", "ACME-03"] }]\n'
    own = '[policy.environments]\nprod = ["own.toml"]\n'
    (tmp_path / "own.toml").write_text(SECOND, encoding="utf-8")
    (tmp_path / "base.toml").write_text(f'name = "a"\n{RULE}', encoding="utf-8")
    (tmp_path / "auditor.toml").write_text(f'{GOOD}[policy]\nfiles = ["base.toml"]\n{own}{hook}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r'only\[0\].rule: "ACME-03" matches no rule; did you mean') as refused:
        load(tmp_path / "auditor.toml")
    assert len(refused.value.problems) == 1
