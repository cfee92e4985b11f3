"""The HTML page in a real browser: whole without its script and on paper, repainted in the dark, asking for nothing."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from auditor.model.finding import Severity
from auditor.policy.base import Framework
from auditor.reports.html import Html
from tests.reports.browser import browser, needs_chromium, shown
from tests.reports.report_samples import (
    WAIVER,
    estate,
    estate_findings,
    finding,
    written,
)

pytestmark = needs_chromium


def stored(directory: Path, name: str, page: str) -> Path:
    path = directory / name
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def estate_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a realistic estate with many findings."""
    opened = [one for one in estate_findings() if one.status == "open" and one.severity is not Severity.INFO]
    opened += [finding(number, severity=Severity.INFO, token_name=f"batch-{number}") for number in range(1000, 1120)]
    data = msgspec.structs.replace(estate(), frameworks=(Framework.DORA,))
    rest = [one for one in estate_findings() if one.status != "open"]
    page = asyncio.run(written(Html(), data, [*opened, finding(500, waiver=WAIVER), *rest]))
    return stored(tmp_path_factory.mktemp("pages"), "estate.html", page)


async def test_page_without_scripts_and_on_paper_has_every_finding(estate_file: Path) -> None:
    async with browser() as running:
        async with shown(running, estate_file, scripts=False) as watched:
            assert await watched.page.locator("#findings tbody tr:visible").count() == 134
            assert not await watched.page.locator("#filter").is_visible()
            assert watched.misdeeds == []
        async with shown(running, estate_file) as watched:
            await watched.page.emulate_media(media="print")
            assert await watched.page.locator("#findings tbody tr:visible").count() == 134
            assert await watched.page.locator("#controls tbody tr:visible").count() > 2


async def test_dark_repaints_charts(estate_file: Path) -> None:
    fills = {}
    async with browser() as running:
        for scheme in ("light", "dark"):
            async with shown(running, estate_file, scheme=scheme) as watched:
                fills[scheme] = await watched.page.evaluate(
                    "getComputedStyle(document.querySelector('.chart [fill=\"#a3123f\"]')).fill"
                )
    assert fills == {"light": "rgb(163, 18, 63)", "dark": "rgb(240, 88, 126)"}
