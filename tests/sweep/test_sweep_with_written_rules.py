"""Rules that a policy writes, in whole sweeps: findings, alerts, reports, and tokens of which they cannot tell."""

import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import msgspec
from structlog.testing import capture_logs

from auditor.model.finding import Resolution, Severity
from auditor.model.sweep import RuleState
from auditor.reports.reading import snapshot
from auditor.reports.registry import formats
from auditor.reports.rule_views import rule_views
from auditor.store.connection import Pool
from auditor.sweep.sweeper import sweep
from tests.sweep.conftest import NOW, ListSource, Stage, stored
from tests.sweep.reading import read_findings, value

Staged = Callable[..., AbstractAsyncContextManager[Stage]]

DAY = timedelta(days=1)
RULE: dict[str, Any] = {
    "id": "ACME-01",
    "title": "Ends within ten days",
    "severity": "medium",
    "when": "token.expiration_date - now < duration('240h')",
    "message": "ends on {token.expiration_date}",
    "rationale": "It will be missed.",
    "remediation": "Renew it.",
}


async def test_finding_of_a_written_rule_opens_and_ends_like_any(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("soon", ["metrics.read"], expiration_date=NOW + 5 * DAY)
        subject = stage.subject(
            ListSource("vault", stored([token.secret])), policy={"rule": [RULE]}, hooks={"hook": Severity.INFO}
        )
        key = f"prod/{token.token.id}/ACME-01"
        await sweep(database, subject)
        found = (await read_findings(database))[key]
        assert (found.status, found.severity, found.message) == ("open", "medium", "ends on 2026-11-29 12:00 UTC")
        rows = await value(database, "select json_agg(data)::text from alert")
        data = msgspec.json.decode(str(rows), type=list[dict[str, Any]])
        (alert,) = [alert for alert in data if alert["rule"] == "ACME-01"]
        assert (alert["title"], alert["rationale"], alert["remediation"]) == (
            "Ends within ten days",
            "It will be missed.",
            "Renew it.",
        )
        stage.world.change(token.token.id, expiration_date=NOW + 50 * DAY)
        await sweep(database, subject)
        assert (await read_findings(database))[key].resolution is Resolution.EVIDENCE


async def test_rule_that_cannot_tell_ends_no_finding_and_is_told_once(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("soon", ["metrics.read"], expiration_date=NOW + 5 * DAY)
        others = [stage.world.create(f"forever-{number}", ["metrics.read"]).secret for number in range(3)]
        subject = stage.subject(
            ListSource("vault", stored([token.secret, *others])), policy={"rule": [RULE | {"id": "ACME-02"}, RULE]}
        )
        key = f"prod/{token.token.id}/ACME-01"
        await sweep(database, subject)
        stage.world.change(token.token.id, expiration_date=None)
        with capture_logs() as logs:
            await sweep(database, subject)
        assert (await read_findings(database))[key].status == "open"
        told = [line for line in logs if line["event"] == "rule_undecided"]
        assert [(line["rule"], line["tokens"], line["log_level"]) for line in told] == [
            ("ACME-01", 4, "warning"),
            ("ACME-02", 4, "warning"),
        ]
        assert told[0]["reason"] == "No matching overloads found : _-_(null_type, timestamp)"
        stage.world.change(token.token.id, expiration_date=NOW + 50 * DAY)
        await sweep(database, subject)
        assert (await read_findings(database))[key].resolution is Resolution.EVIDENCE


async def test_finding_ends_by_policy_when_its_rule_is_written_no_longer(database: Pool, staged: Staged) -> None:
    async with staged() as stage:
        token = stage.world.create("soon", ["metrics.read"], expiration_date=NOW + 5 * DAY)
        source = ListSource("vault", stored([token.secret]))
        await sweep(database, stage.subject(source, policy={"rule": [RULE]}))
        await sweep(database, stage.subject(source))
        assert (await read_findings(database))[f"prod/{token.token.id}/ACME-01"].resolution is Resolution.POLICY


async def test_new_value_of_a_discriminator_is_a_new_finding(database: Pool, staged: Staged) -> None:
    rule = RULE | {"when": "true", "message": "is {token.owner}'s", "discriminator": ["token.owner"]}
    async with staged() as stage:
        token = stage.world.create("handed-over", ["metrics.read"], owner="alice")
        subject = stage.subject(ListSource("vault", stored([token.secret])), policy={"rule": [rule]})
        await sweep(database, subject)
        stage.world.change(token.token.id, owner="bob")
        await sweep(database, subject)
        prefix = f"prod/{token.token.id}/ACME-01/"
        found = {key: finding for key, finding in (await read_findings(database)).items() if key.startswith(prefix)}
        assert sorted((finding.status, finding.message) for finding in found.values()) == [
            ("open", "is bob's"),
            ("resolved", "is alice's"),
        ]
        assert not any("alice" in key or "bob" in key for key in found)


async def test_reports_have_the_words_of_the_policy_that_was_applied(database: Pool, staged: Staged) -> None:
    rule = RULE | {"controls": {"CIS v8.1": ["5.3", "99.9"]}}
    async with staged() as stage:
        token = stage.world.create("soon", ["metrics.read"], expiration_date=NOW + 5 * DAY)
        await sweep(database, stage.subject(ListSource("vault", stored([token.secret])), policy={"rule": [rule]}))
    async with snapshot(database, now=NOW, resolved_days=30) as (data, findings):
        (view,) = [view for view in rule_views(data) if view.id == "ACME-01"]
        assert (view.title, view.severity, view.rationale) == ("Ends within ten days", "medium", "It will be missed.")
        assert [(control.id, bool(control.title)) for _, controls in view.controls for control in controls] == [
            ("5.3", True),
            ("99.9", False),
        ]
        assert view.is_installed
        assert [state for state, _ in view.states] == [RuleState.ASSESSED]
        for wanted in (formats()[name] for name in ("html", "json", "csv")):
            out = io.BytesIO()
            await wanted.write(data, findings, out)
            assert b"ACME-01" in out.getvalue()
