"""An environment with evidence of every kind, and a package of it."""

import asyncio
import base64
import hashlib
import io
from collections.abc import Mapping
from datetime import datetime, timedelta

from auditor.model.finding import Severity, Violation
from auditor.model.secret import Secret
from auditor.model.sweep import RuleStanding, RuleState, SweepStatus
from auditor.model.waiver import Waiver
from auditor.policy.waivers import waiver_change
from auditor.reports.evidence.package import write
from auditor.reports.evidence.signing import SigningKey
from auditor.store import chain, comparing, embedded, findings, sweeps
from auditor.store.connection import Connection, Pool
from auditor.store.database import connected
from tests.store.history import HOUR, NOW, TOKEN, Swept, enrolment, found

POLICY = b'{"name":"test"}'
KEY = SigningKey.parse(Secret(base64.b64encode(bytes(range(32))).decode()), "evidence.signing_key")
OTHER_KEY = SigningKey.parse(Secret(base64.b64encode(bytes(32)).decode()), "evidence.signing_key")
LABEL = str(TOKEN.id)
WAIVER = Waiver(
    id="waiver-1",
    owner="ann",
    approver="ben",
    reason="known",
    ticket="OPS-7",
    since=NOW,
    until=NOW + timedelta(days=9),
)


async def lived_through(connection: Connection, name: str = "prod") -> None:
    """Two sweeps of two tokens: findings are opened, one is waived in between, one gets worse, one ends."""
    environment = await sweeps.environment_id(connection, name, f"https://{name}.example.com")
    for number, said in enumerate(
        ([_violation(Severity.LOW), _violation(Severity.HIGH, "DT-STA-02")], [_violation(Severity.CRITICAL)])
    ):
        now = NOW + number * 2 * HOUR
        sweep = await begun(connection, name, now)
        async with chain.linked(connection, environment, now):
            await sweep.record(
                (enrolment(f"{name} s"), found(now, last_used_date=now, owner="ann" if number else "svc-ingest")),
                says={LABEL: said},
            )
        async with chain.linked(connection, environment, now):
            await sweep.finish(SweepStatus.COMPLETE)
        if number == 0:
            await waive(connection, environment)


async def begun(connection: Connection, name: str, now: datetime) -> Swept:
    """Begin a sweep under the policy of the samples."""
    environment = await sweeps.environment_id(connection, name, f"https://{name}.example.com")
    sweep = await sweeps.begin(
        connection,
        environment,
        now=now,
        policy_digest=hashlib.sha256(POLICY).hexdigest(),
        policy_document=POLICY,
        rules={"DT-EXP-01": RuleStanding(RuleState.ASSESSED)},
        self_lookup=False,
    )
    return Swept(connection, environment, sweep, now)


async def waive(connection: Connection, environment: int) -> None:
    number = await connection.fetchval(
        "select min(id) from finding where environment_id = $1 and status = 'open'", environment
    )
    ((standing,),) = [batch async for batch in comparing.by_ids(connection, [number])]
    change = waiver_change(standing.finding, WAIVER)
    assert change is not None
    at = NOW + HOUR
    async with chain.linked(connection, environment, at, states={"waiver_added": WAIVER}):
        await findings.apply(connection, None, environment, [(standing.bearer, change)], at)


def _violation(severity: Severity, rule: str = "DT-EXP-01") -> Violation:
    return Violation(rule, severity, "it expires soon", {"days": 3})


async def package(pool: Pool, key: SigningKey | None = KEY) -> bytes:
    """Return a package of everything."""
    out = io.BytesIO()
    await write(pool, out, now=NOW + 9 * HOUR, period=None, environments=[], key=key)
    return out.getvalue()


def made_once(server: embedded.Address) -> Mapping[str, bytes]:
    """Return a signed and an unsigned package, from a database of their own."""

    async def make() -> Mapping[str, bytes]:
        async with connected(server, application="tests", connections=1) as pool, pool.acquire() as connection:
            await connection.execute("create database evidence template migrated strategy file_copy")
        url = Secret(f"postgresql:///evidence?host={server.socket_directory}&user={embedded.DATABASE_USER}")
        async with connected(url, application="tests") as pool:
            async with pool.acquire() as connection:
                await lived_through(connection)
                await lived_through(connection, "staging")
            return {"signed": await package(pool), "unsigned": await package(pool, None)}

    return asyncio.run(make())
