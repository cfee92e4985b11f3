"""The HTML page as a parser that takes only valid HTML reads it."""

from functools import lru_cache
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import msgspec

from auditor.policy.base import Framework
from auditor.reports.base import EnvironmentPosture, ReportData
from tests.reports.report_samples import report


def short(*environments: EnvironmentPosture, **changes: Any) -> ReportData:
    """A report of one rule and one framework: every part of a page, but short."""
    whole = report(*environments)
    return msgspec.structs.replace(
        whole, **{"rules": whole.rules[: len(environments)], "frameworks": (Framework.DORA,)} | changes
    )


@lru_cache(maxsize=1)
def parsed(page: str) -> Element:
    """Read a page, the last one only once; whoever asks leaves it as it is."""
    document: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    return document


def text_of(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def section(page: str | Element, name: str) -> str:
    document = parsed(page) if isinstance(page, str) else page
    found = document.find(f".//section[@id='{name}']")
    assert found is not None
    return text_of(found)
