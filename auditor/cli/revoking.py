"""``auditor revocable``: tokens by what would happen if they were revoked, each with its evidence."""

import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime

import msgspec

from auditor.cli.session import Session, now, require_known, run_loop
from auditor.cli.showing import console, is_text, text, writing
from auditor.model.errors import ConfigError, Problem
from auditor.policy.revocation import Judgement, Verdict
from auditor.reports.sentences import plural
from auditor.reports.verdicts import MEANINGS, REVOCABLE, judgements
from auditor.store.connection import Connection
from auditor.store.revocation import Filter

_STYLES = {
    Verdict.SAFE: "bold green",
    Verdict.LIKELY_SAFE: "green",
    Verdict.RISKY: "yellow",
    Verdict.DO_NOT_REVOKE: "bold red",
}


def revocable(
    session: Session,
    token: str | None,
    *,
    environments: Sequence[str],
    verdicts: Sequence[str],
    all_verdicts: bool,
    as_json: bool,
) -> int:
    """Print tokens by verdict, those that can be revoked unless others are asked for; one token whatever its verdict.

    Raises ``ConfigError`` where the one token is not there.
    """
    if all_verdicts or (token is not None and not verdicts):
        wanted: Sequence[Verdict] = tuple(Verdict)
    else:
        asked = {Verdict(verdict) for verdict in verdicts}
        wanted = tuple(verdict for verdict in Verdict if verdict in asked) or REVOCABLE
    counts = run_loop(_print(session, Filter(environments=tuple(environments), label=token), wanted, as_json=as_json))
    if token is not None and not counts:
        # What was asked for is not repeated: it may be the secret itself.
        raise ConfigError(Problem("revocable", "no such token is known; auditor revocable --all lists them"))
    return 0


async def _print(session: Session, wanted: Filter, verdicts: Sequence[Verdict], *, as_json: bool) -> Counter[Verdict]:
    config = session.load()
    require_known(config, wanted.environments, "--environment")
    counts: Counter[Verdict] = Counter()
    if wanted.label is not None and not is_text(wanted.label):
        return counts
    async with (
        session.database(config) as pool,
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
        aclosing(_by_verdict(connection, wanted, verdicts, now(), counts)) as found,
    ):
        if as_json:
            await _print_json(found)
        else:
            await _print_text(found)
            if wanted.label is None:
                _print_counts(counts)
    return counts


async def _by_verdict(
    connection: Connection, wanted: Filter, verdicts: Iterable[Verdict], at: datetime, counts: Counter[Verdict]
) -> AsyncGenerator[Judgement, None]:
    """Yield judgements one verdict after the other, and count all of them.

    A token's verdict is known only once it is read, and they are too many to be kept; so they are read once for each
    verdict that occurs.
    """
    is_counted = False
    for verdict in verdicts:
        if is_counted and not counts[verdict]:
            continue
        async with aclosing(judgements(connection, wanted, at)) as batches:
            async for batch in batches:
                if not is_counted:
                    counts.update(judgement.verdict for judgement in batch)
                for judgement in batch:
                    if judgement.verdict is verdict:
                        yield judgement
        is_counted = True


async def _print_json(found: AsyncGenerator[Judgement, None]) -> None:
    """Print one array, an element a line, as the elements come."""
    separator = "["
    async for judgement in found:
        with writing():
            sys.stdout.write(f"{separator}\n{msgspec.json.encode(judgement).decode()}")
        separator = ","
    with writing():
        sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


async def _print_text(found: AsyncGenerator[Judgement, None]) -> None:
    out = console()
    verdict: Verdict | None = None
    async for judgement in found:
        if judgement.verdict is not verdict:
            verdict = judgement.verdict
            out.print(text(verdict.value, style_of(verdict)), text(f": {MEANINGS[verdict]}"), sep="")
        named = " ".join(filter(None, (judgement.token_name or "-", judgement.owner and f"({judgement.owner})")))
        out.print(text(f"  {judgement.environment}/{judgement.label}  ", "bold"), text(named), sep="")
        for line in reasons(judgement):
            out.print(text(f"    {line}"))
        out.print()


def reasons(judgement: Judgement) -> list[str]:
    """Return why a verdict is what it is, and how far it is to be trusted, in lines for people."""
    confidence = f"confidence: {judgement.confidence}"
    if judgement.limits:
        confidence += f", because {'; '.join(judgement.limits)}"
    return [*(f"- {reason}" for reason in judgement.evidence), confidence]


def style_of(verdict: Verdict) -> str:
    """Return the colour of a verdict on a terminal."""
    return _STYLES.get(verdict, "bold")


def _print_counts(counts: Counter[Verdict]) -> None:
    total = sum(counts.values())
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    console().print(f"{plural(total, 'token')}: {told}." if total else "No token is known yet.")
