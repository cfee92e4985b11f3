"""DT-ROT-03: a token that is used although its successor has been there for days."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Rule, Sample
from auditor.policy.fleet import Generation, LineageParams
from auditor.policy.sampling import days_ago
from auditor.policy.wording import day, iso


class Grace(LineageParams):
    """How long consumers may take to move."""

    grace_days: Annotated[int, Field(ge=0, le=36_500, strict=True)] = 3
    """For so many days after the successor was made the old token may be used."""


def check(generation: Generation, params: Grace, _now: datetime) -> Iterator[Violation]:
    """Fire where ``lastUsedDate`` is later than the successor's ``creationDate`` and ``grace_days``."""
    used = generation.last_used_date
    if used is None or used - generation.successor_creation_date <= timedelta(days=params.grace_days):
        return
    # The message names no date of use: a token that is used daily would have its words renewed by every sweep.
    yield Violation(
        RULE.id,
        Severity.HIGH,
        f"used more than {params.grace_days} days after its successor {generation.successor} was made on "
        f"{day(generation.successor_creation_date)}",
        {
            "successor": generation.successor,
            "successor_creation_date": iso(generation.successor_creation_date),
            "last_used_date": iso(used),
            "grace_days": params.grace_days,
        },
    )


RULE = Rule(
    id="DT-ROT-03",
    title="Predecessor still used after rotation",
    kind=Kind.FLEET,
    severity="high",
    test=(
        "of two live tokens of the same owner, name stem and scopes, the earlier one was used more than N days after "
        "the later one was made"
    ),
    rationale=(
        "A consumer was forgotten, or somebody else holds the old token. Either way its end, planned or forced, breaks "
        "something, or should."
    ),
    remediation=(
        "Find who uses the old token (address of the last use) and give them the successor. The finding ends when the "
        "old token is disabled, deleted or expired."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI1:2025", "NHI7:2025"),
        Framework.NIST_800_53: ("IA-5",),
        Framework.ISO_27001: ("A.5.17",),
        Framework.CIS: ("6.2",),
        Framework.SOC_2: ("CC7.2",),
        Framework.NIS2: ("11.5.4",),
    },
    params=Grace,
    check=check,
    candidates=Generation,
    sample=Sample(candidate=Generation(days_ago(0.25), "dt0c01.SUCCESSOREXAMPLEAAAAAAAA", days_ago(12))),
)
