"""The report as one JSON document, for programs; docs/report-formats.md describes its members."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import BinaryIO, Final

import msgspec

from auditor.outside_text import redacted
from auditor.reports.base import EnvironmentPosture, Findings, ReportData, as_text
from auditor.reports.controls import JUDGEMENT, as_told, assessments
from auditor.reports.expiry import as_document
from auditor.reports.period import Period
from auditor.reports.sentences import open_totals, waived_totals

SCHEMA: Final = "auditor.report/1"
"""Name and version of the document's form; the number rises when a member goes or changes its meaning."""


class Json:
    """JSON for programs: every member of the data, nothing cut short."""

    name = "json"
    media_type = "application/json"
    suffix = "json"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the document, one verdict and one finding a line, as they come."""
        header = {
            "schema": SCHEMA,
            "made_at": data.made_at,
            "as_of": data.as_of,
            "period": _period(data.period),
            "exact_since": data.exact_since,
            "timeline": await data.timeline(),
            "auditor_version": data.version,
            "policy": {"name": data.policy_name, "digest": data.policy_digest},
            "resolved_since_days": data.resolved_since_days,
            "open_by_severity": open_totals(data.environments),
            "waived_by_severity": waived_totals(data.environments),
            "environments": [_environment(environment) for environment in data.environments],
            "rules": data.rules,
            "controls": {"judgement": JUDGEMENT, "frameworks": [as_told(one) for one in assessments(data)]},
            "forecasts": [as_document(forecast) for forecast in data.forecasts],
        }
        with as_text(out) as text:
            text.write("{\n")
            text.writelines(f"{_encoded(name)}: {_encoded(value)},\n" for name, value in header.items())
            text.write('"verdicts": [')
            count = 0
            async with aclosing(data.verdicts()) as judged:
                async for several in judged:
                    for judgement in several:
                        text.write(f"{',' if count else ''}\n{_encoded(judgement)}")
                        count += 1
            text.write('\n],\n"findings": [')
            count = 0
            async with aclosing(findings()) as batches:
                async for batch in batches:
                    for finding in batch:
                        text.write(f"{',' if count else ''}\n{_encoded(finding)}")
                        count += 1
            text.write(f'\n],\n"findings_count": {count}\n}}\n')


def _period(period: Period | None) -> Mapping[str, object] | None:
    if period is None:
        return None
    return {"name": period.name, "first_day": period.first_day, "last_day": period.last_day}


def _environment(posture: EnvironmentPosture) -> dict[str, object]:
    sweep = posture.last_sweep
    members = {name: getattr(posture, name) for name in posture.__struct_fields__}
    return members | {
        "audited_tokens": posture.audited_tokens,
        "open_findings": posture.open_findings,
        "waived_findings": posture.waived_findings,
        "last_sweep_coverage": sweep.coverage if sweep else None,
    }


def _encoded(value: object) -> str:
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_without_surrogates(msgspec.to_builtins(value)))
    return redacted(encoded.decode())


def _without_surrogates(value: object) -> object:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD wherever they stand."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(member) for member in value]
    return value
