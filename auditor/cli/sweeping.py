"""``auditor sweep``: sweeps environments once, delivers alerts, prints the account."""

import asyncio
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from auditor.alerts.refreshing import Refresher
from auditor.cli import exits
from auditor.cli.each import sweep_each
from auditor.cli.forking import Copy, copies
from auditor.cli.progress import watched
from auditor.cli.session import Session, now, require_known, run_loop
from auditor.cli.sharing import shares, sweep_shared
from auditor.cli.showing import console, print_json, print_table, text
from auditor.cli.sweep_worker import work
from auditor.config.assembly import Assembly
from auditor.config.load import Config
from auditor.daemon.child import order_of
from auditor.model.errors import ConfigError, Problem
from auditor.model.finding import Severity
from auditor.model.sweep import SweepStatus, SweepSummary
from auditor.store import findings
from auditor.store.connection import Pool
from auditor.store.database import translated
from auditor.store.sweeps import last_enrolled
from auditor.sweep.subject import Progress


def sweep(
    session: Session,
    environments: Sequence[str],
    *,
    all_environments: bool,
    fail_on: str | None,
    deliver_seconds: float,
    as_json: bool,
    workers: int = 1,
) -> int:
    """Sweep and return the exit code: 3 where a sweep failed or was incomplete, else 1 where ``fail_on`` is met.

    SIGINT and SIGTERM end the sweeps in order: what is under way is recorded, no alert is delivered.
    ``workers`` processes share the environments; each environment is swept by one of them.
    """
    least = Severity(fail_on) if fail_on else None
    config = session.load()
    names = _wanted(config, environments, all_environments)
    number = min(workers, len(names))
    log_format = session.log_format or config.document.log.format
    order = order_of(config.path, session.log_level, log_format, session.environ)
    if config.hooks:
        import auditor.alerts.deliveries  # noqa: F401 -- once for all copies
    with copies(number, lambda: work(session, config, order)) if number > 1 else nullcontext(()) as made:
        return run_loop(_sweep(session, config, names, made, least, deliver_seconds, as_json))


async def _sweep(
    session: Session,
    config: Config,
    names: Sequence[str],
    made: Sequence[Copy],
    fail_on: Severity | None,
    deliver_seconds: float,
    as_json: bool,
) -> int:
    stop = _Stop()
    async with (
        session.database(config) as pool,
        session.assembled(config, pool, environments=() if made else names) as assembly,
    ):
        progress = {name: Progress(name) for name in names}
        with watched(progress.values()), stop.listening():
            if made:
                summaries = await _sweep_shared(pool, made, names, progress, stop)
            else:
                summaries = await _sweep_here(pool, assembly, names, progress, stop)
        summaries.sort(key=lambda summary: names.index(summary.environment))
        with translated():
            if stop.exit_code is None:
                await _deliver(pool, assembly, deliver_seconds)
            async with pool.acquire() as connection:
                counts = await findings.count_open(connection, now())
                waived = await findings.count_waived(connection, now())
        if stop.exit_code is None:
            await Refresher(pool, now).run(assembly.hooks)
    if as_json:
        print_json(
            {
                "sweeps": summaries,
                "open_findings": {name: counts.get(name, {}) for name in names},
                "waived_findings": {name: waived.get(name, {}) for name in names},
            }
        )
    else:
        print_account(summaries, counts, waived)
    if stop.exit_code is not None:
        return stop.exit_code
    if any(summary.status is not SweepStatus.COMPLETE for summary in summaries) or len(summaries) < len(names):
        return exits.FAILED
    return exits.FOUND if fail_on is not None and _is_met(fail_on, counts, names) else exits.OK


async def _deliver(pool: Pool, assembly: Assembly, seconds: float) -> None:
    """Deliver what is due; where alerts are given up over it, other hooks are told in the same run."""
    due = assembly.due(pool)
    await due.make(now())
    if not assembly.hooks:
        return
    from auditor.alerts.deliveries import drain  # with the queue's library, which a sweep without hooks can save

    await drain(pool, assembly.hooks, clock=now, seconds=seconds, routing=assembly.routing)
    if await due.make(now(), is_thorough=False):
        await drain(pool, assembly.hooks, clock=now, seconds=seconds, routing=assembly.routing)


def _wanted(config: Config, environments: Sequence[str], all_environments: bool) -> Sequence[str]:
    known = config.document.environments
    require_known(config, environments, "sweep")
    if all_environments == bool(environments):
        raise ConfigError(Problem("sweep", f"name environments, or give --all; configured are {', '.join(known)}"))
    return list(known) if all_environments else list(dict.fromkeys(environments))


class _Stop:
    """Takes SIGINT and SIGTERM: the first asks sweeps to end in order, the next cancels the command."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.exit_code: int | None = None
        """What the command ends with; None where nobody asked."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals for the length of the block; after it, they cancel."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        is_orderly = True

        def ask(number: signal.Signals) -> None:
            if is_orderly and self.exit_code is None:
                self.exit_code = 128 + number
                self.asked.set()
                console(errors=True).print("Stopping: recording what is under way. Once more to stop at once.")
            else:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ask, number)
        try:
            yield
        finally:
            is_orderly = False


async def _sweep_here(
    pool: Pool, assembly: Assembly, names: Sequence[str], progress: Mapping[str, Progress], stop: _Stop
) -> list[SweepSummary]:
    summaries: list[SweepSummary] = []
    await sweep_each(
        pool,
        assembly,
        names,
        progress=progress,
        stopping=stop.asked,
        swept=summaries.append,
        passed_over=lambda _name, reason: console(errors=True).print(text(f"auditor: {reason}")),
    )
    return summaries


async def _sweep_shared(
    pool: Pool, made: Sequence[Copy], names: Sequence[str], progress: Mapping[str, Progress], stop: _Stop
) -> list[SweepSummary]:
    """Sweep in copies of this process, which get about as many tokens each, as far as earlier sweeps tell."""
    with translated():
        async with pool.acquire() as connection:
            enrolled = await last_enrolled(connection)
    weights = {name: enrolled.get(name, 0) for name in names}
    return await sweep_shared(made, shares(weights, len(made)), progress=progress, stopping=stop.asked)


def _is_met(fail_on: Severity, counts: Mapping[str, Mapping[Severity, int]], names: Sequence[str]) -> bool:
    return any(
        number and severity.rank >= fail_on.rank for name in names for severity, number in counts.get(name, {}).items()
    )


def print_account(
    summaries: Sequence[SweepSummary],
    counts: Mapping[str, Mapping[Severity, int]],
    waived: Mapping[str, Mapping[Severity, int]],
) -> None:
    """Print how sweeps ended and what is open; ``counts`` are without what is ``waived``."""
    severities = [severity.value for severity in Severity]
    print_table(
        ("Environment", "Sweep", "Enrolled", "Found", "Missing", "Refused", "Failed", *severities, "waived"),
        (
            (
                summary.environment,
                summary.status.value,
                str(summary.enrolled),
                str(summary.found),
                str(summary.missing),
                str(summary.refused),
                str(summary.failed),
                *(str(counts.get(summary.environment, {}).get(severity, 0)) for severity in Severity),
                str(sum(waived.get(summary.environment, {}).values())),
            )
            for summary in summaries
        ),
    )
    out = console()
    for summary in summaries:
        if summary.status is SweepStatus.RUNNING:
            out.print(text(f"{summary.environment}: stopped before its end; the next sweep goes on where this one was"))
        for reason, number in sorted(summary.reasons.items(), key=lambda item: -item[1]):
            out.print(text(f"{summary.environment}: {number} not audited: {reason}"))
        for source, problem in summary.source_problems.items():
            out.print(text(f"{summary.environment}: source {source}: {problem}"))
