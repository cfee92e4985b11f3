"""Makes the alert that tells of a finding, and says of whom a finding is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from auditor.model.finding import Alert, Resolution, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.model.token import Location
from auditor.model.waiver import Waiver
from auditor.policy.base import Rule
from auditor.policy.routing.route import Matter, Topic
from auditor.policy.wording import iso
from auditor.store import findings, outbox


class About(msgspec.Struct, frozen=True, gc=False):
    """Of whom a finding is, as far as alerts and log lines tell."""

    label: str
    """Of the stored token, or the finding's subject."""
    name: str | None
    owner: str | None
    locations: tuple[Location, ...]
    seen: tuple[Observation, TokenMetadata] | None = None
    """What waivers select by; None where it is no stored token, or nothing was ever seen of it."""
    tags: frozenset[str] = frozenset()
    """Of the sources that hold it."""

    @property
    def is_token(self) -> bool:
        """Whether it is a token, which has a place or a name; not the environment, a waiver or a source."""
        return bool(self.locations or self.name)


def matter_of(topic: Topic, environment: str, about: About, violation: Violation) -> Matter:
    """Return what routing looks at of a finding."""
    return Matter(topic, violation.severity, environment, violation.rule_id, about.owner, about.tags)


def finding_alert(
    event: str,
    environment: str,
    about: About,
    violation: Violation,
    rules: Mapping[str, Rule],
    now: datetime,
    *,
    transition: str,
    opened_at: datetime,
    message: str | None = None,
    resolution: Resolution | None = None,
    waiver: Waiver | None = None,
) -> Alert:
    """Return a new alert of a finding.

    ``transition`` is the word for what happened; ``message`` takes the place of the violation's.
    """
    rule = rules.get(violation.rule_id)
    data: dict[str, Any] = {
        "key": findings.key_of(environment, about.label, violation.rule_id, violation.discriminator),
        "environment": environment,
        "token": about.label,
        "token_name": about.name,
        "owner": about.owner,
        "rule": violation.rule_id,
        "title": rule.title if rule else violation.rule_id,
        "severity": violation.severity.value,
        "transition": transition,
        "opened_at": iso(opened_at),
        "message": violation.message if message is None else message,
        "evidence": violation.evidence,
        "locations": [{"source": location.source, "place": location.place} for location in about.locations],
        "rationale": rule.rationale if rule else "",
        "remediation": rule.remediation if rule else "",
        "resolution": resolution.value if resolution else None,
        "waiver": waiver,
    }
    return Alert(
        id=outbox.new_id(), event=event, severity=violation.severity, environment=environment, at=now, data=data
    )
