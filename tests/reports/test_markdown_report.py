"""The Markdown report, rendered by markdown-it: what it says, and that nothing from outside is markup in it."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from auditor.model.token import Location
from auditor.outside_text import visible
from auditor.reports.markdown import Markdown, escaped, escaped_whole
from tests.reports.report_samples import (
    HOSTILE,
    WAIVER,
    environment,
    estate,
    estate_findings,
    every_kind,
    finding,
    report,
    written,
)

RENDERERS = [MarkdownIt("commonmark", {"html": True}).enable("table"), MarkdownIt("js-default", {"html": True})]
ids = pytest.mark.parametrize("renderer", RENDERERS, ids=["commonmark", "js-default"])


def leaves(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from leaves(token.children or [])


def rows(renderer: MarkdownIt, text: str, title: str) -> list[list[str]]:
    """Return the cells of the table under a heading, as they read once rendered."""
    tokens = renderer.parse(text)
    start = next(n for n, token in enumerate(tokens) if token.type == "inline" and token.content == title)
    table: list[list[str]] = []
    for token, inside in zip(tokens[start:], tokens[start + 1 :], strict=False):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            table.append([])
        if token.type in {"th_open", "td_open"}:
            table[-1].append("".join(leaf.content for leaf in leaves(inside.children or [])))
    return table


@ids
async def test_every_finding_is_a_row(renderer: MarkdownIt) -> None:
    text = await written(Markdown(), report(environment(), findings=every_kind()), every_kind())
    counted = {title: len(rows(renderer, text, f"{title} findings")) - 1 for title in ("Open", "Waived", "Resolved")}
    assert counted == {"Open": 4 + len(HOSTILE), "Waived": 1 + len(HOSTILE), "Resolved": 3}
    widths = {len(row) for title in ("Open", "Resolved") for row in rows(renderer, text, f"{title} findings")}
    assert widths == {8}
    assert {len(row) for row in rows(renderer, text, "Waived findings")} == {9}


@ids
async def test_finding_reads_back(renderer: MarkdownIt) -> None:
    text = await written(Markdown(), report(environment()), [finding(), finding(1, waiver=WAIVER)])
    assert rows(renderer, text, "Open findings")[1] == [
        "high",
        "DT-EXP-01",
        "production",
        finding().label,
        "service-0",
        "observability",
        "2026-02-20",
        "never expires",
    ]
    assert rows(renderer, text, "Waived findings")[1][5:] == [
        "2026-04-21",
        "jane.doe@example.com",
        "SEC-1042",
        "moves to OAuth clients in April",
    ]


async def test_report_says_the_summary_the_environments_and_the_controls() -> None:
    text = await written(Markdown(), estate(), estate_findings())
    assert "15 findings are open, 3 of them critical; not everything could be audited" in text
    commonmark = RENDERERS[0]
    assert [row[:2] for row in rows(commonmark, text, "Environments")][3:] == [
        ["lab", "failed 2026-03-02 06:11 UTC"],
        ["acquired-company", "never swept"],
    ]
    controls = rows(commonmark, text, "OWASP NHI Top 10 2025")
    assert controls[1][:3] == ["NHI1:2025", "Improper Offboarding", "fail"]
    assert "2 more controls of the catalogue: not assessed, no rule serves them." in text
    assert "judgement" in text
    assert "## What to do" in text


@ids
async def test_nothing_from_outside_is_markup(renderer: MarkdownIt) -> None:
    text = await written(Markdown(), report(environment(), findings=every_kind()), every_kind())
    page = renderer.render(text)
    assert not re.search(r"<(?!/?(?:h[1-3]|p|strong|ul|li|table|thead|tbody|tr|th|td)\b)", page)
    assert "href" not in page


@settings(max_examples=150, deadline=None)
@given(
    st.text(
        alphabet=st.one_of(st.sampled_from("|`*_[]()<>!#&;:\\~-+=.1\n\r\t w"), st.characters(exclude_categories=())),
        max_size=200,  # what is longer is cut
    )
)
def test_text_renders_as_itself_in_a_table(value: str) -> None:
    shown = escaped(value)
    for renderer in RENDERERS:
        tokens = renderer.parse(f"| a | b |\n| --- | --- |\n| x | {shown} |\n")
        cells = [token for token in tokens if token.type == "inline"]
        assert len(cells) == 4
        assert {leaf.type for leaf in leaves(cells[-1].children or [])} <= {"text", "text_special"}
        assert "".join(leaf.content for leaf in leaves(cells[-1].children or [])) == visible(value).strip()


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("0123456789.)-+=#>*_~`\t "), st.characters(exclude_categories=()))))
def test_text_begins_no_block(value: str) -> None:
    for renderer in RENDERERS:
        kinds = [token.type for token in renderer.parse(f"- x\n- {escaped_whole(value)}\n")]
        assert set(kinds) <= {
            f"{kind}_{end}" for kind in ("bullet_list", "list_item", "paragraph") for end in ("open", "close")
        } | {"inline"}
        assert kinds.count("list_item_open") == 2


async def test_place_of_a_token_breaks_nothing() -> None:
    odd = finding(locations=(Location("a|b", "<x>"),))
    assert len(rows(RENDERERS[0], await written(Markdown(), report(), [odd]), "Open findings")[1]) == 8
