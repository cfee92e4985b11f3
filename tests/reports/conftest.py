"""The page of a realistic estate, made and read once: both take longer than most tests of it."""

import asyncio
from xml.etree.ElementTree import Element

import pytest

from auditor.reports.html import Html
from tests.reports.pages import parsed
from tests.reports.report_samples import estate, estate_findings, written


@pytest.fixture(scope="session")
def estate_page() -> str:
    """The page of a realistic estate."""
    return asyncio.run(written(Html(), estate(), estate_findings()))


@pytest.fixture(scope="session")
def estate_document(estate_page: str) -> Element:
    """The same, read by a parser that takes only valid HTML; tests leave it as it is."""
    return parsed(estate_page)
