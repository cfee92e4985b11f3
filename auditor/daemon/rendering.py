"""Writes the files of a scheduled report, in a process of its own: it may take long, much memory, or go wrong.

The process reads its order, with the database's URL, from standard input, and says on standard output what it wrote.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from auditor.log import configure
from auditor.model.errors import AuditorError, ReportFailed
from auditor.model.secret import Secret
from auditor.policy.base import Framework
from auditor.processes import OutputTooLarge, python_of, run, scrubbed
from auditor.redaction import redact
from auditor.reports.base import Aws, Format
from auditor.reports.period import parse_period
from auditor.reports.reading import snapshot
from auditor.reports.registry import formats
from auditor.reports.sentences import headline, open_totals, waived_totals
from auditor.store.database import connected, translated
from auditor.store.reports import ReportFile, Said

_NICENESS: Final = 10
_WORDS_LIMIT: Final = 300

log = structlog.get_logger(__name__)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, and where."""

    directory: str
    """Absolute; it exists, and holds nothing."""
    stem: str
    """What the names of the files begin with."""
    formats: Sequence[str]
    environments: Sequence[str]
    configured: Mapping[str, str]
    """URLs of every configured environment, by name."""
    frameworks: Sequence[str]
    period: str | None
    resolved_days: int
    schedules: Sequence[str]
    aws: Aws | None
    now: datetime


class Written(msgspec.Struct, frozen=True, tag=True):
    """What was written: whole files, on disk."""

    said: Said
    files: Sequence[ReportFile]


class _Failure(msgspec.Struct, frozen=True, tag=True):
    problem: str


class _Input(msgspec.Struct, frozen=True):
    url: str
    order: Order


async def written(order: Order, server: Secret, environ: Mapping[str, str], *, seconds: float) -> Written:
    """Have the files of an order written by another process; raises ``ReportFailed`` where that fails or takes longer.

    ``server`` is the URL of the database. Cancelled, it ends the process, too.
    """
    try:
        done = await run(
            python_of("auditor.daemon.rendering"),
            environ=scrubbed(environ),
            stdin=msgspec.json.encode(_Input(server.reveal(), order)),
            timeout_seconds=seconds,
        )
    except TimeoutError:
        raise ReportFailed(f"was not made within {seconds:g} s; raise its timeout, or narrow it") from None
    except (OSError, OutputTooLarge) as error:
        raise ReportFailed(f"cannot be made: {error}") from error
    try:
        answer = msgspec.json.decode(done.stdout, type=Written | _Failure)
    except msgspec.DecodeError:
        words = redact(done.stderr)
        log.error("report_process_failed", stem=order.stem, exit_code=done.exit_code, words=words)
        last = (words.splitlines() or ["it left no word"])[-1][:_WORDS_LIMIT]
        raise ReportFailed(f"the process that makes it ended with {done.exit_code}: {last}") from None
    if isinstance(answer, _Failure):
        raise ReportFailed(answer.problem)
    return answer


async def _write(order: Order, server: Secret) -> Written:
    period = None if order.period is None else parse_period(order.period)
    files = []
    async with (
        connected(server, application="auditor report", connections=1) as pool,
        snapshot(
            pool,
            now=order.now,
            resolved_days=order.resolved_days,
            environments=order.environments,
            configured=order.configured,
            frameworks=[Framework.named(name) for name in order.frameworks],
            period=period,
            schedules=order.schedules,
        ) as (data, findings),
    ):
        data = msgspec.structs.replace(data, aws=order.aws)
        for name in order.formats:
            form = formats()[name]
            path = Path(order.directory, f"{order.stem}.{form.suffix}")
            with _on_disk(path) as out:
                await form.write(data, findings, out)
            files.append(_measured(path, form))
    waived = sum(waived_totals(data.environments).values())
    return Written(Said(headline(data), open_totals(data.environments), waived), files)


@contextmanager
def _on_disk(path: Path) -> Iterator[BinaryIO]:
    with path.open("xb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def _measured(path: Path, form: Format) -> ReportFile:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return ReportFile(
        format=form.name, path=str(path), media_type=form.media_type, bytes=path.stat().st_size, sha256=digest
    )


async def _answer(given: _Input) -> Written | _Failure:
    try:
        with translated():
            return await _write(given.order, Secret(given.url))
    except AuditorError as error:
        return _Failure(str(error))
    except OSError as error:
        return _Failure(f"{given.order.directory}: {error.strerror}")


def main() -> None:
    """Read an order from standard input, carry it out, and answer on standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is no answer
    configure("json", "warning", environ=os.environ)
    sys.excepthook = sys.__excepthook__  # whose last line says why; who started this process redacts it
    with suppress(OSError):  # systemd may forbid it
        os.nice(_NICENESS)
    with suppress(OSError):  # where memory runs out, it is this process that goes, and not the daemon or PostgreSQL
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=_Input)
    with answers:
        answers.write(msgspec.json.encode(asyncio.run(_answer(given))))


if __name__ == "__main__":
    main()
