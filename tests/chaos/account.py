"""What must hold of a database whatever happened to those who wrote to it: each function says what does not."""

from collections.abc import Mapping
from typing import Final

from auditor.policy.registry import rules
from auditor.store.connection import Connection

RULE: Final = "DT-EXP-01"
"""The one rule that is judged: a token without an end breaks it."""
ONE_RULE: Final = {"rules": {rule_id: {"enabled": False} for rule_id in rules() if rule_id != RULE}}
"""A policy of it alone."""


async def of_sweeps(connection: Connection, tokens: int) -> list[str]:
    """Every sweep that ended accounts for its tokens, a complete one for all there are; at most one has not ended."""
    rows = await connection.fetch("select * from sweep order by id")
    return [
        f"sweep {row['id']} is {row['status']} with {row['enrolled']} enrolled, {row['found']} found"
        for row in rows
        if row["enrolled"] != row["found"] + row["missing"] + row["refused"] + row["failed"]
        or row["missing"]  # none was ever deleted
        or (row["status"] == "complete" and not row["enrolled"] == row["found"] == tokens)
        or (row["status"] == "running" and row is not rows[-1])
    ]


async def of_findings(connection: Connection, breaking: set[str]) -> list[str]:
    """What is open is what is true."""
    rows = await connection.fetch(
        """
        select t.label from finding f join token t on t.id = f.token_id
        where f.status = 'open' and f.rule_id = $1
        """,
        RULE,
    )
    opened = {row["label"] for row in rows}
    return [f"not open: {label}" for label in breaking - opened] + [f"open: {label}" for label in opened - breaking]


async def of_transitions(connection: Connection, changes: Mapping[str, int]) -> list[str]:
    """None is recorded twice, left out or without evidence: a finding is opened, then resolved and reopened in turn.

    ``changes`` is how often the truth of a token changed, by its label: a finding cannot have changed more often.
    """
    rows = await connection.fetch(
        """
        select t.label, f.status, array_agg(e.transition order by e.id) as told,
            bool_or(e.transition = 'resolved' and e.resolution <> 'evidence') as is_unproven
        from finding f join token t on t.id = f.token_id left join finding_event e on e.finding_id = f.id
        group by t.label, f.id, f.status
        """
    )
    return [
        f"the finding of {row['label']} is {row['status']} after {row['told']}, with {changes[row['label']]} changes"
        for row in rows
        if row["told"] != _in_turn(len(row["told"]))
        or len(row["told"]) > 1 + changes[row["label"]]
        or (row["status"] == "resolved") != (row["told"][-1] == "resolved")
        or row["is_unproven"]
    ]


async def of_alerts(connection: Connection, taken: Mapping[str, int]) -> list[str]:
    """Each transition made one alert, and the hook took each alert."""
    alerts = await connection.fetch(
        """
        select finding_key, array_agg(split_part(event, '.', 2)) as told from alert
        where event like 'finding.%' group by 1
        """
    )
    transitions = await connection.fetchval("select count(*) from finding_event")
    wrong = [
        f"of finding {row['finding_key']} it was told {', '.join(row['told'])}"
        for row in alerts
        if sorted(row["told"]) != sorted(_in_turn(len(row["told"])))
    ]
    number = sum(len(row["told"]) for row in alerts)
    if number != transitions:
        wrong.append(f"{number} alerts of {transitions} transitions")
    rows = await connection.fetch(
        "select a.id::text as id, d.state from alert a left join delivery d on d.alert_id = a.id"
    )
    wrong += [f"alert {row['id']} is {row['state']}" for row in rows if row["state"] != "delivered"]
    ids = {row["id"] for row in rows}
    wrong += [f"alert {lost} was not taken" for lost in ids - taken.keys()]
    return wrong + [f"alert {unknown} was taken and is unknown" for unknown in taken.keys() - ids]


def _in_turn(number: int) -> list[str]:
    return ["opened", *["resolved", "reopened"] * number][:number]
