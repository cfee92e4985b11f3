"""The generated files and the command that writes them; and whether the others name what the program has."""

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from auditor import docs
from auditor.policy.registry import SHIPPED
from auditor.policy.sampling import example_of


def test_files_in_the_checkout_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_a_stale_file_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--root", str(tmp_path)]) == 0
    page = tmp_path / "docs" / "rules.md"
    page.write_text("old", encoding="utf-8")
    capsys.readouterr()
    assert docs.main(["--root", str(tmp_path), "--check"]) == 1
    assert "docs/rules.md is stale" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "old"
    assert docs.main(["--root", str(tmp_path)]) == 0
    assert docs.main(["--root", str(tmp_path), "--check"]) == 0


def test_missing_file_is_stale(tmp_path: Path) -> None:
    assert docs.main(["--root", str(tmp_path), "--check"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_page_tells_all_of_every_rule() -> None:
    page = docs.rules_page()
    for rule in SHIPPED:
        section = page.partition(f"\n## {rule.id}\n")[2].partition("\n## ")[0]
        for said in (rule.title, rule.severity, rule.test, rule.rationale, rule.remediation, f'[rules."{rule.id}"]'):
            assert said in section
        for name in rule.params.model_fields:
            assert f"- `{name}`: " in section
        for controls in rule.controls.values():
            assert all(control in section for control in controls)


def test_page_shows_what_a_rule_says_of_its_sample() -> None:
    page = docs.rules_page()
    for rule in SHIPPED:
        section = page.partition(f"\n## {rule.id}\n")[2].partition("\n## ")[0]
        example = example_of(rule)
        assert ("Example finding:" in section) is (example is not None), rule.id
        if example is not None:
            assert f"- Severity: `{example.severity.value}`\n- Message: `{example.message}`\n" in section
            evidence = section.partition("- Evidence: `")[2].partition("`\n")[0]
            assert json.loads(evidence) == msgspec.to_builtins(example.evidence)


def test_example_shows_the_parameters_that_it_needs() -> None:
    rule = next(rule for rule in SHIPPED if rule.id == "DT-NET-01")
    assert dict(docs.example_finding(rule))["Set up with"] == 'cidrs = ["203.0.113.0/24"]'
    assert list(docs.example_finding(replace(rule, sample=None))) == []


def test_operators_manual_speaks_of_every_event_that_an_operator_should_read() -> None:
    page = (docs.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    logged = {event for path in (docs.ROOT / "auditor").rglob("*.py") for event in warnings_in(path)}
    assert {"source_unread", "sweep_stopped", "hook_failed", "unexpected_error", "report_given_up"} <= logged
    assert [event for event in sorted(logged) if f"`{event}`" not in page] == []


def warnings_in(path: Path) -> Iterator[str]:
    """Yield the events of level warning and above that a module logs under a name, or one of two names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(attr="warning" | "error" | "exception" | "critical"), args=[event, *_]):
                names = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
                yield from (
                    name.value for name in names if isinstance(name, ast.Constant) and isinstance(name.value, str)
                )
