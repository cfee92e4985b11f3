"""Receives the demo's alerts as a team's chat bot would: over HTTP, and only when the signature is right."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web


class Receiver:
    """Counts what it was sent. Verifies as Standard Webhooks 1.0 prescribes."""

    def __init__(self, secret: str) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self.url = ""
        self.received: dict[str, str] = {}
        """The type of each alert, by its id; one that comes twice counts once."""
        self.rejected = 0

    async def receive(self, request: web.Request) -> web.Response:
        """Take one alert."""
        body = await request.read()
        alert_id = request.headers.get("webhook-id", "")
        signed = f"{alert_id}.{request.headers.get('webhook-timestamp', '')}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        if not any(
            hmac.compare_digest(expected, given) for given in request.headers.get("webhook-signature", "").split()
        ):
            self.rejected += 1
            return web.Response(status=401)
        self.received[alert_id] = msgspec.json.decode(body)["type"]
        return web.Response(status=204)


@asynccontextmanager
async def receiving(secret: str) -> AsyncIterator[Receiver]:
    """Serve a receiver on a free loopback port for the length of the block."""
    receiver = Receiver(secret)
    application = web.Application()
    application.add_routes([web.post("/alerts", receiver.receive)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/alerts"
        yield receiver
    finally:
        await runner.cleanup()
