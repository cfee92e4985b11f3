"""Measures ``auditor sweep --workers``: many environments in several processes, against the bare loop in one.

Both run against the same local server, and all share the machine's cores: the workers, PostgreSQL and the server. Time
is the command's own from its start to its end, the start of its processes, delivery and the account with it. Each round
begins with an empty database; ``first`` opens findings, in ``second`` nothing changed. The bare loop runs before each.

Run: ``python -m tests.bench.workers --environments 16 --tokens 2500 --workers 2``; ``--workers 1`` is one process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.bench.sweep import CONCURRENCY, bare, secret_of, server

_HEAD = """\
[encryption]
key = { env = "MASTER_KEY" }

[policy]
files = ["policy.toml"]

[log]
format = "json"
"""
_ENVIRONMENT = """
[environments.{name}]
url = "{url}"
token = {{ env = "OWN" }}
allow_http = true
concurrency = {concurrency}

[sources.{name}]
type = "plain"
path = "{name}.txt"
environment = "{name}"
"""


def lay_out(directory: Path, url: str, environments: int, tokens: int) -> None:
    """Write a configuration of so many environments, with so many tokens each."""
    text = _HEAD
    for number in range(environments):
        name = f"e{number}"
        path = directory / f"{name}.txt"
        path.touch(mode=0o600)
        path.write_text("".join(f"{secret_of(number * tokens + each)}\n" for each in range(tokens)))
        text += _ENVIRONMENT.format(name=name, url=url, concurrency=max(2, 2 * CONCURRENCY // environments))
    (directory / "auditor.toml").write_text(text)
    (directory / "policy.toml").write_text('name = "bench"\n')


def swept(directory: Path, state: Path, workers: int) -> float:
    """Return how many seconds a sweep of everything took."""
    command = [sys.executable, "-m", "auditor", "--config", str(directory / "auditor.toml"), "--log-level", "warning"]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "STATE_DIRECTORY": str(state),
        "MASTER_KEY": "2a" * 32,
        "OWN": secret_of(-1),
    }
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "sweep", "--all", f"--workers={workers}"], env=environ, check=False, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr[-2_000:]
    return seconds


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=2_500, help="of each environment")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    total = arguments.environments * arguments.tokens
    figures: dict[str, list[float]] = {"bare": [], "first": [], "second": []}
    with server(total) as url:
        for _round in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as name:
                directory = Path(name)
                lay_out(directory, url, arguments.environments, arguments.tokens)
                for sweep in ("first", "second"):
                    figures["bare"].append(1 / uvloop.run(bare(url, min(total, 20_000))).seconds)
                    figures[sweep].append(total / swept(directory, directory / "state", arguments.workers))
    against = statistics.median(figures["bare"])
    print(f"{arguments.environments} environments of {arguments.tokens} tokens, --workers {arguments.workers}")
    for sweep, values in figures.items():
        median = statistics.median(values)
        print(f"{sweep:>7}: {median:8.0f} tokens/s   {median / against:5.2f} of bare")


if __name__ == "__main__":
    main()
