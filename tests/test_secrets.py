"""No secret shows anywhere, whatever happens: everything that auditor leaves is searched for every secret it was given.

The secrets are new in every run. They stand in every kind of source, in the auditor's own tokens, in keys, in a hook
and in the database's URL; some also where people put them by mistake, in the names of tokens.
"""

import asyncio
import base64
import csv
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from auditor.model.secret import Secret
from auditor.simulator import Fault, Faults, Plan, SimulatedToken, Token
from auditor.store import embedded
from tests.command_line import Ended, Site, ended, ordinary_environ
from tests.command_line import site as made
from tests.forking import Command
from tests.leaks import Planted, files_in, new_token, old_token

CONFIGURATION = """\
[database]
url = {{ env = "DATABASE_URL" }}

[encryption]
key = {{ file = "secrets/new.key" }}
previous_keys = [{{ file = "secrets/master.key" }}]

[policy]
files = ["policy.toml"]

[web]
listen = "unix:{directory}/http.sock"

[schedules.hourly]
every = "2s"
jitter_seconds = 0

[environments.prod]
url = "PROD"
token = {{ file = "secrets/own-prod" }}
attempts = 2
read_timeout_seconds = 2
allow_http = true

[environments.staging]
url = "STAGING"
token = {{ command = ["cat", "{directory}/secrets/own-staging"] }}
attempts = 1
allow_http = true

[sources.plain]
type = "plain"
path = "secrets/plain.txt"
environment = "prod"

[sources.dotenv]
type = "dotenv"
path = "secrets/dotenv.env"
variables = ["TOKEN_*"]
environment = "prod"

[sources.json]
type = "json"
path = "secrets/json.json"
token_field = "apps.*.token"
environment = "prod"

[sources.csv]
type = "csv"
path = "secrets/csv.csv"
token_column = "token"
environment = "prod"

[sources.environment]
type = "environment"
variables = ["AUDITED_*"]
environment = "prod"

[sources.directory]
type = "directory"
path = "secrets/directory"
environment = "prod"

[sources.command]
type = "command"
command = ["./source"]
environment = "prod"

[sources.vault]
type = "encrypted"

[sources.staging]
type = "plain"
path = "secrets/staging.txt"
environment = "staging"

[hooks.web]
type = "webhook"
url = "{receiver}"
secret = {{ file = "secrets/hook" }}
min_severity = "info"
allow_http = true

[hooks.program]
type = "command"
argv = ["{directory}/hook"]
environ = ["HOOK_PASSWORD"]
min_severity = "info"
"""

MADE = datetime(2026, 1, 1, tzinfo=UTC)

FAULTS = [fault for fault in Fault if fault is not Fault.PROXY_FORBIDDEN]
"""Those that concern one lookup. A refusal stops the sweep; another environment has it."""


class Receiver(HTTPServer):
    """A webhook's receiver that keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeping)
        self.kept = b""


class _Keeping(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.kept += str(self.headers).encode() + body + b"\n"
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        pass


@contextmanager
def in_thread(serve: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()


class Watch:
    """Notes the command line of every process that begins meanwhile, again and again: it may become another program."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._done = threading.Event()

    def run(self) -> None:
        before = {entry.name for entry in os.scandir("/proc")}
        while not self._done.wait(0.03):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit() and entry.name not in before:
                    try:
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())
                    except OSError:  # it has ended meanwhile
                        continue

    def stop(self) -> None:
        self._done.set()


class Run:
    """A site with secrets everywhere, what was done with it, and what that left."""

    def __init__(self, site: Site, receiver: Receiver) -> None:
        self.site = site
        self.receiver = receiver
        self.planted = Planted()
        self.evidence: dict[str, bytes] = {}
        self.ids: list[str] = []
        """Of the planted tokens that exist."""

    def plant_everywhere(self) -> None:
        site, plant, directory = self.site, self.planted.plant, self.site.directory
        (directory / "secrets" / "directory").mkdir(parents=True)

        def stored(name: str, world: str = "prod") -> list[str]:
            """Four secrets for a source: of both formats, known to the environment and not."""
            known = [plant(f"{name} today's", new_token()), plant(f"{name} old", old_token())]
            for secret in known:
                is_old = not secret.startswith("dt0c01.")
                token_id = f"00000000-0000-4000-8000-{len(self.ids):012}" if is_old else secret.rpartition(".")[0]
                self.ids.append(token_id)
                token = Token(id=token_id, name=name, owner="svc", scopes=("settings.write",), creation_date=MADE)
                site.worlds[world].add(SimulatedToken(secret, token))
            return [*known, plant(f"{name} unknown today's", new_token()), plant(f"{name} unknown old", old_token())]

        write = site.write
        write("secrets/plain.txt", "".join(f"{secret}\n" for secret in stored("plain")))
        write("secrets/dotenv.env", "".join(f"TOKEN_{n}='{secret}'\n" for n, secret in enumerate(stored("dotenv"))))
        apps = {f"app {n}": {"token": secret} for n, secret in enumerate(stored("json"))}
        write("secrets/json.json", json.dumps({"apps": apps}))
        with write("secrets/csv.csv", "").open("w", newline="") as file:
            csv.writer(file).writerows([("token",), *((secret,) for secret in stored("csv"))])
        site.environ |= {f"AUDITED_{n}": secret for n, secret in enumerate(stored("environment"))}
        for number, secret in enumerate(stored("directory")):
            write(f"secrets/directory/{number}", secret)
        write("secrets/command.jsonl", "".join(json.dumps({"token": s}) + "\n" for s in stored("command")))
        write("secrets/staging.txt", "".join(f"{secret}\n" for secret in stored("staging", "staging")))
        write("secrets/vault.txt", "".join(f"{secret}\n" for secret in stored("vault")))

        # By mistake: a token in the name of another, and lines that are no tokens but hold one.
        named = plant("a token's name", new_token())
        site.worlds["prod"].rename(self.ids[0], f"copy of {named}")
        with (directory / "secrets" / "plain.txt").open("a") as file:
            file.write(f"export TOKEN={plant('a broken line', new_token())}\n")
            file.write(f"the old one is {plant('another broken line', old_token())}\n")

        write("secrets/own-prod", plant("own prod", site.worlds["prod"].create("own", ["x"]).secret))
        write("secrets/own-staging", plant("own staging", site.worlds["staging"].create("own", ["x"]).secret))
        write("secrets/master.key", plant("old master key", os.urandom(32).hex()))
        write("secrets/new.key", plant("master key", base64.b64encode(os.urandom(32)).decode()))
        hook = base64.b64encode(os.urandom(32)).decode()
        write("secrets/hook", "whsec_" + plant("webhook secret", hook))
        site.environ["HOOK_PASSWORD"] = plant("hook's variable", old_token())
        password = plant("database password", f"p@ss/{old_token()}:%")
        self.planted.plant("database password, quoted", quote(password, safe=""))
        url = site.environ["DATABASE_URL"]
        site.environ["DATABASE_URL"] = url.replace(
            "postgresql:///", f"postgresql://{embedded.DATABASE_USER}:{quote(password, safe='')}@/"
        )
        _program(site, "source", f"env >> {directory}/left-source-environment\ncat {directory}/secrets/command.jsonl\n")
        _program(site, "hook", f"env | grep -v HOOK_PASSWORD= >> {directory}/left-hook\ncat >> {directory}/left-hook\n")
        site.configure(
            CONFIGURATION.format(
                directory=directory, receiver=f"http://127.0.0.1:{self.receiver.server_port}/services/hook"
            )
        )

    def keep(self, name: str, done: Ended) -> Ended:
        self.evidence[f"output of {name}"] = done.out.encode() + done.err.encode()
        return done

    def call(self, *arguments: str, stdin: bytes = b"") -> Ended:
        words = ("--log-level", "debug", *arguments)
        return self.keep(" ".join(arguments), self.site.run(*words, stdin=stdin))

    def start(self, *arguments: str, log_format: str = "json") -> Command:
        return self.site.forked("--log-level", "debug", "--log-format", log_format, *arguments)


def _program(site: Site, name: str, script: str) -> None:
    site.write(name, f"#!/bin/sh\n{script}").chmod(stat.S_IRWXU)


async def dump(url: str) -> dict[str, bytes]:
    """Every row of every table as text."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables "
            "where schemaname not in ('pg_catalog', 'information_schema')"
        )
        return {
            f"table {table['name']}": "\n".join(
                row["row"] for row in await connection.fetch(f"select t::text as row from {table['name']} t")
            ).encode()
            for table in tables
        }
    finally:
        await connection.close()


def fail_every_way(site: Site, ids: Sequence[str]) -> None:
    plans = tuple(Plan(token_id=token_id, then=FAULTS[n % len(FAULTS)]) for n, token_id in enumerate(ids))
    faults = Faults(plans=plans, latency_seconds=0.05, drip_seconds=0, retry_after_seconds=0)
    site.in_simulator(lambda: site.simulator.environments["prod"].set_faults(faults))
    refusing = Faults(plans=(Plan(then=Fault.PROXY_FORBIDDEN),))
    site.in_simulator(lambda: site.simulator.environments["staging"].set_faults(refusing))


def heal(site: Site) -> None:
    for environment in site.simulator.environments.values():
        site.in_simulator(lambda environment=environment: environment.set_faults(None))  # type: ignore[misc]


def injected(site: Site) -> set[Fault]:
    return {
        fault
        for environment in site.simulator.environments.values()
        if environment.injector
        for fault in environment.injector.injected
    }


def killed_in_the_middle(run: Run) -> Ended:
    """Kill a sweep that waits for its answers."""
    hanging = Faults(plans=(Plan(faults=(None,) * 3, then=Fault.LATENCY),), latency_seconds=20)
    run.site.in_simulator(lambda: run.site.simulator.environments["prod"].set_faults(hanging))
    process = run.start("sweep", "prod")
    while not injected(run.site):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    return ended(process)


async def let_the_database_fail(url: str, *, when: bool) -> None:
    """Make every batch fail in its transaction, with an error that quotes the row; or let it work again."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            """
            create or replace function fail() returns trigger language plpgsql
                as $$ begin raise exception 'cannot write %', new; end $$;
            create trigger fail before insert or update on lookup for each row execute function fail();
            """
            if when
            else "drop trigger fail on lookup"
        )
    finally:
        await connection.close()


def metrics_of_a_service(run: Run) -> bytes:
    """Let ``auditor run`` sweep by schedule, ask it for its metrics, and stop it."""
    process = run.site.started("--log-level", "debug", "--log-format", "json", "run")
    metrics = b""
    deadline = time.monotonic() + 30
    while b'auditor_sweeps_total{environment="prod"' not in metrics:
        assert process.poll() is None, ended(process)
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)
        metrics = asked(run.site.directory / "http.sock", "/metrics")
    process.send_signal(signal.SIGTERM)
    assert run.keep("auditor run", ended(process)).exit_code == 0
    return metrics


def asked(address: Path, path: str) -> bytes:
    """What a service answers on a Unix socket; nothing before it listens."""
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(str(address))
        except OSError:
            return b""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = channel
        connection.request("GET", path)
        return connection.getresponse().read()


def test_no_secret_shows_anywhere_whatever_happens(
    tmp_path: Path, database_url: Secret, server: embedded.Address
) -> None:
    url = database_url.reveal()
    watch, receiver = Watch(), Receiver()
    with (
        receiver,
        in_thread(receiver.serve_forever, receiver.shutdown),
        in_thread(watch.run, watch.stop),
        made(tmp_path, url) as site,
    ):
        run = Run(site, receiver)
        run.plant_everywhere()
        vault = (tmp_path / "secrets" / "vault.txt").read_bytes()
        assert run.call("check").exit_code == 0
        assert run.call("check", "--connect").exit_code == 3  # the broken line
        assert run.call("tokens", "import", "prod", stdin=vault).exit_code == 0
        assert run.call("tokens", "import", "prod", stdin=b"two words: " + vault).exit_code == 2
        assert run.call("tokens", "rotate-key").exit_code == 0
        run.call("tokens", "list")

        fail_every_way(site, run.ids)
        failing = run.keep("a sweep that fails", ended(run.start("sweep", "--all")))
        assert failing.exit_code == 3
        assert injected(site) == set(Fault)
        assert '"level":"debug"' in failing.err
        heal(site)
        good = run.keep("a sweep", ended(run.start("sweep", "--all", log_format="console")))
        assert " complete " in good.out
        asyncio.run(let_the_database_fail(url, when=True))
        for log_format in ("json", "console"):
            crashed = run.keep(f"a crash, {log_format}", ended(run.start("sweep", "prod", log_format=log_format)))
            assert crashed.exit_code == 3
            assert "cannot write" in crashed.err
        asyncio.run(let_the_database_fail(url, when=False))
        assert run.keep("a kill", killed_in_the_middle(run)).exit_code == -signal.SIGKILL
        heal(site)
        run.evidence["metrics"] = metrics_of_a_service(run)

        assert len(run.call("findings", "--json").json()) > 20
        run.call("findings")
        run.call("findings", "show", f"prod/{run.ids[0]}/DT-SCP-01")
        (tmp_path / "reports").mkdir()
        for name in ("html", "json", "csv", "csv-coverage"):
            assert run.call("report", "-f", name, "-o", str(tmp_path / "reports" / name)).exit_code == 0
        site.environ["DATABASE_URL"] = site.environ["DATABASE_URL"].replace("@/", "@127.0.0.1:1/").partition("?")[0]
        assert run.call("sweep", "prod").exit_code == 3

    run.evidence |= asyncio.run(dump(url))
    run.evidence |= files_in(tmp_path, without_folder="secrets")
    run.evidence["log of the database"] = (Path(server.socket_directory) / "log").read_bytes()
    run.evidence["alerts of the webhook"] = receiver.kept
    run.evidence["command lines"] = b"\n".join(watch.seen)
    for where in (
        "alerts of the webhook",
        "file left-hook",
        "file left-source-environment",
        "metrics",
        "table public.vault_entry",
        "command lines",
    ):
        assert len(run.evidence[where]) > 100, where
    assert run.planted.leaks(run.evidence) == []


@pytest.mark.parametrize(
    "shown",
    [
        lambda secret: secret,
        lambda secret: f"token={secret[-30:-4]}",  # a part of it
        lambda secret: secret.lower(),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.b64encode(f"token: {secret}".encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(f"a token: {secret}!".encode()).decode(),
        lambda secret: secret.encode().hex(),
        lambda secret: "".join(f"%{ord(char):02x}" for char in secret),
        lambda secret: "".join(f"\\u{ord(char):04X}" for char in secret),
    ],
)
def test_search_finds_a_secret_in_any_form(shown: Callable[[str], str]) -> None:
    planted = Planted()
    for secret in (planted.plant("today's", new_token()), planted.plant("old", old_token() + old_token())):
        evidence = {"here": f"before {shown(secret)} after".encode()}
        assert {leak.partition(" in ")[0] for leak in planted.leaks(evidence)} in ({"today's"}, {"old"})


def test_search_lets_public_ids_and_other_text_pass() -> None:
    planted = Planted()
    token = planted.plant("one", new_token())
    planted.plant("another", old_token())
    assert planted.leaks({"here": f"{token.rpartition('.')[0]}.… {new_token()} {old_token()}".encode()}) == []


def test_search_finds_a_line_that_leaks() -> None:
    """The log knows no shape of an old token: one that a careless line formats gets through, and is found here."""
    planted = Planted()
    careless = "import os; from auditor.log import configure, log; configure(); log.info('x', value=os.environ['LEAK'])"
    environ = ordinary_environ(LEAK=planted.plant("careless", old_token()))
    done = subprocess.run([sys.executable, "-c", careless], env=environ, capture_output=True, check=True)
    assert "careless in the log, as it is" in planted.leaks({"the log": done.stderr})
    environ["LEAK"] = planted.plant("careful", new_token())
    done = subprocess.run([sys.executable, "-c", careless], env=environ, capture_output=True, check=True)
    assert planted.leaks({"the log": done.stderr}) == []
