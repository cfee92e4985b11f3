"""What a report's pictures count: ages, idleness, scopes, deadlines kept, sweeps, waivers and policies."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from auditor.model.finding import Severity, Violation
from auditor.model.sweep import RuleStanding, RuleState, SweepStatus
from auditor.policy.document import PolicyDocument
from auditor.policy.scopes import RiskTier
from auditor.store import sweeps
from auditor.store.as_of import look_back
from auditor.store.connection import Connection, Pool
from auditor.store.figures import (
    Adherence,
    OwnerIdleness,
    SweptDay,
    adherence,
    ages,
    applied_policies,
    idleness,
    oldest,
    scope_risk,
    swept_days,
    waivers_in_force,
)
from tests.store.history import HOUR, MISSING, NOW, Swept, begin, enrolment, found

DAY = timedelta(days=1)
HIGH, LOW = Severity.HIGH, Severity.LOW


@pytest.fixture
async def connection(database: Pool) -> AsyncIterator[Connection]:
    async with database.acquire() as connection:
        yield connection


def label(number: int) -> str:
    return f"dt0c01.{number:024d}"


async def store(sweep: Swept, *tokens: dict[str, Any], says: Mapping[int, tuple[Violation, ...]] | None = None) -> None:
    """Record tokens as found, with these fields and what rules say of each by its place, and end the sweep."""
    await sweep.record(
        *(
            (enrolment(str(n), public_id=label(n)), found(sweep.now, **{"id": label(n)} | fields))
            for n, fields in enumerate(tokens)
        ),
        says={label(n): said for n, said in (says or {}).items()},
    )
    await sweep.finish()


async def with_policy(connection: Connection, text: dict[str, Any], now: Any = NOW, name: str = "prod") -> Swept:
    document = PolicyDocument.model_validate(text)
    environment = await sweeps.environment_id(connection, name, f"https://{name}.example.com")
    number = await sweeps.begin(
        connection,
        environment,
        now=now,
        policy_digest=document.digest,
        policy_document=document.content,
        rules={"DT-AUD-04": RuleStanding(RuleState.ASSESSED)},
        self_lookup=False,
    )
    return Swept(connection, environment, number, now)


def violation(severity: Severity = HIGH, rule: str = "DT-EXP-01", **evidence: Any) -> Violation:
    return Violation(rule, severity, "never expires", evidence)


async def test_open_findings_count_by_severity_and_by_the_days_since_they_opened(connection: Connection) -> None:
    await store(await begin(connection, now=NOW - 7 * DAY), {}, {}, says={0: (violation(),), 1: (violation(LOW),)})
    await store(await begin(connection, now=NOW), {}, {}, {}, says={0: (violation(),), 2: (violation(),)})

    assert await ages(connection, NOW) == {HIGH: (1, 1, 0, 0, 0)}
    assert await ages(connection, NOW + 400 * DAY, ["prod"]) == {HIGH: (0, 0, 0, 0, 2)}
    assert await ages(connection, NOW, ["elsewhere"]) == {}


async def test_waived_findings_have_no_age(connection: Connection) -> None:
    await store(await begin(connection), {}, says={0: (violation(),)})
    await connection.execute("update finding set waiver = '{}', waived_severity = severity")

    assert await ages(connection, NOW) == {}


async def test_live_tokens_count_by_owner_and_idleness_the_idlest_owner_first(connection: Connection) -> None:
    await store(
        await begin(connection),
        {"owner": "busy", "last_used_date": NOW - 29 * DAY},
        {"owner": "idle", "last_used_date": NOW - 30 * DAY},
        {"owner": "idle", "last_used_date": NOW - 365 * DAY},
        {"owner": None, "last_used_date": None},
        {"owner": None, "last_used_date": NOW - 90 * DAY},
        {"owner": "idle", "enabled": False},
        {"owner": "idle", "expiration_date": NOW},
    )

    assert list(await idleness(connection, NOW, most=9)) == [
        OwnerIdleness(None, True, 1, (0, 0, 1, 0, 1)),
        OwnerIdleness("idle", True, 1, (0, 1, 0, 1, 0)),
        OwnerIdleness("busy", True, 1, (1, 0, 0, 0, 0)),
    ]
    assert list(await idleness(connection, NOW, most=1)) == [
        OwnerIdleness(None, True, 1, (0, 0, 1, 0, 1)),
        OwnerIdleness(None, False, 2, (1, 1, 0, 1, 0)),
    ]
    assert list(await idleness(connection, NOW, ["elsewhere"], most=9)) == []


async def test_token_counts_once_in_each_family_at_the_highest_tier_it_has_there(connection: Connection) -> None:
    text = {"name": "ours", "risk": {"unknown": "high", "scopes": {"metrics.read": "critical"}}}
    await store(
        await with_policy(connection, text),
        {"scopes": ("metrics.ingest", "metrics.read", "brandNew.read")},
        {"scopes": ("metrics.ingest",)},
        {"scopes": ("metrics.ingest",)},
        {"scopes": ()},
    )

    async with connection.transaction():
        counted = await scope_risk(connection, NOW)
        assert await scope_risk(connection, NOW, ["elsewhere"]) == {}
        await look_back(connection, NOW)
        assert await scope_risk(connection, NOW) == counted

    assert counted["brandNew"] == {RiskTier.HIGH: 1}
    (other,) = (counted[family] for family in counted if family != "brandNew")
    assert other[RiskTier.CRITICAL] == 1
    assert sum(other.values()) == 3


async def test_token_with_endless_scopes_is_graded_without_comparing_each_with_each(connection: Connection) -> None:
    await store(await with_policy(connection, {"name": "ours"}), {"scopes": [f"family{n}.read" for n in range(20_000)]})

    await connection.execute("set statement_timeout = '20s'")  # it took a minute
    async with connection.transaction():
        assert len(await scope_risk(connection, NOW)) == 20_000


async def test_findings_count_by_whether_they_kept_the_deadline_of_their_own_severity(connection: Connection) -> None:
    text = {"name": "ours", "rules": {"DT-AUD-04": {"sla": {"high": 7}}}}
    late = violation(Severity.CRITICAL, "DT-EXP-02", overdue={"severity": "high"})
    await store(
        await with_policy(connection, text, NOW - 7 * DAY),
        {},
        {},
        says={0: (violation(), late, violation(LOW, "DT-X")), 1: (violation(),)},
    )
    await store(await with_policy(connection, text, NOW - HOUR), {}, {}, says={0: (violation(), late)})

    assert await adherence(connection, NOW - HOUR, NOW - DAY) == {
        HIGH: Adherence((7,), open_in_time=1, open_late=1, ended_in_time=1)
    }
    assert await adherence(connection, NOW, NOW) == {HIGH: Adherence((7,), open_late=2)}
    assert await adherence(connection, NOW, NOW, ["elsewhere"]) == {}


async def test_deadline_of_a_finding_whose_waiver_ended_runs_from_that_end(connection: Connection) -> None:
    text = {"name": "ours", "rules": {"DT-AUD-04": {"sla": {"high": 7}}}}
    await store(await with_policy(connection, text, NOW - 20 * DAY), {}, says={0: (violation(),)})
    await connection.execute(
        "update finding set waiver = jsonb_build_object('until', $1::timestamptz), waived_severity = severity",
        NOW - 6 * DAY,
    )

    assert await adherence(connection, NOW - 7 * DAY, NOW) == {HIGH: Adherence((7,))}
    assert await adherence(connection, NOW, NOW) == {HIGH: Adherence((7,), open_in_time=1)}
    assert await adherence(connection, NOW + DAY, NOW) == {HIGH: Adherence((7,), open_late=1)}


async def test_where_some_tokens_have_no_deadline_only_what_sweeps_told_is_late(connection: Connection) -> None:
    text = {"name": "ours", "rules": {"DT-AUD-04": {"sla": {"high": 7}, "exempt": [{"name": "lab-*"}]}}}
    await store(await with_policy(connection, text, NOW - 9 * DAY), {}, says={0: (violation(),)})

    assert await adherence(connection, NOW, NOW) == {HIGH: Adherence((7,), open_in_time=1)}


async def test_findings_have_no_deadline_where_the_rule_was_not_applied(connection: Connection) -> None:
    await store(await begin(connection), {}, says={0: (violation(),)})

    assert await adherence(connection, NOW, NOW) == {}


async def test_oldest_open_finding_that_no_waiver_covers_is_known(connection: Connection) -> None:
    assert await oldest(connection, NOW) is None
    await store(await begin(connection, now=NOW - 9 * DAY), {}, says={0: (violation(),)})
    await store(await begin(connection), {}, says={0: (violation(), violation(rule="DT-OWN-01"))})

    assert await oldest(connection, NOW) == NOW - 9 * DAY
    assert await oldest(connection, NOW, ["prod"], ["DT-OWN-01"]) == NOW
    assert await oldest(connection, NOW, ["elsewhere"]) is None
    await connection.execute(
        "update finding set waiver = jsonb_build_object('until', $1::timestamptz), waived_severity = severity "
        "where rule_id = 'DT-EXP-01'",
        NOW + DAY,
    )
    assert await oldest(connection, NOW) == NOW
    assert await oldest(connection, NOW + DAY) == NOW - 9 * DAY


async def test_last_sweep_of_each_day_counts(connection: Connection) -> None:
    for now, status in ((NOW - DAY, SweepStatus.FAILED), (NOW - HOUR, SweepStatus.INCOMPLETE), (NOW, None)):
        sweep = await begin(connection, now=now)
        await sweep.record((enrolment("a"), found(now)), (enrolment("b", public_id=label(1)), MISSING))
        await sweep.finish(status or SweepStatus.COMPLETE)
    today = NOW.date()

    assert await swept_days(connection, today - DAY, ["prod"]) == [
        SweptDay("prod", today - DAY, SweepStatus.FAILED, 2, 2),
        SweptDay("prod", today, SweepStatus.COMPLETE, 2, 2),
    ]
    assert [one.day for one in await swept_days(connection, today)] == [today]


async def test_waivers_in_force_come_with_what_they_mute_the_first_to_end_first(connection: Connection) -> None:
    said = (violation(), violation(LOW, "DT-A"), violation(LOW, "DT-B"), violation(LOW, "DT-C"))
    await store(await begin(connection), {}, says={0: said})
    for number, rules in ((2, "DT-A"), (1, "DT-EXP-01,DT-B")):
        terms = {
            "id": f"w-{number}",
            "owner": "o",
            "approver": "a",
            "reason": "r",
            "ticket": "t",
            "since": NOW.isoformat(),
            "until": (NOW + number * DAY).isoformat(),
        }
        await connection.execute(
            "update finding set waiver = $1, waived_severity = severity where rule_id = any ($2)",
            msgspec.json.encode(terms).decode(),
            rules.split(","),
        )

    in_force = await waivers_in_force(connection, NOW)

    assert [(one.waiver.id, one.findings, one.worst) for one in in_force] == [("w-1", 2, HIGH), ("w-2", 1, LOW)]
    assert [one.waiver.id for one in await waivers_in_force(connection, NOW + DAY)] == ["w-2"]


async def test_applied_policy_comes_with_the_text_that_its_digest_is_of(connection: Connection) -> None:
    text = {"name": "ours", "risk": {"scopes": {"zeta.read": "low", "alpha.read": "high"}}, "rules": {"DT-X": {"b": 1}}}
    for name in ("prod", "lab"):
        await (await with_policy(connection, text, name=name)).finish()
    await (await begin(connection, "prod", NOW + DAY)).finish()

    latest, other = await applied_policies(connection)

    assert (latest.name, latest.environments) == ("test", ("prod",))
    assert (other.name, other.environments, other.first_applied_at) == ("ours", ("lab",), NOW)
    assert hashlib.sha256(other.content).hexdigest() == other.digest
    assert [one.name for one in await applied_policies(connection, ["lab"])] == ["ours"]
