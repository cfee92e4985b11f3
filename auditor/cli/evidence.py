"""``auditor evidence``: writes packages of evidence, proves them, and shows the key that signs them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from auditor.cli import exits
from auditor.cli.reporting import destination, when
from auditor.cli.session import Session, now, require_known, run_loop
from auditor.cli.showing import console, print_json, text
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.outside_text import visible
from auditor.reports.evidence.package import Manifest, write
from auditor.reports.evidence.signing import KEY_TYPE, NAMESPACE, SigningKey, fingerprint
from auditor.reports.evidence.verifying import Verified, verify_database, verify_package
from auditor.reports.period import Period

_KEY_LIMIT = 65_536


def export(session: Session, output: Path, *, period: str | None, environments: Sequence[str]) -> int:
    """Write a package; an existing file is replaced only by a whole one."""
    if str(output) == "-" and sys.stdout.isatty():
        raise ConfigError(Problem("--output", "a package is not text, which a terminal cannot show; name a file"))
    days = when(now(), as_of=None, period=period).period
    manifest = run_loop(_export(session, output, days, environments))
    if str(output) != "-":
        links = sum(one.last - one.first + 1 for one in manifest.chains)
        signed = (
            f"signed by {fingerprint(manifest.signer)}" if manifest.signer else "not signed: there is no signing_key"
        )
        console(errors=True).print(
            text(f"Wrote {output}: {links} links, {sum(one.records for one in manifest.chains)} records; {signed}.")
        )
    return exits.OK


async def _export(session: Session, output: Path, period: Period | None, environments: Sequence[str]) -> Manifest:
    config = session.load()
    require_known(config, environments, "--environment")
    key = await _signing_key(session, config)
    async with session.database(config) as pool:
        with destination(output) as out:
            return await write(
                pool,
                out,
                now=now(),
                period=period,
                environments=environments,
                key=key,
                configured=config.urls,
            )


async def _signing_key(session: Session, config: Config) -> SigningKey | None:
    reference = config.document.evidence.signing_key
    if reference is None:
        return None
    place = "evidence.signing_key"
    return SigningKey.parse(await session.resolver(config).resolve(reference, place), place)


def verify(
    session: Session, package: Path | None, *, key: str | None, environments: Sequence[str], as_json: bool
) -> int:
    """Check a package, or the database where there is none; return 1 where something is broken."""
    if package is None:
        if key is not None:
            raise ConfigError(Problem("--key", "is of a package; name one, since nobody signs the database"))
        verified = run_loop(_verify_database(session, environments))
        what = "The database"
    else:
        if environments:
            raise ConfigError(Problem("--environment", "is of the database; a package is verified whole"))
        wanted = _public_key(key) if key is not None else None
        try:
            verified = verify_package(package, wanted)
        except OSError as error:
            raise ConfigError(Problem(str(package), f"cannot be read: {error.strerror}; name a package")) from error
        what = str(package)
    if as_json:
        print_json({"is_unaltered": not verified.problems, **{name: getattr(verified, name) for name in _MEMBERS}})
    else:
        _tell(what, verified, is_package=package is not None)
    return exits.FOUND if verified.problems else exits.OK


_MEMBERS = Verified.__struct_fields__


def _tell(what: str, verified: Verified, *, is_package: bool) -> None:
    for problem in verified.problems:
        console().print(text(visible(problem)))
    counted = f"{verified.links} links, {verified.records} records"
    if verified.uses_removed:
        counted += f"; {verified.uses_removed} uses were removed since, as the chain says"
    if verified.problems:
        console().print(text(f"{what} is altered or not complete ({counted})."))
        return
    for head in verified.heads:
        console().print(text(visible(f"{head.environment}: link {head.number}, {head.hash}")))
    signed = (
        f" Signed by {verified.signer}." if verified.signer else " Not signed, so whoever had it may have made it anew."
    )
    console().print(text(f"{what} is unaltered and complete: {counted}.{signed if is_package else ''}"))


async def _verify_database(session: Session, environments: Sequence[str]) -> Verified:
    config = session.load()
    require_known(config, environments, "--environment")
    async with (
        session.database(config) as pool,
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        return await verify_database(connection, environments)


def _public_key(key: str) -> str:
    """Return a public key that is given as a line or as the file of one, also of ``allowed_signers``.

    Raises ``ConfigError``.
    """
    line = key
    try:
        if f"{KEY_TYPE} " not in key:
            with Path(key).open(encoding="utf-8") as file:
                line = file.read(_KEY_LIMIT)
        line = line[max(line.find(f"{KEY_TYPE} "), 0) :].partition("\n")[0]
        fingerprint(line)
    except (OSError, ValueError) as error:
        raise ConfigError(
            Problem("--key", f"is no public key and no file of one ({error}); auditor evidence key prints it")
        ) from None
    return line


def show_key(session: Session) -> int:
    """Print the public key as a line of an ``allowed_signers`` file, which ``ssh-keygen -Y verify`` reads."""
    config = session.load()
    key = run_loop(_signing_key(session, config))
    if key is None:
        raise ConfigError(
            Problem("evidence.signing_key", "is not set, so packages are not signed; make one: openssl rand -base64 32")
        )
    console().print(text(f'auditor namespaces="{NAMESPACE}" {key.public}'))
    return exits.OK
