"""What the snapshot rules cost a token: processor time of ``Policy.evaluate`` over a realistic fleet.

Beside it, what decoding the token's lookup answer costs, and each rule by itself. Run it from the checkout:
``python tests/bench/rules.py [tokens]``.
"""

import random
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from auditor.dynatrace.answer import decode
from auditor.model.history import NO_HISTORY, USES_SHOWN, History, State, Use
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Feeds, Kind, Rule
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules
from auditor.policy.scope_catalogue import SCOPES

BASELINE = Path(__file__).parents[2] / "config" / "policies" / "baseline.toml"
NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
ROUNDS = 7
USUAL_SCOPES = (
    ("metrics.ingest",),
    ("logs.ingest", "metrics.ingest"),
    ("events.ingest", "logs.ingest", "metrics.ingest", "openTelemetryTrace.ingest"),
    ("entities.read", "metrics.read", "problems.read"),
    ("DataExport", "InstallerDownload"),
    ("InstallerDownload",),
    ("ReadConfig", "WriteConfig", "settings.read", "settings.write"),
    ("apiTokens.read", "apiTokens.write"),
)
CONFIGURED = {
    "DT-NET-01": {
        "cidrs": ["10.0.0.0/8", "203.0.113.0/24"],
        "networks": [{"owner": "svc-1", "cidrs": ["10.1.0.0/16"]}],
    },
    "DT-NET-03": {"egress_cidrs": ["203.0.113.0/24"]},
    "DT-NET-05": {"human_cidrs": ["10.200.0.0/16"]},
    "DT-SCP-04": {"profiles": [{"profile": "ingest", "name": "ingest-*", "scopes": ["*.ingest"]}]},
    "DT-PAT-02": {"env_selector": {"environment": "prod"}},
}


def fleet(count: int, rng: random.Random) -> list[Observation]:
    """Most tokens are within their lifetime, used, narrow and sent from few hosts; some are old, idle or powerful."""
    observations = []
    catalogue = sorted(SCOPES)
    for number in range(count):
        lifetime = rng.choice((90, 180, 365)) if rng.random() < 0.8 else None
        created = NOW - timedelta(days=rng.uniform(0, lifetime + 5 if lifetime else 900))
        personal = rng.random() < 0.1
        own_scopes = tuple(sorted(rng.sample(catalogue, rng.randint(2, 6))))
        address = f"10.0.{rng.randint(0, 15)}.{rng.randint(1, 254)}"
        public_id = f"dt0c01.{number:024d}"
        metadata = TokenMetadata(
            id=public_id,
            name=f"{rng.choice(('ingest', 'read', 'deploy', 'host', 'test'))}-{number}",
            owner=f"person-{number % 500}" if personal else f"svc-{number % 200}",
            enabled=rng.random() > 0.03,
            personal_access_token=personal,
            creation_date=created,
            expiration_date=created + timedelta(days=lifetime) if lifetime else None,
            last_used_date=NOW - timedelta(days=rng.expovariate(0.1)) if rng.random() < 0.9 else None,
            last_used_ip_address=address,
            scopes=own_scopes if rng.random() < 0.1 else rng.choice(USUAL_SCOPES),
        )
        observations.append(Observation("prod", public_id, NOW, Outcome.FOUND, metadata, public_id=public_id))
    return observations


def microseconds(work: Callable[[], object], count: int) -> float:
    """Return the best of some rounds for each of ``count``; everything else that the machine does only adds to it."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best / count * 1e6


Past = Callable[[Observation], History]
"""What is known of a token from before its observation."""


def evaluating(policy: Policy, observations: list[Observation], past: Past = lambda _observation: NO_HISTORY) -> float:
    """Return what evaluating a token costs under a policy, in microseconds."""
    pairs = [(observation, past(observation)) for observation in observations]

    def work() -> None:
        for observation, history in pairs:
            policy.evaluate(observation, history, NOW)

    return microseconds(work, len(observations))


def decoding(observations: list[Observation]) -> float:
    """Return what decoding a token's lookup answer costs, in microseconds."""
    bodies = [answer_of(observation.metadata) for observation in observations if observation.metadata is not None]
    for body, observation in zip(bodies, observations, strict=True):
        assert decode("v2", body).scopes == (observation.metadata.scopes if observation.metadata else ())

    def work() -> None:
        for body in bodies:
            decode("v2", body)

    return microseconds(work, len(bodies))


def answer_of(metadata: TokenMetadata) -> bytes:
    """Return the API's answer about a token."""

    def camel(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(map(str.capitalize, rest))

    fields = {name: getattr(metadata, name) for name in metadata.__struct_fields__}
    return msgspec.json.encode({camel(name): value for name, value in fields.items() if value is not None})


def uneventful(observation: Observation) -> History:
    """A token that was used since the last sweep and has not changed: what rules are shown of nearly all."""
    token = observation.metadata
    if token is None or token.last_used_date is None:
        return History(msgspec.structs.replace(observation, at=NOW - timedelta(days=1)), token)
    before = msgspec.structs.replace(token, last_used_date=token.last_used_date - timedelta(days=1))
    return History(msgspec.structs.replace(observation, at=NOW - timedelta(days=1), metadata=before), before)


def eventful(observation: Observation) -> History:
    """A token that changed ten times in two months and was used from here and there: the most that rules are shown."""
    history, token = uneventful(observation), observation.metadata
    assert token is not None
    owners = [msgspec.structs.replace(token, owner=f"owner-{number}") for number in range(10)]
    states = [State(NOW - timedelta(days=60 - 6 * n), Outcome.FOUND, known) for n, known in enumerate(owners)]
    uses = [
        Use(NOW - timedelta(days=64 - n), NOW - timedelta(days=64 - n, hours=1), f"10.{n % 4}.0.1")
        for n in range(USES_SHOWN)
    ]
    return msgspec.structs.replace(history, states=tuple(states), uses=tuple(uses))


def report_history(rules: list[Rule], bound: Callable[[list[Rule]], Policy], observations: list[Observation]) -> None:
    """Print what the history rules cost, together and each by itself, without what evaluating no rule at all does."""
    for title, past in (("uneventful", uneventful), ("eventful", eventful)):
        nothing = evaluating(bound([]), observations, past)
        together = evaluating(bound(rules), observations, past) - nothing
        print(f"history rules over an {title} past: {together:.2f} µs a token")
        for rule in rules:
            print(f"  {rule.id}: {evaluating(bound([rule]), observations, past) - nothing:.2f} µs")


def report(title: str, policy: Policy, observations: list[Observation]) -> None:
    """Print what a policy costs."""
    violations = sum(len(policy.evaluate(observation, NO_HISTORY, NOW)) for observation in observations)
    print(
        f"{title}: {evaluating(policy, observations):.1f} µs a token, {len(policy.assessed)} rules assessed, "
        f"{violations / len(observations):.2f} violations a token"
    )


def report_each(rules: Iterable[Rule], bound: Callable[[list[Rule]], Policy], observations: list[Observation]) -> None:
    """Print what each rule costs by itself, without what evaluating no rule at all does."""
    nothing = evaluating(bound([]), observations)
    for rule in rules:
        policy = bound([rule])
        fired = sum(bool(policy.evaluate(observation, NO_HISTORY, NOW)) for observation in observations)
        cost = evaluating(policy, observations) - nothing
        print(f"  {rule.id}: {cost:.2f} µs, fires on {fired / len(observations):.0%}")
    print(f"  no rule: {nothing:.2f} µs")


def main() -> None:
    """Measure the baseline as shipped, and with networks, profiles and feeds configured."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    observations = fleet(count, random.Random(7))
    baseline = tomllib.loads(BASELINE.read_text(encoding="utf-8"))
    catalogue = [rule for rule in rules().values() if rule.kind is Kind.SNAPSHOT]
    shipped = PolicyDocument.model_validate(baseline)
    tables = {rule_id: table | CONFIGURED.get(rule_id, {}) for rule_id, table in baseline["rules"].items()}
    configured = PolicyDocument.model_validate(baseline | {"rules": tables})
    feeds = Feeds(
        owners=frozenset(f"{kind}-{number}" for kind in ("svc", "person") for number in range(500)),
        leavers={f"person-{number}": NOW - timedelta(days=3) for number in range(5)},
        attestations={observation.label: NOW - timedelta(days=30) for observation in observations[::2]},
    )

    def bound(chosen: list[Rule]) -> Policy:
        return Policy(configured, chosen, feeds=feeds, environment_kind="production")

    print(f"decoding an answer: {decoding(observations):.1f} µs a token")
    report("baseline", Policy(shipped, catalogue, feeds=Feeds(), environment_kind="production"), observations)
    report("all configured", bound(catalogue), observations)
    report_each(catalogue, bound, observations[:10_000])
    report_history([rule for rule in rules().values() if rule.kind is Kind.HISTORY], bound, observations[:2_000])


if __name__ == "__main__":
    main()
