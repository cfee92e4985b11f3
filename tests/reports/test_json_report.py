"""The JSON document: complete, streamed, and readable back."""

import msgspec

from auditor.model.finding import Finding, Severity
from auditor.model.sweep import SweepSummary
from auditor.policy.revocation import Judgement
from auditor.reports.base import RulePosture
from auditor.reports.json_format import Json
from tests.reports.report_samples import (
    DIGEST,
    WAIVER,
    environment,
    estate,
    estate_findings,
    finding,
    judged,
    judgement,
    report,
    written,
)


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


async def test_waived_findings_are_counted_apart_and_carry_their_waiver() -> None:
    here = environment(open_by_severity={Severity.HIGH: 1}, waived_by_severity={Severity.HIGH: 2})
    document = msgspec.json.decode(await written(Json(), report(here), [finding(), finding(1, waiver=WAIVER)]))
    assert (document["open_by_severity"]["high"], document["waived_by_severity"]["high"]) == (1, 2)
    (told,) = document["environments"]
    assert (told["open_findings"], told["waived_findings"], told["waived_by_severity"]) == (1, 2, {"high": 2})
    assert [one["waiver"] and one["waiver"]["id"] for one in document["findings"]] == [None, "sec-1042"]
    assert [one["status"] for one in document["findings"]] == ["open", "open"]


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


async def test_forecast_and_verdicts_stand_before_the_findings() -> None:
    document = msgspec.json.decode(await written(Json(), estate(), estate_findings()))

    assert list(document)[-4:] == ["forecasts", "verdicts", "findings", "findings_count"]
    production, staging = document["forecasts"]
    assert (production["environment"], production["tokens"], production["most_before"]) == ("production", 62, 31)
    assert {"day": "2026-07-10", "tokens": 31} in production["days"]
    assert [cliff["first_day"] for cliff in production["cliffs"]] == ["2026-07-10", "2026-12-30"]
    assert (staging["tokens"], staging["days"], staging["cliffs"]) == (0, [], [])
    assert [one["verdict"] for one in document["verdicts"]] == [
        "safe",
        "likely_safe",
        "risky",
        "do_not_revoke",
        "unknown",
    ]
    assert msgspec.convert(document["verdicts"][0], Judgement).label == document["verdicts"][0]["label"]


async def test_each_verdict_stands_on_its_own_line() -> None:
    every = [judgement(number) for number in range(250)]
    lines = (await written(Json(), report(verdicts=judged(*every)))).splitlines()

    read = [
        msgspec.json.decode(line.rstrip(","), type=Judgement) for line in lines if line.startswith('{"environment"')
    ]

    assert read == every
