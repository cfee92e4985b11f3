"""Charts: pure SVG in the page's colours, with every value from outside as text."""

import asyncio
import re
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from auditor.reports import charts
from auditor.reports.base import ReportData
from auditor.reports.pictures import Picture, pictures
from auditor.store.figures import OwnerIdleness
from tests.reports.report_samples import environment, estate, report, sample_figures, sample_timeline

STYLE = (Path(charts.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")


TIMELINE = asyncio.run(sample_timeline())
NAMES = ("trend", "ages", "deadlines", "sweeps", "idleness", "scopes")


def picture(name: str, data: ReportData | None = None) -> Picture:
    return next(one for one in (pictures(data, TIMELINE) if data else of_the_estate()) if one.id == name)


@cache
def of_the_estate() -> list[Picture]:
    return pictures(estate(), TIMELINE)


def texts(drawn: Picture) -> list[str]:
    assert drawn.svg is not None
    return ["".join(one.itertext()) for one in ElementTree.fromstring(drawn.svg).iter() if one.tag.endswith("text")]


@pytest.mark.parametrize("name", NAMES)
def test_chart_holds_nothing_but_shapes_and_text_in_colours_that_the_style_sheet_repaints(name: str) -> None:
    drawn = picture(name)
    assert drawn.svg is not None
    root = ElementTree.fromstring(drawn.svg)

    assert {one.tag.rpartition("}")[2] for one in root.iter()} <= {"svg", "g", "path", "rect", "line", "text", "tspan"}
    assert not [name for one in root.iter() for name in one.attrib if name == "style" or name.startswith("on")]
    assert not [one for one in root.iter() if one is not root and ("role" in one.attrib or "aria-label" in one.attrib)]
    painted = {(name, one.get(name)) for one in root.iter() for name in ("fill", "stroke")} - {
        (name, value) for name in ("fill", "stroke") for value in (None, "none", "transparent")
    }
    for name, colour in painted:
        assert colour in charts.COLOURS.values()
        assert f'.chart [{name}="{colour}"]' in STYLE


def test_colours_of_a_light_page_are_those_that_a_chart_is_drawn_in() -> None:
    light = dict(re.findall(r"--(?:fill-)?([a-z-]+): (#[0-9a-f]{6});", STYLE.split("@media", 1)[0]))

    fills = ("critical", "high", "medium", "low", "info", "good", "ink", "soft", "line")
    assert {name: light[name] for name in fills} == {name: charts.COLOURS[name] for name in fills}


def test_names_from_outside_are_text_and_stay_apart_when_they_are_cut() -> None:
    long = "team-" + "x" * 10_000
    owners = ("</text><script>alert(1)</script>", "\u202eowner", long, long + "y", "{{ 7 * 7 }}")
    idle = [OwnerIdleness(owner, True, 1, (1, 0, 0, 0, 0)) for owner in owners]
    data = msgspec.structs.replace(estate(), figures=msgspec.structs.replace(sample_figures(), idleness=idle))

    drawn = picture("idleness", data)

    assert drawn.svg is not None
    assert "<script" not in drawn.svg
    assert any(text.startswith("</text><scrip") for text in texts(drawn))
    assert any(text.startswith("[U+202E]owner") for text in texts(drawn))
    assert len({row[0] for row in drawn.rows}) == 5
    assert len(drawn.svg) < 20_000


def test_nothing_is_drawn_of_what_is_not_known() -> None:
    assert pictures(report(environment()), TIMELINE) == []


def test_what_has_no_figures_says_so_without_a_chart() -> None:
    figures = msgspec.structs.replace(
        sample_figures(), ages={}, idleness=(), scope_risk={}, adherence={}, swept_days=()
    )

    found = pictures(report(environment(), figures=figures), msgspec.structs.replace(TIMELINE, posture=()))

    assert [one.svg for one in found] == [None] * 6
    assert [one.says for one in found] == [
        "Nothing was swept in that time.",
        "No finding is open.",
        "No policy sets deadlines for findings (DT-AUD-04).",
        "No sweep ended in that time.",
        "No live token is known.",
        "No live token is known to hold a scope.",
    ]


def test_sentences_count_what_calls_for_a_word() -> None:
    says = {one.id: one.says for one in of_the_estate()}

    assert tuple(says) == NAMES
    assert says["trend"] == (
        "15 findings were open at the end, on 2026-03-02, 4 more than on 2025-12-09; without waived ones."
    )
    assert says["ages"] == "4 of 15 open findings are 90 days old or older."
    assert says["deadlines"].startswith("84.0% of 44 findings with a deadline kept it so far")
    assert says["deadlines"].endswith("3 are open and late.")
    assert says["idleness"] == "28 of 212 live tokens were not used for 90 days or longer, and 16 never."
    assert "in 1 of 4 families some token holds a critical scope" in says["scopes"]


def test_day_without_a_sweep_is_no_complete_day() -> None:
    days = [one for one in sample_figures().swept_days if one.environment == "staging"]

    drawn = picture("sweeps")
    row = next(row for row in drawn.rows if row[0] == "staging")

    assert sum(int(cell) for cell in row[1:4]) == len(days)
    assert row[4] == 84 - len(days)


def test_days_before_the_first_sweep_are_no_days_without_findings() -> None:
    drawn = picture("trend")

    assert drawn.rows[0][0] == "2025-12-15"
    assert drawn.rows[-1] == ("2026-03-02", 3, 5, 4, 2, 1, 15)
    assert all(int(row[-1]) for row in drawn.rows)


@pytest.mark.parametrize(
    ("last", "named"),
    [
        ("2026-03-01", ["Mar 01", "Mar 02"]),
        ("2026-03-03", ["Mar 01", "Mar 02", "Mar 03", "Mar 04"]),
        ("2026-05-20", ["Mar 01", "Apr 01", "May 01"]),
    ],
)
def test_axis_of_days_names_no_day_twice(last: str, named: list[str]) -> None:
    days = [date(2026, 3, 1), date.fromisoformat(last) + timedelta(days=1)]
    rows = [{"day": day.isoformat(), "part": "high", "count": 1} for day in days]
    drawn = charts.drawn(charts.stacked_days(rows, parts=["high"], fills=["high"], title="open"), "label")

    labels = ["".join(one.itertext()) for one in ElementTree.fromstring(drawn).iter() if one.tag.endswith("text")]
    assert [label for label in labels if label[:3] in ("Mar", "Apr", "May")] == named
