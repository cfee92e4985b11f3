"""The report as Markdown (CommonMark with GitHub's tables), for issues, wikis and pull requests."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import BinaryIO, Final

from auditor.model.finding import Finding
from auditor.model.sweep import RuleState
from auditor.outside_text import clipped, visible
from auditor.reports import sentences
from auditor.reports.base import EnvironmentPosture, Findings, ReportData, as_text
from auditor.reports.controls import JUDGEMENT, assessments
from auditor.reports.rule_views import rule_views

_LIMIT: Final = 200
"""Characters of any one value from outside; a longer one says how long it was."""

_MEANT: Final = re.compile(r"([\\`*_\[\]<>|~&!#:@$^{}]|(?<=www)\.|^[-+=])")
"""Signs that a renderer may take for more than themselves, inside a line or at its beginning."""
_NUMBERED: Final = re.compile(r"^([0-9]+)([.)])")
"""What begins a list."""

_BODIES: Final = ("open", "waived", "resolved")
_TITLES: Final = {"open": "Open findings", "waived": "Waived findings", "resolved": "Resolved findings"}
_COLUMNS: Final = {
    "open": ("Severity", "Rule", "Environment", "Token", "Name", "Owner", "Since", "What"),
    "waived": ("Severity", "Rule", "Environment", "Token", "Name", "Until", "Approver", "Ticket", "Reason"),
    "resolved": ("Severity", "Rule", "Environment", "Token", "Name", "Owner", "Resolved", "What it was"),
}


class Markdown:
    """Markdown: summary, environments, controls, and every finding as a row of a table."""

    name = "markdown"
    media_type = "text/markdown"
    suffix = "md"
    is_binary = False

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the report, its findings as they come."""
        with as_text(out) as text:
            text.writelines(f"{line}\n" for line in _head(data))
            part = ""
            async with aclosing(findings()) as batches:
                async for batch in batches:
                    for finding in batch:
                        here = _part(finding)
                        if here != part:
                            text.writelines(
                                f"{line}\n" for line in ("", f"## {_TITLES[here]}", "", *_header(_COLUMNS[here]))
                            )
                            part = here
                        text.write(f"{_row(_cells(finding, here))}\n")
            text.writelines(f"{line}\n" for line in _rules(data))


def escaped(value: str) -> str:
    """Return text from outside as one line that no renderer takes for markup, a link or HTML."""
    return escaped_whole(clipped(visible(value), _LIMIT))


def _head(data: ReportData) -> Iterator[str]:
    yield "# Token audit report"
    yield ""
    made = f"Made {_minute(data.made_at)} by auditor {data.version}"
    if data.as_of is not None:
        made = f"As of {_minute(data.as_of)}. {made}"
    yield (
        f"{made}; policy {escaped(data.policy_name)} (SHA-256 {data.policy_digest[:12]}…)."
        if data.policy_name
        else f"{made}."
    )
    yield ""
    yield f"**{escaped(sentences.headline(data))}**"
    yield ""
    yield from (f"- {escaped_whole(sentence)}" for sentence in sentences.summary(data))
    yield from ("", "## Environments", "")
    yield from _header(("Environment", "Last sweep", "Last complete", "Tokens", "Unknown", "Open", "Waived"))
    yield from (_row(_environment(environment)) for environment in data.environments)
    yield from ("", "## Controls", "", JUDGEMENT)
    for framework in assessments(data):
        yield from ("", f"### {framework.framework.value}", "")
        yield from _header(("Control", "Title", "State", "Why"))
        for control in framework.served:
            yield _row((escaped(control.id), escaped(control.title), control.state, escaped(control.reason)))
        rest = len(framework.unserved)
        if rest:
            yield from (
                "",
                f"{sentences.plural(rest, 'more control')} of the catalogue: not assessed, no rule serves them.",
            )
    hidden = [rule for rule in data.rules if rule.state is not RuleState.ASSESSED]
    if hidden:
        yield from ("", "## Rules that were not assessed", "")
        yield from _header(("Rule", "Environment", "State", "Why"))
        for rule in hidden:
            yield _row(
                (escaped(f"{rule.rule_id} {rule.title}"), escaped(rule.environment), rule.state, escaped(rule.reason))
            )


def escaped_whole(value: str) -> str:
    """Return a sentence that may hold text from outside, escaped but not cut."""
    return _NUMBERED.sub(r"\1\\\2", _MEANT.sub(r"\\\1", visible(value)))


def _environment(environment: EnvironmentPosture) -> Sequence[str]:
    sweep = environment.last_sweep
    return (
        escaped(environment.name),
        "never swept" if sweep is None else f"{sweep.status} {_minute(sweep.finished_at or sweep.started_at)}",
        "never" if environment.last_complete_at is None else _minute(environment.last_complete_at),
        f"{environment.stored_tokens:,}",
        f"{environment.unknown_tokens:,}",
        f"{environment.open_findings:,}",
        f"{environment.waived_findings:,}",
    )


def _part(finding: Finding) -> str:
    if finding.status == "resolved":
        return "resolved"
    return "open" if finding.waiver is None else "waived"


def _cells(finding: Finding, part: str) -> Iterator[str]:
    yield finding.severity
    yield from map(escaped, (finding.rule_id, finding.environment, finding.label, finding.token_name or ""))
    if part == "waived" and finding.waiver is not None:
        waiver = finding.waiver
        yield f"{waiver.until.astimezone(UTC):%Y-%m-%d}"
        yield from map(escaped, (waiver.approver, waiver.ticket, waiver.reason))
        return
    yield escaped(finding.owner or "")
    yield f"{(finding.resolved_at or finding.opened_at).astimezone(UTC):%Y-%m-%d}"
    yield escaped(finding.message)


def _rules(data: ReportData) -> Iterator[str]:
    """Yield what to do about the rules that have open findings."""
    views = [view for view in rule_views(data) if view.open_findings and view.remediation]
    if views:
        yield from ("", "## What to do", "")
    for view in views:
        count = sentences.plural(view.open_findings, "open finding")
        yield f"- **{escaped(view.id)} {escaped(view.title)}** ({count}): {escaped_whole(view.remediation)}"


def _header(columns: Sequence[str]) -> Iterator[str]:
    yield _row(columns)
    yield _row(["---"] * len(columns))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
