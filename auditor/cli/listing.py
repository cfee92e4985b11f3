"""``auditor findings``: lists findings, or shows one with its history."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from auditor.cli.revoking import reasons, style_of
from auditor.cli.session import Session, now, require_known, require_known_rules, run_loop
from auditor.cli.showing import cell, console, is_text, print_json, print_table, severity, text
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.model.finding import Finding, Severity
from auditor.model.waiver import Waiver
from auditor.policy.base import Rule
from auditor.policy.registry import rules_of
from auditor.policy.revocation import Judgement
from auditor.policy.waivers import finding_of
from auditor.reports.verdicts import MEANINGS, verdict_on
from auditor.store import attention
from auditor.store import findings as store
from auditor.store.attention import Acknowledgement
from auditor.store.connection import Connection
from auditor.store.findings import Event, Filter


def findings(
    session: Session,
    *,
    environments: Sequence[str],
    least: str | None,
    rules: Sequence[str],
    owners: Sequence[str],
    resolved_days: int,
    waived: bool | None,
    as_json: bool,
) -> int:
    """List findings, worst first. Exit code 0: listing finds nothing wrong by itself."""
    at = now()
    wanted = Filter(
        environments=tuple(environments),
        rules=tuple(rule.upper() for rule in rules),
        owners=tuple(owners),
        min_severity=Severity(least) if least else Severity.INFO,
        resolved_since=at - timedelta(days=resolved_days) if resolved_days else None,
        waived=waived,
    )
    found = run_loop(_read(session, wanted, at))
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0


async def _read(session: Session, wanted: Filter, at: datetime) -> list[Finding]:
    config = session.load()
    require_known(config, wanted.environments, "--environment")
    async with session.database(config) as pool, pool.acquire() as connection, connection.transaction():
        await _require_known_rules(connection, config, wanted.rules)
        return [finding async for batch in store.read(connection, wanted, at) for finding in batch]


async def _require_known_rules(connection: Connection, config: Config, rules: Sequence[str]) -> None:
    """Raise ``ConfigError`` where neither a policy nor a finding knows a rule."""
    known = config.policies.rules()
    if known.issuperset(rules):
        return
    require_known_rules(rules, known.union(await store.rules(connection)))


def _print(found: Sequence[Finding]) -> None:
    out = console()
    if not found:
        out.print("No findings.")
        return
    print_table(
        ("Severity", "Rule", "Environment", "Token", "Name", "Owner", "Since", "What"),
        (
            (
                severity(finding.severity.value),
                finding.rule_id,
                finding.environment,
                cell(finding.label),
                cell(finding.token_name or ""),
                cell(finding.owner or ""),
                f"{finding.opened_at:%Y-%m-%d}",
                cell(_said(finding)),
            )
            for finding in found
        ),
    )
    out.print(f"\n{len(found)} findings. Show one: auditor findings show ENVIRONMENT/TOKEN/RULE")


def _said(finding: Finding) -> str:
    if finding.waiver is not None:
        return f"waived until {finding.waiver.until:%Y-%m-%d} ({finding.waiver.id}): {finding.message}"
    return finding.message if finding.status == "open" else f"{finding.status}: {finding.message}"


def show(session: Session, key: str, *, as_json: bool) -> int:
    """Show the finding of a key; raises ``ConfigError`` where there is none."""
    found = run_loop(_show(session, key))
    if found is None:
        raise ConfigError(Problem(f"finding {key}", "no such finding; auditor findings --json lists their keys"))
    finding, acknowledged, events, verdict, rule = found
    if as_json:
        print_json({"finding": finding, "acknowledgement": acknowledged, "history": events, "verdict": verdict})
    else:
        _describe(finding, acknowledged, events, verdict, rule)
    return 0


async def _show(
    session: Session, key: str
) -> tuple[Finding, Acknowledgement | None, Sequence[Event], Judgement | None, Rule | None] | None:
    config = session.load()
    if not is_text(key):
        return None
    async with session.database(config) as pool, pool.acquire() as connection:
        shown = await store.show(connection, key, now())
        if shown is None:
            return None
        finding, events = shown
        stack = config.policies.by_environment.get(finding.environment, config.policies.common)
        rule = rules_of(stack.document).get(finding.rule_id)
        known = finding_of(finding.key)
        acknowledged = await attention.acknowledgement(connection, known, now()) if known else None
        verdict = await verdict_on(connection, finding.environment, finding.label, now())
        return finding, acknowledged, events, verdict, rule


def _describe(
    finding: Finding,
    acknowledged: Acknowledgement | None,
    events: Sequence[Event],
    verdict: Judgement | None,
    rule: Rule | None,
) -> None:
    out = console()
    out.print(text(finding.key, "bold"))
    facts = (
        ("Severity", severity(finding.severity.value)),
        ("Status", text(finding.status if finding.resolution is None else f"{finding.status} by {finding.resolution}")),
        *((("Waived", text(_terms(finding.waiver))),) if finding.waiver else ()),
        *((("Acknowledged", text(_known(acknowledged))),) if acknowledged else ()),
        ("What", text(finding.message)),
        ("Rule", text(f"{finding.rule_id} {rule.title if rule else '(not in this catalogue)'}")),
        ("Name", text(finding.token_name or "-")),
        ("Owner", text(finding.owner or "-")),
        ("Stored in", text("; ".join(map(str, finding.locations)) or "-")),
        ("Stored still", text("yes" if finding.is_stored else "no: no source holds it any more")),
        ("Opened", text(f"{finding.opened_at:%Y-%m-%d %H:%M} UTC")),
        ("Last seen", text(f"{finding.last_seen_at:%Y-%m-%d %H:%M} UTC")),
        ("Evidence", text(msgspec.json.encode(finding.evidence).decode())),
    )
    for name, value in facts:
        out.print(text(f"  {name:<13}", "dim"), value)
    if rule:
        out.print(f"\n{rule.rationale}\n\nWhat to do: {rule.remediation}")
    if verdict is not None:
        out.print()
        out.print(text("Revoke it? ", "bold"), text(verdict.verdict, style_of(verdict.verdict)), sep="", end="")
        out.print(f": {MEANINGS[verdict.verdict]}")
        for line in reasons(verdict):
            out.print(text(f"  {line}"))
    out.print()
    out.print(text("History", "bold"))
    for event in events:
        how = f" by {event.resolution}" if event.resolution else ""
        where = "between sweeps" if event.sweep is None else f"sweep {event.sweep}"
        what = f"{event.message} ({where})" if event.waiver is None else f"{_terms(event.waiver)} ({where})"
        out.print(
            text(f"  {event.at:%Y-%m-%d %H:%M}  {event.transition.value}{how}  "),
            severity(event.severity.value),
            text(f" {what}"),
        )


def _known(acknowledged: Acknowledgement) -> str:
    until = f" until {acknowledged.until:%Y-%m-%d %H:%M} UTC" if acknowledged.until else ""
    note = f": {acknowledged.note}" if acknowledged.note else ""
    over = "" if acknowledged.is_in_force else " (over)"
    return f"{acknowledged.at:%Y-%m-%d %H:%M} UTC by {acknowledged.by}{until}{over}{note}"


def _terms(waiver: Waiver) -> str:
    return (
        f"until {waiver.until:%Y-%m-%d %H:%M} UTC by {waiver.id}: owner {waiver.owner}, approver {waiver.approver}, "
        f"ticket {waiver.ticket}: {waiver.reason}"
    )
