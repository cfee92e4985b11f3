"""What is true of every kind of source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.sources.base import SourceKind, SourceSettings
from auditor.sources.registry import kinds

PLUGIN = """
from auditor.sources.base import SourceKind, SourceSettings
KIND = SourceKind(name="{name}", settings=SourceSettings, open=None)
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose packages are installed for the length of a test."""
    monkeypatch.syspath_prepend(tmp_path)
    kinds.cache_clear()
    yield tmp_path
    kinds.cache_clear()


def install(plugins: Path, package: str, name: str) -> None:
    (plugins / f"{package}.py").write_text(PLUGIN.format(name=name))
    information = plugins / f"{package}-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[auditor.sources]\n{name} = {package}:KIND\n")


def test_shipped_kinds_go_by_their_names() -> None:
    shipped = ["plain", "dotenv", "json", "csv", "environment", "directory", "command", "encrypted"]
    assert list(kinds())[: len(shipped)] == shipped


@pytest.mark.parametrize("kind", kinds().values(), ids=kinds().keys())
def test_settings_say_their_type_and_describe_every_key(kind: SourceKind[Any]) -> None:
    assert issubclass(kind.settings, SourceSettings)
    properties = kind.settings.model_json_schema()["properties"]
    assert properties["type"]["const"] == kind.name
    assert [key for key, field in properties.items() if not field.get("description")] == []


def test_other_packages_bring_kinds(plugins: Path) -> None:
    install(plugins, "auditor_test_plugin_one", "elsewhere")
    assert list(kinds())[-1] == "elsewhere"


def test_two_kinds_of_one_name_are_refused(plugins: Path) -> None:
    install(plugins, "auditor_test_plugin_two", "plain")
    with pytest.raises(ValueError, match="two kinds of sources have the name plain"):
        kinds()
