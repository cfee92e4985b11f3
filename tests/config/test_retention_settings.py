"""``[retention]``: how long what may go is kept, and never for less than a rule looks back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from auditor.config.retention import RetentionSettings
from auditor.model.retention import Retention
from tests.config.test_configuration import GOOD, NEXT, Files

LONG = 'name = "baseline"\n[rules.DT-USE-05]\nkeep_days = 300\n'
POLICY = '[policy]\nfiles = ["policies/baseline.toml"]\n'


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('uses = "2y"', 'retention.uses: must be a span such as 730d, of a day at least and a century at most, or "'),
        ('alerts = "1h"', "retention.alerts: must be a span such as 730d"),
        ('queue_log = "40000d"', "retention.queue_log: must be a span such as 730d"),
        ('use = "730d"', 'retention.use: unknown key; did you mean "uses"?'),
        ("uses = 730", "retention.uses: must be text in quotes"),
        ('uses = "30d"', 'retention.uses: 30d is less than the 60 days that DT-USE-05 looks back in prod; write "60d"'),
    ],
)
def test_wrong_retention_is_told_with_its_place(tmp_path: Path, table: str, said: str) -> None:
    (told,) = Files(tmp_path).told(f"{GOOD}[retention]\n{table}\n")
    assert f"auditor.toml:{NEXT + 1}: {said}" in told


def test_default_is_held_against_the_rules_too(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write("policies/baseline.toml", LONG.replace("300", "400"))
    (told,) = files.told(GOOD + POLICY)
    assert "retention.uses: 730d is less than the 800 days that DT-USE-05" in told
    assert "rules.DT-USE-05 of the policy a smaller keep_days" in told


@pytest.mark.parametrize(("rule", "is_good"), [("enabled = false", True), ("enabled = true", False)])
def test_rule_that_is_disabled_asks_for_nothing(tmp_path: Path, rule: str, is_good: bool) -> None:
    files = Files(tmp_path)
    files.write("policies/baseline.toml", f"{LONG}{rule}\n")
    text = f'{GOOD}{POLICY}[retention]\nuses = "500d"\n'
    if is_good:
        files.loaded(text)
    else:
        assert len(files.told(text)) == 1


def test_uses_go_by_the_month() -> None:
    kept = Retention(uses=timedelta(days=30), alerts=None, queue_log=None)
    assert kept.uses_before(datetime(2026, 3, 31, 12, tzinfo=UTC)) == datetime(2026, 3, 1, tzinfo=UTC)
    assert kept.uses_before(datetime(2026, 3, 30, 23, tzinfo=UTC)) == datetime(2026, 2, 1, tzinfo=UTC)


def test_forever_is_no_span() -> None:
    spans = RetentionSettings(uses="forever", alerts="forever", queue_log="forever").spans
    assert (spans.uses, spans.alerts, spans.queue_log) == (None, None, None)
    assert spans.uses_before(datetime(2026, 3, 31, tzinfo=UTC)) is None
