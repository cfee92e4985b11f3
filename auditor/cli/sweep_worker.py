"""What a process does that sweeps a share of a command's environments, as ``auditor.cli.sharing`` tells it to.

It ends in order, recording what is under way, when it is told to stop, when a signal says so, and when the process that
started it is gone.
"""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from auditor.cli import exits
from auditor.cli.each import sweep_each
from auditor.cli.session import Session, run_loop
from auditor.cli.sharing import GO, Advanced, Failed, PassedOver, Ready, Swept
from auditor.config.load import Config
from auditor.daemon.child import Order, Outbox, standard_input, taken
from auditor.model.errors import AuditorError, ConfigError, SecretUnavailable, ungrouped
from auditor.sweep.subject import Progress

_REPORT_SECONDS: Final = 0.2

log = structlog.get_logger(__name__)


async def _work(session: Session, config: Config, environments: Sequence[str], outbox: Outbox) -> None:
    go, stopping = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    progress = {name: Progress(name) for name in environments}
    async with standard_input() as orders, asyncio.TaskGroup() as beside:
        told = beside.create_task(_listen(orders, go, stopping))
        reported = beside.create_task(_report(progress, outbox))
        await _sweep(session, config, outbox, progress, go, stopping)
        told.cancel()
        reported.cancel()


async def _sweep(
    session: Session,
    config: Config,
    outbox: Outbox,
    progress: Mapping[str, Progress],
    go: asyncio.Event,
    stopping: asyncio.Event,
) -> None:
    environments = list(progress)
    async with (
        session.database(config) as pool,
        session.assembled(config, pool, environments=environments, with_hooks=False) as assembly,
    ):
        outbox.say(Ready())
        await go.wait()
        await sweep_each(
            pool,
            assembly,
            environments,
            progress=progress,
            stopping=stopping,
            swept=lambda summary: outbox.say(Swept(summary)),
            passed_over=lambda name, reason: outbox.say(PassedOver(name, reason)),
        )


async def _listen(orders: asyncio.StreamReader, go: asyncio.Event, stopping: asyncio.Event) -> None:
    """Take what is said until the end of it; anything but ``GO`` means to stop."""
    while await orders.readline() == GO:
        go.set()
    stopping.set()
    go.set()


async def _report(progress: Mapping[str, Progress], outbox: Outbox) -> None:
    """Say how far sweeps are, again and again, where that changed."""
    said: dict[str, Advanced] = {}
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        for name, sweep in progress.items():
            present = Advanced(name, sweep.expected, sweep.enrolled, sweep.done)
            if said.get(name) != present:
                said[name] = present
                outbox.say(present)


def work(session: Session, config: Config, order: Order) -> int:
    """Sweep the environments that standard input names, logging as ordered; return the exit code."""
    session = replace(session, log_format=order.log_format, environ=order.environ(session.environ))
    session.configure_log(config.document.log.level, config.document.log.format)
    environments, outbox = taken(list[str])
    try:
        with ungrouped():
            run_loop(_work(session, config, environments, outbox))
    except ConfigError as error:
        problems = [(problem.place, problem.message) for problem in error.problems]
        outbox.say(Failed(str(error), problems, isinstance(error, SecretUnavailable)))
        return error.exit_code
    except AuditorError as error:
        outbox.say(Failed(str(error)))
        return exits.FAILED
    except Exception:
        log.exception("sweep_worker_failed", environments=environments)
        return exits.FAILED
    return exits.OK
