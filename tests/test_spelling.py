"""What a person is told who wrote a name that nothing goes by."""

from auditor.model.spelling import meant


def test_nearest_name_is_asked_for_whatever_its_case() -> None:
    assert meant("PRD", ["prod", "staging"]) == 'did you mean "prod"?'
    assert meant("dt-exp-1", ["DT-EXP-01", "DT-SCP-05"], otherwise="all are listed") == 'did you mean "DT-EXP-01"?'


def test_names_are_listed_where_none_is_near() -> None:
    assert meant("x", ["staging", "prod"]) == "known here: prod, staging"
    assert meant("x", []) == "known here: none"
    assert meant("x", ["prod"], otherwise="all are listed") == "all are listed"


def test_list_of_a_thousand_names_is_cut() -> None:
    told = meant("x", [f"e{number:04}" for number in range(1_000)])
    assert told.startswith("known here: e0000, e0001, ")
    assert told.endswith(", e0019 and 980 more")
