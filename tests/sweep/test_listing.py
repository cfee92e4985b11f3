"""Tokens of the environment's own list that no store holds: whole sweeps against the simulated API."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
import stamina

from auditor.dynatrace import inventory
from auditor.dynatrace.client import Client
from auditor.model.finding import Finding, Resolution, Severity
from auditor.model.secret import Secret
from auditor.model.sweep import RuleStanding, RuleState
from auditor.simulator import Fault, Faults, Plan, generate, secrets
from auditor.store.connection import Pool
from auditor.sweep.subject import Subject
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, Stage, client_of, stored, subject_of
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]
RULE = "DT-INV-01"
LIST = "/api/v2/apiTokens"


class Listing:
    """A stage whose auditor may read the list."""

    def __init__(self, stage: Stage, database: Pool) -> None:
        self.stage = stage
        self.world = stage.world
        self.own = Secret(stage.world.create("auditor that lists", ["apiTokens.read"]).secret)
        self.world.delete(stage.own.public_id or "")
        self.database = database

    async def sweep(self, *secrets: str, reads_list: bool = True) -> None:
        await self.sweep_of(ListSource("vault", stored(secrets)), reads_list=reads_list)

    async def sweep_of(self, source: ListSource, *, reads_list: bool = True) -> None:
        async with client_of(self.stage.url, self.own, self.stage.clock) as client:
            await sweep(self.database, self.subject(client, source, reads_list=reads_list))

    def subject(self, client: Client, source: ListSource, *, reads_list: bool = True) -> Subject:
        subject = subject_of(client, self.stage.url, self.stage.clock, source, policy={"rules": POLICY})
        return replace(subject, inventory=reads_list)

    async def findings(self) -> Mapping[str, Finding]:
        found = await read_findings(self.database)
        return {finding.label: finding for finding in found.values() if finding.rule_id == RULE}

    async def standing(self) -> RuleStanding:
        stood = await value(self.database, f"select rules->'{RULE}' from sweep order by id desc limit 1")
        assert isinstance(stood, str)
        return msgspec.json.decode(stood, type=RuleStanding)


POLICY: dict[str, object] = {"DT-AUD-02": {"enabled": False}}
ASSESSED = RuleStanding(RuleState.ASSESSED)


async def test_token_in_no_store_is_found_and_ends_when_it_is_stored(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        known = stage.world.create("known", ["metrics.read"])
        stray = stage.world.create("stray", ["settings.write"], owner="ada")
        await listing.sweep(known.secret)
        (finding,) = (await listing.findings()).values()
        assert finding.key == f"prod/{stray.token.id}/DT-INV-01"
        assert (finding.severity, finding.token_name, finding.owner) == (Severity.HIGH, "stray", "ada")
        assert finding.evidence["scopes"] == ["settings.write"]
        assert await listing.standing() == ASSESSED
        await listing.sweep(known.secret, stray.secret)
        (ended,) = (await listing.findings()).values()
        assert (ended.status, ended.resolution) == ("resolved", Resolution.EVIDENCE)


async def test_stray_token_ends_when_it_is_deleted_and_returns_when_its_store_loses_it(
    database: Pool, staged: Staged
) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        kept, stray = (stage.world.create(name, ["metrics.read"]) for name in ("kept", "stray"))
        await listing.sweep(kept.secret)
        assert set(await listing.findings()) == {stray.token.id}
        stage.world.delete(stray.token.id)
        await listing.sweep(kept.secret)
        assert (await listing.findings())[stray.token.id].status == "resolved"
        other = stage.world.create("other", ["metrics.read"])
        await listing.sweep(other.secret)  # kept is stored no longer
        assert (await listing.findings())[kept.token.id].status == "open"


async def test_auditors_own_token_needs_no_store(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        await listing.sweep(stage.world.create("known", ["metrics.read"]).secret)
        assert await listing.findings() == {}
        assert await listing.standing() == ASSESSED


async def test_without_the_scope_the_rule_is_not_assessed_and_ends_nothing(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        known, stray = (stage.world.create(name, ["metrics.read"]) for name in ("known", "stray"))
        await listing.sweep(known.secret)
        before = await listing.findings()
        assert before[stray.token.id].status == "open"
        stage.world.delete(stray.token.id)  # would end it, if it were seen
        stage.world.set_scopes(listing.own.public_id or "", ["metrics.read"])
        stage.world.create("another stray", ["metrics.read"])
        await listing.sweep(known.secret)
        assert await listing.findings() == before
        assert await listing.standing() == RuleStanding(
            RuleState.NOT_ASSESSED,
            "the environment's list of tokens could not be read: HTTP 403 from the API; "
            "reading tokens needs the scope apiTokens.read",
        )


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET, Fault.TRUNCATED, Fault.HTML, Fault.OVERSIZED])
async def test_list_that_fails_or_ends_early_opens_and_ends_nothing(
    database: Pool, staged: Staged, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "PAGE_SIZE", 100)
    monkeypatch.setattr(inventory, "PAGE_LIMIT", 1_000_000)
    async with staged() as stage:
        listing = Listing(stage, database)
        known = stage.world.create("known", ["metrics.read"])
        for number in range(150):
            stage.world.create(f"stray {number}", ["metrics.read"])
        # The first page comes, the second never does.
        stage.api.set_faults(Faults(plans=(Plan(path=LIST, faults=(None,), then=fault),)))
        with stamina.set_testing(True, attempts=1):
            await listing.sweep(known.secret)
        assert await listing.findings() == {}
        standing = await listing.standing()
        assert standing.state is RuleState.NOT_ASSESSED
        assert "could not be read" in standing.reason
        assert await value(database, "select count(*) from unstored") == 0
        stage.api.set_faults(None)
        await listing.sweep(known.secret)
        assert len(await listing.findings()) == 150


async def test_tokens_of_a_source_that_was_not_read_are_not_called_unstored(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        first, second = (stage.world.create(name, ["metrics.read"]) for name in ("first", "second"))
        await listing.sweep_of(ListSource("vault", stored([first.secret]), breaks="the vault is sealed"))
        assert await listing.findings() == {}
        standing = await listing.standing()
        assert standing.state is RuleState.NOT_ASSESSED
        assert "vault" in standing.reason
        await listing.sweep(first.secret)
        assert set(await listing.findings()) == {second.token.id}


async def test_stored_token_without_an_id_keeps_the_rule_from_being_assessed(database: Pool, staged: Staged) -> None:
    old = next(token for token in generate("old", 2000, NOW) if "." not in token.secret)
    async with staged() as stage:
        listing = Listing(stage, database)
        stage.world.add(old)
        lookup = "/api/v2/apiTokens/lookup"
        stage.api.set_faults(Faults(plans=(Plan(path=lookup, then=Fault.HTML),)))
        await listing.sweep(old.secret)
        assert await listing.findings() == {}
        assert "1 stored token of the old format" in (await listing.standing()).reason
        stage.api.set_faults(None)
        await listing.sweep(old.secret)
        assert await listing.findings() == {}
        assert await listing.standing() == ASSESSED


async def test_ignored_tokens_are_left_out_and_their_findings_end_by_policy(
    database: Pool, staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        known = stage.world.create("known", ["metrics.read"])
        ours, theirs = (stage.world.create(name, ["metrics.read"]) for name in ("ours", "team-x-theirs"))
        await listing.sweep(known.secret)
        assert set(await listing.findings()) == {ours.token.id, theirs.token.id}
        monkeypatch.setitem(POLICY, RULE, {"ignore_selectors": [{"name": "team-x-*"}], "severity": "low"})
        await listing.sweep(known.secret)
        found = await listing.findings()
        assert (found[theirs.token.id].status, found[theirs.token.id].resolution) == ("resolved", Resolution.POLICY)
        assert (found[ours.token.id].status, found[ours.token.id].severity) == ("open", Severity.LOW)


async def test_disabled_rule_asks_for_no_list_and_ends_its_findings(
    database: Pool, staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        known, _stray = (stage.world.create(name, ["metrics.read"]) for name in ("known", "stray"))
        await listing.sweep(known.secret)
        monkeypatch.setitem(POLICY, RULE, {"enabled": False})
        monkeypatch.setitem(POLICY, "DT-AUD-05", {"enabled": False})
        before = stage.api.answers.total()
        await listing.sweep(known.secret)
        assert stage.api.answers.total() - before == 1  # the lookup
        assert {finding.resolution for finding in (await listing.findings()).values()} == {Resolution.POLICY}


async def test_environment_can_do_without_the_list(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        stage.world.create("stray", ["metrics.read"])
        await listing.sweep(stage.world.create("known", ["metrics.read"]).secret, reads_list=False)
        assert await listing.findings() == {}
        assert await listing.standing() == RuleStanding(
            RuleState.NOT_ASSESSED, "inventory = false for this environment"
        )


async def test_older_api_has_no_list(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        source = ListSource("vault", stored([stage.world.create("known", ["metrics.read"]).secret]))
        async with client_of(stage.url, listing.own, stage.clock, api="v1") as client:
            await sweep(database, listing.subject(client, source))
        assert 'api = "v1"' in (await listing.standing()).reason


async def test_sweep_that_was_refused_asks_for_no_list(database: Pool, staged: Staged) -> None:
    async with staged(concurrency=1) as stage:
        listing = Listing(stage, database)
        stage.world.disable(listing.own.public_id or "")
        await listing.sweep(*secrets("any", 3))
        assert (await listing.standing()).reason.startswith("the sweep stopped: the auditor's own token was refused")
        assert stage.api.answers.total() == stage.api.lookups


async def test_asking_to_stop_gives_the_list_up(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        secret = stage.world.create("known", ["metrics.read"]).secret
        stage.api.set_faults(Faults(plans=(Plan(path=LIST, then=Fault.LATENCY),), latency_seconds=60))
        stopping = asyncio.Event()
        async with client_of(stage.url, listing.own, stage.clock) as client:
            subject = listing.subject(client, ListSource("vault", stored([secret])))
            swept = asyncio.create_task(sweep(database, subject, stopping=stopping))
            async with asyncio.timeout(20):
                while not (stage.api.injector and stage.api.injector.injected[Fault.LATENCY]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                stopping.set()
                summary = await swept
        assert summary.status.value == "complete"
        assert (await listing.standing()).reason == "auditor was asked to stop before the environment's list was read"


async def test_token_stored_for_another_environment_is_told_as_such(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        lost = stage.world.create("lost", ["metrics.read"])
        async with client_of(stage.url, listing.own, stage.clock) as client:
            elsewhere = ListSource("vault", stored([lost.secret], environment="other"))
            subject = replace(listing.subject(client, elsewhere), name="other")
            await sweep(database, subject)
        await listing.sweep(stage.world.create("known", ["metrics.read"]).secret)
        finding = (await listing.findings())[lost.token.id]
        assert finding.message == "stored for 1 other environment (other) and not for this one"


async def test_hostile_ids_of_a_list_go_by_a_digest(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        odd = stage.world.create("odd", ["metrics.read"])
        stage.world.add(msgspec.structs.replace(odd, token=msgspec.structs.replace(odd.token, id="a/b\n")))
        await listing.sweep(stage.world.create("known", ["metrics.read"]).secret)
        labels = set(await listing.findings())
        assert any(label.startswith("id:") and "/" not in label for label in labels)


async def test_finding_of_a_stray_token_rises_once_at_its_deadline(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        listing = Listing(stage, database)
        known, stray = (stage.world.create(name, ["metrics.read"]) for name in ("known", "stray"))
        await listing.sweep(known.secret)
        stage.clock.advance(timedelta(days=30))
        await listing.sweep(known.secret)
        assert (await listing.findings())[stray.token.id].severity is Severity.HIGH
        await listing.sweep(known.secret)
        assert (await listing.findings())[stray.token.id].severity is Severity.HIGH
