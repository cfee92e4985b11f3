"""``auditor revocable``, and the verdict in ``auditor findings show``: what they print, as text and as JSON."""

from datetime import UTC, datetime, timedelta

import pytest

from auditor.simulator import Fault, Faults, Plan
from tests.command_line import Site

DAY = timedelta(days=1)


def sweep(site: Site) -> Site:
    """Production tokens: one silent for long, one never used and new, one expired; in staging one in use."""
    prod, staging = site.worlds["prod"], site.worlds["staging"]
    now = datetime.now(UTC)
    far = now + 300 * DAY
    made = [
        prod.create("silent", ["metrics.read"], owner="svc-old", expiration_date=far),
        prod.create("fresh", ["metrics.read"], owner="svc-new", expiration_date=far),
        prod.create("ended", ["metrics.read"], owner="svc-end", expiration_date=now - DAY),
    ]
    prod.change(made[0].token.id, last_used_date=now - 200 * DAY, last_used_ip_address="203.0.113.7")
    site.store("prod", made)
    busy = staging.create("busy", ["metrics.read"], owner="svc-busy", expiration_date=far)
    staging.change(busy.token.id, last_used_date=now - timedelta(hours=1), last_used_ip_address="203.0.113.8")
    site.store("staging", [busy])
    assert site.run("sweep", "--all").exit_code == 0
    return site


@pytest.fixture(scope="module")
def swept(lasting_site: Site) -> Site:
    return sweep(lasting_site)


def label(site: Site, environment: str, number: int) -> str:
    return site.tokens[environment][number].token.id


def test_revocable_tokens_are_listed_surest_first_with_their_evidence(swept: Site) -> None:
    done = swept.run("revocable")
    assert (done.exit_code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "safe: nothing depends on it, by all that was recorded"
    named = {line.split()[0] for line in lines if line.startswith("  prod/")}
    assert named == {f"prod/{label(swept, 'prod', 0)}", f"prod/{label(swept, 'prod', 2)}"}
    assert any(line.strip().startswith("- it was last used on ") for line in lines)
    assert any("confidence: low, because only 1 lookup gave evidence" in line for line in lines)
    assert lines[-1] == "4 tokens: 2 safe, 1 risky, 1 do_not_revoke."


def test_revocable_tokens_as_json_are_those_of_the_table(swept: Site) -> None:
    listed = swept.run("revocable", "--json").json()
    assert {one["label"] for one in listed} == {label(swept, "prod", 0), label(swept, "prod", 2)}
    (silent,) = (one for one in listed if one["token_name"] == "silent")
    assert silent.keys() == {
        "environment",
        "label",
        "token_name",
        "owner",
        "verdict",
        "confidence",
        "evidence",
        "limits",
        "safe_from",
        "risk_tier",
        "last_used_date",
        "cadence",
        "successor",
        "evident_at",
    }
    assert (silent["verdict"], silent["confidence"], silent["owner"]) == ("safe", "low", "svc-old")
    assert silent["cadence"]["networks"] == ["203.0.113.0/24"]
    datetime.fromisoformat(silent["evident_at"])


def test_every_verdict_is_listed_on_demand_worst_last(swept: Site) -> None:
    everything = swept.run("revocable", "--all", "--json").json()
    assert [one["verdict"] for one in everything] == ["safe", "safe", "risky", "do_not_revoke"]
    some = swept.run("revocable", "--verdict", "do_not_revoke", "--verdict", "risky", "--json").json()
    assert [one["token_name"] for one in some] == ["fresh", "busy"]
    assert swept.run("revocable", "--json", "-e", "staging").json() == []
    assert "1 token: 1 do_not_revoke." in swept.run("revocable", "-e", "staging").out


def test_one_token_is_told_of_whatever_its_verdict(swept: Site) -> None:
    done = swept.run("revocable", label(swept, "staging", 0))
    assert done.exit_code == 0
    assert done.out.splitlines()[0] == "do_not_revoke: something depends on it"
    assert "1 token:" not in done.out


@pytest.mark.parametrize("token", ["dt0c01.ZZZZZZZZZZZZZZZZZZZZZZZZ", "\udcff", ""])
def test_unknown_token_exits_with_2_and_is_not_repeated(swept: Site, token: str) -> None:
    done = swept.run("revocable", token)
    assert (done.exit_code, done.out) == (2, "")
    assert done.complaints == ["revocable: no such token is known; auditor revocable --all lists them"]


def test_unknown_environment_and_verdict_exit_with_2(swept: Site) -> None:
    assert 'did you mean "prod"?' in swept.run("revocable", "-e", "prd").complaints[0]
    assert swept.run("revocable", "-e", "prd").exit_code == 2
    assert swept.run("revocable", "--verdict", "perhaps").exit_code == 2


def test_nothing_swept_is_said_in_words_and_is_an_empty_list(site: Site) -> None:
    assert site.run("revocable").out == "No token is known yet.\n"
    assert site.run("revocable", "--json").json() == []


def test_lookup_that_failed_makes_the_verdict_unknown(site: Site) -> None:
    sweep(site)
    silent = label(site, "prod", 0)
    plan = Plan(token_id=silent, then=Fault.SERVER_ERROR)
    site.in_simulator(lambda: site.simulator.environments["prod"].set_faults(Faults(plans=(plan,))))
    site.run("sweep", "prod")
    (one,) = site.run("revocable", silent, "--json").json()
    assert (one["verdict"], one["confidence"]) == ("unknown", "low")
    assert one["evidence"][0].startswith("the last lookup gave no evidence (")


def test_finding_is_shown_with_the_verdict_on_its_token(swept: Site) -> None:
    key = f"prod/{label(swept, 'prod', 0)}/DT-USE-02"
    done = swept.run("findings", "show", key)
    assert "Revoke it? safe: nothing depends on it, by all that was recorded" in done.out
    assert "confidence: low, because only 1 lookup gave evidence" in done.out
    document = swept.run("findings", "show", key, "--json").json()
    assert document["verdict"]["verdict"] == "safe"
    assert document["verdict"]["label"] == document["finding"]["label"]
