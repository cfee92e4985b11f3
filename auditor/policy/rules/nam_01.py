"""DT-NAM-01: a name that breaks the convention, or that several tokens bear."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from auditor.model.finding import Severity, Violation
from auditor.policy.base import Framework, Kind, Params, Rule, Sample
from auditor.policy.fleet import NamedToken
from auditor.policy.selectors import Regex
from auditor.policy.wording import counted, listed, shortened


class Naming(Params):
    """How tokens are named."""

    regex: Regex | None = None
    """A regular expression that every whole name matches; left out, names only have to differ."""

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """``regex``, compiled."""
        return None if self.regex is None else re.compile(self.regex)


def check(token: NamedToken, params: Naming, _now: datetime) -> Iterator[Violation]:
    """Fire where ``name`` is absent or does not match ``regex``, and where another live token bears it."""
    if params.pattern is not None and params.pattern.fullmatch(token.name or "") is None:
        yield Violation(
            RULE.id,
            Severity.LOW,
            f'its name "{shortened(token.name)}" breaks the convention' if token.name else "it has no name",
            {"name": token.name, "regex": params.regex},
            discriminator="convention",
        )
    if token.bearers > 1:
        others = token.bearers - 1
        more = others - len(token.namesakes)
        named = f"{listed(token.namesakes)}{f' and {more} more' if more else ''}"
        yield Violation(
            RULE.id,
            Severity.LOW,
            f'its name "{shortened(token.name or "")}" is that of {counted(others, "other live token")}, too: {named}',
            {"name": token.name, "other_tokens": others, "namesakes": list(token.namesakes)},
            discriminator="shared",
        )


RULE = Rule(
    id="DT-NAM-01",
    title="Name breaks convention or is ambiguous",
    kind=Kind.FLEET,
    severity="low",
    test="name does not match the convention, or two live tokens of the environment bear it",
    rationale=(
        "In an incident somebody has to know within minutes what a token is for. A name that says nothing, or that two "
        "tokens bear, leads to the wrong one being revoked, or to none."
    ),
    remediation="Rename the token, or its namesake, so that each name says what it is for and stands once.",
    controls={
        Framework.OWASP_NHI: ("NHI9:2025",),
        Framework.NIST_800_53: ("IA-4",),
        Framework.ISO_27001: ("A.5.9",),
        Framework.PCI_DSS: ("8.2.1",),
        Framework.CIS: ("5.5",),
        Framework.SOC_2: ("CC6.2",),
        Framework.NIS2: ("11.2.2.e",),
    },
    params=Naming,
    check=check,
    candidates=NamedToken,
    example="regex = '[a-z]+-[a-z]+-(prod|test)(-20[0-9]{2}-[0-9]{2})?'",
    sample=Sample(candidate=NamedToken("ingest-frankfurt", 2, ("dt0c01.NAMESAKEEXAMPLEAAAAAAAAA",))),
)
