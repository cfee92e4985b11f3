"""The rules that judge the audit itself: whole sweeps against the simulated API."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest

from auditor.model.finding import Finding, Resolution, Severity
from auditor.model.secret import Secret
from auditor.model.sweep import RuleStanding, RuleState, SweepStatus
from auditor.simulator import Fault, Faults, Plan, secrets
from auditor.store.connection import Pool
from auditor.sweep.comparing import ENVIRONMENT
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, Stage, client_of, stored, subject_of
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]
DAY = timedelta(days=1)
LOOKUP = "/api/v2/apiTokens/lookup"
FAILING = Faults(plans=(Plan(path=LOOKUP, then=Fault.SERVER_ERROR),))


async def of_rule(database: Pool, rule: str) -> dict[str, Finding]:
    return {key: found for key, found in (await read_findings(database)).items() if found.rule_id == rule}


async def standing(database: Pool, rule: str) -> RuleStanding:
    stood = await value(database, f"select rules->'{rule}' from sweep order by id desc limit 1")
    assert isinstance(stood, str)
    return msgspec.json.decode(stood, type=RuleStanding)


async def transitions(database: Pool, rule: str) -> object:
    return await value(
        database,
        """
        select string_agg(e.transition || ' ' || e.severity, ', ' order by e.id)
        from finding_event e join finding f on f.id = e.finding_id where f.rule_id = $1
        """,
        rule,
    )


async def test_token_that_fails_sweep_after_sweep_is_told_of_until_a_lookup_is_evident(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        token = stage.world.create("t", ["metrics.read"])
        subject = stage.subject(ListSource("vault", stored([token.secret])), hooks={"team": Severity.MEDIUM})
        await sweep(database, subject)
        stage.api.set_faults(FAILING)
        for number in range(1, 8):
            await sweep(database, subject)
            (finding,) = (await of_rule(database, "DT-AUD-01")).values() or (None,)
            assert (finding.severity if finding else None) == (
                None if number < 3 else Severity.MEDIUM if number < 6 else Severity.HIGH
            )
        assert finding is not None
        assert (finding.key, finding.status) == (f"prod/{token.token.id}/DT-AUD-01", "open")
        assert finding.message == "not audited in 6 or more sweeps running, last audited on 2026-11-24: HTTP 503"
        stage.api.set_faults(None)
        await sweep(database, subject)
        (finding,) = (await of_rule(database, "DT-AUD-01")).values()
        assert (finding.status, finding.resolution) == ("resolved", Resolution.EVIDENCE)
        assert await transitions(database, "DT-AUD-01") == "opened medium, escalated high, resolved high"
        assert await value(database, "select count(*) from alert where data->>'rule' = 'DT-AUD-01'") == 3


async def test_token_that_is_missing_is_auditable_again(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        subject = stage.subject(ListSource("vault", stored(secrets("gone", 1))))
        stage.api.set_faults(FAILING)
        for _number in range(3):
            await sweep(database, subject)
        (finding,) = (await of_rule(database, "DT-AUD-01")).values()
        assert "never audited" in finding.message
        stage.api.set_faults(None)
        await sweep(database, subject)
        (finding,) = (await of_rule(database, "DT-AUD-01")).values()
        assert (finding.status, finding.resolution) == ("resolved", Resolution.EVIDENCE)


async def test_token_that_leaves_its_store_unaudited_stays_unaudited(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        gone, kept = (stage.world.create(name, ["metrics.read"]).secret for name in ("gone", "kept"))
        stage.api.set_faults(FAILING)
        for _number in range(3):
            await sweep(database, stage.subject(ListSource("vault", stored([gone, kept]))))
        stage.api.set_faults(None)
        await sweep(database, stage.subject(ListSource("vault", stored([kept]))))
        assert sorted(one.status for one in (await of_rule(database, "DT-AUD-01")).values()) == ["open", "resolved"]


async def test_selectors_and_severity_of_the_policy_hold_for_tokens_without_evidence(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        sources = [
            ListSource(name, stored([secret], source=name))
            for name, secret in zip(("lab", "vault"), secrets("never", 2), strict=True)
        ]
        terms = {"sweeps": 1, "severity": "low", "exempt": [{"source": "lab"}]}
        stage.api.set_faults(FAILING)
        await sweep(database, stage.subject(*sources, policy={"rules": {"DT-AUD-01": {"sweeps": 1}}}))
        assert len(await of_rule(database, "DT-AUD-01")) == 2
        await sweep(database, stage.subject(*sources, policy={"rules": {"DT-AUD-01": terms}}))
        found = {one.locations[0].source: one for one in (await of_rule(database, "DT-AUD-01")).values()}
        assert (found["lab"].status, found["lab"].resolution) == ("resolved", Resolution.POLICY)
        assert (found["vault"].status, found["vault"].severity) == ("open", Severity.LOW)


async def test_low_coverage_is_a_finding_of_the_environment_and_ends_with_a_sweep_that_covers_it(
    database: Pool, staged: Staged
) -> None:
    async with staged(concurrency=1) as stage:
        tokens = [stage.world.create(f"t{n}", ["metrics.read"]).secret for n in range(4)]
        whole = ListSource("vault", stored(tokens))
        key = f"prod/{ENVIRONMENT}/DT-AUD-02"
        stage.api.set_faults(Faults(plans=(Plan(path=LOOKUP, faults=(Fault.HTML,)),)))
        await sweep(database, stage.subject(whole))
        finding = (await read_findings(database))[key]
        assert (finding.status, finding.severity) == ("open", Severity.HIGH)
        assert finding.message == "3 of 4 tokens audited, target 99%"
        await sweep(database, stage.subject(ListSource("vault", stored(tokens[:2]), breaks="sealed")))
        assert (await read_findings(database))[key] == finding
        assert await standing(database, "DT-AUD-02") == RuleStanding(
            RuleState.NOT_ASSESSED, "not read to the end: vault"
        )
        await sweep(database, stage.subject(whole))
        finding = (await read_findings(database))[key]
        assert (finding.status, finding.resolution) == ("resolved", Resolution.EVIDENCE)
        assert await standing(database, "DT-AUD-02") == RuleStanding(RuleState.ASSESSED)


async def test_full_sweeps_that_do_not_come_are_a_finding_of_the_environment(database: Pool, staged: Staged) -> None:
    def days(after: datetime, until: datetime, limit: int) -> int:
        return min((until - after) // DAY, limit)

    async with staged() as stage:
        secret = stage.world.create("t", ["metrics.read"]).secret
        sealed = ListSource("vault", stored([secret]), breaks="sealed")
        await sweep(database, replace(stage.subject(ListSource("vault", stored([secret]))), slots=days))
        opened: list[bool] = []
        for _day in range(3):
            stage.clock.advance(DAY)
            summary = await sweep(database, replace(stage.subject(sealed), slots=days))
            assert summary.status is SweepStatus.INCOMPLETE
            opened.append(bool(await of_rule(database, "DT-AUD-02")))
        assert opened == [False, False, True]
        (finding,) = (await of_rule(database, "DT-AUD-02")).values()
        assert finding.message.startswith("no full sweep since that of 2026-11-24 12:00 UTC")
        await sweep(database, replace(stage.subject(ListSource("vault", stored([secret]))), slots=days))
        (finding,) = (await of_rule(database, "DT-AUD-02")).values()
        assert finding.status == "resolved"


async def test_late_finding_rises_once_and_starts_anew_when_it_comes_back(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("forever", ["metrics.read"])
        subject = stage.subject(ListSource("vault", stored([token.secret])), hooks={"team": Severity.HIGH})
        for days in (0, 6, 1, 1, 100):
            stage.clock.advance(days * DAY)
            await sweep(database, subject)
        assert await transitions(database, "DT-EXP-01") == "opened high, escalated critical"
        late = (await read_findings(database))[f"prod/{token.token.id}/DT-EXP-01"]
        assert late.message.endswith("; high since 2026-11-24, past its deadline of 7 days")
        stage.world.change(token.token.id, expiration_date=stage.clock() + 30 * DAY)
        await sweep(database, subject)
        stage.world.change(token.token.id, expiration_date=None)
        for days in (0, 6, 1):
            stage.clock.advance(days * DAY)
            await sweep(database, subject)
        assert await transitions(database, "DT-EXP-01") == (
            "opened high, escalated critical, resolved critical, reopened high, escalated critical"
        )
        alerts = "select count(*) from alert where data->>'rule' = 'DT-EXP-01' and event = 'finding.escalated'"
        assert await value(database, alerts) == 2


async def test_late_is_late_though_the_token_cannot_be_audited(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("forever", ["metrics.read"])
        subject = stage.subject(ListSource("vault", stored([token.secret])))
        await sweep(database, subject)
        stage.api.set_faults(FAILING)
        for _sweep in range(2):
            stage.clock.advance(7 * DAY)
            await sweep(database, subject)
        stage.api.set_faults(None)
        await sweep(database, subject)
        assert await transitions(database, "DT-EXP-01") == "opened high, escalated critical"


async def test_deadlines_are_the_policys(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        source = ListSource("vault", stored([stage.world.create("forever", ["metrics.read"]).secret]))
        rules: Mapping[str, Mapping[str, object]] = {
            "off": {"enabled": False},
            "exempt": {"exempt": [{"name": "forever"}]},
            "longer": {"sla": {"high": 8}},
        }
        await sweep(database, stage.subject(source))
        stage.clock.advance(7 * DAY)
        for terms in rules.values():
            await sweep(database, stage.subject(source, policy={"rules": {"DT-AUD-04": terms}}))
        assert await transitions(database, "DT-EXP-01") == "opened high"
        await sweep(database, stage.subject(source))
        assert await transitions(database, "DT-EXP-01") == "opened high, escalated critical"


@pytest.mark.parametrize(
    ("scopes", "days", "said"),
    [
        (["apiTokens.read"], 30, set()),
        (["apiTokens.read"], None, {"expiration"}),
        (["apiTokens.read"], 14, {"expiration"}),
        (["apiTokens.read", "apiTokens.write"], 30, {"scopes"}),
        (["apiTokens.read", "settings.write"], None, {"scopes", "expiration"}),
    ],
)
async def test_own_token_is_judged_where_it_may_read_itself(
    database: Pool, staged: Staged, scopes: list[str], days: int | None, said: set[str]
) -> None:
    async with staged() as stage:
        end = None if days is None else NOW + days * DAY
        own = stage.world.create("auditor", scopes, expiration_date=end)
        async with client_of(stage.url, Secret(own.secret), stage.clock) as client:
            await sweep(database, subject_of(client, stage.url, stage.clock, ListSource("vault", [])))
        assert stage.api.lookups == 0
        assert await standing(database, "DT-AUD-05") == RuleStanding(RuleState.ASSESSED)
        found = await of_rule(database, "DT-AUD-05")
        assert set(found) == {f"prod/{ENVIRONMENT}/DT-AUD-05/{part}" for part in said}
        assert all(own.token.id in one.message for one in found.values())


async def test_own_token_that_cannot_be_read_is_not_assessed_and_ends_nothing(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        own = stage.world.create("auditor", ["apiTokens.read"])
        async with client_of(stage.url, Secret(own.secret), stage.clock) as client:
            subject = subject_of(client, stage.url, stage.clock, ListSource("vault", []))
            await sweep(database, subject)
            stage.world.change(own.token.id, expiration_date=NOW + 100 * DAY)
            stage.world.set_scopes(own.token.id, ["metrics.read"])
            await sweep(database, subject)
        (finding,) = (await of_rule(database, "DT-AUD-05")).values()
        assert finding.status == "open"
        stood = await standing(database, "DT-AUD-05")
        assert stood.state is RuleState.NOT_ASSESSED
        assert "HTTP 403" in stood.reason
        assert "self_lookup = true" in stood.reason
        assert stage.api.lookups == 0


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_own_token_is_looked_up_with_itself_only_where_that_is_permitted(
    database: Pool, staged: Staged, api: str
) -> None:
    async with staged(api=api) as stage:
        await sweep(database, stage.subject(ListSource("vault", [])))
        assert stage.api.lookups == 0
        assert await of_rule(database, "DT-AUD-05") == {}
        summary = await sweep(database, stage.subject(ListSource("vault", []), self_lookup=True))
        assert summary.self_lookup
        assert stage.api.lookups == 1
        assert set(await of_rule(database, "DT-AUD-05")) == {f"prod/{ENVIRONMENT}/DT-AUD-05/expiration"}


async def test_rules_of_a_sweeps_end_are_not_assessed_until_it_comes(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        subject = stage.subject(ListSource("vault", stored(secrets("any", 1))))
        await sweep(database, subject)
        from auditor.sweep import closing

        unjudged = closing.unjudged(subject.policy)
        assert set(unjudged) == {"DT-INV-01", "DT-AUD-01", "DT-AUD-02", "DT-AUD-05"}
        assert {one.state for one in unjudged.values()} == {RuleState.NOT_ASSESSED}
        assert await standing(database, "DT-AUD-01") == RuleStanding(RuleState.ASSESSED)
