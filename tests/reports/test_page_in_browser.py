"""The HTML page in a real browser: accessible, whole at every width and without its script, deaf to hostile values."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]  # it has no types

from auditor.model.finding import Finding, Severity
from auditor.model.token import Location
from auditor.policy.base import Framework
from auditor.reports.base import ReportData
from auditor.reports.html import Html
from auditor.store.figures import OwnerIdleness, WaiverInForce
from tests.reports.browser import Watched, browser, needs_chromium, tab
from tests.reports.report_samples import (
    WAIVER,
    environment,
    estate,
    estate_findings,
    expiry,
    finding,
    judged,
    judgement,
    sweep,
    written,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module")]

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)' autofocus='",
    "</style></title></script></svg></textarea><svg onload=alert(1)>",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066\u200f",
    "a\x00b\x1b[31m\x07\r\n\x85",
    "w" * 10_000,
    "\u0645\u0631\u062d\u0628\u0627 " * 2_000,
    "-->{{ 7 * 7 }}&lt;script&gt;",
)
A4 = 703
"""The pixels that an A4 sheet has between its margins."""
OPEN_ALL = "for (const one of document.querySelectorAll('details')) one.open = true"
UNJUDGED = [
    "svg > *",
    "#findings tr:nth-child(n + 15)",
    ".rule:nth-child(n + 3)",
    ".overview tr:nth-child(n + 6)",
    ".controls tr:nth-child(n + 4)",
    ".numbers tr:nth-child(n + 3)",
    ".unserved li:nth-child(n + 3)",
]
"""What pictures are drawn of, which axe-core does not judge, and rows like others: it takes time for each."""
WIDEN = "for (const one of document.querySelectorAll('.chart text')) one.style.fontSize = '14.4px'"
"""Has labels a fifth wider than the renderer took them for, as DejaVu Sans and Verdana do."""
CUT_LABELS = """[...document.querySelectorAll('.chart text')].filter((one) => {
    const chart = one.closest('.chart'), seen = one.getBoundingClientRect();
    const room = getComputedStyle(chart).overflow === 'visible' ? chart.closest('figure') : chart;
    const {left, right} = room.getBoundingClientRect();
    return seen.left < left || seen.right > right;
}).map((one) => one.textContent)"""
BROKEN_NUMBERS = """[...document.querySelectorAll('.numbers td')].filter((one) => {
    const text = document.createRange();
    text.selectNodeContents(one);
    return new Set([...text.getClientRects()].map((line) => line.top)).size > 1;
}).map((one) => one.textContent)"""
WIDER_THAN_THEIR_CARDS = """[...document.querySelectorAll('.numbers')].filter(
    (one) => one.getBoundingClientRect().right > one.closest('figure').getBoundingClientRect().right
).map((one) => one.caption.textContent)"""
TOO_WIDE = "document.documentElement.scrollWidth - innerWidth"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator["Browser"]:
    """One browser for all tests."""
    async with browser() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(chromium: "Browser") -> AsyncIterator[Watched]:
    """One tab for all tests, each of which shows its page anew."""
    async with tab(chromium) as opened:
        yield opened


def told_of(*findings: Finding) -> ReportData:
    """Return the estate's report, of the rules of some findings and of one framework: every part of it, but short."""
    ids = {one.rule_id for one in findings}
    return msgspec.structs.replace(
        estate(), frameworks=(Framework.DORA,), rules=[one for one in estate().rules if one.rule_id in ids]
    )


def page_of(directory: Path, data: ReportData, findings: list[Finding]) -> Path:
    path = directory / "page.html"
    path.write_text(asyncio.run(written(Html(), data, findings)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def estate_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a realistic estate: findings of every kind, of which the open ones take two screens."""
    known = estate_findings()
    opened = [one for one in known if one.status == "open" and one.severity is not Severity.INFO]
    opened += [finding(number, severity=Severity.INFO, token_name=f"batch-{number}") for number in range(1000, 1042)]
    rest = [one for one in known if one.status != "open"]
    every = [*opened, finding(500, waiver=WAIVER), *rest]
    return page_of(tmp_path_factory.mktemp("estate"), told_of(*every), every)


@pytest.fixture(scope="module")
def hostile_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report all of whose texts come from somebody who means harm."""
    findings = [
        finding(
            number,
            label=value,
            message=value,
            token_name=value,
            owner=value,
            evidence={value: value, "list": [value]},
            locations=(Location(value, value),),
        )
        for number, value in enumerate(HOSTILE)
    ]
    waivers = [
        msgspec.structs.replace(WAIVER, id=value, owner=value, approver=value, reason=value, ticket=value)
        for value in HOSTILE
    ]
    data = told_of(*findings)
    data = msgspec.structs.replace(
        data,
        environments=[
            environment(
                value,
                url=value,
                last_sweep=sweep(value, reasons={value: 1}, source_problems={value: value}),
                open_by_severity={Severity.HIGH: 1},
            )
            for value in HOSTILE
        ],
        figures=msgspec.structs.replace(
            data.figures,
            idleness=[OwnerIdleness(value, True, 1, (12_345, 678, 3, 45_678, 5)) for value in HOSTILE],
            scope_risk=dict.fromkeys(HOSTILE, data.figures.scope_risk["tokens"]),
            waivers=[WaiverInForce(waiver, 1, Severity.HIGH) for waiver in waivers],
        ),
        schedules=HOSTILE,
        policy_name=HOSTILE[0],
        forecasts=(expiry(HOSTILE[1], _40=12),),
        verdicts=judged(
            *(judgement(number, token_name=value, owner=value, limits=(value,)) for number, value in enumerate(HOSTILE))
        ),
    )
    waived = [msgspec.structs.replace(findings[0], waiver=waiver) for waiver in waivers]
    return page_of(tmp_path_factory.mktemp("hostile"), data, [*findings, *waived])


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1440, "dark")])
async def test_page_is_accessible_and_no_wider_than_its_screen(
    watched: Watched, estate_file: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = await watched.show(estate_file, width=width, scheme=scheme)
    await page.evaluate(OPEN_ALL)
    for now in (820, width):
        await page.set_viewport_size({"width": now, "height": 900})
        assert await page.evaluate(TOO_WIDE) <= 0
    assert watched.misdeeds == []
    assert await serious_violations(page) == []


async def serious_violations(page: "Page") -> list[tuple[str, str]]:
    """Return what axe-core finds serious or critical, each with the first element that is."""
    await page.evaluate(f"for (const one of document.querySelectorAll({', '.join(UNJUDGED)!r})) one.remove()")
    await page.evaluate(AXE_SCRIPT)
    result: dict[str, Any] = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        (one["id"], one["nodes"][0]["html"]) for one in result["violations"] if one["impact"] in ("serious", "critical")
    ]


async def test_whole_page_is_usable_by_keyboard(watched: Watched, estate_file: Path) -> None:
    page = await watched.show(estate_file)
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    await page.keyboard.press("Enter")
    assert page.url.endswith("#summary")

    rows = page.locator("#findings tbody tr:visible")
    assert await rows.count() == 50
    await page.locator("#findings .pager button", has_text="Next").press("Enter")
    assert "51 to 56 of 56" in await page.locator("#findings .pager").inner_text()

    await page.locator("#findings th .sort", has_text="Since").press("Enter")
    assert await page.locator("#findings th[aria-sort=ascending]").inner_text() == "Since"
    assert "260 days" in await rows.first.inner_text()
    await page.locator("#findings th .sort", has_text="Severity").press("Space")
    assert "critical" in await rows.first.inner_text()

    await page.get_by_label("Containing").focus()
    await page.keyboard.type("staging nightly")
    assert await rows.count() == 1
    assert await page.locator("#filter-state").inner_text() == "1 of 60 listed findings match"
    await page.get_by_label("Containing").fill("")
    await page.get_by_label("Severity", exact=True).select_option("high")
    assert await rows.count() == 5

    await page.locator("details.framework > summary").press("Enter")
    assert await page.locator(".framework .controls").is_visible()
    assert watched.misdeeds == []


async def test_page_without_its_script_has_every_finding(chromium: "Browser", estate_file: Path) -> None:
    async with tab(chromium, scripts=False) as watched:
        page = await watched.show(estate_file)
        assert await page.locator("#findings tbody tr:visible").count() == 56
        assert not await page.locator("#filter").is_visible()
        assert watched.misdeeds == []


async def test_page_on_paper_has_every_finding(watched: Watched, estate_file: Path) -> None:
    page = await watched.show(estate_file)
    await page.emulate_media(media="print")
    assert await page.locator("#findings tbody tr:visible").count() == 56
    assert await page.locator("#controls tbody tr:visible").count() > 2


@pytest.mark.parametrize("width", [390, 1280, A4])
async def test_pictures_cut_no_label_and_their_figures_break_in_no_number(
    watched: Watched, estate_file: Path, hostile_file: Path, width: int
) -> None:
    for file in (estate_file, hostile_file):
        page = await watched.show(file, width=width)
        await page.emulate_media(media="print" if width == A4 else "screen")
        await page.evaluate(OPEN_ALL)
        assert await page.evaluate(CUT_LABELS) == []
        await page.evaluate(WIDEN)
        assert await page.evaluate(CUT_LABELS) == []
        assert await page.evaluate(BROKEN_NUMBERS) == []
        if width == A4:
            assert await page.evaluate(WIDER_THAN_THEIR_CARDS) == []


async def test_dark_repaints_charts(watched: Watched, estate_file: Path) -> None:
    fill = "getComputedStyle(document.querySelector('.chart [fill=\"#a3123f\"]')).fill"
    page = await watched.show(estate_file)
    light = await page.evaluate(fill)
    await page.emulate_media(color_scheme="dark")
    assert (light, await page.evaluate(fill)) == ("rgb(163, 18, 63)", "rgb(240, 88, 126)")


@pytest.mark.parametrize("width", [390, 1440])
async def test_hostile_values_run_nothing_and_break_no_layout(watched: Watched, hostile_file: Path, width: int) -> None:
    page = await watched.show(hostile_file, width=width)
    await page.evaluate(OPEN_ALL)
    await page.locator("#findings th .sort", has_text="Rule").press("Enter")
    await page.get_by_label("Containing").fill("script")

    assert watched.misdeeds == []
    assert await page.locator("img, iframe, object, textarea, [onload], [onerror], [onfocus], [autofocus]").count() == 0
    assert await page.locator("script").count() == 1
    assert await page.locator("#findings tbody tr:visible").count() == 4
    assert await page.evaluate(TOO_WIDE) <= 0
    assert await page.locator("#method").is_visible()
    await page.get_by_label("Containing").fill("")
    heights = "[...document.querySelectorAll('#findings tbody tr')].map((row) => row.offsetHeight)"
    assert max(await page.evaluate(heights)) < 5_000  # some 3,000 with a wide font
