"""What ``auditor.toml`` may say: the tables and their keys."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from yarl import URL

from auditor.alerts.wording import Templates
from auditor.config.retention import RetentionSettings
from auditor.config.scheduled_reports import ReportSettings
from auditor.config.timing import Timing
from auditor.credentials.reference import SecretReference
from auditor.dynatrace.settings import EnvironmentSettings
from auditor.model.table import Table
from auditor.outbound import is_loopback
from auditor.policy.routing.owners import Addresses
from auditor.policy.spans import Duration

T = TypeVar("T")

_PORT: Final = re.compile(r"[0-9]{1,5}")
_PASSWORDS: Final = frozenset({"password", "sslpassword"})
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _without_password(text: str) -> str:
    try:
        url = URL(text)
        is_one = url.scheme in {"postgresql", "postgres"} and not url.fragment
    except ValueError:  # not told further: it may quote a part of a password
        is_one = False
    if not is_one:
        raise ValueError("must be like postgresql://user@host:5432/database")
    if url.password or _PASSWORDS & url.query.keys():
        raise ValueError('a password never stands in this file; give the whole url as { file = "…" } or { env = "…" }')
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f'the name "{text}" must be of letters, digits and _.- only')
    return text


def _plain_or_reference(value: Any) -> str:
    return "plain" if isinstance(value, str) else "reference"


def _at_least_one(mend: str) -> Callable[[dict[str, T]], dict[str, T]]:
    def check(tables: dict[str, T]) -> dict[str, T]:
        if not tables:
            raise ValueError(f"there must be at least one; {mend}")
        return tables

    return check


Name = Annotated[str, AfterValidator(_name)]
"""The name of an environment, source, schedule or hook: it goes into keys, metrics and command lines."""


class DatabaseSettings(Table):
    """The ``[database]`` table. Without a url, an embedded PostgreSQL in the state directory serves."""

    url: (
        Annotated[
            Annotated[str, AfterValidator(_without_password), Tag("plain")]
            | Annotated[SecretReference, Tag("reference")],
            Discriminator(_plain_or_reference),
        ]
        | None
    ) = None
    """PostgreSQL 14 or newer, as a URL without a password, or as a reference to a secret that holds the whole URL."""
    connections: int = Field(default=16, ge=10, le=100)
    """Connections that one process opens at most. A sweep takes one for each batch and three at its end, in turn with
    others, however many sweeps there are; everything else needs seven."""


class EncryptionSettings(Table):
    """The ``[encryption]`` table: the key of the encrypted store and of fingerprints, 32 bytes in base64 or hex.

    Without one, auditor makes a key file of its own in the state directory.
    """

    key: SecretReference | None = None
    """The key that encrypts."""
    previous_keys: tuple[SecretReference, ...] = ()
    """Keys that still open what was encrypted before; drop them after ``auditor tokens rotate-key``."""


class SweepSettings(Table):
    """The ``[sweeps]`` table."""

    at_once: int = Field(default=32, ge=1, le=1000)
    """Environments that one process sweeps side by side, at most. One that is slow to answer costs the others nothing
    but its place; a few MiB of memory each."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes of one service that sweep, make reports and deliver: each uses one core, and connections of its own."""


class EvidenceSettings(Table):
    """The ``[evidence]`` table."""

    signing_key: SecretReference | None = None
    """The Ed25519 key that signs packages of evidence, as one word in base64: its 32 bytes, or an OpenSSH key file
    without passphrase. Without one they are not signed."""


class PolicySettings(Table):
    """The ``[policy]`` table."""

    files: tuple[Path, ...] = Field(default=(Path("policies/baseline.toml"),), min_length=1)
    """Policy files laid over one another in this order, relative to this file; the last word on a parameter wins."""
    environments: dict[str, Annotated[tuple[Path, ...], Field(min_length=1)]] = Field(default={})
    """Further files for some environments, laid over those of all: a list for each name of an environment, or glob over
    their names. Where several entries match, the later one is laid over the earlier one."""
    waivers: tuple[Path, ...] = ()
    """Files of waivers, relative to this file."""


class ScheduleSettings(Timing):
    """A ``[schedules.NAME]`` table: when which environments are swept."""

    environments: tuple[str, ...] = ("*",)
    """Globs over the names of environments."""
    jitter_seconds: int = Field(default=60, ge=0, le=86_400)
    """Each sweep begins up to so much later, at random, so that those of many environments do not all begin at once."""

    @property
    def told(self) -> str:
        """The schedule in words: ``0 2 * * * (UTC), environments *``."""
        return f"{self.times_told}, environments {', '.join(self.environments)}"


def _listen(text: str) -> str:
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError("unix: needs the path of a socket")
        return text
    host, _, port = text.rpartition(":")
    if not host or not _PORT.fullmatch(port) or not 0 <= int(port) < 65_536:
        raise ValueError("must be HOST:PORT such as 127.0.0.1:9464, or unix:/run/auditor/http.sock")
    return text


class AlertSettings(Table):
    """The ``[alerts]`` table: what holds for alerts to every hook."""

    flapping_within: Duration = "1d"
    """A finding that is back for the third time within such a span is flapping: hooks are told so once, then at most
    once in each such span, until it has settled."""
    owners_file: str | None = Field(default=None, min_length=1)
    """A CSV file ``owner,addresses`` with more of ``[owners]``, for many; several addresses with spaces between."""


class WebSettings(Table):
    """The ``[web]`` table: the daemon's own endpoint, for probes and metrics."""

    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:9464"
    """``HOST:PORT`` on loopback, or ``unix:PATH``."""
    allow_remote: bool = False
    """Permit an address that other machines reach; the endpoint has no authentication."""

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        host = self.listen.rpartition(":")[0].strip("[]")
        if not self.listen.startswith("unix:") and not self.allow_remote and not is_loopback(host):
            raise ValueError(
                f"listen = {self.listen} can be reached from other machines, without authentication; "
                "use 127.0.0.1, or set allow_remote = true"
            )
        return self


class LogSettings(Table):
    """The ``[log]`` table."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    format: Literal["auto", "json", "console"] = "auto"
    """``auto``: colours on a terminal, JSON elsewhere."""


class AuditorDocument(Table):
    """The whole of ``auditor.toml``. Sources and hooks are checked by their own types."""

    database: DatabaseSettings = DatabaseSettings()
    """Where auditor keeps what it knows."""
    encryption: EncryptionSettings = EncryptionSettings()
    """The key of the encrypted store."""
    environments: Annotated[
        dict[Name, EnvironmentSettings],
        AfterValidator(_at_least_one('add [environments.NAME] with url = "https://…" and token = { file = "…" }')),
    ] = Field(default={}, validate_default=True)
    """One table an environment, by name."""
    sources: Annotated[
        dict[Name, dict[str, Any]],
        AfterValidator(
            _at_least_one(
                'add [sources.NAME] with type = "plain", path = "…" and environment = "NAME", or of another type'
            )
        ),
    ] = Field(default={}, validate_default=True)
    """One table a source, by name; ``type`` says of which kind."""
    policy: PolicySettings = PolicySettings()
    """Which rules apply to which tokens."""
    sweeps: SweepSettings = SweepSettings()
    """How sweeps share a process."""
    schedules: dict[Name, ScheduleSettings] = Field(default={})
    """When ``auditor run`` sweeps; one table a schedule, by name."""
    reports: dict[Name, ReportSettings] = Field(default={})
    """The reports that ``auditor run`` makes; one table a report, by name."""
    hooks: dict[Name, dict[str, Any]] = Field(default={})
    """One table a hook, by name; ``type`` says of which kind."""
    templates: Templates = Templates()
    """What messages of hooks say, in place of the templates that ship; a hook's own are laid over these."""
    alerts: AlertSettings = AlertSettings()
    """What holds for alerts to every hook."""
    owners: dict[str, Addresses] = Field(default={})
    """Owners of tokens, or globs over them, with the addresses that word of their tokens goes to. A name goes before
    globs, and these in their order, so that ``"*"`` at the end is for everybody else. ``"{owner}"`` stands for an owner
    that is an address itself."""
    retention: RetentionSettings = RetentionSettings()
    """How long what may go is kept."""
    web: WebSettings = WebSettings()
    """Health, readiness and metrics of ``auditor run``."""
    evidence: EvidenceSettings = EvidenceSettings()
    """How evidence is handed out."""
    log: LogSettings = LogSettings()
    """What is logged, and how."""
