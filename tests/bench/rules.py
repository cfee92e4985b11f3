"""What the rules cost a token: processor time of ``Policy.evaluate`` over a realistic fleet, without decoding.

Run it from the checkout: ``python tests/bench/rules.py [tokens]``.
"""

import random
import sys
import time
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from auditor.model.history import NO_HISTORY
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import rules
from auditor.policy.scope_catalogue import SCOPES

BASELINE = Path(__file__).parents[2] / "config" / "policies" / "baseline.toml"
NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
ROUNDS = 5
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


def measure(title: str, policy: Policy, observations: list[Observation]) -> None:
    """Print the best of some rounds, since everything else that the machine does only adds to it."""
    best = float("inf")
    for _ in range(ROUNDS):
        violations = 0
        start = time.process_time()
        for observation in observations:
            violations += len(policy.evaluate(observation, NO_HISTORY, NOW))
        best = min(best, time.process_time() - start)
    count = len(observations)
    print(
        f"{title}: {best / count * 1e6:.1f} µs a token, {len(policy.assessed)} rules assessed, "
        f"{violations / count:.2f} violations a token"
    )


def main() -> None:
    """Measure the baseline as shipped, and with networks, profiles and feeds configured."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    observations = fleet(count, random.Random(7))
    baseline = tomllib.loads(BASELINE.read_text(encoding="utf-8"))
    catalogue = tuple(rules().values())
    shipped = PolicyDocument.model_validate(baseline)
    measure("baseline", Policy(shipped, catalogue, feeds=Feeds(), environment_kind="production"), observations)
    tables = {rule_id: table | CONFIGURED.get(rule_id, {}) for rule_id, table in baseline["rules"].items()}
    configured = PolicyDocument.model_validate(baseline | {"rules": tables})
    feeds = Feeds(
        owners=frozenset(f"{kind}-{number}" for kind in ("svc", "person") for number in range(500)),
        leavers={f"person-{number}": NOW - timedelta(days=3) for number in range(5)},
        attestations={observation.label: NOW - timedelta(days=30) for observation in observations[::2]},
    )
    measure("all configured", Policy(configured, catalogue, feeds=feeds, environment_kind="production"), observations)


if __name__ == "__main__":
    main()
