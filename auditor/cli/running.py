"""``auditor run``: the service."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from auditor.cli.session import Session, now, run_loop
from auditor.config.load import Config, load
from auditor.daemon import child
from auditor.daemon.measurements import Retold
from auditor.daemon.role import Role
from auditor.daemon.service import Service


def run(session: Session, role: Role) -> int:
    """Serve until asked to stop."""
    run_loop(service_of(session, role).run())
    return 0


def service_of(
    session: Session,
    role: Role,
    retold: Retold | None = None,
    tables: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Service:
    """Return the service that a call of the command line asks for; ``retold`` as ``Service`` takes it.

    ``tables`` take the place of those in the configuration file, now and when it is read again.
    """

    def set_up_log(config: Config) -> None:
        session.configure_log(config.document.log.level, config.document.log.format)

    def order_of(config: Config) -> child.Order:
        log_format = session.log_format or config.document.log.format
        return child.order_of(config.path, session.log_level, log_format, session.environ)

    return Service(
        lambda: load(session.path).with_tables(tables),
        set_up_log,
        order_of,
        role=role,
        environ=session.environ,
        state=session.state,
        clock=now,
        retold=retold,
    )
