"""Writes the simulated organisation's files: tokens in places of every kind, a policy, and the configuration.

Everything is what an operator would have, except that the environments are simulated and that the secrets, being
simulated too, are derived from a seed.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from auditor.simulator import SimulatedToken, SteppedClock, Token, World, generate

SIZES: Final = {"production": 120, "staging": 60, "managed": 24}
"""Tokens of each environment."""
AUDITOR: Final = "svc-auditor"
"""Who owns the auditor's own tokens."""

_POLICY: Final = """\
# The demo's policy: the rules' defaults, and what this organisation knows of itself.
name = "demo"

[rules."DT-NET-01"]
cidrs = ["10.0.0.0/8"]

[rules."DT-NET-05"]
human_cidrs = ["10.200.0.0/16"]

[rules."DT-OWN-01"]
patterns = ["svc-*", "*.*"]

[rules."DT-PAT-02"]
env_selector = { environment = "production" }
"""
_CONFIG: Final = """\
# Written by auditor demo. A real one differs in urls, tokens and places only: see config/auditor.toml.

[policy]
files = ["policies/demo.toml"]

[environments.production]
url = "{production}"
token = {{ file = "credentials/production" }}
kind = "production"
attempts = 2
allow_http = true

[environments.staging]
url = "{staging}"
token = {{ file = "credentials/staging" }}
kind = "test"
allow_http = true

[environments.managed]
url = "{managed}"
token = {{ file = "credentials/managed" }}
api = "v1"
allow_http = true

[sources.deployments]
type = "dotenv"
path = "stored/*.env"
variables = ["DT_TOKEN_*"]
environment = "production"

[sources.pipelines]
type = "json"
path = "stored/pipelines.json"
token_field = "pipelines.token"
environment_field = "environment"

[sources.spreadsheet]
type = "csv"
path = "stored/spreadsheet.csv"
token_column = "token"
environment = "production"

[sources.kubernetes]
type = "directory"
path = "stored/kubernetes"
environment = "staging"

[sources.installers]
type = "plain"
path = "stored/installers.txt"
environment = "managed"

[sources.vault]
type = "encrypted"

[hooks.team]
type = "webhook"
url = "{receiver}"
secret = {{ file = "credentials/webhook" }}
min_severity = "high"
allow_http = true

[schedules.nightly]
cron = "0 2 * * *"
"""


@dataclass(frozen=True, slots=True)
class Organisation:
    """The simulated organisation: its environments, and the tokens that go into the encrypted store."""

    clock: SteppedClock
    worlds: Mapping[str, World]
    own: Mapping[str, str]
    """The auditor's own token in each environment."""
    stored: Mapping[str, Sequence[SimulatedToken]]
    """What the sources hold, by environment."""

    @property
    def unlucky(self) -> str:
        """Id of the production token whose lookup fails every time, so that a reader sees what auditor makes of it."""
        return self.stored["production"][7].token.id

    @property
    def for_vault(self) -> Sequence[SimulatedToken]:
        """Production tokens that only the encrypted store holds."""
        return self.stored["production"][5::6]


def found(now: datetime) -> Organisation:
    """Make the organisation as it is before anything changes."""
    clock = SteppedClock(now)
    stored = {name: list(generate(f"demo {name}", size, now)) for name, size in SIZES.items()}
    worlds = {name: World(tokens, clock=clock, seed=name) for name, tokens in stored.items()}
    own = {name: world.create("auditor", ["metrics.read"], owner=AUDITOR).secret for name, world in worlds.items()}
    return Organisation(clock, worlds, own, stored)


def write(
    organisation: Organisation, directory: Path, urls: Mapping[str, str], receiver: str, webhook_secret: str
) -> Path:
    """Write the organisation's files and return the configuration's path. Files with secrets have mode 0600."""
    stored = directory / "stored"
    for folder in (stored / "kubernetes", directory / "credentials", directory / "policies"):
        folder.mkdir(parents=True, exist_ok=True)
    production = organisation.stored["production"]
    _write_dotenv(stored / "checkout.env", production[0::6])
    _write_dotenv(stored / "payments.env", production[1::6])
    _write_json(stored / "pipelines.json", production[2::6], organisation.stored["staging"][0::2])
    _write_csv(stored / "spreadsheet.csv", [*production[3::6], *production[4::6], *production[0:6:6]])
    for number, token in enumerate(organisation.stored["staging"][1::2], 1):
        _private(stored / "kubernetes" / f"token-{number:02}", token.secret + "\n")
    _private(stored / "installers.txt", "".join(f"{token.secret}\n" for token in organisation.stored["managed"]))
    for name, secret in organisation.own.items():
        _private(directory / "credentials" / name, secret + "\n")
    _private(directory / "credentials" / "webhook", webhook_secret + "\n")
    (directory / "policies" / "demo.toml").write_text(_POLICY, encoding="utf-8")
    config = directory / "auditor.toml"
    config.write_text(_CONFIG.format(**urls, receiver=receiver), encoding="utf-8")
    return config


def change(organisation: Organisation) -> Sequence[str]:
    """Let a day pass in which people rotate, revoke, misuse and forget; return what happened, in sentences."""
    organisation.clock.advance(timedelta(days=1))
    production, staging = organisation.worlds["production"], organisation.worlds["staging"]

    def ordinary(world: World, **wanted: bool) -> list[Token]:
        """Return enabled tokens that people made, less the one whose lookup fails."""
        return world.find(
            lambda token: (
                token.enabled
                and token.id != organisation.unlucky
                and token.owner != AUDITOR
                and all((getattr(token, field) is not None) is there for field, there in wanted.items())
            )
        )

    forever = ordinary(production, expiration_date=False)
    mended, revoked = forever[0], forever[1:3]
    production.change(mended.id, expiration_date=organisation.clock() + timedelta(days=80))
    for token in revoked:
        production.delete(token.id)
    powerful = ordinary(production, expiration_date=True)[3]
    production.add_scopes(powerful.id, "apiTokens.write", "settings.write")
    stray = ordinary(production, last_used_ip_address=True)[7]
    production.use(stray.id, "198.51.100.23")
    idle = staging.find(lambda token: token.last_used_date is not None and token.enabled and token.name != "auditor")[
        -1
    ]
    staging.disable(idle.id)
    return (
        f"{mended.id} got an expiration date.",
        f"{len(revoked)} tokens were revoked: {', '.join(token.id for token in revoked)}.",
        f"{powerful.id} was given apiTokens.write and settings.write.",
        f"{stray.id} was used from 198.51.100.23.",
        f"{idle.id} was disabled.",
    )


def _write_dotenv(path: Path, tokens: Iterable[SimulatedToken]) -> None:
    _private(path, "".join(f"DT_TOKEN_{number}={token.secret}\n" for number, token in enumerate(tokens, 1)))


def _write_json(path: Path, production: Iterable[SimulatedToken], staging: Iterable[SimulatedToken]) -> None:
    entries = [
        *({"environment": "production", "token": token.secret} for token in production),
        *({"environment": "staging", "token": token.secret} for token in staging),
    ]
    _private(path, json.dumps({"pipelines": entries}, indent=1))


def _write_csv(path: Path, tokens: Iterable[SimulatedToken]) -> None:
    _private(path, "")
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("token", "team"))
        rows.writerows((token.secret, "platform") for token in tokens)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
