"""The JSON document: complete, streamed, and readable back."""

import msgspec

from auditor.model.finding import Finding, Severity
from auditor.model.sweep import SweepSummary
from auditor.reports.base import RulePosture
from auditor.reports.json_format import Json
from tests.reports.report_samples import DIGEST, environment, estate, estate_findings, finding, report, written


async def test_document_reads_back_as_what_was_written() -> None:
    data = estate()
    document = msgspec.json.decode(await written(Json(), data, estate_findings()))

    assert document["schema"] == "auditor.report/1"
    assert document["made_at"] == "2026-03-02T06:30:00Z"
    assert document["policy"] == {"name": "baseline", "digest": DIGEST}
    assert document["open_by_severity"] == {"critical": 3, "high": 5, "medium": 4, "low": 2, "info": 1}
    assert msgspec.convert(document["rules"], list[RulePosture]) == data.rules
    assert msgspec.convert(document["findings"], list[Finding]) == estate_findings()
    assert document["findings_count"] == len(estate_findings())


async def test_environment_carries_its_sweep_and_coverage() -> None:
    data = estate()
    staging = msgspec.json.decode(await written(Json(), data))["environments"][1]

    assert msgspec.convert(staging["last_sweep"], SweepSummary) == data.environments[1].last_sweep
    assert staging["last_sweep_coverage"] == 50 / 58
    assert (staging["stored_tokens"], staging["unknown_tokens"], staging["audited_tokens"]) == (58, 8, 50)


async def test_never_swept_environment_has_no_coverage() -> None:
    document = msgspec.json.decode(await written(Json(), report(environment(last_sweep=None))))

    assert document["environments"][0]["last_sweep"] is None
    assert document["environments"][0]["last_sweep_coverage"] is None


async def test_document_without_findings_is_whole() -> None:
    document = msgspec.json.decode(await written(Json(), report()))

    assert document["findings"] == []
    assert document["findings_count"] == 0


async def test_each_finding_stands_on_its_own_line() -> None:
    lines = (await written(Json(), report(environment()), [finding(n) for n in range(250)])).splitlines()

    labels = [msgspec.json.decode(line.rstrip(","))["label"] for line in lines if line.startswith('{"key"')]

    assert labels == [finding(n).label for n in range(250)]


async def test_strange_characters_keep_their_value_and_lone_surrogates_are_replaced() -> None:
    odd = finding(token_name='a\x00\u202e"\\\n', owner="x\ud800y", evidence={"\udc00": ["\ud83d\ude00", None]})

    text = await written(Json(), report(environment(open_by_severity={Severity.HIGH: 1})), [odd])
    read = msgspec.json.decode(text.encode())["findings"][0]

    assert read["token_name"] == 'a\x00\u202e"\\\n'
    assert read["owner"] == "x\ufffdy"
    assert read["evidence"] == {"\ufffd": ["\U0001f600", None]}


async def test_token_shape_loses_its_secret() -> None:
    secret = "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"

    text = await written(Json(), report(), [finding(message=f"is named dt0c01.ST2EY72KQINMH574WMNVI7YN.{secret}")])

    assert secret not in text
    assert "is named dt0c01.ST2EY72KQINMH574WMNVI7YN.…" in text
