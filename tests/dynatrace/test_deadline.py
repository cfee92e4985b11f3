import asyncio

import pytest

from auditor.dynatrace.deadline import Deadline


async def stay(deadline: Deadline, seconds: float) -> str:
    try:
        with deadline:
            await asyncio.sleep(seconds)
    except TimeoutError:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return "late"
    await asyncio.sleep(0)  # would raise where a cancellation was left over
    return "in time"


async def test_only_those_that_stay_too_long_are_ended() -> None:
    deadline = Deadline(0.05)
    stays = await asyncio.gather(*(stay(deadline, seconds) for seconds in (30, 0, 0.001, 30)))
    assert stays == ["late", "in time", "in time", "late"]
    # The timer that those before had started is no nearer for the one that comes now.
    assert list(await asyncio.gather(stay(deadline, 0), stay(deadline, 30))) == ["in time", "late"]
    deadline.close()


async def test_each_has_its_own_time_from_when_it_came() -> None:
    deadline = Deadline(0.3)
    first = asyncio.create_task(stay(deadline, 30))
    await asyncio.sleep(0.2)
    second = asyncio.create_task(stay(deadline, 30))
    await first
    assert not second.done()
    assert await second == "late"


async def test_an_error_leaves_as_it_is() -> None:
    with pytest.raises(OSError, match="broken"), Deadline(30):
        raise OSError("broken")


async def test_a_task_that_somebody_cancels_is_cancelled_and_not_late() -> None:
    deadline = Deadline(30)
    task = asyncio.create_task(stay(deadline, 30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadline.close()


async def test_a_late_task_that_somebody_cancels_too_is_cancelled() -> None:
    deadline = Deadline(0.01)

    async def clean_up_slowly() -> None:
        with deadline:
            try:
                await asyncio.sleep(30)
            finally:
                ending.set()
                await asyncio.sleep(30)

    ending = asyncio.Event()
    task = asyncio.create_task(clean_up_slowly())
    await ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
