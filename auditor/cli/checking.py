"""``auditor check``: validates what can be without network and database; with --connect tries those too."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from auditor.alerts.base import Surroundings
from auditor.cli import exits
from auditor.cli.session import Session, located, now, run_loop
from auditor.cli.showing import console, text
from auditor.config.assembly import Assembly, client_of
from auditor.config.feeds import read_feeds
from auditor.config.keys import keyring_of
from auditor.config.load import Config
from auditor.config.references import references_of
from auditor.config.scheduled_reports import missing_extras, unwritable
from auditor.dynatrace.client import Client
from auditor.model.errors import AuditorError, ConfigError, Problem, together
from auditor.model.lookup import Outcome
from auditor.model.secret import Secret

_PROBE: Final = "dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
"""The provider's published example, which exists nowhere: looking it up proves the auditor's own token."""


def check(session: Session, *, connect: bool) -> int:
    """Return 0 when all is well, 3 when a connection failed; raises ``ConfigError`` with every problem of the files.

    It is ``SecretUnavailable`` where all that is wrong is that secrets are out of reach.
    """
    config = session.load()
    with located(config):
        run_loop(_check_files(session, config))
    document = config.document
    console().print(
        text(
            f"{config.path}: good: {len(document.environments)} environments, {len(config.sources)} sources, "
            f"{len(config.hooks)} hooks, {len(document.schedules)} schedules, {len(document.reports)} reports, "
            f"policy {', '.join(config.policies.names())}"
        )
    )
    return run_loop(_connect(session, config)) if connect else exits.OK


async def _check_files(session: Session, config: Config) -> None:
    """Read the feeds, resolve every secret that needs no program, and see that it fits its use."""
    problems: list[Problem] = []
    for stack in {stack.document.feeds: stack for stack in config.policies.by_environment.values()}.values():
        problems.extend(read_feeds(stack.document.feeds, stack.directory)[1])
    problems = list(dict.fromkeys(problems))
    problems.extend(missing_extras(config.document.reports))
    errors = [ConfigError(problem) for problem in problems]
    resolver = session.resolver(config)
    unfit: set[str] = set()
    """The places whose use cannot be tried: their secret is missing, or a program would have to be run for it."""
    for place, reference in references_of(config):
        try:
            if reference.command is None:
                await resolver.resolve(reference, place)
                continue
        except ConfigError as error:
            errors.append(error)
        unfit.add(place)

    async def attempt(place: str, use: Callable[[], Awaitable[None]]) -> None:
        if any(_is_within(other, place) for other in unfit):
            return
        try:
            await use()
        except ConfigError as error:
            errors.append(error)

    await attempt("encryption", partial(_try_keys, session, config))
    for name in config.document.environments:
        await attempt(f"environments.{name}", partial(_try_client, session, config, name))
    for name in config.hooks:
        await attempt(f"hooks.{name}", partial(_try_hook, session, config, name))
    if errors:
        raise together(errors)


def _is_within(place: str, table: str) -> bool:
    """Whether a key stands in a table."""
    return place.startswith(f"{table}.")


async def _try_keys(session: Session, config: Config) -> None:
    encryption = config.document.encryption
    if encryption.key is not None:  # else the key is auditor's own, and made on first use
        await keyring_of(encryption, resolver=session.resolver(config), state=session.state)


async def _try_client(session: Session, config: Config, name: str) -> None:
    async with await client_of(config, name, session.resolver(config), now):
        """Opening it reads its files and sends nothing."""


async def _try_hook(session: Session, config: Config, name: str) -> None:
    kind, settings = config.hooks[name]
    hook = await kind.open(name, settings, Surroundings(session.resolver(config), config.wordings[name]))
    await hook.close()


async def _connect(session: Session, config: Config) -> int:
    """Try the database, every environment and every source; say how each went."""
    names = list(config.document.environments)
    out = console()
    async with session.database(config) as pool:
        out.print("database: good")
        async with session.assembled(config, pool, environments=names) as assembly:
            failures = [await _try_environment(assembly.clients[name]) for name in names]
            failures += [await _try_source(assembly, name) for name in config.sources]
    failures += [str(problem) for problem in unwritable(config.document.reports, config.directory, session.state)]
    for failure in filter(None, failures):
        console(errors=True).print(text(f"auditor: {failure}"))
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
