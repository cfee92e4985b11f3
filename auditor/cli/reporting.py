"""``auditor report``: writes a report to a file or to standard output."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TextIO

from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import console
from auditor.model.errors import ConfigError, Problem
from auditor.reports.base import Format
from auditor.reports.reading import snapshot
from auditor.reports.registry import formats


def report(session: Session, wanted: str, output: Path | None, environments: Sequence[str], resolved_days: int) -> int:
    """Write a report; an existing file is replaced only by a whole one."""
    known = formats()
    if wanted not in known:
        near = get_close_matches(wanted, known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known)}"
        raise ConfigError(Problem("--format", f'unknown format "{wanted}"; {hint}'))
    run_loop(_write(session, known[wanted], output, environments, resolved_days))
    return 0


async def _write(
    session: Session, wanted: Format, output: Path | None, environments: Sequence[str], resolved_days: int
) -> None:
    config = session.load()
    for name in environments:
        if name not in config.document.environments:
            raise ConfigError(
                Problem(
                    "--environment",
                    f'unknown environment "{name}"; configured are {", ".join(config.document.environments)}',
                )
            )
    async with (
        session.database(config) as pool,
        snapshot(pool, now=now(), resolved_days=resolved_days, environments=environments) as (data, findings),
    ):
        with destination(output) as out:
            await wanted.write(data, findings, out)
    if output is not None and str(output) != "-":
        console(errors=True).print(f"Wrote {output}.")


@contextmanager
def destination(output: Path | None) -> Iterator[TextIO]:
    """Open what a report is written to. A file appears whole or not at all; its mode follows the umask."""
    if output is None or str(output) == "-":
        out = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="", write_through=True)
        try:
            yield out
        finally:
            out.detach()
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    except OSError as error:
        raise ConfigError(
            Problem(str(output), f"cannot be written: {error.strerror}; choose another --output")
        ) from error
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(output)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
