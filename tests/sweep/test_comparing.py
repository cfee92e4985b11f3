"""Applying what rules say of many: to stored tokens and to subjects that are none."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from auditor.model.finding import Finding, Resolution, Severity, Transition, Violation
from auditor.policy.lateness import Deadlines
from auditor.store import findings
from auditor.store.comparing import Standing
from auditor.store.connection import Connection, Pool
from auditor.store.findings import Filter
from auditor.sweep.comparing import ENVIRONMENT, Said, compare
from auditor.sweep.subject import Subject
from auditor.sweep.telling import Teller
from tests.store.history import HOUR, NOW, TOKEN, begin, enrolment, found
from tests.sweep.conftest import ListSource, Stage

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

UNSTORED = "dt0c01.BBBBBBBBBBBBBBBBBBBBBBBB"


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


@pytest.fixture
async def subject(staged: Staged) -> AsyncIterator[Subject]:
    async with staged() as stage:
        yield stage.subject(ListSource("vault", []), hooks={"team": Severity.HIGH})


def says(
    bearer: int | str, severity: Severity = Severity.HIGH, message: str = "said", part: str = "", **evidence: Any
) -> Said:
    return Said(bearer, Violation("DT-INV-01", severity, message, evidence, part))


async def run(
    connection: Connection,
    subject: Subject,
    *batches: Sequence[Said],
    hours: int = 0,
    ending: Callable[[Standing], Resolution | None] = lambda _one: Resolution.EVIDENCE,
    rules: Sequence[str] = ("DT-INV-01",),
) -> Teller:
    """Enrol one token, which the first sweep looks up, and apply what a rule says at the end; return who told of it."""
    swept = await begin(connection, "prod", NOW + hours * HOUR)
    if hours:
        await swept.enrol(enrolment("one"))
    else:
        await swept.record((enrolment("one"), found(NOW)))

    async def said() -> AsyncGenerator[Sequence[Said], None]:
        for batch in batches:
            yield batch

    teller = Teller(subject)
    await compare(
        connection,
        teller,
        environment=swept.environment,
        sweep=swept.id,
        rules=rules,
        said=said(),
        ending=ending,
        deadlines=Deadlines(subject.policy, subject.name),
        now=swept.now,
    )
    await swept.finish()
    return teller


async def read(connection: Connection) -> dict[str, Finding]:
    async with connection.transaction():
        return {
            finding.key: finding
            async for batch in findings.read(connection, Filter(resolved_since=NOW), NOW)
            for finding in batch
        }


async def test_finding_of_a_token_in_no_store_lives_like_any_other(connection: Connection, subject: Subject) -> None:
    evidence = {"name": "stray", "owner": "ann"}
    await run(connection, subject, [says(UNSTORED, Severity.MEDIUM, **evidence)])
    await run(connection, subject, [says(UNSTORED, Severity.CRITICAL, "worse", **evidence)], hours=1)
    await run(connection, subject, hours=2)
    await run(connection, subject, [says(UNSTORED, Severity.LOW, **evidence)], hours=3)
    shown = await findings.show(connection, f"prod/{UNSTORED}/DT-INV-01", NOW)
    assert shown is not None
    finding, events = shown
    assert [(event.transition, event.severity, event.resolution) for event in events] == [
        (Transition.OPENED, Severity.MEDIUM, None),
        (Transition.ESCALATED, Severity.CRITICAL, None),
        (Transition.RESOLVED, Severity.CRITICAL, Resolution.EVIDENCE),
        (Transition.REOPENED, Severity.LOW, None),
    ]
    assert (finding.label, finding.token_name, finding.owner) == (UNSTORED, "stray", "ann")
    assert (finding.status, finding.reopenings, finding.locations, finding.is_stored) == ("open", 1, (), True)


async def test_finding_of_a_subject_is_listed_counted_and_alerted(connection: Connection, subject: Subject) -> None:
    teller = await run(
        connection, subject, [says(ENVIRONMENT, owner="ann"), says(UNSTORED, Severity.LOW), says(1, part="x")]
    )
    assert teller.transitions == {Transition.OPENED: 3}
    assert list(await read(connection)) == [
        "prod/environment/DT-INV-01",
        f"prod/{TOKEN.id}/DT-INV-01/x",
        f"prod/{UNSTORED}/DT-INV-01",
    ]
    assert await findings.count_open(connection, NOW) == {"prod": {Severity.HIGH: 2, Severity.LOW: 1}}
    counts = (await findings.counts(connection, NOW, NOW))["prod"]
    assert (counts.open_by_rule, counts.tokens_with_findings) == ({"DT-INV-01": {Severity.HIGH: 2, Severity.LOW: 1}}, 1)
    happened = await findings.happened(connection, [1])
    assert [(one.label, one.owner) for one in happened] == [
        ("environment", "ann"),
        (TOKEN.id, "svc-ingest"),
        (UNSTORED, None),
    ]
    alerts = await connection.fetch("select data->>'token' as token, data->>'owner' as owner from alert order by 1")
    assert [tuple(alert) for alert in alerts] == [(TOKEN.id, "svc-ingest"), ("environment", "ann")]


async def test_one_subject_in_two_environments_has_two_findings(connection: Connection, subject: Subject) -> None:
    await run(connection, subject, [says(ENVIRONMENT)])
    other = await begin(connection, "staging", NOW)

    async def said() -> AsyncGenerator[Sequence[Said], None]:
        yield [says(ENVIRONMENT)]

    await compare(
        connection,
        Teller(subject),
        environment=other.environment,
        sweep=other.id,
        rules=["DT-INV-01"],
        said=said(),
        ending=lambda _one: Resolution.EVIDENCE,
        deadlines=Deadlines(subject.policy, subject.name),
        now=NOW,
    )
    assert (await read(connection)).keys() == {"prod/environment/DT-INV-01", "staging/environment/DT-INV-01"}


async def test_what_is_said_in_many_batches_is_all_of_it(connection: Connection, subject: Subject) -> None:
    parts = [[says(ENVIRONMENT, part="a"), says(1, part="a")], [], [says(ENVIRONMENT, part="b"), says(1, part="b")]]
    await run(connection, subject, *parts)
    teller = await run(connection, subject, *parts, hours=1)
    assert teller.transitions == {}
    assert {finding.status for finding in (await read(connection)).values()} == {"open"}
    teller = await run(connection, subject, parts[0], hours=2)
    assert teller.transitions == {Transition.RESOLVED: 2}
    assert {key for key, finding in (await read(connection)).items() if finding.status == "open"} == {
        "prod/environment/DT-INV-01/a",
        f"prod/{TOKEN.id}/DT-INV-01/a",
    }


async def test_silence_that_is_no_evidence_ends_nothing(connection: Connection, subject: Subject) -> None:
    await run(connection, subject, [says(ENVIRONMENT), says(1)])
    met: list[Standing] = []

    def ending(one: Standing) -> Resolution | None:
        met.append(one)
        return None

    teller = await run(connection, subject, hours=1, ending=ending)
    assert teller.transitions == {}
    assert {finding.status for finding in (await read(connection)).values()} == {"open"}
    assert [(one.bearer, one.token.label if one.token else None) for one in met] == [
        (ENVIRONMENT, None),
        (1, TOKEN.id),
    ]


async def test_findings_of_rules_that_were_not_judged_are_left_alone(connection: Connection, subject: Subject) -> None:
    await run(connection, subject, [says(1)])
    await run(connection, subject, hours=1, rules=["DT-AUD-01"])
    (finding,) = (await read(connection)).values()
    assert finding.status == "open"


async def test_rule_that_speaks_without_being_judged_is_refused(connection: Connection, subject: Subject) -> None:
    with pytest.raises(ValueError, match="DT-INV-01 spoke, but DT-AUD-01 are judged"):
        await run(connection, subject, [says(1)], rules=["DT-AUD-01"])


async def test_words_are_renewed_without_a_transition_and_what_is_the_same_is_not_written(
    connection: Connection, subject: Subject
) -> None:
    await run(connection, subject, [says(ENVIRONMENT)])
    before = await connection.fetchval("select xmin::text from finding")
    await run(connection, subject, [says(ENVIRONMENT)], hours=1)
    assert await connection.fetchval("select xmin::text from finding") == before
    await run(connection, subject, [says(ENVIRONMENT, message="in other words")], hours=2)
    assert await connection.fetchval("select message from finding") == "in other words"
    assert [
        row["transition"] for row in await connection.fetch("select transition from finding_event order by id")
    ] == [
        "opened",
        "renewed",
    ]
    shown = await findings.show(connection, next(iter(await read(connection))), NOW)
    assert shown is not None
    assert [event.transition for event in shown[1]] == [Transition.OPENED]


async def test_nothing_is_left_of_what_was_rolled_back(connection: Connection, subject: Subject) -> None:
    async def broken() -> None:
        async with connection.transaction():
            await run(connection, subject, [says(ENVIRONMENT)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    assert await connection.fetchval("select count(*) from finding") == 0
    assert await connection.fetchval("select count(*) from alert") == 0


@pytest.mark.parametrize("bad", ["", "a/b"])
async def test_subject_that_keys_cannot_hold_is_refused(connection: Connection, subject: Subject, bad: str) -> None:
    with pytest.raises(Exception, match="finding_subject_check"):
        await run(connection, subject, [says(bad)])


async def test_finding_is_last_seen_when_its_rule_was_last_assessed(connection: Connection, subject: Subject) -> None:
    await run(connection, subject, [says(ENVIRONMENT)])
    await run(connection, subject, [says(ENVIRONMENT)], hours=1)
    (finding,) = (await read(connection)).values()
    assert finding.last_seen_at == NOW  # no standing of that rule was written
    await connection.execute("""update sweep set rules = '{"DT-INV-01": {"state": "assessed"}}'""")
    (finding,) = (await read(connection)).values()
    assert finding.last_seen_at == NOW + HOUR
    await run(connection, subject, hours=2)
    (finding,) = (await read(connection)).values()
    assert (finding.status, finding.last_seen_at) == ("resolved", NOW + HOUR)
