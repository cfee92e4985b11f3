"""The catalogue: every rule that ships, and those that other packages bring through the entry point ``auditor.rules``."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from auditor.policy.base import Rule
from auditor.policy.rules import exp_01, use_02

SHIPPED: tuple[Rule, ...] = (
    exp_01.RULE,
    use_02.RULE,
)


@cache
def rules() -> Mapping[str, Rule]:
    """Return every rule by id, shipped ones first in the catalogue's order.

    Raises ``ValueError`` where two rules have one id.
    """
    found: dict[str, Rule] = {}
    plugged: list[Rule] = [entry.load() for entry in entry_points(group="auditor.rules")]
    for rule in (*SHIPPED, *plugged):
        if rule.id in found:
            raise ValueError(f"two rules have the id {rule.id}")
        found[rule.id] = rule
    return found
