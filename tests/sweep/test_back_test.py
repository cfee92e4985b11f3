"""Back-tests: what is replayed is what sweeps judged, in one process or several."""

import asyncio
import contextlib
import gc
import random
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from auditor.model.errors import AuditorError, StoreUnavailable
from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Lookup
from auditor.model.secret import Secret
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules
from auditor.store import replay
from auditor.store.connection import Connection, Pool
from auditor.store.replay import Slice
from auditor.sweep.back_test import BackTest, Instant, Side, Tally, Trial
from auditor.sweep.lookback import histories, recalled
from tests.store.history import HOUR, MISSING, NOW, begin, enrolment, found, recorded

DAY = timedelta(days=1)
SWEEPS = 14
TOKENS = 30
ALL = Slice("prod", 0, 2**62)
POLICY = Policy(
    PolicyDocument.model_validate({"name": "all", "rules": {"DT-NET-03": {"egress_cidrs": ["203.0.113.0/24"]}}}),
    list(rules().values()),
    feeds=Feeds(),
    environment_kind="production",
)

Said = set[tuple[str, str, str, Severity]]


def said(label: str, violations: list[Violation]) -> Said:
    return {(label, each.rule_id, each.discriminator, each.severity) for each in violations}


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


def moved(rng: random.Random, lookup: Lookup, now: datetime) -> Lookup:
    """Return what the next lookup may say of a token; most often what the last one said."""
    happened = rng.random()
    if happened < 0.1:
        return msgspec.structs.replace(MISSING, at=now)
    fields: dict[str, Any] = msgspec.structs.asdict(lookup.metadata) if lookup.metadata else {}
    if happened < 0.2:
        fields["enabled"] = not fields.get("enabled", True)
    elif happened < 0.3:
        fields |= {"name": rng.choice("ab"), "modified_date": now - HOUR}
    elif happened < 0.4:
        fields |= {"scopes": rng.choice((("logs.read",), ("logs.read", "settings.write"))), "modified_date": now - HOUR}
    elif happened < 0.45:
        fields["owner"] = rng.choice(("jane", "joe"))
    elif happened < 0.5:
        fields["expiration_date"] = rng.choice((None, now + DAY, now + 300 * DAY))
    elif happened < 0.8:
        address = rng.choice(("10.0.0.1", "203.0.113.7", "198.51.100.9"))
        fields |= {"last_used_date": now - HOUR, "last_used_ip_address": address}
    return found(now, **fields)


@pytest.mark.parametrize("seed", range(3))
async def test_replay_says_what_each_sweep_said(connection: Connection, seed: int) -> None:
    rng = random.Random(seed)
    entries = [enrolment(f"secret {number}", public_id=f"dt0c01.{number:024d}") for number in range(TOKENS)]
    lookups = [found(creation_date=NOW - 60 * DAY) for _entry in entries]
    judged: dict[datetime, Said] = {}
    for number in range(SWEEPS):
        now = NOW + number * 3 * DAY
        lookups = [moved(rng, lookup, now) for lookup in lookups]
        sweep = await begin(connection, now=now)
        known = dict(await sweep.enrol(*entries))
        batch = [recorded(entry, known[entry], lookup) for entry, lookup in zip(entries, lookups, strict=True)]
        past = await histories(connection, batch, now, POLICY.lookback)
        judged[now] = set()
        for entry, history in zip(batch, past, strict=True):
            assert entry.observation is not None
            judged[now] |= said(entry.label, POLICY.evaluate(entry.observation, history, now))
        await connection.execute("delete from enrolment")
        await sweep.record(*zip(entries, lookups, strict=True))
        await sweep.finish()
        assert await replayed(connection, now, is_past=False) == judged[now], (seed, number)
    fired = {rule for each in judged.values() for _label, rule, _discriminator, _severity in each}
    assert {"DT-STA-02", "DT-STA-03", "DT-STA-04", "DT-SCP-07", "DT-OWN-03", "DT-NET-03"} <= fired
    for now, before in judged.items():
        after = await replayed(connection, now, is_past=True)
        assert before <= after, (seed, now)
        # Of the past, a token's uses are read also where only a later one was out of the ordinary.
        assert {rule for _label, rule, _discriminator, _severity in after - before} <= {"DT-NET-03", "DT-USE-06"}


async def replayed(connection: Connection, now: datetime, *, is_past: bool) -> Said:
    """Return what the policy says of stored tokens."""
    found: Said = set()
    async with replay.one_instant(connection):
        batches = replay.past(connection, ALL, now) if is_past else replay.present(connection, ALL)
        async for batch in batches:
            past = await recalled(connection, batch, now, POLICY.lookback, now if is_past else None)
            for known, history in zip(batch, past, strict=True):
                assert known.previous is not None
                found |= said(known.label, POLICY.evaluate(known.previous, history, now))
    return found


def trial(**draft: Any) -> Trial:
    present, drafted = (PolicyDocument.model_validate({"name": "test", **said}) for said in ({}, draft))
    return Trial(Side(present.content, Feeds(), None), Side(drafted.content, Feeds(), None))


async def total(back_test: BackTest, connection: Connection, kept: int = 1000) -> Mapping[Instant, Tally]:
    added: dict[Instant, Tally] = {}
    instants = [Instant(NOW + DAY, False), Instant(NOW + HOUR, True)]
    async for instant, tally in back_test.run(connection, instants, kept=kept):
        added.setdefault(instant, Tally()).add(tally, kept)
    return added


@pytest.mark.parametrize("kept", [3, 1000])
async def test_processes_find_together_what_one_finds(
    database: Pool, database_url: Secret, connection: Connection, kept: int
) -> None:
    for name, tokens in (("prod", 25), ("staging", 7)):
        sweep = await begin(connection, name)
        await sweep.record(
            *(
                (enrolment(f"{name}{n}", public_id=f"dt0c01.{n:024d}"), found(expiration_date=NOW + n * DAY))
                for n in range(tokens)
            )
        )
        await sweep.finish()
    trials = {
        "staging": trial(rules={"DT-EXP-03": {"severity": "critical"}}),
        "prod": trial(rules={"DT-EXP-03": {"thresholds": {"high": 20, "low": 22}}, "DT-SCP-02": {"scopes": 1}}),
        "unswept": trial(rules={"DT-EXP-03": {"enabled": False}}),
    }
    one = await total(BackTest(database_url, trials, processes=1), connection, kept)
    several = await total(BackTest(database_url, trials, processes=2, slice_size=4), connection, kept)
    assert several == one
    (now, before) = one.values()
    assert (now.tokens, before.tokens) == (32, 32)
    assert sum(now.counts.values()) > 20
    assert all(len(found) <= kept for found in now.found)
    assert [each.environment for found in now.found for each in found][:1] in (["staging"], ["prod"])


async def swept(connection: Connection, tokens: int) -> None:
    sweep = await begin(connection)
    await sweep.record(*((enrolment(str(n), public_id=f"dt0c01.{n:024d}"), found(id=str(n))) for n in range(tokens)))
    await sweep.finish()


async def test_database_that_a_process_cannot_reach_is_told_once(
    connection: Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await swept(connection, 12)
    nowhere = Secret(f"postgresql:///none?host={tmp_path}&user=nobody")
    back_test = BackTest(nowhere, {"prod": trial(rules={"DT-SCP-02": {"scopes": 1}})}, processes=2, slice_size=4)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await total(back_test, connection)
    await asyncio.sleep(0)
    gc.collect()
    assert not caplog.records


async def test_process_that_is_ended_from_outside_is_told(database_url: Secret, connection: Connection) -> None:
    await swept(connection, 200)
    back_test = BackTest(database_url, {"prod": trial(rules={"DT-SCP-02": {"scopes": 1}})}, processes=2, slice_size=1)

    async def killed() -> None:
        async for _instant, _tally in back_test.run(connection, [Instant(NOW, False)], kept=1):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # one that was killed before has no command line any more
                    if "spawn_main" in " ".join(process.cmdline()):
                        process.kill()

    with pytest.raises(AuditorError, match="ended from outside"):
        await killed()


async def test_policies_that_agree_replay_nothing(database_url: Secret, connection: Connection) -> None:
    sweep = await begin(connection)
    await sweep.record((enrolment("one"), found()))
    back_test = BackTest(
        database_url, {"prod": trial(rules={"DT-EXP-02": {"max_days": {"default": 365, "high": 180, "critical": 90}}})}
    )
    assert back_test.comparisons["prod"].disputed == ()
    assert await total(back_test, connection) == {}
