"""What is true of every kind of hook."""

import pytest

from auditor.alerts.base import HookKind, HookSettings
from auditor.alerts.registry import kinds
from auditor.model.finding import Severity


def test_kinds_go_by_their_name() -> None:
    assert list(kinds())[:2] == ["webhook", "command"]
    assert all(kind.name == name for name, kind in kinds().items())


@pytest.mark.parametrize("kind", kinds().values(), ids=kinds().keys())
def test_every_setting_is_described(kind: HookKind) -> None:
    assert issubclass(kind.settings, HookSettings)
    assert [name for name, field in kind.settings.model_fields.items() if not field.description] == []


def test_hook_gets_findings_from_low_up_by_default() -> None:
    assert HookSettings(type="any").min_severity is Severity.LOW
