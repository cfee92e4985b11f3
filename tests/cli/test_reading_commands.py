"""``auditor findings``, ``rules`` and ``report``: what they print, as tables, as JSON and into files."""

import csv
import io
import json
import os
import re
import stat
from pathlib import Path

import html5lib
import pytest

from auditor.policy.registry import rules
from auditor.policy.sampling import example_of
from auditor.reports.registry import formats
from tests.command_line import Site, ended, ordinary_environ, run


@pytest.fixture(scope="module")
def swept(lasting_site: Site) -> Site:
    assert lasting_site.run("sweep", "--all").exit_code == 0
    return lasting_site


def test_findings_are_listed_worst_first(swept: Site) -> None:
    done = swept.run("findings")
    header, *rows = done.out.splitlines()
    assert header.split() == ["Severity", "Rule", "Environment", "Token", "Name", "Owner", "Since", "What"]
    assert [row.split()[0] for row in rows[:5]] == ["high", "high", "low", "low", "low"]
    assert sum("never expires" in row for row in rows[:2]) == 1  # of one sweep and severity, the first looked up first
    assert rows[-1].startswith("5 findings.")


def test_findings_as_json_have_the_documented_fields(swept: Site) -> None:
    listed = swept.run("findings", "--json", "--environment", "prod", "--rule", "dt-exp-01").json()
    (finding,) = listed
    token = swept.tokens["prod"][1].token
    assert (
        finding
        | {
            "key": f"prod/{token.id}/DT-EXP-01",
            "environment": "prod",
            "label": token.id,
            "rule_id": "DT-EXP-01",
            "severity": "high",
            "status": "open",
            "token_name": "forever",
            "owner": "svc-old",
            "locations": [{"source": "list", "place": f"{swept.directory}/prod.txt:2"}],
            "is_stored": True,
            "resolved_at": None,
            "resolution": None,
            "reopenings": 0,
        }
        == finding
    )
    assert {"message", "evidence", "opened_at", "last_seen_at"} <= finding.keys()


def test_findings_are_narrowed_and_the_resolved_ones_shown_on_demand(site: Site) -> None:
    assert site.run("sweep", "--all").exit_code == 0
    assert len(site.run("findings", "--json", "--severity", "high").json()) == 2
    assert len(site.run("findings", "--json", "-e", "staging").json()) == 1
    owners = [finding["owner"] for finding in site.run("findings", "--json").json()]
    listed = site.run("findings", "--json", "--owner", owners[0].upper(), "--owner", "nobody").json()
    assert len(listed) == owners.count(owners[0])
    token = site.tokens["prod"][1].token
    site.in_simulator(
        lambda: site.worlds["prod"].change(token.id, expiration_date=site.tokens["prod"][0].token.expiration_date)
    )
    assert site.run("sweep", "prod").exit_code == 0
    keys = {finding["key"] for finding in site.run("findings", "--json").json()}
    assert f"prod/{token.id}/DT-EXP-01" not in keys
    resolved = {
        finding["key"]: finding["status"] for finding in site.run("findings", "--json", "--resolved-days", "1").json()
    }
    assert resolved[f"prod/{token.id}/DT-EXP-01"] == "resolved"
    history = site.run("findings", "show", f"prod/{token.id}/DT-EXP-01", "--json").json()["history"]
    assert [event["transition"] for event in history] == ["opened", "resolved"]


def test_no_finding_is_said_in_words_and_is_an_empty_list(site: Site) -> None:
    assert site.run("findings").out == "No findings.\n"
    assert site.run("findings", "--json").json() == []


def test_finding_is_shown_with_evidence_mend_and_history(swept: Site) -> None:
    key = f"prod/{swept.tokens['prod'][2].token.id}/DT-SCP-01"
    done = swept.run("findings", "show", key)
    assert done.exit_code == 0
    rule = rules()["DT-SCP-01"]
    for words in (key, "jane.doe", "settings.write", "prod.txt:3", rule.rationale, rule.remediation, "opened"):
        assert words in done.out
    document = swept.run("findings", "show", key, "--json").json()
    assert document["finding"]["key"] == key
    (event,) = document["history"]
    assert {"at", "transition", "severity", "resolution", "message", "evidence", "sweep", "waiver"} == event.keys()


@pytest.mark.parametrize("key", ["", "prod", "prod/x/DT-EXP-01", "a/b/c/d/e", "prod/\udcff/DT-EXP-01", "\udcff"])
def test_unknown_finding_exits_with_2(swept: Site, key: str) -> None:
    done = swept.run("findings", "show", key)
    assert (done.exit_code, done.out) == (2, "")
    assert "no such finding" in done.complaints[0]


def test_unknown_environment_exits_with_2(swept: Site) -> None:
    for command in ("findings", "report"):
        done = swept.run(command, "--environment", "prd")
        assert (done.exit_code, done.out) == (2, "")
        assert done.complaints == ['--environment: unknown environment "prd"; did you mean "prod"?']


def test_findings_of_an_unknown_rule_exit_with_2_and_the_nearest(site: Site) -> None:
    own = 'title = "Ours"\nseverity = "low"\nwhen = "true"\nmessage = "m"\nrationale = "r"\nremediation = "r"\n'
    site.write("policy.toml", f'name = "test"\n[[rule]]\nid = "ACME-01"\n{own}')
    assert site.run("findings", "--rule", "ACME-01", "--rule", "dt-exp-03").out == "No findings.\n"
    assert site.run("sweep", "prod").exit_code == 0
    site.write("policy.toml", 'name = "test"\n')
    assert len(site.run("findings", "--rule", "ACME-01", "--json").json()) == 3, "on record, though written no more"
    done = site.run("findings", "--rule", "DT-EXP-99", "--rule", "acme-02", "--rule", "x")
    assert (done.exit_code, done.out) == (2, "")
    assert done.complaints == [
        '--rule DT-EXP-99: no such rule; did you mean "DT-EXP-07"?',
        '--rule ACME-02: no such rule; did you mean "ACME-01"?',
        "--rule X: no such rule; auditor rules lists them",
    ]


def test_rules_are_listed_and_explained_without_a_configuration() -> None:
    environ = ordinary_environ(AUDITOR_CONFIG="/nonexistent")
    listed = run("rules", environ=environ)
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == list(rules())
    for rule in rules().values():
        explained = run("rules", rule.id.lower(), environ=environ)
        assert explained.exit_code == 0
        assert rule.remediation in explained.out
        example = example_of(rule)
        assert ("Example finding" in explained.out) is (example is not None)
        assert example is None or f"  Message: {example.message}\n" in explained.out
    documents = run("rules", "--json", environ=environ).json()
    fields = {
        "id",
        "title",
        "kind",
        "severity",
        "test",
        "rationale",
        "remediation",
        "parameters",
        "controls",
        "example",
    }
    assert [document["id"] for document in documents] == list(rules())
    assert all(document.keys() == fields for document in documents)
    document = run("rules", "DT-NET-05", "--json", environ=environ).json()
    assert document["id"] == "DT-NET-05"
    assert document["example"] == {
        "severity": "medium",
        "message": "a service's token, last used from 10.20.4.17, where people sit",
        "evidence": {
            "last_used_ip_address": "10.20.4.17",
            "last_used_date": "2026-11-01T00:00:00Z",
            "personal_access_token": False,
        },
        "parameters": {"human_cidrs": ["10.20.0.0/16"]},
    }


def test_unknown_rule_is_told_with_the_nearest() -> None:
    done = run("rules", "DT-EXP-1", environ=ordinary_environ())
    assert done.exit_code == 2
    assert done.complaints == ['rule DT-EXP-1: no such rule; did you mean "DT-EXP-01"?']


@pytest.mark.parametrize("name", ["html", "json", "csv", "csv-coverage", "csv-verdicts"])
def test_report_is_the_same_in_a_file_and_on_standard_output(swept: Site, tmp_path: Path, name: str) -> None:
    output = tmp_path / "made report"
    to_file = swept.run("report", "--format", name, "--output", str(output))
    assert (to_file.exit_code, to_file.out, to_file.err) == (0, "", f"Wrote {output}.\n")
    text = output.read_bytes().decode()
    printed = swept.run("report", "--format", name, "-o", "-").out
    match name:
        case "html":
            html5lib.HTMLParser(strict=True).parse(text)
            assert printed.lstrip().startswith("<!doctype html>")
        case "json":
            assert json.loads(text) | {"made_at": ""} == json.loads(printed) | {"made_at": ""}
            assert json.loads(text)["findings_count"] == 5
        case "csv":
            assert text == printed
            assert len(list(csv.DictReader(io.StringIO(text)))) == 5
        case "csv-verdicts":
            assert text == printed
            assert [row["verdict"] for row in csv.DictReader(io.StringIO(text))] == ["risky"] * 4
        case _:
            assert [row["environment"] for row in csv.DictReader(io.StringIO(text))][:1] == ["prod"]


TOLD_ELSEWHERE = {"html", "json", "csv", "csv-verdicts", "csv-coverage", "pdf"}
"""Formats of other tests: those of text above, and PDF, which takes seconds, in those of reports."""


@pytest.mark.parametrize("name", sorted(formats().keys() - TOLD_ELSEWHERE))
def test_report_of_every_format_goes_to_a_file(swept: Site, tmp_path: Path, name: str) -> None:
    output = tmp_path / "made report"
    more = ["--aws-account", "123456789012", "--aws-region", "eu-central-1"] if name == "asff" else []
    assert swept.run("report", "--format", name, "--output", str(output), *more).exit_code == 0
    assert output.stat().st_size > 1000


def test_report_without_a_format_goes_by_the_name_of_its_file(swept: Site, tmp_path: Path) -> None:
    output = tmp_path / "findings.jsonl"
    assert swept.run("report", "--output", str(output)).exit_code == 0
    assert output.read_text() == swept.run("report", "--format", "jsonl").out


def test_help_names_every_format() -> None:
    words = re.findall(r"[a-z-]+", run("report", "--help", environ=ordinary_environ() | {"COLUMNS": "200"}).out)
    assert set(formats()) <= set(words)


def test_aws_findings_need_an_account_and_a_region(swept: Site) -> None:
    done = swept.run("report", "-f", "asff", "--aws-account", "prod")
    assert done.exit_code == 2
    assert done.complaints == [
        "--aws-account: asff needs the account that findings belong to, twelve digits",
        "--aws-region: asff needs the region that findings belong to, eu-central-1 say",
    ]


def test_binary_report_is_not_written_to_a_terminal(swept: Site) -> None:
    ours, its = os.openpty()
    try:
        done = ended(swept.forked("report", "-f", "xlsx", stdout=its))
        assert done.exit_code == 2
        assert done.complaints == ["--output: xlsx is not text, which a terminal cannot show; name a file"]
    finally:
        os.close(ours)
        os.close(its)


def test_report_of_a_file_has_the_mode_of_the_umask_and_leaves_nothing_beside(swept: Site, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "report.html"
    before = os.umask(0o027)
    try:
        assert swept.run("report", "-o", str(output)).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]


def test_report_of_one_environment_holds_no_other(swept: Site) -> None:
    document = swept.run("report", "-f", "json", "-e", "staging").json()
    assert [environment["name"] for environment in document["environments"]] == ["staging"]
    assert {finding["environment"] for finding in document["findings"]} == {"staging"}


def test_report_names_a_configured_environment_that_was_never_swept(site: Site) -> None:
    assert site.run("sweep", "prod").exit_code == 0
    environments = site.run("report", "-f", "json").json()["environments"]
    assert {each["name"]: each["last_sweep"] is None for each in environments} == {"prod": False, "staging": True}


def test_report_on_one_framework_holds_only_what_bears_on_it(swept: Site) -> None:
    whole = swept.run("report", "-f", "json").json()
    document = swept.run("report", "-f", "json", "--framework", "cis", "--framework", "OWASP NHI Top 10 2025").json()
    assert [one["framework"] for one in document["controls"]["frameworks"]] == ["OWASP NHI Top 10 2025", "CIS v8.1"]
    serving = {rule for one in document["controls"]["frameworks"] for each in one["controls"] for rule in each["rules"]}
    assert {rule["rule_id"] for rule in document["rules"]} == serving
    assert {rule["rule_id"] for rule in whole["rules"]} > serving
    only_cis = swept.run("report", "-f", "json", "--framework", "cis").json()
    assert {finding["rule_id"] for finding in whole["findings"]} >= {"DT-SCP-01", "DT-EXP-01"}
    assert "DT-EXP-01" not in {finding["rule_id"] for finding in only_cis["findings"]}
    assert sum(only_cis["open_by_severity"].values()) == only_cis["findings_count"] < whole["findings_count"]


def test_unknown_framework_exits_with_2_and_those_that_are_known(swept: Site) -> None:
    done = swept.run("report", "--framework", "hipaa")
    known = "cis, dora, iso-27001, nis2, nist-800-53, owasp-nhi, pci-dss, soc-2"
    assert (done.exit_code, done.complaints) == (2, [f'--framework: unknown framework "hipaa"; known here: {known}'])


def test_unknown_format_exits_with_2_and_the_nearest(swept: Site) -> None:
    done = swept.run("report", "--format", "jsno")
    assert (done.exit_code, done.complaints) == (2, ['--format: unknown format "jsno"; did you mean "json"?'])


def test_output_that_cannot_be_written_exits_with_2(swept: Site, tmp_path: Path) -> None:
    for output, reason in ((tmp_path / "none" / "report.html", "No such file or directory"), (tmp_path, "directory")):
        done = swept.run("report", "-o", str(output))
        assert (done.exit_code, done.out) == (2, "")
        assert done.complaints[0].startswith(f"{output}: cannot be written: ")
        assert reason in done.complaints[0]


def test_existing_report_survives_a_writing_that_fails(swept: Site, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "report.csv"
    output.write_text("last week's")
    done = swept.run("report", "-f", "csv", "-o", str(output), DATABASE_URL="postgresql://auditor@127.0.0.1:1/x")
    assert done.exit_code == 3
    done = swept.run("report", "-f", "csv", "-o", "/dev/full")
    assert done.exit_code == 2
    assert done.complaints == ["/dev/full: cannot be written: No space left on device; choose another --output"]
    assert output.read_text() == "last week's"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.csv"]
    assert not Path("/dev/full").is_file()


def test_link_stays_and_what_it_points_to_is_replaced(swept: Site, tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("last week's")
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert swept.run("report", "-f", "csv", "-o", str(tmp_path / "link.csv")).exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("environment,severity")


def test_reports_name_the_policy_and_the_unknown_scopes_of_each_environment(site: Site) -> None:
    site.configure(more='[policy.environments]\nprod = ["prod.toml"]\n')
    site.write("prod.toml", 'name = "strict"\n[risk.scopes]\n"own.read" = "low"\n')
    world = site.worlds["prod"]
    site.store("prod", [world.create("a", ["new.write", "own.read"]), world.create("b", ["new.write", "<b>.read"])])
    assert site.run("sweep", "--all").exit_code == 0
    environments = {each["name"]: each for each in site.run("report", "-f", "json").json()["environments"]}
    assert environments["prod"]["policy_name"] == "strict"
    assert environments["prod"]["unknown_scopes"] == {"new.write": 2, "<b>.read": 1}
    assert (environments["staging"]["policy_name"], environments["staging"]["unknown_scopes"]) == ("test", {})
    page = site.run("report").out
    assert "Scopes that nobody classified" in page
    assert "<code>new.write</code>" in page
    assert "&lt;b&gt;.read" in page
    assert "another version of the policy" not in page
    (prod, staging) = csv.DictReader(io.StringIO(site.run("report", "-f", "csv-coverage").out))
    assert (prod["policy_name"], prod["unknown_scopes"]) == ("strict", "new.write: 2 | <b>.read: 1")
    assert (staging["policy_name"], staging["unknown_scopes"]) == ("test", "")


def test_report_of_a_day_before_the_first_sweep_holds_nothing(swept: Site) -> None:
    document = swept.run("report", "-f", "json", "--as-of", "2020-02-29").json()
    assert (document["as_of"], document["findings_count"]) == ("2020-02-29T23:59:59.999999Z", 0)
    assert document["environments"] == []


def test_report_of_a_period_that_is_not_over_is_of_now(swept: Site) -> None:
    now = swept.run("report", "-f", "json").json()
    document = swept.run("report", "-f", "json", "--period", f"2020/{now['made_at'][:4]}").json()
    assert (document["as_of"], document["period"]["first_day"]) == (None, "2020-01-01")
    assert document["findings"] == now["findings"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--as-of", "soon"), '--as-of: "soon" is no day such as 2026-09-30, nor an instant such as 2026-09-30T12:00Z'),
        (("--as-of", "9999-01-01"), "--as-of: 9999-01-01 is yet to come"),
        (("--period", "9999"), "--period: 9999 is yet to come"),
        (
            ("--as-of", "2026-01-01", "--period", "2026"),
            "--as-of: cannot be used with --period, whose end the report is of",
        ),
    ],
)
def test_what_no_report_can_be_of_exits_with_2(swept: Site, options: tuple[str, ...], complaint: str) -> None:
    done = swept.run("report", *options)
    assert (done.exit_code, done.complaints) == (2, [complaint])
