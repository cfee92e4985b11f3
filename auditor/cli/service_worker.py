"""A further process of a service that uses several cores; started by ``auditor.daemon.crew``, not by people.

It works the queue until a signal tells it to stop, or until the process that started it is gone.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog

from auditor.cli import exits
from auditor.cli.running import service_of
from auditor.cli.session import Session, run_loop
from auditor.daemon.child import Order, Outbox, standard_input, taken
from auditor.daemon.crew import ALIVE_SECONDS, Alive
from auditor.daemon.measurements import Retold
from auditor.daemon.role import Role
from auditor.daemon.service import Service
from auditor.model.errors import AuditorError, ConfigError, ungrouped

log = structlog.get_logger(__name__)


async def _serve(order: Order, outbox: Outbox) -> None:
    session = Session(Path(order.config), order.log_level, order.log_format, order.environ(os.environ))
    service = service_of(session, Role.WORKER, Retold(outbox.say), order.tables)
    async with standard_input() as said, asyncio.TaskGroup() as tasks:
        # Its first step takes SIGHUP, and comes before the first word, after which there may be one.
        beside = [tasks.create_task(_stay_alive(service, outbox)), tasks.create_task(_end_with(said))]
        await service.run()
        for task in beside:
            task.cancel()


async def _stay_alive(service: Service, outbox: Outbox) -> None:
    while True:
        outbox.say(Alive(sorted(service.sweeping)))
        await asyncio.sleep(ALIVE_SECONDS)


async def _end_with(said: asyncio.StreamReader) -> None:
    """Stop in order when the process that started this one is gone."""
    await said.read()
    signal.raise_signal(signal.SIGTERM)


def main() -> int:
    """Serve as standard input orders, and return the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the service takes it: it would end the process
    order, outbox = taken(Order)
    try:
        with ungrouped():
            run_loop(_serve(order, outbox))
    except AuditorError as error:
        problems = map(str, error.problems) if isinstance(error, ConfigError) else [str(error)]
        for problem in problems:
            log.error("worker_process_failed", problem=problem)
        return error.exit_code
    except Exception:
        log.exception("worker_process_failed")
        return exits.FAILED
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
