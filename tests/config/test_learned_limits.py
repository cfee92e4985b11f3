"""What was learned of an environment outlives the client that learned it: a reload, or a database that came back."""

from datetime import UTC, datetime
from pathlib import Path

from auditor.config.assembly import client_of
from auditor.config.load import load
from auditor.credentials.reference import Resolver
from auditor.dynatrace.client import Client
from auditor.dynatrace.limit import Limit

ENVIRONMENT = """\
[environments.prod]
url = "{url}"
concurrency = {ceiling}
token = {{ env = "DT_TOKEN" }}
[sources.list]
type = "plain"
path = "tokens.txt"
environment = "prod"
"""


async def test_limit_is_kept_for_the_same_url_under_the_ceiling_of_now(tmp_path: Path) -> None:
    limits: dict[str, Limit] = {}
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "baseline.toml").write_text('name = "baseline"\n')

    async def client(url: str, ceiling: int) -> Client:
        (tmp_path / "auditor.toml").write_text(ENVIRONMENT.format(url=url, ceiling=ceiling))
        resolver = Resolver(tmp_path, {"DT_TOKEN": "the-auditors-own-token"})
        config = load(tmp_path / "auditor.toml")
        return await client_of(config, "prod", resolver, lambda: datetime.now(UTC), limits)

    first = await client("https://one.example.com", 64)
    again = await client("https://one.example.com", 2)
    assert again.limit is first.limit
    assert again.limit.value == 2
    other = await client("https://two.example.com", 64)
    assert other.limit is not first.limit
    assert other.limit.value == 4
