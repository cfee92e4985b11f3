"""Findings in the database: written with their events, read worst first, counted."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from auditor.model.finding import Finding, Resolution, Severity, Transition, Violation
from auditor.store import comparing, findings
from auditor.store.connection import Connection, Pool
from auditor.store.findings import Filter
from tests.store.history import HOUR, MISSING, NOW, TOKEN, begin, enrolment, found, place

ONE = enrolment("one")
TWO_ID = "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA"
TWO = enrolment("two", public_id=TWO_ID)


def says(
    rule: str = "DT-EXP-01", severity: Severity = Severity.HIGH, message: str = "said", part: str = ""
) -> Violation:
    return Violation(rule, severity, message, {"days": 7, "text": "=cmd() <b> \N{SNOWMAN}", "list": [1, None]}, part)


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


async def sweep(
    connection: Connection,
    hours: int,
    *said: Violation,
    environment: str = "prod",
    other: Sequence[Violation] = (),
    is_missing: bool = False,
) -> None:
    """Sweep token one, of which the rules say something, and token two where they say something of it."""
    at = NOW + hours * HOUR
    swept = await begin(connection, environment, at)
    looked = [(ONE, msgspec.structs.replace(MISSING, at=at) if is_missing else found(at))]
    if other:
        looked.append((TWO, found(at, id=TWO_ID)))
    await swept.record(*looked, says={TOKEN.id: said, TWO_ID: other})
    await swept.finish()


async def read(connection: Connection, batch: int = 1000, **wanted: Any) -> list[Finding]:
    async with connection.transaction():
        return [
            finding async for some in findings.read(connection, Filter(**wanted), NOW, batch=batch) for finding in some
        ]


async def test_life_of_a_finding_is_written_event_by_event(connection: Connection) -> None:
    await sweep(connection, 0, says())
    await sweep(connection, 1, says(severity=Severity.CRITICAL, message="worse"))
    await sweep(connection, 2, says(severity=Severity.CRITICAL, message="in other words"))
    await sweep(connection, 3)
    await sweep(connection, 4, says(severity=Severity.LOW))
    shown = await findings.show(connection, f"prod/{TOKEN.id}/DT-EXP-01", NOW)
    assert shown is not None
    finding, events = shown
    assert [(event.transition, event.severity, event.message, event.resolution) for event in events] == [
        (Transition.OPENED, Severity.HIGH, "said", None),
        (Transition.ESCALATED, Severity.CRITICAL, "worse", None),
        (Transition.RESOLVED, Severity.CRITICAL, "in other words", Resolution.EVIDENCE),
        (Transition.REOPENED, Severity.LOW, "said", None),
    ]
    assert [event.at for event in events] == [NOW, NOW + HOUR, NOW + 3 * HOUR, NOW + 4 * HOUR]
    assert [event.sweep for event in events] == [1, 2, 4, 5]
    assert finding == Finding(
        key=f"prod/{TOKEN.id}/DT-EXP-01",
        environment="prod",
        label=TOKEN.id,
        rule_id="DT-EXP-01",
        severity=Severity.LOW,
        status="open",
        message="said",
        evidence={"days": 7, "text": "=cmd() <b> \N{SNOWMAN}", "list": [1, None]},
        token_name="ingest",
        owner="svc-ingest",
        locations=(place(),),
        opened_at=NOW,
        last_seen_at=NOW + 4 * HOUR,
        resolved_at=None,
        resolution=None,
        reopenings=1,
        is_stored=True,
    )


async def test_findings_of_one_rule_are_told_apart_by_their_discriminator(connection: Connection) -> None:
    await sweep(connection, 0, says(part="a/b"), says(part="c"))
    keys = [finding.key for finding in await read(connection)]
    assert sorted(keys) == [f"prod/{TOKEN.id}/DT-EXP-01/a/b", f"prod/{TOKEN.id}/DT-EXP-01/c"]
    for key in keys:
        shown = await findings.show(connection, key, NOW)
        assert shown is not None
        assert shown[0].key == key


@pytest.mark.parametrize("key", ["", "prod", f"prod/{TOKEN.id}", f"prod/{TOKEN.id}/DT-NO", f"dev/{TOKEN.id}/DT-EXP-01"])
async def test_key_of_nothing_shows_nothing(connection: Connection, key: str) -> None:
    await sweep(connection, 0, says())
    assert await findings.show(connection, key, NOW) is None


async def test_open_comes_before_resolved_worst_first_and_oldest_first(connection: Connection) -> None:
    await sweep(
        connection, 0, says("R-LOW", Severity.LOW), says("R-OLD", Severity.HIGH), says("R-GONE", Severity.CRITICAL)
    )
    standing = [says("R-LOW", Severity.LOW), says("R-OLD", Severity.HIGH)]
    new = [says("R-NEW", Severity.HIGH), says("R-INFO", Severity.INFO), says("R-WORST", Severity.CRITICAL)]
    await sweep(connection, 1, *standing, *new)
    order = [finding.rule_id for finding in await read(connection, resolved_since=NOW)]
    assert order == ["R-WORST", "R-OLD", "R-NEW", "R-LOW", "R-INFO", "R-GONE"]
    assert [finding.rule_id for finding in await read(connection, batch=2, resolved_since=NOW)] == order


async def test_filter_chooses_by_environment_rule_severity_and_time_of_resolution(connection: Connection) -> None:
    await sweep(connection, 0, says("R-A", Severity.LOW), says("R-B", Severity.HIGH))
    await sweep(connection, 0, says("R-A", Severity.HIGH), environment="staging")
    await sweep(connection, 5, says("R-A", Severity.LOW))

    async def chosen(**wanted: Any) -> list[tuple[str, str, str]]:
        return sorted((f.environment, f.rule_id, f.status) for f in await read(connection, **wanted))

    assert await chosen() == [("prod", "R-A", "open"), ("staging", "R-A", "open")]
    assert await chosen(environments=("prod",)) == [("prod", "R-A", "open")]
    assert await chosen(owners=("nobody",)) == []
    assert await chosen(min_severity=Severity.MEDIUM) == [("staging", "R-A", "open")]
    assert await chosen(rules=("R-B",)) == []
    assert await chosen(rules=("R-B",), resolved_since=NOW + 5 * HOUR) == [("prod", "R-B", "resolved")]
    assert await chosen(rules=("R-B",), resolved_since=NOW + 5 * HOUR + timedelta(microseconds=1)) == []


async def test_counts_are_of_environments_severities_rules_and_tokens(connection: Connection) -> None:
    await sweep(
        connection, 0, says("R-A", Severity.LOW), says("R-B", Severity.HIGH), other=[says("R-B", Severity.HIGH)]
    )
    await sweep(connection, 1, says("R-B", Severity.HIGH), other=[says("R-B", Severity.HIGH)])
    await sweep(connection, 1, environment="quiet")
    assert await findings.count_open(connection, NOW) == {"prod": {Severity.HIGH: 2}}
    counts = await findings.counts(connection, NOW, NOW + HOUR)
    assert counts["prod"] == findings.Counts({"R-B": {Severity.HIGH: 2}}, {}, 2, 1)
    assert counts["prod"].open_by_severity == {Severity.HIGH: 2}
    assert counts["quiet"] == findings.Counts({}, {}, 0, 0)
    assert (await findings.counts(connection, NOW, NOW + 2 * HOUR))["prod"].resolved_recently == 0
    assert (await findings.counts(connection, NOW, NOW + HOUR, rules=["R-A"]))["prod"] == findings.Counts({}, {}, 0, 1)


async def test_what_sweeps_did_is_read_worst_first(connection: Connection) -> None:
    await sweep(connection, 0, says("R-A", Severity.LOW))
    await sweep(connection, 1, says("R-B", Severity.HIGH), says("R-C", Severity.CRITICAL))
    happened = await findings.happened(connection, [2])
    assert [(one.transition, one.rule_id, one.label, one.owner) for one in happened] == [
        (Transition.OPENED, "R-C", TOKEN.id, "svc-ingest"),
        (Transition.OPENED, "R-B", TOKEN.id, "svc-ingest"),
        (Transition.RESOLVED, "R-A", TOKEN.id, "svc-ingest"),
    ]


async def test_finding_of_a_missing_token_says_when_it_was_last_told_of(connection: Connection) -> None:
    await sweep(connection, 0, says())
    await sweep(connection, 3, is_missing=True)
    (finding,) = await read(connection)
    assert (finding.status, finding.last_seen_at, finding.token_name) == ("open", NOW + 3 * HOUR, "ingest")


async def test_known_findings_are_those_of_the_tokens_asked_for(connection: Connection) -> None:
    await sweep(connection, 0, says(), other=[says("R-B")])
    numbers = [row["id"] for row in await connection.fetch("select id from token order by label desc")]
    known = await findings.known(connection, numbers[:1])
    assert [finding.rule_id for finding in known[numbers[0]]] == ["DT-EXP-01"]
    assert list(known) == numbers[:1]
    assert await findings.known(connection, []) == {}


async def test_finding_is_severity_since_it_was_opened_or_last_reopened(connection: Connection) -> None:
    async def severity_since() -> float:
        (finding,) = next(iter((await findings.known(connection, [1])).values()))
        assert finding.severity_since is not None
        return (finding.severity_since - NOW) / HOUR

    await connection.execute("alter table token alter id restart with 1")
    await sweep(connection, 0, says())
    await sweep(connection, 1, says(severity=Severity.LOW))
    assert await severity_since() == 0
    await sweep(connection, 2, says(severity=Severity.CRITICAL))
    assert await severity_since() == 2
    await sweep(connection, 3)
    await sweep(connection, 4, says())
    await sweep(connection, 5, says(message="in other words"))
    assert await severity_since() == 4


async def test_known_findings_of_a_batch_are_found_by_index_in_a_table_that_just_grew(connection: Connection) -> None:
    """Without statistics PostgreSQL takes a batch for most of the table, and would read all of it for each batch."""
    await sweep(connection, 0, says())
    scans = "select seq_scan from pg_stat_xact_user_tables where relname = 'finding'"
    async with connection.transaction():  # what is not committed is in no statistics
        await connection.execute(
            """
            insert into finding (environment_id, token_id, rule_id, discriminator, severity, status, message, evidence,
                opened_at, severity_since)
            select environment_id, n, rule_id, discriminator, severity, status, message, evidence, opened_at,
                severity_since
            from finding, generate_series(1001, 9000) n
            """
        )
        before = await connection.fetchval(scans)
        one_by_one = await findings.known(connection, range(1001, 1501), except_rules=["DT-EXP-02"])
        beside = await comparing.known(connection, 1, range(1001, 1501), ["DT-EXP-01"])
        assert await connection.fetchval(scans) == before
    assert set(one_by_one) == set(beside) == set(range(1001, 1501))
