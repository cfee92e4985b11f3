"""Puts an answer on the wire, whole or with a fault on its way."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, assert_never

from aiohttp import web

from auditor.simulator.answers import HTML, Answer, encode, error_answer
from auditor.simulator.faults import Fault, Faults

NOT_FOUND_PAGE: Final = Answer(404, b"<!DOCTYPE html><title>Not Found</title><h1>Not Found</h1>\n", HTML)

_LOGIN_PAGE: Final = Answer(
    200,
    b'<!DOCTYPE html><html><head><title>Sign in</title></head><body><form method="post" action="/sso">'
    b'<input name="user"><input name="password" type="password"></form></body></html>\n',
    HTML,
)
_PROXY_PAGE: Final = Answer(
    403,
    b"<!DOCTYPE html><html><head><title>Access Denied</title></head><body><h1>Access Denied</h1>"
    b"<p>Blocked by the network policy of your organisation.</p></body></html>\n",
    HTML,
)
_CHUNK: Final = b"n" * 65_536
_LINGER_NOT: Final = struct.pack("ii", 1, 0)  # close() then sends RST in place of FIN (socket(7), SO_LINGER)


def respond(answer: Answer) -> web.Response:
    """Return the whole answer as a response."""
    headers = dict(answer.headers)
    if answer.body:
        headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.status, body=answer.body, headers=headers)


def throttled(retry_after_seconds: int | None) -> Answer:
    """Return a 429, with ``Retry-After`` where seconds are given."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return error_answer(429, "Too many requests; the server is under load.", headers=headers)


async def respond_with(
    fault: Fault,
    faults: Faults,
    request: web.Request,
    token_id: str | None,
    answered: Callable[[], Awaitable[Answer]],
) -> web.StreamResponse:
    """Carry ``fault`` out on a request; ``answered`` gives the right answer where the fault needs one."""
    match fault:
        case Fault.LATENCY:
            await asyncio.sleep(faults.latency_seconds)
            return respond(await answered())
        case Fault.RESET:
            return _reset(request)
        case Fault.TRUNCATED:
            return await _truncated(request, await answered())
        case Fault.DRIP:
            return await _dripped(request, await answered(), faults.drip_seconds)
        case Fault.OVERSIZED:
            return await _oversized(request, token_id, faults.oversized_bytes)
        case Fault.HTML:
            return respond(_LOGIN_PAGE)
        case Fault.PROXY_FORBIDDEN:
            return respond(_PROXY_PAGE)
        case Fault.SERVER_ERROR:
            return respond(error_answer(503, "The service is temporarily unavailable."))
        case Fault.SERVER_ERROR_EMPTY:
            return respond(Answer(502))
        case Fault.THROTTLED:
            return respond(throttled(faults.retry_after_seconds))
        case _:
            assert_never(fault)


def _reset(request: web.Request) -> web.Response:
    transport = request.transport
    if transport is not None:  # None: the client was faster
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()
    return web.Response()


async def _truncated(request: web.Request, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    response.content_length = len(answer.body)
    response.force_close()
    with suppress(ConnectionError):  # the client may leave at any time
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
    return response


async def _dripped(request: web.Request, answer: Answer, drip_seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    response.content_length = len(answer.body)
    with suppress(ConnectionError):
        await response.prepare(request)
        for position in range(len(answer.body)):
            await response.write(answer.body[position : position + 1])
            await asyncio.sleep(drip_seconds)
    return response


async def _oversized(request: web.Request, token_id: str | None, size: int) -> web.StreamResponse:
    """Only its size is wrong: a client without a limit would read a good answer."""
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    response.enable_chunked_encoding()
    with suppress(ConnectionError):
        await response.prepare(request)
        await response.write(encode({"id": token_id or "", "enabled": True})[:-1] + b',"name":"')
        for start in range(0, size, len(_CHUNK)):
            await response.write(_CHUNK[: size - start])
        await response.write(b'"}')
    return response
