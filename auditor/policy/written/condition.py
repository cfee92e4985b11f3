"""Checks and evaluates conditions in CEL, with the CEL project's own implementation (docs/decisions/0001-cel.md).

A condition is type-checked when the policy is loaded. Evaluating it runs no code but CEL's own functions, all of which
end: patterns are RE2's, whose time is linear, the library bounds the turns of all loops of an evaluation together,
and ``check_condition`` refuses what could grow within them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from auditor.model.lookup import Observation, TokenMetadata
from auditor.policy.base import Context, NotAssessable
from auditor.policy.written.syntax import Node, read_checked
from auditor.policy.written.variables import LOCATION_FIELDS, VARIABLES, Shape, Variable, hint

_PATTERNS_KEPT: Final = 256
_REASON_SHOWN: Final = 200
_LOOPS_WITHIN: Final = 2
_ERROR: Final = re.compile(r"(?:ERROR: )?<input>:(-?\d+):(-?\d+): ([^\n]*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_CONTAINER: Final = re.compile(r" \(in container ''\)$")
_STATUS: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_TOO_DEEP: Final = re.compile("recursion (?:depth|limit)")
_NO_TEXT: Final = frozenset("\0")
_JOINS: Final = frozenset({"add_string", "add_list", "add_bytes"})


class Checked(NamedTuple):
    """What the check of a condition found."""

    problems: tuple[str, ...]
    """What is wrong with it, each with its place in the condition; empty: it is sound."""
    variables: tuple[str, ...]
    """The variables that it uses, in the documentation's order."""


def check_condition(text: str) -> Checked:
    """Type-check a condition and bound its cost."""
    if not _NO_TEXT.isdisjoint(text) or not _is_encodable(text):
        return Checked(("holds characters that no text may hold",), ())
    environment = _environment({name: _declared(variable) for name, variable in VARIABLES.items()})
    try:
        compiled = environment.compile(text)
    except RuntimeError as error:
        return Checked(tuple(_problems_in(str(error), text)), ())
    root = read_checked(compiled.serialize())
    used = {node.reference for node in root.walk()}
    problems = [*_wrong_in(root)]
    result = compiled.return_type().name()
    if result != "BOOL":
        problems.append(f"comes to {result.lower()}, not bool; compare it with something")
    return Checked(tuple(dict.fromkeys(problems)), tuple(name for name in VARIABLES if name in used))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def variables_in(text: str) -> tuple[str, ...]:
    """Return the variables that a condition uses; none where it is not sound."""
    return check_condition(text).variables


def _problems_in(message: str, text: str) -> Iterable[str]:
    """Say what the compiler says, each thing with its place in the condition."""
    if _TOO_DEEP.search(message):
        return ["is nested too deeply, or is a chain of more than some 30 operators; group it with parentheses"]
    found = _ERROR.findall(message)
    if not found:
        return [_STATUS.sub("", message.split("\n")[0])]
    is_long = "\n" in text.strip()
    problems: list[str] = []
    for line, column, said in found:
        if int(column) < 1 and problems:  # what follows from the mistakes before
            continue
        place = f"line {line}, column {column}" if is_long else f"column {column}"
        problems.append(f"at {place}: {_CONTAINER.sub('', _STATUS.sub('', said))}{_hint(said)}")
    return problems


def _hint(message: str) -> str:
    match = _UNDECLARED.search(message)
    if match is None:
        return ""
    name = match[1]
    fields = [known.removeprefix(f"{name}.") for known in VARIABLES if known.startswith(f"{name}.")]
    if fields:
        return f"; name one of its fields: {', '.join(fields)}"
    return hint(name)


def _wrong_in(node: Node, loops: int = 0) -> Iterable[str]:
    """Find what type-checks and still cannot be right, or could cost without bound."""
    if node.kind == "comprehension":
        yield from _wrong_in(node.parts[0], loops)
        yield from _wrong_loop(node, loops)
        for part in node.parts[1:]:
            yield from _wrong_in(part, loops + 1)
        return
    if loops and _JOINS & set(node.overloads) and not _is_gathering(node):
        yield "joins texts or lists within a loop, which could grow without bound; join them outside of it"
    if node.name == "matches" and node.kind == "call":
        yield from _wrong_pattern(node.parts[-1])
    if node.kind == "call" and node.name in {"timestamp", "duration"} and node.parts[0].kind == "const":
        yield from _wrong_constant(node.name, node.parts[0].name)
    if node.kind == "select" and not node.reference:
        (operand,) = node.parts
        if operand.is_map and "." not in operand.reference and node.name not in LOCATION_FIELDS:
            yield f"undefined field '{node.name}'; a location has {' and '.join(LOCATION_FIELDS)}"
    for part in node.parts:
        yield from _wrong_in(part, loops)


def _wrong_loop(node: Node, loops: int) -> Iterable[str]:
    if loops >= _LOOPS_WITHIN:
        yield "loops within loops within loops; two are the most"
    gathers = any(map(_is_mapping, _loops_in(node)))
    others = sum(1 for _ in _loops_in(node)) - 1
    if gathers and (loops or others):
        yield "combines map() with another loop, which could grow without bound; test what it would gather directly"


def _loops_in(node: Node) -> Iterable[Node]:
    return (part for part in node.walk() if part.kind == "comprehension")


def _is_mapping(loop: Node) -> bool:
    """Whether it gathers values of its own, as ``map`` does; ``filter`` gathers what it goes through."""
    step = loop.parts[3]
    candidates = (step, *step.parts)  # filter gathers on a condition, and so does map with three arguments
    return any(_is_gathering(part) and part.parts[1].parts[0][:2] != ("ident", loop.name) for part in candidates)


def _is_gathering(node: Node) -> bool:
    """Whether it is the step that ``map`` and ``filter`` are made of: what is gathered so far, and one more."""
    return (
        node.name == "_+_"
        and node.parts[0].kind == "ident"
        and node.parts[0].name.startswith("@")
        and node.parts[1].kind == "list"
    )


def _wrong_pattern(pattern: Node) -> Iterable[str]:
    if pattern.kind != "const":
        yield "matches() takes a pattern that is written out, not one from a variable"
        return
    problem = _error_of("''.matches(text)", pattern.name)
    if problem is not None:
        yield f"matches(): {problem}"


def _wrong_constant(function: str, text: str) -> Iterable[str]:
    problem = _error_of(f"{function}(text) == {function}(text)", text)
    if text and problem is not None:
        yield f'{function}("{text[:60]}"): {problem}'


def _error_of(expression: str, text: str) -> str | None:
    from cel_expr_python import cel

    probe = _environment({"text": cel.Type.STRING}).compile(expression)
    try:
        value = probe.eval(data={"text": text})
    except RuntimeError as error:
        return _reason(error)
    return None if isinstance(value.value(), bool) else _reason(value.value())


def _reason(said: object) -> str:
    text = _STATUS.sub("", str(said).split("\n")[0])
    return text if len(text) <= _REASON_SHOWN else f"{text[:_REASON_SHOWN]}…"


def _environment(variables: Mapping[str, Any]) -> Any:
    from cel_expr_python import cel  # ten MiB that most policies can do without

    return cel.NewEnv(variables=dict(variables))


def _declared(variable: Variable) -> Any:
    """Return a variable's type for the check; a wrapper is a type that may be null."""
    from cel_expr_python import cel

    of = cel.Type
    texts = of.Map(of.STRING, of.STRING)
    return {
        Shape.TEXT: of.STRING,
        Shape.OPTIONAL_TEXT: of("google.protobuf.StringValue"),
        Shape.OPTIONAL_BOOL: of("google.protobuf.BoolValue"),
        Shape.INSTANT: of.TIMESTAMP,
        Shape.OPTIONAL_INSTANT: of.TIMESTAMP,
        Shape.TEXTS: of.List(of.STRING),
        Shape.TEXT_BY_TEXT: texts,
        Shape.LOCATIONS: of.List(texts),
        Shape.PRESENCE: of.AbstractType("observation"),
    }[variable.shape]


def _evaluated(variable: Variable, is_null: bool) -> Any:
    """Return a variable's type for the evaluation: the library takes instants where they are declared, and only there.

    So what is null and could be an instant is declared as anything.
    """
    from cel_expr_python import cel

    of = cel.Type
    if is_null or variable.shape in {Shape.OPTIONAL_TEXT, Shape.OPTIONAL_BOOL, Shape.PRESENCE}:
        return of.DYN
    return _declared(variable)


class Bindings:
    """The values that variables have for one token after the other, as conditions of one policy take them.

    They are made once for a token, however many conditions ask. A condition is compiled once for each set of instants
    that are null together.
    """

    def __init__(self, variables: Iterable[str]) -> None:
        used = set(variables)
        self._variables = [variable for name, variable in VARIABLES.items() if name in used]
        self._environments: dict[tuple[bool, ...], Any] = {}
        self._compiled: dict[tuple[str, tuple[bool, ...]], Any] = {}
        self._for: Context | None = None
        self._nulls: tuple[bool, ...] = ()
        self._activation: Any = None
        self._unfit: NotAssessable | None = None

    def evaluate(self, text: str, observation: Observation, token: TokenMetadata, context: Context) -> bool:
        """Return what a sound condition comes to; raises ``NotAssessable`` where it has no answer for this token."""
        if context is not self._for:
            self._bind(observation, token, context)
        if self._unfit is not None:
            raise NotAssessable(str(self._unfit))
        compiled = self._compiled.get((text, self._nulls))
        if compiled is None:
            compiled = self._environments[self._nulls].compile(text)
            self._compiled[text, self._nulls] = compiled
        try:
            value = compiled.eval(self._activation).value()
        except RuntimeError as error:  # the library's word for an evaluation that it gave up
            raise NotAssessable(_reason(error)) from error
        if value is True or value is False:
            return bool(value)
        raise NotAssessable("the condition comes to null" if value is None else _reason(value))

    def _bind(self, observation: Observation, token: TokenMetadata, context: Context) -> None:
        self._for, self._unfit, self._activation = context, None, None
        has_previous = context.history.previous is not None and context.history.previous.metadata is not None
        values: dict[str, Any] = {}
        nulls = []
        try:
            for variable in self._variables:
                is_there = has_previous or not variable.is_of_previous
                value = variable.read(observation, token, context) if is_there else None
                if is_there:
                    values[variable.name] = value
                if variable.shape.is_instant:
                    nulls.append(value is None)
            self._nulls = tuple(nulls)
            self._activation = self._environment_for(self._nulls).Activation(values)
        except NotAssessable as error:
            self._unfit = error
        except RuntimeError as error:
            self._unfit = NotAssessable(_reason(error))

    def _environment_for(self, nulls: tuple[bool, ...]) -> Any:
        environment = self._environments.get(nulls)
        if environment is None:
            if len(self._environments) >= _PATTERNS_KEPT:
                self._environments.clear()
                self._compiled.clear()
            is_null = iter(nulls)
            environment = self._environments[nulls] = _environment(
                {
                    variable.name: _evaluated(variable, next(is_null) if variable.shape.is_instant else False)
                    for variable in self._variables
                }
            )
        return environment
