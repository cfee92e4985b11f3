"""How findings stood day by day, and what happened to them: read from their transitions."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from auditor.model.finding import Severity, Transition
from auditor.model.sweep import SweepStatus
from auditor.store.connection import Connection

_DAY: Final = timedelta(days=1)
_HERE: Final = "(cardinality($2::text[]) = 0 or environment.name = any ($2))"
_OF_RULES: Final = "(cardinality($3::text[]) = 0 or f.rule_id = any ($3))"


class DayPosture(msgspec.Struct, frozen=True):
    """What was open in one environment at the end of a day, or, on the last day, at the report's instant."""

    environment: str
    day: date
    open_by_severity: Mapping[Severity, int]
    """Findings that no waiver covered; a severity may be absent for none."""


class Activity(msgspec.Struct, frozen=True):
    """What happened in one environment in the course of the days."""

    environment: str
    transitions: Mapping[Transition, Mapping[Severity, int]]
    """Transitions of findings by the severity that they had then; one may be absent for none."""
    sweeps: Mapping[SweepStatus, int]
    """Sweeps that ended, by how; one may be absent for none."""


class Timeline(msgspec.Struct, frozen=True):
    """How things came to be what a report says, over whole days in UTC."""

    first_day: date
    last_day: date
    posture: Sequence[DayPosture]
    """By environment, and then a row for each day, in order."""
    activity: Sequence[Activity]
    """By environment."""


async def timeline(
    connection: Connection,
    now: datetime,
    first_day: date,
    last_day: date,
    environments: Sequence[str] = (),
    rules: Sequence[str] = (),
) -> Timeline:
    """Read how the findings of some environments and rules, empty for all, stood on each day, and what happened.

    Reads every transition until then once. ``last_day`` is not after the day of the last one that there is to be read.
    """
    return Timeline(
        first_day,
        last_day,
        await _posture(connection, now, first_day, last_day, environments, rules),
        await _activity(connection, first_day, environments, rules),
    )


async def _posture(
    connection: Connection,
    now: datetime,
    first_day: date,
    last_day: date,
    environments: Sequence[str],
    rules: Sequence[str],
) -> Sequence[DayPosture]:
    """Add up by how much each day changed the number of open findings; what was before is of the day before.

    A finding counts again from the end of its waiver, though no transition says so until the next sweep.
    """
    moved: dict[str, dict[date, list[tuple[Severity, int]]]] = {
        row["name"]: {}
        for row in await connection.fetch(
            "select name from environment where cardinality($1::text[]) = 0 or name = any ($1) order by name",
            list(environments),
        )
    }
    for row in await connection.fetch(
        f"""
        with said as (
            select environment.name, e.finding_id, e.id, e.at, e.severity, e.transition,
                greatest((e.at at time zone 'UTC')::date, $1::date - 1) as day, lead(e.at) over history as next_at,
                -- the last event that tells whether it is waived
                max(e.id) filter (where e.transition in ('waived', 'lapsed', 'resolved', 'reopened', 'opened'))
                    over history as turn
            from finding_event e
            join finding f on f.id = e.finding_id
            join environment on environment.id = f.environment_id
            where {_HERE} and {_OF_RULES}
            window history as (partition by e.finding_id order by e.id)
        ), waived as (
            select id, (waiver->>'until')::timestamptz as until from finding_event where transition = 'waived'
        ), counted as (
            select name, finding_id, said.id, day, severity,
                transition <> 'resolved' and coalesce(until <= at, true) as counts,
                case when transition <> 'resolved' and until > at and until <= coalesce(next_at, $4)
                    then greatest((until at time zone 'UTC')::date, $1::date - 1) end as counts_from
            from said left join waived on waived.id = said.turn
        ), moved as (
            select name, day, severity, counts, counts_from, lag(severity) over history as severity_before,
                lag(counts or counts_from is not null) over history as counted_before
            from counted window history as (partition by finding_id order by id)
        )
        select name, day, severity, sum(number)::bigint as number from (
            select name, day, severity, 1 as number from moved where counts
            union all
            select name, counts_from, severity, 1 from moved where counts_from is not null
            union all
            select name, day, severity_before, -1 from moved where counted_before
        ) deltas
        group by name, day, severity having sum(number) <> 0
        """,
        first_day,
        list(environments),
        list(rules),
        now,
    ):
        moved[row["name"]].setdefault(row["day"], []).append((Severity(row["severity"]), row["number"]))
    days = [first_day + number * _DAY for number in range(-1, (last_day - first_day).days + 1)]
    posture: list[DayPosture] = []
    for name, by_day in moved.items():
        standing = dict.fromkeys(Severity, 0)
        for day in days:
            for severity, number in by_day.get(day, ()):
                standing[severity] += number
            if day >= first_day:
                posture.append(
                    DayPosture(name, day, {severity: number for severity, number in standing.items() if number})
                )
    return posture


async def _activity(
    connection: Connection, first_day: date, environments: Sequence[str], rules: Sequence[str]
) -> Sequence[Activity]:
    transitions: dict[str, dict[Transition, dict[Severity, int]]] = {}
    for row in await connection.fetch(
        f"""
        select environment.name, e.transition, e.severity, count(*) as number
        from finding_event e
        join finding f on f.id = e.finding_id
        join environment on environment.id = f.environment_id
        where e.at >= $1::date::timestamp at time zone 'UTC' and e.transition <> 'renewed' and {_HERE} and {_OF_RULES}
        group by 1, 2, 3
        """,
        first_day,
        list(environments),
        list(rules),
    ):
        here = transitions.setdefault(row["name"], {}).setdefault(Transition(row["transition"]), {})
        here[Severity(row["severity"])] = row["number"]
    return [
        Activity(
            row["name"],
            transitions.get(row["name"], {}),
            {SweepStatus(status): number for status, number in msgspec.json.decode(row["sweeps"]).items()},
        )
        for row in await connection.fetch(
            f"""
            select environment.name, (
                select coalesce(jsonb_object_agg(status, number), '{{}}') from (
                    select s.status, count(*) as number from sweep s
                    where s.environment_id = environment.id
                        and s.finished_at >= $1::date::timestamp at time zone 'UTC' group by s.status
                ) ended
            ) as sweeps
            from environment where {_HERE} order by environment.name
            """,
            first_day,
            list(environments),
        )
    ]
