"""Verdicts in reports: what the page lists of them, and the table of all."""

import csv
import io
from datetime import timedelta
from xml.etree.ElementTree import Element

from auditor.policy.revocation import Cadence, Confidence, Verdict
from auditor.policy.scopes import RiskTier
from auditor.reports.csv_verdicts import VERDICT_COLUMNS, CsvVerdicts
from auditor.reports.html import MAX_REVOCABLE, Html
from auditor.reports.verdicts import overview
from tests.reports.pages import parsed, section, short, text_of
from tests.reports.report_samples import estate, judged, judgement, public_id, report, written
from tests.reports.test_html_report import HOSTILE


async def test_overview_counts_all_and_keeps_the_surest_and_most_powerful() -> None:
    every = [
        judgement(0, verdict=Verdict.LIKELY_SAFE, risk_tier=RiskTier.CRITICAL),
        judgement(1, risk_tier=RiskTier.LOW),
        judgement(2, risk_tier=RiskTier.CRITICAL, confidence=Confidence.LOW),
        judgement(3, risk_tier=RiskTier.CRITICAL, confidence=Confidence.HIGH),
        judgement(4, verdict=Verdict.RISKY),
        judgement(5, verdict=Verdict.RISKY, environment="staging"),
    ]
    for batch in (1, 2, 100):
        seen = await overview(judged(*every, batch=batch), 3)
        assert seen.counts == {
            "production": {Verdict.LIKELY_SAFE: 1, Verdict.SAFE: 3, Verdict.RISKY: 1},
            "staging": {Verdict.RISKY: 1},
        }
        assert [one.label for one in seen.listed] == [public_id(3), public_id(2), public_id(1)]
        assert seen.unlisted == 1


async def test_page_lists_what_can_be_revoked_with_its_evidence(estate_document: Element) -> None:
    shown = section(estate_document, "revocable")

    assert f"{public_id(7)}load-test-2023" in shown
    assert "labno owner known" in shown
    assert "it was last used on 2025-09-14 from 203.0.113.7" in shown
    assert "less sure because only 9 lookups gave evidence" in shown
    assert "medium confidence, critical risk" in shown
    assert shown.index("load-test-2023") < shown.index("terraform-apply (old)")
    assert "service-9" not in shown
    assert "production 0 1 1 1 0 0" in shown


async def test_page_without_verdicts_says_so() -> None:
    assert "No stored token is known." in section(await written(Html(), short()), "revocable")
    risky = short(verdicts=judged(judgement(verdict=Verdict.RISKY)))
    assert "No token is safe or likely safe to revoke." in section(await written(Html(), risky), "revocable")


async def test_page_of_thousands_lists_some_and_says_where_the_rest_is() -> None:
    every = [judgement(number, label=f"token-{number:05d}") for number in range(MAX_REVOCABLE + 1234)]
    page = await written(Html(), short(verdicts=judged(*every)))

    assert page.count("<code>token-") == MAX_REVOCABLE
    assert (
        "1,234 more tokens are not listed on this page. All of them: auditor report --format csv-verdicts"
        in section(page, "revocable")
    )


async def test_hostile_values_of_a_verdict_are_shown_as_text() -> None:
    for value in HOSTILE:
        one = judgement(
            environment=value, label=value, token_name=value, owner=value, evidence=(value,), limits=(value,)
        )
        document = parsed(await written(Html(), short(verdicts=judged(one))))
        assert len(list(document.iter("script"))) == 1
        assert not list(document.iter("img"))
        assert text_of(document).count(" ".join(value.split())) == 7


async def test_table_has_every_token_with_all_that_is_known() -> None:
    text = await written(CsvVerdicts(), estate())
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))

    assert text.startswith(",".join(VERDICT_COLUMNS) + "\r\n")
    assert [row["verdict"] for row in rows] == ["safe", "likely_safe", "risky", "do_not_revoke", "unknown"]
    assert rows[0] == {
        "environment": "lab",
        "token": public_id(7),
        "token_name": "load-test-2023",
        "owner": "",
        "verdict": "safe",
        "confidence": "high",
        "evidence": "it was last used on 2025-09-14 from 203.0.113.7 | 40 lookups gave evidence",
        "limits": "",
        "safe_from": "",
        "risk_tier": "low",
        "last_used_date": "2025-09-14T06:30:00Z",
        "uses_seen": "4",
        "median_pause_days": "1",
        "longest_pause_days": "9.5",
        "networks": "203.0.113.0/24",
        "successor": "",
        "evident_at": "2026-03-02T06:10:00Z",
    }
    assert rows[1]["successor"] == public_id(0)


async def test_table_defuses_formulas_and_leaves_the_unknown_empty() -> None:
    one = judgement(
        token_name="=1+1",
        evidence=("@x", "-y"),
        cadence=Cadence(),
        last_used_date=None,
        safe_from=judgement().evident_at + timedelta(days=3),  # type: ignore[operator]
    )
    (row,) = csv.DictReader(io.StringIO(await written(CsvVerdicts(), report(verdicts=judged(one))), newline=""))

    assert (row["token_name"], row["evidence"]) == ("'=1+1", "'@x | -y")
    assert (row["uses_seen"], row["median_pause_days"], row["networks"], row["last_used_date"]) == ("0", "", "", "")
    assert row["safe_from"] == "2026-03-05T06:10:00Z"
