"""What rules in CEL cost a token: processor time of ``Policy.evaluate`` with written rules and no others.

Run it from the checkout: ``python -m tests.bench.written_rules [tokens]``.
"""

import random
import sys
import time
import tomllib
from pathlib import Path

from auditor.model.history import History
from auditor.model.lookup import Observation
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.written.rules import made_of
from tests.bench.rules import NOW, ROUNDS, fleet

EXAMPLES = Path(__file__).parents[2] / "config" / "policies" / "own-rules.toml"


def measure(title: str, document: PolicyDocument, observations: list[Observation]) -> None:
    """Print the best of some rounds; the first compiles the conditions."""
    policy = Policy(document, list(made_of(document.rule).values()), feeds=Feeds(), environment_kind="production")
    seen = [(observation, History(observation, observation.metadata)) for observation in observations]
    best = float("inf")
    for _ in range(ROUNDS):
        violations = 0
        start = time.process_time()
        for observation, history in seen:
            violations += len(policy.evaluate(observation, history, NOW))
        best = min(best, time.process_time() - start)
    count = len(observations)
    print(
        f"{title}: {best / count * 1e6:.1f} µs a token, {best * 100_000 / count:.2f} s for 100,000, "
        f"{len(policy.assessed)} rules, {violations / count:.2f} violations a token"
    )


def main() -> None:
    """Measure one simple condition, the shipped examples, and ten times these."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    observations = fleet(count, random.Random(7))
    examples = tomllib.loads(EXAMPLES.read_text(encoding="utf-8"))["rule"]
    for table in examples:
        table["enabled"] = True
    simple = examples[0] | {"when": 'token.name == "nobody"', "exempt": [], "test": []}
    many = [table | {"id": f"{table['id']}-{copy}"} for copy in range(10) for table in examples]
    for title, tables in (("one comparison", [simple]), ("the examples", examples), ("ten times the examples", many)):
        measure(title, PolicyDocument.model_validate({"name": "bench", "rule": tables}), observations)


if __name__ == "__main__":
    main()
