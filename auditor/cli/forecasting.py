"""``auditor forecast``: what expires within twelve months, where too much of it ends at once, and when to renew it."""

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from auditor.cli.session import Session, now, require_known, run_loop
from auditor.cli.showing import cell, console, text, writing
from auditor.policy.forecast import Forecast, Proposal, Staggering, day_of
from auditor.reports.expiry import as_document, forecasts, months, proposals
from auditor.reports.sentences import plural

_BAR = 40
"""Width of the longest bar, in characters."""


def forecast(session: Session, *, environments: Sequence[str], staggering: Staggering, as_json: bool) -> int:
    """Print the forecast of each environment that was swept, with a day of renewal for every token of a cliff."""
    run_loop(_print(session, environments, staggering, as_json=as_json))
    return 0


async def _print(session: Session, environments: Sequence[str], staggering: Staggering, *, as_json: bool) -> None:
    config = session.load()
    require_known(config, environments, "--environment")
    at = now()
    async with (
        session.database(config) as pool,
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        made = await forecasts(connection, at, staggering, environments)
        if not as_json and not made:
            console().print("No environment has been swept yet.")
        for number, one in enumerate(made):
            async with aclosing(proposals(connection, one, at)) as batches:
                if as_json:
                    await _print_json(one, batches, is_first=number == 0)
                else:
                    _print_calendar(one)
                    await _print_proposals(one, batches)
        if as_json:
            _write("\n]\n" if made else "[]\n")


async def _print_json(made: Forecast, batches: AsyncGenerator[Sequence[Proposal], None], *, is_first: bool) -> None:
    """Print one element of the array, each proposal on a line of its own as it comes."""
    members = msgspec.json.encode(as_document(made)).decode().removesuffix("}")
    _write(f'{"[" if is_first else ","}\n{members},"proposals":[')
    separator = "\n"
    async for batch in batches:
        for proposal in batch:
            _write(separator + msgspec.json.encode(_as_document(proposal)).decode())
            separator = ",\n"
    _write("]}")


def _as_document(proposal: Proposal) -> Mapping[str, object]:
    token = proposal.token
    return {
        "label": token.label,
        "token_name": token.token_name,
        "owner": token.owner,
        "expiration_date": token.expiration_date,
        "renew_on": proposal.renew_on,
        "keeps_lead": proposal.keeps_lead,
    }


def _write(words: str) -> None:
    with writing():
        sys.stdout.write(words)


def _print_calendar(made: Forecast) -> None:
    out = console()
    out.print(text(made.environment, "bold"))
    out.print(
        f"  {made.tokens:,} of {made.active:,} live tokens expire from {made.first_day} to {made.last_day}, "
        f"at most {made.most_before:,} on one day."
    )
    every = months(made)
    most = max((month.tokens for month in every), default=0)
    for month in every:
        bar = "#" * -(-month.tokens * _BAR // most) if most else ""
        busiest = f"  busiest: {month.busiest} with {month.on_busiest:,}" if month.busiest else ""
        cliffs = f"  cliffs: {month.cliffs}" if month.cliffs else ""
        out.print(f"  {month.name}  {month.tokens:>9,}  {bar:<{_BAR}}{busiest}{cliffs}".rstrip())
    for cliff in made.cliffs:
        out.print(text("  Cliff: ", "yellow"), text(cliff.message), sep="")


async def _print_proposals(made: Forecast, batches: AsyncGenerator[Sequence[Proposal], None]) -> None:
    out = console()
    if made.cliffs:
        out.print(
            f"\n  Renewed as follows, at most {plural(made.most_after, 'token comes', 'tokens come')} up on one day in "
            f"place of {made.most_before:,}."
        )
        if made.without_lead:
            out.print(f"  For {made.without_lead:,} of them (!) there is no room to keep the lead time.")
        out.print("\n  Renew on      Expires on  Token, name and owner")
    async for batch in batches:
        for proposal in batch:
            token = proposal.token
            mark = " " if proposal.keeps_lead else "!"
            named = " ".join(filter(None, (token.token_name or "-", token.owner and f"({token.owner})")))
            out.print(
                f"  {proposal.renew_on} {mark}  {day_of(token.expiration_date)}  ",
                cell(token.label),
                "  ",
                cell(named),
                sep="",
            )
    out.print()
