"""DT-ENV-01: one secret that is stored more than once."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from auditor.model.finding import Severity, Violation
from auditor.model.token import PLACES_LIMIT, Location
from auditor.policy.base import Framework, Kind, NoParams, Rule, Sample
from auditor.policy.fleet import StoredCopies
from auditor.policy.wording import counted, listed

_NAMED: Final = 3
"""How many places a message names of a secret that is known not to be told all of them."""


def check(copies: StoredCopies, _params: NoParams, _now: datetime) -> Iterator[Violation]:
    """Fire where a secret stands in several places, for several environments, or beside another one of its id."""
    if len(copies.locations) > 1:
        places = [f"{location.source} {location.place}" for location in copies.locations]
        if len(places) < PLACES_LIMIT:
            said = f"{len(places)} places: {listed(places)}"
        else:
            said = f"{PLACES_LIMIT} places or more, among them {listed(places[:_NAMED])}"
        yield Violation(
            RULE.id,
            Severity.HIGH,
            f"the same secret is stored in {said}",
            {"places": [{"source": location.source, "place": location.place} for location in copies.locations]},
            discriminator="places",
        )
    if copies.environments:
        count = counted(len(copies.environments), "other environment")
        yield Violation(
            RULE.id,
            Severity.HIGH,
            f"the same secret is stored for {count}, too: {listed(copies.environments)}",
            {"other_environments": list(copies.environments)},
            discriminator="environments",
        )
    if copies.other_secrets:
        yield Violation(
            RULE.id,
            Severity.HIGH,
            f"its public id is stored with another secret, too: {listed(copies.other_secrets)}",
            {"other_tokens": list(copies.other_secrets)},
            discriminator="id",
        )


RULE = Rule(
    id="DT-ENV-01",
    title="Same secret stored twice or for two environments",
    kind=Kind.FLEET,
    severity="high",
    test=(
        "equal keyed fingerprints in several places or environments, or one public id with several secrets; of a "
        f"secret's places {PLACES_LIMIT} are known at most"
    ),
    rationale=(
        "A secret that stands in several places is rotated in all but one of them, and whoever reads the weakest holds "
        "what the strongest guards. A test system that holds a secret of production is part of production."
    ),
    remediation=(
        "Keep one place and let the others refer to it; give each environment and each consumer a token of its own. Of "
        "two secrets with one id, one is a damaged or made-up copy: find it and remove it."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI8:2025", "NHI9:2025"),
        Framework.NIST_800_53: ("IA-4", "IA-5"),
        Framework.ISO_27001: ("A.8.31",),
        Framework.PCI_DSS: ("8.2.2",),
        Framework.CIS: ("16.8",),
        Framework.SOC_2: ("CC6.1",),
        Framework.NIS2: ("11.5.2.a",),
    },
    params=NoParams,
    check=check,
    candidates=StoredCopies,
    ends_with_storage=True,
    sample=Sample(candidate=StoredCopies((Location("deploy", "tokens.env:4"),), ("staging",), ())),
)
