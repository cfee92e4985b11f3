from datetime import UTC, datetime, timedelta

import pytest

from auditor.simulator.answers import ApiError
from auditor.simulator.listing import parse_instant, parse_query
from auditor.simulator.token import Token

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TOKENS = [
    Token(
        id="a", name="A", owner="jane", scopes=("metrics.read",), creation_date=NOW - 3 * DAY, last_used_date=NOW - DAY
    ),
    Token(id="b", name="B", owner="john", scopes=("logs.read", "slo.read"), creation_date=NOW - DAY),
    Token(
        id="c",
        name="C",
        owner="jane",
        scopes=("slo.read",),
        creation_date=NOW - 2 * DAY,
        last_used_date=NOW - 20 * DAY,
        personal_access_token=True,
        additional_metadata={"dashboardId": "d"},
        overlay={"future": 1},
    ),
]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, "bca"),
        ({"sort": "creationDate"}, "acb"),
        ({"apiTokenSelector": 'owner("jane")'}, "ca"),
        ({"apiTokenSelector": 'owner("Jane")'}, ""),
        ({"apiTokenSelector": "personalAccessToken(false)"}, "ba"),
        ({"apiTokenSelector": 'scope("logs.read","metrics.read")'}, "ba"),
        ({"apiTokenSelector": 'scope("slo.read"), owner("jane"), personalAccessToken(true)'}, "c"),
        ({"from": "now-2d"}, "a"),
        ({"to": "now-2d"}, "c"),
        ({"from": "2026-01-01T00:00:00.000Z", "to": "now"}, "ca"),
    ],
)
def test_query_selects_and_orders(query: dict[str, str], ids: str) -> None:
    assert "".join(parse_query(query, NOW).select(TOKENS)) == ids


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("", {"id", "name", "enabled", "owner", "creationDate"}),
        ("+scopes,-owner", {"id", "name", "enabled", "creationDate", "scopes"}),
        (" scopes,-owner", {"id", "name", "enabled", "creationDate", "scopes"}),
        ("lastUsedDate,scopes", {"id", "lastUsedDate", "scopes"}),
        ("additionalMetadata", {"id", "additionalMetadata", "future"}),
    ],
)
def test_fields_choose_what_is_shown(fields: str, names: set[str]) -> None:
    assert set(parse_query({"fields": fields}, NOW).shape(TOKENS[2])) == names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pageSize", "99"),
        ("pageSize", "10001"),
        ("pageSize", "many"),
        ("sort", "name"),
        ("fields", "secret"),
        ("from", "yesterday"),
        ("apiTokenSelector", "owner(jane)"),
        ("apiTokenSelector", 'owner("a","b")'),
        ("apiTokenSelector", "personalAccessToken(1)"),
        ("apiTokenSelector", 'tag("x")'),
    ],
)
def test_wrong_parameter_is_named(name: str, value: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_query({name: value}, NOW)
    assert refused.value.answer.status == 400
    assert f'"path":"{name}"'.encode() in refused.value.answer.body


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", NOW),
        ("now-90m", NOW - timedelta(minutes=90)),
        ("now+2w", NOW + timedelta(weeks=2)),
        ("1605168930144", datetime(2020, 11, 12, 8, 15, 30, 144_000, tzinfo=UTC)),
        ("2020-11-12T08:15:30.144Z", datetime(2020, 11, 12, 8, 15, 30, 144_000, tzinfo=UTC)),
        ("2020-11-12T08:15:30", datetime(2020, 11, 12, 8, 15, 30, tzinfo=UTC)),
        ("9" * 30, None),
        ("now+999999y", None),
        ("soon", None),
    ],
)
def test_instants_are_read_as_the_api_reads_them(text: str, instant: datetime | None) -> None:
    assert parse_instant(text, NOW) == instant
