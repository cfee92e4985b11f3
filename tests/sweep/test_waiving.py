"""Waivers over whole sweeps: what is muted, when it warns, and how a finding comes back when one ends."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from auditor.model.finding import Severity, Transition
from auditor.model.sweep import SweepStatus
from auditor.policy.registry import rules
from auditor.policy.waivers import WaiverEntry
from auditor.simulator import Fault, Faults, Plan
from auditor.store import findings, waivers
from auditor.store.connection import Pool
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, Stage, routing_to, stored
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
HOOKS = {"team": Severity.INFO}


def entry(**changes: Any) -> WaiverEntry:
    """A waiver of thirty days, of tokens of svc-ci that never expire unless ``changes`` say otherwise."""
    values: dict[str, Any] = {
        "id": "w1",
        "owner": "svc-ci",
        "approver": "jane.doe",
        "reason": "moves to OAuth",
        "ticket": "SEC-12",
        "since": NOW,
        "until": NOW + 30 * DAY,
    }
    if "finding" not in changes:
        values |= {"rules": ["DT-EXP-01"], "only": [{"owner": "svc-ci"}]}
    return WaiverEntry.model_validate(values | changes)


def subject_of(stage: Stage, tokens: Sequence[str], *entries: WaiverEntry, **policy: Any) -> Subject:
    others = {rule: {"enabled": False} for rule in rules() if rule not in {"DT-EXP-01", "DT-EXP-03"}}
    subject = stage.subject(ListSource("vault", stored(tokens)), hooks=HOOKS, policy={"rules": others, **policy})
    return replace(subject, waivers=entries)


async def alerts(database: Pool) -> list[tuple[str, str]]:
    """The alerts made since the last call: their events with the rules or waivers that they are of."""
    async with database.acquire() as connection, connection.transaction():
        rows = await connection.fetch("select event, data from alert order by at, event")
        await connection.execute("delete from delivery")
        await connection.execute("delete from alert")
    datas = [(row["event"], msgspec.json.decode(row["data"])) for row in rows]
    return [(event, data.get("rule") or data["waiver"]["id"]) for event, data in datas]


async def transitions(database: Pool, key: str) -> list[str]:
    async with database.acquire() as connection:
        shown = await findings.show(connection, key, NOW)
    assert shown is not None
    return [event.transition.value for event in shown[1]]


async def test_finding_is_waived_warns_lapses_and_reopens_with_an_alert(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        key = f"prod/{token.token.id}/DT-EXP-01"

        await sweep(database, subject_of(stage, [token.secret]))
        assert await alerts(database) == [("finding.opened", "DT-EXP-01")]

        waiver = entry()
        subject = subject_of(stage, [token.secret], waiver)
        await sweep(database, subject)
        finding = (await read_findings(database))[key]
        assert (finding.status, finding.severity, finding.waiver) == ("open", Severity.HIGH, waiver.terms)
        assert await alerts(database) == []

        stage.clock.advance(16 * DAY - SECOND)
        await sweep(database, subject)
        assert await alerts(database) == []
        stage.clock.advance(SECOND)
        with capture_logs() as logged:
            await sweep(database, subject)
        assert await alerts(database) == [("waiver.lapsing", "w1")]
        (warning,) = [line for line in logged if line["event"] == "waiver_lapsing"]
        assert (warning["log_level"], warning["waiver"], warning["findings"]) == ("warning", "w1", 1)

        stage.clock.advance(14 * DAY - SECOND)
        await sweep(database, subject)
        assert await alerts(database) == []
        stage.clock.advance(SECOND)
        with capture_logs() as logged:
            await sweep(database, subject)
        assert await alerts(database) == [("finding.reopened", "DT-EXP-01")]
        assert [line["log_level"] for line in logged if line["event"] == "finding_lapsed"] == ["warning"]
        finding = (await read_findings(database))[key]
        assert (finding.status, finding.waiver, finding.reopenings, finding.opened_at) == ("open", None, 0, NOW)
    assert await transitions(database, key) == ["opened", "waived", "lapsed"]


async def test_alert_of_a_lapse_says_whose_waiver_ended_and_when(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        subject = subject_of(stage, [token.secret], entry())
        await sweep(database, subject)
        stage.clock.advance(30 * DAY)
        await sweep(database, subject)
    data = msgspec.json.decode(str(await value(database, "select data from alert where event = 'finding.reopened'")))
    assert (data["transition"], data["severity"], data["owner"]) == ("lapsed", "high", "svc-ci")
    assert data["waiver"]["approver"] == "jane.doe"
    assert data["message"].endswith("; its waiver w1 ended 2026-12-24 12:00 UTC")
    assert data["locations"] == [{"source": "vault", "place": "line 1"}]
    assert datetime.fromisoformat(data["opened_at"]) == NOW


async def test_second_sweep_writes_nothing_twice(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"], owner="svc-ci").secret for n in range(3)]
        subject = subject_of(stage, tokens, entry(until=NOW + 3 * DAY))
        await sweep(database, subject)
        counts = "select (select count(*) from finding_event) || ' ' || (select count(*) from alert)"
        first = await value(database, counts)
        assert first == "6 1"  # three opened, three waived; one warning for all of them
        stage.clock.advance(DAY)
        await sweep(database, subject)
        assert await value(database, counts) == first
        stage.clock.advance(2 * DAY)
        await sweep(database, subject)
        assert await value(database, counts) == "9 4"
        await sweep(database, subject)
        assert await value(database, counts) == "9 4"


async def test_finding_that_is_covered_from_its_beginning_is_recorded_and_not_alerted(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        covered = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        other = stage.world.create("other", ["metrics.read"], owner="svc-other")
        with capture_logs() as logged:
            await sweep(database, subject_of(stage, [covered.secret, other.secret], entry()))
        assert await alerts(database) == [("finding.opened", "DT-EXP-01")]
    assert await transitions(database, f"prod/{covered.token.id}/DT-EXP-01") == ["opened", "waived"]
    assert await transitions(database, f"prod/{other.token.id}/DT-EXP-01") == ["opened"]
    levels = {line["token"]: line["log_level"] for line in logged if line["event"] == "finding_opened"}
    assert levels == {covered.token.id: "info", other.token.id: "warning"}


async def test_lapse_needs_no_lookup(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"], owner="svc-ci") for n in range(2)]
        subject = subject_of(stage, [token.secret for token in tokens], entry(until=NOW + DAY))
        await sweep(database, subject)
        await alerts(database)
        stage.clock.advance(DAY)
        stage.api.set_faults(Faults(plans=(Plan(then=Fault.SERVER_ERROR),)))
        only_the_first = subject_of(stage, [tokens[0].secret], entry(until=NOW + DAY))
        summary = await sweep(database, only_the_first)
        assert (summary.status, summary.failed) == (SweepStatus.INCOMPLETE, 1)
        assert await alerts(database) == [("finding.reopened", "DT-EXP-01")] * 2


async def test_waiver_by_key_begins_without_a_lookup_and_one_by_selector_goes_on(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"], owner=f"svc-{n}") for n in range(2)]
        secrets = [token.secret for token in tokens]
        keys = [f"prod/{token.token.id}/DT-EXP-01" for token in tokens]
        selecting = entry(only=[{"owner": "svc-0"}])
        await sweep(database, subject_of(stage, secrets, selecting))
        stage.api.set_faults(Faults(plans=(Plan(then=Fault.SERVER_ERROR),)))
        await sweep(database, subject_of(stage, secrets, selecting, entry(id="w2", finding=keys[1])))
    found = await read_findings(database)
    assert [waiver.id for key in keys if (waiver := found[key].waiver)] == ["w1", "w2"]


async def test_finding_leaves_its_waiver_when_the_token_is_not_selected_any_more(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        subject = subject_of(stage, [token.secret], entry(only=[{"name": "ci*"}]))
        await sweep(database, subject)
        assert await alerts(database) == []
        stage.world.rename(token.token.id, "deploy")
        await sweep(database, subject)
        assert await alerts(database) == [("finding.reopened", "DT-EXP-01")]
        (finding,) = (await read_findings(database)).values()
        assert finding.waiver is None


async def test_waiver_that_is_taken_away_reopens_and_one_that_is_renewed_goes_on(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        key = f"prod/{token.token.id}/DT-EXP-01"
        await sweep(database, subject_of(stage, [token.secret], entry()))
        await sweep(database, subject_of(stage, [token.secret], entry(until=NOW + 60 * DAY)))
        assert await alerts(database) == []
        assert await transitions(database, key) == ["opened", "waived", "waived"]
        await sweep(database, subject_of(stage, [token.secret]))
        assert await alerts(database) == [("finding.reopened", "DT-EXP-01")]
        data = (await read_findings(database))[key]
        assert data.waiver is None


async def test_renewed_waiver_warns_before_its_new_end_too(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        await sweep(database, subject_of(stage, [token.secret], entry(until=NOW + 14 * DAY)))
        assert await alerts(database) == [("waiver.lapsing", "w1")]
        renewed = subject_of(stage, [token.secret], entry(until=NOW + 28 * DAY))
        await sweep(database, renewed)
        assert await alerts(database) == []
        stage.clock.advance(14 * DAY)
        await sweep(database, renewed)
        assert await alerts(database) == [("waiver.lapsing", "w1")]


async def test_waived_finding_that_gets_worse_than_accepted_is_alerted(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci", expiration_date=NOW + 50 * DAY)
        waiver = entry(rules="DT-EXP-03", until=NOW + 60 * DAY)
        subject = subject_of(stage, [token.secret], waiver)
        await sweep(database, subject)  # info, accepted
        assert await alerts(database) == []
        stage.clock.advance(25 * DAY)
        await sweep(database, subject)
        assert await alerts(database) == [("finding.escalated", "DT-EXP-03")]
        (finding,) = (await read_findings(database)).values()
        assert (finding.severity, finding.waiver) == (Severity.LOW, waiver.terms)
        extended = subject_of(stage, [token.secret], entry(rules="DT-EXP-03", until=NOW + 61 * DAY))
        await sweep(database, extended)  # accepted anew, as low
        stage.world.change(token.token.id, expiration_date=NOW + 76 * DAY)
        await sweep(database, extended)  # eased to info
        stage.world.change(token.token.id, expiration_date=NOW + 50 * DAY)
        await sweep(database, extended)
        assert await alerts(database) == []
        assert (await transitions(database, finding.key))[-2:] == ["eased", "escalated"]


async def test_resolution_of_a_waived_finding_is_told_and_its_return_is_muted(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        key = f"prod/{token.token.id}/DT-EXP-01"
        subject = subject_of(stage, [token.secret], entry())
        await sweep(database, subject)
        stage.world.change(token.token.id, expiration_date=NOW + 80 * DAY)
        await sweep(database, subject)
        assert await alerts(database) == [("finding.resolved", "DT-EXP-01")]
        resolved = (await read_findings(database))[key]
        assert (resolved.status, resolved.waiver) == ("resolved", None)
        stage.world.change(token.token.id, expiration_date=None)
        await sweep(database, subject)
        assert await alerts(database) == []
        assert (await read_findings(database))[key].waiver == entry().terms
    assert await transitions(database, key) == ["opened", "waived", "resolved", "reopened", "waived"]


async def test_waiver_of_the_database_is_like_one_of_a_file_until_it_is_withdrawn(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"])
        key = f"prod/{token.token.id}/DT-EXP-01"
        terms = entry(id="stored").terms
        async with database.acquire() as connection:
            await waivers.add(connection, terms, key)
        subject = subject_of(stage, [token.secret])
        await sweep(database, subject)
        assert (await read_findings(database))[key].waiver == terms
        assert await alerts(database) == []
        async with database.acquire() as connection:
            assert await waivers.remove(connection, "stored", stage.clock())
            assert not await waivers.remove(connection, "stored", stage.clock())
        await sweep(database, subject)
        assert await alerts(database) == [("finding.reopened", "DT-EXP-01")]


async def test_counts_keep_waived_findings_apart(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"], owner=owner) for n, owner in enumerate("ab")]
        waiver = entry(only=[{"owner": "a"}])
        await sweep(database, subject_of(stage, [token.secret for token in tokens], waiver))
    async with database.acquire() as connection, connection.transaction():
        assert await findings.count_open(connection, NOW) == {"prod": {Severity.HIGH: 1}}
        assert await findings.count_waived(connection, NOW) == {"prod": {Severity.HIGH: 1}}
        counts = (await findings.counts(connection, NOW, NOW))["prod"]
        assert (counts.open_by_severity, counts.open_by_rule) == ({Severity.HIGH: 1}, {"DT-EXP-01": {Severity.HIGH: 1}})
        assert (counts.waived_by_severity, counts.tokens_with_findings) == ({Severity.HIGH: 1}, 1)
        for waived, owners in ((None, ["b", "a"]), (True, ["a"]), (False, ["b"])):
            read = findings.read(connection, findings.Filter(waived=waived), NOW)
            assert [finding.owner async for batch in read for finding in batch] == owners


async def test_waiver_that_ended_mutes_nothing_though_no_sweep_has_run_since(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        await sweep(database, subject_of(stage, [token.secret], entry()))
    key = f"prod/{token.token.id}/DT-EXP-01"
    one = {"prod": {Severity.HIGH: 1}}
    before, after = NOW + 30 * DAY - SECOND, NOW + 30 * DAY
    async with database.acquire() as connection, connection.transaction():
        for now, opened, waived in ((before, {}, one), (after, one, {})):
            assert await findings.count_open(connection, now) == opened
            assert await findings.count_waived(connection, now) == waived
            counts = (await findings.counts(connection, now, NOW))["prod"]
            assert (counts.open_by_severity, counts.waived_by_severity) == (
                opened.get("prod", {}),
                waived.get("prod", {}),
            )
            assert counts.tokens_with_findings == len(opened)
            assert await waivers.count_muted(connection, now) == ({"w1": 1} if waived else {})
            for is_waived, expected in ((True, waived), (False, opened)):
                read = findings.read(connection, findings.Filter(waived=is_waived), now)
                found = [finding for batch in [batch async for batch in read] for finding in batch]
                assert [finding.waiver is not None for finding in found] == [is_waived] * len(expected)
            shown = await findings.show(connection, key, now)
            assert shown is not None
            assert (shown[0].waiver is not None) is bool(waived)


async def test_sweep_tells_how_many_findings_it_waived(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        with capture_logs() as logged:
            await sweep(database, subject_of(stage, [token.secret], entry()))
    (end,) = [line for line in logged if line["event"] == "sweep_finished"]
    assert (end["opened"], end["waived"]) == (1, 1)
    assert Transition.LAPSED.value not in end


@pytest.mark.parametrize("least", [Severity.HIGH, Severity.CRITICAL])
async def test_warning_goes_to_hooks_that_want_findings_as_bad(database: Pool, staged: Staged, least: Severity) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        subject = replace(
            subject_of(stage, [token.secret], entry(until=NOW + DAY)), routing=routing_to({"team": least})
        )
        await sweep(database, subject)
    assert await alerts(database) == ([("waiver.lapsing", "w1")] if least is Severity.HIGH else [])


async def test_waivers_that_are_in_no_order_are_findings_of_their_own(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("ci", ["metrics.read"], owner="svc-ci")
        elsewhere = entry(id="elsewhere", only=[{"environment": "other"}], approver="svc-ci")

        def subject(*entries: WaiverEntry) -> Subject:
            policy = {rule: {"enabled": False} for rule in rules() if rule not in {"DT-EXP-01", "DT-AUD-03"}}
            return subject_of(stage, [token.secret], elsewhere, *entries, rules=policy)

        used, unused = entry(), entry(id="w2", only=[{"owner": "nobody"}])
        await sweep(database, subject(used, unused))
        assert await alerts(database) == []
        stage.clock.advance(30 * DAY - SECOND)
        await sweep(database, subject(used, unused))
        await alerts(database)
        renewed = entry(id="w2", only=[{"owner": "nobody"}], until=NOW + 90 * DAY)
        stage.clock.advance(SECOND)
        for _sweep in range(2):
            await sweep(database, subject(used, renewed))
            found = await read_findings(database)
            assert {key: found[key].message for key in found if "AUD" in key} == {
                "prod/w1/DT-AUD-03/ended": "waiver w1 ended 2026-12-24 12:00 UTC and still stands; renew or remove it",
                "prod/w2/DT-AUD-03/unused": "waiver w2 has muted no finding ever; remove it",
            }
        assert [event for event in await alerts(database) if event[1] == "DT-AUD-03"] == [
            ("finding.opened", "DT-AUD-03"),
            ("finding.opened", "DT-AUD-03"),
        ]
        assert found["prod/w1/DT-AUD-03/ended"].owner == "svc-ci"
        await sweep(database, subject())
        found = await read_findings(database)
        assert {finding.status for key, finding in found.items() if "AUD" in key} == {"resolved"}


async def test_policy_regrades_findings_about_waivers(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        subject = subject_of(stage, [], entry(approver="svc-ci"), rules={"DT-AUD-03": {"severity": "critical"}})
        await sweep(database, subject)
        assert (await read_findings(database))["prod/w1/DT-AUD-03/unapproved"].severity is Severity.CRITICAL


async def test_finding_of_no_stored_token_is_waived_by_its_key(database: Pool, staged: Staged) -> None:
    key = "prod/w1/DT-AUD-03/unapproved"
    async with staged() as stage:
        faulty = entry(approver="svc-ci")
        policy = {rule: {"enabled": False} for rule in rules() if rule != "DT-AUD-03"}
        subject = subject_of(stage, [], faulty, entry(id="w2", finding=key), rules=policy)
        await sweep(database, subject)
        assert await alerts(database) == []
        await sweep(database, subject)
        finding = (await read_findings(database))[key]
        assert finding.waiver is not None
        assert (finding.status, finding.waiver.id) == ("open", "w2")
        await sweep(database, subject_of(stage, [], faulty, rules=policy))
        assert await alerts(database) == [("finding.reopened", "DT-AUD-03")]
    assert await transitions(database, key) == ["opened", "waived", "lapsed"]
