"""The catalogue: every rule that ships, and those that other packages bring (entry points ``auditor.rules``)."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from auditor.policy.base import Rule
from auditor.policy.document import PolicyDocument
from auditor.policy.rules import (
    aud_01,
    aud_02,
    aud_03,
    aud_04,
    aud_05,
    env_01,
    env_02,
    exp_01,
    exp_02,
    exp_03,
    exp_04,
    exp_05,
    exp_06,
    exp_07,
    fmt_01,
    inv_01,
    inv_02,
    nam_01,
    net_01,
    net_02,
    net_03,
    net_04,
    net_05,
    own_01,
    own_02,
    own_03,
    own_04,
    pat_01,
    pat_02,
    rot_01,
    rot_02,
    rot_03,
    scp_01,
    scp_02,
    scp_03,
    scp_04,
    scp_05,
    scp_06,
    scp_07,
    scp_08,
    sta_01,
    sta_02,
    sta_03,
    sta_04,
    sta_05,
    sta_06,
    use_01,
    use_02,
    use_03,
    use_04,
    use_05,
    use_06,
)
from auditor.policy.written.rules import made_of

SHIPPED: tuple[Rule, ...] = (
    exp_01.RULE,
    exp_02.RULE,
    exp_03.RULE,
    exp_04.RULE,
    exp_05.RULE,
    exp_06.RULE,
    exp_07.RULE,
    rot_01.RULE,
    rot_02.RULE,
    rot_03.RULE,
    use_01.RULE,
    use_02.RULE,
    use_03.RULE,
    use_04.RULE,
    use_05.RULE,
    use_06.RULE,
    net_01.RULE,
    net_02.RULE,
    net_03.RULE,
    net_04.RULE,
    net_05.RULE,
    scp_01.RULE,
    scp_02.RULE,
    scp_03.RULE,
    scp_04.RULE,
    scp_05.RULE,
    scp_06.RULE,
    scp_07.RULE,
    scp_08.RULE,
    own_01.RULE,
    own_02.RULE,
    own_03.RULE,
    own_04.RULE,
    pat_01.RULE,
    pat_02.RULE,
    sta_01.RULE,
    sta_02.RULE,
    sta_03.RULE,
    sta_04.RULE,
    sta_05.RULE,
    sta_06.RULE,
    fmt_01.RULE,
    nam_01.RULE,
    env_01.RULE,
    env_02.RULE,
    inv_01.RULE,
    inv_02.RULE,
    aud_01.RULE,
    aud_02.RULE,
    aud_03.RULE,
    aud_04.RULE,
    aud_05.RULE,
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


def rules_of(document: PolicyDocument) -> Mapping[str, Rule]:
    """Return every rule that a sound policy may apply, by id: the catalogue, then the rules that the policy writes."""
    return {**rules(), **made_of(document.rule)}
