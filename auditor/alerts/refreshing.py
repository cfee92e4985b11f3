"""Tells hooks again what stands, where the other side forgets: an Alertmanager keeps alerts in memory only."""

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from auditor.alerts.base import Hook, Refreshed
from auditor.model.errors import DeliveryFailed
from auditor.store import told
from auditor.store.connection import Pool
from auditor.store.database import translated

log = structlog.get_logger(__name__)


class Refresher:
    """Knows when each hook was last told what stands; for the first time, that is at once."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._due: dict[str, datetime] = {}

    async def run(self, hooks: Mapping[str, Hook]) -> None:
        """Tell the hooks whose time has come what stands; raises ``StoreUnavailable`` where the database goes away.

        What a hook does not take, it is told when its time comes again.
        """
        for name, hook in hooks.items():
            now = self._clock()
            if not isinstance(hook, Refreshed) or not hook.refresh_every or self._due.get(name, now) > now:
                continue
            self._due[name] = now + hook.refresh_every
            await self._refresh(name, hook, now)

    async def _refresh(self, name: str, hook: Refreshed, now: datetime) -> None:
        with translated():
            async with self._pool.acquire() as connection:
                alerts = await told.standing(connection, name, now - hook.stands_for)
        try:
            if alerts:
                await hook.refresh(alerts, now)
        except DeliveryFailed as failure:
            log.warning("hook_not_refreshed", hook=name, alerts=len(alerts), problem=str(failure))
        except Exception:  # a hook from elsewhere must not take the others down with it
            log.exception("hook_failed", hook=name)
        else:
            log.debug("hook_refreshed", hook=name, alerts=len(alerts))
