"""``auditor policy explain`` and ``policy diff``: what they say of tokens that a sweep has looked up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.command_line import CONFIGURATION, Site

LAYERED = CONFIGURATION.replace(
    '[policy]\nfiles = ["policy.toml"]\n',
    '[policy]\nfiles = ["policy.toml"]\nenvironments = { prod = ["prod.toml"] }\n',
)
POLICY = """\
name = "test"
[rules."DT-EXP-02"]
max_days = { critical = 20, high = 20, default = 300 }
[rules."DT-SCP-02"]
scopes = 5
exempt = [{ owner = "nobody" }, { name = "mighty" }]
[rules."DT-USE-01"]
enabled = false
"""
PROD = """\
name = "prod"
[rules."DT-EXP-02"]
severity = "critical"
[rules."DT-STA-01"]
only = [{ tag = "lab" }]
"""


def layer(site: Site) -> None:
    site.configure(LAYERED)
    site.write("policy.toml", POLICY)
    site.write("prod.toml", PROD)


@pytest.fixture(scope="module")
def swept_once(lasting_site: Site) -> Site:
    layer(lasting_site)
    assert lasting_site.run("sweep", "--all").exit_code == 0
    return lasting_site


@pytest.fixture
def swept(swept_once: Site) -> Site:
    """The same with its files as they were swept with: tests change these, and nothing else."""
    layer(swept_once)
    return swept_once


def label(site: Site, name: str) -> str:
    return next(token.token.id for tokens in site.tokens.values() for token in tokens if token.token.name == name)


def explained(site: Site, *arguments: str) -> dict[str, Any]:
    """Return what is said of the only environment that has the token, its rules by id."""
    done = site.run("policy", "explain", *arguments, "--json")
    assert done.exit_code == 0, done.err
    (answer,) = done.json()
    return {**answer, "rules": {rule["rule_id"]: rule for rule in answer["rules"]}}


# Explain


def test_fired_rule_tells_message_parameters_and_severity_with_file_and_line(swept: Site) -> None:
    answer = explained(swept, label(swept, "mighty"))
    rule = answer["rules"]["DT-EXP-02"]
    assert (rule["answer"], rule["severity"]) == ("fired", "critical")
    assert rule["severity_place"] == f"{swept.directory}/prod.toml:3"
    assert "lifetime" in rule["reason"] or "days" in rule["reason"]
    assert rule["evidence"]
    (parameter,) = rule["parameters"]
    assert parameter == {
        "name": "max_days",
        "value": {"critical": 20, "high": 20, "default": 300},
        "place": f"{swept.directory}/policy.toml:3",
    }
    assert [finding["severity"] for finding in rule["open_findings"]] == ["critical"]
    assert (answer["environment"], answer["policy"], answer["risk_tier"]) == ("prod", "prod", "high")
    assert answer["riskiest_scopes"] == ["settings.write"]
    assert answer["files"] == [f"{swept.directory}/policy.toml", f"{swept.directory}/prod.toml"]


def test_every_reason_for_not_firing_is_told(swept: Site) -> None:
    rules = explained(swept, label(swept, "mighty"))["rules"]
    told = {rule_id: (rule["answer"], rule["place"]) for rule_id, rule in rules.items()}
    assert told["DT-EXP-01"] == ("passed", None)
    assert told["DT-SCP-02"] == ("exempt", f"{swept.directory}/policy.toml:6")
    assert told["DT-USE-01"] == ("disabled", f"{swept.directory}/policy.toml:8")
    assert told["DT-STA-01"] == ("not selected", f"{swept.directory}/prod.toml:5")
    assert told["DT-SCP-04"] == ("not assessed", None)
    assert rules["DT-EXP-01"]["reason"].startswith("does not hold: ")
    assert "exempt[1]" in rules["DT-SCP-02"]["reason"]
    assert "profiles" in rules["DT-SCP-04"]["reason"]
    assert rules["DT-EXP-01"]["parameters"][0]["place"] is None


def test_written_rule_is_explained_with_its_place(swept: Site) -> None:
    swept.write(
        "prod.toml",
        PROD
        + """
[[rule]]
id = "OWN-1"
title = "Deploy tokens are named well"
severity = "low"
when = "token.name == 'mighty'"
message = "is mighty"
rationale = "a"
remediation = "b"
exempt = [{ owner = "nobody" }, { name = "deploy" }]
""",
    )
    fired = explained(swept, label(swept, "mighty"), "--rule", "own-1")["rules"]["OWN-1"]
    assert (fired["answer"], fired["reason"], fired["severity"]) == ("fired", "is mighty", "low")
    passed = explained(swept, label(swept, "forever"), "--rule", "OWN-1")["rules"]["OWN-1"]
    assert passed["answer"] == "passed"
    exempt = explained(swept, label(swept, "deploy"), "--rule", "OWN-1")["rules"]["OWN-1"]
    assert (exempt["answer"], exempt["place"]) == ("exempt", f"{swept.directory}/prod.toml:15")


def test_every_rule_of_the_catalogue_is_answered_for(swept: Site) -> None:
    catalogue = {rule["id"] for rule in swept.run("rules", "--json").json()}
    assert set(explained(swept, label(swept, "ci"))["rules"]) == catalogue


def test_explanation_agrees_with_the_findings_of_the_sweep(swept: Site) -> None:
    findings = swept.run("findings", "--json").json()
    assert findings
    for name in ("deploy", "forever", "mighty", "ci"):
        public_id = label(swept, name)
        fired = {rule_id for rule_id, rule in explained(swept, public_id)["rules"].items() if rule["answer"] == "fired"}
        assert fired == {finding["rule_id"] for finding in findings if finding["label"] == public_id}


def test_token_is_named_by_the_key_of_its_finding_and_one_rule_asked_for(swept: Site) -> None:
    answer = explained(swept, f"prod/{label(swept, 'forever')}/DT-EXP-01", "--rule", "dt-exp-01")
    assert list(answer["rules"]) == ["DT-EXP-01"]
    assert answer["rules"]["DT-EXP-01"]["answer"] == "fired"


def test_explanation_for_people_names_token_rules_and_places(swept: Site) -> None:
    done = swept.run("policy", "explain", label(swept, "mighty"))
    assert done.exit_code == 0
    assert f"{label(swept, 'mighty')} in prod" in done.out
    assert "high (settings.write)" in done.out
    lines = [line for line in done.out.splitlines() if line and not line.startswith(" ")]
    assert lines[1].startswith("fired ")
    assert lines[-1].startswith("disabled ")
    assert f"({swept.directory}/policy.toml:3)" in done.out
    assert "(default)" in done.out


@pytest.mark.parametrize("named", ["dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA", "prod/x/DT-EXP-01", "\udcff", "%"])
def test_token_that_no_sweep_met_is_told(swept: Site, named: str) -> None:
    done = swept.run("policy", "explain", named)
    assert done.exit_code == 2
    assert "no sweep has met such a token" in done.complaints[0]


def test_name_that_is_empty_is_told(swept: Site) -> None:
    done = swept.run("policy", "explain", "")
    assert done.exit_code == 2
    assert done.complaints[0].startswith("token: its name is empty; auditor tokens list and")


def test_finding_that_is_of_no_stored_token_is_told(site: Site) -> None:
    site.write("policy.toml", 'name = "test"\n[rules.DT-OWN-04]\npct = 1\npct_min_count = 1\n')
    site.write("prod.token", site.worlds["prod"].create("lists", ["apiTokens.read"]).secret)
    assert site.run("sweep", "prod").exit_code == 0
    found = [one for one in site.run("findings", "--json").json() if one["rule_id"] in {"DT-OWN-04", "DT-INV-01"}]
    of = {one["label"] == "environment": one["key"] for one in found}
    for is_of_environment, what in (
        (True, "the environment and not about one token"),
        (False, "a token that no source"),
    ):
        done = site.run("policy", "explain", of[is_of_environment])
        assert done.exit_code == 2
        assert done.complaints[0].startswith(f"finding {of[is_of_environment]}: is about {what}")
    elsewhere = site.run("policy", "explain", of[True], "--environment", "staging")
    assert "no sweep has met such a token in staging" in elsewhere.err


def test_token_of_another_environment_and_unknown_names_are_told(swept: Site) -> None:
    done = swept.run("policy", "explain", label(swept, "ci"), "--environment", "prod")
    assert (done.exit_code, "no sweep has met such a token in prod" in done.err) == (2, True)
    done = swept.run("policy", "explain", label(swept, "ci"), "--environment", "prd")
    assert (done.exit_code, 'unknown environment "prd"' in done.err) == (2, True)
    done = swept.run("policy", "explain", label(swept, "ci"), "--rule", "DT-EXP-1")
    assert (done.exit_code, 'no such rule; did you mean "DT-EXP-01"?' in done.err) == (2, True)


def test_token_that_a_lookup_never_told_of_has_no_explanation(site: Site) -> None:
    site.write("prod.token", "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA." + "B" * 64)
    assert site.run("sweep", "prod").exit_code == 3
    done = site.run("policy", "explain", label(site, "deploy"))
    assert (done.exit_code, "no lookup has told anything of it yet" in done.err) == (2, True)


# Diff


def diffed(site: Site, text: str, *arguments: str) -> dict[str, Any]:
    site.write("draft.toml", text)
    done = site.run("policy", "diff", str(site.directory / "draft.toml"), *arguments, "--json")
    assert done.exit_code == 0, done.err
    answer: dict[str, Any] = done.json()
    return answer


def changes(instant: dict[str, Any]) -> set[tuple[str, str, str, str | None, str | None]]:
    return {
        (each["environment"], each["label"], each["rule_id"], each["before"], each["after"])
        for each in instant["differences"]
    }


def test_draft_adds_drops_and_regrades(swept: Site) -> None:
    draft = """
        [rules."DT-EXP-01"]
        severity = "low"
        [rules."DT-EXP-02"]
        enabled = false
        [rules."DT-SCP-01"]
        high_risk = ["metrics.read"]
        severity = "info"
    """
    answer = diffed(swept, draft)
    (instant,) = answer["instants"]
    deploy, forever, mighty = (label(swept, name) for name in ("deploy", "forever", "mighty"))
    assert instant["tokens"] == 4
    assert changes(instant) == {
        ("prod", forever, "DT-EXP-01", "high", "low"),
        ("prod", mighty, "DT-EXP-02", "critical", None),
        ("prod", deploy, "DT-SCP-01", None, "info"),
        ("prod", forever, "DT-SCP-01", None, "info"),
        ("prod", mighty, "DT-SCP-01", "high", None),
    }
    ranks = [
        max(filter(None, (each["before"], each["after"])), key=["info", "low", "medium", "high", "critical"].index)
        for each in instant["differences"]
    ]
    assert ranks == ["critical", "high", "high", "info", "info"]
    assert sum(count["findings"] for count in instant["counts"]) == 5
    assert {"environment": "prod", "rule_id": "DT-SCP-01", "before": None, "after": "info", "findings": 2} in instant[
        "counts"
    ]
    assert {(each["environment"], each["rule_id"], each["before"], each["after"]) for each in answer["standings"]} == {
        (name, "DT-EXP-02", "assessed", "disabled") for name in ("prod", "staging")
    }


def test_draft_is_judged_as_the_sweep_judges_it(site: Site) -> None:
    layer(site)
    assert site.run("sweep", "--all").exit_code == 0
    before = {(each["label"], each["rule_id"]): each["severity"] for each in site.run("findings", "--json").json()}
    draft = '[risk.scopes]\n"metrics.read" = "critical"\n[rules."DT-EXP-02"]\nmax_days = { default = 5 }\n'
    (instant,) = diffed(site, draft)["instants"]
    site.configure(LAYERED.replace('files = ["policy.toml"]', 'files = ["policy.toml", "draft.toml"]'))
    assert site.run("sweep", "--all").exit_code == 0
    after = {(each["label"], each["rule_id"]): each["severity"] for each in site.run("findings", "--json").json()}
    assert {(each["label"], each["rule_id"]): (each["before"], each["after"]) for each in instant["differences"]} == {
        key: (before.get(key), after.get(key)) for key in before | after if before.get(key) != after.get(key)
    }
    assert len(instant["differences"]) > 3


def test_draft_in_place_of_a_file_drops_what_that_said(swept: Site) -> None:
    answer = diffed(swept, 'name = "new"\n', "--instead-of", str(swept.directory / "prod.toml"))
    (instant,) = answer["instants"]
    assert changes(instant) == {("prod", label(swept, "mighty"), "DT-EXP-02", "critical", "high")}


def test_draft_that_says_the_same_changes_nothing(swept: Site) -> None:
    answer = diffed(swept, '[rules."DT-EXP-02"]\nmax_days = { critical = 20, high = 20, default = 300 }\n')
    assert answer["instants"][0]["differences"] == []
    assert answer["instants"][0]["counts"] == []
    done = swept.run("policy", "diff", str(swept.directory / "draft.toml"))
    assert "No rule that judges a token by itself is altered." in done.out


def test_rule_that_the_draft_cannot_assess_drops_nothing(swept: Site) -> None:
    swept.write("owners.txt", "somebody-else\n")
    swept.write("policy.toml", POLICY + '[feeds]\nowners = "owners.txt"\n')
    answer = diffed(swept, '[feeds]\nowners = "none.txt"\n')
    assert answer["instants"][0]["differences"] == []
    standings = {each["rule_id"]: (each["before"], each["after"]) for each in answer["standings"]}
    assert standings == {"DT-OWN-01": ("assessed", "not assessed")}


def test_past_day_is_judged_by_what_was_known_then(swept: Site) -> None:
    today = datetime.now(UTC)
    answer = diffed(
        swept,
        '[rules."DT-EXP-01"]\nseverity = "low"\n',
        "--as-of",
        f"{today - timedelta(days=2):%Y-%m-%d}",
        "--as-of",
        f"{today:%Y-%m-%d}",
    )
    now, before, same = answer["instants"]
    assert (now["is_past"], before["is_past"], same["is_past"]) == (False, True, True)
    assert (now["tokens"], before["tokens"], same["tokens"]) == (4, 0, 4)
    assert len(now["differences"]) == len(same["differences"]) == 1
    assert before["differences"] == []


def test_only_the_worst_are_shown_unless_all_are_wanted(swept: Site) -> None:
    swept.write(
        "draft.toml",
        '[rules."DT-SCP-02"]\nscopes = 1\nfamilies = 1\n[rules."DT-EXP-01"]\nseverity = "low"\n'
        '[rules."DT-SCP-01"]\nhigh_risk = ["metrics.read"]\n',
    )
    path = str(swept.directory / "draft.toml")
    everything = swept.run("policy", "diff", path, "--all", "--json").json()["instants"][0]
    few = swept.run("policy", "diff", path, "--limit", "3", "--json").json()["instants"][0]
    assert len(everything["differences"]) == 4
    assert few == everything | {"at": few["at"], "differences": everything["differences"][:3]}
    told = swept.run("policy", "diff", path, "--limit", "3")
    assert "The 3 worst of 4; --all shows all." in told.out
    told = swept.run("policy", "diff", path, "--all")
    assert "worst of" not in told.out
    assert told.out.count("high → low") == 2  # counted, then shown


def test_diff_narrowed_to_an_environment(swept: Site) -> None:
    (instant,) = diffed(swept, '[rules."DT-SCP-01"]\nhigh_risk = ["logs.ingest", "metrics.read"]\n', "-e", "staging")[
        "instants"
    ]
    assert {each["environment"] for each in instant["differences"]} == {"staging"}
    assert instant["tokens"] == 1


def test_diff_writes_nothing(swept: Site) -> None:
    before = swept.run("findings", "--json").out
    diffed(swept, '[rules."DT-EXP-01"]\nenabled = false\n', "--as-of", "2020-01-01")
    assert swept.run("findings", "--json").out == before


def test_wrong_drafts_and_days_are_told_all_at_once(swept: Site) -> None:
    swept.write("draft.toml", '[rules."DT-EXP-02"]\nmax_days = 3\n[rules.DT-NOPE]\n')
    done = swept.run("policy", "diff", str(swept.directory / "draft.toml"))
    assert done.exit_code == 2
    assert [line.split(": ")[0] for line in done.complaints] == [
        f"{swept.directory}/draft.toml:2",
        f"{swept.directory}/draft.toml:3",
    ]
    done = swept.run("policy", "diff", "none.toml", "--as-of", "yesterday", "--as-of", "2999-01-01")
    assert done.exit_code == 2
    assert [line.split(": ")[0] for line in done.complaints] == ["--as-of yesterday", "--as-of 2999-01-01"]
    done = swept.run("policy", "diff", str(swept.directory / "none.toml"))
    assert (done.exit_code, "none.toml: cannot be read" in done.err) == (2, True)
