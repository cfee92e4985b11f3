"""The gate that requests pass: as many as permitted, the others in the order they came."""

import asyncio

from auditor.dynatrace.gate import Gate
from auditor.dynatrace.limit import Limit


def gate_of(permitted: int) -> Gate:
    gate = Gate(Limit(64))
    gate.permitted = permitted
    return gate


async def queued(gate: Gate, number: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(gate.enter()) for _number in range(number)]
    await asyncio.sleep(0)
    return tasks


async def settled() -> None:
    for _step in range(3):
        await asyncio.sleep(0)


def entered(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() and not task.cancelled() for task in tasks]


async def test_no_more_are_under_way_than_permitted_and_those_that_wait_go_in_turn() -> None:
    gate = gate_of(2)
    tasks = await queued(gate, 5)
    assert (entered(tasks), gate.under_way, gate.room) == ([True, True, False, False, False], 2, 0)
    gate.leave()
    await settled()
    assert (entered(tasks), gate.under_way) == ([True, True, True, False, False], 2)
    for _number in range(2):
        gate.leave()
        await settled()
    assert all(entered(tasks))


async def test_late_comer_does_not_overtake_who_waits() -> None:
    gate = gate_of(1)
    waiting = (await queued(gate, 2))[1]
    gate.leave()
    assert gate.room == 0  # the place was handed on
    late = (await queued(gate, 1))[0]
    assert (waiting.done(), late.done()) == (True, False)
    gate.leave()
    await late


async def test_higher_limit_lets_several_in_at_once_and_a_lower_one_none_until_enough_have_left() -> None:
    gate = gate_of(2)
    tasks = await queued(gate, 6)
    gate.permitted = 4
    gate.leave()
    await settled()
    assert (sum(entered(tasks)), gate.under_way) == (5, 4)
    gate.permitted = 2
    gate.leave()
    gate.leave()
    await settled()
    assert (sum(entered(tasks)), gate.under_way) == (5, 2)
    gate.leave()
    await settled()
    assert (sum(entered(tasks)), gate.under_way) == (6, 2)


async def test_who_gives_up_waiting_takes_no_place() -> None:
    gate = gate_of(1)
    tasks = await queued(gate, 3)
    tasks[1].cancel()
    gate.leave()  # before the one that was cancelled runs
    await settled()
    assert entered(tasks) == [True, False, True]
    assert gate.under_way == 1


async def test_place_that_comes_while_its_taker_is_cancelled_goes_on() -> None:
    gate = gate_of(1)
    tasks = await queued(gate, 3)
    gate.leave()
    tasks[1].cancel()  # after the place was given to it
    await settled()
    assert entered(tasks) == [True, False, True]
    assert gate.under_way == 1
