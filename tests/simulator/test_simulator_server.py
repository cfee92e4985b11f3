import asyncio
import logging
import re
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from auditor.simulator.__main__ import main
from auditor.simulator.capacity import Capacity
from auditor.simulator.faults import Fault, Faults, Plan
from auditor.simulator.fleet import secrets
from auditor.simulator.server import serve
from auditor.simulator.token import SimulatedToken
from auditor.simulator.world import SteppedClock, World

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


class Served:
    """An environment with two tokens on a socket, and a client that looks them up."""

    def __init__(self, session: aiohttp.ClientSession, url: str, own: SimulatedToken, other: SimulatedToken) -> None:
        self.session, self.url, self.own, self.other = session, url, own, other

    async def lookup(self, token: SimulatedToken | None = None) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        async with self.session.post(
            f"{self.url}/api/v2/apiTokens/lookup",
            json={"token": (token or self.other).secret},
            headers={"Authorization": f"Api-Token {self.own.secret}"},
        ) as response:
            return response.status, response.content_type, await response.read()


@asynccontextmanager
async def served(faults: Faults | None = None, capacity: Capacity | None = None) -> AsyncIterator[Served]:
    world = World(clock=SteppedClock(NOW))
    own, other = (world.create(name, ["metrics.read"]) for name in ("own", "other"))
    async with (
        serve({"prod": world}, faults=faults, capacity=capacity) as simulator,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Served(session, simulator.url("prod"), own, other)


def always(fault: Fault, **settings: float) -> Faults:
    return Faults(plans=(Plan(then=fault),), **settings)  # type: ignore[arg-type]  # numbers only


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> object:
    """No fault and no shutdown makes the server itself log an error."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_environments_answer_each_for_itself_and_root_without_a_path() -> None:
    clock = SteppedClock(NOW)
    worlds = {name: World(clock=clock, seed=name) for name in ("prod", "dev")}
    own = {name: world.create(name, ["apiTokens.read"]) for name, world in worlds.items()}
    async with serve(worlds, root="dev") as simulator, aiohttp.ClientSession() as session:

        async def status(base_url: str, token: SimulatedToken) -> int:
            headers = {"Authorization": f"Api-Token {token.secret}"}
            async with session.get(f"{base_url}/api/v2/apiTokens", headers=headers) as response:
                return response.status

        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/e/prod", simulator.url("prod"))
        assert simulator.url("dev") == simulator.base_url
        assert await status(simulator.url("prod"), own["prod"]) == 200
        assert await status(simulator.url("dev"), own["dev"]) == 200
        assert await status(f"{simulator.base_url}/e/dev", own["dev"]) == 200
        assert await status(simulator.url("prod"), own["dev"]) == 401
        with pytest.raises(KeyError, match="prod, dev"):
            simulator.url("test")


async def test_wrong_base_url_answers_a_page_that_is_not_the_apis() -> None:
    async with (
        served() as environment,
        environment.session.post(f"{environment.url}x/api/v2/apiTokens/lookup") as response,
    ):
        assert (response.status, response.content_type) == (404, "text/html")


@pytest.mark.parametrize(("worlds", "root"), [(["a/b"], None), ([""], None), (["a"], "b")])
async def test_names_that_cannot_be_served_are_refused(worlds: list[str], root: str | None) -> None:
    with pytest.raises(ValueError, match="simulated environment"):
        async with serve({name: World(clock=SteppedClock(NOW)) for name in worlds}, root=root):
            pass


async def test_port_is_free_again_after_the_block() -> None:
    worlds = {"prod": World(clock=SteppedClock(NOW))}
    async with serve(worlds) as simulator:
        port = int(simulator.base_url.rpartition(":")[2])
    async with serve(worlds, port=port) as simulator:
        assert simulator.base_url.endswith(f":{port}")


async def test_serves_https_with_a_certificate(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate)
    client_side = ssl.create_default_context(cafile=str(certificate))
    client_side.check_hostname = False
    faults = Faults(plans=(Plan((None,), then=Fault.RESET),))
    world = World(clock=SteppedClock(NOW))
    async with (
        serve({"prod": world}, ssl_context=server_side, faults=faults) as simulator,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_side)) as session,
    ):
        assert simulator.url("prod").startswith("https://")
        async with session.get(f"{simulator.url('prod')}/api/v2/apiTokens") as response:
            assert response.status == 401
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{simulator.url('prod')}/api/v2/apiTokens")


def make_certificate(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


async def test_without_faults_a_lookup_succeeds() -> None:
    async with served(Faults()) as environment:
        status, content_type, body = await environment.lookup()
        assert (status, content_type) == (200, "application/json")
        assert environment.other.token.id.encode() in body


async def test_latency_delays_the_right_answer() -> None:
    async with served(always(Fault.LATENCY, latency_seconds=0.05)) as environment:
        waiting = asyncio.create_task(environment.lookup())
        done, _ = await asyncio.wait([waiting], timeout=0.02)
        assert not done
        assert (await waiting)[0] == 200


async def test_client_that_gives_up_does_not_hold_the_server() -> None:
    async with asyncio.timeout(5), served(always(Fault.LATENCY, latency_seconds=3_600)) as environment:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await environment.lookup()


async def test_reset_is_a_connection_reset_by_the_peer() -> None:
    async with served(always(Fault.RESET)) as environment:
        with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
            await environment.lookup()


async def test_truncated_answer_ends_before_its_content_length() -> None:
    async with served(always(Fault.TRUNCATED)) as environment:
        with pytest.raises(aiohttp.ClientPayloadError):
            await environment.lookup()


async def test_dripping_answer_is_whole_in_the_end() -> None:
    async with served(always(Fault.DRIP, drip_seconds=0.0)) as environment:
        whole = await environment.lookup()
        assert (whole[0], whole[2][:1], whole[2][-1:]) == (200, b"{", b"}")


async def test_client_can_leave_a_dripping_answer() -> None:
    async with asyncio.timeout(5), served(always(Fault.DRIP, drip_seconds=1.0)) as environment:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await environment.lookup()


async def test_html_page_comes_with_status_200() -> None:
    async with served(always(Fault.HTML)) as environment:
        status, content_type, body = await environment.lookup()
        assert (status, content_type, body[:15]) == (200, "text/html", b"<!DOCTYPE html>")


async def test_proxy_forbids_with_a_page_of_its_own() -> None:
    async with served(always(Fault.PROXY_FORBIDDEN)) as environment:
        status, content_type, body = await environment.lookup()
        assert (status, content_type, body[:15]) == (403, "text/html", b"<!DOCTYPE html>")


async def test_server_errors_come_with_and_without_a_body() -> None:
    async with served(Faults(plans=(Plan((Fault.SERVER_ERROR, Fault.SERVER_ERROR_EMPTY)),))) as environment:
        status, content_type, body = await environment.lookup()
        assert (status, content_type, body[:20]) == (503, "application/json", b'{"error":{"code":503')
        assert (await environment.lookup())[::2] == (502, b"")


async def test_throttled_answer_names_the_time_to_wait() -> None:
    async with (
        served(always(Fault.THROTTLED, retry_after_seconds=7)) as environment,
        environment.session.get(f"{environment.url}/api/v2/apiTokens") as response,
    ):
        assert (response.status, response.headers["Retry-After"]) == (429, "7")


async def test_oversized_answer_is_good_json_of_that_size() -> None:
    async with served(always(Fault.OVERSIZED, oversized_bytes=300_000)) as environment:
        status, content_type, body = await environment.lookup()
        assert (status, content_type) == (200, "application/json")
        assert body.startswith(b'{"id":"%s"' % environment.other.token.id.encode())
        assert body.endswith(b'nnn"}')
        assert 300_000 <= len(body) < 301_000


async def test_client_can_leave_an_oversized_answer() -> None:
    async with served(always(Fault.OVERSIZED)) as environment:
        async with environment.session.get(f"{environment.url}/api/v2/apiTokens") as response:
            assert response.content_length is None
            await response.content.readexactly(1_000)
            response.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await response.read()


async def test_one_token_can_fail_for_ever_while_others_succeed() -> None:
    async with served() as environment:
        faults = Faults(plans=(Plan(token_id=environment.other.token.id, then=Fault.SERVER_ERROR),))
        async with served(faults) as failing:  # the same ids: worlds of one seed
            statuses = [(await failing.lookup(token))[0] for token in (failing.other, failing.own, failing.other)]
    assert statuses == [503, 200, 503]


async def test_faults_can_begin_and_end_while_it_runs() -> None:
    world = World(clock=SteppedClock(NOW))
    own = world.create("own", ["metrics.read"])
    async with serve({"prod": world}) as simulator, aiohttp.ClientSession() as session:
        client = Served(session, simulator.url("prod"), own, own)
        environment = simulator.environments["prod"]
        statuses = [(await client.lookup())[0]]
        environment.set_faults(always(Fault.SERVER_ERROR))
        statuses.append((await client.lookup())[0])
        assert environment.injector is not None
        assert environment.injector.injected == {Fault.SERVER_ERROR: 1}
        environment.set_faults(None)
        statuses.append((await client.lookup())[0])
        assert statuses == [200, 503, 200]
        assert (environment.lookups, environment.answers) == (2, {200: 2})


async def test_full_environment_answers_429_and_serves_again_later() -> None:
    capacity = Capacity(workers=1, queue=1, service_seconds=0.05, jitter=0.0, retry_after_seconds=3)
    world = World(clock=SteppedClock(NOW))
    own = world.create("own", ["metrics.read"])
    async with serve({"prod": world}, capacity=capacity) as simulator, aiohttp.ClientSession() as session:
        client = Served(session, simulator.url("prod"), own, own)
        environment = simulator.environments["prod"]
        answers = await asyncio.gather(*(client.lookup() for _ in range(6)))
        assert environment.pool is not None
        counts = environment.pool.counts
        statuses = [status for status, _, _ in answers]
        assert (statuses.count(200), statuses.count(429)) == (counts.served, counts.throttled)
        assert counts.throttled > 0
        assert counts.max_queued == 1
        assert all(b'"code":429' in body for status, _, body in answers if status == 429)
        environment.set_capacity(Capacity(workers=50, queue=0, service_seconds=0.0))
        assert [status for status, _, _ in await asyncio.gather(*(client.lookup() for _ in range(6)))] == [200] * 6
        environment.set_capacity(None)
        assert (await client.lookup())[0] == 200


async def test_request_that_waits_too_long_is_answered_429_with_retry_after() -> None:
    capacity = Capacity(1, 5, service_seconds=0.05, jitter=0.0, wait_limit_seconds=0.01, retry_after_seconds=3)
    async with served(capacity=capacity) as environment:

        async def retry_after() -> str | None:
            async with environment.session.get(f"{environment.url}/api/v2/apiTokens") as response:
                return response.headers.get("Retry-After")

        assert sorted(await asyncio.gather(retry_after(), retry_after()), key=str) == ["3", None]


def test_command_serves_until_it_is_ended(tmp_path: Path) -> None:
    tokens, own = tmp_path / "tokens", tmp_path / "own"
    arguments = ["--size", "30", "--seed", "5", "--capacity", "5:5:0.001", "--fault", "html=0.1"]
    files = ["--write-tokens", str(tokens), "--write-own-token", str(own)]
    process = subprocess.Popen(
        [sys.executable, "-m", "auditor.simulator", *arguments, *files], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert tokens.read_text().splitlines() == [*secrets(5, 30)]
        assert [stat.S_IMODE(path.stat().st_mode) for path in (tokens, own)] == [0o600, 0o600]
        asyncio.run(assert_serves(first.split()[-1], own.read_text().strip(), tokens.read_text().splitlines()))
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert str(own) in said
    assert str(tokens) in said
    assert own.read_text().strip() not in said


async def assert_serves(url: str, own: str, stored: list[str]) -> None:
    headers = {"Authorization": f"Api-Token {own}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        types = []
        for secret in stored:
            async with session.post(f"{url}/api/v2/apiTokens/lookup", json={"token": secret}) as response:
                assert response.status == 200
                types.append(response.content_type)
        assert set(types) == {"application/json", "text/html"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "-1"],
        ["--capacity", "0:1:1"],
        ["--capacity", "many"],
        ["--fault", "fire=0.1"],
        ["--fault", "html=2"],
        ["--fault", "html=0.6", "--fault", "reset=0.6"],
    ],
)
def test_command_refuses_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_command_says_where_it_could_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "1", "--write-tokens", str(tmp_path / "missing" / "tokens")]) == 3
    assert "missing/tokens" in capsys.readouterr().err
