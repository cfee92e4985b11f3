"""Whatever environments, sources and files say: the sum adds up, and what is shown can be trusted."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import html5lib
import pytest

from auditor.model.secret import Secret
from auditor.simulator import Fault, Faults, Plan, SimulatedToken, generate
from auditor.store.embedded import Address
from auditor.sweep.comparing import ENVIRONMENT
from tests.command_line import CONFIGURATION, Ended, Site, in_thread
from tests.command_line import site as made
from tests.databases import fresh_database
from tests.leaks import new_token, old_token

NOW = datetime.now(UTC)
SIZE = 100
"""Tokens of a hostile fleet: every awkward value comes in combination with several others."""

DANGEROUS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What no line of output may hold: controls that steer a terminal, marks that turn text around, invisible ones."""


@pytest.fixture
def site(tmp_path: Path, database_url: Secret) -> Any:
    with made(tmp_path, database_url.reveal()) as ready:
        yield ready


def be_hostile(site: Site) -> None:
    """Have all production tokens carry something awkward."""
    fleet = list(generate(str(site.directory), SIZE, NOW, hostile=True))
    for token in fleet:
        site.worlds["prod"].add(token)
    site.store("prod", fleet)


class Hostile(NamedTuple):
    """A site whose production tokens all carry something awkward, and its first sweep."""

    site: Site
    swept: Ended

    def run(self, *arguments: str) -> Ended:
        return self.site.run(*arguments)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, server: Address) -> Iterator[Hostile]:
    """One for all tests that only read, or sweep again."""
    with (
        in_thread(fresh_database(server)) as (database_url, _act),
        made(tmp_path_factory.mktemp("hostile"), database_url.reveal()) as site,
    ):
        be_hostile(site)
        yield Hostile(site, site.run("--log-format", "json", "sweep", "prod", "--json"))


def account(done: Ended) -> dict[str, Any]:
    swept: dict[str, Any] = done.json()["sweeps"][0]
    assert swept["enrolled"] == swept["found"] + swept["missing"] + swept["refused"] + swept["failed"]
    return swept


def test_hostile_fleet_is_audited_whole(hostile: Hostile) -> None:
    swept = account(hostile.swept)
    assert hostile.swept.exit_code == 0
    assert swept | {"status": "complete", "enrolled": SIZE, "failed": 0, "refused": 0} == swept
    assert len(hostile.run("findings", "--json").json()) > SIZE


def test_hostile_fleet_that_stays_as_it_is_counts_as_unchanged(hostile: Hostile) -> None:
    def rows() -> list[int]:
        return [
            fetched(hostile.site, f"select count(*) from {table}")[0][0]
            for table in ("token_change", "token_use", "finding_event")
        ]

    before = rows()
    assert hostile.run("sweep", "prod").exit_code == 0
    assert rows() == before


def fetched(site: Site, query: str) -> list[Any]:
    """The rows that a query of the site's database gives."""

    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(site.environ["DATABASE_URL"])
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def test_lines_of_json_stay_lines(hostile: Hostile) -> None:
    for line in harmless_lines(hostile.swept):
        assert json.loads(line)["event"]


def test_lines_for_people_stay_lines(site: Site) -> None:
    be_hostile(site)
    for line in harmless_lines(site.run("--log-format", "console", "sweep", "prod")):
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[", line), line


def harmless_lines(done: Ended) -> list[str]:
    """The lines of the log of a hostile fleet's first sweep."""
    lines = done.err.split("\n")[:-1]
    assert len(lines) > SIZE
    assert not DANGEROUS.search(done.err)
    assert all(len(line) <= 12_500 for line in lines)
    return lines


def test_hostile_findings_are_shown_on_one_line_each(hostile: Hostile) -> None:
    found = hostile.run("findings", "--json").json()
    table = hostile.run("findings")
    assert len(table.out.splitlines()) == len(found) + 3
    assert not DANGEROUS.search(table.out)
    assert max(map(len, table.out.splitlines())) < 2_000
    for finding in found[:40]:
        shown = hostile.run("findings", "show", finding["key"])
        assert shown.exit_code == 0, finding["key"]
        assert not DANGEROUS.search(shown.out)


def test_hostile_findings_are_harmless_in_spreadsheets(hostile: Hostile) -> None:
    for name in ("csv", "csv-coverage"):
        done = hostile.run("report", "--format", name)
        assert not DANGEROUS.search(done.out.replace("\r\n", "\n"))
        rows = list(csv.reader(io.StringIO(done.out, newline="")))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert not [cell for row in rows for cell in row if re.match(r"""[\s"']*[=+\-@]""", cell) and cell[0] != "'"]


def test_hostile_findings_are_no_markup_in_the_page(hostile: Hostile) -> None:
    text = hostile.run("report", "--format", "html").out
    assert not DANGEROUS.search(text)
    page = html5lib.HTMLParser(strict=True, tree=html5lib.getTreeBuilder("etree")).parse(text)
    elements = [element for element in page.iter() if isinstance(element.tag, str)]  # comments have none
    names = [element.tag.rpartition("}")[2] for element in elements]
    assert names.count("script") == 1
    assert not {"img", "iframe", "object", "embed"} & set(names)
    assert not [name for element in elements for name in element.attrib if name.startswith("on")]
    assert "<script>alert(document.domain)</script>" in "".join(page.itertext())


def test_hostile_findings_are_whole_in_json(hostile: Hostile) -> None:
    document = hostile.run("report", "--format", "json").json()
    assert document["findings_count"] == len(document["findings"]) > SIZE
    names = {finding["token_name"] for finding in document["findings"]}
    assert {"n" * 10_000, "nul \ufffd inside", "=cmd|' /C calc'!A0"} <= names


LONG_AGO, FAR = "0001-01-01T00:00:00.000+14:00", "9999-12-31T23:59:59.999-14:00"

ANSWERS: Mapping[str, tuple[dict[str, object], str]] = {
    "unknown fields": ({"tokenType": {"a": [1]}, "score": 1e308}, ""),
    "nothing known": (
        dict.fromkeys(("name", "owner", "enabled", "creationDate", "expirationDate", "lastUsedDate")),
        "",
    ),
    "year 1": ({"creationDate": "0001-01-01T00:00:00.000Z", "lastUsedDate": "0001-01-01T00:00:00.000Z"}, ""),
    "year 9999": ({"expirationDate": "9999-12-31T23:59:59.999Z", "creationDate": "9999-12-31T23:59:59.999Z"}, ""),
    "offsets": ({"creationDate": "2026-01-01T00:00:00+14:00", "expirationDate": "2030-01-01T00:00:00-12:00"}, ""),
    "before the year 1": ({"creationDate": LONG_AGO}, "outside of the years 1 to 9999"),
    "after the year 9999": ({"expirationDate": FAR}, "outside of the years 1 to 9999"),
    "year 10000": ({"expirationDate": "10000-01-01T00:00:00Z"}, "does not fit the API"),
    "no date": ({"expirationDate": "never"}, "does not fit the API"),
    "number for a date": ({"expirationDate": 1767225600000}, "does not fit the API"),
    "word for a flag": ({"enabled": "yes"}, "does not fit the API"),
    "word for a list": ({"scopes": "metrics.read"}, "does not fit the API"),
    "no list of scopes": ({"scopes": None}, "does not fit the API"),
    "number in a list": ({"scopes": ["metrics.read", 7]}, "does not fit the API"),
    "list for a name": ({"name": ["a", "b"]}, "does not fit the API"),
    "no id": ({"id": None}, "does not fit the API"),
    "empty id": ({"id": ""}, "does not fit the API"),
    "another id": ({"id": "dt0c01.AAAAAAAAAAAAAAAAAAAAAAAA"}, ""),
    "id with slashes and lines": ({"id": "../../a/b\nauditor: all is well\r\n\x1b[2J%2e"}, ""),
    "endless id": ({"id": "i" * 100_000}, ""),
    "separators in scopes": ({"scopes": ["a\x1fsettings.write", "", "\x1e", "\x00", "b" * 10_000]}, ""),
    "endless scopes": ({"scopes": [f"scope{n}.read" for n in range(20_000)]}, ""),
    "no address": ({"lastUsedIpAddress": "1.2.3.4\n::1 <b>%00", "lastUsedDate": "2026-01-01T00:00:00Z"}, ""),
    "lone surrogates": ({"name": "\ud800", "owner": "\udc00\ud800", "scopes": ["\udfff"]}, ""),
    "deep": ({"deep": json.loads("[" * 900 + "]" * 900)}, ""),
    "metadata": ({"additionalMetadata": {"\u0000": None, "": "\ud800", "k" * 1000: "<script>"}}, ""),
    "metadata of a wrong type": ({"additionalMetadata": {"a": 1}}, "does not fit the API"),
    "huge numbers": ({"modifiedDate": None, "revision": 10**400}, ""),
}


def test_special_answers_are_found_or_malformed_and_nothing_between(site: Site) -> None:
    tokens = [site.worlds["prod"].create(name, ["metrics.read"], owner="svc") for name in ANSWERS]
    for token, (overlay, _reason) in zip(tokens, ANSWERS.values(), strict=True):
        site.worlds["prod"].change(token.token.id, overlay=overlay)
    site.store("prod", tokens)
    good = sum(not reason for _overlay, reason in ANSWERS.values())
    changes = []
    for _sweep in range(2):
        done = site.run("sweep", "prod", "--json")
        swept = account(done)
        assert (done.exit_code, swept["found"], swept["failed"]) == (3, good, len(ANSWERS) - good)
        changes.append(fetched(site, "select count(*) from token_change"))
    rows = fetched(site, "select public_id, lookup.outcome, reason from token join lookup on id = token_id")
    outcomes = {row["public_id"]: (row["outcome"], row["reason"]) for row in rows}
    for token, (name, (_overlay, reason)) in zip(tokens, ANSWERS.items(), strict=True):
        outcome, said = outcomes[token.token.id]
        assert outcome == ("malformed" if reason else "found"), (name, said)
        assert reason in said
    assert changes[0] == changes[1]  # an answer that stays the same is no change
    labels = {finding["label"] for finding in site.run("findings", "--json").json()}
    assert labels - {ENVIRONMENT} <= {token.token.id for token in tokens}
    for name in ("html", "json", "csv"):
        assert site.run("report", "--format", name).exit_code == 0


def test_id_that_cannot_be_spoken_names_no_token_of_the_old_format(site: Site) -> None:
    """Such a token goes by what its lookup tells, which then stands in keys, on command lines and in file names."""
    world = site.worlds["staging"]
    ids = ["../../etc/passwd", "a/b", "line\nbreak", "x" * 101, "<script>", "dt0c01.A b", "\u202e", "", "fine-1.2_3"]
    stored = []
    for number, told in enumerate(ids):
        token = world.create(f"old {number}", ["metrics.read"], owner="svc").token
        stored.append(SimulatedToken(old_token(), token))
        world.add(stored[-1])
        world.change(token.id, overlay={"id": told})
    site.write("staging.env", "".join(f"OLD_{n}={token.secret}\n" for n, token in enumerate(stored)))
    site.configure(CONFIGURATION.replace('path = "staging.env"', 'path = "staging.env"\nvariables = ["OLD_*"]'))
    done = site.run("sweep", "staging", "--json")
    assert account(done)["found"] == len(ids) - 1  # the empty one is no answer
    labels = {finding["label"] for finding in site.run("findings", "--json").json()}
    assert {label for label in labels if not label.startswith("fp:")} == {"fine-1.2_3", ENVIRONMENT}


def test_answers_of_ten_megabytes_are_malformed_and_the_rest_is_audited(site: Site) -> None:
    first = site.tokens["prod"][0].token.id
    plan = Plan(token_id=first, then=Fault.OVERSIZED)
    site.in_simulator(lambda: site.simulator.environments["prod"].set_faults(Faults(plans=(plan,))))
    done = site.run("sweep", "prod", "--json")
    swept = account(done)
    assert (done.exit_code, swept["found"], swept["failed"]) == (3, 2, 1)
    assert swept["reasons"] == {"answer is larger than 1000000 bytes": 1}


def test_hostile_sources_are_told_by_place_and_lose_nothing(site: Site) -> None:
    good = site.tokens["prod"][0].secret
    hidden = new_token()
    directory = site.directory / "odd"
    directory.mkdir()
    awkward = {
        "new\nline.txt": good.encode(),
        "turned\u202etxt.txt": b"two words\n" + site.tokens["prod"][1].secret.encode(),
        "<script>.txt": b"\xff\xfe\x00",
        "=cmd().txt": b"",
        f"{hidden}.txt": b"a b\n" + site.tokens["prod"][2].secret.encode(),
        "long.txt": b"x" * 200_000 + b"\n",
        "nul.txt": b"a\x00b\n",
    }
    for name, content in awkward.items():
        (directory / name).write_bytes(content)
    (directory / "folder.txt").mkdir()
    site.configure(CONFIGURATION.replace('path = "prod.txt"', 'path = "odd/*.txt"'))
    done = site.run("sweep", "prod", "--json")
    swept = account(done)
    assert (done.exit_code, swept["status"], swept["found"]) == (3, "incomplete", 3)
    problem = swept["source_problems"]["list"]
    for part in ("turned\ufffdtxt.txt:1", "<script>.txt:1", "long.txt:1", "nul.txt:1"):
        assert part in problem
    assert not DANGEROUS.search(problem)
    assert "two words" not in problem
    assert hidden.rpartition(".")[2] not in done.out + done.err
    for name in ("html", "json", "csv", "csv-coverage"):
        report = site.run("report", "--format", name)
        assert report.exit_code == 0
        assert hidden.rpartition(".")[2] not in report.out


NONSENSE = {
    "empty": (b"", "dotenv json csv plain directory"),
    "NULs": (b"\0" * 100, "dotenv json csv plain directory"),
    "not UTF-8": (b"\xff\xfe\xfd", "dotenv json csv plain directory"),
    "large": (b"A" * 5_000_000, "dotenv json csv plain directory"),
    "no values": (b"TOKEN\nTOKEN=\n=x\n", "dotenv json csv directory"),
    "cut": (b'{"token": "a', "dotenv json csv plain directory"),
    "nested": (b"[" * 100_000, "dotenv json csv plain directory"),
    "surrogate": (b'["\\ud800"]', "dotenv json csv"),
}
"""Content → the kinds of sources that cannot take it; to the others it is a token."""


def test_files_that_are_none_are_problems_of_their_sources_only(site: Site) -> None:
    more = {"csv": 'token_column = "token"'}
    tables, names = [], []
    for number, (content, refusing) in enumerate(NONSENSE.values()):
        directory = site.directory / f"odd-{number}"
        directory.mkdir()
        (directory / "file").write_bytes(content)
        for kind in refusing.split():
            path = directory.name if kind == "directory" else f"{directory.name}/file"
            names.append(f"{kind}-{number}")
            tables.append(
                f'[sources.{names[-1]}]\ntype = "{kind}"\nenvironment = "prod"\npath = "{path}"\n{more.get(kind, "")}\n'
            )
    site.configure(more="".join(tables))
    done = site.run("sweep", "prod", "--json")
    swept = account(done)
    assert swept["found"] == 3
    assert (done.exit_code, sorted(swept["source_problems"])) == (3, sorted(names))
    assert not DANGEROUS.search("".join(swept["source_problems"].values()))


def test_commands_that_print_nonsense_are_problems_of_their_sources_only(site: Site) -> None:
    outputs = ("not json", '{"token": 7}', "[]", '{"token": "a b"}', "", "\\377", "x" * 70_000)
    tables = []
    for number, output in enumerate(outputs):
        site.write(f"print-{number}", f"#!/bin/sh\nprintf '{output}\\n'\n").chmod(0o700)
        tables.append(
            f'[sources.odd-{number}]\ntype = "command"\ncommand = ["./print-{number}"]\nenvironment = "prod"\n'
        )
    site.configure(more="".join(tables))
    done = site.run("sweep", "prod", "--json")
    swept = account(done)
    assert (done.exit_code, swept["found"]) == (3, 3)
    assert sorted(swept["source_problems"]) == [f"odd-{number}" for number in range(len(outputs))]


def test_clock_that_went_back_loses_nothing(site: Site) -> None:
    """Tokens that were made and used in the future of this machine."""
    for token in site.tokens["prod"]:
        site.worlds["prod"].change(
            token.token.id, creation_date=NOW + timedelta(days=400), last_used_date=NOW + timedelta(days=500)
        )
    done = site.run("sweep", "prod", "--json")
    assert (done.exit_code, account(done)["found"]) == (0, 3)
