"""``auditor database prune``: removes what is older than it is kept, or says how much that would be."""

from collections.abc import Sequence

from auditor.cli import exits
from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import console, print_json, print_table, text
from auditor.store.retention import agreed
from auditor.sweep.pruning import Kind, Pruned, prune, would_prune


def prune_database(session: Session, *, dry_run: bool, as_json: bool) -> int:
    """Remove what is older than it is kept, or count it; return 3 where another process is at it already."""
    config = session.load()
    kept = config.document.retention

    async def work() -> Sequence[Pruned] | None:
        async with session.database(config) as pool:
            at = await agreed(pool, now())
            if not dry_run:
                return await prune(pool, kept.spans, at, rest=0)
            async with pool.acquire() as connection:
                return await would_prune(connection, kept.spans, at)

    pruned = run_loop(work())
    if pruned is None:
        console(errors=True).print(text("auditor: another process is pruning this database; it does the same work"))
        return exits.FAILED
    if as_json:
        print_json({"is_dry_run": dry_run, "kinds": pruned})
        return exits.OK
    rows = {one.kind: one for one in pruned}
    print_table(
        ("Rows", "Kept for", "Before", "Would go" if dry_run else "Removed"),
        (
            (
                kind.value,
                getattr(kept, kind.value),
                f"{rows[kind].before:%Y-%m-%d %H:%M}" if kind in rows else "",
                str(rows[kind].rows) if kind in rows else "",
            )
            for kind in Kind
        ),
    )
    return exits.OK
