"""The pictures of a report: each a chart, what it says in a sentence, and its figures as a table."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, timedelta
from itertools import pairwise
from typing import Final

import msgspec
from markupsafe import Markup

from auditor.model.sweep import SweepStatus
from auditor.outside_text import clipped, visible
from auditor.policy.scopes import RiskTier
from auditor.reports import charts
from auditor.reports.base import ReportData
from auditor.reports.figures import DAYS_SHOWN
from auditor.reports.period import Period
from auditor.reports.sentences import WORST_FIRST, plural, share
from auditor.store.figures import AGES, IDLE, Adherence, OwnerIdleness, SweptDay
from auditor.store.timeline import Timeline

Cell = str | int

_SEVERITIES: Final = tuple(severity.value for severity in WORST_FIRST)
_TIERS: Final = tuple(sorted(RiskTier, key=lambda tier: tier.rank))
_AGE_NAMES: Final = (
    f"under {AGES[0]} days",
    *(f"{first} to {last - 1} days" for first, last in pairwise(AGES)),
    f"{AGES[-1]} days and more",
)
_IDLE_NAMES: Final = (
    f"under {IDLE[0]} days",
    *(f"{first} to {last - 1}" for first, last in pairwise(IDLE)),
    f"{IDLE[-1]} and more",
    "never used",
)
_OLD: Final = AGES.index(90) + 1
"""The first band of ages that calls for a word."""
_STATES: Final = ("complete", "incomplete", "failed")
_KEPT: Final = ("open, in time", "open, late", "ended in time", "ended late")

MAX_ROWS: Final = 14
"""Environments or families of scopes that a picture has; the table beside it has no more either."""
_NAME_LIMIT: Final = 24


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of a report."""

    id: str
    title: str
    says: str
    """What to see in it, in words; all that there is where nothing can be drawn."""
    svg: Markup | None = None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    """The figures; the first cell of each row names it."""


def pictures(data: ReportData, timeline: Timeline) -> list[Picture]:
    """Return the pictures of a report, in the order of the page; none where nothing was swept."""
    figures = data.figures
    if not figures.policies:
        return []
    return [
        _trend(timeline, min((one.day for one in figures.swept_days), default=timeline.first_day)),
        _ages(data),
        _deadlines(data),
        _sweeps(figures.swept_days, data.instant.astimezone(UTC).date(), data.period),
        _idleness(figures.idleness),
        _scopes(data),
    ]


def _trend(timeline: Timeline, first_swept: date) -> Picture:
    title = "Open findings over time"
    by_day: dict[date, dict[str, int]] = {}
    for posture in timeline.posture:
        if posture.day >= first_swept:
            here = by_day.setdefault(posture.day, dict.fromkeys(_SEVERITIES, 0))
            for severity, count in posture.open_by_severity.items():
                here[severity.value] += count
    if not by_day:
        return Picture(id="trend", title=title, says="Nothing was swept in that time.")
    days = sorted(by_day)
    then, now = (sum(by_day[day].values()) for day in (days[0], days[-1]))
    says = f"{plural(now, 'finding was', 'findings were')} open at the end, on {days[-1]}"
    if len(days) > 1:
        change = "as many as" if now == then else f"{abs(now - then):,} {'more' if now > then else 'fewer'} than"
        says += f", {change} on {days[0]}"
    says += "; without waived ones."
    end = days[-1] + timedelta(days=1)
    rows = [
        {"day": day.isoformat(), "part": severity, "count": by_day[min(day, days[-1])][severity]}
        for day in [*days, end]
        for severity in _SEVERITIES
    ]
    told = [day for place, day in enumerate(reversed(days)) if place % 7 == 0][::-1]
    return Picture(
        id="trend",
        title=title,
        says=says,
        svg=_drawn(charts.stacked_days(rows, parts=_SEVERITIES, fills=_SEVERITIES, title="open findings"), says),
        columns=("End of", *(name.capitalize() for name in _SEVERITIES), "All"),
        rows=[(day.isoformat(), *by_day[day].values(), sum(by_day[day].values())) for day in told],
    )


def _ages(data: ReportData) -> Picture:
    counted = {severity.value: data.figures.ages.get(severity, ()) for severity in WORST_FIRST}
    by_age = [
        [bands[place] if bands else 0 for bands in counted.values()] for place in range(len(_AGE_NAMES))
    ]  # age → severity
    whole, old = sum(map(sum, by_age)), sum(map(sum, by_age[_OLD:]))
    says = (
        f"{old:,} of {plural(whole, 'open finding')} {'is' if old == 1 else 'are'} {AGES[_OLD - 1]} days old or older."
        if whole
        else "No finding is open."
    )
    rows = [
        {"by": name, "part": severity, "count": count}
        for name, counts in zip(_AGE_NAMES, by_age, strict=True)
        for severity, count in zip(_SEVERITIES, counts, strict=True)
    ]
    return Picture(
        id="ages",
        title="Open findings by age and severity",
        says=says,
        svg=_drawn(
            charts.stacked_bars(rows, by=_AGE_NAMES, parts=_SEVERITIES, fills=_SEVERITIES, title="open findings"), says
        )
        if whole
        else None,
        columns=("Age", *(name.capitalize() for name in _SEVERITIES), "All"),
        rows=[(name, *counts, sum(counts)) for name, counts in zip(_AGE_NAMES, by_age, strict=True)] if whole else (),
    )


def _deadlines(data: ReportData) -> Picture:
    title, known = "Deadlines kept", data.figures.adherence
    if not known:
        return Picture(id="deadlines", title=title, says="No policy sets deadlines for findings (DT-AUD-04).")
    counts = {severity: _kept(one) for severity, one in known.items()}
    whole = sum(map(sum, counts.values()))
    kept = sum(found[0] + found[2] for found in counts.values())
    late = sum(found[1] for found in counts.values())
    says = (
        "No finding has a deadline."
        if not whole
        else (
            f"{share(kept, whole)} of {plural(whole, 'finding')} with a deadline kept it so far, of those open now and "
            f"those ended in the last {plural(data.resolved_since_days, 'day')}; {late:,} "
            f"{'is' if late == 1 else 'are'} open and late."
        )
    )
    names = {severity: f"{severity.value} ({_days(known[severity])})" for severity in known}
    rows = [
        {"by": names[severity], "part": part, "count": count}
        for severity, found in counts.items()
        for part, count in zip(_KEPT, found, strict=True)
    ]
    fills = ("low", "critical", "good", "high")
    return Picture(
        id="deadlines",
        title=title,
        says=says,
        svg=_drawn(charts.stacked_bars(rows, by=list(names.values()), parts=_KEPT, fills=fills, title="findings"), says)
        if whole
        else None,
        columns=("Severity and deadline", *(name.capitalize() for name in _KEPT)),
        rows=[(names[severity], *found) for severity, found in counts.items()] if whole else (),
    )


def _kept(one: Adherence) -> tuple[int, int, int, int]:
    return one.open_in_time, one.open_late, one.ended_in_time, one.ended_late


def _days(one: Adherence) -> str:
    return plural(one.days[0], "day") if len(one.days) == 1 else f"{one.days[0]:,} to {one.days[-1]:,} days"


def _sweeps(swept: Sequence[SweptDay], today: date, period: Period | None) -> Picture:
    title = f"Sweeps of the last {DAYS_SHOWN} days" if period is None else f"Sweeps of {period.name}"
    if not swept:
        return Picture(id="sweeps", title=title, says="No sweep ended in that time.")
    days: dict[str, list[SweptDay]] = {}
    for one in swept:
        days.setdefault(one.environment, []).append(one)
    first = min(one.day for one in swept)
    span = (today - first).days + 1
    worst = sorted(days, key=lambda name: (sum(one.status is SweepStatus.COMPLETE for one in days[name]), name))
    shown = sorted(worst[:MAX_ROWS])
    gaps = sum(span - len(found) for found in days.values())
    partial = sum(one.status is not SweepStatus.COMPLETE for one in swept)
    whole = span * len(days)
    says = (
        f"On {whole - gaps - partial:,} of {plural(whole, 'day')} of the environments, since the first sweep in that "
        f"time on {first}, the last sweep was complete; on {partial:,} it was not, and on {gaps:,} none ended."
    )
    if len(days) > len(shown):
        says += f" Shown are the {len(shown)} environments with the fewest complete ones, of {len(days):,}."
    names = dict(zip(shown, _distinct(shown), strict=True))
    rows = [
        {
            "by": names[one.environment],
            "day": one.day.isoformat(),
            "end": (one.day + timedelta(days=1)).isoformat(),
            "part": one.status.value,
        }
        for name in shown
        for one in days[name]
    ]
    return Picture(
        id="sweeps",
        title=title,
        says=says,
        svg=_drawn(
            charts.strips(
                rows,
                by=list(names.values()),
                parts=_STATES,
                fills=("good", "medium", "critical"),
                first=first.isoformat(),
                last=(today + timedelta(days=1)).isoformat(),
            ),
            says,
        ),
        columns=("Environment", *(f"{state.capitalize()} days" for state in _STATES), "Days without", "Least audited"),
        rows=[
            (
                names[name],
                *(sum(one.status.value == state for one in days[name]) for state in _STATES),
                span - len(days[name]),
                _least(days[name]),
            )
            for name in shown
        ],
    )


def _least(days: Sequence[SweptDay]) -> str:
    worst = min((one for one in days if one.enrolled), key=lambda one: one.audited / one.enrolled, default=None)
    return share(worst.audited, worst.enrolled) if worst else "no token"


def _idleness(owners: Sequence[OwnerIdleness]) -> Picture:
    title = "Days without use, by owner"
    if not owners:
        return Picture(id="idleness", title=title, says="No live token is known.")
    whole = sum(sum(one.tokens) for one in owners)
    idle = sum(sum(one.tokens[2:-1]) for one in owners)
    never = sum(one.tokens[-1] for one in owners)
    says = (
        f"{idle:,} of {plural(whole, 'live token')} {'was' if idle == 1 else 'were'} not used for {IDLE[1]} days or "
        f"longer, and {never:,} never."
    )
    names = _distinct([_owner(one) for one in owners])
    rows = [
        {"by": name, "part": part, "count": count}
        for name, one in zip(names, owners, strict=True)
        for part, count in zip(_IDLE_NAMES, one.tokens, strict=True)
    ]
    fills = ("good", "low", "medium", "high", "critical")
    return Picture(
        id="idleness",
        title=title,
        says=says,
        svg=_drawn(charts.stacked_bars(rows, by=names, parts=_IDLE_NAMES, fills=fills, title="live tokens"), says),
        columns=("Owner", *(name.capitalize() for name in _IDLE_NAMES)),
        rows=[(name, *one.tokens) for name, one in zip(names, owners, strict=True)],
    )


def _owner(one: OwnerIdleness) -> str:
    if not one.is_named:
        return plural(one.owners, "more owner")
    return one.owner if one.owner is not None else "no owner known"


def _scopes(data: ReportData) -> Picture:
    title, families = "Power of tokens, by what their scopes are about", data.figures.scope_risk
    if not families:
        return Picture(id="scopes", title=title, says="No live token is known to hold a scope.")

    def power(family: str) -> tuple[int, ...]:
        return tuple(-families[family].get(tier, 0) for tier in reversed(_TIERS))

    worst = sorted(families, key=lambda family: (power(family), family))
    shown = worst[:MAX_ROWS]
    critical = sum(RiskTier.CRITICAL in tiers for tiers in families.values())
    says = (
        f"Live tokens by the highest tier of their scopes in each family; in {critical:,} of "
        f"{plural(len(families), 'family', 'families')} some token holds a critical scope."
    )
    if len(worst) > len(shown):
        says += f" Shown are the {len(shown)} with the most powerful tokens."
    names = _distinct(shown)
    rows = [
        {"by": name, "across": tier.value, "count": count, "shown": f"{count:,}"}
        for name, family in zip(names, shown, strict=True)
        for tier in _TIERS
        for count in [families[family].get(tier, 0)]
    ]
    tiers = tuple(tier.value for tier in _TIERS)
    return Picture(
        id="scopes",
        title=title,
        says=says,
        svg=_drawn(charts.matrix(rows, by=names, across=tiers, fills=tiers, title="highest tier of its scopes"), says),
        columns=("Family", *(tier.capitalize() for tier in tiers)),
        rows=[
            (name, *(families[family].get(tier, 0) for tier in _TIERS))
            for name, family in zip(names, shown, strict=True)
        ],
    )


def _drawn(spec: charts.Spec, says: str) -> Markup:
    return charts.drawn(spec, f"{says} The figures are in the table below.")


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names from outside as a chart can show them: visible, short, and each another one."""
    return list(_numbered([clipped(visible(name), _NAME_LIMIT) for name in names]))


def _numbered(names: Sequence[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"
