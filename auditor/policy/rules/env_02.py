"""DT-ENV-02: a token that by its name belongs to another kind of environment."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Final

from pydantic import Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample, Setting
from auditor.policy.selectors import Regex
from auditor.policy.wording import shortened

_OWNERS_KEPT: Final = 4096
_NON_PRODUCTION: Final = (
    # The look ahead at one letter says what the alternatives say, in half the time.
    r"(?i)(?<![a-z])(?=[dtquspn])(?:dev|devel|development|test|testing|tst|qa|uat|sit|stage|staging|stg|sandbox|sbx|poc|demo"
    r"|playground|preprod|nonprod|non-prod)(?![a-z])"
)
_PRODUCTION: Final = r"(?i)(?<![a-z])(?<!non[-_. ])(?<!pre[-_. ])(?:prod|production|prd)(?![a-z])"


class ForeignNames(Params):
    """What tokens of an environment are not called."""

    regex: Annotated[Mapping[str, Regex], Field(min_length=1)] = {
        "production": _NON_PRODUCTION,
        "test": _PRODUCTION,
    }
    """Kind of environment → regular expression; a token there breaks the rule where it is found in its name or its
    owner."""

    @cached_property
    def search_name(self) -> Mapping[str, Callable[[str], re.Match[str] | None]]:
        """Kind of environment → the search in a name."""
        return {kind: re.compile(pattern).search for kind, pattern in self.regex.items()}

    @cached_property
    def matches_owner(self) -> Mapping[str, Callable[[str], bool]]:
        """Kind of environment → the test of an owner; remembered, since owners have many tokens."""
        return {kind: lru_cache(maxsize=_OWNERS_KEPT)(_finder(pattern)) for kind, pattern in self.regex.items()}


def _finder(pattern: str) -> Callable[[str], bool]:
    search = re.compile(pattern).search
    return lambda text: search(text) is not None


def check(_observation: Observation, token: TokenMetadata, params: ForeignNames, context: Context) -> Violation | None:
    """Fire where the pattern for this kind of environment is found in ``name`` or ``owner``."""
    kind = context.environment_kind
    if kind is None:
        return None
    if token.name and params.search_name[kind](token.name):
        field, value = "name", token.name
    elif token.owner and params.matches_owner[kind](token.owner):
        field, value = "owner", token.owner
    else:
        return None
    return Violation(
        RULE.id,
        Severity.MEDIUM,
        f'its {field} "{shortened(value)}" does not belong in a {kind} environment',
        {"name": token.name, "owner": token.owner, "environment_kind": kind},
    )


def unassessable(params: ForeignNames, setting: Setting) -> str | None:
    """Return a reason where the environment has no kind, or one without a pattern."""
    if setting.environment_kind is None:
        return "the environment has no kind; set kind in its configuration"
    if setting.environment_kind not in params.regex:
        return f'no pattern for environments of kind "{setting.environment_kind}"; add it to regex'
    return None


RULE = Rule(
    id="DT-ENV-02",
    title="Test token in production",
    kind=Kind.SNAPSHOT,
    severity="medium",
    test="name or owner matches the pattern of another kind of environment",
    rationale="What runs in a test system is guarded like one; with a token for production it opens production.",
    remediation=(
        "Find who uses it. Give a test system a token of a test environment, and delete this one; if only the name is "
        "wrong, rename it."
    ),
    controls={
        Framework.OWASP_NHI: ("NHI8:2025",),
        Framework.NIST_800_53: ("AC-6",),
        Framework.ISO_27001: ("A.8.31",),
        Framework.PCI_DSS: ("7.2.2",),
        Framework.CIS: ("16.8",),
        Framework.SOC_2: ("CC6.1",),
    },
    params=ForeignNames,
    check=check,
    unassessable=unassessable,
    example="regex = { production = '(?i)(dev|test|qa)', test = '(?i)prod', sandbox = '(?i)prod' }",
    sample=Sample(metadata={"name": "test-ingest"}),
)
