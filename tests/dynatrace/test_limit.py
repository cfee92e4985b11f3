"""The limit of requests under way: against thread pools of all sizes, in virtual time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.dynatrace.limit import Limit
from auditor.simulator.capacity import Capacity
from tests.dynatrace.virtual_environment import Fixed, best_fixed, run

POOLS = [
    Capacity(workers=workers, queue=queue, service_seconds=service_seconds)
    for workers in (1, 10, 64)
    for queue in (0, 5, 100)
    for service_seconds in (0.02, 0.5)
]
CHANGING = [Capacity(workers=workers, queue=queue, service_seconds=0.1) for workers in (6, 16) for queue in (0, 5, 100)]


def _name(capacity: Capacity) -> str:
    return f"{capacity.workers}+{capacity.queue} of {capacity.service_seconds}s"


def _long_enough(capacity: Capacity, answers: int) -> float:
    return answers * capacity.service_seconds / capacity.workers


@pytest.mark.parametrize("capacity", POOLS, ids=_name)
def test_nearly_all_that_the_best_fixed_number_brings_with_hardly_a_429(capacity: Capacity) -> None:
    seconds = _long_enough(capacity, max(5000, 150 * capacity.workers))
    course = run(Limit(256), capacity, seconds)
    best = best_fixed(capacity, _long_enough(capacity, 1200))
    assert course.rate(seconds / 2) >= 0.95 * best
    assert course.share_throttled() < 0.01


@pytest.mark.parametrize("trip", [0.02, 0.1])
@pytest.mark.parametrize("queue", [5, 100])
def test_distant_environment_gets_more_requests(queue: int, trip: float) -> None:
    capacity = Capacity(workers=10, queue=queue, service_seconds=0.1)
    course = run(Limit(256), capacity, 60, trip=trip)
    assert course.rate(30) >= 0.95 * best_fixed(capacity, 15, trip=trip)
    assert course.share_throttled() < 0.01


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize("capacity", CHANGING, ids=_name)
def test_other_capacity_is_found_within_30_s(capacity: Capacity, factor: float) -> None:
    changed = replace(capacity, workers=int(capacity.workers * factor))
    course = run(Limit(256), capacity, 70, changes=[(30, changed)])
    best = best_fixed(changed, _long_enough(changed, 1200))
    assert max(course.rate(at, at + 4) for at in range(30, 57)) >= 0.95 * best
    assert course.rate(60) >= 0.9 * best
    assert course.share_throttled(since=30) < 0.01


@pytest.mark.parametrize("trip", [0.001, 0.02])
def test_doubling_is_found_within_30_s_where_4_answers_a_second_come_and_none_waits(trip: float) -> None:
    capacity = Capacity(workers=2, queue=0, service_seconds=0.5)
    changed = replace(capacity, workers=4)
    course = run(Limit(256), capacity, 100, trip=trip, changes=[(40, changed)])
    assert course.rate(70) >= 0.95 * best_fixed(changed, _long_enough(changed, 1200), trip=trip)
    assert course.share_throttled(since=40) < 0.01


def test_bursts_of_429_among_many_answers_are_no_reason_to_shrink() -> None:
    capacity = Capacity(workers=32, queue=5, service_seconds=0.02)
    course = run(Limit(256), capacity, 12, trip=0.02)
    assert course.rate(6) >= 0.9 * best_fixed(capacity, 3, trip=0.02)
    assert course.share_throttled() < 0.01


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("workers", "queue", "best"), [(10, 0, 12), (10, 5, 21), (64, 5, 119)], ids=["10+0", "10+5", "64+5"]
)
def test_where_429s_come_by_chance_as_many_are_paid_as_may_be(workers: int, queue: int, best: int, seed: int) -> None:
    capacity = Capacity(workers=workers, queue=queue, service_seconds=0.02)  # half of an answer's time is network
    seconds = _long_enough(capacity, 20_000)
    course = run(Limit(256), capacity, seconds, trip=0.02, seed=seed)
    assert course.share_throttled() < 0.01
    fixed = run(Fixed(best), capacity, seconds / 4, trip=0.02, seed=seed)
    assert course.rate(seconds / 2) >= 0.95 * fixed.rate(seconds / 20)


@pytest.mark.parametrize("service_seconds", [0.05, 0.2])
def test_slower_or_faster_answers_are_no_reason_to_shrink(service_seconds: float) -> None:
    capacity = Capacity(workers=10, queue=100, service_seconds=0.1)
    changed = replace(capacity, service_seconds=service_seconds)
    course = run(Limit(256), capacity, 80, changes=[(40, changed)])
    assert course.rate(50) >= 0.95 * best_fixed(changed, 10)


def test_queue_is_not_filled_for_nothing() -> None:
    limit = Limit(256)
    run(limit, Capacity(workers=10, queue=100, service_seconds=0.1), 60)
    assert 10 <= (limit.learned or 0) <= 30


def test_retry_after_makes_every_429_dear_and_so_they_get_rare() -> None:
    capacity = Capacity(workers=10, queue=5, service_seconds=0.02, retry_after_seconds=2)
    course = run(Limit(256), capacity, 120)
    assert course.rate(40) >= 0.9 * best_fixed(replace(capacity, retry_after_seconds=None), 5)
    assert len([at for at in course.throttled if at >= 40]) <= 3


def test_pool_that_is_always_taken_by_others_is_asked_ever_less_often() -> None:
    limit = Limit(64)
    now, pauses = 0.0, []
    for _attempt in range(12):
        pauses.append(limit.throttled(now, now + 0.001, limit.value))
        now += 0.002 + pauses[-1]
    assert limit.value == 1
    assert pauses[-7:] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0]


def test_429_after_a_wait_in_the_queue_halves_the_limit() -> None:
    limit = Limit(64)
    run(limit, Capacity(workers=32, queue=1000, service_seconds=0.1), 30)
    before = limit.value
    limit.throttled(30.0, 40.0, before)
    assert limit.value == before // 2
    limit.throttled(30.0, 40.0, before)  # it left at the same time as the other
    assert limit.value == before // 2


def test_few_requests_teach_nothing() -> None:
    limit = Limit(64)
    run(limit, Capacity(workers=32, service_seconds=0.1), 120, supply=2)
    assert limit.value <= 8


def test_ceiling_can_change_and_what_was_learned_stays() -> None:
    limit = Limit(256)
    capacity = Capacity(workers=32, queue=100, service_seconds=0.1)
    run(limit, capacity, 30)
    learned = limit.value
    limit.set_ceiling(128)
    assert limit.value in range(learned * 3 // 4, learned + 1)
    limit.set_ceiling(8)
    assert limit.value == 8
    assert run(limit, capacity, 10).rate(0) <= 8 / 0.1
    assert limit.value <= 8


def test_429_under_a_ceiling_that_was_lowered_is_given_way_to() -> None:
    limit = Limit(64)
    run(limit, Capacity(workers=10, queue=0, service_seconds=0.1), 30)
    limit.set_ceiling(4)
    limit.throttled(30.0, 30.001, 4)
    assert limit.value < 4


def test_what_was_learned_before_is_half_believed() -> None:
    capacity = Capacity(workers=32, queue=5, service_seconds=0.1)
    before, limit = Limit(256), Limit(256)
    run(before, capacity, 60)
    limit.resume(before.learned or 0)
    assert limit.value == ((before.learned or 0) + 1) // 2
    course = run(limit, capacity, 10)
    assert course.rate(2) >= 0.9 * best_fixed(capacity, 10)
    assert course.share_throttled() < 0.01


def test_climb_that_has_not_ended_is_not_yet_learned() -> None:
    limit = Limit(256)
    assert limit.learned is None
    run(limit, Capacity(workers=64, queue=100, service_seconds=0.1), 1)
    assert limit.value > 4
    assert limit.learned is None


@pytest.mark.parametrize(("learned", "begins"), [(1, 1), (3, 3), (6, 4), (20, 10), (21, 4)])
def test_no_more_is_begun_with_than_the_ceiling_and_what_was_learned_allow(learned: int, begins: int) -> None:
    limit = Limit(20)
    limit.resume(learned)
    assert limit.value == begins


@given(
    ceiling=st.integers(1, 40),
    told=st.lists(
        st.tuples(st.sampled_from(["answered", "throttled"]), st.floats(0, 20), st.floats(0, 20), st.integers(1, 50)),
        max_size=200,
    ),
)
def test_limit_stays_between_1_and_the_ceiling_whatever_it_is_told(
    ceiling: int, told: list[tuple[str, float, float, int]]
) -> None:
    limit, now = Limit(ceiling), 0.0
    for what, later, seconds, under_way in told:
        now += later
        if what == "answered":
            limit.answered(now - seconds, now, under_way)
        else:
            assert 0 <= limit.throttled(now - seconds, now, under_way) <= 8
        assert 1 <= limit.value <= ceiling
