"""What holds for every HTTP request that leaves."""

from datetime import UTC, datetime

import pytest

from auditor.outbound import is_loopback, retry_after_seconds

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("Tue, 24 Nov 2026 09:02:00 GMT", 120),
        ("Tue, 24 Nov 2026 08:00:00 GMT", 0),
        ("9" * 400, 86_400),
        ("Tue, 24 Nov 2099 08:00:00 GMT", 86_400),
        ("-5", None),
        ("²", None),
        ("soon", None),
        ("Tue, 24 Nov 2026 09:02:00 -0000", None),
        ("Tue, 24 Nov 2026 09:02:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds({} if value is None else {"Retry-After": value}, NOW) == seconds


@pytest.mark.parametrize("value", ["120", "Wed, 25 Nov 2026 09:02:00 GMT"])
def test_retry_after_goes_by_the_clock_of_who_answers(value: str) -> None:
    headers = {"Retry-After": value, "Date": "Wed, 25 Nov 2026 09:00:00 GMT"}
    assert retry_after_seconds(headers, NOW) == 120


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Wed, 25 Nov 2026 09:00:00 -0000", "Wed, 25 Nov 2026 09:00:00 +99999999999999999999"]
)
def test_our_clock_stands_in_for_a_date_that_is_none(date: str) -> None:
    headers = {"Retry-After": "Tue, 24 Nov 2026 09:02:00 GMT", "Date": date}
    assert retry_after_seconds(headers, NOW) == 120


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_stays_on_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", [None, "", "127.0.0.1.example.com", "localhost.example.com", "0.0.0.0", "10.0.0.1"])
def test_other_hosts_do_not(host: str | None) -> None:
    assert not is_loopback(host)
