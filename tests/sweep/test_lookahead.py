"""Tokens that wait for their lookups: who is next, how many may wait, and who has room."""

import asyncio
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.secret import Secret
from auditor.policy.urgency import NEVER_LOOKED_UP, Urgency
from auditor.store.tokens import Enrolment
from auditor.sweep.lookahead import Crowd, LookAhead, Waiting

MINUTE = 60.0
URGENCIES = st.just(NEVER_LOOKED_UP) | st.builds(
    Urgency, st.integers(0, 3), st.integers(0, 9).map(lambda m: m * MINUTE)
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.sweep.lookahead.WINDOW", 6)
    monkeypatch.setattr("auditor.sweep.lookahead.AT_LEAST", 2)


def one(urgency: Urgency, name: str = "a") -> tuple[Urgency, Waiting]:
    return urgency, Waiting(Secret(name), Enrolment(name.encode(), None, (), frozenset()), None)


def several(number: int) -> list[tuple[Urgency, Waiting]]:
    return [one(NEVER_LOOKED_UP, str(index)) for index in range(number)]


def names(ahead: LookAhead) -> list[str]:
    return [ahead.take().secret.reveal() for _number in range(len(ahead))]


@given(st.lists(st.lists(URGENCIES, max_size=9), max_size=9))
def test_the_most_urgent_of_all_batches_is_next(batches: list[list[Urgency]]) -> None:
    async def taken() -> list[str]:
        ahead = LookAhead(Crowd())
        async with asyncio.TaskGroup() as reading:
            for batch in batches:
                reading.create_task(ahead.put([one(urgency, repr(urgency)) for urgency in batch]))
            await asyncio.sleep(0)
            return names(ahead)

    assert asyncio.run(taken()) == [repr(urgency) for urgency in sorted(chain.from_iterable(batches))]


async def test_what_comes_later_and_is_more_urgent_overtakes() -> None:
    ahead = LookAhead(Crowd())
    await ahead.put([one(Urgency(3, 0.0), "calm"), one(Urgency(3, MINUTE), "calm, but later")])
    assert ahead.take().secret.reveal() == "calm"
    await ahead.put([one(Urgency(1, 9 * MINUTE), "risky")])
    assert names(ahead) == ["risky", "calm, but later"]


async def test_those_of_one_minute_stand_in_line() -> None:
    ahead = LookAhead(Crowd())
    await ahead.put([one(Urgency(3, MINUTE + 20), "first"), one(Urgency(3, MINUTE), "second")])
    assert names(ahead) == ["first", "second"]


async def test_reading_is_held_back_while_as_many_wait_as_may() -> None:
    ahead = LookAhead(Crowd())
    await ahead.put(several(5))
    reading = asyncio.create_task(ahead.put(several(2)))
    await asyncio.sleep(0)
    assert len(ahead) == 7
    ahead.take()
    await asyncio.sleep(0)
    assert not reading.done()
    ahead.take()
    await reading


async def test_sweep_reads_a_few_however_many_wait_for_others() -> None:
    crowd = Crowd()
    reading = asyncio.create_task(LookAhead(crowd).put(several(6)))
    await asyncio.sleep(0)
    assert not reading.done()
    ahead = LookAhead(crowd)
    await ahead.put(several(1))
    other = asyncio.create_task(ahead.put(several(1)))
    await asyncio.sleep(0)
    assert not other.done()
    ahead.take()
    await other
    reading.cancel()


async def test_room_of_a_sweep_that_broke_off_is_free_again() -> None:
    crowd = Crowd()
    with LookAhead(crowd) as ahead:
        await ahead.put(several(5))
        assert crowd.waiting == 5
    assert crowd.waiting == 0


async def test_nobody_waits_once_no_more_will_come() -> None:
    ahead = LookAhead(Crowd())
    await ahead.put(several(1))
    ahead.end()
    assert await ahead.has_one()
    ahead.take()
    assert not await ahead.has_one()


async def test_who_waits_for_a_token_gets_one_that_comes() -> None:
    ahead = LookAhead(Crowd())
    waiters = [asyncio.create_task(ahead.has_one()) for _number in range(2)]
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in waiters)
    await ahead.put(several(1))
    assert await waiters[0]
