"""How ``auditor policy diff`` shows what a draft would change: counts, then the findings, worst first."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from auditor.cli.showing import cell, console, print_table, severity, text, writing
from auditor.model.finding import Severity
from auditor.policy.drafts import Comparison, Difference
from auditor.sweep.back_test import Instant, Regrading, Tally

_ROWS_AT_ONCE: Final = 5_000
_WORST_FIRST: Final = tuple(reversed(range(len(Severity))))


class Found:
    """What tallies of one instant add up to. All differences, where all are wanted, wait in files and not in memory."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._files: list[BinaryIO] = []
        self._total = Tally()

    def __enter__(self) -> "Found":
        if self._limit is None:
            self._files = [tempfile.TemporaryFile() for _severity in Severity]  # noqa: SIM115 -- closed at exit
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self._files:
            file.close()

    @property
    def tokens(self) -> int:
        """How many tokens were replayed."""
        return self._total.tokens

    @property
    def counts(self) -> Mapping[Regrading, int]:
        """How many findings would differ, and how."""
        return self._total.counts

    def add(self, tally: Tally) -> None:
        """Add a part, whose tokens come after those that were added before."""
        for file, more in zip(self._files, tally.found, strict=False):
            file.writelines(msgspec.json.encode(difference) + b"\n" for difference in more)
        self._total.add(tally, self._limit or 0)

    def worst_first(self) -> Iterator[Difference]:
        """Yield the differences, as many as are wanted."""
        if self._limit is not None:
            kept = (difference for rank in _WORST_FIRST for difference in self._total.found[rank])
            yield from islice(kept, self._limit)
            return
        for rank in _WORST_FIRST:
            self._files[rank].seek(0)
            for line in self._files[rank]:
                yield msgspec.json.decode(line, type=Difference)


class Answer:
    """Prints what a back-test found: first how the policies compare, then each instant."""

    def __init__(self, draft: Path, instead_of: Path | None) -> None:
        self._draft = draft
        self._instead_of = instead_of

    def begin(self, comparisons: Mapping[str, Comparison]) -> None:
        """Print how the policies of each environment compare."""
        raise NotImplementedError

    def show(self, instant: Instant, found: Found) -> None:
        """Print what would differ at an instant."""
        raise NotImplementedError

    def end(self) -> None:
        """Print what comes last."""


class TextAnswer(Answer):
    """For people: tables."""

    def begin(self, comparisons: Mapping[str, Comparison]) -> None:
        """Name the draft, the rules that stand otherwise, and those that a replay says nothing of."""
        out = console()
        place = f"in place of {self._instead_of}" if self._instead_of else "laid over the others"
        out.print(text(f"{self._draft}, {place}", "bold"))
        for told, lines in (
            ("Rules that stand otherwise", _standings(comparisons)),
            ("Not replayed, since they look at more than one token", _not_replayed(comparisons)),
        ):
            if lines:
                out.print(f"\n{told}:")
                for line in lines:
                    out.print(text(f"  {line}"))
        if not any(comparison.disputed for comparison in comparisons.values()):
            out.print("\nNo rule that judges a token by itself is altered.")

    def show(self, instant: Instant, found: Found) -> None:
        """Print the counts and the findings."""
        out = console()
        out.print()
        when = f"As of {instant.at:%Y-%m-%d %H:%M} UTC" if instant.is_past else "Now"
        total = sum(found.counts.values())
        out.print(text(f"{when}: {total:,} findings would differ, of {found.tokens:,} tokens replayed", "bold"))
        if not total:
            return
        counts = _over_environments(found.counts)
        out.print()
        print_table(
            ("Rule", "Change", "Severity", "Findings"),
            ((rule, *_change(before, after), f"{count:,}") for (rule, before, after), count in counts),
        )
        shown = 0
        differences = found.worst_first()
        while rows := list(islice(differences, _ROWS_AT_ONCE)):
            out.print()
            print_table(("Severity", "Change", "Rule", "Environment", "Token", "What"), map(_row, rows))
            shown += len(rows)
        if shown < total:
            out.print(f"\nThe {shown:,} worst of {total:,}; --all shows all.")


def _standings(comparisons: Mapping[str, Comparison]) -> list[str]:
    return [
        f"{environment}: {change.rule_id} {change.before or 'absent'} → {change.after or 'absent'}"
        + (f" ({change.reason})" if change.reason else "")
        for environment, comparison in comparisons.items()
        for change in comparison.changes
    ]


def _not_replayed(comparisons: Mapping[str, Comparison]) -> list[str]:
    return [
        f"{environment}: {', '.join(comparison.not_replayed)}"
        for environment, comparison in comparisons.items()
        if comparison.not_replayed
    ]


def _over_environments(
    counts: Mapping[Regrading, int],
) -> Sequence[tuple[tuple[str, Severity | None, Severity | None], int]]:
    """Add the environments up, by rule, and for a rule the worst first."""
    added: dict[tuple[str, Severity | None, Severity | None], int] = {}
    for (_environment, rule, before, after), count in counts.items():
        key = rule, before, after
        added[key] = added.get(key, 0) + count
    return sorted(added.items(), key=lambda item: (item[0][0], -_rank(item[0][2]), -_rank(item[0][1])))


def _rank(grade: Severity | None) -> int:
    return -1 if grade is None else grade.rank


def _change(before: Severity | None, after: Severity | None) -> tuple[str, Any]:
    """Return what happens to a finding, and its severity."""
    if before is None or after is None:
        grade = after or before
        assert grade is not None
        return "dropped" if after is None else "added", severity(grade.value)
    return "re-graded", severity(before.value) + " → " + severity(after.value)


def _row(difference: Difference) -> Sequence[Any]:
    change, grade = _change(difference.before, difference.after)
    return (
        grade,
        change,
        difference.rule_id,
        difference.environment,
        cell(difference.label),
        cell(difference.message),
    )


class JsonAnswer(Answer):
    """For programs: one document, written as it comes: it may be long."""

    _separator = ""

    def begin(self, comparisons: Mapping[str, Comparison]) -> None:
        """Open the document."""
        standings = [
            {"environment": environment, **change._asdict()}
            for environment, comparison in comparisons.items()
            for change in comparison.changes
        ]
        not_replayed = {name: comparison.not_replayed for name, comparison in comparisons.items()}
        self._write(
            f'{{"draft": {_json(str(self._draft))}, '
            f'"instead_of": {_json(str(self._instead_of) if self._instead_of else None)}, '
            f'"standings": {_json(standings)}, "not_replayed": {_json(not_replayed)}, "instants": ['
        )

    def show(self, instant: Instant, found: Found) -> None:
        """Write one of its instants."""
        counts = [
            {"environment": environment, "rule_id": rule, "before": before, "after": after, "findings": count}
            for (environment, rule, before, after), count in sorted(
                found.counts.items(), key=lambda item: (*item[0][:2], -_rank(item[0][3]), -_rank(item[0][2]))
            )
        ]
        self._write(
            f'{self._separator}\n{{"at": {_json(instant.at)}, "is_past": {_json(instant.is_past)}, '
            f'"tokens": {found.tokens}, "counts": {_json(counts)}, "differences": ['
        )
        self._write_all(
            f"\n{_json({**msgspec.structs.asdict(difference), 'change': difference.change})}"
            for difference in found.worst_first()
        )
        self._write("]}")
        self._separator = ","

    def end(self) -> None:
        """Close the document."""
        self._write("]}\n")

    def _write_all(self, parts: Iterable[str]) -> None:
        for number, part in enumerate(parts):
            self._write("," * bool(number) + part)

    def _write(self, part: str) -> None:
        with writing():
            sys.stdout.write(part)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
