"""``auditor waive`` and ``auditor waivers``: accepting a finding, seeing it accepted, and taking it back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from auditor.model.secret import Secret
from auditor.store.embedded import Address
from tests.command_line import CONFIGURATION, Ended, Site
from tests.databases import copied_database

BY = ("--owner", "svc-old", "--approver", "jane.doe", "--reason", "moves to OAuth", "--ticket", "SEC-12")


@pytest.fixture(scope="module")
def swept_once(lasting_site: Site) -> Site:
    assert lasting_site.run("sweep", "--all").exit_code == 0
    return lasting_site


@pytest.fixture
async def swept(swept_once: Site, server: Address) -> AsyncIterator[Site]:
    """The same with a database and a configuration for one test; the environments stay as they are."""
    swept_once.configure()
    async with copied_database(server, Secret(swept_once.environ["DATABASE_URL"])) as url:
        yield replace(swept_once, environ=swept_once.environ | {"DATABASE_URL": url.reveal()})


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


def key_of(site: Site) -> str:
    """The finding that a token of prod never expires, of severity high."""
    return f"prod/{site.tokens['prod'][1].token.id}/DT-EXP-01"


def waived(site: Site, *options: str, until: str = "") -> Ended:
    return site.run("waive", key_of(site), *BY, "--until", until or day(30), *options)


def test_waived_finding_stays_open_and_shows_its_waiver(swept: Site) -> None:
    done = waived(swept, "--json")
    assert done.exit_code == 0, done.err
    made = done.json()
    assert made["finding"] == key_of(swept)
    assert made["until"] == f"{day(30)}T00:00:00Z"
    shown = swept.run("findings", "show", key_of(swept), "--json").json()
    assert (shown["finding"]["status"], shown["finding"]["severity"]) == ("open", "high")
    waiver = {name: made[name] for name in ("id", "owner", "approver", "reason", "ticket", "since", "until")}
    assert shown["finding"]["waiver"] == waiver
    opened, event = shown["history"]
    assert (opened["waiver"], event["transition"], event["sweep"], event["waiver"]) == (None, "waived", None, waiver)
    described = swept.run("findings", "show", key_of(swept)).out
    for words in (f"until {day(30)} 00:00 UTC by {made['id']}", "approver jane.doe", "SEC-12", "(between sweeps)"):
        assert words in described


def test_waived_findings_are_listed_last_and_apart_on_demand(swept: Site) -> None:
    waived(swept)
    every = swept.run("findings", "--json").json()
    assert [finding["key"] for finding in every if finding["waiver"]] == [every[-1]["key"]] == [key_of(swept)]
    assert [finding["key"] for finding in swept.run("findings", "--waived", "--json").json()] == [key_of(swept)]
    assert key_of(swept) not in {finding["key"] for finding in swept.run("findings", "--no-waived", "--json").json()}
    assert f"waived until {day(30)} (waiver-" in swept.run("findings", "--waived").out


def test_sweep_counts_waived_findings_apart_and_does_not_fail_on_them(swept: Site) -> None:
    assert swept.run("sweep", "prod", "--fail-on", "high").exit_code == 1
    other = f"prod/{swept.tokens['prod'][2].token.id}/DT-SCP-01"
    for key in (key_of(swept), other):
        assert swept.run("waive", key, *BY, "--until", day(30)).exit_code == 0
    done = swept.run("sweep", "prod", "--fail-on", "high", "--json")
    assert done.exit_code == 0, done.err
    assert done.json()["waived_findings"] == {"prod": {"high": 2}}
    assert "high" not in done.json()["open_findings"]["prod"]
    header, row = (line.split() for line in swept.run("sweep", "prod").out.splitlines()[:2])
    account = dict(zip(header, row, strict=True))
    assert (account["high"], account["waived"]) == ("0", "2")


def test_withdrawn_waiver_reopens_its_finding_at_the_next_sweep(swept: Site) -> None:
    waiver = waived(swept, "--json").json()["id"]
    done = swept.run("waivers", "remove", waiver)
    assert (done.exit_code, done.out.split()[0]) == (0, waiver)
    again = swept.run("waivers", "remove", waiver)
    assert again.exit_code == 2
    assert again.complaints == [f"waiver {waiver}: no such waiver, or withdrawn already; auditor waivers lists them"]
    assert swept.run("sweep", "prod", "--fail-on", "high").exit_code == 1
    shown = swept.run("findings", "show", key_of(swept), "--json").json()
    assert [event["transition"] for event in shown["history"]] == ["opened", "waived", "lapsed"]
    assert shown["finding"]["waiver"] is None
    assert swept.run("waivers").out == "No waivers.\n"
    assert [one["state"] for one in swept.run("waivers", "--withdrawn", "--json").json()] == ["withdrawn"]


def test_waivers_of_files_and_of_the_database_are_listed_together(swept: Site) -> None:
    swept.write(
        "waivers.toml",
        f"""\
[[waiver]]
id = "from-file"
owner = "svc-deploy"
approver = "jane.doe"
reason = "being replaced"
ticket = "SEC-13"
since = {day(-30)}
until = {day(10)}
rules = ["DT-SCP-01", "DT-EXP-01"]
only = [{{ environment = "prod", owner = ["jane.*", "x"] }}, {{ personal = true }}]
""",
    )
    swept.configure(
        CONFIGURATION.replace('files = ["policy.toml"]', 'files = ["policy.toml"]\nwaivers = ["waivers.toml"]')
    )
    waived(swept)
    assert swept.run("sweep", "prod", "--fail-on", "high").exit_code == 0
    of_file, stored = swept.run("waivers", "--json").json()
    assert (of_file["written"], of_file["state"], of_file["findings"]) == ("file", "in force", 1)
    assert of_file["matches"] == "DT-SCP-01, DT-EXP-01 where environment prod and owner jane.*|x or personal true"
    assert (stored["written"], stored["matches"], stored["findings"]) == ("auditor waive", key_of(swept), 1)
    listed = swept.run("waivers").out.splitlines()
    assert [line.split()[0] for line in listed] == ["Waiver", "from-file", stored["waiver"]["id"]]
    done = swept.run("waivers", "remove", "from-file")
    assert (done.exit_code, "stands in a file" in done.complaints[0]) == (2, True)


@pytest.mark.parametrize("days", [20, 40])
def test_waiving_again_takes_the_place_of_the_waiver_before(swept: Site, days: int) -> None:
    assert waived(swept).exit_code == 0
    renewed = waived(swept, "--json", until=day(days)).json()["id"]
    assert swept.run("sweep", "prod").exit_code == 0
    shown = swept.run("findings", "show", key_of(swept), "--json").json()
    assert shown["finding"]["waiver"]["id"] == renewed
    assert [event["transition"] for event in shown["history"]] == ["opened", "waived", "waived"]
    assert [one["waiver"]["id"] for one in swept.run("waivers", "--json").json()] == [renewed]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"--until": "soon"}, "--until: must be a day such as 2027-01-31"),
        ({"--until": day(-1)}, "--until: until must be after since"),
        ({"--until": day(92)}, "the policy allows 90"),
        ({"--approver": " "}, "--approver: must not be empty"),
        ({"--reason": "two\nlines"}, "--reason: must be one line"),
        ({"--ticket": "\udcff"}, "must be UTF-8 text"),
    ],
)
def test_waiver_that_the_policy_does_not_allow_exits_with_2(files: Site, changes: dict[str, str], told: str) -> None:
    options = dict(zip(BY[::2], BY[1::2], strict=True)) | {"--until": day(30)} | changes
    done = files.run("waive", key_of(files), *(part for option in options.items() for part in option))
    assert (done.exit_code, done.out) == (2, "")
    assert told in done.complaints[0]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("prod", "is no key of a finding"),
        ("prd/x/DT-EXP-01", 'unknown environment "prd"'),
        ("prod/x/DT-EXP-1", 'unknown rule "DT-EXP-1"'),
    ],
)
def test_key_of_nothing_that_can_be_exits_with_2(files: Site, key: str, told: str) -> None:
    done = files.run("waive", key, *BY, "--until", day(30))
    assert (done.exit_code, done.out) == (2, "")
    assert told in done.complaints[0]


def test_finding_that_is_not_there_or_resolved_cannot_be_waived(site: Site) -> None:
    assert site.run("sweep", "--all").exit_code == 0
    unknown = site.run("waive", "prod/x/DT-EXP-01", *BY, "--until", day(30))
    assert (unknown.exit_code, "no such finding" in unknown.complaints[0]) == (2, True)
    token = site.tokens["prod"][1].token
    good = site.tokens["prod"][0].token.expiration_date
    site.in_simulator(lambda: site.worlds["prod"].change(token.id, expiration_date=good))
    assert site.run("sweep", "prod").exit_code == 0
    resolved = waived(site)
    assert (resolved.exit_code, "is resolved" in resolved.complaints[0]) == (2, True)
    assert site.run("waivers").out == "No waivers.\n"


def test_check_tells_what_is_wrong_in_a_file_of_waivers(files: Site) -> None:
    files.write("waivers.toml", '[[waiver]]\nid = "w1"\n')
    files.configure(
        CONFIGURATION.replace('files = ["policy.toml"]', 'files = ["policy.toml"]\nwaivers = ["waivers.toml"]')
    )
    done = files.run("check")
    assert done.exit_code == 2
    assert any("waivers.toml:1: waiver[0].approver: is missing" in complaint for complaint in done.complaints)
