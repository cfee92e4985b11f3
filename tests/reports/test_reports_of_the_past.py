"""Reports of an earlier instant: made from history, they say what the one made then said."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from auditor.model.finding import Severity, Transition, Violation
from auditor.model.lookup import Outcome
from auditor.model.sweep import SweepStatus
from auditor.model.waiver import Waiver
from auditor.policy.lifecycle import Change
from auditor.policy.waivers import waiver_change
from auditor.reports.period import parse_period
from auditor.reports.pictures import pictures
from auditor.reports.reading import snapshot
from auditor.store import comparing, findings
from auditor.store.as_of import look_back
from auditor.store.connection import Connection, Pool
from tests.store.history import HOUR, MISSING, NOW, TOKEN, begin, enrolment, failed, found, place

IDS = ("dt0c01.ST2EY72KQINMH574WMNVI7YN", "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA", None)
_names = itertools.count()

violations = st.lists(
    st.builds(
        Violation,
        st.sampled_from(["DT-EXP-01", "DT-STA-02"]),
        st.sampled_from([Severity.LOW, Severity.HIGH, Severity.CRITICAL]),
        st.sampled_from(["it expires soon", "it expires sooner"]),
        st.fixed_dictionaries({"days": st.integers(1, 3)}),
        st.sampled_from(["", "one"]),
    ),
    unique_by=lambda violation: (violation.rule_id, violation.discriminator),
    max_size=3,
)
looks = st.one_of(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["ingest", "reader"]),
            "owner": st.sampled_from(["svc-ingest", "ann"]),
            "enabled": st.booleans(),
            "scopes": st.sampled_from([(), ("metrics.read", "logs.read")]),
            "last_used_date": st.sampled_from([NOW - HOUR, NOW, None]),
        }
    ),
    st.sampled_from([Outcome.MISSING, Outcome.THROTTLED]),
)
tokens = st.one_of(st.none(), st.tuples(looks, violations, st.sampled_from(["line 1", "line 2"])))
"""Of one token in one sweep: not stored, or how its lookup ends, what the rules say, and where it is stored."""
acts = st.sampled_from(["", "waive", "waive for hours", "renew", "lapse"])
histories = st.lists(st.tuples(st.tuples(*[tokens] * len(IDS)), acts), min_size=1, max_size=6)


async def swept(connection: Connection, name: str, stored: Sequence[Any], now: datetime) -> None:
    sweep = await begin(connection, name, now)
    held = [(number, *token) for number, token in enumerate(stored) if token is not None]
    looked = []
    says: dict[str, Sequence[Violation]] = {}
    for number, look, said, where in held:
        fields = {} if isinstance(look, Outcome) else {**look, "id": IDS[number] or "dt0c01.CCCCCCCCCCCCCCCCCCCCCCCC"}
        lookup = found(now, **fields) if fields else MISSING if look is Outcome.MISSING else failed()
        looked.append(
            (
                enrolment(f"{name} {number}", place(where=where), public_id=IDS[number]),
                msgspec.structs.replace(lookup, at=now),
            )
        )
        says[str(fields.get("id", IDS[number]))] = said
    if looked:
        await sweep.record(*looked, says=says)
    lost = any(look is Outcome.THROTTLED for _number, look, _said, _where in held)
    await sweep.finish(SweepStatus.INCOMPLETE if lost else SweepStatus.COMPLETE)


async def acted(connection: Connection, name: str, act: str, now: datetime) -> None:
    """Have a waiver of the environment's first open finding begin, change its end, or lapse."""
    environment = await connection.fetchval("select id from environment where name = $1", name)
    number = await connection.fetchval(
        "select min(id) from finding where environment_id = $1 and status = 'open'", environment
    )
    if number is None or not act:
        return
    ((standing,),) = [batch async for batch in comparing.by_ids(connection, [number])]
    spans = {"waive": timedelta(days=9), "waive for hours": 3 * HOUR}
    until = now + spans.get(act, timedelta(days=19))
    terms = Waiver(id="w", owner="ann", approver="ben", reason="known", ticket="OPS-7", since=NOW, until=until)
    change: Change | None = waiver_change(standing.finding, None if act == "lapse" else terms)
    if change is not None:
        await findings.apply(connection, None, environment, [(standing.bearer, change)], now)


async def made(database: Pool, name: str, now: datetime, as_of: datetime | None = None) -> dict[str, Any]:
    """Return what a report says, but for the instants that are known to their sweep only."""
    async with snapshot(database, now=now, resolved_days=1, environments=[name], as_of=as_of) as (data, stream):
        said = [finding async for batch in stream() for finding in batch]
        days = await data.timeline()
        return {
            "findings": [msgspec.structs.replace(finding, last_seen_at=NOW) for finding in said],
            "environments": data.environments,
            "rules": data.rules,
            "forecasts": data.forecasts,
            "verdicts": {one.label: one.verdict for batch in [b async for b in data.verdicts()] for one in batch},
            "today": [day.open_by_severity for day in days.posture if day.day == days.last_day],
            "activity": days.activity,
            "seen": [(finding.key, finding.last_seen_at) for finding in said],
        }


@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a tenth of a second: shrinking, minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(histories)
async def test_report_of_a_day_made_later_says_what_the_one_made_on_that_day_said(database: Pool, history: Any) -> None:
    name = f"env-{next(_names)}"
    told = []
    now = NOW
    async with database.acquire() as connection:
        for stored, act in history:
            now += 6 * HOUR
            await swept(connection, name, stored, now)
            await acted(connection, name, act, now + HOUR)
            for instant in (now + 2 * HOUR, now + 5 * HOUR):
                told.append((instant, await made(database, name, instant)))
                said = told[-1][1]
                assert [one.open_by_severity for one in said["environments"]] == said["today"]
    for instant, then in told:
        again = await made(database, name, now + timedelta(days=1), as_of=instant)
        assert within_their_sweeps(again.pop("seen"), then.pop("seen"))
        for part, said in then.items():
            assert again[part] == said, part


def within_their_sweeps(seen: Sequence[tuple[str, datetime]], then: Sequence[tuple[str, datetime]]) -> bool:
    """Whether findings were last seen by the same sweeps; here a sweep takes no time."""
    return list(seen) == list(then)


def violation(severity: Severity, rule: str = "DT-EXP-01") -> Violation:
    return Violation(rule, severity, "it expires soon", {})


DAY = timedelta(days=1)
QUARTER = parse_period("2026-10-01/2026-11-25")


async def lived_through(connection: Connection, days: int = 3) -> None:
    """Three days, or fewer: a finding is opened and another, one gets worse, and one ends."""
    label = str(TOKEN.id)
    for number, said in enumerate(
        (
            [violation(Severity.LOW), violation(Severity.HIGH, "DT-STA-02")],
            [violation(Severity.CRITICAL), violation(Severity.HIGH, "DT-STA-02")],
            [violation(Severity.CRITICAL)],
        )[:days]
    ):
        now = NOW + number * DAY
        sweep = await begin(connection, now=now)
        await sweep.record((enrolment("s"), found(now)), says={label: said})
        await sweep.finish()


async def test_timeline_tells_what_was_open_on_each_day_and_what_happened(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
    async with snapshot(database, now=NOW + 3 * DAY, resolved_days=30) as (data, _stream):
        days = await data.timeline()
    assert len(days.posture) == 90
    assert {day.day.isoformat(): day.open_by_severity for day in days.posture if day.open_by_severity} == {
        "2026-11-24": {Severity.LOW: 1, Severity.HIGH: 1},
        "2026-11-25": {Severity.CRITICAL: 1, Severity.HIGH: 1},
        "2026-11-26": {Severity.CRITICAL: 1},
        "2026-11-27": {Severity.CRITICAL: 1},
    }
    (activity,) = days.activity
    assert activity.sweeps == {SweepStatus.COMPLETE: 3}
    assert activity.transitions == {
        Transition.OPENED: {Severity.LOW: 1, Severity.HIGH: 1},
        Transition.ESCALATED: {Severity.CRITICAL: 1},
        Transition.RESOLVED: {Severity.HIGH: 1},
    }


async def test_finding_counts_again_from_the_day_on_which_its_waiver_ended(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection, days=1)
        number = await connection.fetchval("select min(id) from finding")
        ((standing,),) = [batch async for batch in comparing.by_ids(connection, [number])]
        until = NOW + 2 * DAY
        terms = Waiver(id="w", owner="ann", approver="ben", reason="known", ticket="OPS-7", since=NOW, until=until)
        change = waiver_change(standing.finding, terms)
        assert change is not None
        environment = await connection.fetchval("select id from environment")
        await findings.apply(connection, None, environment, [(standing.bearer, change)], NOW + HOUR)
    for as_of, waived in ((None, 0), (until, 0), (until - HOUR, 1)):
        async with snapshot(database, now=NOW + 5 * DAY, resolved_days=30, as_of=as_of) as (data, stream):
            said = [finding async for batch in stream() for finding in batch]
            days = await data.timeline()
            assert sum(finding.waiver is not None for finding in said) == waived
            assert (data.environments[0].open_findings, data.environments[0].waived_findings) == (2 - waived, waived)
            assert len(data.figures.waivers) == waived
            counted = [sum(day.open_by_severity.values()) for day in days.posture if day.day >= NOW.date()]
            assert counted == ([1, 1, 2, 2, 2, 2] if as_of is None else [1, 1, 2 - waived])


async def test_period_is_of_its_end_and_tells_what_happened_in_it(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
    async with snapshot(database, now=NOW + 3 * DAY, resolved_days=0, period=QUARTER) as (data, stream):
        said = [finding async for batch in stream() for finding in batch]
        days = await data.timeline()
    assert data.as_of == data.instant == QUARTER.end
    assert (days.first_day, days.last_day) == (QUARTER.first_day, QUARTER.last_day)
    assert {finding.rule_id: (finding.severity, finding.status) for finding in said} == {
        "DT-EXP-01": (Severity.CRITICAL, "open"),
        "DT-STA-02": (Severity.HIGH, "open"),
    }
    assert data.environments[0].last_sweep is not None
    assert data.environments[0].last_sweep.finished_at == NOW + DAY


async def test_pictures_of_a_period_show_the_sweeps_of_its_days(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
    async with snapshot(database, now=NOW + 3 * DAY, resolved_days=0, period=parse_period("2026-11-25")) as (data, _):
        assert [one.day for one in data.figures.swept_days] == [(NOW + DAY).date()]
        titles = [picture.title for picture in pictures(data, await data.timeline())]
    assert "Sweeps of 2026-11-25" in titles


async def test_period_that_is_not_over_is_of_now_with_what_was_resolved_in_it(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
    async with snapshot(database, now=NOW + 2 * DAY, resolved_days=0, period=parse_period("2026")) as (data, stream):
        said = [finding async for batch in stream() for finding in batch]
    assert data.as_of is None
    assert sorted(finding.status for finding in said) == ["open", "resolved"]
    assert data.resolved_since_days == 330


async def test_sweep_in_which_nothing_changes_adds_no_history(database: Pool) -> None:
    counted = (
        "select (select count(*) from finding_event), (select count(*) from token_change), "
        "(select count(*) from token_before), (select count(*) from lookup_before), "
        "(select count(*) from use_withdrawal)"
    )
    async with database.acquire() as connection:
        for number in range(2):
            sweep = await begin(connection, now=NOW + number * HOUR)
            looked = msgspec.structs.replace(found(NOW), at=NOW + number * HOUR)
            await sweep.record((enrolment("s"), looked), says={str(TOKEN.id): [violation(Severity.LOW)]})
            await sweep.finish()
            written = tuple(await connection.fetchrow(counted) or ())
            assert written == (1, 1, 0, 0, 0)


async def test_use_that_was_withdrawn_is_none_from_then_on(database: Pool) -> None:
    never: dict[str, Any] = {"last_used_date": None, "last_used_ip_address": None}
    looks: tuple[dict[str, Any], ...] = (
        {},
        never,
        never,
        {"last_used_date": NOW + 3 * DAY},
        {**never, "name": "renamed"},
    )
    then = (NOW - HOUR, None, None, NOW + 3 * DAY, None)
    async with database.acquire() as connection:
        for number, fields in enumerate(looks):
            now = NOW + number * DAY
            sweep = await begin(connection, now=now)
            await sweep.record((enrolment("s"), found(now, **fields)))
            await sweep.finish()
            assert await connection.fetchval("select last_used_date from token") == then[number]
        assert await connection.fetchval("select count(*) from use_withdrawal") == 2
        for number, used in enumerate(then):
            async with connection.transaction():
                await look_back(connection, NOW + number * DAY)
                row = await connection.fetchrow("select last_used_date, last_used_ip_address from token")
                assert tuple(row or ()) == (used, None if used is None else TOKEN.last_used_ip_address)


async def test_environment_has_the_url_that_it_was_last_swept_at(database: Pool) -> None:
    async with database.acquire() as connection:
        for number, domain in enumerate(("old.example.com", "new.example.com")):
            sweep = await begin(connection, now=NOW + number * DAY, domain=domain)
            await sweep.finish()

    for instant, url in (
        (NOW, "https://prod.old.example.com"),
        (NOW + DAY - HOUR, "https://prod.old.example.com"),
        (NOW + DAY, "https://prod.new.example.com"),
        (None, "https://prod.new.example.com"),
    ):
        async with snapshot(database, now=NOW + 2 * DAY, resolved_days=1, as_of=instant) as (data, _stream):
            assert [one.url for one in data.environments] == [url]


async def test_past_can_be_read_and_not_written(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        async with connection.transaction(readonly=True):
            await look_back(connection, NOW)
            assert await connection.fetchval("select count(*) from finding where status = 'open'") == 2
            assert await connection.fetchval("select count(*) from sweep") == 1
        assert await connection.fetchval("select count(*) from sweep") == 3


async def test_stand_ins_have_the_columns_of_the_tables_that_are_read_whole(database: Pool) -> None:
    async with database.acquire() as connection:
        for table in ("token", "lookup"):
            now, then = [
                await connection.fetch(
                    "select column_name, udt_name from information_schema.columns "
                    "where table_schema = $1 and table_name = $2 order by ordinal_position",
                    schema,
                    table,
                )
                for schema in ("public", "as_of")
            ]
            assert {tuple(row) for row in now} == {tuple(row) for row in then}, table
