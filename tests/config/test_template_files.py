"""Templates of messages as the configuration names them."""

from pathlib import Path

import pytest

from auditor.alerts.samples import sample_alerts
from auditor.config.load import load
from auditor.config.problems import Document
from auditor.config.templates import read_wordings
from auditor.model.errors import Problem
from auditor.model.message import Message
from auditor.policy.sampling import SAMPLED_AT
from tests.config.shipped import CONFIG

OPENED = Message.of_one(sample_alerts(SAMPLED_AT)["finding.opened"])


def problems_with(directory: Path, **templates: str) -> list[str]:
    for name, text in templates.items():
        (directory / f"{name}.j2").write_text(text, encoding="utf-8")
    values = {"templates": {name: f"{name}.j2" for name in templates}}
    problems: list[Problem] = []
    read_wordings(Document(directory / "auditor.toml", "", values), {}, problems)
    return [str(problem).removeprefix(f"{directory}/") for problem in problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("one\n{% if alert.rule %}\n", "alert.j2:2: is no template: Unexpected end of template."),
        ("\n\n{{ alert.titel }}", "alert.j2:3: cannot say an alert finding.opened: 'Alert' has no attribute 'titel'"),
        (
            "{{ alert.data.enrolled + 1 }}",
            "alert.j2:1: cannot say an alert finding.opened: 'dict object' has no attribute 'enrolled'",
        ),
        ("{{ alert.rule | nofilter }}", "alert.j2:1: is no template: No filter named 'nofilter'."),
        ('{% extends "alert.j2" %}', "alert.j2:1: cannot say an alert finding.opened: alert.j2"),
        ("{{ ''.__class__ }}", "alert.j2:1: cannot say an alert finding.opened: access to attribute '__class__'"),
    ],
)
def test_what_is_wrong_with_a_template_is_told_with_file_and_line(tmp_path: Path, text: str, problem: str) -> None:
    (said,) = problems_with(tmp_path, alert=text)
    assert said.startswith(problem)


def test_template_of_digests_is_tried_on_a_digest(tmp_path: Path) -> None:
    assert problems_with(tmp_path, digest="{{ digest.count }}", digest_subject="{{ digest.totals }}") == []
    (said,) = problems_with(tmp_path, digest="{{ alert.rule }}")
    assert said == "digest.j2:1: cannot say a digest: 'alert' is undefined"


def test_template_that_cannot_be_read_is_told_where_it_is_named(tmp_path: Path) -> None:
    values = {"templates": {"alert": "none.j2"}}
    problems: list[Problem] = []
    read_wordings(Document(tmp_path / "auditor.toml", '[templates]\nalert = "none.j2"\n', values), {}, problems)
    mend = "cannot be read: No such file or directory; correct the path or its mode"
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/auditor.toml:2: templates.alert: {tmp_path}/none.j2 {mend}"
    ]


CONFIGURATION = """\
[environments.prod]
url = "https://abc12345.live.dynatrace.com"
token = { env = "TOKEN" }

[sources.store]
type = "encrypted"

[policy]
files = ["policy.toml"]
"""


def test_template_of_all_serves_every_hook(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('name = "p"\n')
    (tmp_path / "subject.j2").write_text("mine")
    (tmp_path / "auditor.toml").write_text(
        f'{CONFIGURATION}\n[templates]\nalert_subject = "subject.j2"\n[hooks.run]\ntype = "command"\nargv = ["true"]\n'
    )
    assert load(tmp_path / "auditor.toml").wordings["run"].words(OPENED).subject == "mine"


def test_shipped_examples_are_sound() -> None:
    folder = CONFIG / "templates"
    values = {"templates": {path.stem.replace("-", "_"): str(path) for path in folder.glob("*.j2")}}
    problems: list[Problem] = []
    read_wordings(Document(CONFIG / "auditor.toml", "", values), {}, problems)
    assert problems == []
    assert len(values["templates"]) == 4
