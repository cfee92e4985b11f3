"""Violations and findings: what a rule says, and what becomes of it in the database."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from auditor.model.token import Location
from auditor.model.waiver import Waiver


class Severity(StrEnum):
    """How bad a violation is; ordered by ``rank``."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __init__(self, _word: str) -> None:
        # An attribute rather than a property, since findings are compared by it in every sweep.
        self.rank: int = len(type(self).__members__)
        """Position in the order, 0 (info) to 4 (critical)."""


class Violation(msgspec.Struct, frozen=True, gc=False):
    """What a rule says of an observation that breaks it."""

    rule_id: str
    severity: Severity
    message: str
    """One sentence for a person, with the values that matter; holds outside text, so whoever shows it escapes it."""
    evidence: dict[str, Any] = {}
    """The values that the rule decided on: JSON types only, instants as ISO 8601."""
    discriminator: str = ""
    """Tells several violations of one rule on one token apart; empty where there can be only one."""


class Transition(StrEnum):
    """What happened to a finding."""

    OPENED = "opened"
    ESCALATED = "escalated"
    """Still open, severity rose."""
    EASED = "eased"
    """Still open, severity fell; recorded, not alerted."""
    RESOLVED = "resolved"
    REOPENED = "reopened"
    WAIVED = "waived"
    """Still open, and muted by a waiver from now on, or on other terms than before."""
    LAPSED = "lapsed"
    """Still open, and muted no more; alerted as a reopening."""


class Waived(msgspec.Struct, frozen=True):
    """How an open finding is waived."""

    waiver: Waiver
    severity: Severity
    """The severity that was accepted: the finding's when the waiver, on these terms, was first met."""


class Resolution(StrEnum):
    """Why a finding was resolved."""

    EVIDENCE = "evidence"
    """An observation in which the rule no longer fires."""
    MISSING = "missing"
    """The environment answered in consecutive sweeps that the token does not exist."""
    POLICY = "policy"
    """The policy no longer applies the rule to this token."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A violation that lives in the database."""

    key: str
    """Stable: ``environment/label/rule`` with ``/discriminator`` where there is one; never holds a name."""
    environment: str
    label: str
    """What the token is called: public id, or ``fp:…``."""
    rule_id: str
    severity: Severity
    status: str
    """``open`` or ``resolved``."""
    message: str
    evidence: dict[str, Any]
    token_name: str | None
    owner: str | None
    locations: tuple[Location, ...]
    opened_at: datetime
    """When it was first opened; a reopening does not move it."""
    last_seen_at: datetime
    """When an observation last showed it."""
    resolved_at: datetime | None = None
    resolution: Resolution | None = None
    reopenings: int = 0
    is_stored: bool = True
    """Whether the last complete reading of the sources still held the token."""
    waiver: Waiver | None = None
    """What mutes it, as of the last sweep; it stays open, and its severity what it is. None while it is resolved."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Word of a finding's transition, or of the auditor's own operation, on its way to hooks."""

    id: str
    """UUID; the idempotency key of every delivery of this alert."""
    event: str
    """``finding.opened`` … ``finding.reopened``, ``waiver.lapsing``, ``sweep.failed``, ``report.made``, ``test`` …"""
    severity: Severity
    environment: str
    at: datetime
    data: dict[str, Any]
    """JSON types only; for a finding the fields of ``Finding`` with rule title, rationale and remediation."""
