"""The formats of a report: those that ship, and those that other packages bring (entry points ``auditor.reports``)."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from auditor.reports.asff import Asff
from auditor.reports.base import Format
from auditor.reports.csv_format import Csv, CsvCoverage
from auditor.reports.csv_verdicts import CsvVerdicts
from auditor.reports.html import Html
from auditor.reports.json_format import Json
from auditor.reports.jsonl_format import JsonLines
from auditor.reports.markdown import Markdown
from auditor.reports.ocsf import Ocsf
from auditor.reports.oscal import Oscal
from auditor.reports.pdf import Pdf
from auditor.reports.sarif import Sarif
from auditor.reports.xlsx import Xlsx

SHIPPED: tuple[Format, ...] = (
    Html(),
    Pdf(),
    Markdown(),
    Json(),
    JsonLines(),
    Csv(),
    CsvCoverage(),
    CsvVerdicts(),
    Xlsx(),
    Ocsf(),
    Oscal(),
    Sarif(),
    Asff(),
)


@cache
def formats() -> Mapping[str, Format]:
    """Return every format by name, shipped ones first.

    An entry point names an instance. Raises ``ValueError`` where two formats have one name.
    """
    found: dict[str, Format] = {}
    plugged: list[Format] = [entry.load() for entry in entry_points(group="auditor.reports")]
    for member in (*SHIPPED, *plugged):
        if member.name in found:
            raise ValueError(f"two report formats have the name {member.name}")
        found[member.name] = member
    return found


def format_of(file: Path) -> Format:
    """Return the format whose files are named like this one: the page where none is."""
    named = [each for each in formats().values() if file.name.lower().endswith(f".{each.suffix}")]
    return max(named, key=lambda each: len(each.suffix), default=formats()["html"])  # a .verdicts.csv is a .csv, too
