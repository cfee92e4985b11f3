"""Rules that a policy writes, on the command line: checked, listed, explained, swept and shown."""

from tests.command_line import Site

POLICY = """\
name = "test"

[[rule]]
id = "ACME-01"
title = "Token of the deployment"
severity = "high"
when = 'token.name != null && token.name.matches("^deploy")'
message = "is called {token.name}"
rationale = "We said so."
remediation = "Rename it."
[rule.controls]
"CIS v8.1" = ["5.3", "99.9"]

[[rule.test]]
token = { name = "deploy-1" }
expect = "violation"
"""


def test_check_runs_the_tests_of_rules(files: Site) -> None:
    files.write("policy.toml", POLICY)
    assert files.run("check").exit_code == 0
    policy = files.write("policy.toml", POLICY.replace('name = "deploy-1"', 'name = "other"'))
    done = files.run("check")
    assert (done.exit_code, done.complaints) == (
        2,
        [f"{policy}:16: rule[0].test[0].expect: the test expects violation, but the rule says nothing"],
    )


def test_check_tells_everything_that_is_wrong_in_rules(files: Site) -> None:
    wrong = (
        POLICY.replace("token.name !=", "token.nam !=").replace("{token.name}", "{token.nam}").replace("high", "grave")
    )
    policy = files.write("policy.toml", f"{wrong}\n[[rule]]\nid = 'DT-EXP-01'\n")
    done = files.run("check")
    assert done.exit_code == 2
    places = {complaint.removeprefix(f"{policy}:").split(": ")[0] for complaint in done.complaints}
    assert places == {"6", "18", "19"}


def test_rules_lists_and_explains_what_the_policy_writes(files: Site) -> None:
    files.write("policy.toml", POLICY)
    assert "ACME-01" in files.run("rules").out
    assert [rule["title"] for rule in files.run("rules", "--json").json() if rule["id"] == "ACME-01"] == [
        "Token of the deployment"
    ]
    explained = files.run("rules", "acme-01")
    assert explained.exit_code == 0
    for words in ("Token of the deployment", "token.name.matches", "We said so.", "Rename it.", "CIS v8.1: 99.9"):
        assert words in explained.out
    assert "your policy's judgement" in explained.out
    assert "the project's judgement" in files.run("rules", "DT-EXP-01").out


def test_rules_are_listed_whatever_the_configuration_is_like(files: Site) -> None:
    files.write("policy.toml", POLICY.replace("high", "grave"))
    done = files.run("rules")
    assert done.exit_code == 0
    assert "DT-EXP-01" in done.out
    assert "ACME-01" not in done.out
    assert "auditor check" in done.err
    files.config.unlink()
    done = files.run("rules")
    assert (done.exit_code, done.err) == (0, "")
    assert "DT-EXP-01" in done.out


def test_finding_of_a_written_rule_is_shown_with_its_words(site: Site) -> None:
    site.write("policy.toml", POLICY.replace("^deploy", ".*").replace("deploy-1", "any"))
    assert site.run("sweep", "--all").exit_code == 0
    found = [one for one in site.run("findings", "--json").json() if one["rule_id"] == "ACME-01"]
    assert found
    shown = site.run("findings", "show", found[0]["key"])
    assert shown.exit_code == 0
    for words in ("ACME-01 Token of the deployment", "We said so.", "Rename it."):
        assert words in shown.out
