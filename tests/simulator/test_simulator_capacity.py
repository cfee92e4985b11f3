import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.simulator.capacity import Admitted, Capacity, Pool, Throttled


def pool(workers: int = 1, queue: int = 0, wait_limit_seconds: float = 10.0) -> Pool:
    return Pool(Capacity(workers, queue, service_seconds=4.0, jitter=0.0, wait_limit_seconds=wait_limit_seconds))


def test_free_worker_takes_a_request_at_once() -> None:
    workers = pool(workers=2)
    assert [workers.arrive(0.0), workers.arrive(0.0)] == [Admitted(0.0, 4.0)] * 2


def test_request_is_throttled_at_once_when_workers_and_queue_are_full() -> None:
    busy = pool(workers=1, queue=1)
    assert busy.arrive(0.0) == Admitted(0.0, 4.0)
    assert busy.arrive(1.0) == Admitted(3.0, 4.0)
    assert busy.arrive(2.0) == Throttled(0.0)


def test_queue_has_room_again_when_a_worker_takes_the_next() -> None:
    busy = pool(workers=1, queue=1)
    busy.arrive(0.0)
    busy.arrive(0.0)
    assert busy.arrive(3.9) == Throttled(0.0)
    assert busy.arrive(4.0) == Admitted(4.0, 4.0)


def test_request_that_waits_too_long_is_throttled_after_the_limit() -> None:
    busy = pool(workers=1, queue=10)
    assert [busy.arrive(0.0) for _ in range(4)] == [
        Admitted(0.0, 4.0),
        Admitted(4.0, 4.0),
        Admitted(8.0, 4.0),
        Throttled(10.0),
    ]


def test_request_that_gives_up_takes_a_place_in_the_queue_but_no_worker() -> None:
    busy = pool(workers=1, queue=2, wait_limit_seconds=1.0)
    busy.arrive(0.0)
    assert [busy.arrive(0.0), busy.arrive(0.0), busy.arrive(0.0)] == [Throttled(1.0), Throttled(1.0), Throttled(0.0)]
    assert busy.arrive(3.5) == Admitted(0.5, 4.0)


def test_counts_say_what_happened() -> None:
    busy = pool(workers=1, queue=3)
    for _ in range(5):
        busy.arrive(0.0)
    assert (busy.counts.served, busy.counts.throttled_by_wait, busy.counts.throttled_by_queue) == (3, 1, 1)
    assert (busy.counts.throttled, busy.counts.max_queued) == (2, 3)


def test_more_workers_serve_new_requests_at_once() -> None:
    growing = pool(workers=1, queue=5)
    growing.arrive(0.0)
    growing.resize(Capacity(2, 5, 4.0, jitter=0.0), now=1.0)
    assert growing.arrive(1.0) == Admitted(0.0, 4.0)
    assert growing.arrive(1.0) == Admitted(3.0, 4.0)


def test_with_fewer_workers_a_request_waits_for_enough_old_ones_to_end() -> None:
    shrinking = pool(workers=3, queue=5)
    for now in (0.0, 1.0, 2.0):
        shrinking.arrive(now)
    shrinking.resize(Capacity(1, 5, 4.0, jitter=0.0), now=2.0)
    assert shrinking.arrive(2.0) == Admitted(4.0, 4.0)


def test_service_times_spread_by_the_jitter_and_repeat_with_the_seed() -> None:
    capacity = Capacity(1, 0, service_seconds=1.0, jitter=0.2)
    assert Pool(capacity, "s").arrive(0.0) == Pool(capacity, "s").arrive(0.0)
    varied = Pool(Capacity(100, 0, service_seconds=1.0, jitter=0.2), "s")
    times = [
        verdict.service_seconds for verdict in (varied.arrive(0.0) for _ in range(100)) if isinstance(verdict, Admitted)
    ]
    assert len(times) == 100
    assert all(0.8 <= seconds <= 1.2 for seconds in times)
    assert max(times) - min(times) > 0.2


@given(
    st.integers(1, 4),
    st.integers(0, 4),
    st.lists(st.integers(0, 12).map(lambda quarters: quarters / 4), min_size=1, max_size=60),
)
def test_never_more_at_work_than_workers_nor_more_waiting_than_places(
    workers: int, queue: int, gaps: list[float]
) -> None:
    model = Pool(Capacity(workers, queue, service_seconds=2.0, jitter=0.0, wait_limit_seconds=3.0))
    now = 0.0
    waiting: list[tuple[float, float]] = []
    working: list[tuple[float, float]] = []
    for gap in gaps:
        now += gap
        match model.arrive(now):
            case Admitted(wait, service):
                assert wait <= 3.0
                waiting.append((now, now + wait))
                working.append((now + wait, now + wait + service))
            case Throttled(after):
                assert after in (0.0, 3.0)
                waiting.append((now, now + after))
    for spans, limit in ((waiting, queue), (working, workers)):
        for moment, _ in spans:
            assert sum(start <= moment < end for start, end in spans) <= limit
    assert model.counts.served + model.counts.throttled == len(gaps)


@pytest.mark.parametrize(
    "settings",
    [{"workers": 0}, {"queue": -1}, {"service_seconds": -1.0}, {"jitter": 1.5}, {"wait_limit_seconds": -1.0}],
)
def test_impossible_capacity_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="capacity needs"):
        Capacity(**settings)  # type: ignore[arg-type]  # the point of the test
