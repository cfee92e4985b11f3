"""Pages in a real browser, headless, for tests; there may be none."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_chromium: Final = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on the path")


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser that no display shows and that ends with the block."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield running
        finally:
            await running.close()


class Watched:
    """A page with what it did that it should not: requests, dialogs, errors, and complaints of its policy."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.misdeeds: list[str] = []
        page.set_default_timeout(10_000)
        page.on("request", lambda request: self._request(request.url))
        page.on("dialog", lambda dialog: self.misdeeds.append(f"dialog: {dialog.message}"))
        page.on("pageerror", lambda error: self.misdeeds.append(f"error: {error}"))
        page.on("console", lambda message: self.misdeeds.append(f"console: {message.text}"))

    def _request(self, url: str) -> None:
        if not url.startswith("file:") and url != "data:,":
            self.misdeeds.append(f"request: {url}")


@asynccontextmanager
async def shown(
    browser: Browser,
    path: Path,
    *,
    width: int = 1400,
    scheme: Literal["light", "dark"] = "light",
    scripts: bool = True,
) -> AsyncIterator[Watched]:
    """A file in a tab of its own."""
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
    )
    try:
        watched = Watched(await context.new_page())
        await watched.page.goto(path.as_uri())
        yield watched
    finally:
        await context.close()
