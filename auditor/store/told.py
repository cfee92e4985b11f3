"""What a hook was told of findings that are still open."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from auditor.model.finding import Alert, Severity
from auditor.store.connection import Connection


async def standing(connection: Connection, hook: str, since: datetime) -> Sequence[Alert]:
    """Return the last alert that a hook has taken of each finding, oldest first, where it still stands.

    That is: since an instant, and of a finding that is open and that no waiver mutes.
    """
    rows = await connection.fetch(
        """
        select last.id, last.event, last.severity, last.environment, last.at, last.data from (
            select distinct on (a.data->>'key') a.*
            from delivery d join alert a on a.id = d.alert_id
            where d.hook = $1 and d.state = 'delivered' and a.at > $2 and a.event like 'finding.%'
            order by a.data->>'key', a.at desc, a.id
        ) last
        join environment e on e.name = last.environment
        join finding f on f.environment_id = e.id and f.rule_id = last.data->>'rule'
            and f.status = 'open' and f.waiver is null
        left join token t on t.id = f.token_id
        where last.event <> 'finding.resolved'
            and last.data->>'key' =
                concat_ws('/', e.name, coalesce(t.label, f.subject), f.rule_id, nullif(f.discriminator, ''))
        order by last.at, last.id
        """,
        hook,
        since,
    )
    return [
        Alert(
            id=str(row["id"]),
            event=row["event"],
            severity=Severity(row["severity"]),
            environment=row["environment"],
            at=row["at"],
            data=msgspec.json.decode(row["data"], type=dict[str, Any]),
        )
        for row in rows
    ]
