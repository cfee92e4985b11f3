"""Whether a policy's ``[[rule]]`` tables are sound: every problem at once, each with the path of its key."""

from collections.abc import Collection, Iterator

from auditor.policy.document import PolicyDocument
from auditor.policy.written.condition import check_condition
from auditor.policy.written.document import WrittenRule
from auditor.policy.written.message import check_discriminator, check_message
from auditor.policy.written.testing import failures

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of the document: ``("rule", 0, "test", 1, "expect")``."""


def check_written(document: PolicyDocument, known: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong in the document's written rules, tests that fail included; ``known`` are the ids of others.

    The tests of a rule run only where all else of it is sound.
    """
    taken: set[str] = set()
    for position, table in enumerate(document.rule):
        place: KeyPath = ("rule", position)
        problems = list(_wrong_in(table, known, taken))
        taken.add(table.id)
        if not problems:
            uses_now = "now" in check_condition(table.when).variables
            problems.extend(
                (("test", test, key), message) for test, key, message in failures(document, table, uses_now=uses_now)
            )
        yield from ((place + path, message) for path, message in problems)


def _wrong_in(table: WrittenRule, known: Collection[str], taken: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    if table.id in taken:
        yield ("id",), f'there is a rule "{table.id}" already; an id is one rule\'s'
    elif table.id in known:
        yield ("id",), f'"{table.id}" is a rule of the catalogue; choose another id'
    yield from ((("when",), problem) for problem in check_condition(table.when).problems)
    yield from ((("message",), problem) for problem in check_message(table.message))
    yield from ((("discriminator",), problem) for problem in check_discriminator(table.discriminator))
