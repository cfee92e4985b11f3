"""DT-SCP-03: scopes that are harmless apart and dangerous together."""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from auditor.model.finding import Severity, Violation
from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, Framework, Kind, Params, Rule, Sample
from auditor.policy.selectors import matcher
from auditor.policy.wording import listed

_SCOPE_SETS_KEPT: Final = 4096
_PAIR: Final = 2


def _combines(combo: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(combo)) < max(_PAIR, len(combo)):
        raise ValueError("a combination needs at least two scopes or globs, each of them once")
    return combo


Combo = Annotated[tuple[str, ...], AfterValidator(_combines)]
"""Scopes or globs that one token should not hold together."""


class ToxicCombinations(Params):
    """Which scopes should not come together."""

    combos: tuple[Combo, ...] = Field(
        default=(
            ("apiTokens.write", "apiTokens.read"),
            ("credentialVault.read", "settings.write"),
            ("auditLogs.read", "apiTokens.write"),
            ("*.ingest", "*.write"),
        ),
        min_length=1,
    )
    """Lists of scopes or globs; a token that has a scope of its own for each element of one list breaks the rule."""

    @cached_property
    def found_in(self) -> Callable[[tuple[str, ...]], tuple[Combo, ...]]:
        """The combinations that a set of scopes holds; remembered, since a fleet has few different sets."""
        compiled = [(combo, [matcher((glob,)) for glob in combo]) for combo in self.combos]

        @lru_cache(maxsize=_SCOPE_SETS_KEPT)
        def find(scopes: tuple[str, ...]) -> tuple[Combo, ...]:
            return tuple(
                combo
                for combo, matches in compiled
                if _is_held(sorted(([scope for scope in scopes if match(scope)] for match in matches), key=len))
            )

        return find


def _is_held(candidates: Sequence[Sequence[str]], taken: frozenset[str] = frozenset()) -> bool:
    """Whether each element can be given a scope of its own out of its candidates; quick when the fewest come first."""
    if not all(candidates):
        return False
    if not candidates:
        return True
    return any(_is_held(candidates[1:], taken | {scope}) for scope in candidates[0] if scope not in taken)


def check(
    _observation: Observation, token: TokenMetadata, params: ToxicCombinations, _context: Context
) -> Violation | None:
    """Fire where the token's scopes hold at least one of ``combos``; one violation names all of them."""
    combos = params.found_in(token.scopes)
    if not combos:
        return None
    return Violation(
        RULE.id,
        Severity.HIGH,
        f"holds scopes that should not come together: {listed([' + '.join(combo) for combo in combos])}",
        {"combos": [list(combo) for combo in combos], "scopes": list(token.scopes)},
    )


RULE = Rule(
    id="DT-SCP-03",
    title="Toxic scope combination",
    kind=Kind.SNAPSHOT,
    severity="high",
    test="scopes hold every element of a listed combination",
    rationale=(
        "Together such scopes let one token do a thing and hide it, or turn a small foothold into a large one: read "
        "what exists and replace it, or send data in and change how it is judged."
    ),
    remediation="Split the token in two, one for each duty, held by different consumers.",
    controls={
        Framework.OWASP_NHI: ("NHI5:2025",),
        Framework.NIST_800_53: ("AC-5", "AC-6"),
        Framework.ISO_27001: ("A.5.3",),
        Framework.PCI_DSS: ("7.2.5",),
        Framework.CIS: ("6.8",),
        Framework.SOC_2: ("CC6.3",),
        Framework.NIS2: ("11.2.2.a",),
    },
    params=ToxicCombinations,
    check=check,
    sample=Sample(metadata={"scopes": ("apiTokens.read", "apiTokens.write")}),
)
