"""Sweeps made by hand: an environment, what was enrolled and looked up, and what the rules said of it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from auditor.model.finding import Resolution, Violation
from auditor.model.lookup import Lookup, Outcome, TokenMetadata
from auditor.model.sweep import RuleStanding, RuleState, SweepStatus, SweepSummary
from auditor.model.token import Location
from auditor.policy.lifecycle import Change, changes
from auditor.policy.observing import is_changed, is_notable_use, is_use_withdrawn, is_used, label_of, observe
from auditor.store import findings, sweeps, tokens
from auditor.store.connection import Connection
from auditor.store.tokens import Enrolment, KnownToken, Recorded

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

TOKEN = TokenMetadata(
    id="dt0c01.ST2EY72KQINMH574WMNVI7YN",
    name="ingest",
    owner="svc-ingest",
    enabled=True,
    personal_access_token=False,
    creation_date=NOW - timedelta(days=10),
    expiration_date=NOW + timedelta(days=80),
    last_used_date=NOW - HOUR,
    last_used_ip_address="203.0.113.7",
    scopes=("metrics.ingest", "metrics.read"),
    additional_metadata={"dashboardId": "7"},
)
MISSING = Lookup(Outcome.MISSING, NOW, None, "no such token in this environment", 404)
DIGEST = "0" * 64


def found(at: datetime = NOW, **fields: object) -> Lookup:
    return Lookup(Outcome.FOUND, at, msgspec.structs.replace(TOKEN, **fields), "", 200)


def failed(outcome: Outcome = Outcome.THROTTLED, reason: str = "HTTP 429") -> Lookup:
    return Lookup(outcome, NOW, None, reason, 429)


def place(source: str = "vault", where: str = "line 1") -> Location:
    return Location(source, where)


def enrolment(secret: str, *places: Location, public_id: str | None = TOKEN.id, tags: Sequence[str] = ()) -> Enrolment:
    fingerprint = hashlib.sha256(secret.encode()).digest()[:16]
    return Enrolment(fingerprint, public_id, places or (place(),), frozenset(tags))


class Swept:
    """One sweep under way, on one connection."""

    def __init__(self, connection: Connection, environment: int, sweep: int, now: datetime) -> None:
        self.connection = connection
        self.environment = environment
        self.id = sweep
        self.now = now

    async def enrol(self, *batch: Enrolment) -> list[tuple[Enrolment, KnownToken | None]]:
        return await tokens.enrol(self.connection, self.id, self.environment, batch, self.now)

    async def record(
        self, *looked: tuple[Enrolment, Lookup], says: Mapping[str, Sequence[Violation]] | None = None
    ) -> list[tuple[int, str]]:
        """Enrol and record tokens as a batch; ``says`` gives, by label, what the rules say of a token that is found."""
        lookups = {entry.fingerprint: lookup for entry, lookup in looked}
        enrolled = await self.enrol(*(entry for entry, _lookup in looked))
        batch = [recorded(entry, known, lookups[entry.fingerprint]) for entry, known in enrolled]
        identities = await tokens.record(self.connection, self.id, self.environment, batch)
        known = await findings.known(self.connection, [number for number, _label in identities])
        happened: list[tuple[findings.Bearer, Change]] = []
        for (number, label), entry in zip(identities, batch, strict=True):
            if entry.lookup.metadata is not None:
                said = (says or {}).get(label, ())
                moves = changes(known.get(number, ()), said, lambda _rule_id: Resolution.EVIDENCE)
                happened.extend((number, change) for change in moves)
            elif entry.lookup.outcome is Outcome.MISSING and entry.known and entry.known.misses:
                happened.extend(
                    (number, change)
                    for change in changes(known.get(number, ()), (), lambda _rule_id: Resolution.MISSING)
                )
        await findings.apply(self.connection, self.id, self.environment, happened, self.now)
        outcomes: dict[Outcome, int] = {}
        for _entry, lookup in looked:
            outcomes[lookup.outcome] = outcomes.get(lookup.outcome, 0) + 1
        await sweeps.count(self.connection, self.id, outcomes, {}, NOW)
        return identities

    async def finish(
        self, status: SweepStatus = SweepStatus.COMPLETE, unread: Mapping[str, str] | None = None
    ) -> SweepSummary:
        await tokens.settle_places(
            self.connection, self.id, self.environment, unread_sources=list(unread or {}), now=self.now
        )
        return await sweeps.finish(
            self.connection, self.id, status=status, source_problems=unread or {}, standings={}, now=self.now
        )


async def begin(connection: Connection, name: str = "prod", now: datetime = NOW, domain: str = "example.com") -> Swept:
    environment = await sweeps.environment_id(connection, name, f"https://{name}.{domain}")
    sweep = await sweeps.begin(
        connection,
        environment,
        now=now,
        policy_digest=DIGEST,
        policy_document=b'{"name":"test"}',
        rules={"DT-EXP-01": RuleStanding(RuleState.ASSESSED)},
        self_lookup=False,
    )
    return Swept(connection, environment, sweep, now)


def recorded(entry: Enrolment, known: KnownToken | None, lookup: Lookup) -> Recorded:
    previous = known.previous if known else None
    label = known.label if known else ""
    if not label or label.startswith("fp:"):
        label = label_of(entry.public_id, entry.fingerprint, lookup)
    observation = observe(
        lookup,
        previous,
        environment="prod",
        label=label,
        public_id=entry.public_id,
        locations=entry.locations,
        tags=entry.tags,
        first_seen_at=lookup.at,
    )
    if observation is None:
        return Recorded(entry, known, label, lookup, None, False, False)
    return Recorded(
        entry,
        known,
        label,
        lookup,
        observation,
        is_changed(observation, previous),
        is_used(observation, previous),
        is_notable_use(observation, previous, known.last_found if known else None),
        is_use_withdrawn(observation, known.last_found if known else None),
    )
