"""``auditor rules``: lists the catalogue, or explains one rule."""

from collections.abc import Mapping

from auditor.cli.session import Session
from auditor.cli.showing import console, print_json, print_table, text
from auditor.docs import example_finding, parameters_of
from auditor.model.errors import ConfigError, Problem
from auditor.model.spelling import meant
from auditor.policy.base import Rule
from auditor.policy.controls import CONTROLS
from auditor.policy.registry import rules as catalogue
from auditor.policy.sampling import example_of
from auditor.policy.written.rules import made_of


def rules(session: Session, rule_id: str | None, *, as_json: bool) -> int:
    """List every rule, or explain one; raises ``ConfigError`` for an id that is none.

    Where there is a sound configuration, the rules that its policies write are among them.
    """
    known = {**catalogue(), **_written(session)}
    if rule_id is None:
        if as_json:
            print_json([_as_json(rule) for rule in known.values()])
        else:
            print_table(
                ("Rule", "Title", "Severity"), ((rule.id, rule.title, rule.severity) for rule in known.values())
            )
        return 0
    rule = known.get(rule_id.upper())
    if rule is None:
        raise ConfigError(
            Problem(f"rule {rule_id}", f"no such rule; {meant(rule_id, known, otherwise='auditor rules lists them')}")
        )
    if as_json:
        print_json(_as_json(rule))
    else:
        _explain(rule)
    return 0


def _written(session: Session) -> Mapping[str, Rule]:
    """Return the rules that policies write, each as the first policy has it that does."""
    if not session.path.exists():
        return {}
    try:
        policies = session.load().policies
    except ConfigError:
        console(errors=True).print(
            text(f"{session.path} is not sound, so the rules that its policies write are not here; see auditor check")
        )
        return {}
    documents = [stack.document for stack in (policies.common, *policies.by_environment.values())]
    tables = {table.id: table for document in reversed(documents) for table in document.rule}
    return dict(sorted(made_of(list(tables.values())).items()))


def _as_json(rule: Rule) -> dict[str, object]:
    example = example_of(rule)
    return {
        "id": rule.id,
        "title": rule.title,
        "kind": rule.kind.value,
        "severity": rule.severity,
        "test": rule.test,
        "rationale": rule.rationale,
        "remediation": rule.remediation,
        "parameters": rule.params.model_json_schema(),
        "controls": {framework.value: list(ids) for framework, ids in rule.controls.items()},
        "example": None
        if example is None
        else {
            "severity": example.severity.value,
            "message": example.message,
            "evidence": example.evidence,
            "parameters": dict(rule.sample.params) if rule.sample else {},
        },
    }


def _explain(rule: Rule) -> None:
    out = console()
    out.print(text(f"{rule.id}  {rule.title}", "bold"))
    out.print(
        f"\nSeverity: {rule.severity}\nTest:     {rule.test}\n\n{rule.rationale}\n\nWhat to do: {rule.remediation}"
    )
    parameters = list(parameters_of(rule.params))
    if parameters:
        out.print()
        out.print(text("Parameters", "bold"))
        for name, described, default in parameters:
            out.print(f"  {name} = {default or '(not set)'}\n      {described}")
    example = list(example_finding(rule))
    if example:
        out.print()
        out.print(text("Example finding", "bold"))
        for label, value in example:
            out.print(text(f"  {label}: {value}"))
    out.print()
    out.print(text("Controls", "bold"))
    for framework, ids in rule.controls.items():
        for control in ids:
            out.print(f"  {framework.value}: {control} {CONTROLS[framework].get(control, '')}".rstrip())
    whose = "the project's" if rule.id in catalogue() else "your policy's"
    out.print(f"\nThat the rule serves these controls is {whose} judgement.")
