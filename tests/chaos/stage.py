"""A service that is hurt while it works, and the truth that its findings are held against afterwards.

The tokens of the simulated environment break one rule or not, and the test alone decides when that changes. So it is
known what every finding must have gone through, and what the hook must have heard of it, whatever happened to
processes, database, API and hook meanwhile.

``AUDITOR_CHAOS_ROUNDS`` says how often each test hurts; ``AUDITOR_CHAOS_SEED`` repeats what a run drew.
"""

import asyncio
import base64
import json
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil
from aiohttp import web

from auditor.alerts.deliveries import HEARTBEAT
from auditor.model.secret import Secret
from auditor.simulator import Fault
from tests.alerts.receivers import Receiver, receiving
from tests.chaos import account
from tests.chaos.account import ONE_RULE
from tests.daemon.stage import CONFIGURATION, PATIENCE_SECONDS, Running, Site, running, site, until
from tests.forking import Forked

TOKENS: Final = 60
IS_LONG: Final = "AUDITOR_CHAOS_ROUNDS" in os.environ
_WITHIN: Final = """
import asyncio, json, os, pathlib, signal, time

def say(event, **fields):
    # The log may be in the middle of a write, and standard error would take no other.
    os.write(2, json.dumps({"event": event, **fields}).encode() + b"\\n")

signal.signal(signal.SIGUSR2, lambda *_: say("tasks", tasks=len(asyncio.all_tasks())))

def step(*_):
    import time_machine
    step.clock = step.clock or time_machine.travel(time.time(), tick=True).start()
    step.clock.shift(float(pathlib.Path(__file__).with_name("step").read_text()))
    say("stepped")

step.clock = None
signal.signal(signal.SIGUSR1, step)
"""
"""Has a service say how many tasks it has when it is sent SIGUSR2, and step its clock when it is sent SIGUSR1."""
_POLICY: Final = 'name = "chaos"\n' + "".join(f'[rules."{rule}"]\nenabled = false\n' for rule in ONE_RULE["rules"])
_HOOK: Final = """
[hooks.receiver]
type = "webhook"
url = "URL"
secret = {{ env = "HOOK_SECRET" }}
first_sweep = "each"
only = [{{ about = ["opened", "resolved", "reopened"] }}]
allow_http = true

[alerts]
flapping_within = "1s"
"""

PASSING: Final = {
    Fault.LATENCY: 0.05,
    Fault.RESET: 0.1,
    Fault.TRUNCATED: 0.1,
    Fault.DRIP: 0.02,
    Fault.HTML: 0.1,
    Fault.SERVER_ERROR: 0.1,
    Fault.SERVER_ERROR_EMPTY: 0.1,
    Fault.THROTTLED: 0.01,  # which the pauses that follow make slow
    Fault.OVERSIZED: 0.01,
}
"""What happens to what share of the lookups while an environment fails in every way."""


def rounds(few: int) -> int:
    """Return how often to hurt: ``few`` times, or as the environment asks for."""
    return int(os.environ.get("AUDITOR_CHAOS_ROUNDS", few))


@dataclass
class Stage:
    """What is hurt, and what is true."""

    site: Site
    url: Secret
    ids: list[str]
    receiver: Receiver
    random: random.Random
    changes: Counter[str] = field(default_factory=Counter)
    """How often the truth of a token changed, by its id."""
    hook_fails: float = 0.0
    """The share of messages that the hook does not take."""
    taken: Counter[str] = field(default_factory=Counter)
    """The messages that the hook took, by id."""
    excused: Counter[str] = field(default_factory=Counter)
    """How often a kill fell between a message's taking and the record of it, by id: so often it may come again."""
    bodies: dict[str, set[bytes]] = field(default_factory=dict)
    """What each message said, by id, whether the hook took it or not."""
    log: list[dict[str, Any]] = field(default_factory=list)
    """What every service of this stage logged."""
    words: str = ""
    """What they wrote beside it."""
    files: list[Path] = field(default_factory=list)
    """What else may show no secret."""
    seen: list[str] = field(default_factory=list)
    """The secrets that showed while it was looked at."""

    def flip(self) -> None:
        """Change what is true of a few tokens: give them an end, or take it from them."""
        for token_id in self.random.sample(self.ids, 5):
            self.changes[token_id] += 1
            end = datetime.now(UTC) + timedelta(days=60)
            self.site.world.change(token_id, expiration_date=end if self.breaks(token_id) else None)

    def breaks(self, token_id: str) -> bool:
        """Whether a token breaks the rule, in truth."""
        token = self.site.world.get(token_id)
        assert token is not None
        return token.expiration_date is None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Take a message, or fail in one of the ways a receiver does."""
        self.bodies.setdefault(request.headers["webhook-id"], set()).add(await request.read())
        if self.random.random() < self.hook_fails:
            if self.random.random() < 0.5:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=self.random.choice([404, 429, 500, 503]))
        self.taken[request.headers["webhook-id"]] += 1
        return web.Response(status=204)

    @asynccontextmanager
    async def service(self, role: str = "all", *, is_forked: bool = not IS_LONG) -> AsyncIterator[Running]:
        """Run a service for the length of the block; one that is not asked to end before is killed.

        One that is forked is there sooner, but shows another process's command line.
        """
        before = self.taken.copy()
        async with running(self.site, role=role, is_forked=is_forked) as service:
            try:
                yield service
            except BaseException:
                print(*service.events[-20:], service.words, sep="\n")
                raise
        self.log += service.events
        self.words += service.words
        if service.process.returncode == -signal.SIGKILL:
            await self._excuse(before)

    async def _excuse(self, before: Counter[str]) -> None:
        """Note which messages a killed service handed over, since ``before`` was, without coming to record it."""
        await asyncio.sleep(0.05)  # for what it had sent already
        taken = self.taken - before
        async with self.connected() as connection:
            rows = await connection.fetch("select alert_id::text from delivery where state = 'pending'")
        self.excused.update(row["alert_id"] for row in rows if taken[row["alert_id"]])

    async def worked(self, service: Running, lookups: int) -> None:
        """Wait until so many lookups more were made."""
        wanted = self.site.api.lookups + lookups
        await until(lambda: self.site.api.lookups >= wanted, service)

    async def worker_id(self, service: Running) -> object:
        """Return what the queue calls a service, which works it alone."""
        async with self.connected() as connection:
            await until(lambda: bool(service.said("service_started")), service)
            while True:
                picked = await connection.fetchval("select queue_manager_id from queue_job where status = 'picked'")
                if picked is not None:
                    return picked
                await asyncio.sleep(0.01)

    async def time_passes(self, living: object = None) -> None:
        """Have the queue notice who is dead, all but the ``living`` one, as if the time had passed for it."""
        async with self.connected() as connection:
            await connection.execute(
                """
                update queue_job set heartbeat = heartbeat - $1::interval
                where status = 'picked' and queue_manager_id is distinct from $2
                """,
                HEARTBEAT,
                living,
            )
        await self.hurry()

    async def hurry(self) -> None:
        """Have the queue try again at once what waits for another try, and soon what failed."""
        async with self.connected() as connection:
            await connection.execute("update queue_job set execute_after = now() where status = 'queued'")
            await connection.execute("update queue_job set updated = now() - interval '1 hour' where status = 'failed'")

    async def settle(self) -> None:
        """Let a service that nobody hurts work until what is true now is known and told, and end it in order."""
        await self.time_passes()
        async with self.service() as service:
            await self.caught_up(service)
            assert await service.stop() == 0

    async def caught_up(self, service: Running) -> None:
        """Wait for the end of a complete sweep that began after now, and for the hook to have heard of all."""
        begun = len(service.said("sweep_started"))
        # The first to be told of may have begun before.
        sweep = (await service.until("sweep_started", begun + 2))["sweep"]
        await until(
            lambda: any(event["sweep"] >= sweep for event in service.said("sweep_finished", status="complete")), service
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self.connected() as connection:
                while await connection.fetchval("select exists (select 1 from delivery where state = 'pending')"):
                    await self.hurry()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            print(await self.activity())
            raise
        await self._look(service)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Any]:
        """Have a connection to the database for the length of the block."""
        connection = await asyncpg.connect(self.url.reveal())
        try:
            yield connection
        finally:
            await connection.close()

    async def activity(self) -> str:
        """Say what the connections of the database do, and what waits in it."""
        async with asyncio.timeout(10), self.connected() as connection:
            rows = [
                row
                for question in (
                    "select state, wait_event, query_start, left(query, 200) from pg_stat_activity where datname <> ''",
                    "select now(), id, entrypoint, status, attempts, execute_after, heartbeat, updated from queue_job",
                    "select alert_id, state, attempts, claimed_by from delivery where state = 'pending'",
                )
                for row in await connection.fetch(question)
            ]
        return "\n".join(" ".join(map(str, row)) for row in rows)

    async def complaints(self) -> list[str]:
        """Say what does not hold; empty where all does."""
        async with self.connected() as connection:
            return [
                *await account.of_sweeps(connection, len(self.ids)),
                *await account.of_findings(connection, {id_ for id_ in self.ids if self.breaks(id_)}),
                *await account.of_transitions(connection, self.changes),
                *await account.of_alerts(connection, self.taken),
                *await self._secrets(connection),
                *self.seen,
            ]

    def repeats(self) -> list[str]:
        """Say which messages came again though no kill excuses it, or said something else when they did."""
        return [
            f"message {number} was taken {times} times, {1 + self.excused[number]} at most"
            for number, times in self.taken.items()
            if times > 1 + self.excused[number]
        ] + [f"message {number} had {len(said)} bodies" for number, said in self.bodies.items() if len(said) > 1]

    async def step_clock(self, service: Running, by: timedelta) -> None:
        """Step the clock that a service has, and nobody else; wait until it has noticed."""
        stepped, noticed = (len(service.said(event)) for event in ("stepped", "clock_stepped"))
        (self.site.directory / "step").write_text(str(by.total_seconds()))
        service.signal(signal.SIGUSR1)
        await service.until("stepped", stepped + 1)
        await service.until("clock_stepped", noticed + 1)

    async def _look(self, service: Running) -> None:
        """Note which secrets anybody sees who asks for the metrics or lists the machine's processes now."""
        _status, metrics = await service.get("/metrics")
        titles = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        is_shown = any(str(self.site.directory / "auditor.toml") in title for title in titles)
        assert is_shown or isinstance(service.process, Forked)
        self.seen += self._showing({"/metrics": metrics.encode(), "ps": "\n".join(titles).encode()})

    async def _secrets(self, connection: Any) -> list[str]:
        """No secret was logged, told or stored."""
        shown = {"the log": json.dumps(self.log).encode(), "standard error": self.words.encode()}
        shown["a message"] = b"".join(json.dumps(head).encode() + body for head, body in self.receiver.requests)
        shown |= {str(path): path.read_bytes() for path in self.files}
        for (name,) in await connection.fetch("select tablename from pg_tables where schemaname = 'public'"):
            rows = await connection.fetch(f'select t::text from "{name}" t')
            shown[f"table {name}"] = "\n".join(row[0] for row in rows).encode()
        return self._showing(shown)

    def _showing(self, shown: Mapping[str, bytes]) -> list[str]:
        hidden = [secret.rpartition(".")[2] for secret in (self.site.directory / "tokens").read_text().split()]
        hidden += [self.site.environ[name].rpartition(".")[2] for name in ("OWN_TOKEN", "MASTER_KEY")]
        hidden.append(self.site.environ["HOOK_SECRET"].removeprefix("whsec_"))
        return [
            f"a secret shows in {where}"
            for where, content in shown.items()
            if any(secret[:20].encode() in content for secret in hidden)
        ]


@asynccontextmanager
async def stage(directory: Path, url: Secret, *, tokens: int = TOKENS, every: str = "1s") -> AsyncIterator[Stage]:
    """Set everything up but the service, which is to sweep so often."""
    seed = os.environ.get("AUDITOR_CHAOS_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"AUDITOR_CHAOS_SEED={seed}")

    async def answer(request: web.Request) -> web.StreamResponse:
        return await hurt.answer(request)

    async with site(directory, url, tokens=0) as here, receiving(answer) as receiver:
        ids = here.store(tokens)
        (directory / "sitecustomize.py").write_text(_WITHIN)
        here.environ["PYTHONPATH"] = str(directory)
        (directory / "policy.toml").write_text(_POLICY)
        here.environ["HOOK_SECRET"] = f"whsec_{base64.b64encode(os.urandom(32)).decode()}"
        here.write(CONFIGURATION.replace('"1s"', f'"{every}"') + _HOOK.replace("URL", receiver.url))
        hurt = Stage(here, url, ids, receiver, random.Random(seed))
        yield hurt
