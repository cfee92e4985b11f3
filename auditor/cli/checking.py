"""``auditor check``: validates what can be without network and database; with --connect tries those too."""

from typing import Final

from auditor.cli import exits
from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import console, text
from auditor.config.assembly import Assembly, assembled
from auditor.config.feeds import read_feeds
from auditor.config.load import Config
from auditor.config.references import references_of
from auditor.dynatrace.client import Client
from auditor.model.errors import AuditorError, ConfigError
from auditor.model.lookup import Outcome
from auditor.model.secret import Secret

_PROBE: Final = "dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
"""The provider's published example, which exists nowhere: looking it up proves the auditor's own token."""


def check(session: Session, *, connect: bool) -> int:
    """Return 0 when all is well, 3 when a connection failed; raises ``ConfigError`` with every problem of the files."""
    config = session.load()
    run_loop(_check_files(session, config))
    out = console()
    document = config.document
    out.print(
        f"{config.path}: good: {len(document.environments)} environments, {len(config.sources)} sources, "
        f"{len(config.hooks)} hooks, {len(document.schedules)} schedules, policy {config.policy.name}"
    )
    if not connect:
        return exits.OK
    return run_loop(_connect(session, config))


async def _check_files(session: Session, config: Config) -> None:
    """Resolve every secret that needs no program, and read the feeds."""
    _feeds, problems = read_feeds(config.policy.feeds, config.policy_directory)
    resolver = session.resolver(config)
    for place, reference in references_of(config):
        if reference.command is not None:
            continue
        try:
            await resolver.resolve(reference, place)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)


async def _connect(session: Session, config: Config) -> int:
    """Try the database, every environment and every source; say how each went."""
    names = list(config.document.environments)
    out = console()
    async with session.database(config) as pool:
        out.print("database: good")
        async with assembled(
            config, pool, resolver=session.resolver(config), state=session.state, clock=now, environments=names
        ) as assembly:
            failures = [await _try_environment(assembly.clients[name]) for name in names]
            failures += [await _try_source(assembly, name) for name in config.sources]
    for failure in filter(None, failures):
        out.print(text(f"failed: {failure}"))
    return exits.FAILED if any(failures) else exits.OK


async def _try_environment(client: Client) -> str | None:
    lookup = await client.lookup(Secret(_PROBE))
    if lookup.outcome is Outcome.MISSING:
        console().print(f"environment {client.name}: good")
        return None
    return f"environment {client.name}: {lookup.outcome.value}: {lookup.reason}"


async def _try_source(assembly: Assembly, name: str) -> str | None:
    source = next(source for source in assembly.sources if source.name == name)
    read = 0
    try:
        async for batch in source.read():
            read += len(batch)
    except AuditorError as error:
        return f"source {name}: {error}"
    console().print(f"source {name}: good, {read} tokens")
    return None
