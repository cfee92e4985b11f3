"""Fills a report from the database, in one snapshot."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Final

from pydantic import ValidationError

from auditor import __version__
from auditor.model.sweep import RuleStanding, RuleState
from auditor.policy.base import Framework, Rule
from auditor.policy.forecast import Staggering
from auditor.policy.registry import rules
from auditor.policy.scope_catalogue import SCOPES
from auditor.policy.written.document import WrittenRule
from auditor.policy.written.rules import made_of
from auditor.reports import figures
from auditor.reports.base import EnvironmentPosture, Findings, ReportData, RulePosture
from auditor.reports.expiry import forecasts
from auditor.reports.period import Period
from auditor.reports.verdicts import judgements
from auditor.store import as_of as past
from auditor.store import findings, posture, revocation
from auditor.store.connection import Pool
from auditor.store.findings import Counts, Filter
from auditor.store.posture import EnvironmentState
from auditor.store.timeline import timeline

_NOTHING = Counts({}, {}, 0, 0)
NONE_CONFIGURED: Final[Mapping[str, str]] = {}
_NOT_APPLIED = RuleStanding(RuleState.NOT_ASSESSED, "the last sweep did not apply it")


@asynccontextmanager
async def snapshot(
    pool: Pool,
    *,
    now: datetime,
    resolved_days: int,
    environments: Sequence[str] = (),
    configured: Mapping[str, str] = NONE_CONFIGURED,
    frameworks: Sequence[Framework] = (),
    as_of: datetime | None = None,
    period: Period | None = None,
    schedules: Sequence[str] = (),
) -> AsyncIterator[tuple[ReportData, Findings]]:
    """Read what a report says and offer its findings as a stream, all of one instant, for the length of the block.

    ``environments`` narrows the report; empty means every environment that was ever swept or is ``configured``, which
    are the URLs of those that are, by name: the database knows none that was never swept. What was configured at an
    earlier instant is not known, so a report of one speaks only of those that had been swept by then. ``frameworks``
    narrows it to the rules that serve one of them, and to their findings; empty means every framework, and every rule.
    ``schedules`` are told as they are: the database does not know them.

    ``as_of`` has everything stand as it did at an earlier instant. With ``period`` that is the period's end, or now
    where it is not over, and the findings that were resolved in it take the place of those of ``resolved_days``; no
    ``as_of`` beside it.
    """
    if period is not None:
        as_of = period.end if period.end < now else None
    instant = as_of or now
    since = instant - timedelta(days=resolved_days) if period is None else period.start
    last_day = instant.astimezone(UTC).date()
    first_day = last_day - timedelta(days=figures.DAYS_SHOWN - 1) if period is None else period.first_day
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        exact_since = await past.exact_since(connection, environments)
        if as_of is not None:
            await past.look_back(connection, as_of)
        states = [
            state
            for state in _with_unswept(
                await posture.environments(connection, instant), {} if instant < now else configured
            )
            if not environments or state.name in environments
        ]
        written = _written_in(states)
        catalogue = {**rules(), **written}
        serving = tuple(rule.id for rule in catalogue.values() if any(rule.controls.get(one) for one in frameworks))
        wanted = Filter(environments=tuple(environments), resolved_since=since, rules=serving)
        counted = await findings.counts(connection, instant, since, rules=serving)
        unknown = await posture.unknown_scopes(connection, SCOPES)
        latest = max(
            (state for state in states if state.last_sweep),
            key=lambda state: state.last_sweep.id if state.last_sweep else 0,
            default=None,
        )
        data = ReportData(
            made_at=now,
            version=__version__,
            environments=[
                _posture(state, counted.get(state.name, _NOTHING), unknown.get(state.name, {})) for state in states
            ],
            rules=[
                rule
                for state in states
                for rule in _rules(state, counted.get(state.name, _NOTHING), catalogue)
                if not serving or rule.rule_id in serving
            ],
            frameworks=[one for one in Framework if one in frameworks] or tuple(Framework),
            written=written,
            policy_name=latest.policy_name if latest else "",
            policy_digest=latest.last_sweep.policy_digest if latest and latest.last_sweep else "",
            resolved_since_days=resolved_days if period is None else ceil((instant - since) / timedelta(days=1)),
            as_of=as_of,
            period=period,
            exact_since=exact_since,
            timeline=lambda: timeline(connection, instant, first_day, last_day, environments, serving),
            schedules=schedules,
            figures=await figures.read(connection, instant, since, first_day, environments, serving),
            forecasts=await forecasts(connection, instant, Staggering(), environments),
            verdicts=lambda: judgements(connection, revocation.Filter(environments=tuple(environments)), instant),
        )
        yield data, lambda: findings.read(connection, wanted, instant)


def _with_unswept(states: Sequence[EnvironmentState], configured: Mapping[str, str]) -> Sequence[EnvironmentState]:
    """Add the configured environments that the database does not know: nothing is known of them."""
    known = {state.name for state in states}
    unswept = [
        EnvironmentState(
            name=name,
            url=url,
            last_sweep=None,
            last_complete_at=None,
            stored_tokens=0,
            unknown_tokens=0,
            outdated_tokens=0,
            policy_name="",
            rules={},
        )
        for name, url in configured.items()
        if name not in known
    ]
    return sorted([*states, *unswept], key=lambda state: state.name)


def _posture(state: EnvironmentState, counts: Counts, unknown_scopes: Mapping[str, int]) -> EnvironmentPosture:
    return EnvironmentPosture(
        name=state.name,
        url=state.url,
        last_sweep=state.last_sweep,
        last_complete_at=state.last_complete_at,
        open_by_severity=counts.open_by_severity,
        tokens_with_findings=counts.tokens_with_findings,
        resolved_recently=counts.resolved_recently,
        stored_tokens=state.stored_tokens,
        unknown_tokens=state.unknown_tokens,
        outdated_tokens=state.outdated_tokens,
        policy_name=state.policy_name,
        unknown_scopes=unknown_scopes,
        waived_by_severity=counts.waived_by_severity,
    )


def _written_in(states: Sequence[EnvironmentState]) -> Mapping[str, Rule]:
    """Return the rules that the applied policies write, by id; where two differ, that of the latest sweep."""
    tables: dict[str, WrittenRule] = {}
    for state in sorted(states, key=lambda state: state.last_sweep.id if state.last_sweep else 0):
        for table in state.written_rules:
            with suppress(ValidationError):  # of a policy that another version applied: its findings keep their words
                rule = WrittenRule.model_validate(table)
                tables[rule.id] = rule
    return made_of(list(tables.values()))


def _rules(state: EnvironmentState, counts: Counts, catalogue: Mapping[str, Rule]) -> Sequence[RulePosture]:
    spoken = [*counts.open_by_rule, *counts.waived_by_rule]
    return [
        RulePosture(
            environment=state.name,
            rule_id=rule_id,
            title=catalogue[rule_id].title if rule_id in catalogue else rule_id,
            state=standing.state,
            reason=standing.reason,
            open_findings=sum(counts.open_by_rule.get(rule_id, {}).values()),
            open_by_severity=counts.open_by_rule.get(rule_id, {}),
            waived_by_severity=counts.waived_by_rule.get(rule_id, {}),
        )
        for rule_id, standing in sorted({**dict.fromkeys(spoken, _NOT_APPLIED), **state.rules}.items())
    ]
