"""Runs one simulated environment until it is interrupted: ``python -m auditor.simulator --help``."""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from auditor.simulator.capacity import Capacity
from auditor.simulator.faults import Fault, Faults
from auditor.simulator.fleet import generate, secrets
from auditor.simulator.server import serve
from auditor.simulator.world import World

_NAME: Final = "simulated"
_OWN_LIFETIME: Final = timedelta(days=90)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        faults = Faults(probability=dict(arguments.fault), seed=arguments.seed) if arguments.fault else None
    except ValueError as error:
        parser.error(str(error))
    try:
        with tempfile.TemporaryDirectory(prefix="auditor-simulator-") as directory:
            asyncio.run(_run(arguments, faults, Path(directory)))
    except OSError as error:
        sys.stderr.write(f"auditor.simulator: {error}\n")
        return 3
    return 0


async def _run(arguments: argparse.Namespace, faults: Faults | None, directory: Path) -> None:
    now = datetime.now(UTC)
    world = World(
        generate(arguments.seed, arguments.size, now, hostile=arguments.hostile),
        clock=lambda: datetime.now(UTC),
        seed=arguments.seed,
    )
    own = world.create("auditor", ["apiTokens.read"], owner="auditor", expiration_date=now + _OWN_LIFETIME)
    own_file = arguments.write_own_token or directory / "own-token"
    _write_private(own_file, [own.secret])
    if arguments.write_tokens:
        _write_private(arguments.write_tokens, secrets(arguments.seed, arguments.size))
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    async with serve(
        {_NAME: world}, capacity=arguments.capacity, faults=faults, root=_NAME, port=arguments.port
    ) as simulator:
        url = simulator.url(_NAME)
        kept = "" if arguments.write_own_token else "  # removed at the end; --write-own-token keeps one"
        lines = [
            f"A simulated environment with {arguments.size} tokens answers at {url}",
            f"(and, as on Managed, at {simulator.base_url}/e/{_NAME}). To audit it, add to auditor's configuration",
            "",
            f"  [environments.{_NAME}]",
            f'  url = "{url}"',
            "  allow_http = true",
            f"  token = {{ file = {json.dumps(str(own_file.resolve()))} }}{kept}",
            "",
            f"and a source for {arguments.write_tokens.resolve()}, which holds one token a line."
            if arguments.write_tokens
            else "and a source of its tokens; --write-tokens FILE writes them, one a line.",
        ]
        sys.stdout.write("\n".join((*lines, "Ctrl-C ends it.", "")))
        sys.stdout.flush()
        await stopped.wait()


def _write_private(path: Path, lines: Iterable[str]) -> None:
    """Write a file that only its owner can read, in place of an older one."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m auditor.simulator", description="A simulated token API to audit.")
    parser.add_argument("--size", type=_size, default=200, metavar="N", help="tokens in the environment (200)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed gives the same tokens (1)")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="port on 127.0.0.1; 0 takes a free one (0)")
    parser.add_argument("--hostile", action="store_true", help="awkward names, scopes, dates and fields in every token")
    parser.add_argument(
        "--capacity", type=_capacity, metavar="WORKERS:QUEUE:SECONDS", help="thread pool, for instance 20:100:0.02"
    )
    parser.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="KIND=SHARE",
        help=f"share of requests that go wrong, repeatable: {', '.join(Fault)}",
    )
    parser.add_argument("--write-tokens", type=Path, metavar="FILE", help="write the tokens' secrets, one a line")
    parser.add_argument("--write-own-token", type=Path, metavar="FILE", help="write the auditor's own token")
    return parser


def _size(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be 0 or more")
    return int(text)


def _capacity(text: str) -> Capacity:
    try:
        workers, queue, seconds = text.split(":")
        return Capacity(int(workers), int(queue), float(seconds))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be WORKERS:QUEUE:SECONDS ({error})") from None


def _fault(text: str) -> tuple[Fault, float]:
    kind, _, share = text.partition("=")
    try:
        Faults(probability={(fault := Fault(kind)): float(share)})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be KIND=SHARE ({error})") from None
    return fault, float(share)


if __name__ == "__main__":
    sys.exit(main())
