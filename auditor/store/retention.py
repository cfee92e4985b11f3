"""What is forgotten: alerts that are long delivered or dead, with their attempts, and the queue's log."""

from datetime import datetime
from typing import Final

from auditor.store.connection import Connection

_AT_ONCE: Final = 5000


async def forget(connection: Connection, before: datetime) -> int:
    """Delete alerts from before an instant that nothing is to be done about any more; return how many."""
    forgotten = 0
    while True:
        rows = await connection.fetch(
            """
            delete from alert where id in (
                select a.id from alert a where a.at < $1 and not exists (
                    select from delivery d left join delivery g on g.alert_id = d.digest_id and g.hook = d.hook
                    where d.alert_id = a.id and (d.state in ('held', 'pending') or g.state = 'pending')
                ) limit $2
            ) returning 1
            """,
            before,
            _AT_ONCE,
        )
        forgotten += len(rows)
        if len(rows) < _AT_ONCE:
            break
    await connection.execute("delete from queue_log where created < $1", before)
    return forgotten
