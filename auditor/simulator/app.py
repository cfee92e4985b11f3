"""The simulated environments as an aiohttp application: routes, capacity and faults around the API's calls."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from email.utils import format_datetime

from aiohttp import hdrs, web

from auditor.simulator.answers import Answer, ApiError, error_answer
from auditor.simulator.api import MAX_BODY, Api, Call, secret_in
from auditor.simulator.capacity import Capacity, Pool, Throttled
from auditor.simulator.faults import Faults, Injector
from auditor.simulator.minting import PREFIX
from auditor.simulator.quota import Meter, Quota
from auditor.simulator.wire import NOT_FOUND_PAGE, respond, respond_with, throttled
from auditor.simulator.world import World

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Environment:
    """One simulated environment: its world behind its API, within its capacity, with its faults."""

    def __init__(
        self, world: World, *, capacity: Capacity | None = None, faults: Faults | None = None, seed: int | str = 0
    ) -> None:
        self.api = Api(world)
        self.answers: Counter[int] = Counter()
        """The API's own answers by status, those of faults left out."""
        self.lookups = 0
        """Lookups that reached the API, whatever it answered."""
        self._seed = seed
        self._pool = Pool(capacity, seed) if capacity else None
        self._meter: Meter | None = None
        self._injector = Injector(faults) if faults else None

    @property
    def world(self) -> World:
        """The tokens and what happens to them."""
        return self.api.world

    @property
    def pool(self) -> Pool | None:
        """The thread pool with its counts; None where capacity is unlimited."""
        return self._pool

    @property
    def injector(self) -> Injector | None:
        """The faults with their counts; None where nothing goes wrong."""
        return self._injector

    def set_capacity(self, capacity: Capacity | None) -> None:
        """Change the capacity from now on; None makes it unlimited and forgets the counts. Needs a running loop."""
        if capacity is None:
            self._pool = None
        elif self._pool is None:
            self._pool = Pool(capacity, self._seed)
        else:
            self._pool.resize(capacity, asyncio.get_running_loop().time())

    def set_quota(self, quota: Quota | None) -> None:
        """Serve so many requests in each span from now on, and say so as older clusters do; None: no such limit."""
        self._meter = Meter(quota) if quota else None

    def set_faults(self, faults: Faults | None) -> None:
        """Change the faults from now on; counting of requests starts anew."""
        self._injector = Injector(faults) if faults else None

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes of this environment's API below ``prefix``, such as ``/e/prod`` or nothing."""
        tokens = "/api/v2/apiTokens"
        table: tuple[tuple[str, str, Callable[[Call], Answer]], ...] = (
            (hdrs.METH_POST, f"{tokens}/lookup", self._counted(self.api.lookup_v2)),
            (hdrs.METH_POST, "/api/v1/tokens/lookup", self._counted(self.api.lookup_v1)),
            (hdrs.METH_GET, tokens, self.api.list_tokens),
            (hdrs.METH_POST, tokens, self.api.create_token),
            (hdrs.METH_GET, f"{tokens}/{{id}}", self.api.get_token),
            (hdrs.METH_PUT, f"{tokens}/{{id}}", self.api.update_token),
            (hdrs.METH_DELETE, f"{tokens}/{{id}}", self.api.delete_token),
            (hdrs.METH_ANY, "/api/{rest:.*}", _no_such_call),
        )
        return [web.route(method, prefix + path, self._handler(len(prefix), call)) for method, path, call in table]

    def _counted(self, lookup: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        def counted(call: Call) -> Answer:
            self.lookups += 1
            return lookup(call)

        return counted

    def _handler(self, prefix_length: int, call: Callable[[Call], Answer]) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                body = await request.read()
            except web.HTTPRequestEntityTooLarge:
                return respond(error_answer(413, f"The request's body is larger than {MAX_BODY} bytes."))

            async def answered() -> Answer:
                return await self._answer(request, body, call)

            if self._injector is None:
                return respond(await answered())
            token_id = self._subject(request, body)
            fault = self._injector.next(request.path[prefix_length:], token_id)
            if fault is None:
                return respond(await answered())
            return await respond_with(fault, self._injector.faults, request, token_id, answered)

        return handle

    async def _answer(self, request: web.Request, body: bytes, call: Callable[[Call], Answer]) -> Answer:
        if self._meter is None:
            return await self._answer_unmetered(request, body, call)
        verdict = self._meter.take(asyncio.get_running_loop().time())
        clock = self.world.now
        headers = {"Date": format_datetime(clock, usegmt=True), **self._meter.headers(verdict, clock)}
        if verdict.is_served:
            answer = await self._answer_unmetered(request, body, call)
        else:
            self.answers[429] += 1
            answer = throttled(None)
        return answer._replace(headers={**answer.headers, **headers})

    async def _answer_unmetered(self, request: web.Request, body: bytes, call: Callable[[Call], Answer]) -> Answer:
        if self._pool is not None:
            verdict = self._pool.arrive(asyncio.get_running_loop().time())
            if isinstance(verdict, Throttled):
                retry_after_seconds = self._pool.capacity.retry_after_seconds
                await asyncio.sleep(verdict.after_seconds)
                self.answers[429] += 1
                return throttled(retry_after_seconds)
            await asyncio.sleep(verdict.wait_seconds + verdict.service_seconds)
        try:
            answer = call(
                Call(
                    request.headers.get(hdrs.AUTHORIZATION),
                    request.remote,
                    body,
                    request.query,
                    request.match_info.get("id", ""),
                )
            )
        except ApiError as error:
            answer = error.answer
        self.answers[answer.status] += 1
        return answer

    def _subject(self, request: web.Request, body: bytes) -> str | None:
        """Return the id of the token that a request is about, also where no such token exists; None for others."""
        if (token_id := request.match_info.get("id")) is not None:
            return token_id
        if not request.path.endswith("/lookup"):
            return None
        try:
            secret = secret_in(body)
        except ApiError:
            return None
        token = self.world.by_secret(secret)
        if token is not None:
            return token.id
        return secret.rpartition(".")[0] if secret.startswith(PREFIX) else None


def make_app(environments: Mapping[str, Environment], root: str | None = None) -> web.Application:
    """Return the application: each environment at ``/e/{name}/api/…`` as on Managed, ``root`` at ``/api/…`` as well.

    Any other address answers 404 with an HTML page: a wrong base URL is not a missing token.
    """
    app = web.Application(client_max_size=MAX_BODY)
    for name, environment in environments.items():
        app.add_routes(environment.routes(f"/e/{name}"))
    if root is not None:
        app.add_routes(environments[root].routes(""))
    app.add_routes([web.route(hdrs.METH_ANY, "/{rest:.*}", _no_such_page)])
    return app


def _no_such_call(_call: Call) -> Answer:
    raise ApiError(404, "HTTP 404 Not Found")


async def _no_such_page(_request: web.Request) -> web.Response:
    return respond(NOT_FOUND_PAGE)
