"""The PDF: the page's words on numbered pages, with contents, and clear words where it cannot be made."""

import io
import sys
from pathlib import Path

import pytest

from auditor.model.errors import ConfigError
from auditor.model.finding import Severity
from auditor.model.token import Location
from auditor.reports.pdf import Pdf
from tests.reports.report_samples import environment, finding, report, sample_figures, sample_timeline, written_bytes

DATA = report(
    environment(open_by_severity={Severity.HIGH: 3}),
    rules=[],
    frameworks=(),
    figures=sample_figures(),
    timeline=sample_timeline,
)


@pytest.fixture
def pango() -> None:
    """What WeasyPrint needs of the system."""
    try:
        import weasyprint  # noqa: F401
    except OSError as error:
        pytest.skip(f"WeasyPrint cannot load: {str(error).splitlines()[0]}")


@pytest.mark.usefixtures("pango")
async def test_document_has_numbered_pages_contents_headers_and_every_finding() -> None:
    from pypdf import PdfReader

    long = "w" * 10_000
    findings = [finding(0, label=long, message=long, evidence={long: long}, locations=(Location(long, long),))]
    findings += [finding(number, token_name=f"<b>name-{number}</b>") for number in range(1, 3)]

    document = PdfReader(io.BytesIO(await written_bytes(Pdf(max_listed=2), DATA, findings)))
    pages = [" ".join(page.extract_text().split()) for page in document.pages]

    assert f"Page 1 of {len(pages)}" in pages[0]
    assert "Contents" in pages[0]
    assert all(f"Page {number} of {len(pages)}" in page for number, page in enumerate(pages, 1))
    assert all("Dynatrace token audit" in page for page in pages)
    assert min(map(len, pages)) > 200  # none has its header and footer only
    whole = " ".join(pages)
    assert "name-1</b>" in whole
    assert "1 more open finding is not listed on this page." in whole
    assert "Deadlines kept" in whole
    assert pages[1].startswith("Pictures Open findings over time")
    assert next(entry.title for entry in document.outline if not isinstance(entry, list)) == "Summary"


async def test_missing_package_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)

    with pytest.raises(ConfigError, match=r"pdf needs the package weasyprint .*pip install auditor\[pdf\]"):
        await written_bytes(Pdf(), DATA)


async def test_missing_system_library_is_named_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weasyprint.py").write_text("raise OSError('cannot load library libpango-1.0-0\\nmore words')")
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigError, match=r"pdf needs .* Pango \(cannot load library libpango-1.0-0\); .*apt install"):
        await written_bytes(Pdf(), DATA)
