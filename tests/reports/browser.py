"""Pages in a real browser, headless, for tests; there may be none."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest

if TYPE_CHECKING:  # every process of a run of tests loads this module, and few of them play in a browser
    from playwright.async_api import Browser, Page

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_chromium: Final = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on the path")


@asynccontextmanager
async def browser() -> AsyncIterator["Browser"]:
    """A browser that no display shows and that ends with the block."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield running
        finally:
            await running.close()


class Watched:
    """A page with what it did that it should not: requests, dialogs, errors, and complaints of its policy."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.misdeeds: list[str] = []
        page.set_default_timeout(10_000)
        page.on("request", lambda request: self._request(request.url))
        page.on("dialog", lambda dialog: self.misdeeds.append(f"dialog: {dialog.message}"))
        page.on("pageerror", lambda error: self.misdeeds.append(f"error: {error}"))
        page.on("console", lambda message: self.misdeeds.append(f"console: {message.text}"))

    async def show(self, path: Path, *, width: int = 1400, scheme: Literal["light", "dark"] = "light") -> "Page":
        """Show a file as if nothing had been shown before."""
        await self.page.set_viewport_size({"width": width, "height": 900})
        await self.page.emulate_media(media="null", color_scheme=scheme)
        self.misdeeds.clear()
        await self.page.goto(path.as_uri())
        return self.page

    def _request(self, url: str) -> None:
        if not url.startswith("file:") and url != "data:,":
            self.misdeeds.append(f"request: {url}")


@asynccontextmanager
async def tab(browser: "Browser", *, scripts: bool = True) -> AsyncIterator[Watched]:
    """A tab of its own; it takes longer to open one than to show a file in it."""
    context = await browser.new_context(java_script_enabled=scripts)
    try:
        yield Watched(await context.new_page())
    finally:
        await context.close()
