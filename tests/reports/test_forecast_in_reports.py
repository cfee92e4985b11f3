"""The forecast in reports: its months, its picture, and the page's section."""

from datetime import UTC, date, datetime, timedelta
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.policy.forecast import Staggering, forecast
from auditor.policy.rules.exp_06 import Cliff
from auditor.reports.calendar import HEIGHT, calendar
from auditor.reports.expiry import months
from auditor.reports.html import Html
from tests.reports.pages import parsed, section, short, text_of
from tests.reports.report_samples import NOW, expiry, written
from tests.reports.test_html_report import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"


def test_months_add_up_and_name_their_busiest_day() -> None:
    made = expiry(_0=1, _12=2, _13=2, _130=31, _364=5)
    every = months(made)
    assert [month.name for month in every] == [f"2026-{n:02d}" for n in range(3, 13)] + [
        "2027-01",
        "2027-02",
        "2027-03",
    ]
    assert sum(month.tokens for month in every) == made.tokens == 41
    march = every[0]
    assert (march.tokens, march.busiest, march.on_busiest, march.cliffs) == (5, date(2026, 3, 14), 2, 0)
    assert [(month.name, month.cliffs) for month in every if month.cliffs] == [("2026-07", 1)]
    assert (every[1].tokens, every[1].busiest, every[1].on_busiest) == (0, None, 0)


def test_cliff_that_began_before_the_forecast_counts_in_its_first_month() -> None:
    now = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
    window = (now.date() - date(1970, 1, 1)).days % 30 + 1
    made = forecast("prod", {now.date(): 50}, 100, now=now, cliff=Cliff(window_days=30), staggering=Staggering())
    assert window > 2
    assert made.cliffs[0].first_day < made.first_day
    assert sum(month.cliffs for month in months(made)) == 1
    assert months(made)[0].cliffs == 1


@given(st.dictionaries(st.integers(0, 364), st.integers(1, 10_000), min_size=1), st.integers(0, 364))
def test_picture_holds_every_day_within_its_frame(days: dict[int, int], later: int) -> None:
    now = NOW + timedelta(days=later)
    ends = {now.date() + timedelta(days=ahead): tokens for ahead, tokens in days.items()}
    made = forecast("prod", ends, 20_000, now=now, cliff=Cliff(), staggering=Staggering())
    drawn = calendar(made)
    assert len(drawn.bars) == len(made.days)
    assert all(0 <= bar.x <= drawn.width - 3 and bar.y >= 0 and bar.height >= 2 for bar in drawn.bars)
    assert all(bar.y + bar.height <= HEIGHT for bar in drawn.bars)
    assert max(bar.height for bar in drawn.bars) == 80
    assert len({bar.x for bar in drawn.bars}) == len(drawn.bars)
    assert 11 <= len(drawn.ticks) <= 13
    assert [tick.x for tick in drawn.ticks] == sorted({tick.x for tick in drawn.ticks})


async def test_page_shows_the_year_with_its_cliffs_and_the_proposal(estate_document: Element) -> None:
    shown = section(estate_document, "forecast")

    assert "production 2 cliffs" in shown
    assert "62 of 142 live tokens expire from 2026-03-02 to 2027-03-01, at most 31 on one day." in shown
    assert "31 tokens of 142 expire on 2026-07-10" in shown
    assert (
        "Staggered, the tokens of the cliffs of 2026-07-10 and 2026-12-30 would bring at most 5 renewals a day "
        "in place of 31."
    ) in shown
    assert "None of its 58 live tokens expires in that time." in shown
    (picture,) = (one for one in estate_document.iter(f"{SVG}svg") if one.get("class") == "year")
    assert picture.get("role") == "img"
    assert "2 cliffs, at most 31 on one day" in str(picture.get("aria-label"))
    assert [one.get("class") for one in picture.iter(f"{SVG}rect")].count("cliff") == 2
    assert len(list(picture.iter(f"{SVG}rect"))) == 10
    assert [str(one.text) for one in picture.iter(f"{SVG}title")][4] == "2026-07-10: 31 tokens, part of a cliff"


async def test_page_without_a_forecast_says_so() -> None:
    assert "No environment has been swept, so nothing is known." in section(await written(Html(), short()), "forecast")


async def test_lead_time_without_room_is_said() -> None:
    shown = section(await written(Html(), short(forecasts=[expiry(_3=12)])), "forecast")
    assert "For 12 of them there is no room to keep the lead time." in shown


@pytest.mark.parametrize("value", HOSTILE)
async def test_hostile_name_of_an_environment_is_shown_as_text(value: str) -> None:
    document = parsed(await written(Html(), short(forecasts=[expiry(value, _40=12)])))
    assert len(list(document.iter("script"))) == 1
    assert not list(document.iter("img"))
    assert not [name for element in document.iter() for name in element.attrib if str(name).startswith("on")]
    assert text_of(document).count(" ".join(value.split())) == 2
