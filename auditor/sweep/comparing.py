"""Applies what rules that look at more than one token say to the findings of an environment."""

from array import array
from collections.abc import AsyncIterable, Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from auditor.model.finding import Resolution, Violation
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.policy.lateness import Deadlines
from auditor.policy.lifecycle import Change, Deadline, changes
from auditor.store import comparing, findings
from auditor.store.chain import linked
from auditor.store.comparing import Held, Standing
from auditor.store.connection import Connection
from auditor.store.findings import Bearer
from auditor.sweep.alerting import About
from auditor.sweep.telling import Teller

ENVIRONMENT = "environment"
"""The subject of a finding that is of the environment as a whole."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a rule says, and of whom: a stored token by its id, or else a subject in words.

    A subject is ``ENVIRONMENT`` or the public id of a token that is in no store, and holds no slash. Where the
    evidence of a violation of a subject has the keys ``name`` and ``owner``, findings and alerts show them as the
    token's.
    """

    bearer: Bearer
    violation: Violation


async def compare(
    connection: Connection,
    teller: Teller,
    *,
    environment: int,
    sweep: int,
    rules: Collection[str],
    said: AsyncIterable[Sequence[Said]],
    ending: Callable[[Standing], Resolution | None],
    deadlines: Deadlines,
    now: datetime,
) -> None:
    """Bring the findings of some rules up to date with everything that these rules say of an environment.

    ``said`` gives all of it, in batches of any size; a violation of a rule outside ``rules`` raises ``ValueError``.
    Of an open finding of ``rules`` of which nothing was said, ``ending`` tells how it ends, or None where the silence
    is no evidence. Each batch is one transaction unless the caller holds one open around all of it: findings, events
    and alerts are written together, and log lines follow. A run that is cut short has opened what was said until
    then and ended nothing. Memory holds one batch, and eight bytes for each finding that stands.
    """
    judged = sorted(rules)
    up_to = await comparing.last_id(connection)
    standing = array("q")

    async def write(happened: Sequence[tuple[Bearer, About, Change]]) -> None:
        told = [(about, change) for _bearer, about, change in happened]
        async with linked(connection, environment, now):
            await findings.apply(
                connection, sweep, environment, [(bearer, change) for bearer, _about, change in happened], now
            )
            await teller.put_into_outbox(connection, told, now)
        teller.tell(told, now)

    async for batch in said:
        moved, untouched = await _moved(connection, environment, judged, batch, deadlines, now)
        standing.extend(untouched)
        if moved:
            await write(moved)
    async for unsaid in comparing.standing(connection, environment, judged, up_to=up_to, except_ids=standing):
        over: list[tuple[Bearer, About, Change]] = []
        for one in unsaid:
            resolution = ending(one)
            over.extend(
                (one.bearer, about_of(one.bearer, one.token, change.violation), change)
                for change in changes([one.finding], (), partial(_same, resolution))
            )
        if over:
            await write(over)


def _same(resolution: Resolution | None, _rule_id: str) -> Resolution | None:
    return resolution


async def _moved(
    connection: Connection,
    environment: int,
    judged: Sequence[str],
    batch: Sequence[Said],
    deadlines: Deadlines,
    now: datetime,
) -> tuple[list[tuple[Bearer, About, Change]], list[int]]:
    """Return what a batch changes, and the ids of known findings that it speaks of."""
    violations: dict[Bearer, list[Violation]] = {}
    for one in batch:
        if one.violation.rule_id not in judged:
            raise ValueError(f"{one.violation.rule_id} spoke, but {', '.join(judged)} are judged")
        violations.setdefault(one.bearer, []).append(one.violation)
    known = await comparing.known(connection, environment, list(violations), judged)
    spoken = {
        (bearer, violation.rule_id, violation.discriminator)
        for bearer, of_one in violations.items()
        for violation in of_one
    }
    still_said = [
        finding.id
        for bearer, of_one in known.items()
        for finding in of_one
        if (bearer, finding.rule_id, finding.discriminator) in spoken
    ]
    selected = await comparing.held(
        connection, [bearer for bearer in known if deadlines.is_narrowed and isinstance(bearer, int)]
    )
    happened = [
        (bearer, change)
        for bearer, of_one in violations.items()
        for change in changes(
            known.get(bearer, ()),
            of_one,
            lambda _rule_id: None,
            deadline_of(deadlines, bearer, selected.get(bearer) if isinstance(bearer, int) else None, now),
        )
    ]
    tokens = await comparing.held(connection, [bearer for bearer, _change in happened if isinstance(bearer, int)])
    return [
        (bearer, about_of(bearer, tokens[bearer] if isinstance(bearer, int) else None, change.violation), change)
        for bearer, change in happened
    ], still_said


def deadline_of(deadlines: Deadlines, bearer: Bearer, token: Held | None, now: datetime) -> Deadline:
    """Return the deadline of whom a finding is of; ``token`` may be None where ``deadlines`` are not narrowed."""
    if token is None:
        return deadlines.of_subject(str(bearer), now)
    return deadlines.of(*as_selected(token, deadlines.environment), now)


def as_selected(token: Held, environment: str) -> tuple[Observation, TokenMetadata]:
    """Return what selectors look at; of a token that was never seen, what its sources say."""
    seen = token.observation
    if seen is None:
        observation = Observation(
            environment, token.label, _NEVER, Outcome.MISSING, None, locations=token.locations, tags=token.tags
        )
    else:
        observation = msgspec.structs.replace(seen, environment=environment)
    return observation, token.last_found or TokenMetadata(token.label)


def about_of(bearer: Bearer, token: Held | None, violation: Violation) -> About:
    """Return of whom a finding is: of a stored token, or of a subject that the violation's evidence describes."""
    if token is not None:
        seen = None
        if token.observation is not None and token.last_found is not None:
            seen = token.observation, token.last_found
        return About(token.label, token.name, token.owner, token.locations, seen, token.tags)
    name, owner = violation.evidence.get("name"), violation.evidence.get("owner")
    return About(str(bearer), name if isinstance(name, str) else None, owner if isinstance(owner, str) else None, ())
