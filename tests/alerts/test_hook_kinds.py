"""What is true of every kind of hook."""

import sys
from pathlib import Path

import pytest

from auditor.alerts.base import HookKind, HookSettings, Surroundings
from auditor.alerts.registry import kinds
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.finding import Severity
from auditor.model.table import meanings
from tests.alerts.receivers import message, now


def test_kinds_go_by_their_name() -> None:
    assert list(kinds())[:2] == ["webhook", "command"]
    assert all(kind.name == name for name, kind in kinds().items())


@pytest.mark.parametrize("kind", kinds().values(), ids=kinds().keys())
def test_every_setting_is_described(kind: HookKind) -> None:
    assert issubclass(kind.settings, HookSettings)
    assert meanings(kind.settings).keys() == kind.settings.model_fields.keys()


def test_hook_gets_findings_from_low_up_by_default() -> None:
    assert HookSettings(type="any").min_severity is Severity.LOW


PACKAGE = """\
from auditor.alerts.base import HookKind, HookSettings


class Board:
    def __init__(self, name):
        self.name = name

    async def deliver(self, message, now):
        return f"{message.id} is on the board"

    async def close(self):
        pass


async def open_board(name, settings, surroundings):
    return Board(name)


KIND = HookKind(name="board", settings=HookSettings, open=open_board)
CLASH = HookKind(name="webhook", settings=HookSettings, open=open_board)
"""


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Put a package with a hook where Python finds it, as pip would."""
    (directory / "hook_of_others.py").write_text(PACKAGE)
    about = directory / "hook_of_others-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hook-of-others\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[auditor.hooks]\nboard = hook_of_others:{kind}\n")
    monkeypatch.syspath_prepend(directory)
    monkeypatch.delitem(sys.modules, "hook_of_others", raising=False)


async def test_hook_of_another_package_serves_like_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "KIND")
    kind = kinds.__wrapped__()["board"]
    settings = kind.settings.model_validate({"type": "board"})
    hook = await kind.open("hall", settings, Surroundings(Resolver(tmp_path, {}), SHIPPED))
    assert await hook.deliver(message(), now()) == f"{message().id} is on the board"
    await hook.close()


def test_two_kinds_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "CLASH")
    with pytest.raises(ValueError, match="two kinds of hooks have the name webhook"):
        kinds.__wrapped__()
