"""The chain in the database: what the auditor writes is proved, and what was written past it is named."""

import asyncio
import io
import zipfile
from datetime import timedelta

import msgspec
import pytest

from auditor.model.finding import Severity, Violation
from auditor.reports.evidence.package import write
from auditor.reports.evidence.verifying import Verified, verify_database, verify_package
from auditor.reports.period import parse_period
from auditor.store import chain, sweeps
from auditor.store.chain import Header
from auditor.store.connection import Connection, Pool
from tests.reports.evidence_samples import KEY, LABEL, POLICY, begun, lived_through, package
from tests.store.history import HOUR, NOW, enrolment, found


async def verified(connection: Connection) -> Verified:
    async with connection.transaction():
        return await verify_database(connection)


async def headers(connection: Connection, name: str = "prod") -> list[Header]:
    async with connection.transaction():
        return [msgspec.json.decode(link.header, type=Header) async for link in chain.links(connection, name)]


async def test_chain_of_the_database_is_proved(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        result = await verified(connection)
    assert result.problems == []
    assert (result.links, result.records) == (6, 11)


async def test_first_link_says_what_the_chain_does_not_cover(database: Pool) -> None:
    async with database.acquire() as connection:
        sweep = await begun(connection, "prod", NOW - HOUR)
        await sweep.record((enrolment("old", public_id=None), found(id="dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA")))
        await sweep.finish()
        for table in ("finding_event", "token_change", "token_use", "sweep"):
            await connection.execute(f"update {table} set batch = 0")  # as the migration leaves what it finds
        await lived_through(connection, "prod")
        first, *_rest = await headers(connection)
        assert (await verified(connection)).problems == []
    assert (first.number, first.previous, first.records) == (0, chain.NOTHING_BEFORE, 0)
    assert first.states is not None
    assert first.states["earlier"] == {"finding_event": 0, "sweep": 1, "token_change": 1, "token_use": 1}


async def test_records_are_lines_in_the_very_form_that_earlier_links_were_made_of(database: Pool) -> None:
    said = Violation("DT-EXP-01", Severity.LOW, 'it says "a\\b"\n\x1f and é\u2028', {"name": "x\ty"}, 'd"1')
    async with database.acquire() as connection:
        sweep = await begun(connection, "prod", NOW)
        async with chain.linked(connection, sweep.environment, NOW):
            ((number, label),) = await sweep.record(
                (enrolment("s"), found(last_used_date=NOW - HOUR / 8, last_used_ip_address="::1")),
                says={LABEL: [said]},
            )
        finding = await connection.fetchval("select id from finding")
        opened = await connection.fetchval("select id from finding_event")
        state = await connection.fetchval("select state from token_change")
        async with connection.transaction():
            lines = [line.decode() async for _link, line in chain.records(connection, "prod")]
    now = '"2026-11-24T12:00:00+00:00"'
    event = (
        f'"id" : {opened}, "finding" : {finding}, "token" : {number}, "public_id" : "{label}", "subject" : null, '
        f'"rule" : "DT-EXP-01", "discriminator" : "d\\"1", "sweep" : {sweep.id}, "at" : {now}, '
        '"transition" : "opened", "severity" : "low", "resolution" : null, '
        '"message" : "it says \\"a\\\\b\\"\\n\\u001f and é\u2028", '
        '"evidence" : {"name": "x\\ty"}, "waiver" : null'
    )
    change = (
        f'"token" : {number}, "public_id" : "{label}", "at" : {now}, "previous_at" : null, "sweep" : {sweep.id}, '
        f'"outcome" : "found", "misses" : 0, "state" : {state}'
    )
    use = f'"token" : {number}, "observed_at" : {now}, "used_at" : "2026-11-24T11:52:30+00:00", "ip_address" : "::1"'
    assert lines == [
        f'{{"record" : "{kind}", {fields}}}'
        for kind, fields in (("finding_event", event), ("token_change", change), ("token_use", use))
    ]


async def test_record_of_what_was_waived_between_sweeps_names_the_waiver_and_no_sweep(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        waiver = await connection.fetchval("select waiver from finding_event where transition = 'waived'")
        async with connection.transaction():
            lines = [line.decode() async for _link, line in chain.records(connection, "prod")]
    (waived,) = [line for line in lines if '"transition" : "waived"' in line]
    assert '"sweep" : null, "at" : ' in waived
    assert waived.endswith(f', "waiver" : {waiver}}}')


async def test_transaction_that_adds_nothing_makes_no_link(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")
        before = await chain.heads(connection)
        async with chain.linked(connection, environment, NOW):
            pass
        assert await chain.heads(connection) == before


async def test_act_between_sweeps_is_a_link_that_says_what_it_was(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        stated = [header.states for header in await headers(connection) if header.states and header.number]
    assert [next(iter(states)) for states in stated] == ["waiver_added"]


async def test_link_is_not_there_when_its_transaction_is_rolled_back(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")
        before = await chain.heads(connection)
        with pytest.raises(ZeroDivisionError):
            async with chain.linked(connection, environment, NOW, states={"act": "none"}):
                raise ZeroDivisionError
        assert await chain.heads(connection) == before
        assert (await verified(connection)).problems == []


async def test_links_that_are_made_at_the_same_time_follow_one_another(database: Pool) -> None:
    async with database.acquire() as connection:
        environment = await sweeps.environment_id(connection, "prod", "https://prod.example.com")

    async def act(number: int) -> None:
        async with (
            database.acquire() as connection,
            chain.linked(connection, environment, NOW, states={"act": number}),
        ):
            await asyncio.sleep(0)

    await asyncio.gather(*(act(number) for number in range(12)))
    async with database.acquire() as connection:
        assert [header.number for header in await headers(connection)] == list(range(13))
        assert (await verified(connection)).problems == []


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("update finding_event set severity = 'info' where id = 1", "prod, link 1: its records are not those"),
        ('update token_change set state = state || \'{"owner": "x"}\'', "prod, link 1: its records are not those"),
        ("update token_use set ip_address = '198.51.100.1'", "prod, link 1: its records are not those"),
        ('update sweep set source_problems = \'{"a": "b"}\' where id = 1', "prod, link 2: its records are not those"),
        ("update finding set rule_id = 'DT-EXP-02' where id = 1", "prod, link 1: its records are not those"),
        ("delete from finding_event where id = 1", "prod, link 1: it covers 4 records, and 3 are there"),
        (
            (
                "insert into finding_event (finding_id, at, transition, severity, message, evidence, batch) select "
                "finding_id, at, 'renewed', severity, message, evidence, batch from finding_event where id = 1"
            ),
            "prod, link 1: it covers 4 records, and 5 are there",
        ),
        (
            "insert into token_use (token_id, observed_at, used_at) values (1, now(), now())",
            "token_use: 1 records belong to no link",
        ),
        ("delete from chain_link where number = 3", "prod, link 3: it is not there: link 4 stands in its place"),
        ("delete from chain_link where number = 5", "prod, link 5: it is not there: the chain goes on to link 5"),
        (
            "update chain_link set header = replace(header, '\"ben\"', '\"bob\"') where number = 3",
            "prod, link 3: its hash is not that of its header",
        ),
        (
            (
                "update chain_link set header = replace(header, '\"ben\"', '\"bob\"'), "
                "hash = sha256(convert_to(replace(header, '\"ben\"', '\"bob\"'), 'UTF8')) where number = 3"
            ),
            "prod, link 4: it does not follow on the link before it",
        ),
        ("update chain_head set number = 4", "prod, link 5: it is not the end of the chain"),
        ('update policy set document = \'{"name": "lenient"}\'', "was altered, or is not there any more"),
        (
            (
                "update finding set status = 'resolved', resolved_at = now(), resolution = 'evidence', waiver = null, "
                "waived_severity = null where id = 1"
            ),
            "/DT-EXP-01: does not stand as its history says",
        ),
    ],
)
async def test_what_was_written_past_the_auditor_is_named(database: Pool, statement: str, problem: str) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        await connection.execute(statement)
        problems = (await verified(connection)).problems
    assert any(problem in one for one in problems), problems


async def test_end_that_was_cut_whole_leaves_its_records_behind(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
        await connection.execute("delete from chain_link where number = 5")
        await connection.execute(
            "update chain_head h set number = 4, hash = l.hash from chain_link l where l.number = 4"
        )
        assert (await verified(connection)).problems == [
            "sweep: 1 records belong to no link, so they were written past the auditor, or their link is gone"
        ]


async def test_package_of_a_period_holds_its_links_and_the_report_of_its_end(database: Pool) -> None:
    out = io.BytesIO()
    async with database.acquire() as connection:
        await lived_through(connection)
        sweep = await begun(connection, "prod", NOW + timedelta(days=1))
        async with chain.linked(connection, sweep.environment, sweep.now):
            await sweep.finish()
    manifest = await write(
        database,
        out,
        now=NOW + timedelta(days=2),
        period=parse_period("2026-11-25"),
        environments=["prod"],
        key=KEY,
    )
    (packed,) = manifest.chains
    assert (packed.first, packed.last, packed.records) == (6, 6, 1)
    assert verify_of(out).problems == []


async def test_period_without_a_link_is_a_package_without_a_chain(database: Pool) -> None:
    out = io.BytesIO()
    async with database.acquire() as connection:
        await lived_through(connection)
    manifest = await write(database, out, now=NOW + HOUR, period=parse_period("2020"), environments=[], key=None)
    assert list(manifest.chains) == []
    assert verify_of(out).problems == []


async def test_report_in_a_package_of_now_names_what_was_never_swept(database: Pool) -> None:
    async with database.acquire() as connection:
        await lived_through(connection)
    for period, names in ((None, ["prod", "test"]), (parse_period("2026-11-24"), ["prod"])):
        out = io.BytesIO()
        await write(
            database,
            out,
            now=NOW + timedelta(days=2),
            period=period,
            environments=["prod", "test"],
            key=None,
            configured={"prod": "https://prod.example.com", "test": "https://test.example.com"},
        )
        with zipfile.ZipFile(out) as archive:
            report = msgspec.json.decode(archive.read("report.json"))
        assert [one["name"] for one in report["environments"]] == names
        assert verify_of(out).problems == []


def verify_of(out: io.BytesIO) -> Verified:
    return verify_package(out)  # type: ignore[arg-type]  # a zip file may be an open one


async def test_secret_in_a_name_never_gets_into_a_package(database: Pool) -> None:
    public = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
    secret = "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
    async with database.acquire() as connection:
        sweep = await begun(connection, "prod", NOW)
        async with chain.linked(connection, sweep.environment, NOW):
            await sweep.record(
                (enrolment("s"), found(name=f"was {public}.{secret}")),
                says={public: [Violation("DT-EXP-01", Severity.LOW, f"{public}.{secret} expires", {"name": secret})]},
            )
        async with chain.linked(connection, sweep.environment, NOW):
            await sweep.finish()
    made = io.BytesIO(await package(database))
    assert verify_of(made).problems == []
    with zipfile.ZipFile(made) as archive:
        for name in archive.namelist():
            assert f"{public}.{secret}".encode() not in archive.read(name), name


def test_policy_of_the_samples_is_as_a_policy_is_kept() -> None:
    assert msgspec.json.encode(msgspec.json.decode(POLICY), order="deterministic") == POLICY
