"""Figures that a report's pictures and statements are made of, read beside the findings in the same snapshot."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final

import msgspec

from auditor.model.finding import Severity
from auditor.policy.scopes import RiskTier
from auditor.store import figures
from auditor.store.connection import Connection
from auditor.store.figures import Adherence, AppliedPolicy, OwnerIdleness, SweptDay, WaiverInForce

DAYS_SHOWN: Final = 90
"""How far the pictures over time look back in a report without a period."""
MAX_OWNERS: Final = 12
"""Owners that are named one by one."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the database counted; see ``auditor.store.figures`` for what each figure holds."""

    ages: Mapping[Severity, tuple[int, ...]] = {}
    oldest_opened_at: datetime | None = None
    idleness: Sequence[OwnerIdleness] = ()
    scope_risk: Mapping[str, Mapping[RiskTier, int]] = {}
    adherence: Mapping[Severity, Adherence] = {}
    swept_days: Sequence[SweptDay] = ()
    waivers: Sequence[WaiverInForce] = ()
    policies: Sequence[AppliedPolicy] = ()


async def read(
    connection: Connection,
    now: datetime,
    since: datetime,
    first_day: date,
    environments: Sequence[str] = (),
    rules: Sequence[str] = (),
) -> Figures:
    """Read every figure of some environments, and of some rules' findings, empty for all.

    Findings that ended count from ``since`` on, and sweeps from ``first_day`` on.
    """
    return Figures(
        ages=await figures.ages(connection, now, environments, rules),
        oldest_opened_at=await figures.oldest(connection, now, environments, rules),
        idleness=await figures.idleness(connection, now, environments, most=MAX_OWNERS),
        scope_risk=await figures.scope_risk(connection, now, environments),
        adherence=await figures.adherence(connection, now, since, environments, rules),
        swept_days=await figures.swept_days(connection, first_day, environments),
        waivers=await figures.waivers_in_force(connection, now, environments, rules),
        policies=await figures.applied_policies(connection, environments),
    )
