"""Says in sentences how things stand; every figure comes from the report's data and nothing unknown is passed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from auditor.model.finding import Severity
from auditor.model.sweep import RuleState, SweepStatus
from auditor.policy.revocation import OLD_EVIDENCE, TOO_OLD
from auditor.policy.wording import day
from auditor.reports.base import EnvironmentPosture, ReportData, RulePosture

WORST_FIRST: Final = tuple(sorted(Severity, key=lambda severity: severity.rank, reverse=True))

_SOON_DAYS: Final = 30
"""What expires or ends within so many days is coming up."""
_NAMED: Final = 5
"""How many names or reasons a sentence holds before it counts the rest."""


def plural(count: int, one: str, many: str = "") -> str:
    """Return the count with its noun: ``1 token``, ``1,200 tokens``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(parts: Iterable[str], most: int = _NAMED) -> str:
    """Join parts as a sentence does: ``a``, ``a and b``, ``a, b and 3 more``."""
    every = list(parts)
    shown = every if len(every) <= most else [*every[: most - 1], f"{len(every) - most + 1:,} more"]
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part) if shown else ""


def share(part: int, whole: int) -> str:
    """Return a percentage with one decimal, rounded down so that only the whole reads as 100%."""
    tenths = part * 1000 // whole
    return f"{tenths // 10}.{tenths % 10}%" if tenths < 1000 else "100%"


def open_totals(environments: Iterable[EnvironmentPosture]) -> dict[Severity, int]:
    """Return the open findings of all environments that no waiver covers, by severity, worst first, with zeros."""
    return _totals(environment.open_by_severity for environment in environments)


def waived_totals(environments: Iterable[EnvironmentPosture]) -> dict[Severity, int]:
    """Return the open findings of all environments that a waiver covers, by severity, worst first, with zeros."""
    return _totals(environment.waived_by_severity for environment in environments)


def _totals(counted: Iterable[Mapping[Severity, int]]) -> dict[Severity, int]:
    totals = dict.fromkeys(WORST_FIRST, 0)
    for counts in counted:
        for severity, count in counts.items():
            totals[severity] += count
    return totals


def severities(counts: dict[Severity, int]) -> str:
    """Name the severities that have findings: ``2 critical, 1 high``."""
    return listed([f"{counts[severity]:,} {severity}" for severity in WORST_FIRST if counts.get(severity)])


def swept_rules(data: ReportData) -> list[RulePosture]:
    """Return how rules stand where a sweep has run; elsewhere no rule has been applied, whatever the policy says."""
    swept = {environment.name for environment in data.environments if environment.last_sweep is not None}
    return [posture for posture in data.rules if posture.environment in swept]


def headline(data: ReportData) -> str:
    """The report in one sentence."""
    if not any(environment.last_sweep for environment in data.environments):
        if data.as_of is not None:
            return f"Nothing had been audited by {_minute(data.as_of)}."
        return "Nothing has been audited yet."
    opened = open_totals(data.environments)
    count = sum(opened.values())
    critical = opened[Severity.CRITICAL]
    is_whole = not _gaps(data) and not any(environment.unknown_tokens for environment in data.environments)
    if not count:
        rest = ", and every known token was audited" if is_whole else ", but not everything could be audited"
        waived = sum(waived_totals(data.environments).values())
        return f"No finding is open{f' beyond {waived:,} waived' if waived else ''}{rest}."
    rest = "" if is_whole else "; not everything could be audited"
    if critical == count:
        return f"{plural(count, 'critical finding is', 'critical findings are')} open{rest}."
    worst = f", {critical:,} of them critical" if critical else ""
    return f"{plural(count, 'finding is', 'findings are')} open{worst}{rest}."


def summary(data: ReportData) -> list[str]:
    """Return the sentences of the summary, each with its full stop."""
    if not data.environments:
        return [without_environments(data)]
    return [
        _scope(data),
        _findings(data),
        *_deadlines(data),
        *_expiry(data),
        *_waivers(data),
        _coverage(data),
        *_gaps(data),
        *_warnings(data),
        *_exactness(data),
        *_rules(data),
    ]


def without_environments(data: ReportData) -> str:
    """Say why a report speaks of no environment: none is configured, or, of an earlier instant, none was swept by then.

    What was configured at an earlier instant is not known.
    """
    if data.as_of is None:
        return "No environment is configured, so there is nothing to audit."
    return f"No environment of this report had been swept by {_minute(data.as_of)}, so nothing is known of that time."


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _scope(data: ReportData) -> str:
    read = [one for one in data.environments if one.last_sweep and one.last_sweep.status is not SweepStatus.RUNNING]
    unread = len(data.environments) - len(read)
    if not read:
        return f"What the sources hold for {plural(unread, 'environment')} is not known."
    stored = sum(environment.stored_tokens for environment in read)
    rest = f"; what they hold for {unread:,} more is not known" if unread else ""
    return f"The sources hold {plural(stored, 'token')} for {plural(len(read), 'environment')}{rest}."


def _findings(data: ReportData) -> str:
    opened = open_totals(data.environments)
    count = sum(opened.values())
    tokens = sum(environment.tokens_with_findings for environment in data.environments)
    resolved = sum(environment.resolved_recently for environment in data.environments)
    now = (
        f"{plural(count, 'finding is', 'findings are')} open on {plural(tokens, 'token')}: {severities(opened)}."
        if count
        else "No finding is open."
    )
    waivers = waived_totals(data.environments)
    waived = sum(waivers.values())
    if waived:
        verb = "more is open and waived" if count and waived == 1 else "more are open and waived" if count else ""
        verb = verb or ("is open and waived" if waived == 1 else "are open and waived")
        now += f" {waived:,} {verb}: {severities(waivers)}."
    past = plural(resolved, "was resolved", "were resolved") if resolved else "None was resolved"
    return f"{now} {past} in the last {plural(data.resolved_since_days, 'day')}."


def _deadlines(data: ReportData) -> list[str]:
    """Say since when findings are open, and how many are past the deadline that the policy gives them (DT-AUD-04)."""
    oldest = data.figures.oldest_opened_at
    if oldest is None:
        return []
    days = (data.instant - oldest).days
    age = f"The oldest open finding has been open since {day(oldest)} ({plural(days, 'day')})"
    kept = data.figures.adherence
    if not kept:
        return [f"{age}; the policies applied set no deadline."]
    late = {severity: one.open_late for severity, one in kept.items() if one.open_late}
    in_time = sum(one.open_in_time for one in kept.values())
    if not late and not in_time:
        return [f"{age}; no open finding has a deadline."]
    if not late:
        return [f"{age}; none of {plural(in_time, 'finding')} with a deadline is past it."]
    count = sum(late.values())
    parts = severities({severity: late.get(severity, 0) for severity in WORST_FIRST})
    whole = plural(count + in_time, "finding")
    return [f"{age}; {count:,} of {whole} with a deadline {_be(count, 'is', 'are')} past it: {parts}."]


def _expiry(data: ReportData) -> list[str]:
    """Say what expires soon, and of how many tokens that is not known."""
    if not data.forecasts:
        return []
    last = data.instant.astimezone(UTC).date() + timedelta(days=_SOON_DAYS)
    ends: Counter[date] = Counter()
    for forecast in data.forecasts:
        ends.update({on: tokens for on, tokens in forecast.days.items() if on <= last})
    unknown = sum(environment.unknown_tokens - environment.outdated_tokens for environment in data.environments)
    caveat = f"; of {plural(unknown, 'other')} nothing is known" if unknown else ""
    if not ends:
        return [f"No live token expires within {_SOON_DAYS} days{caveat}."]
    count = ends.total()
    first = min(ends)
    when = f"on {first}" if len(ends) == 1 else f"the first on {first}"
    return [f"{plural(count, 'live token expires', 'live tokens expire')} within {_SOON_DAYS} days, {when}{caveat}."]


def _waivers(data: ReportData) -> list[str]:
    """Say which waivers end soon, and what follows."""
    if not data.figures.waivers:
        return []
    last = data.instant + timedelta(days=_SOON_DAYS)
    ending = [one for one in data.figures.waivers if one.waiver.until <= last]
    if not ending:
        return [f"No waiver in force ends within {_SOON_DAYS} days."]
    first = min(one.waiver.until for one in ending)
    when = f"on {day(first)}" if len(ending) == 1 else f"the first on {day(first)}"
    muted = sum(one.findings for one in ending)
    follows = (
        "the finding that it mutes then counts again"
        if muted == 1
        else f"the {muted:,} findings that {_be(len(ending), 'it mutes', 'they mute')} then count again"
    )
    return [f"{plural(len(ending), 'waiver ends', 'waivers end')} within {_SOON_DAYS} days, {when}; {follows}."]


def _coverage(data: ReportData) -> str:
    stored = sum(environment.stored_tokens for environment in data.environments)
    unknown = sum(environment.unknown_tokens for environment in data.environments)
    audited = stored - unknown
    if not stored:
        return "No stored token is known, so none was audited."
    if not unknown:
        return "The one known token was audited." if stored == 1 else f"All {stored:,} known tokens were audited."
    reasons: Counter[str] = Counter()
    for environment in data.environments:
        if environment.last_sweep is not None:
            reasons.update(environment.last_sweep.reasons)
    why = listed([f"{reason} ({count:,})" for reason, count in reasons.most_common()])
    known = f"{audited:,} of {plural(stored, 'token')} ({share(audited, stored)}) {_be(audited, 'was', 'were')} audited"
    rest = f"{unknown:,} {_be(unknown, 'is', 'are')} unknown, which is not a pass"
    outdated = sum(environment.outdated_tokens for environment in data.environments)
    old = f" The last evidence on {outdated:,} of them is {TOO_OLD}." if outdated else ""
    return f"{known}; {rest}.{old}" + (f" Lookups failed in the last sweeps because: {why}." if why else "")


def _gaps(data: ReportData) -> list[str]:
    """Return what could not be audited, beside the count of unknown tokens."""
    never = [environment for environment in data.environments if environment.last_sweep is None]
    failed = _with_status(data, SweepStatus.FAILED)
    incomplete = _with_status(data, SweepStatus.INCOMPLETE)
    running = [one for one in _with_status(data, SweepStatus.RUNNING) if one.last_complete_at is None]
    problems = sum(len(one.last_sweep.source_problems) for one in data.environments if one.last_sweep)
    gaps = []
    if never:
        verb = _be(len(never), "has", "have")
        gaps.append(f"{_names(never)} {verb} never been swept: nothing is known of the tokens there.")
    if failed:
        gaps.append(
            f"The last sweep of {_names(failed)} failed; what it did not reach stays as earlier sweeps left it."
        )
    if incomplete:
        gaps.append(f"The last sweep of {_names(incomplete)} was incomplete.")
    if old := _old_sweeps(data):
        gaps.append(
            f"No sweep has ended in the last {OLD_EVIDENCE.days} days in {listed(old)}: "
            "what has changed there since is not known."
        )
    if running:
        gaps.append(f"The first sweep of {_names(running)} is still under way.")
    if problems:
        unread = f"{plural(problems, 'source')} could not be read to the end"
        gaps.append(f"{unread}; tokens there may be missing from these figures.")
    return gaps


def _old_sweeps(data: ReportData) -> list[str]:
    """Return the environments whose last sweep tells nothing of the present, each with when it ended."""
    old = []
    for environment in data.environments:
        ended_at = environment.last_sweep.finished_at if environment.last_sweep else None
        if ended_at is not None and data.instant - ended_at > OLD_EVIDENCE:
            days = (data.instant - ended_at).days
            old.append(f"“{environment.name}” (the last on {day(ended_at)}, {plural(days, 'day')} before)")
    return old


def _with_status(data: ReportData, status: SweepStatus) -> list[EnvironmentPosture]:
    return [one for one in data.environments if one.last_sweep is not None and one.last_sweep.status is status]


def _names(environments: Sequence[EnvironmentPosture]) -> str:
    return listed([f"“{environment.name}”" for environment in environments])


def _warnings(data: ReportData) -> list[str]:
    swept = [one for one in data.environments if one.last_sweep is not None and one.last_sweep.self_lookup]
    if not swept:
        return []
    return [f"In {_names(swept)} the auditor's own token was looked up with itself, which may move its last-used date."]


def _exactness(data: ReportData) -> list[str]:
    if data.exact_since is None or data.instant >= data.exact_since:
        return []
    whole = f"History is whole from {data.exact_since:%Y-%m-%d} on only"
    return [f"{whole}: when tokens were last used, and the words of findings, may differ from what a report said then."]


def _rules(data: ReportData) -> list[str]:
    states: dict[str, set[RuleState]] = {}
    for posture in swept_rules(data):
        states.setdefault(posture.rule_id, set()).add(posture.state)
    if not states:
        return ["No rule has been applied."]
    assessed = sum(found == {RuleState.ASSESSED} for found in states.values())
    unassessed = sum(RuleState.NOT_ASSESSED in found for found in states.values())
    disabled = sum(RuleState.DISABLED in found for found in states.values())
    if assessed == len(states):
        return [f"{plural(assessed, 'rule was', 'rules were')} assessed."]
    whole = plural(len(states), "rule")
    parts = [f"{assessed:,} of {whole} {_be(assessed, 'was', 'were')} assessed wherever a sweep ran"]
    if unassessed:
        parts.append(f"{unassessed:,} could not be assessed somewhere, which is not a pass")
    if disabled:
        parts.append(f"{disabled:,} {_be(disabled, 'is', 'are')} disabled somewhere")
    return ["; ".join(parts) + "."]


def _be(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
