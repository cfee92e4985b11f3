"""``auditor alerts`` and ``auditor ack``: whether alerts arrived, trying them again, and knowing of a finding."""

import os
import pwd
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from auditor.alerts.deliveries import drain
from auditor.cli import exits
from auditor.cli.session import Session, now, run_loop
from auditor.cli.showing import cell, console, is_text, print_json, print_table, severity, text
from auditor.config.load import Config
from auditor.model.errors import ConfigError, Problem
from auditor.model.spelling import meant
from auditor.policy.waivers import finding_of, instant
from auditor.store import attention, dead_letters, delivery_log, waivers
from auditor.store.connection import Connection
from auditor.store.delivery_log import Delivered, Filter
from auditor.store.outbox import DeliveryState

_SHOWN_ID = 8
_SHOWN_MEMBERS = 1000


def list_alerts(session: Session, *, hook: str | None, states: Sequence[str], limit: int, as_json: bool) -> int:
    """List deliveries, the newest first."""
    wanted = Filter(hook=hook, states=tuple(DeliveryState(state) for state in states), limit=limit)
    found = run_loop(_list(session, wanted))
    if as_json:
        print_json(found)
    elif found:
        _print(found)
        console().print(f"\n{len(found)} deliveries. Show one with its attempts: auditor alerts show ID")
    else:
        console().print("No alerts.")
    return 0


async def _list(session: Session, wanted: Filter) -> Sequence[Delivered]:
    config = session.load()
    async with session.database(config) as pool, pool.acquire() as connection:
        await _require_known_hook(connection, config, wanted.hook)
        return await delivery_log.read(connection, wanted)


async def _require_known_hook(connection: Connection, config: Config, hook: str | None) -> None:
    """Raise ``ConfigError`` where a hook is neither configured nor was anything ever to be delivered to it."""
    if hook is None or hook in config.hooks:
        return
    known = {*config.hooks, *await delivery_log.hooks(connection)}
    if hook not in known:
        raise ConfigError(Problem("--hook", f'unknown hook "{hook}"; {meant(hook, known)}'))


def _print(found: Sequence[Delivered]) -> None:
    print_table(
        ("ID", "When", "Hook", "State", "Tries", "Severity", "Environment", "Event", "What", "Answer"),
        (
            (
                str(one.alert)[:_SHOWN_ID],
                f"{one.at:%Y-%m-%d %H:%M}",
                cell(one.hook),
                _state(one),
                str(one.attempts),
                severity(one.severity.value),
                cell(one.environment),
                cell(one.event),
                cell(one.message),
                cell(one.last_answer),
            )
            for one in found
        ),
    )


def _state(one: Delivered) -> str:
    if one.state is DeliveryState.GATHERED and one.digest is not None:
        return f"in digest {str(one.digest)[:_SHOWN_ID]}"
    if one.next_attempt_at is None:
        return one.state.value
    return f"{one.state.value}, next {one.next_attempt_at:%Y-%m-%d %H:%M}"


def show(session: Session, beginning: str, *, as_json: bool) -> int:
    """Show an alert or digest with its deliveries and their attempts."""
    return run_loop(_show(session, beginning, as_json=as_json))


async def _show(session: Session, beginning: str, *, as_json: bool) -> int:
    async with session.database(session.load()) as pool, pool.acquire() as connection:
        number = await _id_of(connection, beginning)
        deliveries = await delivery_log.read(connection, Filter(alert=number))
        members = await delivery_log.read(connection, Filter(digest=number, limit=_SHOWN_MEMBERS))
        tries = await delivery_log.attempts(connection, number)
        worst = await delivery_log.alert(connection, number)
    if as_json:
        print_json({"deliveries": deliveries, "attempts": tries, "alert": worst, "members": members})
        return 0
    out = console()
    out.print(text(number, "bold"))
    for one in deliveries:
        out.print(text(f"  {one.hook}: {_state(one)}: {one.event}: {one.message}"))
    for attempt in tries:
        took = "" if attempt.seconds is None else f" in {attempt.seconds:.1f} s"
        out.print(
            text(f"  {attempt.at:%Y-%m-%d %H:%M:%S}  {attempt.hook}  try {attempt.number}{took}: {attempt.answer}")
        )
    if not tries:
        out.print("  No attempt was made to deliver it.")
    if members:
        out.print()
        _print(members)
    return 0


async def _id_of(connection: Connection, beginning: str) -> UUID:
    if not beginning:
        raise ConfigError(Problem("alert", "its id is empty; auditor alerts list shows ids"))
    found = await delivery_log.like(connection, beginning) if is_text(beginning) else ()
    if len(found) != 1:
        what = "begins the ids of several alerts; write more of it" if found else "no such alert; auditor alerts list"
        raise ConfigError(Problem(f"alert {beginning}", what))
    return found[0]


def retry(session: Session, beginning: str | None, *, hook: str | None, everything: bool, seconds: float) -> int:
    """Try again what is dead and what waits; exit code 1 where something is still not taken."""
    if sum((beginning is not None, hook is not None, everything)) != 1:
        raise ConfigError(Problem("alerts retry", "name one alert, or give --hook NAME or --all"))
    return run_loop(_retry(session, beginning, hook, seconds))


async def _retry(session: Session, beginning: str | None, hook: str | None, seconds: float) -> int:
    config = session.load()
    async with (
        session.database(config) as pool,
        session.assembled(config, pool, environments=()) as assembly,
    ):
        async with pool.acquire() as connection:
            await _require_known_hook(connection, config, hook)
            number = None if beginning is None else await _id_of(connection, beginning)
            tried = await dead_letters.retry(connection, now(), hook=hook, alert=number)
        hooks = {name: one for name, one in assembly.hooks.items() if hook in (None, name)}
        await drain(pool, hooks, clock=now, seconds=seconds, routing=assembly.routing)
        async with pool.acquire() as connection:
            left = await delivery_log.read(
                connection, Filter(hook=hook, alert=number, states=(DeliveryState.PENDING, DeliveryState.DEAD))
            )
    console().print(f"{tried.revived} dead deliveries were tried again.")
    if left:
        _print(left)
        console().print("\nThese are not delivered yet; pending ones are tried again by themselves.")
    return exits.FOUND if left else exits.OK


def acknowledge(
    session: Session, keys: Sequence[str], *, until: str | None, note: str, by: str | None, withdraw: bool
) -> int:
    """Note that somebody knows of open findings, or that nobody does any more."""
    if withdraw and (until is not None or note or by is not None):
        raise ConfigError(Problem("--withdraw", "takes none of --until, --note and --by; leave them out"))
    at = now()
    end = _end(until, at)
    who = by or _user(session.environ)
    if not who and not withdraw:
        raise ConfigError(Problem("--by", "say who acknowledges it"))
    if not all(is_text(value) for value in (*keys, note, who)):
        raise ConfigError(Problem("ack", "its arguments must be UTF-8 text"))
    run_loop(_acknowledge(session, keys, end, note, who, at, withdraw=withdraw))
    for key in keys:
        if withdraw:
            console().print(text(f"{key} is acknowledged no more."))
        else:
            how_long = f"until {end:%Y-%m-%d %H:%M} UTC" if end else "until it gets worse, comes back or is resolved"
            console().print(text(f"{key} is acknowledged by {who} {how_long}."))
    return 0


def _user(environ: Mapping[str, str]) -> str:
    """Return who runs this; empty where nothing tells."""
    who = environ.get("SUDO_USER") or environ.get("USER") or environ.get("LOGNAME")
    if who:
        return who
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _end(until: str | None, at: datetime) -> datetime | None:
    if until is None:
        return None
    try:
        end = instant(until)
    except ValueError as error:
        raise ConfigError(Problem("--until", str(error))) from None
    if end <= at:
        raise ConfigError(Problem("--until", f"{until} has passed; name a later day or instant"))
    return end


async def _acknowledge(
    session: Session,
    keys: Sequence[str],
    until: datetime | None,
    note: str,
    by: str,
    at: datetime,
    *,
    withdraw: bool,
) -> None:
    problems: list[Problem] = []
    async with session.database(session.load()) as pool, pool.acquire() as connection:
        for key in keys:
            finding = finding_of(key)
            async with connection.transaction():
                locked = await waivers.lock_finding(connection, finding) if finding else None
                if locked is None:
                    problems.append(Problem(f"finding {key}", "no such finding; auditor findings --json lists keys"))
                elif withdraw:
                    if not await attention.withdraw(connection, locked[1]):
                        problems.append(Problem(f"finding {key}", "nobody has acknowledged it"))
                elif not await attention.acknowledge(connection, locked[1], until=until, by=by, note=note, now=at):
                    problems.append(Problem(f"finding {key}", "is resolved; there is nothing to acknowledge"))
    if problems:
        raise ConfigError(*problems)
