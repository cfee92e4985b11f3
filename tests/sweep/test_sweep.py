"""Whole sweeps against the simulated API and a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from auditor.model.finding import Resolution, Severity
from auditor.model.secret import Secret
from auditor.model.sweep import RuleState, SweepStatus, SweepSummary
from auditor.model.token import Location
from auditor.simulator import Capacity, Fault, Faults, Plan, World, generate, secrets, serve
from auditor.store.connection import Pool
from auditor.sweep.comparing import ENVIRONMENT
from auditor.sweep.recorder import NONE_FOUND_AMONG
from auditor.sweep.side_by_side import SideBySide
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, Stage, client_of, stored, subject_of
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

DAY = timedelta(days=1)


async def test_sweep_accounts_for_every_stored_token(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        known = [stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(5)]
        gone = list(secrets("gone", 3))
        summary = await sweep(database, stage.subject(ListSource("vault", stored([*known, *gone]))))
    assert summary.status is SweepStatus.COMPLETE
    assert (summary.enrolled, summary.found, summary.missing, summary.refused, summary.failed) == (8, 5, 3, 0, 0)
    assert summary.coverage == 1.0


async def test_finding_opens_resolves_on_evidence_and_reopens(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("forever", ["metrics.read"])
        subject = stage.subject(ListSource("vault", stored([token.secret])))
        key = f"prod/{token.token.id}/DT-EXP-01"
        await sweep(database, subject)
        assert (await read_findings(database))[key].status == "open"
        stage.world.change(token.token.id, expiration_date=NOW + timedelta(days=80))
        await sweep(database, subject)
        resolved = (await read_findings(database))[key]
        assert (resolved.status, resolved.resolution) == ("resolved", Resolution.EVIDENCE)
        stage.world.change(token.token.id, expiration_date=None)
        await sweep(database, subject)
        reopened = (await read_findings(database))[key]
        assert (reopened.status, reopened.reopenings, reopened.resolution) == ("open", 1, None)


async def test_failed_lookup_neither_passes_nor_ends_a_finding(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("forever", ["metrics.read"])
        source = ListSource("vault", stored([token.secret]))
        subject = stage.subject(source)
        await sweep(database, subject)
        before = await read_findings(database)
        assert before
        stage.world.change(token.token.id, expiration_date=NOW + timedelta(days=80))  # would resolve, if it were seen
        for fault in (Fault.HTML, Fault.PROXY_FORBIDDEN, Fault.TRUNCATED, Fault.RESET, Fault.SERVER_ERROR):
            stage.api.set_faults(Faults(plans=(Plan(then=fault),)))
            summary = await sweep(database, subject)
            assert summary.found == summary.missing == 0
            assert summary.refused + summary.failed == 1
            assert summary.status is not SweepStatus.COMPLETE
            of_the_audit = {
                key: found for key, found in (await read_findings(database)).items() if found.rule_id[:6] == "DT-AUD"
            }
            assert f"prod/{ENVIRONMENT}/DT-AUD-02" in of_the_audit
            assert await read_findings(database) == before | of_the_audit


async def test_same_secret_in_two_places_is_one_lookup_and_two_locations(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        secret = stage.world.create("shared", ["metrics.read"]).secret
        first, second = (
            ListSource("vault", stored([secret, secret])),
            ListSource("wiki", stored([secret], source="wiki")),
        )
        summary = await sweep(database, stage.subject(first, second))
        assert stage.api.lookups == 1
    assert (summary.enrolled, summary.found) == (1, 1)
    found = await read_findings(database)
    assert {finding.rule_id for finding in found.values()} == {"DT-EXP-01", "DT-ENV-01"}
    finding = next(iter(found.values()))
    assert finding.locations == (Location("vault", "line 1"), Location("vault", "line 2"), Location("wiki", "line 1"))


async def test_token_of_the_old_format_goes_by_its_fingerprint_until_a_lookup_tells_its_id(
    database: Pool, staged: Staged
) -> None:
    old = next(token for token in generate("old", 2000, NOW) if "." not in token.secret)
    async with staged() as stage:
        subject = stage.subject(ListSource("vault", stored([old.secret])))
        await sweep(database, subject)
        label = await value(database, "select label from token")
        assert isinstance(label, str)
        assert label.startswith("fp:")
        stage.world.add(
            msgspec.structs.replace(old, token=msgspec.structs.replace(old.token, expiration_date=None, enabled=True))
        )
        summary = await sweep(database, subject)
        assert summary.found == 1
    assert await value(database, "select count(*) from token") == 1
    assert {finding.label for finding in (await read_findings(database)).values()} == {old.token.id}


async def test_refusal_of_the_auditors_own_token_stops_the_sweep_at_once(
    database: Pool, staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.sweep.sweeper.BATCH", 12)  # its parts are written side by side, and counted one by one
    async with staged(concurrency=1) as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(50)]
        stage.world.disable(stage.own.public_id or "")
        summary = await sweep(
            database, stage.subject(ListSource("vault", stored(tokens)), hooks={"team": Severity.HIGH})
        )
        assert stage.api.lookups == 1
    assert summary.status is SweepStatus.FAILED
    assert (summary.enrolled, summary.refused, summary.failed) == (50, 1, 49)
    assert summary.reasons == {
        "HTTP 401 from the API": 1,
        "not attempted: the auditor's own token was refused: HTTP 401 from the API": 49,
    }
    assert set(await read_findings(database)) == {f"prod/{ENVIRONMENT}/DT-AUD-02"}
    alert = await value(
        database,
        "select event || ' ' || severity || ' ' || (data->>'message') from alert where event = 'sweep.failed'",
    )
    assert alert == "sweep.failed high the auditor's own token was refused: HTTP 401 from the API"


async def test_environment_that_cannot_be_reached_is_given_up_after_a_while(database: Pool, staged: Staged) -> None:
    async with staged(faults=Faults(plans=(Plan(then=Fault.RESET),))) as stage:
        tokens = stored(secrets("away", 300))
        summary = await sweep(database, stage.subject(ListSource("vault", tokens)))
        assert stage.api.injector is not None
        assert 50 <= stage.api.injector.injected[Fault.RESET] < 100
    assert summary.status is SweepStatus.FAILED
    assert (summary.enrolled, summary.failed) == (300, 300)


async def test_environment_that_answers_nothing_for_long_is_given_up_after_few_lookups(
    database: Pool, staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.sweep.sweeper._UNREACHABLE_SECONDS", 0.0)
    async with staged(concurrency=1, faults=Faults(plans=(Plan(then=Fault.RESET),))) as stage:
        summary = await sweep(database, stage.subject(ListSource("vault", stored(secrets("away", 30)))))
        assert stage.api.injector is not None
        assert stage.api.injector.injected[Fault.RESET] == 2
    assert (summary.status, summary.failed) == (SweepStatus.FAILED, 30)


async def test_environment_that_throttles_every_lookup_for_long_is_given_up(
    database: Pool, staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.sweep.sweeper._UNREACHABLE_SECONDS", 0.0)
    faults = Faults(plans=(Plan(then=Fault.THROTTLED),), retry_after_seconds=0)
    async with staged(concurrency=1, faults=faults) as stage:
        summary = await sweep(database, stage.subject(ListSource("vault", stored(secrets("busy", 30)))))
        assert stage.api.injector is not None
        assert stage.api.injector.injected[Fault.THROTTLED] == 2
    assert (summary.status, summary.failed) == (SweepStatus.FAILED, 30)
    assert summary.reasons["not attempted: the environment serves nothing: HTTP 429"] == 28


async def test_sweep_goes_on_while_an_environment_answers_now_and_then(database: Pool, staged: Staged) -> None:
    async with staged(concurrency=1, faults=Faults(plans=(Plan(faults=(Fault.RESET,) * 49 + (None,)),))) as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(60)]
        summary = await sweep(database, stage.subject(ListSource("vault", stored(tokens))))
    assert (summary.status, summary.found, summary.failed) == (SweepStatus.INCOMPLETE, 11, 49)


async def test_throttled_lookups_are_counted_and_leave_the_sweep_incomplete(database: Pool, staged: Staged) -> None:
    async with staged(capacity=Capacity(workers=1, queue=0, service_seconds=0.05, jitter=0), concurrency=8) as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(20)]
        summary = await sweep(database, stage.subject(ListSource("vault", stored(tokens))))
    assert summary.status is SweepStatus.INCOMPLETE
    assert summary.found > 0
    assert summary.reasons == {"HTTP 429": summary.failed}
    assert summary.found + summary.failed == 20
    assert await value(database, "select count(*) from lookup where outcome = 'throttled'") == summary.failed


async def test_source_that_breaks_half_way_leaves_the_sweep_incomplete_and_its_tokens_places_as_they_were(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        first, second = (stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(2))
        await sweep(database, stage.subject(ListSource("vault", stored([first, second]))))
        broken = ListSource("vault", stored([first]), breaks="vault: line 2 cannot be read")
        summary = await sweep(database, stage.subject(broken))
    assert summary.status is SweepStatus.INCOMPLETE
    assert summary.source_problems == {"vault": "vault: line 2 cannot be read"}
    assert (summary.enrolled, summary.found) == (1, 1)
    assert {(finding.locations, finding.is_stored) for finding in (await read_findings(database)).values()} == {
        ((Location("vault", "line 1"),), True),
        ((Location("vault", "line 2"),), True),
    }


async def test_token_that_its_source_holds_no_longer_is_not_stored_any_more_and_comes_back(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        secret = stage.world.create("t", ["metrics.read"]).secret
        there, empty = stage.subject(ListSource("vault", stored([secret]))), stage.subject(ListSource("vault", []))
        for subject, is_stored in ((there, True), (empty, False), (empty, False), (there, True)):
            await sweep(database, subject)
            (finding,) = (await read_findings(database)).values()
            assert (finding.is_stored, finding.status) == (is_stored, "open")


async def test_stored_token_of_an_unknown_environment_is_told_and_of_another_one_passed_over(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        secret = stage.world.create("t", ["metrics.read"]).secret
        nowhere, other = stored([secret], environment="nowhere"), stored([secret], environment="other")
        summary = await sweep(database, stage.subject(ListSource("vault", [*stored([secret]), *other, *nowhere])))
    assert (summary.enrolled, summary.status) == (1, SweepStatus.INCOMPLETE)
    assert summary.source_problems == {
        "vault": 'vault: line 1: names the environment "nowhere", which is not configured; '
        "configure it or correct the entry"
    }


async def test_auditors_own_token_is_not_looked_up_with_itself_unless_told_to(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        source = ListSource("vault", stored([stage.own.reveal()]))
        summary = await sweep(database, stage.subject(source))
        assert stage.api.lookups == 0
        assert (summary.failed, summary.self_lookup) == (1, False)
        assert next(iter(summary.reasons)).startswith("not attempted: the auditor's own token; self_lookup = true")
        summary = await sweep(database, stage.subject(source, self_lookup=True))
        assert stage.api.lookups == 2  # as a token that is stored, and as the one that audits
        assert (summary.found, summary.self_lookup) == (1, True)


async def test_environment_that_knows_no_token_at_all_ends_no_finding(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(f"t{number}", ["metrics.read"]) for number in range(NONE_FOUND_AMONG)]
        subject = stage.subject(ListSource("vault", stored([token.secret for token in tokens])))
        await sweep(database, subject)
        labels = {token.token.id for token in tokens}
        opened = {key for key, finding in (await read_findings(database)).items() if finding.label in labels}
        gone = [stage.world.delete(token.token.id) for token in tokens]
        with capture_logs() as lines:
            for _sweep in range(3):
                await sweep(database, subject)
        still = await read_findings(database)
        assert {still[key].status for key in opened} == {"open"}
        assert [line["missing"] for line in lines if line["event"] == "no_token_found"] == [NONE_FOUND_AMONG] * 3
        stage.world.restore(gone[0])
        await sweep(database, subject)
        ended = {key for key, finding in (await read_findings(database)).items() if finding.status == "resolved"}
    assert ended >= {key for key in opened if gone[0].id not in key}


async def test_token_that_is_missing_twice_running_loses_its_findings_and_once_does_not(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        token = stage.world.create("t", ["metrics.read"])
        subject = stage.subject(ListSource("vault", stored([token.secret])))
        seen: list[tuple[str, Resolution | None, int]] = []

        async def look() -> None:
            await sweep(database, subject)
            finding = (await read_findings(database))[f"prod/{token.token.id}/DT-EXP-01"]
            seen.append((finding.status, finding.resolution, finding.reopenings))

        await look()
        gone = stage.world.delete(token.token.id)
        await look()
        stage.world.restore(gone)
        await look()
        stage.world.delete(token.token.id)
        await look()
        stage.api.set_faults(Faults(plans=(Plan(then=Fault.SERVER_ERROR),)))
        await look()
        stage.api.set_faults(None)
        await look()
        stage.world.restore(gone)
        await look()
    assert seen == [
        ("open", None, 0),
        ("open", None, 0),  # missing once
        ("open", None, 0),  # back again
        ("open", None, 0),  # missing once
        ("open", None, 0),  # a failure says nothing
        ("resolved", Resolution.MISSING, 0),  # missing twice
        ("open", None, 1),
    ]


async def test_rule_that_is_switched_off_ends_its_findings_by_policy(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        source = ListSource("vault", stored([stage.world.create("t", ["metrics.read"]).secret]))
        await sweep(database, stage.subject(source))
        await sweep(database, stage.subject(source, policy={"rules": {"DT-EXP-01": {"enabled": False}}}))
        (finding,) = (await read_findings(database)).values()
        assert (finding.status, finding.resolution) == ("resolved", Resolution.POLICY)
        await sweep(database, stage.subject(source, policy={"rules": {"DT-EXP-01": {"severity": "low"}}}))
        (finding,) = (await read_findings(database)).values()
        assert (finding.status, finding.severity, finding.reopenings) == ("open", Severity.LOW, 1)


async def test_rule_that_cannot_be_assessed_keeps_its_findings(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        source = ListSource("vault", stored([stage.world.create("t", ["metrics.read", "logs.read"]).secret]))
        profile = {"profile": "all", "scopes": ["metrics.*"]}
        await sweep(database, stage.subject(source, policy={"rules": {"DT-SCP-04": {"profiles": [profile]}}}))
        key = next(key for key in await read_findings(database) if key.endswith("/DT-SCP-04"))
        subject = stage.subject(source)
        assert subject.policy.standings["DT-SCP-04"].state is RuleState.NOT_ASSESSED
        await sweep(database, subject)
        assert (await read_findings(database))[key].status == "open"


async def test_severity_rises_and_falls_with_the_days_that_are_left(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("t", ["metrics.read"], expiration_date=NOW + 40 * DAY)
        subject = stage.subject(ListSource("vault", stored([token.secret])))
        for days in (0, 15, 20):
            stage.clock.advance(timedelta(days=days))
            await sweep(database, subject)
        stage.world.change(token.token.id, expiration_date=stage.clock() + 40 * DAY)
        await sweep(database, subject)
        history = """
            select string_agg(e.transition || ' ' || e.severity, ', ' order by e.id)
            from finding_event e join finding f on f.id = e.finding_id where f.rule_id = 'DT-EXP-03'
        """
        assert await value(database, history) == "opened info, escalated low, escalated high, eased info"


async def test_fleet_with_awkward_values_is_recorded_and_looks_the_same_the_second_time(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        tokens = list(generate("awkward", 120, NOW, hostile=True))
        for token in tokens:
            stage.world.add(token)
        subject = stage.subject(ListSource("vault", stored([token.secret for token in tokens])))
        first = await sweep(database, subject)
        before = await read_findings(database)
        changes = await value(database, "select count(*) from token_change")
        stage.clock.advance(timedelta(seconds=1))
        second = await sweep(database, subject)
    assert first.status is second.status is SweepStatus.COMPLETE
    assert first.enrolled == second.enrolled == 120
    assert await value(database, "select count(*) from token_change") == changes
    assert (await read_findings(database)).keys() == before.keys()


async def test_two_environments_are_swept_side_by_side(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        worlds = {name: World((), clock=stage.clock, seed=name) for name in ("prod", "other")}
        capacity = Capacity(workers=2, service_seconds=0.02)
        side_by_side = SideBySide(database)
        async with (
            serve(worlds, capacity=capacity) as simulator,
            AsyncExitStack() as stack,
            asyncio.TaskGroup() as tasks,
        ):
            sweeping: dict[str, asyncio.Task[SweepSummary]] = {}
            for name, world in worlds.items():
                own = Secret(world.create("auditor", ["metrics.read"]).secret)
                url = simulator.url(name)
                client = await stack.enter_async_context(client_of(url, own, stage.clock))
                tokens = [world.create(f"{name} {n}", ["metrics.read"]).secret for n in range(20)]
                shared = [stage.own.reveal()]
                source = ListSource("vault", stored([*tokens, *shared], environment=name))
                subject = subject_of(client, url, stage.clock, source, name=name)
                sweeping[name] = tasks.create_task(sweep(database, subject, side_by_side=side_by_side))
            await asyncio.wait(sweeping.values())
    for name, task in sweeping.items():
        summary = task.result()
        assert (summary.environment, summary.found, summary.missing) == (name, 20, 1)
    assert await value(database, "select count(*) from token") == 42


async def test_unknown_scopes_are_told_once_a_sweep_with_their_tokens_counted(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        scopes = (["metrics.read", "new.read"], ["new.read"], ["new.write", "own.read"], ["metrics.read"])
        tokens = [stage.world.create(f"t{n}", held).secret for n, held in enumerate(scopes)]
        subject = stage.subject(
            ListSource("vault", stored(tokens), batch=2), policy={"risk": {"scopes": {"own.read": "low"}}}
        )
        with capture_logs() as logs:
            summary = await sweep(database, subject)
    assert summary.status is SweepStatus.COMPLETE
    (told,) = [entry for entry in logs if entry["event"] == "unknown_scopes_met"]
    assert (told["scopes"], told["more"], told["graded"]) == ({"new.read": 2, "new.write": 1}, 0, "medium")


async def test_sweep_that_meets_known_scopes_only_tells_of_none(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("t", ["metrics.read"])
        with capture_logs() as logs:
            await sweep(database, stage.subject(ListSource("vault", stored([token.secret]))))
    assert "unknown_scopes_met" not in {entry["event"] for entry in logs}


async def test_endless_unknown_scopes_are_told_in_short(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("t", ["metrics.read"])
        stage.world.set_scopes(token.token.id, [f"s{n:04d}" + "x" * 200 for n in range(1500)])
        with capture_logs() as logs:
            await sweep(database, stage.subject(ListSource("vault", stored([token.secret]))))
    (told,) = [entry for entry in logs if entry["event"] == "unknown_scopes_met"]
    assert (len(told["scopes"]), told["more"]) == (20, 980)
    assert all(len(name) <= 81 for name in told["scopes"])
