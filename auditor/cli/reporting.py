"""``auditor report``: writes a report to a file or to standard output."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from auditor.cli.session import Session, now, require_known, run_loop
from auditor.cli.showing import console, writing
from auditor.model.errors import ConfigError, Problem
from auditor.model.spelling import meant
from auditor.policy.base import Framework
from auditor.reports.base import AWS_ACCOUNT, AWS_REGION, Aws, Format
from auditor.reports.period import Period, parse_instant, parse_period
from auditor.reports.reading import snapshot
from auditor.reports.registry import format_of, formats


def report(
    session: Session,
    wanted: str | None,
    output: Path | None,
    *,
    environments: Sequence[str],
    frameworks: Sequence[str],
    resolved_days: int,
    as_of: str | None,
    period: str | None,
    aws_account: str | None,
    aws_region: str | None,
) -> int:
    """Write a report, in the format of the file's name where none is asked for.

    An existing file is replaced only by a whole one.
    """
    form = format_of(output or Path()) if wanted is None else _format(wanted)
    if form.is_binary and (output is None or str(output) == "-") and sys.stdout.isatty():
        raise ConfigError(Problem("--output", f"{form.name} is not text, which a terminal cannot show; name a file"))
    chosen = [_framework(name) for name in frameworks]
    aws = _aws(aws_account, aws_region) if form.name == "asff" else None
    at = now()
    moment = when(at, as_of=as_of, period=period)
    run_loop(
        _write(
            session,
            form,
            output,
            moment,
            at=at,
            environments=environments,
            frameworks=chosen,
            resolved_days=resolved_days,
            aws=aws,
        )
    )
    return 0


def _format(name: str) -> Format:
    """Return the format of that name; raises ``ConfigError`` where there is none."""
    known = formats()
    if name not in known:
        raise ConfigError(Problem("--format", f'unknown format "{name}"; {meant(name, known)}'))
    return known[name]


def _aws(account: str | None, region: str | None) -> Aws:
    """Return where in AWS findings belong; raises ``ConfigError`` with all that is missing or wrong."""
    problems = []
    if account is None or not re.fullmatch(AWS_ACCOUNT, account):
        problems.append(Problem("--aws-account", "asff needs the account that findings belong to, twelve digits"))
    if region is None or not re.fullmatch(AWS_REGION, region):
        problems.append(Problem("--aws-region", "asff needs the region that findings belong to, eu-central-1 say"))
    if account is None or region is None or problems:
        raise ConfigError(*problems)
    return Aws(account, region)


def _framework(name: str) -> Framework:
    """Return the framework of that name; raises ``ConfigError`` where there is none."""
    try:
        return Framework.named(name)
    except ValueError as error:
        raise ConfigError(Problem("--framework", str(error))) from None


class Moment(NamedTuple):
    """What a report is of: now, an earlier instant, or a period."""

    as_of: datetime | None = None
    period: Period | None = None


def when(at: datetime, *, as_of: str | None, period: str | None) -> Moment:
    """Read what a report is to be of; a day that is not over yet is of now. Raises ``ConfigError``."""
    if as_of is not None and period is not None:
        raise ConfigError(Problem("--as-of", "cannot be used with --period, whose end the report is of"))
    try:
        if as_of is not None:
            instant = parse_instant(as_of)
            if instant.date() > at.date():
                raise ConfigError(Problem("--as-of", f"{as_of} is yet to come"))
            return Moment(instant if instant < at else None)
        if period is not None:
            days = parse_period(period)
            if days.start > at:
                raise ConfigError(Problem("--period", f"{period} is yet to come"))
            return Moment(period=days)
    except ValueError as error:
        raise ConfigError(Problem("--as-of" if as_of is not None else "--period", str(error))) from None
    return Moment()


async def _write(
    session: Session,
    wanted: Format,
    output: Path | None,
    moment: Moment,
    *,
    at: datetime,
    environments: Sequence[str],
    frameworks: Sequence[Framework],
    resolved_days: int,
    aws: Aws | None,
) -> None:
    config = session.load()
    require_known(config, environments, "--environment")
    async with (
        session.database(config) as pool,
        snapshot(
            pool,
            now=at,
            resolved_days=resolved_days,
            environments=environments,
            configured=config.urls,
            frameworks=frameworks,
            as_of=moment.as_of,
            period=moment.period,
            schedules=[f"{name}: {one.told}" for name, one in config.document.schedules.items()],
        ) as (data, findings),
    ):
        with destination(output) as out:
            await wanted.write(msgspec.structs.replace(data, aws=aws), findings, out)
    if output is not None and str(output) != "-":
        console(errors=True).print(f"Wrote {output}.")


@contextmanager
def destination(output: Path | None) -> Iterator[BinaryIO]:
    """Open what a report is written to. A file appears whole or not at all; its mode follows the umask.

    Raises ``ConfigError`` where it cannot be written.
    """
    if output is None or str(output) == "-":
        with _standard_output() as out:
            yield out
        return
    target = Path(os.path.realpath(output))  # a link stays, and what it points to is replaced
    try:
        if target.exists() and not target.is_file():  # a device or a pipe is written to, not replaced
            with target.open("wb") as out:
                yield out
        else:
            with _replacing(target) as out:
                yield out
    except OSError as error:
        raise ConfigError(
            Problem(str(output), f"cannot be written: {error.strerror}; choose another --output")
        ) from error


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    with writing():
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
