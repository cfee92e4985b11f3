import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auditor.config.feeds import read_feeds
from auditor.policy.base import Feeds
from auditor.policy.document import FeedPaths

GOOD = "owner,left_at\nJohn.Smith,2026-03-31\n"


def read(directory: Path, content: str | bytes, feed: str = "leavers") -> tuple[Feeds, list[str]]:
    (directory / "feed").write_bytes(content.encode() if isinstance(content, str) else content)
    feeds, problems = read_feeds(FeedPaths(**{feed: "feed"}), directory)
    told = [str(problem).replace(f"{directory}/", "") for problem in problems]
    assert [str(reason).replace(f"{directory}/", "") for reason in feeds.unread.values()] == told
    assert set(feeds.unread) == ({feed} if told else set())
    return feeds, told


def test_feeds_that_are_not_configured_are_none_and_no_problem(tmp_path: Path) -> None:
    assert read_feeds(FeedPaths(), tmp_path) == (Feeds(), [])


def test_owners_are_names_without_regard_to_case(tmp_path: Path) -> None:
    feeds, told = read(tmp_path, "\ufeff# people\r\nJohn.Smith\r\n\r\n  STRASSE \n#svc\nstraße\n", "owners")
    assert feeds.owners == frozenset({"john.smith", "strasse"})
    assert told == []


def test_leavers_have_left_at_an_instant(tmp_path: Path) -> None:
    content = "id,left_at,owner\n1,2026-03-31,John.Smith\n2,2026-03-31T12:00:00+02:00, Svc \n\n3,,\n"
    content += "4,2026-04-01T00:00:00Z,x\n"
    feeds, told = read(tmp_path, content)
    assert told == []
    assert feeds.leavers == {
        "john.smith": datetime(2026, 3, 31, tzinfo=UTC),
        "svc": datetime(2026, 3, 31, 10, tzinfo=UTC),
        "x": datetime(2026, 4, 1, tzinfo=UTC),
    }
    assert {at.tzinfo for at in feeds.leavers.values()} == {UTC}, "messages show the day in UTC"


def test_attestations_keep_the_tokens_as_they_are_written(tmp_path: Path) -> None:
    content = '"token","confirmed_at"\n"dt0c01.ST2EY72KQINMH574WMNVI7YN","2026-03-31"\n'
    feeds, told = read(tmp_path, content, "attestations")
    assert feeds.attestations == {"dt0c01.ST2EY72KQINMH574WMNVI7YN": datetime(2026, 3, 31, tzinfo=UTC)}
    assert told == []


def test_of_several_rows_the_first_leaving_and_the_last_confirmation_count(tmp_path: Path) -> None:
    days = ("2026-09-20", "2020-01-01", "2026-10-01")
    feeds, _told = read(tmp_path, "owner,left_at\n" + "".join(f"Ann,{day}\n" for day in days))
    assert feeds.leavers == {"ann": datetime(2020, 1, 1, tzinfo=UTC)}
    feeds, _told = read(tmp_path, "token,confirmed_at\n" + "".join(f"dt0c01.A,{day}\n" for day in days), "attestations")
    assert feeds.attestations == {"dt0c01.A": datetime(2026, 10, 1, tzinfo=UTC)}


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff" + GOOD)[0].leavers == {"john.smith": datetime(2026, 3, 31, tzinfo=UTC)}


def test_feed_without_rows_is_empty_and_not_none(tmp_path: Path) -> None:
    assert read(tmp_path, "owner,left_at\n")[0].leavers == {}
    assert read(tmp_path, "", "owners")[0].owners == frozenset()


HEADER = "feed:1: the first line must name the columns owner and left_at, as in: owner,left_at"
DATE = "left_at must be an ISO 8601 date or instant, such as 2026-03-31"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", HEADER),
        ("name,left_at\n", HEADER),
        ("owner;left_at\nx;2026-03-31\n", HEADER),
        (GOOD + "x,31.3.2026\n", f"feed:3: {DATE}"),
        (GOOD + "x\n", f"feed:3: {DATE}"),
        (GOOD + "x,\n", f"feed:3: {DATE}"),
        (GOOD + "x,0001-01-01T00:00:00+05:00\n", f"feed:3: {DATE}"),
        ('"owner,left_at\n', "feed:1: is not CSV: unexpected end of data; see the quotes"),
        (GOOD + '"x,2026-03-31\ny,2026-03-31\n', "feed:3: is not CSV: unexpected end of data; see the quotes"),
        (GOOD + '"x"y,2026-03-31\n', "feed:3: is not CSV: ',' expected after '\"'; see the quotes"),
        (b"owner,left_at\nJ\xfcrgen,2026-03-31\n", "feed: this feed is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_feed_that_is_wrong_is_none_with_a_problem(tmp_path: Path, content: str | bytes, told: str) -> None:
    feeds, problems = read(tmp_path, content)
    assert (feeds.leavers, problems) == (None, [told])


def test_feeds_that_cannot_be_read_are_none_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "owners").write_text("x\n")
    paths = FeedPaths(owners=str(tmp_path / "owners"), leavers="none.csv", attestations=".")
    feeds, problems = read_feeds(paths, tmp_path)
    assert feeds.owners == frozenset({"x"})
    assert (feeds.leavers, feeds.attestations) == (None, None)
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/none.csv: this feed cannot be read: No such file or directory; correct the path or its mode",
        f"{tmp_path}: this feed cannot be read: Is a directory; correct the path or its mode",
    ]
    assert feeds.why_missing("leavers").startswith('feed "leavers" could not be read: ')


def test_feed_that_is_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    feeds, problems = read_feeds(FeedPaths(owners="pipe", leavers="pipe", attestations="/dev/null"), tmp_path)
    assert (feeds.owners, feeds.leavers, feeds.attestations) == (None, None, None)
    mend = "this feed cannot be read: Is not a regular file; correct the path or its mode"
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/pipe: {mend}",
        f"{tmp_path}/pipe: {mend}",
        f"/dev/null: {mend}",
    ]
