"""``auditor database prune``: says what would go, and removes it."""

import asyncio

import asyncpg

from auditor.model.secret import Secret
from tests.command_line import Site


async def fill_the_log(url: Secret) -> None:
    """A line of the queue's log a day, for 41 days."""
    connection = await asyncpg.connect(url.reveal())
    try:
        await connection.execute(
            """
            insert into queue_log (job_id, status, priority, entrypoint, created)
            select n, 'successful', 0, 'sweep:prod', now() - n * interval '1 day' - interval '1 hour'
            from generate_series(40, 0, -1) n
            """
        )
    finally:
        await connection.close()


def test_what_is_older_than_it_is_kept_is_counted_then_removed(site: Site, database_url: Secret) -> None:
    asyncio.run(fill_the_log(database_url))
    site.config.write_text(f'{site.config.read_text()}\n[retention]\nqueue_log = "7d"\nuses = "forever"\n')
    told = site.run("database", "prune", "--dry-run")
    assert told.exit_code == 0
    lines = {line.split()[0]: line.split() for line in told.out.splitlines()[1:]}
    assert lines["uses"] == ["uses", "forever"]
    assert (lines["alerts"][1], lines["alerts"][-1]) == ("90d", "0")
    assert (lines["queue_log"][1], lines["queue_log"][-1]) == ("7d", "34")
    done = site.run("database", "prune", "--json").json()
    assert done["is_dry_run"] is False
    assert {one["kind"]: one["rows"] for one in done["kinds"]} == {"alerts": 0, "queue_log": 34}
    again = site.run("database", "prune", "--dry-run", "--json").json()
    assert [one["rows"] for one in again["kinds"]] == [0, 0]
