"""The file of owners as an operator writes it: taken, or refused with file, line and mend."""

from pathlib import Path

import pytest

from auditor.config.load import load
from auditor.config.routing import routing_of
from tests.config.telling import told

AUDITOR = """\
[environments.prod]
url = "https://abc12345.live.dynatrace.com"
token = { env = "DT_TOKEN" }
[sources.list]
type = "plain"
path = "tokens.txt"
environment = "prod"
[alerts]
owners_file = "owners.csv"
[owners]
"CI-Deployer" = "platform@example.com"
"*" = "security@example.com"
"""


def written(directory: Path, owners: str | bytes | None) -> Path:
    (directory / "policies").mkdir()
    (directory / "policies" / "baseline.toml").write_text('name = "test"\n')
    (directory / "auditor.toml").write_text(AUDITOR)
    if owners is not None:
        (directory / "owners.csv").write_bytes(owners if isinstance(owners, bytes) else owners.encode())
    return directory / "auditor.toml"


def test_owners_of_the_file_and_of_the_table_get_their_mail_and_globs_of_the_file_go_first(tmp_path: Path) -> None:
    text = (
        "\ufeffteam,owner,addresses\r\n"
        'x,Alice,alice@example.com\r\nx,svc-*,"a@example.com, b@example.com; c@example.com"\r\n'
        "\r\nx,,nobody@example.com\r\nx,*@example.com,{owner}\r\n"
    )
    config = load(written(tmp_path, text))
    routing = routing_of(config.document, config.hooks, config.owners)
    assert routing.recipients("alice") == ("alice@example.com",)
    assert routing.recipients("svc-build") == ("a@example.com", "b@example.com", "c@example.com")
    assert routing.recipients("bob@example.com") == ("bob@example.com",)
    assert routing.recipients("ci-deployer") == ("platform@example.com",)
    assert routing.recipients(None) == routing.recipients("mallory") == ("security@example.com",)


def test_everything_wrong_in_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    text = (
        'owner,addresses\nalice,alice\nbob,\nci-deployer,ci@example.com\n"two\nlines",a@example.com b@\nBob,b@x.org\n'
    )
    assert told(written(tmp_path, text)) == [
        'owners.csv:2: addresses must be an address such as team@example.com, or "{owner}" where owners are addresses',
        "owners.csv:3: addresses is empty; write one, or several with spaces between",
        'owners.csv:4: "ci-deployer" has addresses at auditor.toml:11, too; each owner is named once',
        'owners.csv:6: addresses must be an address such as team@example.com, or "{owner}" where owners are addresses',
        'owners.csv:7: "Bob" has addresses at owners.csv:3, too; each owner is named once',
    ]


@pytest.mark.parametrize(
    ("owners", "problem"),
    [
        (
            None,
            "auditor.toml:9: alerts.owners_file: owners.csv cannot be read: No such file or directory; correct the ",
        ),
        (
            b"owner,addresses\n\xff",
            "auditor.toml:9: alerts.owners_file: owners.csv is not UTF-8 text; save it as UTF-8",
        ),
        ("name,mail\n", "owners.csv:1: the first line must name the columns owner and addresses, as in: owner,address"),
        ("", "owners.csv:1: the first line must name the columns owner and addresses, as in: owner,addresses"),
        ('owner,addresses\na,"b@x.org\n', "owners.csv:2: is not CSV: unexpected end of data; see the quotes"),
    ],
)
def test_file_that_is_none_is_refused(tmp_path: Path, owners: str | bytes | None, problem: str) -> None:
    (said,) = told(written(tmp_path, owners))
    assert said.startswith(problem)
