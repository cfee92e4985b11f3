"""``auditor run``: the service."""

from auditor.cli.session import Session, now, run_loop
from auditor.daemon.service import Service


def run(session: Session) -> int:
    """Serve until asked to stop."""

    async def serve() -> None:
        await Service(session.load, environ=session.environ, state=session.state, clock=now).run()

    run_loop(serve())
    return 0
