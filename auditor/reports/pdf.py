"""The page as PDF, for paper and for those who file it: numbered pages, contents, running headers."""

import asyncio
import io
import logging
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from auditor.model.errors import ConfigError, Problem
from auditor.reports.base import Findings, ReportData
from auditor.reports.html import Html

MAX_LISTED: Final = 500
"""Open findings that the document lists, and likewise waived and resolved ones: laying out a page takes time."""


class Pdf:
    """The HTML page laid out on paper by WeasyPrint."""

    name = "pdf"
    media_type = "application/pdf"
    suffix = "pdf"
    is_binary = True

    def __init__(self, max_listed: int = MAX_LISTED) -> None:
        self._page = Html(max_listed, is_paper=True)

    def require(self) -> None:
        """Raise ``ConfigError`` where WeasyPrint, or a library of the system that it needs, is missing."""
        _weasyprint()

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the document, which is laid out as a whole.

        Raises ``ConfigError`` where WeasyPrint, or a library of the system that it needs, is missing.
        """
        renderer = _weasyprint()
        page = io.BytesIO()
        await self._page.write(data, findings, page)
        # In a thread: it takes a second for each five pages, and the daemon has other things to do meanwhile.
        document = renderer(string=page.getvalue().decode(), url_fetcher=_refused)
        out.write(await asyncio.to_thread(document.write_pdf))


def _weasyprint() -> Callable[..., Any]:
    """Return WeasyPrint's ``HTML``; it has no types."""
    try:
        from weasyprint import HTML
    except ImportError as error:
        raise ConfigError(
            Problem(
                "--format", f"pdf needs the package weasyprint ({error}); install it with: pip install auditor[pdf]"
            )
        ) from error
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            Problem(
                "--format",
                f"pdf needs the system library Pango ({reason}); install it, on Debian with: "
                "apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
            )
        ) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of all in the style sheet that is for screens
    made: Callable[..., Any] = HTML
    return made


def _refused(url: str, *_args: object, **_kwargs: object) -> dict[str, object]:
    """No request leaves the page, here too; its one address is an empty icon."""
    raise ValueError(f"the page asks for {url}")
