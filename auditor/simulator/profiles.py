"""What tokens are for in a real environment: scopes, names and lifetimes, as tables for the generator."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Profile:
    """One use of tokens. A fleet draws profiles by weight."""

    weight: float
    purposes: tuple[str, ...]
    """What a token's name says it is for."""
    scopes: tuple[tuple[str, ...], ...]
    """Sets of scopes; a token has one of them."""
    lifetime_days: int = 365
    """From creation to expiration, where nothing is wrong with the token."""
    is_personal: bool = False
    metadata_key: str | None = None
    """The key of ``additionalMetadata`` that this kind of token carries, if any."""


PROFILES: Final[tuple[Profile, ...]] = (
    Profile(
        33,
        ("metrics", "otel-collector", "fluentbit", "statsd", "bizevents"),
        (
            ("metrics.ingest",),
            ("metrics.ingest", "logs.ingest"),
            ("logs.ingest", "metrics.ingest", "openTelemetryTrace.ingest"),
            ("bizevents.ingest",),
            ("events.ingest", "logs.ingest"),
        ),
    ),
    Profile(
        29,
        ("grafana", "status-page", "cmdb-sync", "capacity-report", "slo-board"),
        (
            ("entities.read", "metrics.read"),
            ("events.read", "problems.read"),
            ("entities.read", "metrics.read", "problems.read", "slo.read"),
        ),
    ),
    Profile(
        12,
        ("release-events", "pipeline", "quality-gate"),
        (("entities.read", "events.ingest"), ("events.ingest", "openpipeline.events_sdlc", "releases.read")),
    ),
    Profile(
        6,
        ("oneagent-rollout", "oneagent-image", "activegate-image"),
        (("InstallerDownload",), ("InstallerDownload", "activeGates.read"), ("InstallerDownload", "entities.read")),
    ),
    Profile(
        4,
        ("browser-checks", "synthetic-results"),
        (("syntheticExecutions.read",), ("syntheticExecutions.read", "syntheticLocations.read")),
    ),
    Profile(
        4, ("vulnerability-sync", "appsec-report"), (("entities.read", "securityProblems.read"), ("attacks.read",))
    ),
    Profile(2, ("log-forensics", "log-export"), (("logs.read",), ("entities.read", "logs.read"))),
    Profile(
        3,
        ("monaco", "terraform", "dashboards-as-code"),
        (
            ("settings.read", "settings.write"),
            ("ReadConfig", "WriteConfig", "settings.read", "settings.write"),
            ("settings.read", "settings.write", "slo.read", "slo.write"),
        ),
        lifetime_days=180,
    ),
    Profile(1, ("siem", "audit-trail"), (("auditLogs.read",),), lifetime_days=180),
    Profile(
        1,
        ("kubernetes-operator",),
        (
            (
                "InstallerDownload",
                "activeGateTokenManagement.create",
                "entities.read",
                "settings.read",
                "settings.write",
            ),
        ),
        lifetime_days=90,
    ),
    Profile(
        0.5,
        ("token-rotation", "vault-sync"),
        (("apiTokens.read", "apiTokens.write"), ("credentialVault.read", "credentialVault.write")),
        lifetime_days=90,
    ),
    Profile(
        2.5,
        ("nagios", "powerbi", "problem-export"),
        (("DataExport",), ("DataExport", "LogExport", "ReadConfig"), ("DTAQLAccess", "DataExport")),
    ),
    Profile(
        1.5,
        ("notebook", "api-explorer"),
        (("entities.read", "metrics.read"), ("entities.read", "logs.read", "metrics.read")),
        lifetime_days=90,
        is_personal=True,
    ),
    Profile(0.5, ("shared-dashboard",), (("ViewDashboard",),), metadata_key="dashboardId"),
)

OVER_PRIVILEGED: Final[tuple[tuple[str, ...], ...]] = (
    (
        "DataExport",
        "ReadConfig",
        "WriteConfig",
        "activeGates.read",
        "apiTokens.read",
        "auditLogs.read",
        "entities.read",
        "entities.write",
        "events.ingest",
        "extensions.read",
        "extensions.write",
        "logs.read",
        "metrics.ingest",
        "metrics.read",
        "problems.read",
        "problems.write",
        "settings.read",
        "settings.write",
    ),
    ("apiTokens.read", "apiTokens.write", "metrics.read"),
    ("credentialVault.read", "settings.read", "settings.write"),
    ("DataExport", "TenantTokenManagement", "WriteConfig"),
    ("logs.ingest", "metrics.ingest", "settings.write"),
)
"""What people give a token when they are in a hurry."""

MACHINES: Final = ("jenkins", "gitlab-runner", "ansible", "nightly-cron", "deploy-bot")
"""Purposes of machines that use a person's token."""

TEAMS: Final = (
    "checkout",
    "search",
    "identity",
    "payments",
    "logistics",
    "catalogue",
    "platform",
    "data",
    "mobile",
    "crm",
)
STAGES: Final = ("prod", "prod", "prod", "eu1", "us2", "ap3")

GIVEN_NAMES: Final = (
    "amara",
    "bruno",
    "chiara",
    "dmitri",
    "elif",
    "farah",
    "goran",
    "hanna",
    "ines",
    "jonas",
    "kofi",
    "lena",
)
FAMILY_NAMES: Final = (
    "abe",
    "bauer",
    "costa",
    "diaz",
    "evans",
    "fischer",
    "gruber",
    "haddad",
    "ivanov",
    "jensen",
    "kaur",
)

AWKWARD_OWNERS: Final = (
    None,
    "",
    "unknown",
    "admin",
    "former.employee",
    "root@localhost",
    "J. Doe (contractor)",
    "n/a",
)
AWKWARD_NAMES: Final = (
    "test",
    "token",
    "My token",
    "TEMP - delete me",
    "new token (2)",
    "loadtest",
    "staging do not use",
)
