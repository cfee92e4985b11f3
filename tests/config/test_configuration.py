"""What an operator sees of a wrong configuration: file, line, key, what is wrong and how to mend it."""
# ruff: noqa: E501 -- a case is a line

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from auditor.config.load import Config, load
from auditor.config.policies import drafted
from auditor.model.errors import ConfigError
from tests.config.shipped import with_every_setting

SECRET = "dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
OLD_SECRET = "an-old-token-of-words"
REFERENCE = (
    'a secret never stands in this file; point to it with { env = "…" }, { file = "…" }, { credential = "…" } or '
    "{ command = […] }, and renew the one that stood here"
)
KINDS = "command, csv, directory, dotenv, encrypted, environment, json, plain"

GOOD = """\
[environments.prod]
url = "https://abc12345.live.dynatrace.com"
token = { env = "DT_TOKEN" }
[sources.list]
type = "plain"
path = "tokens.txt"
environment = "prod"
"""
NEXT = GOOD.count("\n") + 1
"""The line on which something that is added to the good configuration begins."""


class Files:
    """A directory with a configuration and its policies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "auditor.toml"
        self.write("policies/baseline.toml", 'name = "baseline"\n')

    def write(self, name: str, content: str | bytes) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def loaded(self, text: str | bytes = GOOD) -> Config:
        self.write("auditor.toml", text)
        return load(self.path)

    def told(self, text: str | bytes = GOOD) -> list[str]:
        """What is wrong with a configuration, its directory left out."""
        with pytest.raises(ConfigError) as refused:
            self.loaded(text)
        told = str(refused.value)
        assert SECRET not in told
        assert OLD_SECRET not in told
        return told.replace(f"{self.directory}/", "").split("\n")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_good_configuration_is_taken(files: Files) -> None:
    config = files.loaded()
    assert config.directory == files.directory
    assert config.document.environments["prod"].url == "https://abc12345.live.dynatrace.com"
    (kind, settings) = config.sources["list"]
    assert (kind.name, settings.type, config.hooks) == ("plain", "plain", {})
    assert (config.policy.name, config.policy_directory) == ("baseline", files.directory / "policies")
    assert (config.document.database.connections, config.document.sweeps.at_once) == (16, 32)


def test_environments_are_matched_by_globs(files: Files) -> None:
    more = '[environments.dev]\nurl = "https://x.example"\ntoken = { env = "A" }\n'
    config = files.loaded(GOOD + more)
    assert config.environments_matching(["*"]) == ["prod", "dev"]
    assert config.environments_matching(["d*", "dev"]) == ["dev"]
    assert config.environments_matching(["D*"]) == []


# Files


def test_file_that_is_not_there_is_told_with_the_ways_to_name_another(tmp_path: Path) -> None:
    path = tmp_path / "auditor.toml"
    with pytest.raises(ConfigError) as refused:
        load(path)
    mend = "name another file with --config or $AUDITOR_CONFIG"
    assert str(refused.value) == f"{path}: cannot be read: No such file or directory; {mend}"


def test_directory_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory; name another file"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"# J\xfcrgen\n", GOOD.encode("utf-16")])
def test_file_in_another_encoding_is_told(files: Files, content: bytes) -> None:
    assert files.told(content) == ["auditor.toml: is not UTF-8 text; save it as UTF-8"]


def test_byte_order_mark_and_windows_line_ends_are_taken(files: Files) -> None:
    assert files.loaded(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).sources


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\nb = \n", "auditor.toml:2: is not TOML: Invalid value (column 5)"),
        ("a = 1\n[b\n", "auditor.toml:2: is not TOML: Expected ']' at the end of a table declaration (column 3)"),
        ("[a]\n[a]\n", "auditor.toml:2: is not TOML: Cannot declare ('a',) twice (column 3)"),
        ("a = [\n", "auditor.toml: is not TOML: Invalid value (at end of document)"),
        ("a = " + "[" * 100_000, "auditor.toml: is nested too deeply; no key of it is"),
    ],
)
def test_broken_toml_is_told_with_its_line(files: Files, text: str, told: str) -> None:
    assert files.told(text) == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[alerts]\nowners_file = "a\\u0000"\n', "alerts.owners_file"),
        ('[policy]\nfiles = ["a.toml", "\\u0000"]\n', "policy.files[1]"),
        ('[owners]\n"\\u0000" = ["a@example.com"]\n', 'owners."\0"'),
    ],
)
def test_nul_is_told_wherever_it_stands(files: Files, text: str, told: str) -> None:
    lines = GOOD.count("\n")
    assert files.told(GOOD + text) == [f"auditor.toml:{lines + 2}: {told}: holds the character NUL; take \\u0000 out"]


def test_nul_in_a_policy_file_is_told_with_its_line(files: Files) -> None:
    (files.directory / "a.toml").write_text('name = "a"\n[rules.DT-NAM-01]\npattern = "\\u0000"\n')
    told = files.told(GOOD + '[policy]\nfiles = ["a.toml"]\n')
    assert told == ["a.toml:3: rules.DT-NAM-01.pattern: holds the character NUL; take \\u0000 out"]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[environments]\n[sources]\n"])
def test_empty_file_is_told_what_it_needs(files: Files, text: str) -> None:
    told = [line.partition(": ")[2] for line in files.told(text)]
    assert told == [
        'environments: there must be at least one; add [environments.NAME] with url = "https://…" and token = { file = "…" }',
        'sources: there must be at least one; add [sources.NAME] with type = "plain", path = "…" and environment = "NAME", or of another type',
    ]


# Keys

CASES: list[tuple[str, str, str]] = [
    # what to replace in the good configuration, or "" to add; what with; what is told
    ("", "[databse]\n", "databse: unknown key; did you mean \"database\"?"),
    ("", "[quite_other]\n", "quite_other: unknown key; known here: alerts, database, encryption, environments, evidence, hooks, log, owners, policy, reports, retention, schedules, sources, sweeps, templates, web"),
    ("", "[database]\nconections = 6\n", 'database.conections: unknown key; did you mean "connections"?'),
    ("url =", "URL = 1\nurl =", 'environments.prod.URL: unknown key; did you mean "url"?'),
    ("{ env =", "{ ENV =", 'environments.prod.token.ENV: unknown key; did you mean "env"?'),
    ("path =", "pth = 1\npath =", 'sources.list.pth: unknown key; did you mean "path"?'),
    ("", '[hooks.h]\ntype = "command"\nargs = []\nargv = ["x"]\n', 'hooks.h.args: unknown key; did you mean "argv"?'),
    ("", '[encryption]\nprevious_keys = [{ env = "A" }, { fil = "B" }]\n', 'encryption.previous_keys[1].fil: unknown key; did you mean "file"?'),
    ('environment = "prod"\n', "", "sources.list.environment: is missing; add it"),
    ('token = { env = "DT_TOKEN" }\n', "", "environments.prod.token: is missing; add it"),
    ("", '[environments."a b"]\nurl = "https://x.example"\ntoken = { env = "A" }\n', 'environments."a b": the name "a b" must be of letters, digits and _.- only'),
    ('"https://abc12345.live.dynatrace.com"', "7", "environments.prod.url: must be text in quotes"),
    ("", '[policy]\nfiles = "baseline.toml"\n', "policy.files: must be a list, […]"),
    ("", "[policy]\nfiles = []\n", "policy.files: must not be empty"),
    ("", "log = 1\n", "sources.list.log: unknown key; known here: allow_empty, environment, path, tags, type"),
    ("", "[log]\nlevel = 7\n", "log.level: must be 'debug', 'info', 'warning' or 'error' (got 7)"),
    ("", '[log]\nlevel = "dbug"\n', "log.level: must be 'debug', 'info', 'warning' or 'error' (got 'dbug')"),
    ("", "[database]\nconnections = 8\n", "database.connections: must be greater than or equal to 10 (got 8)"),
    ("", '[database]\nconnections = "many"\n', "database.connections: must be a valid integer, unable to parse string as an integer"),
    ("", "[schedules]\nnightly = 1\n", "schedules.nightly: must be a table"),
    ("", "[hooks]\nh = 1\n", "hooks.h: must be a table"),
    ("", "[database]\nurl = 7\n", "database.url: must be a table"),
    # types
    ('"plain"', '"plan"', 'sources.list.type: unknown type "plan"; did you mean "plain"?'),
    ('"plain"', '"zzz"', f'sources.list.type: unknown type "zzz"; known here: {KINDS}'),
    ('"plain"', "7", "sources.list.type: must be text in quotes"),
    ('type = "plain"\n', "", f"sources.list.type: is missing; one of {KINDS}"),
    ("", '[hooks.h]\ntype = "webhok"\n', 'hooks.h.type: unknown type "webhok"; did you mean "webhook"?'),
    # names that point nowhere
    ('environment = "prod"', 'environment = "prd"', 'sources.list.environment: unknown environment "prd"; did you mean "prod"?'),
    ('environment = "prod"', 'environment = "x"', 'sources.list.environment: unknown environment "x"; known here: prod'),
    ("", '[schedules.s]\nevery = "1h"\nenvironments = ["*", "prd"]\n', 'schedules.s.environments: "prd" matches no environment; did you mean "prod"?'),
    ("", '[hooks.h]\ntype = "slack"\nurl = { env = "A" }\nonly = [{ environment = "P*" }, { environment = ["*", "prd"] }]\n', 'hooks.h.only[1].environment: "prd" matches no environment; did you mean "prod"?'),
    ("", '[hooks.h]\ntype = "slack"\nurl = { env = "A" }\nexempt = [{ rule = ["dt-exp-*", "DT-EXP-99"] }]\n', 'hooks.h.exempt[0].rule: "DT-EXP-99" matches no rule; did you mean "DT-EXP-07"?'),
    ("", '[hooks.h]\ntype = "slack"\nurl = { env = "A" }\nonly = [{ rule = "X-*" }]\n', 'hooks.h.only[0].rule: "X-*" matches no rule; auditor rules lists them'),
    # how a text must look
    ("", '[sources.s]\ntype = "csv"\npath = "p"\ntoken_column = "t"\nenvironment = "prod"\ndelimiter = ";;"\n', 'sources.s.delimiter: must be one character other than a double quote, such as ";" or "\\t"'),
    ("", '[sources.s]\ntype = "json"\npath = "p"\ntoken_field = "a..b"\nenvironment = "prod"\n', 'sources.s.token_field: must be keys joined by single dots, such as tenants.*.token'),
    ("", '[sources.s]\ntype = "plain"\npath = ""\nenvironment = "prod"\n', 'sources.s.path: must not be empty'),
    ("", '[hooks.h]\ntype = "syslog"\nserver = "tcp://logs"\n', 'hooks.h.server: must be the name or address of a host and nothing else, such as host.example.com; its port goes to port'),
    ("", '[hooks.h]\ntype = "syslog"\nserver = "logs"\napp_name = "our audit"\n', 'hooks.h.app_name: must be 1 to 48 visible ASCII characters, without a space'),
    ("", '[hooks.h]\ntype = "syslog"\nserver = "logs"\nhost_name = ""\n', 'hooks.h.host_name: must be 1 to 255 visible ASCII characters, without a space'),
    ("", '[hooks.h]\ntype = "email"\nserver = "mail example"\nsender = "a@x.example"\nto = ["b@x.example"]\n', 'hooks.h.server: must be the name or address of a host and nothing else, such as host.example.com; its port goes to port'),
    ("", '[hooks.h]\ntype = "journald"\nidentifier = "our audit"\n', 'hooks.h.identifier: must be 1 to 48 letters without accents, digits and ._-'),
    ("", '[hooks.h]\ntype = "alertmanager"\nurl = "https://x.example"\nlabels = { 1st = "x" }\n', 'hooks.h.labels.1st: the name of a label must be of letters without accents, digits and _ only, and not begin with a digit'),
    ("", '[reports.r]\nformats = ["asff"]\nevery = "1d"\naws_account = "12"\naws_region = "eu-central-1"\n', 'reports.r.aws_account: must be twelve digits'),
    ("", '[reports.r]\nformats = ["asff"]\nevery = "1d"\naws_account = "123456789012"\naws_region = "Europe"\n', 'reports.r.aws_region: must be the name of a region, such as eu-central-1'),
    # schedules
    ("", "[schedules.s]\njitter_seconds = 1\n", 'schedules.s: a schedule has either cron = "…" or every = "…"'),
    ("", '[schedules.s]\ncron = "0 2 * * *"\nevery = "1h"\n', 'schedules.s: a schedule has either cron = "…" or every = "…"'),
    ("", '[schedules.s]\ncron = "0 0 30 2 *"\n', 'schedules.s.cron: "0 0 30 2 *" names a day that never comes'),
    ("", '[schedules.s]\nevery = "1h"\ntimezone = "Europe/Wien"\n', 'schedules.s.timezone: "Europe/Wien" is no time zone; use a name such as Europe/Vienna or UTC'),
    ("", '[schedules.s]\nevery = "1h"\ntimezone = "Europe"\n', 'schedules.s.timezone: "Europe" is no time zone; use a name such as Europe/Vienna or UTC'),
    ("", '[schedules.s]\nevery = "1h"\ntimezone = "../etc/passwd"\n', 'schedules.s.timezone: "../etc/passwd" is no time zone; use a name such as Europe/Vienna or UTC'),
    # database, web
    ("", '[database]\nurl = "mysql://host/db"\n', "database.url: must be like postgresql://user@host:5432/database"),
    ("", '[database]\nurl = "postgresql://host:port/db"\n', "database.url: must be like postgresql://user@host:5432/database"),
    ("", "[database]\nurl = {}\n", 'database.url: a secret is given by exactly one of { env = "…" }, { file = "…" }, { credential = "…" } or { command = […] } (got none)'),
    ("", '[web]\nlisten = "9464"\n', "web.listen: must be HOST:PORT such as 127.0.0.1:9464, or unix:/run/auditor/http.sock"),
    ("", '[web]\nlisten = "127.0.0.1:99999"\n', "web.listen: must be HOST:PORT such as 127.0.0.1:9464, or unix:/run/auditor/http.sock"),
    ("", '[web]\nlisten = "127.0.0.1:²"\n', "web.listen: must be HOST:PORT such as 127.0.0.1:9464, or unix:/run/auditor/http.sock"),
    ("", '[web]\nlisten = "unix:"\n', "web.listen: unix: needs the path of a socket"),
    ("", '[web]\nlisten = "0.0.0.0:9464"\n', "web: listen = 0.0.0.0:9464 can be reached from other machines, without authentication; use 127.0.0.1, or set allow_remote = true"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told"), CASES)
def test_mistake_is_told_with_its_key_and_mend(files: Files, old: str, new: str, told: str) -> None:
    text = GOOD.replace(old, new) if old else GOOD + new
    assert text != GOOD
    assert [line.partition(": ")[2] for line in files.told(text)] == [told]


@pytest.mark.parametrize("every", ["", "6", "six hours", "-1h", "0h", "1h 30m", "30m1h", "367d", "9" * 30 + "d", "٣h"])
def test_what_is_no_span_is_told(files: Files, every: str) -> None:
    told = f"auditor.toml:{NEXT + 1}: schedules.s.every: must be a span such as 6h, 30m or 1d12h, of a year at most"
    assert files.told(f'{GOOD}[schedules.s]\nevery = "{every}"\n') == [told]


@pytest.mark.parametrize("cron", ["", "@daily", "0 2 * *", "0 25 * * *", "0 2 * * 8", "a b c d e"])
def test_what_is_no_crontab_line_is_told(files: Files, cron: str) -> None:
    (told,) = files.told(f'{GOOD}[schedules.s]\ncron = "{cron}"\n')
    start = f'auditor.toml:{NEXT + 1}: schedules.s.cron: "{cron}" is not five crontab fields such as "0 2 * * *": '
    assert told.startswith(start)
    assert told != start


def test_good_schedules_are_taken(files: Files) -> None:
    text = '[schedules.a]\ncron = "*/5 0 1 jan sun"\ntimezone = "Europe/Vienna"\n[schedules.b]\nevery = "1d12h30m15s"\n'
    assert list(files.loaded(GOOD + text).document.schedules) == ["a", "b"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:9464", "[::1]:9464", "unix:/run/auditor/http.sock"])
def test_endpoint_may_be_on_loopback_or_a_socket(files: Files, listen: str) -> None:
    assert files.loaded(f'{GOOD}[web]\nlisten = "{listen}"\n').document.web.listen == listen


def test_endpoint_may_be_remote_where_that_is_said(files: Files) -> None:
    text = '[web]\nlisten = "0.0.0.0:9464"\nallow_remote = true\n'
    assert files.loaded(GOOD + text).document.web.allow_remote


def test_database_may_have_a_url_without_a_password_or_a_secret_one(files: Files) -> None:
    plain = files.loaded(
        GOOD + '[database]\nurl = "postgresql://auditor@db.example:5432/auditor?sslmode=verify-full"\n'
    )
    assert plain.document.database.url == "postgresql://auditor@db.example:5432/auditor?sslmode=verify-full"
    secret = files.loaded(GOOD + '[database]\nurl = { file = "url" }\n')
    assert not isinstance(secret.document.database.url, str)


# Lines


@pytest.mark.parametrize(
    ("added", "place"),
    [
        ("\n\n[log]\n# comment\nlevel = 1\n", f"auditor.toml:{NEXT + 4}"),
        ("[encryption]\nprevious_keys = [\n  { env = 'A' },\n  { fil = 'B' },\n]\n", f"auditor.toml:{NEXT + 3}"),
        ("[environments]\ndev = { url = 'https://x.example',  token = { env = 'A' }, attempts = 0 }\n", f"auditor.toml:{NEXT + 1}"),
        ("[environments.dev]\nurl = 'https://x.example'\n", f"auditor.toml:{NEXT}"),
        ("[web]\nallow_remote = false\nlisten = '0.0.0.0:1'\n", f"auditor.toml:{NEXT}"),
    ],
)  # fmt: skip
def test_mistake_is_told_with_its_line(files: Files, added: str, place: str) -> None:
    (told,) = files.told(GOOD + added)
    assert told.partition(": ")[0] == place


# Secrets


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda s: GOOD.replace('{ env = "DT_TOKEN" }', f'"{s}"'), f"environments.prod.token: {REFERENCE}"),
        (lambda s: f'{GOOD}[encryption]\nkey = "{s}"\n', f"encryption.key: {REFERENCE}"),
        (lambda s: f'{GOOD}[encryption]\nprevious_keys = ["{s}"]\n', f"encryption.previous_keys[0]: {REFERENCE}"),
        (
            lambda s: f'{GOOD}[hooks.h]\ntype = "webhook"\nurl = "https://x.example"\nsecret = "{s}"\n',
            f"hooks.h.secret: {REFERENCE}",
        ),
        (lambda s: GOOD.replace('{ env = "DT_TOKEN" }', f'["{s}"]'), "environments.prod.token: must be a table"),
        (lambda s: GOOD + f'[log]\nlevel = "{s}"\n', "log.level: must be 'debug', 'info', 'warning' or 'error'"),
        (
            lambda s: GOOD + f'[database]\nconnections = "{s}"\n',
            "database.connections: must be a valid integer, unable to parse string as an integer",
        ),
        (
            lambda s: f'{GOOD}[database]\nurl = "postgresql://user:{s}@host/db"\n',
            'database.url: a password never stands in this file; give the whole url as { file = "…" } or { env = "…" }',
        ),
        (
            lambda s: f'{GOOD}[database]\nurl = "postgresql://host/db?sslmode=require&password={s}"\n',
            'database.url: a password never stands in this file; give the whole url as { file = "…" } or { env = "…" }',
        ),
        (
            lambda s: f'{GOOD}[database]\nurl = "postgresql://user:{s}#{s}@host/db"\n',
            "database.url: must be like postgresql://user@host:5432/database",
        ),
        (
            lambda s: f'{GOOD}[database]\nurl = "postgresql://user:1#{s}@host/db"\n',
            "database.url: must be like postgresql://user@host:5432/database",
        ),
        (
            lambda s: GOOD.replace("https://", f"https://{s}@"),
            "environments.prod.url: must be the environment's base URL, without user, query or fragment",
        ),
    ],
)
def test_secret_in_the_file_is_refused_and_never_repeated(
    files: Files, secret: str, make: Callable[[str], str], told: str
) -> None:
    assert [line.partition(": ")[2] for line in files.told(make(secret))] == [told]


@pytest.fixture
def piped() -> Iterator[Callable[[str], Path]]:
    """Gives a path to a text as the shell does with ``<(…)``."""
    with ExitStack() as ends:

        def path_of(text: str) -> Path:
            reading, writing = os.pipe()
            with os.fdopen(writing, "w", encoding="utf-8") as end:
                end.write(text)
            ends.callback(os.close, reading)
            return Path(f"/dev/fd/{reading}")

        yield path_of


def test_configuration_and_draft_may_come_through_a_pipe(files: Files, piped: Callable[[str], Path]) -> None:
    baseline = files.directory / "policies" / "baseline.toml"
    config = load(piped(f'{GOOD}[policy]\nfiles = ["{baseline}"]\n'))
    draft = drafted(config.policies, piped('name = "draft"\n'), instead_of=None)
    assert (config.policy.name, draft.common.document.name) == ("baseline", "draft")


def test_pipe_in_place_of_a_file_that_the_configuration_names_is_refused_without_waiting(files: Files) -> None:
    os.mkfifo(files.directory / "pipe")
    mend = "put it there, or correct [policy] in auditor.toml"
    assert files.told(GOOD + '[policy]\nfiles = ["pipe"]\n') == [f"pipe: cannot be read: Is not a regular file; {mend}"]
    mend = "put it there, or correct policy.waivers in auditor.toml"
    assert files.told(GOOD + '[policy]\nwaivers = ["pipe"]\n') == [
        f"pipe: cannot be read: Is not a regular file; {mend}"
    ]
    mend = "pipe cannot be read: Is not a regular file; correct the path or its mode"
    assert files.told(GOOD + '[alerts]\nowners_file = "pipe"\n') == [
        f"auditor.toml:{NEXT + 1}: alerts.owners_file: {mend}"
    ]
    assert files.told(GOOD + '[templates]\nalert = "pipe"\n[hooks.log]\ntype = "journald"\n') == [
        f"auditor.toml:{NEXT + 1}: templates.alert: {mend}"
    ]


# Policies


def policy(files: Files, **contents: str) -> str:
    """Write policy files and return a configuration that lays them over one another."""
    for name, content in contents.items():
        files.write(f"{name}.toml", content)
    return GOOD + f"[policy]\nfiles = {[f'{name}.toml' for name in contents]}\n"


def test_policy_file_that_is_missing_is_told_with_where_it_is_named(files: Files) -> None:
    told = files.told(GOOD + '[policy]\nfiles = ["none.toml", "policies/baseline.toml", "neither.toml"]\n')
    mend = f"cannot be read: No such file or directory; put it there, or correct [policy] in {files.path.name}"
    assert told == [f"none.toml: {mend}", f"neither.toml: {mend}"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a.toml: name: is missing; add it"),
        ("name = \n", "a.toml:1: is not TOML: Invalid value (column 8)"),
        (
            "name = 'a'\n[rule]\n",
            "a.toml:2: rule: is a list of tables; write [[rule]], with two brackets, above each rule",
        ),
        ("name = 'a'\n[rules.DT-EXP-1]\n", 'a.toml:2: rules.DT-EXP-1: unknown rule; did you mean "DT-EXP-01"?'),
        (
            "name = 'a'\n[rules.DT-EXP-02]\nmax_day = {}\n",
            'a.toml:3: rules.DT-EXP-02.max_day: unknown parameter; did you mean "max_days"?',
        ),
        (
            "name = 'a'\n[rules.DT-EXP-02]\n\nmax_days = { default = 1, hgh = 2 }\n",
            'a.toml:4: rules.DT-EXP-02.max_days.hgh: unknown parameter; did you mean "high"?',
        ),
        (
            "name = 'a'\n[rules.DT-EXP-02]\nmax_days = { high = 2 }\n",
            "a.toml:3: rules.DT-EXP-02.max_days.default: is missing; add it",
        ),
        (
            "name = 'a'\n[rules.DT-EXP-02]\nexempt = [\n  { tag = 'lab' },\n  { owners = 'x' },\n]\n",
            'a.toml:5: rules.DT-EXP-02.exempt[1].owners: unknown key; did you mean "owner"?',
        ),
        (
            "name = 'a'\n[rules.DT-EXP-02]\nexempt = [\n  { tag = 'lab' },\n  {},\n]\n",
            "a.toml:5: rules.DT-EXP-02.exempt[1]: says nothing, so it would select every token; name what it is to select",
        ),
        (
            "name = 'a'\n[rules.DT-EXP-02]\nonly = [{ risk = [] }]\n",
            "a.toml:3: rules.DT-EXP-02.only[0].risk: must not be empty; where every value will do, leave the key out",
        ),
        (
            "name = 'a'\n[rules.DT-EXP-02]\nseverity = 'loud'\n",
            "a.toml:3: rules.DT-EXP-02.severity: must be 'info', 'low', 'medium', 'high' or 'critical' (got 'loud')",
        ),
        (
            "name = 'a'\n[risk.scopes]\n'logs.read' = 'hi'\n",
            "a.toml:3: risk.scopes.\"logs.read\": must be 'low', 'medium', 'high' or 'critical' (got 'hi')",
        ),
        (
            "name = 'a'\n[feeds]\nleaver = 'x'\n",
            'a.toml:3: feeds.leaver: unknown key; did you mean "leavers"?',
        ),
    ],
)
def test_mistake_in_a_policy_is_told_with_its_place(files: Files, text: str, told: str) -> None:
    assert files.told(policy(files, a=text)) == [told]


def test_last_policy_has_the_last_word_on_each_parameter(files: Files) -> None:
    text = policy(
        files,
        a='name = "a"\n[rules.DT-SCP-02]\nscopes = 1\nfamilies = 2\n[risk]\nscopes = { x = "low", y = "low" }\n',
        b='name = "b"\n[rules.DT-SCP-02]\nscopes = 3\n[rules.DT-ROT-01]\nenabled = false\n[risk.scopes]\ny = "high"\n',
    )
    merged = files.loaded(text).policy
    assert merged.name == "b"
    assert merged.rules["DT-SCP-02"].model_extra == {"scopes": 3, "families": 2}
    assert merged.rules["DT-ROT-01"].enabled is False
    assert merged.risk.scopes == {"x": "low", "y": "high"}


def test_parameter_that_is_a_table_is_replaced_whole(files: Files) -> None:
    text = policy(
        files,
        a='name = "a"\n[rules.DT-EXP-02]\nmax_days = { critical = 1, default = 2 }\n',
        b="[rules.DT-EXP-02]\nmax_days = { default = 3 }\n",
    )
    assert files.loaded(text).policy.rules["DT-EXP-02"].model_extra == {"max_days": {"default": 3}}


def test_mistake_is_put_to_the_policy_with_the_last_word_on_it(files: Files) -> None:
    text = policy(
        files,
        a='name = "a"\n[rules.DT-SCP-02]\nscopes = 0\nfamilies = 0\n[rules.DT-ROT-01]\nx = 1\n',
        b="# over a\n[rules.DT-SCP-02]\n\nscopes = 0\n",
    )
    told = files.told(text)
    assert [line.partition(": ")[::2][0] for line in told] == ["b.toml:4", "a.toml:4", "a.toml:6"]


def test_key_that_is_missing_is_put_to_the_file_that_replaces_the_table(files: Files) -> None:
    text = policy(
        files,
        a='name = "a"\n[rules.DT-EXP-02]\nmax_days = { critical = 30, default = 90 }\n',
        b="[rules.DT-EXP-02]\nmax_days = { critical = 30 }\n",
    )
    assert files.told(text) == ["b.toml:2: rules.DT-EXP-02.max_days.default: is missing; add it"]


def test_feeds_start_at_the_policy_that_names_them(files: Files) -> None:
    files.write("policies/baseline.toml", 'name = "a"\n[feeds]\nowners = "owners.txt"\nleavers = "leavers.csv"\n')
    files.write("site/own.toml", '[feeds]\nleavers = "hr/leavers.csv"\nattestations = "/srv/attestations.csv"\n')
    config = files.loaded(GOOD + '[policy]\nfiles = ["policies/baseline.toml", "site/own.toml"]\n')
    feeds = config.policy.feeds
    named = (feeds.owners, feeds.leavers, feeds.attestations)
    places = [(config.policy_directory / feed).resolve() for feed in named if feed]
    base = files.directory.resolve()
    assert places == [base / "policies/owners.txt", base / "site/hr/leavers.csv", Path("/srv/attestations.csv")]


def test_environment_has_its_own_files_laid_over_those_of_all(files: Files) -> None:
    files.write("policies/baseline.toml", 'name = "all"\n[rules.DT-SCP-02]\nscopes = 9\nfamilies = 9\n')
    files.write("policies/prod.toml", 'name = "strict"\n\n[rules.DT-SCP-02]\nscopes = 3\n')
    files.write("policies/p.toml", "[rules.DT-SCP-02]\nscopes = 2\n")
    more = '[environments.dev]\nurl = "https://x.example"\ntoken = { env = "A" }\n[policy.environments]\n'
    config = files.loaded(GOOD + more + '"prod" = ["policies/prod.toml"]\n"p*" = ["policies/p.toml"]\n')
    prod, dev = (config.policies.by_environment[name] for name in ("prod", "dev"))
    assert (prod.document.name, prod.document.rules["DT-SCP-02"].model_extra) == (
        "strict",
        {"scopes": 2, "families": 9},
    )
    assert (dev.document.name, dev.document.rules["DT-SCP-02"].model_extra) == ("all", {"scopes": 9, "families": 9})
    assert dev.document == config.policy
    assert prod.document.digest != dev.document.digest
    assert [path.name for path in prod.files] == ["baseline.toml", "prod.toml", "p.toml"]
    assert config.policies.names() == ["all", "strict"]


def test_every_value_of_a_policy_is_traced_to_file_and_line(files: Files) -> None:
    text = policy(
        files,
        a='name = "a"\n[rules.DT-EXP-02]\nmax_days = { critical = 1, default = 2 }\nseverity = "low"\n',
        b="[risk.scopes]\n'x' = 'low'\n[rules.DT-EXP-02]\nmax_days = { default = 3 }\nexempt = [{ tag = 'a' }]\n",
    )
    written = files.loaded(text).policies.by_environment["prod"].written

    def place(*path: str | int) -> str | None:
        told = written.place(path)
        return told and told.replace(f"{files.directory}/", "")

    assert place("name") == "a.toml:1"
    assert place("rules", "DT-EXP-02", "severity") == "a.toml:4"
    assert place("rules", "DT-EXP-02", "max_days") == "b.toml:4"
    assert place("rules", "DT-EXP-02", "max_days", "critical") is None  # the table was replaced whole
    assert place("rules", "DT-EXP-02", "exempt", 0) == "b.toml:5"
    assert place("risk", "scopes", "x") == "b.toml:2"
    assert place("risk", "unknown") is None
    assert place("rules", "DT-ROT-01", "max_age_days") is None


def test_mistake_in_a_file_of_one_environment_is_told_once(files: Files) -> None:
    files.write("policies/baseline.toml", 'name = "all"\n[rules.DT-SCP-02]\nfamilies = 0\n')
    files.write("policies/own.toml", "[rules.DT-SCP-02]\nscopes = 0\n")
    more = '[environments.dev]\nurl = "https://x.example"\ntoken = { env = "A" }\n[policy.environments]\n'
    told = files.told(GOOD + more + '"*" = ["policies/own.toml"]\n"production" = ["policies/own.toml"]\n')
    assert [line.partition(" ")[0] for line in told] == [
        f"auditor.toml:{NEXT + 5}:",
        "policies/baseline.toml:3:",
        "policies/own.toml:2:",
    ]
    assert told[0].endswith("policy.environments.production: matches no environment; known here: dev, prod")


def test_empty_list_of_files_for_an_environment_is_refused(files: Files) -> None:
    told = files.told(GOOD + "[policy.environments]\nprod = []\n")
    assert told == [f"auditor.toml:{NEXT + 1}: policy.environments.prod: must not be empty"]


# Drafts


def test_draft_lies_over_the_files_of_all_and_under_those_of_one(files: Files) -> None:
    files.write("policies/baseline.toml", 'name = "all"\n[rules.DT-SCP-02]\nscopes = 9\nfamilies = 9\n')
    files.write("policies/own.toml", "[rules.DT-SCP-02]\nscopes = 3\n")
    files.write("draft.toml", "[rules.DT-SCP-02]\nscopes = 5\nfamilies = 5\n")
    more = '[environments.dev]\nurl = "https://x.example"\ntoken = { env = "A" }\n[policy.environments]\n'
    config = files.loaded(GOOD + more + 'prod = ["policies/own.toml"]\n')
    draft = drafted(config.policies, files.directory / "draft.toml", instead_of=None)
    assert draft.by_environment["prod"].document.rules["DT-SCP-02"].model_extra == {"scopes": 3, "families": 5}
    assert draft.by_environment["dev"].document.rules["DT-SCP-02"].model_extra == {"scopes": 5, "families": 5}


def test_draft_takes_the_place_of_a_file(files: Files) -> None:
    files.write("policies/baseline.toml", 'name = "all"\n[rules.DT-SCP-02]\nscopes = 9\nfamilies = 9\n')
    files.write("draft.toml", 'name = "new"\n[rules.DT-SCP-02]\nscopes = 5\n')
    config = files.loaded()
    replaced = files.directory / "policies" / ".." / "policies" / "baseline.toml"
    draft = drafted(config.policies, files.directory / "draft.toml", instead_of=replaced)
    assert draft.common.document.rules["DT-SCP-02"].model_extra == {"scopes": 5}
    assert draft.by_environment["prod"].document.name == "new"


def test_draft_that_is_wrong_is_refused_with_every_problem(files: Files) -> None:
    files.write("draft.toml", "[rules.DT-SCP-02]\nscopes = 0\n[rules.DT-X]\n")
    config = files.loaded()
    with pytest.raises(ConfigError) as refused:
        drafted(config.policies, files.directory / "draft.toml", instead_of=None)
    assert [problem.place for problem in refused.value.problems] == [
        f"{files.directory}/draft.toml:2",
        f"{files.directory}/draft.toml:3",
    ]
    with pytest.raises(ConfigError, match=r"other.toml: no policy is made of this file; they are made of .*baseline"):
        drafted(config.policies, files.directory / "draft.toml", instead_of=Path("other.toml"))
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: No such file or directory; name another file"):
        drafted(config.policies, files.directory / "none.toml", instead_of=None)


# Everything at once


def test_every_mistake_of_every_file_is_told_at_once(files: Files) -> None:
    text = policy(files, a="nme = 'a'\n", b="[rules.DT-EXP-02]\nenabled = 'perhaps'\n")
    text = text.replace('"plain"', '"plan"').replace("url =", "ulr =")
    text += '[hooks.h]\ntype = "command"\n[schedules.s]\nevery = "1h"\nenvironments = ["prd"]\n'
    end = text.count("\n")
    assert sorted(files.told(text)) == sorted(
        [
            "auditor.toml:1: environments.prod.url: is missing; add it",
            'auditor.toml:2: environments.prod.ulr: unknown key; did you mean "url"?',
            'auditor.toml:5: sources.list.type: unknown type "plan"; did you mean "plain"?',
            f"auditor.toml:{end - 4}: hooks.h.argv: is missing; add it",
            f'auditor.toml:{end}: schedules.s.environments: "prd" matches no environment; did you mean "prod"?',
            "b.toml: name: is missing; add it",
            'a.toml:1: nme: unknown key; did you mean "name"?',
            "b.toml:2: rules.DT-EXP-02.enabled: must be a valid boolean, unable to interpret input",
        ]
    )


def mangled(text: str) -> Iterator[str]:
    """The configuration with one value after another replaced by two of other types, in turn of five."""
    wrong = itertools.cycle(("7", '"x"', "[[{}]]", "1979-05-27", "{ x.y = [1] }"))
    lines = text.split("\n")
    for number, line in enumerate(lines):
        key, equals, _value = line.partition(" = ")
        if equals and not line.startswith("#"):
            for value in itertools.islice(wrong, 2):
                yield "\n".join([*lines[:number], f"{key} = {value}", *lines[number + 1 :]])


def test_no_value_of_a_wrong_type_is_more_than_a_problem(files: Files) -> None:
    for text in mangled(with_every_setting()):
        with suppress(ConfigError):
            files.loaded(text)
