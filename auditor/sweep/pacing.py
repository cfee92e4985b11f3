"""What a sweep takes over from sweeps before it of how many requests at once its environment serves, and hands on."""

import structlog

from auditor.store import learned
from auditor.store.connection import Connection
from auditor.sweep.subject import Subject

log = structlog.get_logger(__name__)


async def resume(connection: Connection, subject: Subject, environment: int) -> None:
    """Go on from what the last owner of the environment learned, unless this process knows much the same."""
    limit = subject.client.limit
    kept = await learned.learned_limit(connection, environment, subject.clock())
    if kept is None or not learned.is_much_apart(limit.learned or limit.value, kept):
        return
    subject.client.resume(kept)
    log.debug("limit_resumed", environment=subject.name, learned=kept, now=limit.value)


async def keep(connection: Connection, subject: Subject, environment: int) -> None:
    """Hand on what was learned; writes nothing where the next sweep would begin much the same without it."""
    found = subject.client.limit.learned
    if found is not None and await learned.keep_limit(connection, environment, found, subject.clock()):
        log.debug("limit_kept", environment=subject.name, learned=found)
