"""Reports that were made: whose turn it is, how it went, and which files there are."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from auditor.model.finding import Severity
from auditor.store.connection import Connection, Row
from auditor.store.rows import as_json


class ReportStatus(StrEnum):
    """How a report stands."""

    WAITING = "waiting"
    """Yet to be made, or to be tried again."""
    MADE = "made"
    FAILED = "failed"
    """Given up."""


class Said(msgspec.Struct, frozen=True):
    """What a report says in short."""

    headline: str
    """One sentence."""
    open: Mapping[Severity, int]
    """Open findings that no waiver covers, by severity."""
    waived: int


class ReportFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a report, as it was written."""

    format: str
    path: str
    """Absolute, on the host that made it."""
    media_type: str
    bytes: int
    sha256: str
    """In hexadecimal."""
    deleted_at: datetime | None = None
    """When it made room for a newer one; None: it did not yet."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One report that was made, or is to be."""

    id: int
    name: str
    """Of its table in the configuration."""
    slot: datetime | None
    """The slot of its schedule; None where it was made by hand."""
    period: str | None
    """The days that it is of; None: it is of the instant at which it was made."""
    asked_at: datetime
    status: ReportStatus
    failures: int
    problem: str
    """Why it failed last; empty where it never did."""
    made_at: datetime | None
    host: str | None
    """On whose disk its files are."""
    said: Said | None
    files: Sequence[ReportFile]


async def take_slot(connection: Connection, name: str, slot: datetime, period: str | None, now: datetime) -> int | None:
    """Take a slot of a report's schedule and return the id of the report to be made.

    None where it was taken before, or a later one was, or where the report is new: then it is due from its next slot
    on. In the transaction that enqueues the making. A slot later than ``now`` was taken under a clock that was ahead.
    """
    if await connection.fetchval(
        "insert into report_slot (name, slot) values ($1, $2) on conflict do nothing returning true", name, slot
    ):
        return None
    number: int | None = await connection.fetchval(
        """
        with taken as (update report_slot set slot = $2 where name = $1 and (slot < $2 or slot > $4) returning name)
        insert into report (name, slot, period, asked_at) select name, $2, $3, $4 from taken
        on conflict (name, slot) do nothing returning id
        """,
        name,
        slot,
        period,
        now,
    )
    return number


async def ask(connection: Connection, name: str, period: str | None, now: datetime) -> int:
    """Note that a report is to be made by hand; return its id."""
    number: int = await connection.fetchval(
        "insert into report (name, period, asked_at) values ($1, $2, $3) returning id", name, period, now
    )
    return number


async def made(
    connection: Connection, number: int, said: Said, files: Sequence[ReportFile], host: str, now: datetime
) -> bool:
    """Note that a waiting report was made; False, and nothing is noted, where it does not wait any more."""
    is_first = await connection.fetchval(
        """
        update report set status = 'made', made_at = $2, host = $3, said = $4
        where id = $1 and status = 'waiting' returning true
        """,
        number,
        now,
        host,
        as_json(said),
    )
    if not is_first:
        return False
    await connection.execute(
        """
        insert into report_file (report_id, format, path, media_type, bytes, sha256)
        select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[])
        """,
        number,
        [file.format for file in files],
        [file.path for file in files],
        [file.media_type for file in files],
        [file.bytes for file in files],
        [bytes.fromhex(file.sha256) for file in files],
    )
    return True


async def failed(connection: Connection, number: int, problem: str, *, is_given_up: bool) -> None:
    """Note that an attempt to make a report failed."""
    await connection.execute(
        "update report set failures = failures + 1, problem = $2, status = $3 where id = $1 and status = 'waiting'",
        number,
        problem,
        (ReportStatus.FAILED if is_given_up else ReportStatus.WAITING).value,
    )


async def report(connection: Connection, number: int) -> Report:
    """Return a report, which must be there."""
    (row,) = await connection.fetch(f"{_REPORTS} where r.id = $1", number)
    return _report(row)


async def read(connection: Connection, name: str | None, limit: int) -> Sequence[Report]:
    """Return the reports of one name, or all, the newest first."""
    rows = await connection.fetch(
        f"{_REPORTS} where ($1::text is null or r.name = $1) order by r.id desc limit $2", name, limit
    )
    return [_report(row) for row in rows]


async def surplus(connection: Connection, name: str, keep: int) -> Sequence[tuple[int, str, ReportFile]]:
    """Return the files of a report beyond the newest so many of each format: the report's id, its host, and the file.

    Each format has a count of its own, so that a format that was taken out keeps its last files.
    """
    rows = await connection.fetch(
        """
        select * from (
            select f.*, r.host, row_number() over (partition by f.format order by r.made_at desc, r.id desc) as place
            from report_file f join report r on r.id = f.report_id where r.name = $1 and f.deleted_at is null
        ) kept where place > $2
        """,
        name,
        keep,
    )
    return [(row["report_id"], row["host"], _file(row)) for row in rows]


async def deleted(connection: Connection, files: Sequence[tuple[int, str]], now: datetime) -> None:
    """Note that files are gone, by their report's id and format."""
    await connection.execute(
        """
        update report_file f set deleted_at = $3 from unnest($1::bigint[], $2::text[]) as gone (report_id, format)
        where f.report_id = gone.report_id and f.format = gone.format
        """,
        [number for number, _format in files],
        [name for _number, name in files],
        now,
    )


async def last_made(connection: Connection) -> Mapping[str, datetime]:
    """Return when each report was last made."""
    return {
        row["name"]: row["at"]
        for row in await connection.fetch(
            "select name, max(made_at) as at from report where status = 'made' group by name"
        )
    }


_REPORTS = """
    select r.*, array(
        select to_jsonb(f) - 'sha256' || jsonb_build_object('sha256', encode(f.sha256, 'hex'))
        from report_file f where f.report_id = r.id order by f.format
    ) as files from report r
"""


def _report(row: Row) -> Report:
    return Report(
        id=row["id"],
        name=row["name"],
        slot=row["slot"],
        period=row["period"],
        asked_at=row["asked_at"],
        status=ReportStatus(row["status"]),
        failures=row["failures"],
        problem=row["problem"],
        made_at=row["made_at"],
        host=row["host"],
        said=None if row["said"] is None else msgspec.json.decode(row["said"], type=Said),
        files=[msgspec.json.decode(file, type=ReportFile) for file in row["files"]],
    )


def _file(row: Row) -> ReportFile:
    return ReportFile(
        format=row["format"],
        path=row["path"],
        media_type=row["media_type"],
        bytes=row["bytes"],
        sha256=row["sha256"].hex(),
        deleted_at=row["deleted_at"],
    )
