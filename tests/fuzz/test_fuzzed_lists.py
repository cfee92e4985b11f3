"""Whatever stands in the lists beside the configuration: owners, leavers, attestations and addresses."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given

from auditor.config.feeds import read_feeds
from auditor.config.load import load
from auditor.model.errors import ConfigError, Problem
from auditor.policy.document import FeedPaths
from tests.fuzz.mutations import mutated, no_hang, tries

FEEDS = (
    b"# owners\njohn.smith\n",
    b"owner,left_at\njohn.smith,2026-03-31\n",
    b"token,confirmed_at,note\r\ndt0c01.ST2EY72KQINMH574WMNVI7YN,2026-03-31T08:00:00+02:00,x\r\n",
)
ADDRESSES = (b'owner,addresses\njohn.smith,john@example.com\n"team, *",a@example.com; b@example.com\n',)
CONFIGURATION = """\
[environments.prod]
url = "https://abc12345.live.dynatrace.com"
token = { env = "T" }
[sources.files]
type = "plain"
path = "x"
environment = "prod"
[policy]
files = ["policy.toml"]
[alerts]
owners_file = "owners.csv"
"""


def test_feed_is_read_or_its_problem_is_told(tmp_path: Path) -> None:
    file = tmp_path / "feed"

    @tries(60)
    @given(mutated(FEEDS))
    def reads(content: bytes) -> None:
        file.write_bytes(content)
        with no_hang():
            feeds, problems = read_feeds(FeedPaths(owners="feed", leavers="feed", attestations="feed"), tmp_path)
        assert_told(problems, file)
        missing = [name for name in ("owners", "leavers", "attestations") if getattr(feeds, name) is None]
        assert sorted(feeds.unread) == sorted(missing)

    reads()


def test_file_of_addresses_is_read_or_its_problems_are_told(tmp_path: Path) -> None:
    (tmp_path / "auditor.toml").write_text(CONFIGURATION)
    (tmp_path / "policy.toml").write_text('name = "empty"\n')
    (tmp_path / "owners.csv").write_bytes(ADDRESSES[0])
    load(tmp_path / "auditor.toml")

    @tries(20)
    @given(mutated(ADDRESSES))
    def reads(content: bytes) -> None:
        (tmp_path / "owners.csv").write_bytes(content)
        with no_hang():
            try:
                load(tmp_path / "auditor.toml")
            except ConfigError as error:
                assert_told(error.problems, tmp_path)

    reads()


def assert_told(problems: Sequence[Problem], place: Path) -> None:
    for problem in problems:
        assert problem.place.startswith(str(place))
        assert problem.message
