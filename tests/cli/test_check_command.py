"""``auditor check``: everything that can be wrong with files, each told with its place, and nothing touched."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import CONFIGURATION, Site, run


def test_good_configuration_passes_without_network_database_or_state(files: Site) -> None:
    done = files.run("check")
    assert (done.exit_code, done.err) == (0, "")
    assert done.out == (
        f"{files.config}: good: 2 environments, 3 sources, 0 hooks, 0 schedules, 0 reports, policy test\n"
    )
    assert sum(environment.lookups for environment in files.simulator.environments.values()) == 0
    assert not (files.directory / "state").exists()


def replaced(before: str, after: str) -> Callable[[Site], None]:
    def change(site: Site) -> None:
        assert before in CONFIGURATION
        site.configure(CONFIGURATION.replace(before, after))

    return change


def added(more: str) -> Callable[[Site], None]:
    return lambda site: site.configure(more=more)


def written(name: str, text: str, mode: int = 0o600) -> Callable[[Site], None]:
    return lambda site: site.write(name, text).chmod(mode)


def directory_instead(name: str) -> Callable[[Site], None]:
    def change(site: Site) -> None:
        (site.directory / name).unlink()
        (site.directory / name).mkdir()

    return change


def binary(site: Site) -> None:
    site.config.write_bytes(b"\xff\xfe[database]")


HOOK = '[hooks.team]\ntype = "webhook"\nurl = "https://alerts.example.com/x"\nsecret = { env = "HOOK" }\n'
"""Its secret is in the environment variable HOOK."""

BROKEN = {
    "not TOML": (written("auditor.toml", "[database\n"), r"CONFIG:1: is not TOML: .*"),
    "not UTF-8": (binary, r"CONFIG: is not UTF-8 text; save it as UTF-8"),
    "a directory": (directory_instead("auditor.toml"), r"CONFIG: cannot be read: Is a directory; name another .*"),
    "unknown key": (replaced("attempts = 1", "atempts = 1"), r'CONFIG:13: .*atempts: unknown key; .*"attempts"\?'),
    "unknown table": (added("[enviroments]"), r'CONFIG:\d+: enviroments: unknown key; did you mean "environments"\?'),
    "missing key": (replaced('token = { file = "prod.token" }\n', ""), r"CONFIG:10: environments\.prod\.token: .*add"),
    "wrong type": (replaced("attempts = 1", 'attempts = "many"'), r"CONFIG:13: environments\.prod\.attempts: .+"),
    "plain http": (replaced("allow_http = true", ""), r"CONFIG:\d+: environments\.prod: url must be https .*"),
    "a secret": (replaced('{ file = "prod.token" }', '"abc"'), r"CONFIG:12: environments\.prod\.token: a secret never"),
    "unknown source": (replaced('"dotenv"', '"dotnev"'), r'CONFIG:\d+: sources\.deploy\.type: .*mean "dotenv"\?'),
    "loose source": (replaced('environment = "prod"', 'environment = "prd"'), r"CONFIG:\d+: sources\.list\.env.*prod"),
    "two times": (added('[schedules.x]\nevery = "1h"\ncron = "0 2 * * *"'), r"CONFIG:\d+: schedules\.x: .*either"),
    "empty schedule": (added('[schedules.x]\nevery = "1h"\nenvironments = ["q*"]'), r"CONFIG:\d+: schedules\.x.*q\*.*"),
    "unknown hook": (added('[hooks.x]\ntype = "pigeon"'), r'CONFIG:\d+: hooks\.x\.type: unknown type "pigeon".*'),
    "no policy": (replaced('"policy.toml"', '"none.toml"'), r"DIR/none\.toml: cannot be read: No such file.*"),
    "broken policy": (written("policy.toml", "name = 'x'\nname = \n"), r"DIR/policy\.toml:2: is not TOML: .*"),
    "unknown rule": (
        written("policy.toml", 'name = "x"\n[rules."DT-EXP-1"]\n'),
        r'DIR/policy\.toml:2: rules\."?DT-EXP-1"?: .*DT-EXP-.*',
    ),
    "bad parameter": (
        written("policy.toml", 'name = "x"\n[rules."DT-NET-01"]\ncidrs = ["10.0.0.0/99"]\n'),
        r"DIR/policy\.toml:3: rules\.DT-NET-01\.cidrs.*10\.0\.0\.0/99.*",
    ),
    "unreadable feed": (
        written("policy.toml", 'name = "x"\n[feeds]\nowners = "owners.txt"\n'),
        r"DIR/owners\.txt: this feed cannot be read: No such file or directory",
    ),
    "open secret": (written("prod.token", "x", 0o644), r"CONFIG:12: environments\.prod\.token: .* run chmod 600 .*"),
    "directory for a secret": (directory_instead("prod.token"), r"CONFIG:12: environments\.prod\.token: .*directory.*"),
    "no key": (
        written("master.key", "xyz"),
        r"CONFIG:5: encryption\.key: must be 32 random bytes in base64 or hex; .*",
    ),
    "no CA file": (
        replaced("attempts = 1", 'attempts = 1\nca_file = "ca.pem"'),
        r"CONFIG:14: environments\.prod\.ca_file: DIR/ca\.pem cannot be used: No such file.*",
    ),
    "always quiet": (
        added(HOOK + 'quiet = { start = "08:00", end = "08:00" }'),
        r'CONFIG:\d+: hooks\.team\.quiet: start and end are both "08:00", .*; let end be another time, or .*',
    ),
    "hook's secret unset": (
        added(HOOK.replace("HOOK", "UNSET")),
        r"CONFIG:\d+: hooks\.team\.secret: .*UNSET is empty.*",
    ),
    "hook's secret unfit": (added(HOOK), r"CONFIG:\d+: hooks\.team\.secret: the secret does not begin with whsec_.*"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_configuration_exits_with_2_and_names_place_and_mend(files: Site, name: str) -> None:
    breaking, expected = BROKEN[name]
    breaking(files)
    done = files.run("check", HOOK="never-shown")
    assert done.exit_code == 2
    pattern = expected.replace("CONFIG", re.escape(str(files.config))).replace("DIR", re.escape(str(files.directory)))
    assert [line for line in done.complaints if re.match(pattern, line)], done.err
    assert len(done.complaints) == len(done.err.splitlines())
    assert "never-shown" not in done.err


def test_every_problem_is_told_at_once_each_on_its_line(files: Site) -> None:
    files.configure(CONFIGURATION.replace("attempts = 1", "atempts = 1").replace('"plain"', '"plane"'))
    policy = files.write("policy.toml", 'name = "x"\n[rules."DT-EXP-1"]\n')
    complaints = files.run("check").complaints
    assert len(complaints) >= 4
    assert {line.partition(":")[0] for line in complaints} == {str(files.config), str(policy)}


BROKEN_POLICY = """\
name = "broken"
[risk.scopes]
"a.b" = "hgih"
[rules."DT-EXP-1"]
[rules."DT-EXP-02"]
max_days = { critical = 400, high = 180, default = 365 }
[rules."DT-EXP-03".thresholds]
low = 7
high = 7
[rules."DT-USE-02"]
days = { low = 45, medum = 90 }
severity = "hihg"
only = [
    { environment = "prod*" },
    { enviroment = "x" },
]
[rules."DT-NET-01"]
cidrs = [
    "10.0.0.0/8",
    "10.0.0.1/8",
]
[rules."DT-STA-01"]
days = 0
[rules."DT-PAT-01"]
regex = "("
"""


def test_every_problem_of_a_policy_is_told_at_once_each_on_its_line(files: Site) -> None:
    path = files.write("policy.toml", BROKEN_POLICY)
    done = files.run("check")
    assert (done.exit_code, done.out) == (2, "")
    told = dict(line.removeprefix(f"{path}:").split(": ", 1) for line in done.complaints)
    assert len(told) == len(done.complaints)
    assert told == {
        "3": "risk.scopes.\"a.b\": must be 'low', 'medium', 'high' or 'critical' (got 'hgih')",
        "4": 'rules.DT-EXP-1: unknown rule; did you mean "DT-EXP-01"?',
        "6": "rules.DT-EXP-02.max_days: tier critical has more days (400) than tier high (180); a riskier tier may "
        "have as many at most",
        "7": "rules.DT-EXP-03.thresholds: high (7 days left) must come nearer to the end than low (7 days left)",
        "11": 'rules.DT-USE-02.days.medum: unknown parameter; did you mean "medium"?',
        "12": "rules.DT-USE-02.severity: must be 'info', 'low', 'medium', 'high' or 'critical' (got 'hihg')",
        "15": 'rules.DT-USE-02.only[1].enviroment: unknown key; did you mean "environment"?',
        "20": "rules.DT-NET-01.cidrs[1]: not a network in CIDR notation: 10.0.0.1/8 has host bits set",
        "23": "rules.DT-STA-01.days: must be greater than or equal to 1 (got 0)",
        "25": "rules.DT-PAT-01.regex: not a regular expression: missing ), unterminated subpattern at position 0",
    }


def test_problem_of_policies_laid_over_one_another_is_put_to_the_file_that_has_the_last_word(files: Site) -> None:
    files.configure(CONFIGURATION.replace('["policy.toml"]', '["policy.toml", "team.toml"]'))
    below = files.write("policy.toml", 'name = "x"\n[rules."DT-STA-01"]\ndays = 0\n[rules."DT-USE-02"]\ndays = {}\n')
    above = files.write("team.toml", '[rules."DT-STA-01"]\n\ndays = -1\n[rules."DT-EXP-02"]\nmax_days = { high = 9 }\n')
    done = files.run("check")
    assert done.exit_code == 2
    assert [line.partition(": ")[0] for line in done.complaints] == [f"{above}:3", f"{below}:5", f"{above}:5"]


def test_broken_policy_stops_every_command_that_judges_before_it_begins(files: Site) -> None:
    path = files.write("policy.toml", 'name = "x"\n[rules."DT-EXP-1"]\n')
    for arguments in (("sweep", "prod"), ("run",), ("check",)):
        done = files.run(*arguments)
        assert (done.exit_code, done.out) == (2, ""), arguments
        assert done.complaints[0].startswith(f"{path}:2: rules.DT-EXP-1: unknown rule"), arguments
    assert not (files.directory / "state").exists()


def test_places_of_missing_secrets_have_their_line_in_every_command(site: Site) -> None:
    (site.directory / "prod.token").unlink()
    for arguments in (("sweep", "prod"), ("sweep", "--all", "--workers", "2"), ("check",), ("check", "--connect")):
        done = site.run(*arguments)
        assert (done.exit_code, done.out) == (3, ""), arguments
        assert done.complaints[0].startswith(f"{site.config}:12: environments.prod.token: {site.directory}"), arguments


def test_secret_out_of_reach_beside_a_mistake_is_told_too_and_exits_with_2(files: Site) -> None:
    (files.directory / "prod.token").unlink()
    (files.directory / "staging.token").chmod(0o644)
    done = files.run("check")
    assert done.exit_code == 2
    assert [line.split(": ")[1] for line in done.complaints] == [
        "environments.prod.token",
        "environments.staging.token",
    ]


def test_secret_of_a_command_is_had_only_with_connect(site: Site, tmp_path: Path) -> None:
    site.configure(CONFIGURATION.replace('{ file = "prod.token" }', '{ command = ["./token"] }'))
    program = site.write("token", f"#!/bin/sh\ntouch {tmp_path}/ran; cat {tmp_path}/prod.token\n")
    program.chmod(0o700)
    assert site.run("check").exit_code == 0
    assert not (tmp_path / "ran").exists()
    assert site.run("check", "--connect").exit_code == 0
    assert (tmp_path / "ran").exists()


def test_connect_tries_database_environments_and_sources(site: Site) -> None:
    done = site.run("check", "--connect")
    assert done.exit_code == 0, done.err
    assert done.out.splitlines()[1:] == [
        "database: good",
        "environment prod: good",
        "environment staging: good",
        "source list: good, 3 tokens",
        "source deploy: good, 1 tokens",
        "source vault: good, 0 tokens",
    ]


def test_connect_exits_with_3_and_tells_every_failure(site: Site) -> None:
    site.write("staging.token", "dt0c01.unknown")
    (site.directory / "prod.txt").unlink()
    done = site.run("check", "--connect")
    assert done.exit_code == 3
    assert [line.partition(":")[0] for line in done.complaints] == ["environment staging", "source list"]
    assert "refused: HTTP 401" in done.complaints[0]
    assert "environment prod: good" in done.out


def test_connect_says_that_the_database_is_away(files: Site) -> None:
    done = files.run("check", "--connect")
    assert done.exit_code == 3
    assert done.complaints[0].startswith("PostgreSQL cannot be reached: ")


def test_configuration_is_found_by_variable(files: Site) -> None:
    assert run("check", environ=files.environ | {"AUDITOR_CONFIG": str(files.config)}).exit_code == 0
