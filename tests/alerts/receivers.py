"""A webhook's receiver on a real socket, and messages to send."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from aiohttp import web

from auditor.model.finding import Alert, Severity
from auditor.model.message import Message

PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
TOKEN = f"{PUBLIC_ID}.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def alert(**data: Any) -> Alert:
    return Alert(
        id="0b4c4f5e-8a1f-4e0e-9d0c-2f8b1a3c5d7e",
        event="finding.opened",
        severity=Severity.HIGH,
        environment="prod",
        at=datetime(2026, 11, 24, 9, 30, tzinfo=timezone(timedelta(hours=1))),
        data={"token": PUBLIC_ID, "rule": "DT-EXP-01", **data},
    )


def message(**data: Any) -> Message:
    """The message of that alert."""
    return Message.of_one(alert(**data))


def digest(*alerts: Alert, more: int = 0, **of: Any) -> Message:
    """A digest of these alerts, and of more of the last one's severity."""
    counts = Counter(alert.severity for alert in alerts) + Counter({alerts[-1].severity: more})
    return Message(
        id="7c0b7b4c-5a55-4b7e-9a43-1f6d3c2e9b10",
        at=datetime(2026, 11, 24, 8, tzinfo=UTC),
        alerts=alerts,
        is_digest=True,
        counts=counts,
        more=more,
        **{"environment": "prod", **of},
    )


class Receiver:
    """What arrived, and where to send to."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.is_released = asyncio.Event()


@asynccontextmanager
async def receiving(answer: Answer) -> AsyncIterator[Receiver]:
    """Answer every request with ``answer`` for the length of the block."""
    receiver = Receiver()

    async def handle(request: web.Request) -> web.StreamResponse:
        receiver.requests.append(
            ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield receiver
    finally:
        receiver.is_released.set()
        await runner.cleanup()


def answering(status: int, body: str = "", **headers: str) -> Answer:
    """Return an answer that is always the same; ``_`` in a header's name stands for ``-``."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status, text=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


def now() -> datetime:
    """The receiver's clock: Standard Webhooks refuses a timestamp that is five minutes off."""
    return datetime.now(UTC)
