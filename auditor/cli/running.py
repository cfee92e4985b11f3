"""``auditor run``: the service."""

from auditor.cli.session import Session, now, run_loop
from auditor.config.load import Config, load
from auditor.daemon.role import Role
from auditor.daemon.service import Service


def run(session: Session, role: Role) -> int:
    """Serve until asked to stop."""

    def set_up_log(config: Config) -> None:
        session.configure_log(config.document.log.level, config.document.log.format)

    async def serve() -> None:
        service = Service(
            lambda: load(session.path),
            set_up_log,
            role=role,
            environ=session.environ,
            state=session.state,
            clock=now,
        )
        await service.run()

    run_loop(serve())
    return 0
