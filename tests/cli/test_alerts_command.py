"""``auditor alerts`` and ``auditor ack``: what an operator learns of deliveries, and what can be done about them."""

import os
import pwd
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.alerts.receivers import Receiver, receiving
from tests.command_line import Site, in_thread

NOBODYS_ID = 2_147_000_001

HOOK = """
[hooks.team]
type = "webhook"
url = "URL"
secret = { env = "HOOK_SECRET" }
first_sweep = "each"
allow_http = true
"""


class Team:
    """A receiver that takes what comes, or does not."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.status = 503

    @property
    def ids(self) -> set[str]:
        return {headers["webhook-id"] for headers, _body in self.receiver.requests}


@pytest.fixture
def team(site: Site) -> Iterator[Team]:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=ready.status)

    with in_thread(receiving(answer)) as (receiver, _act):
        ready = Team(receiver)
        site.configure(more=HOOK.replace("URL", receiver.url))
        site.environ["HOOK_SECRET"] = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
        site.store("prod", site.tokens["prod"][:2])
        yield ready


def test_deliveries_are_listed_shown_and_tried_again(site: Site, team: Team) -> None:
    assert site.run("sweep", "prod", "--deliver-seconds", "3").exit_code == 0
    waiting = site.run("alerts", "list", "--json").json()
    assert {one["state"] for one in waiting} == {"pending"}
    assert {one["hook"] for one in waiting} == {"team"}
    tried = next(one for one in waiting if "503" in (one["last_answer"] or ""))
    assert tried["attempts"]
    shown = site.run("alerts", "show", tried["alert"])
    assert shown.exit_code == 0
    assert "try 1" in shown.out
    assert "503" in shown.out

    still = site.run("alerts", "retry", tried["alert"], "--deliver-seconds", "1")
    assert still.exit_code == 1
    assert "not delivered yet" in still.out

    team.status = 204
    again = site.run("alerts", "retry", "--all")
    assert again.exit_code == 0, again.err
    assert {one["state"] for one in site.run("alerts", "list", "--json").json()} == {"delivered"}
    assert team.ids == {one["alert"] for one in waiting}
    before = len(team.receiver.requests)
    assert site.run("alerts", "retry", tried["alert"]).exit_code == 0
    assert len(team.receiver.requests) == before, "what was delivered is not delivered again"
    assert site.run("alerts", "list", "--state", "pending").out == "No alerts.\n"

    site.configure()
    listed = site.run("alerts", "list", "--hook", "team", "--json").json()
    assert len(listed) == len(waiting), "a hook that is configured no more is known by what is on record"


@pytest.mark.parametrize("command", ["list", "retry"])
@pytest.mark.parametrize(("hook", "hint"), [("taem", 'did you mean "team"?'), ("x", "known here: team")])
def test_unknown_hook_is_told_with_those_that_are_known(
    site: Site, team: Team, command: str, hook: str, hint: str
) -> None:
    done = site.run("alerts", command, "--hook", hook)
    assert (done.exit_code, done.out) == (2, "")
    assert done.complaints == [f'--hook: unknown hook "{hook}"; {hint}']
    assert site.run("alerts", "list", "--hook", "team").out == "No alerts.\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", ""), "alert: its id is empty; auditor alerts list shows ids"),
        (("show", "00000000"), "alert 00000000: no such alert; auditor alerts list"),
        (("retry", "00000000"), "alert 00000000: no such alert; auditor alerts list"),
        (("retry",), "alerts retry: name one alert, or give --hook NAME or --all"),
        (("retry", "00000000", "--all"), "alerts retry: name one alert, or give --hook NAME or --all"),
    ],
)
def test_alert_that_is_not_there_is_told(site: Site, arguments: tuple[str, ...], complaint: str) -> None:
    done = site.run("alerts", *arguments)
    assert (done.exit_code, done.out) == (2, "")
    assert done.complaints == [complaint]


def test_finding_is_acknowledged_until_a_day_and_no_more(site: Site) -> None:
    site.store("prod", site.tokens["prod"][:2])
    site.run("sweep", "prod")
    key = site.run("findings", "--json").json()[0]["key"]
    done = site.run("ack", key, "--until", "2126-12-01", "--note", "being rotated", "--by", "ana")
    assert done.exit_code == 0, done.err
    assert done.out.startswith(f"{key} is acknowledged by ana until 2126-12-01")
    shown = site.run("findings", "show", key)
    assert "being rotated" in shown.out
    assert site.run("ack", key, "--withdraw").out == f"{key} is acknowledged no more.\n"
    assert "being rotated" not in site.run("findings", "show", key).out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("prod/none/DT-EXP-01", "--by", "ana"), "finding prod/none/DT-EXP-01: no such finding"),
        (("prod", "--by", "ana"), "finding prod: no such finding"),
        (("prod/none/DT-EXP-01", "--until", "2001-01-01", "--by", "ana"), "--until: 2001-01-01 has passed"),
        (("prod/none/DT-EXP-01", "--withdraw", "--by", "ana"), "--withdraw: takes none of --until, --note and --by"),
        (("prod/none/DT-EXP-01", "--withdraw", "--note", "x"), "--withdraw: takes none of --until, --note and --by"),
        (
            ("prod/none/DT-EXP-01", "--withdraw", "--until", "2126-12-01"),
            "--withdraw: takes none of --until, --note and --by",
        ),
    ],
)
def test_what_cannot_be_acknowledged_is_told(site: Site, arguments: tuple[str, ...], complaint: str) -> None:
    done = site.run("ack", *arguments)
    assert (done.exit_code, done.out) == (2, "")
    assert done.complaints[0].startswith(complaint)


def test_finding_is_acknowledged_by_the_user_whom_the_system_knows(site: Site) -> None:
    site.run("sweep", "staging")
    key = site.run("findings", "--json").json()[0]["key"]
    assert f" by {pwd.getpwuid(os.getuid()).pw_name} " in site.run("ack", key).out
    assert " by ana " in site.run("ack", key, USER="ana").out


def test_somebody_whom_nothing_names_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: NOBODYS_ID)
    done = site.run("ack", "prod/none/DT-EXP-01")
    assert (done.exit_code, done.complaints) == (2, ["--by: say who acknowledges it"])


def test_hook_that_hangs_does_not_hold_up_a_sweep(site: Site) -> None:
    recorded: list[bool] = []

    async def hang(_request: web.Request) -> web.StreamResponse:
        recorded.append(True)
        await receiver.is_released.wait()
        return web.Response(status=204)

    with in_thread(receiving(hang)) as (receiver, act):
        site.configure(more=HOOK.replace("URL", receiver.url))
        site.environ["HOOK_SECRET"] = "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
        site.store("prod", site.tokens["prod"][:2])
        done = site.run("sweep", "prod", "--deliver-seconds", "0.3", "--json")
        act(receiver.is_released.set)
    assert done.exit_code == 0, done.err
    assert done.json()["sweeps"][0]["status"] == "complete"
    assert recorded, "the hook was asked, and nobody waited for its answer"
    assert {one["state"] for one in site.run("alerts", "list", "--json").json()} == {"pending"}
