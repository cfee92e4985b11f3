"""The registry of formats, and how another package brings one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.reports.registry import SHIPPED, format_of, formats


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that brings a format; its module is the file returned."""
    metadata = tmp_path / "house_reports-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: house-reports\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[auditor.reports]\nhouse = house_reports_of_a_test:FORMAT\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "house_reports_of_a_test", raising=False)
    formats.cache_clear()
    yield tmp_path / "house_reports_of_a_test.py"
    formats.cache_clear()


def test_shipped_formats_go_by_their_names() -> None:
    assert [(name, one.suffix, one.media_type) for name, one in formats().items()] == [
        ("html", "html", "text/html"),
        ("pdf", "pdf", "application/pdf"),
        ("markdown", "md", "text/markdown"),
        ("json", "json", "application/json"),
        ("jsonl", "jsonl", "application/x-ndjson"),
        ("csv", "csv", "text/csv"),
        ("csv-coverage", "coverage.csv", "text/csv"),
        ("csv-verdicts", "verdicts.csv", "text/csv"),
        ("xlsx", "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("ocsf", "ocsf.jsonl", "application/x-ndjson"),
        ("oscal", "oscal.json", "application/oscal+json"),
        ("sarif", "sarif", "application/sarif+json"),
        ("asff", "asff.json", "application/json"),
    ]
    assert [name for name, one in formats().items() if one.is_binary] == ["pdf", "xlsx"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("report.html", "html"),
        ("of-2026/Report.PDF", "pdf"),
        ("findings.csv", "csv"),
        ("prod.verdicts.csv", "csv-verdicts"),
        ("prod.oscal.json", "oscal"),
        ("report.txt", "html"),
        ("pdf", "html"),
        (".", "html"),
    ],
)
def test_name_of_a_file_tells_its_format(file: str, name: str) -> None:
    assert format_of(Path(file)).name == name


def test_another_package_adds_its_format(plugged: Path) -> None:
    plugged.write_text("class House:\n    name = 'house'\n\n\nFORMAT = House()\n")

    assert list(formats()) == [*(one.name for one in SHIPPED), "house"]


def test_two_formats_of_one_name_are_an_error(plugged: Path) -> None:
    plugged.write_text("class House:\n    name = 'csv'\n\n\nFORMAT = House()\n")

    with pytest.raises(ValueError, match="two report formats have the name csv"):
        formats()
