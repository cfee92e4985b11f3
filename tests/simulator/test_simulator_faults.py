import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.simulator.faults import Fault, Faults, Injector, Plan

PATH = "/api/v2/apiTokens/lookup"


def test_plan_goes_through_its_faults_and_then_stays() -> None:
    injector = Injector(Faults(plans=(Plan((Fault.RESET, None), then=Fault.HTML),)))
    assert [injector.next(PATH, "a") for _ in range(4)] == [Fault.RESET, None, Fault.HTML, Fault.HTML]
    assert injector.injected == {Fault.RESET: 1, Fault.HTML: 2}


def test_plan_for_one_token_leaves_the_others_alone() -> None:
    injector = Injector(Faults(plans=(Plan(token_id="a", then=Fault.RESET),)))
    assert [injector.next(PATH, token_id) for token_id in ("a", "b", None, "a")] == [
        Fault.RESET,
        None,
        None,
        Fault.RESET,
    ]


def test_plan_for_a_path_leaves_the_others_alone() -> None:
    injector = Injector(Faults(plans=(Plan(path="/api/v1/*", then=Fault.RESET),)))
    assert [injector.next(path, None) for path in (PATH, "/api/v1/tokens/lookup")] == [None, Fault.RESET]


def test_first_plan_that_matches_decides() -> None:
    plans = (Plan(token_id="a"), Plan(then=Fault.RESET))
    injector = Injector(Faults(plans=plans, probability={Fault.HTML: 1.0}))
    assert [injector.next(PATH, "a"), injector.next(PATH, "b")] == [None, Fault.RESET]


def test_probabilities_hold_over_many_requests() -> None:
    faults = Faults(probability={Fault.RESET: 0.1, Fault.HTML: 0.3}, seed=4)
    drawn = [faults.draw(PATH, f"token {number}", 0) for number in range(5_000)]
    assert 0.08 < drawn.count(Fault.RESET) / 5_000 < 0.12
    assert 0.27 < drawn.count(Fault.HTML) / 5_000 < 0.33
    assert 0.57 < drawn.count(None) / 5_000 < 0.63


def test_probability_concerns_its_path_only() -> None:
    faults = Faults(probability={Fault.RESET: 1.0}, path="/api/v1/*")
    assert faults.draw(PATH, "a", 0) is None
    assert faults.draw("/api/v1/tokens/lookup", "a", 0) is Fault.RESET


@given(st.permutations(["a", "b", "c", "a", "b", "c", "a", "b"]))
def test_what_befalls_a_token_does_not_depend_on_the_order_of_arrival(order: list[str]) -> None:
    def befalls(arrivals: list[str]) -> dict[str, list[Fault | None]]:
        injector = Injector(Faults(probability={Fault.RESET: 0.3, Fault.HTML: 0.3}, seed=9))
        seen: dict[str, list[Fault | None]] = {"a": [], "b": [], "c": []}
        for token_id in arrivals:
            seen[token_id].append(injector.next(PATH, token_id))
        return seen

    assert befalls(order) == befalls(sorted(order))


@pytest.mark.parametrize("probability", [{Fault.RESET: 0.6, Fault.HTML: 0.6}, {Fault.RESET: -0.1}])
def test_impossible_probabilities_are_refused(probability: dict[Fault, float]) -> None:
    with pytest.raises(ValueError, match="fault probabilities"):
        Faults(probability=probability)
