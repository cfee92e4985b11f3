"""Reports for tests, as plain values: a realistic estate, and findings by number."""

import hashlib
import io
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from auditor.model.finding import Finding, Resolution, Severity
from auditor.model.sweep import RuleState, SweepStatus, SweepSummary
from auditor.model.token import Location
from auditor.model.waiver import Waiver
from auditor.policy.forecast import Forecast, Staggering, forecast
from auditor.policy.registry import rules
from auditor.policy.revocation import Cadence, Confidence, Judgement, Verdict
from auditor.policy.rules.exp_06 import Cliff
from auditor.policy.scopes import RiskTier
from auditor.reports.base import Aws, EnvironmentPosture, Findings, Format, ReportData, RulePosture, Verdicts
from auditor.reports.figures import Figures
from auditor.store.figures import Adherence, AppliedPolicy, OwnerIdleness, SweptDay, WaiverInForce
from auditor.store.timeline import DayPosture, Timeline

NOW = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
DIGEST = "4f0c2d5a9b7e6c1d3f8a0b2c4d6e8f00112233445566778899aabbccddeeff00"

_HIDDEN_HERE = {
    ("DT-NET-01", "lab"): "no networks are allowed in the policy, so none can be compared",
    ("DT-OWN-02", "staging"): "no leavers feed is configured",
    ("DT-OWN-02", "lab"): "no leavers feed is configured",
}

# rule, severity, environment, name, owner, source, place, days since opened, message, evidence
_OPEN: list[tuple[str, str, str, str | None, str | None, str, str, int, str, dict[str, Any]]] = [
    (
        "DT-EXP-01",
        "critical",
        "production",
        "terraform-apply",
        "platform-automation",
        "vault",
        "entry dynatrace/terraform",
        41,
        "never expires and holds critical scopes",
        {"expiration_date": None, "risk_tier": "critical"},
    ),
    (
        "DT-OWN-02",
        "critical",
        "production",
        "mara-settings-export",
        "mara.lindqvist@example.com",
        "ci",
        "env:DT_EXPORT_TOKEN",
        6,
        "its owner left on 2026-02-20",
        {"owner": "mara.lindqvist@example.com", "left_at": "2026-02-20T17:00:00Z"},
    ),
    (
        "DT-SCP-01",
        "critical",
        "staging",
        "token-rotator",
        "platform-automation",
        "vault",
        "entry dynatrace/rotator",
        88,
        "holds apiTokens.write and credentialVault.read",
        {"scopes": ["apiTokens.write", "credentialVault.read"]},
    ),
    (
        "DT-NET-01",
        "high",
        "production",
        "ingest-metrics-eu",
        "observability",
        "kubernetes",
        "/etc/auditor/tokens/ingest-metrics-eu",
        3,
        "last used from 203.0.113.77, outside the allowed networks",
        {"address": "203.0.113.77", "networks": ["10.0.0.0/8", "192.0.2.0/24"]},
    ),
    (
        "DT-SCP-03",
        "high",
        "production",
        "grafana-bridge",
        "observability",
        "dotenv",
        "/srv/grafana/.env:14",
        130,
        "joins any ingest scope with settings.write",
        {"combination": ["metrics.ingest", "settings.write"]},
    ),
    (
        "DT-EXP-01",
        "high",
        "production",
        "synthetic-uploader",
        "web-quality",
        "vault",
        "entry dynatrace/synthetic",
        41,
        "never expires",
        {"expiration_date": None, "risk_tier": "default"},
    ),
    (
        "DT-PAT-01",
        "high",
        "staging",
        "jenkins-nightly",
        "oskar.brandt@example.com",
        "ci",
        "env:DT_NIGHTLY",
        19,
        "is a personal token, and its name says that a machine uses it",
        {"name_pattern": "jenkins*", "personal_access_token": True},
    ),
    (
        "DT-USE-02",
        "high",
        "lab",
        "load-test-2023",
        None,
        "archive",
        "tokens.csv:7",
        204,
        "not used for 412 days",
        {"last_used_date": "2025-01-14T09:12:44Z", "risk_tier": "default"},
    ),
    (
        "DT-ROT-01",
        "medium",
        "production",
        "log-forwarder",
        "observability",
        "kubernetes",
        "/etc/auditor/tokens/log-forwarder",
        52,
        "417 days old; the policy's rotation period is 365 days",
        {"creation_date": "2025-01-09T08:00:00Z", "max_age_days": 365},
    ),
    (
        "DT-USE-01",
        "medium",
        "production",
        "pilot-business-events",
        "payments",
        "vault",
        "entry dynatrace/pilot",
        12,
        "created 42 days ago and never used",
        {"creation_date": "2026-01-19T10:30:00Z"},
    ),
    (
        "DT-FMT-01",
        "medium",
        "staging",
        "oneagent-download",
        "platform-automation",
        "dotenv",
        "/srv/build/.env:3",
        260,
        "is of the old token format",
        {},
    ),
    (
        "DT-SCP-02",
        "medium",
        "lab",
        "everything-demo",
        "workshop",
        "archive",
        "tokens.csv:12",
        77,
        "holds 31 scopes of 14 families",
        {"scopes": 31, "families": 14},
    ),
    (
        "DT-STA-01",
        "low",
        "lab",
        "workshop-2025",
        "workshop",
        "archive",
        "tokens.csv:15",
        30,
        "disabled for 62 days and not deleted",
        {"disabled_since": "2025-12-30T04:00:00Z"},
    ),
    (
        "DT-SCP-06",
        "low",
        "production",
        "legacy-dashboard",
        "observability",
        "dotenv",
        "/srv/grafana/.env:15",
        130,
        "holds the legacy scope DataExport",
        {"scopes": ["DataExport"]},
    ),
    (
        "DT-EXP-03",
        "info",
        "production",
        "checkout-events",
        "payments",
        "vault",
        "entry dynatrace/checkout",
        1,
        "expires in 58 days",
        {"expiration_date": "2026-04-29T00:00:00Z"},
    ),
]

_RESOLVED: list[tuple[str, str, str, str, int, int, Resolution, str]] = [
    (
        "DT-EXP-01",
        "critical",
        "production",
        "deploy-bot",
        35,
        2,
        Resolution.MISSING,
        "never expires and holds critical scopes",
    ),
    ("DT-USE-02", "medium", "staging", "canary-checks", 60, 5, Resolution.EVIDENCE, "not used for 97 days"),
    (
        "DT-PAT-02",
        "medium",
        "lab",
        "anna-try-out",
        20,
        9,
        Resolution.POLICY,
        "is a personal token, which the policy forbids here",
    ),
]


def public_id(number: int) -> str:
    """A token's public id, made up from a number."""
    return "dt0c01." + "".join(chr(65 + (number * 7919 + place * place * 31 + place) % 26) for place in range(24))


def finding(number: int = 0, **changes: Any) -> Finding:
    """An open finding; ``changes`` replace its fields."""
    label = public_id(number)
    fields: dict[str, Any] = {
        "environment": "production",
        "label": label,
        "rule_id": "DT-EXP-01",
        "severity": Severity.HIGH,
        "status": "open",
        "message": "never expires",
        "evidence": {"expiration_date": None, "risk_tier": "default"},
        "token_name": f"service-{number}",
        "owner": "observability",
        "locations": (Location("vault", f"entry service-{number}"),),
        "opened_at": NOW - timedelta(days=10),
        "last_seen_at": NOW - timedelta(hours=1),
    }
    fields |= changes
    return Finding(key=f"{fields['environment']}/{fields['label']}/{fields['rule_id']}", **fields)


WAIVER = Waiver(
    id="sec-1042",
    owner="platform-automation",
    approver="jane.doe@example.com",
    reason="moves to OAuth clients in April",
    ticket="SEC-1042",
    since=NOW - timedelta(days=10),
    until=NOW + timedelta(days=50),
)


def sweep(environment: str = "production", **changes: Any) -> SweepSummary:
    """A complete sweep of 10 tokens; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "id": 7,
        "environment": environment,
        "started_at": NOW - timedelta(minutes=20),
        "finished_at": NOW - timedelta(minutes=19),
        "status": SweepStatus.COMPLETE,
        "enrolled": 10,
        "found": 10,
        "policy_digest": DIGEST,
    }
    return SweepSummary(**fields | changes)


def environment(name: str = "production", **changes: Any) -> EnvironmentPosture:
    """An environment whose 10 tokens were all audited and break no rule; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "url": f"https://{name}.live.dynatrace.example",
        "last_sweep": sweep(name),
        "last_complete_at": NOW - timedelta(minutes=19),
        "open_by_severity": {},
        "tokens_with_findings": 0,
        "resolved_recently": 0,
        "stored_tokens": 10,
        "unknown_tokens": 0,
    }
    return EnvironmentPosture(name=name, **fields | changes)


def report(*environments: EnvironmentPosture, findings: Iterable[Finding] = (), **changes: Any) -> ReportData:
    """A report on these environments in which every rule of the catalogue is assessed."""
    opened: dict[tuple[str, str, bool], Counter[Severity]] = {}
    for one in findings:
        if one.status == "open":
            key = (one.rule_id, one.environment, one.waiver is not None)
            opened.setdefault(key, Counter())[one.severity] += 1
    fields: dict[str, Any] = {
        "made_at": NOW,
        "version": "0.1.0",
        "rules": [
            RulePosture(
                environment=one.name,
                rule_id=rule.id,
                title=rule.title,
                state=RuleState.ASSESSED,
                open_findings=opened.get((rule.id, one.name, False), Counter()).total(),
                open_by_severity=opened.get((rule.id, one.name, False), {}),
                waived_by_severity=opened.get((rule.id, one.name, True), {}),
            )
            for rule in rules().values()
            for one in environments
        ],
        "policy_name": "baseline",
        "policy_digest": DIGEST,
        "resolved_since_days": 30,
        "aws": Aws("123456789012", "eu-central-1"),
    }
    return ReportData(environments=environments, **fields | changes)


def judgement(number: int = 0, **changes: Any) -> Judgement:
    """A token that is safe to revoke; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "environment": "production",
        "label": public_id(number),
        "token_name": f"service-{number}",
        "owner": "observability",
        "verdict": Verdict.SAFE,
        "confidence": Confidence.HIGH,
        "evidence": ("it was last used on 2025-09-14 from 203.0.113.7", "40 lookups gave evidence"),
        "limits": (),
        "safe_from": None,
        "risk_tier": RiskTier.LOW,
        "last_used_date": NOW - timedelta(days=169),
        "cadence": Cadence(
            uses=4,
            since=NOW - timedelta(days=180),
            median_pause=timedelta(days=1),
            longest_pause=timedelta(days=9, hours=12),
            networks=("203.0.113.0/24",),
        ),
        "successor": None,
        "evident_at": NOW - timedelta(minutes=20),
    }
    return Judgement(**fields | changes)


def judged(*judgements: Judgement, batch: int = 100) -> Verdicts:
    """Verdicts as a format gets them."""

    async def batches() -> AsyncGenerator[Sequence[Judgement], None]:
        for start in range(0, len(judgements), batch):
            yield judgements[start : start + batch]

    return batches


def expiry(environment: str = "production", active: int = 142, **days: int) -> Forecast:
    """A forecast of tokens that expire so many days from now: ``_40=12``."""
    today = NOW.date()
    ends = {today + timedelta(days=int(ahead.removeprefix("_"))): tokens for ahead, tokens in days.items()}
    return forecast(environment, ends, active, now=NOW, cliff=Cliff(), staggering=Staggering())


def stream(findings: Iterable[Finding], batch: int = 100) -> Findings:
    """Findings as a format gets them."""
    every = list(findings)

    async def batches() -> AsyncGenerator[Sequence[Finding], None]:
        for start in range(0, len(every), batch):
            yield every[start : start + batch]

    return batches


async def written(form: Format, data: ReportData, findings: Iterable[Finding] = ()) -> str:
    """What a format of text writes."""
    return (await written_bytes(form, data, findings)).decode()


async def written_bytes(form: Format, data: ReportData, findings: Iterable[Finding] = ()) -> bytes:
    """What a format writes."""
    out = io.BytesIO()
    await form.write(data, stream(findings), out)
    return out.getvalue()


def estate_findings() -> list[Finding]:
    """Findings of every severity in three environments, some of them resolved."""
    opened = [
        finding(
            number,
            rule_id=rule_id,
            severity=Severity(severity),
            environment=place_name,
            token_name=name,
            owner=owner,
            locations=(Location(source, place),),
            opened_at=NOW - timedelta(days=days, minutes=37),
            message=message,
            evidence=evidence,
            reopenings=1 if name == "grafana-bridge" else 0,
            is_stored=name != "load-test-2023",
        )
        for number, (rule_id, severity, place_name, name, owner, source, place, days, message, evidence) in enumerate(
            _OPEN
        )
    ]
    resolved = [
        finding(
            100 + number,
            rule_id=rule_id,
            severity=Severity(severity),
            environment=place_name,
            token_name=name,
            status="resolved",
            opened_at=NOW - timedelta(days=opened_days),
            resolved_at=NOW - timedelta(days=resolved_days),
            resolution=resolution,
            message=message,
        )
        for number, (rule_id, severity, place_name, name, opened_days, resolved_days, resolution, message) in enumerate(
            _RESOLVED
        )
    ]
    return opened + resolved


def sample_figures() -> Figures:
    """Figures of an estate of 12 weeks: every picture has something to show."""
    today = NOW.date()
    days = [today - timedelta(days=ahead) for ahead in range(83, -1, -1)]

    def swept(name: str, day: date, number: int) -> SweptDay:
        status = SweepStatus.FAILED if number % 29 == 7 else SweepStatus.INCOMPLETE if number % 11 == 3 else None
        audited = 0 if status is SweepStatus.FAILED else 55 if status is SweepStatus.INCOMPLETE else 58
        return SweptDay(name, day, status or SweepStatus.COMPLETE, audited, 58)

    content = msgspec.json.encode({"name": "baseline", "rules": {"DT-EXP-01": {"severity": "high"}}})
    return Figures(
        ages={
            Severity.CRITICAL: (1, 0, 2, 0, 0),
            Severity.HIGH: (1, 1, 1, 1, 1),
            Severity.MEDIUM: (0, 1, 2, 0, 1),
            Severity.LOW: (0, 0, 1, 1, 0),
            Severity.INFO: (1, 0, 0, 0, 0),
        },
        oldest_opened_at=NOW - timedelta(days=260, minutes=37),
        idleness=(
            OwnerIdleness("observability", True, 1, (42, 9, 6, 3, 4)),
            OwnerIdleness(None, True, 1, (3, 2, 4, 5, 2)),
            OwnerIdleness("platform-automation", True, 1, (31, 6, 2, 1, 3)),
            OwnerIdleness("oskar.brandt@example.com", True, 1, (2, 0, 1, 0, 1)),
            OwnerIdleness(None, False, 14, (61, 12, 4, 2, 6)),
        ),
        scope_risk={
            "ingest": {RiskTier.LOW: 88, RiskTier.MEDIUM: 12},
            "settings": {RiskTier.MEDIUM: 9, RiskTier.HIGH: 23},
            "tokens": {RiskTier.MEDIUM: 2, RiskTier.CRITICAL: 4},
            "entities": {RiskTier.LOW: 40, RiskTier.MEDIUM: 31},
        },
        adherence={
            Severity.CRITICAL: Adherence((1,), open_late=2, open_in_time=1, ended_in_time=6, ended_late=1),
            Severity.HIGH: Adherence((7,), open_late=1, open_in_time=4, ended_in_time=11, ended_late=3),
            Severity.MEDIUM: Adherence((30,), open_in_time=4, ended_in_time=9),
            Severity.LOW: Adherence((60, 90), open_in_time=2),
        },
        swept_days=[
            *(swept("production", day, number) for number, day in enumerate(days)),
            *(swept("staging", day, number + 4) for number, day in enumerate(days) if number > 20 and number % 17),
        ],
        waivers=(WaiverInForce(WAIVER, 2, Severity.HIGH),),
        policies=(
            AppliedPolicy(
                "baseline",
                hashlib.sha256(content).hexdigest(),
                content,
                NOW - timedelta(days=83),
                ("production", "staging"),
            ),
        ),
    )


async def sample_timeline() -> Timeline:
    """Findings of 90 days, of which sweeps know the last 84: they rise, and half of them are mended at once."""
    last = NOW.date()
    counts = [
        {Severity.CRITICAL: 2 + day // 20, Severity.HIGH: 3 + day // 6, Severity.MEDIUM: 4 + day // 9, Severity.LOW: 2}
        for day in range(60)
    ]
    counts += [{Severity.CRITICAL: 3, Severity.HIGH: 5, Severity.MEDIUM: 4, Severity.LOW: 2, Severity.INFO: 1}] * 24
    posture = [
        DayPosture("production", last - timedelta(days=89 - number), ({} if number < 6 else counts[number - 6]))
        for number in range(90)
    ]
    return Timeline(last - timedelta(days=89), last, posture, ())


def estate() -> ReportData:
    """The report on ``estate_findings``: a sweep complete, one incomplete, one failed, an environment never swept."""
    findings = estate_findings()

    def posture(name: str, summary: SweepSummary, complete_days: int, stored: int, unknown: int) -> EnvironmentPosture:
        here = [one for one in findings if one.environment == name]
        opened = [one for one in here if one.status == "open"]
        return environment(
            name,
            last_sweep=summary,
            last_complete_at=NOW - timedelta(days=complete_days, minutes=19),
            open_by_severity=dict(Counter(one.severity for one in opened)),
            tokens_with_findings=len({one.label for one in opened}),
            resolved_recently=len(here) - len(opened),
            stored_tokens=stored,
            unknown_tokens=unknown,
        )

    environments = (
        posture("production", sweep("production", enrolled=142, found=139, missing=3, self_lookup=True), 0, 142, 0),
        posture(
            "staging",
            sweep(
                "staging",
                status=SweepStatus.INCOMPLETE,
                enrolled=58,
                found=49,
                missing=1,
                failed=8,
                reasons={"429 until the retries ended": 5, "no answer within 30 s": 3},
                source_problems={"ci": "the command printed 3 of 5 lines and ended with exit code 1"},
            ),
            2,
            58,
            8,
        ),
        posture(
            "lab",
            sweep(
                "lab",
                status=SweepStatus.FAILED,
                enrolled=23,
                found=0,
                refused=1,
                failed=22,
                reasons={"401: the auditor's own token was not accepted": 1, "the sweep stopped before its turn": 22},
                policy_digest="ab" * 32,
            ),
            9,
            23,
            23,
        ),
        environment("acquired-company", last_sweep=None, last_complete_at=None, stored_tokens=0),
    )
    data = report(*environments, findings=findings)
    return ReportData(
        made_at=data.made_at,
        version=data.version,
        environments=environments,
        rules=[_as_it_stands(one) for one in data.rules],
        policy_name=data.policy_name,
        policy_digest=data.policy_digest,
        resolved_since_days=data.resolved_since_days,
        figures=sample_figures(),
        timeline=sample_timeline,
        schedules=("nightly: 0 2 * * * (UTC), environments *",),
        forecasts=(
            expiry(_0=1, _12=2, _58=1, _90=3, _130=31, _131=4, _200=2, _260=1, _303=12, _364=5),
            expiry("staging", 58),
        ),
        verdicts=judged(
            judgement(7, token_name="load-test-2023", environment="lab", owner=None),
            judgement(
                8,
                token_name="terraform-apply (old)",
                verdict=Verdict.LIKELY_SAFE,
                confidence=Confidence.MEDIUM,
                limits=("only 9 lookups gave evidence",),
                risk_tier=RiskTier.CRITICAL,
                successor=public_id(0),
            ),
            judgement(9, verdict=Verdict.RISKY),
            judgement(10, verdict=Verdict.DO_NOT_REVOKE),
            judgement(11, verdict=Verdict.UNKNOWN, confidence=Confidence.LOW, environment="staging"),
        ),
    )


def _as_it_stands(posture: RulePosture) -> RulePosture:
    reason = _HIDDEN_HERE.get((posture.rule_id, posture.environment), "")
    state = RuleState.NOT_ASSESSED if reason else RuleState.ASSESSED
    if posture.rule_id == "DT-ENV-02":
        state = RuleState.DISABLED
    return msgspec.structs.replace(posture, state=state, reason=reason)


SECRET_SHAPE = "dt0c01.ST2EY72KQINMH574WMNVI7YN." + "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "+1;=2",
    "@SUM(1+1)*cmd",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1)) ![x](http://203.0.113.9/p.png) <img src=x onerror=alert(1)>",
    "| a | b |\n|---|---|\n# title\n```\ncode",
    "http://203.0.113.9/login www.example.com jane@example.com",
    "\x00\x01\x07\x1b[31m\x7f\x85\ufffe",
    "\ud800 lone \udfff",
    "\u202eevil\u202c \u200b\ufeff\u2028\u2029",
    'quote " comma , tab \t backslash \\ {{ 7*7 }} ${7*7} %0a %n',
    "  spaces around  ",
    "",
    "x" * 10_000,
    "\U0001f600" * 9_000,
    f"named {SECRET_SHAPE} by mistake",
)
"""Values as they may come from outside."""


def every_kind() -> list[Finding]:
    """Findings of every kind, in a report's order: open, reopened, without token, hostile, waived, resolved."""

    def one(number: int, **changes: Any) -> Finding:
        return finding(number, **{"label": f"dt0c01.{number:024}"} | changes)

    opened = [
        one(0, severity=Severity.CRITICAL),
        one(1, severity=Severity.CRITICAL, reopenings=2),
        one(
            2,
            severity=Severity.HIGH,
            rule_id="DT-EXP-06",
            label="environment",
            token_name=None,
            owner=None,
            locations=(),
        ),
        one(3, severity=Severity.HIGH, rule_id="GONE-01", is_stored=False),
        *(
            one(
                10 + number,
                severity=Severity.MEDIUM,
                token_name=value,
                owner=value,
                message=value,
                evidence={"value": value, value: [value]},
                locations=(Location(value, value),),
            )
            for number, value in enumerate(HOSTILE)
        ),
    ]
    waived = [one(50, waiver=WAIVER), *(one(60 + n, waiver=hostile_waiver(n)) for n in range(len(HOSTILE)))]
    resolved = [
        one(90 + number, status="resolved", resolved_at=NOW - timedelta(days=1), resolution=resolution)
        for number, resolution in enumerate(Resolution)
    ]
    return opened + waived + resolved


def hostile_waiver(number: int) -> Waiver:
    """A waiver of which every text is hostile."""
    return msgspec.structs.replace(
        WAIVER, **dict.fromkeys(("id", "owner", "approver", "reason", "ticket"), HOSTILE[number])
    )
