"""``auditor rules``: lists the catalogue, or explains one rule."""

from difflib import get_close_matches

from auditor.cli.session import Session
from auditor.cli.showing import console, print_json, print_table, text
from auditor.docs import example_finding, parameters_of
from auditor.model.errors import ConfigError, Problem
from auditor.policy.base import Rule
from auditor.policy.controls import CONTROLS
from auditor.policy.registry import rules as catalogue
from auditor.policy.sampling import example_of


def rules(_session: Session, rule_id: str | None, *, as_json: bool) -> int:
    """List every rule, or explain one; raises ``ConfigError`` for an id that is none."""
    known = catalogue()
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
        near = get_close_matches(rule_id.upper(), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "auditor rules lists them"
        raise ConfigError(Problem(f"rule {rule_id}", f"no such rule; {hint}"))
    if as_json:
        print_json(_as_json(rule))
    else:
        _explain(rule)
    return 0


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
            out.print(f"  {framework.value}: {control} {CONTROLS[framework][control]}")
    out.print("\nThat the rule serves these controls is the project's judgement.")
