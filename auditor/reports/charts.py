"""Draws charts as SVG for a page: Vega-Lite specifications, rendered without a browser, in colours that can follow it.

A chart is drawn for a light page, in ``COLOURS`` only. The page's style sheet repaints each by its value, so that a
chart follows light and dark; what knows no such style, as WeasyPrint does in pictures, shows them as they are.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

import msgspec
from markupsafe import Markup

Spec = Mapping[str, Any]
"""A Vega-Lite specification, https://vega.github.io/vega-lite/docs/spec.html, without size and configuration."""

WIDTH: Final = 290
"""Of the drawing without its axes, in pixels: a chart is as wide as a column of the page, and text keeps its size."""

COLOURS: Final[Mapping[str, str]] = {
    "critical": "#a3123f",
    "high": "#d4541a",
    "medium": "#b98a00",
    "low": "#2f7fb8",
    "info": "#7c8797",
    "good": "#2a8a52",
    "ink": "#1b1f27",
    "soft": "#545c69",
    "line": "#d5d9e0",
    "track": "#e6e9ee",
    "paper": "#ffffff",
}
"""Name in the style sheet (``--fill-NAME``) → its colour on a light page. No two are alike."""

_FONTS: Final = "Liberation Sans, Arial, Helvetica, sans-serif"
"""The renderer measures text by the first, which it brings along; the next two are as wide, the last may be wider."""
_PADDING: Final = {"left": 20, "right": 8, "top": 4, "bottom": 4}
"""Room for labels in a font a fifth wider than the one that is measured, with what a card leaves at its edge."""

_CONFIG: Final[Spec] = {
    "aria": False,  # the page names the chart and has its figures in a table
    "background": None,
    "padding": _PADDING,
    "view": {"stroke": None},
    "font": _FONTS,
    "axis": {
        "domain": False,
        "ticks": False,
        "labelColor": COLOURS["soft"],
        "titleColor": COLOURS["soft"],
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "gridColor": COLOURS["line"],
        "labelPadding": 6,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": COLOURS["soft"],
        "labelFontSize": 12,
        "symbolType": "square",
        "symbolSize": 110,
        "symbolStrokeWidth": 0,
        "columnPadding": 20,
        "offset": 8,
    },
}

_ROOT: Final = re.compile(r"<svg[^>]*? width=\"([\d.]+)\" height=\"([\d.]+)\" viewBox=\"([\d. -]+)\"[^>]*>")
_TAG: Final = re.compile(r"<(?:g|path)\b[^>]*>")
_ROLE: Final = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')


def drawn(spec: Spec, label: str) -> Markup:
    """Return a chart as an SVG element without script and style, named ``label`` for those who do not see it."""
    text = _rendered(msgspec.json.encode({"width": WIDTH, **spec, "config": _CONFIG}).decode())
    root = _ROOT.search(text)
    if root is None:
        raise ValueError("the chart is no SVG with a size")
    width, height, box = root.groups()
    # The library escapes text, see tests/reports/test_charts.py; the root is written anew, for its role and its name.
    return Markup('<svg class="chart" role="img" aria-label="{}" viewBox="{}" width="{}" height="{}">').format(
        label, box, width, height
    ) + Markup(_TAG.sub(_without_roles, text[root.end() :]))  # noqa: S704


@lru_cache(maxsize=32)
def _rendered(spec: str) -> str:
    """Render a specification. A report that is a page and a PDF has the same charts twice, a fifth of a second each."""
    import vl_convert  # its library is large, and only pages with charts need it

    text: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return text


def _without_roles(tag: re.Match[str]) -> str:
    """The parts of a picture are no pictures; the library gives them roles, and no names."""
    return _ROLE.sub("", tag[0])


def _coloured(field: str, names: Sequence[str], fills: Sequence[str]) -> Spec:
    """Return an encoding that gives each name its colour of ``COLOURS``, with a legend of that order."""
    longest = max(map(len, names), default=0)
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(names), "range": [COLOURS[fill] for fill in fills]},
        "legend": {"columns": max(1, WIDTH // (longest * 7 + 20))},
    }


def stacked_bars(
    rows: Sequence[Mapping[str, object]],
    *,
    by: Sequence[str],
    parts: Sequence[str],
    fills: Sequence[str],
    title: str,
    step: int = 26,
) -> Spec:
    """Return bars that lie, one for each of ``by``, each of parts laid end to end in order.

    ``rows`` have the members ``by``, ``part`` and ``count``. The order of ``by`` is from top to bottom.
    """
    order = {part: place for place, part in enumerate(parts)}
    return {
        "height": {"step": step},
        "data": {"values": [{**row, "place": order[str(row["part"])]} for row in rows if row["count"]]},
        "mark": {"type": "bar", "height": {"band": 0.68}, "stroke": COLOURS["paper"], "strokeWidth": 1},
        "encoding": {
            "y": _names(by),
            "x": {
                "field": "count",
                "type": "quantitative",
                "stack": "zero",
                "axis": {"title": title, "format": "~s", "tickMinStep": 1, "tickCount": 5},
            },
            "color": _coloured("part", parts, fills),
            "order": {"field": "place", "type": "quantitative"},
        },
    }


def stacked_days(
    rows: Sequence[Mapping[str, object]], *, parts: Sequence[str], fills: Sequence[str], title: str, height: int = 170
) -> Spec:
    """Return areas over time, the first of ``parts`` at the bottom; ``rows`` have ``day``, ``part`` and ``count``."""
    order = {part: place for place, part in enumerate(parts)}
    days = sorted(str(row["day"]) for row in rows)
    first, last = days[0], days[-1]
    return {
        "height": height,
        "data": {"values": [{**row, "place": order[str(row["part"])]} for row in rows]},
        "mark": {"type": "area", "interpolate": "step-after", "stroke": COLOURS["paper"], "strokeWidth": 0.5},
        "encoding": {
            "x": {
                "field": "day",
                "type": "temporal",
                "scale": {"type": "utc"},
                "axis": _days(first, last),
            },
            "y": {
                "field": "count",
                "type": "quantitative",
                "stack": "zero",
                "axis": {"title": title, "format": "~s", "tickMinStep": 1, "tickCount": 4},
            },
            "color": _coloured("part", parts, fills),
            "order": {"field": "place", "type": "quantitative"},
        },
    }


def matrix(
    rows: Sequence[Mapping[str, object]], *, by: Sequence[str], across: Sequence[str], fills: Sequence[str], title: str
) -> Spec:
    """Return cells of counts, each column in its colour, the more the deeper.

    ``rows`` have ``by``, ``across``, ``count`` and ``shown``, the count in words.
    """
    most = max((int(str(row["count"])) for row in rows), default=0)
    return {
        "height": {"step": 24},
        "data": {"values": [{**row, "depth": _depth(int(str(row["count"])), most)} for row in rows if row["count"]]},
        "encoding": {
            "y": _names(by),
            "x": {
                "field": "across",
                "type": "nominal",
                "sort": None,
                "scale": {"domain": list(across)},
                "axis": {"title": title, "orient": "top", "labelAngle": 0},
            },
        },
        "layer": [
            {
                "mark": {"type": "rect", "stroke": COLOURS["paper"], "strokeWidth": 2},
                "encoding": {
                    "color": {**_coloured("across", across, fills), "legend": None},
                    "fillOpacity": {"field": "depth", "type": "quantitative", "scale": None},
                },
            },
            {
                "mark": {"type": "text", "fontSize": 12, "color": COLOURS["ink"]},
                "encoding": {"text": {"field": "shown", "type": "nominal"}},
            },
        ],
    }


def _depth(count: int, most: int) -> float:
    """Return how deep the colour of a count is, by its logarithm; ink stays readable on the deepest."""
    return round(0.12 + 0.38 * math.log1p(count) / math.log1p(most), 2) if count else 0


def _names(by: Sequence[str]) -> Spec:
    return {
        "field": "by",
        "type": "nominal",
        "sort": None,
        "scale": {"domain": list(by)},
        "axis": {"title": None, "labelLimit": 130, "labelColor": COLOURS["ink"]},
    }


def _days(first: str, last: str) -> Spec:
    """Return the axis of days from one to another, ISO 8601: some five of them, and none twice."""
    is_short = date.fromisoformat(last) - date.fromisoformat(first) <= _EACH_NAMED
    ticks = {"interval": "day", "step": 1} if is_short else 5
    return {"title": None, "format": "%b %d", "grid": False, "tickCount": ticks, "labelFlush": True}


_EACH_NAMED: Final = timedelta(days=6)
"""The longest span whose every day an axis names."""


def strips(
    rows: Sequence[Mapping[str, object]],
    *,
    by: Sequence[str],
    parts: Sequence[str],
    fills: Sequence[str],
    first: str,
    last: str,
) -> Spec:
    """Return one strip of days for each of ``by``; ``rows`` have ``by``, ``day`` and ``part``, days as ISO 8601."""
    return {
        "height": {"step": 26},
        "data": {"values": list(rows)},
        "mark": {"type": "rect", "height": {"band": 0.68}},
        "encoding": {
            "y": _names(by),
            "x": {
                "field": "day",
                "type": "temporal",
                "scale": {"type": "utc", "domain": [first, last]},
                "axis": _days(first, last),
            },
            "x2": {"field": "end"},
            "color": _coloured("part", parts, fills),
        },
    }
