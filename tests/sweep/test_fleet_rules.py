"""What a sweep's end says of tokens beside one another: opened, kept and ended over a real database."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta

import pytest
import structlog

from auditor.model.finding import Finding, Resolution, Severity
from auditor.model.secret import Secret
from auditor.model.sweep import RuleStanding, RuleState, SweepStatus
from auditor.simulator import Fault, Faults, Plan, World, serve
from auditor.store import posture
from auditor.store.connection import Pool
from auditor.sweep.fleet import Setting, judge
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from auditor.sweep.telling import Teller
from tests.sweep.conftest import NOW, ListSource, Stage, client_of, stored, subject_of
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

DAY = timedelta(days=1)
FLEET = ("DT-EXP-05", "DT-EXP-06", "DT-ROT-02", "DT-ROT-03", "DT-OWN-04", "DT-NAM-01", "DT-ENV-01")


async def fleet_findings(database: Pool, rule: str = "") -> dict[str, Finding]:
    """Return the findings of fleet rules, or of one, by key."""
    return {
        key: finding
        for key, finding in (await read_findings(database)).items()
        if (finding.rule_id == rule if rule else finding.rule_id in FLEET)
    }


async def standings(database: Pool, name: str = "prod") -> Mapping[str, RuleStanding]:
    async with database.acquire() as connection:
        states = {state.name: state for state in await posture.environments(connection, NOW)}
    return states[name].rules


async def written(database: Pool) -> object:
    """Return marks that move whenever a finding, an event or an alert is written."""
    return await value(
        database,
        """
        select array[(select count(*) from finding_event), (select count(*) from alert),
            (select sum(xmin::text::bigint) from finding)]
        """,
    )


async def rotated(stage: Stage) -> tuple[str, str, Subject]:
    """Make a token and, three days later, its successor; return their ids and what sweeps both."""
    old = stage.world.create("ingest", ["metrics.ingest"], expiration_date=NOW + 80 * DAY)
    stage.clock.advance(3 * DAY)
    new = stage.world.create("ingest-v2", ["metrics.ingest"], expiration_date=NOW + 85 * DAY)
    return old.token.id, new.token.id, stage.subject(ListSource("vault", stored([old.secret, new.secret])))


async def test_rotation_is_over_when_the_predecessor_is_disabled(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        old, new, subject = await rotated(stage)
        stage.clock.advance(7 * DAY)
        await sweep(database, subject)
        assert await fleet_findings(database) == {}
        stage.clock.advance(timedelta(seconds=1))
        stage.world.use(old)
        await sweep(database, subject)
        found = await fleet_findings(database)
        assert {(finding.label, finding.rule_id, finding.severity) for finding in found.values()} == {
            (old, "DT-ROT-02", Severity.MEDIUM),
            (old, "DT-ROT-03", Severity.HIGH),
        }
        assert {finding.evidence["successor"] for finding in found.values()} == {new}
        stage.world.disable(old)
        await sweep(database, subject)
    ended = (await fleet_findings(database)).values()
    assert {(finding.status, finding.resolution) for finding in ended} == {("resolved", Resolution.EVIDENCE)}


async def test_tokens_that_differ_in_owner_stem_or_scopes_are_no_generations(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [
            stage.world.create(name, scopes, owner=owner).secret
            for name, scopes, owner in (
                ("ingest", ["metrics.ingest"], "a"),
                ("ingest-old", ["metrics.ingest"], "b"),
                ("export (new)", ["metrics.ingest"], "a"),
                ("ingest 2026-03", ["metrics.ingest", "logs.ingest"], "a"),
                ("ingest-v2", ["metrics.ingest"], None),
                ("ingest-v3", ["metrics.ingest"], None),
            )
        ]
        stage.clock.advance(30 * DAY)
        await sweep(database, stage.subject(ListSource("vault", stored(tokens))))
    assert await fleet_findings(database, "DT-ROT-02") == {}


async def test_stems_are_cut_by_the_policys_pattern_and_a_bad_one_is_not_assessed(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(name, ["metrics.ingest"]).secret for name in ("Ingest#1", "ingest#2")]
        source = ListSource("vault", stored(tokens))
        stage.clock.advance(30 * DAY)

        def by(pattern: str) -> Subject:
            return stage.subject(source, policy={"rules": {"DT-ROT-02": {"name_stem_regex": pattern}}})

        await sweep(database, stage.subject(source))
        assert await fleet_findings(database, "DT-ROT-02") == {}
        await sweep(database, by("#[0-9]+$"))
        (finding,) = (await fleet_findings(database, "DT-ROT-02")).values()
        await sweep(database, by("(?P<number>#[0-9]+)$"))
        assert (await fleet_findings(database, "DT-ROT-02"))[finding.key].status == "open"
        standing = (await standings(database))["DT-ROT-02"]
    assert standing.state is RuleState.NOT_ASSESSED
    assert standing.reason.startswith("PostgreSQL cannot read name_stem_regex: ")


async def test_expired_token_without_successor_is_critical_until_there_is_one(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        old = stage.world.create("job", ["metrics.read", "logs.read"], expiration_date=NOW + DAY)
        narrow = stage.world.create("job-new", ["metrics.read"])
        stage.world.use(old.token.id)
        stage.clock.advance(DAY)
        await sweep(database, stage.subject(ListSource("vault", stored([old.secret, narrow.secret]))))
        (finding,) = (await fleet_findings(database, "DT-EXP-05")).values()
        assert (finding.label, finding.severity, finding.status) == (old.token.id, Severity.CRITICAL, "open")
        wide = stage.world.create("job-2026-12", ["metrics.read", "logs.read", "events.ingest"])
        source = ListSource("vault", stored([old.secret, narrow.secret, wide.secret]))
        await sweep(database, stage.subject(source))
        (finding,) = (await fleet_findings(database, "DT-EXP-05")).values()
        assert (finding.status, finding.resolution) == ("resolved", Resolution.EVIDENCE)


async def test_missing_successor_is_no_finding_while_a_source_is_unread(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        old = stage.world.create("job", ["metrics.read"], expiration_date=NOW + DAY)
        stage.world.use(old.token.id)
        stage.clock.advance(DAY)
        tokens = stored([old.secret])
        summary = await sweep(database, stage.subject(ListSource("vault", tokens, breaks="vault: is sealed")))
        assert summary.status is SweepStatus.INCOMPLETE
        assert await fleet_findings(database, "DT-EXP-05") == {}
        after = await standings(database)
    assert after["DT-EXP-05"] == RuleStanding(RuleState.NOT_ASSESSED, "not every source was read to its end: vault")
    assert after["DT-ROT-02"].state is RuleState.ASSESSED


async def test_cliff_is_a_finding_of_the_environment_for_its_day(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        end = NOW + 30 * DAY
        tokens = [stage.world.create(f"t{n}", ["metrics.read"], expiration_date=end) for n in range(10)]
        subject = stage.subject(
            ListSource("vault", stored(token.secret for token in tokens)), hooks={"team": Severity.MEDIUM}
        )
        await sweep(database, subject)
        key = f"prod/environment/DT-EXP-06/{end:%Y-%m-%d}"
        finding = (await fleet_findings(database))[key]
        assert (finding.label, finding.locations, finding.owner, finding.is_stored) == ("environment", (), None, True)
        assert finding.evidence["tokens"] == 10
        alert = await value(
            database, "select data->>'token' from alert where event = 'finding.opened' and data->>'key' = $1", key
        )
        assert alert == "environment"
        for token in tokens:
            stage.world.change(token.token.id, expiration_date=end + int(token.token.name[1:]) * DAY)
        await sweep(database, subject)
    after = await fleet_findings(database, "DT-EXP-06")
    assert (after[key].status, after[key].resolution) == ("resolved", Resolution.EVIDENCE)
    assert list(after) == [key]


async def test_owner_of_too_many_is_told_without_his_name_in_the_key(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"], owner="ann@example.com").secret for n in range(6)]
        source = ListSource("vault", stored(tokens))
        with structlog.testing.capture_logs() as told:
            await sweep(database, stage.subject(source))
        (finding,) = (await fleet_findings(database, "DT-OWN-04")).values()
        (line,) = [one for one in told if one["event"] == "finding_opened" and one["rule"] == "DT-OWN-04"]
        assert (line["finding"], "token" in line) == (finding.key, False)
        assert (finding.owner, finding.evidence["tokens"], finding.severity) == ("ann@example.com", 6, Severity.LOW)
        assert "ann" not in finding.key
        exempt = {"DT-OWN-04": {"exempt": [{"name": ["t0", "t1"]}]}}
        await sweep(database, stage.subject(source, policy={"rules": exempt}))
        (finding,) = (await fleet_findings(database, "DT-OWN-04")).values()
        assert finding.status == "resolved", "four tokens are below the number from which the share counts"


async def test_names_are_told_apart_and_held_to_the_convention(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        one, two, odd = (stage.world.create(name, ["metrics.read"]) for name in ("ingest", "ingest", "Odd Name"))
        source = ListSource("vault", stored([one.secret, two.secret, odd.secret]))
        await sweep(database, stage.subject(source))
        shared = {f"prod/{token.token.id}/DT-NAM-01/shared" for token in (one, two)}
        found = await fleet_findings(database, "DT-NAM-01")
        assert found.keys() == shared
        assert found[f"prod/{one.token.id}/DT-NAM-01/shared"].evidence["namesakes"] == [two.token.id]
        convention = {"DT-NAM-01": {"regex": "[a-z-]+"}}
        await sweep(database, stage.subject(source, policy={"rules": convention}))
        broken = f"prod/{odd.token.id}/DT-NAM-01/convention"
        assert (await fleet_findings(database, "DT-NAM-01")).keys() == {*shared, broken}
        exempt = {"DT-NAM-01": {"regex": "[a-z-]+", "exempt": [{"name": "Odd*"}]}}
        await sweep(database, stage.subject(source, policy={"rules": exempt}))
        after = await fleet_findings(database, "DT-NAM-01")
        assert (after[broken].status, after[broken].resolution) == ("resolved", Resolution.POLICY)
        assert {after[key].status for key in shared} == {"open"}


async def test_secret_of_two_environments_is_told_in_both_until_one_lets_go(database: Pool, staged: Staged) -> None:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(staged())
        other_world = World((), clock=stage.clock)
        own = Secret(other_world.create("auditor", ["metrics.read"]).secret)
        simulator = await stack.enter_async_context(serve({"other": other_world}))
        url = simulator.url("other")
        client = await stack.enter_async_context(client_of(url, own, stage.clock))
        secret = stage.world.create("t", ["metrics.read"]).secret
        elsewhere = ListSource("wiki", stored([secret], source="wiki", environment="other"))
        nowhere = ListSource("wiki", [])
        prod = stage.subject(ListSource("vault", stored([secret])))

        async def other(source: ListSource) -> None:
            await sweep(database, subject_of(client, url, stage.clock, source, name="other"))

        await sweep(database, prod)
        assert await fleet_findings(database) == {}
        for _again in range(3):  # in the other environment it is missing, and is told of all the same
            await other(elsewhere)
            await sweep(database, prod)
        found = await fleet_findings(database, "DT-ENV-01")
        assert {(one.environment, one.status, one.reopenings) for one in found.values()} == {
            ("prod", "open", 0),
            ("other", "open", 0),
        }
        assert {key.rpartition("/")[2] for key in found} == {"environments"}
        assert secret not in str(found)
        await other(nowhere)
        await sweep(database, prod)
    ended = await fleet_findings(database, "DT-ENV-01")
    assert {(one.environment, one.status, one.resolution) for one in ended.values()} == {
        ("prod", "resolved", Resolution.EVIDENCE),
        ("other", "resolved", Resolution.EVIDENCE),
    }


async def test_environment_that_is_configured_no_more_holds_no_copies(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        secret = stage.world.create("t", ["metrics.read"]).secret
        elsewhere = ListSource("wiki", stored([secret], source="wiki", environment="other"))
        await sweep(database, subject_of(stage.client, stage.url, stage.clock, elsewhere, name="other"))
        prod = stage.subject(ListSource("vault", stored([secret])))
        await sweep(database, dataclasses.replace(prod, environments=frozenset({"prod"})))
    assert await fleet_findings(database, "DT-ENV-01") == {}


async def test_two_secrets_with_one_public_id_are_told_of_both(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        secret = stage.world.create("t", ["metrics.read"]).secret
        copy = secret[:-1] + ("A" if secret[-1] != "A" else "B")
        await sweep(database, stage.subject(ListSource("vault", stored([secret, copy]))))
    found = await fleet_findings(database, "DT-ENV-01")
    assert {key.rpartition("/")[2] for key in found} == {"id"}
    assert len(found) == 2


async def test_second_sweep_of_an_unchanged_fleet_writes_nothing(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        old, _new, subject = await rotated(stage)
        more = [stage.world.create("same", ["metrics.read"], expiration_date=NOW + 60 * DAY) for _n in range(12)]
        stage.clock.advance(10 * DAY)
        stage.world.use(old)
        secret_list = [token.secret for token in more]
        subject = stage.subject(
            *subject.sources,
            ListSource("wiki", stored([*secret_list, *secret_list[:2]], source="wiki")),
            hooks={"team": Severity.INFO},
        )
        await sweep(database, subject)
        found = await fleet_findings(database)
        assert {finding.rule_id for finding in found.values()} == set(FLEET) - {"DT-EXP-05"}
        before = await written(database)
        stage.clock.advance(timedelta(seconds=1))
        await sweep(database, subject)
        assert await written(database) == before
        # What is of no token was seen last when it was judged last.
        (cliff,) = (await fleet_findings(database, "DT-EXP-06")).values()
        assert cliff.last_seen_at == stage.clock()


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.HTML])
async def test_sweep_that_saw_nothing_of_a_token_ends_nothing_of_it(
    database: Pool, staged: Staged, fault: Fault
) -> None:
    async with staged() as stage:
        old, _new, subject = await rotated(stage)
        stage.clock.advance(8 * DAY)
        await sweep(database, subject)
        (finding,) = (await fleet_findings(database)).values()
        stage.world.disable(old)  # would end it, if it were seen
        stage.api.set_faults(Faults(plans=(Plan(then=fault),)))
        summary = await sweep(database, subject)
        assert summary.status is SweepStatus.INCOMPLETE
        assert (await fleet_findings(database))[finding.key].status == "open"
        assert (await standings(database))["DT-ROT-02"].state is RuleState.ASSESSED


async def test_sweep_that_stopped_early_assesses_no_fleet_rule(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        old, _new, subject = await rotated(stage)
        stage.clock.advance(8 * DAY)
        await sweep(database, subject)
        stage.world.disable(stage.own.public_id or "")
        stage.world.disable(old)
        before = await fleet_findings(database)
        summary = await sweep(database, subject)
        assert summary.status is SweepStatus.FAILED
        after = await standings(database)
        assert await fleet_findings(database) == before
    assert {after[rule].state for rule in FLEET} == {RuleState.NOT_ASSESSED}
    assert all(after[rule].reason for rule in FLEET)


async def test_fleet_of_which_too_much_was_never_seen_is_not_assessed(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [stage.world.create("same", ["metrics.read"]).secret for _n in range(3)]
        stage.api.set_faults(Faults(plans=(Plan(then=Fault.SERVER_ERROR),)))
        subject = stage.subject(ListSource("vault", stored(tokens)))
        await sweep(database, subject)
        assert (await standings(database))["DT-NAM-01"] == RuleStanding(
            RuleState.NOT_ASSESSED,
            "no lookup has ever found or missed 3 of 3 stored tokens, so there is too little to compare",
        )
        stage.api.set_faults(None)
        await sweep(database, subject)
        assert (await standings(database))["DT-NAM-01"].state is RuleState.ASSESSED
    assert len(await fleet_findings(database, "DT-NAM-01")) == 3


async def test_finding_of_a_token_stands_when_it_is_missed_once_and_ends_when_twice(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        old, _new, subject = await rotated(stage)
        stage.clock.advance(8 * DAY)
        await sweep(database, subject)
        stage.world.delete(old)
        seen = []
        for _again in range(3):
            await sweep(database, subject)
            (finding,) = (await fleet_findings(database, "DT-ROT-02")).values()
            seen.append((finding.status, finding.resolution))
    assert seen == [("open", None), *[("resolved", Resolution.MISSING)] * 2]


async def test_finding_of_a_token_that_no_source_holds_any_more_stands(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        _old, new, subject = await rotated(stage)
        stage.clock.advance(8 * DAY)
        await sweep(database, subject)
        (source,) = subject.sources
        assert isinstance(source, ListSource)
        kept = [token for batch in [batch async for batch in source.read()] for token in batch]
        await sweep(database, stage.subject(ListSource("vault", [one for one in kept if one.secret.public_id == new])))
        (finding,) = (await fleet_findings(database, "DT-ROT-02")).values()
    assert (finding.status, finding.is_stored) == ("open", False)


async def test_rule_that_is_switched_off_ends_its_findings_and_alerts_of_it(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        old, _new, subject = await rotated(stage)
        stage.clock.advance(8 * DAY)
        await sweep(database, subject)
        off = {"rules": {"DT-ROT-02": {"enabled": False}}}
        with structlog.testing.capture_logs() as told:
            await sweep(database, stage.subject(*subject.sources, policy=off, hooks={"team": Severity.LOW}))
        (finding,) = (await fleet_findings(database)).values()
        assert (finding.status, finding.resolution) == ("resolved", Resolution.POLICY)
        assert (await standings(database))["DT-ROT-02"].state is RuleState.DISABLED
        louder = {"rules": {"DT-ROT-02": {"severity": "critical"}}}
        await sweep(database, stage.subject(*subject.sources, policy=louder))
        (finding,) = (await fleet_findings(database)).values()
        assert (finding.status, finding.severity, finding.reopenings) == ("open", Severity.CRITICAL, 1)
    (line,) = [event for event in told if event["event"] == "finding_resolved"]
    assert (line["token"], line["rule"], line["resolution"]) == (old, "DT-ROT-02", "policy")
    assert line["finding"].endswith(f"/{old}/DT-ROT-02")
    alert = await value(database, "select (data->>'rule') || ' ' || (data->>'token') from alert")
    assert alert == f"DT-ROT-02 {old}"


async def test_no_further_rule_is_judged_once_the_sweep_is_to_stop(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        _old, _new, subject = await rotated(stage)
        summary = await sweep(database, subject)
    answers = iter([False, False])
    async with database.acquire() as reading, database.acquire() as writing:
        stood = await judge(
            [reading],
            writing,
            subject,
            Teller(subject),
            Setting(
                environment=1,
                sweep=summary.id,
                now=stage.clock(),
                is_stopped=lambda: next(answers, True),
                unread_sources=(),
            ),
        )
    states = [standing.state for standing in stood.values()]
    assert states[:2] == [RuleState.ASSESSED] * 2
    assert set(states[2:]) == {RuleState.NOT_ASSESSED}
    assert len(states) == len(FLEET)
