"""``auditor run``: the service."""

import sys

from auditor.cli.session import Session, now, run_loop
from auditor.config.load import Config, load
from auditor.daemon.child import Order, log_format_of
from auditor.daemon.measurements import Retold
from auditor.daemon.role import Role
from auditor.daemon.service import Service
from auditor.log import is_journal


def run(session: Session, role: Role) -> int:
    """Serve until asked to stop."""
    run_loop(service_of(session, role).run())
    return 0


def service_of(session: Session, role: Role, retold: Retold | None = None) -> Service:
    """Return the service that a call of the command line asks for; ``retold`` as ``Service`` takes it."""

    def set_up_log(config: Config) -> None:
        session.configure_log(config.document.log.level, config.document.log.format)

    def order_of(config: Config) -> Order:
        return Order(
            config=str(config.path.absolute()),
            log_format=log_format_of(session.log_format or config.document.log.format),
            log_level=session.log_level,
            is_for_journal=is_journal(sys.stderr, session.environ),
        )

    return Service(
        lambda: load(session.path),
        set_up_log,
        order_of,
        role=role,
        environ=session.environ,
        state=session.state,
        clock=now,
        retold=retold,
    )
