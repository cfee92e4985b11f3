"""The report as one JSON document, for programs; docs/report-formats.md describes its members."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import BinaryIO, Final

from auditor.reports.base import EnvironmentPosture, Findings, ReportData
from auditor.reports.controls import JUDGEMENT, as_told, assessments
from auditor.reports.expiry import as_document
from auditor.reports.json_text import encoded, encoded_lines
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
        out.write(b"{\n")
        out.writelines(b"%s: %s,\n" % (encoded(name), encoded(value)) for name, value in header.items())
        out.write(b'"verdicts": [')
        async with aclosing(data.verdicts()) as judged:
            await _list(judged, out)
        out.write(b'],\n"findings": [')
        async with aclosing(findings()) as batches:
            count = await _list(batches, out)
        out.write(b'],\n"findings_count": %d\n}\n' % count)


async def _list(batches: AsyncIterator[Sequence[object]], out: BinaryIO) -> int:
    """Write what a stream holds as the members of a list, one a line; returns how many there were."""
    count = 0
    async for batch in batches:
        out.write(b",\n" if count else b"\n")
        out.write(b",\n".join(encoded_lines(batch).splitlines()))
        count += len(batch)
    out.write(b"\n")
    return count


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
