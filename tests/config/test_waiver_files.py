"""Files of waivers as an operator writes them: taken, or refused with file, line and mend."""

import re
import tomllib
from pathlib import Path

from auditor.config.load import load
from auditor.policy.waivers import WaiversDocument
from tests.config.shipped import CONFIG
from tests.config.telling import told

AUDITOR = """\
[environments.prod]
url = "https://abc12345.live.dynatrace.com"
token = { env = "DT_TOKEN" }
[sources.list]
type = "plain"
path = "tokens.txt"
environment = "prod"
[policy]
waivers = ["waivers.toml", "more.toml"]
"""
WAIVER = """\
[[waiver]]
id = "w1"
owner = "svc-ci"
approver = "jane.doe"
reason = "moves to OAuth"
ticket = "SEC-12"
since = 2026-11-01
until = 2027-01-30
finding = "prod/dt0c01.ST2EY72KQINMH574WMNVI7YN/DT-EXP-01"
"""


def written(directory: Path, waivers: str, more: str = "", policy: str = 'name = "test"\n') -> Path:
    (directory / "policies").mkdir()
    for name, text in (
        ("auditor.toml", AUDITOR),
        ("policies/baseline.toml", policy),
        ("waivers.toml", waivers),
        ("more.toml", more),
    ):
        (directory / name).write_text(text, encoding="utf-8")
    return directory / "auditor.toml"


def test_waivers_of_every_file_are_read_in_their_order(tmp_path: Path) -> None:
    second = WAIVER.replace('"w1"', '"w2"').replace("2027-01-30", "2026-12-24T09:00:00+01:00")
    config = load(written(tmp_path, WAIVER, second))
    assert [entry.id for entry in config.waivers] == ["w1", "w2"]
    assert config.waivers[1].until.isoformat() == "2026-12-24T08:00:00+00:00"


def test_configuration_without_waivers_has_none() -> None:
    assert load(CONFIG / "auditor.toml").waivers == ()


def test_every_problem_of_every_file_is_told_with_its_line(tmp_path: Path) -> None:
    wrong = WAIVER.replace("2027-01-30", "2027-01-31") + WAIVER.replace("prod/", "prd/").replace(
        'approver = "jane.doe"\n', ""
    )
    assert told(written(tmp_path, wrong)) == ["waivers.toml:10: waiver[1].approver: is missing; add it"]


def test_span_ids_and_names_are_told_with_their_lines(tmp_path: Path) -> None:
    first = WAIVER.replace("2027-01-30", "2027-01-31")
    second = WAIVER.replace("prod/", "prd/") + 'rules = ["DT-EXP-01"]\n'
    third = WAIVER.replace("DT-EXP-01", "DT-EXP-99")
    span, rule, name = told(written(tmp_path, first, third))
    assert span == (
        "waivers.toml:8: waiver[0].until: 91 days after since, and the policy allows 90; "
        "end it earlier, or raise max_days under [waivers] of the policy"
    )
    assert rule.startswith("more.toml:9: waiver[0].finding[0]: ")
    assert rule.endswith('/DT-EXP-99": unknown rule "DT-EXP-99"; auditor rules lists them')
    assert (
        name == 'more.toml:2: waiver[0].id: "w1" is the id of the waiver at waivers.toml:2, too; every id is used once'
    )
    (tmp_path / "waivers.toml").write_text(second, encoding="utf-8")
    (tmp_path / "more.toml").write_text("[[waiver]]\nuntil = 3\n", encoding="utf-8")
    problems = told(tmp_path / "auditor.toml")
    assert 'waivers.toml:1: waiver[0]: a waiver names either finding = "…", or rules' in problems[0]
    assert any(problem.startswith("more.toml:2: waiver[0].until: must be a day such as") for problem in problems)


def test_unknown_key_is_told_with_the_nearest_that_is_known(tmp_path: Path) -> None:
    path = written(tmp_path, WAIVER + 'aprover = "x"\n')
    assert told(path) == ['waivers.toml:10: waiver[0].aprover: unknown key; did you mean "approver"?']


def test_policy_sets_the_longest_span(tmp_path: Path) -> None:
    path = written(tmp_path, WAIVER, policy='name = "test"\n[waivers]\nmax_days = 89\n')
    (problem,) = told(path)
    assert "the policy allows 89" in problem


def test_file_that_is_not_there_is_told_with_its_mend(tmp_path: Path) -> None:
    path = written(tmp_path, WAIVER)
    (tmp_path / "more.toml").unlink()
    mend = "put it there, or correct policy.waivers in auditor.toml"
    assert told(path) == [f"more.toml: cannot be read: No such file or directory; {mend}"]


def test_shipped_examples_are_sound() -> None:
    text = (CONFIG / "waivers.toml").read_text(encoding="utf-8")
    uncommented = re.sub(r"^#(?=[^\s:])", "", text, flags=re.MULTILINE)
    document = WaiversDocument.model_validate(tomllib.loads(uncommented))
    assert len(document.waiver) == 2
    assert {name for entry in document.waiver for name in entry.model_fields_set} == set(
        type(document.waiver[0]).model_fields
    )
    assert WaiversDocument.model_validate(tomllib.loads(text)).waiver == ()
