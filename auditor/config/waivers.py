"""Reads the files of waivers that a configuration names."""

from collections.abc import Sequence

from pydantic import ValidationError

from auditor.config.document import PolicySettings
from auditor.config.policies import Policies
from auditor.config.problems import Document, problems_of
from auditor.config.reading import read_document
from auditor.model.errors import Problem
from auditor.policy.registry import rules_of
from auditor.policy.waivers import Setting, WaiverEntry, WaiversDocument, check_waivers


def read_waivers(file: Document, policies: Policies, problems: list[Problem]) -> Sequence[WaiverEntry]:
    """Return the waivers of every file, in their order; what is wrong in them is put to file and line."""
    try:
        names = PolicySettings.model_validate(file.values.get("policy", {})).waivers
    except ValidationError:  # the document's own check says so
        return ()
    settings = {
        name: Setting(stack.document.waivers, frozenset(rules_of(stack.document)))
        for name, stack in policies.by_environment.items()
    }
    entries: list[WaiverEntry] = []
    places: dict[str, str] = {}
    for name in dict.fromkeys(names):
        mend = f"put it there, or correct policy.waivers in {file.path}"
        written = read_document(file.path.parent / name, mend, problems)
        if written is None:
            continue
        try:
            document = WaiversDocument.model_validate(written.values)
        except ValidationError as error:
            problems.extend(problems_of(written, error, WaiversDocument))
            continue
        problems.extend(written.problem(path, message) for path, message in check_waivers(document, settings))
        for number, entry in enumerate(document.waiver):
            path = ("waiver", number, "id")
            if entry.id in places:
                message = f'"{entry.id}" is the id of the waiver at {places[entry.id]}, too; every id is used once'
                problems.append(written.problem(path, message))
            places.setdefault(entry.id, written.place(path))
            entries.append(entry)
    return tuple(entries)
