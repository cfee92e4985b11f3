"""``auditor waive`` and ``auditor waivers``: accepts a finding until a day, lists what is accepted, withdraws it."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from pydantic import ValidationError

from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import cell, console, is_text, print_json, print_table, text
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.model.waiver import Waiver
from auditor.policy.registry import rules_of
from auditor.policy.waivers import (
    Setting,
    WaiverEntry,
    WaiversDocument,
    check_waivers,
    finding_of,
    waiver_change,
)
from auditor.store import comparing, findings, waivers
from auditor.store.chain import linked
from auditor.store.waivers import StoredWaiver

_ID_BYTES = 4


def waive(
    session: Session, key: str, *, owner: str, approver: str, reason: str, ticket: str, until: str, as_json: bool
) -> int:
    """Waive the open finding of a key from now on; raises ``ConfigError`` where the policy does not allow it."""
    at = now()
    config = session.load()
    entry = _checked(
        config,
        {
            "id": f"waiver-{secrets.token_hex(_ID_BYTES)}",
            "owner": owner,
            "approver": approver,
            "reason": reason,
            "ticket": ticket,
            "since": at,
            "until": until,
            "finding": key,
        },
    )
    run_loop(_waive(session, config, entry.terms, key, at))
    if as_json:
        print_json({**msgspec.structs.asdict(entry.terms), "finding": key})
    else:
        console().print(text(f"{key} is waived until {entry.until:%Y-%m-%d %H:%M} UTC, as {entry.id}."))
    return 0


def _checked(config: Config, values: Mapping[str, object]) -> WaiverEntry:
    """Return a waiver as it would stand in a file; a problem is put to the option that it comes from."""
    try:
        for value in values.values():
            if isinstance(value, str) and not is_text(value):
                raise ConfigError(Problem("waive", "its arguments must be UTF-8 text"))
        entry = WaiverEntry.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            *(
                Problem(_option(detail["loc"]), str(detail.get("ctx", {}).get("error", detail["msg"])))
                for detail in error.errors(include_url=False)
            )
        ) from None
    settings = {
        name: Setting(stack.document.waivers, rules_of(stack.document).keys())
        for name, stack in config.policies.by_environment.items()
    }
    problems = [
        Problem(_option(path[2:]), message)
        for path, message in check_waivers(WaiversDocument(waiver=(entry,)), settings)
    ]
    if problems:
        raise ConfigError(*problems)
    return entry


def _option(path: Sequence[str | int]) -> str:
    """Return what of the command line a key of a waiver came from."""
    name = str(path[0]) if path else "until"
    return "finding" if name == "finding" else f"--{name}"


async def _waive(session: Session, config: Config, waiver: Waiver, key: str, at: datetime) -> None:
    wanted = finding_of(key)
    assert wanted is not None
    async with session.database(config) as pool, pool.acquire() as connection, connection.transaction():
        found = await waivers.lock_finding(connection, wanted)
        if found is None:
            raise ConfigError(Problem(f"finding {key}", "no such finding; auditor findings --json lists their keys"))
        environment, number = found
        ((standing,),) = [batch async for batch in comparing.by_ids(connection, [number])]
        if not standing.finding.is_open:
            raise ConfigError(Problem(f"finding {key}", "is resolved, so there is nothing to waive"))
        before = standing.finding.waived.waiver if standing.finding.waived else None
        of_file = before is not None and any(before == entry.terms for entry in config.waivers)
        async with linked(connection, environment, at, states={"waiver_added": waiver, "finding": key}):
            await waivers.add(connection, waiver, key)
            if before is None or not of_file or before.until < waiver.until:  # as sweeps choose between several
                change = waiver_change(standing.finding, waiver)
                assert change is not None
                await findings.apply(connection, None, environment, [(standing.bearer, change)], at)


class Listed(msgspec.Struct, frozen=True):
    """A waiver as it is listed."""

    waiver: Waiver
    state: str
    """``in force``, ``not yet``, ``ended`` or ``withdrawn``."""
    written: str
    """``file`` or ``auditor waive``."""
    matches: str
    """What it covers, in words."""
    findings: int
    """Open findings that it mutes, of those that the last sweeps left open."""


def list_waivers(session: Session, *, withdrawn: bool, as_json: bool) -> int:
    """List every waiver, the first to end first, withdrawn ones only where they are asked for."""
    listed = run_loop(_listed(session, withdrawn, now()))
    if as_json:
        print_json(listed)
    elif not listed:
        console().print("No waivers.")
    else:
        print_table(
            ("Waiver", "State", "Until", "Mutes", "Owner", "Approver", "Ticket", "From", "Covers", "Reason"),
            (
                (
                    cell(one.waiver.id),
                    one.state,
                    f"{one.waiver.until:%Y-%m-%d %H:%M}",
                    str(one.findings),
                    cell(one.waiver.owner),
                    cell(one.waiver.approver),
                    cell(one.waiver.ticket),
                    one.written,
                    cell(one.matches),
                    cell(one.waiver.reason),
                )
                for one in listed
            ),
        )
    return 0


async def _listed(session: Session, withdrawn: bool, at: datetime) -> Sequence[Listed]:
    config = session.load()
    async with session.database(config) as pool, pool.acquire() as connection:
        muted = await waivers.count_muted(connection, at)
        stored = await waivers.stored(connection, removed=withdrawn)
    listed = [
        Listed(entry.terms, _state(entry.terms, None, at), "file", _matches(entry), muted.get(entry.id, 0))
        for entry in config.waivers
    ] + [
        Listed(one.waiver, _state(one.waiver, one, at), "auditor waive", one.finding, muted.get(one.waiver.id, 0))
        for one in stored
    ]
    return sorted(listed, key=lambda one: (one.waiver.until, one.waiver.id))


def _state(waiver: Waiver, stored: StoredWaiver | None, at: datetime) -> str:
    if stored is not None and stored.removed_at is not None:
        return "withdrawn"
    if at < waiver.since:
        return "not yet"
    return "in force" if waiver.is_in_force(at) else "ended"


def _matches(entry: WaiverEntry) -> str:
    if entry.finding:
        return ", ".join(entry.finding)
    selectors = " or ".join(
        " and ".join(f"{name} {_values(value)}" for name, value in selector.model_dump(exclude_unset=True).items())
        for selector in entry.only
    )
    narrowed = f", discriminator {_values(entry.discriminator)}" if entry.discriminator else ""
    return f"{', '.join(entry.rules)} where {selectors}{narrowed}"


def _values(value: object) -> str:
    return "|".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()


def remove(session: Session, waiver: str) -> int:
    """Withdraw a waiver that ``auditor waive`` made; what it mutes comes back with the next sweep."""
    config = session.load()
    if any(entry.id == waiver for entry in config.waivers):
        raise ConfigError(Problem(f"waiver {waiver}", "stands in a file; take it out there, and reload the service"))
    if not is_text(waiver) or not run_loop(_remove(session, config, waiver, now())):
        raise ConfigError(
            Problem(f"waiver {waiver}", "no such waiver, or withdrawn already; auditor waivers lists them")
        )
    console().print(text(f"{waiver} is withdrawn; what it mutes reopens, with an alert, at the next sweep."))
    return 0


async def _remove(session: Session, config: Config, waiver: str, at: datetime) -> bool:
    async with session.database(config) as pool, pool.acquire() as connection:
        return await waivers.remove(connection, waiver, at)
