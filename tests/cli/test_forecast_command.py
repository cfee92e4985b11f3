"""``auditor forecast``: the calendar, the cliffs and the days of renewal, as text and as JSON."""

from datetime import UTC, date, datetime, timedelta

import pytest

from tests.command_line import Site

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def swept(lasting_site: Site) -> Site:
    """Twelve production tokens of two owners that end on one day, and one that ends later; staging has no cliff."""
    now = datetime.now(UTC)
    prod = lasting_site.worlds["prod"]
    end = now.replace(hour=12, minute=0, second=0, microsecond=0) + 100 * DAY
    tokens = [
        prod.create(f"batch-{n}", ["metrics.read"], owner="svc-a" if n < 6 else "svc-b", expiration_date=end)
        for n in range(12)
    ]
    tokens.append(prod.create("later", ["metrics.read"], owner="svc-a", expiration_date=end + 20 * DAY))
    tokens.append(prod.create("forever", ["metrics.read"], owner="svc-a"))
    lasting_site.store("prod", tokens)
    assert lasting_site.run("sweep", "--all").exit_code == 0
    return lasting_site


def cliff_day() -> date:
    return datetime.now(UTC).date() + 100 * DAY


def test_calendar_cliffs_and_days_of_renewal_are_printed(swept: Site) -> None:
    done = swept.run("forecast", "-e", "prod")
    assert (done.exit_code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "prod"
    assert lines[1].startswith("  13 of 14 live tokens expire from ")
    assert lines[1].endswith(", at most 12 on one day.")
    month = next(line for line in lines if line.startswith(f"  {cliff_day():%Y-%m} "))
    assert f"busiest: {cliff_day()} with 12  cliffs: 1" in month
    assert f"  Cliff: 12 tokens of 14 expire on {cliff_day()}" in lines
    assert "  Renewed as follows, at most 1 token comes up on one day in place of 12." in lines
    proposed = [line.split() for line in lines if "  dt0c01." in line]
    assert len(proposed) == 12
    assert {expires for _renew, expires, *_rest in proposed} == {str(cliff_day())}
    assert len({renew for renew, *_rest in proposed}) == 12
    assert max(renew for renew, *_rest in proposed) <= str(cliff_day() - 14 * DAY)
    assert "no room" not in done.out


def test_forecast_as_json_is_that_of_the_text(swept: Site) -> None:
    prod, staging = swept.run("forecast", "--json").json()
    assert (prod["environment"], prod["active"], prod["tokens"]) == ("prod", 14, 13)
    assert (prod["most_before"], prod["most_after"], prod["without_lead"]) == (12, 1, 0)
    assert {"day": str(cliff_day()), "tokens": 12} in prod["days"]
    (cliff,) = prod["cliffs"]
    assert (cliff["first_day"], cliff["last_day"], cliff["tokens"]) == (str(cliff_day()), str(cliff_day()), 12)
    assert len(prod["proposals"]) == 12
    assert prod["proposals"][0].keys() == {
        "label",
        "token_name",
        "owner",
        "expiration_date",
        "renew_on",
        "keeps_lead",
    }
    assert sum(day["tokens"] for day in prod["renewals"]) == 13
    assert (staging["environment"], staging["cliffs"], staging["proposals"]) == ("staging", [], [])
    assert swept.run("forecast", "--json").json() == [prod, staging]


def test_lead_time_spread_and_weekdays_are_obeyed(swept: Site) -> None:
    (prod,) = swept.run(
        "forecast", "--json", "-e", "prod", "--lead-days", "40", "--spread-days", "13", "--weekdays-only"
    ).json()
    days = {date.fromisoformat(one["renew_on"]) for one in prod["proposals"]}
    assert min(days) >= cliff_day() - 53 * DAY
    assert max(days) <= cliff_day() - 40 * DAY
    assert {day.weekday() for day in days} <= set(range(5))
    assert prod["most_after"] == 2


def test_lead_time_without_room_is_marked(swept: Site) -> None:
    done = swept.run("forecast", "--lead-days", "101")
    assert "  For 12 of them (!) there is no room to keep the lead time." in done.out.splitlines()
    assert sum(" !  " in line for line in done.out.splitlines()) == 12


def test_what_makes_no_sense_exits_with_2(swept: Site) -> None:
    assert swept.run("forecast", "--lead-days", "-1").exit_code == 2
    assert swept.run("forecast", "--spread-days", "366").exit_code == 2
    unknown = swept.run("forecast", "-e", "prd")
    assert unknown.exit_code == 2
    assert 'did you mean "prod"?' in unknown.complaints[0]


def test_nothing_swept_is_said_in_words_and_is_an_empty_list(site: Site) -> None:
    assert site.run("forecast").out == "No environment has been swept yet.\n"
    assert site.run("forecast", "--json").json() == []
