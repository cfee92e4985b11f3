"""The sentences of the summary: figures, plural forms, and honesty about what is unknown."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from auditor.model.finding import Severity
from auditor.model.sweep import RuleState, SweepStatus, SweepSummary
from auditor.policy.registry import rules
from auditor.reports.base import EnvironmentPosture, RulePosture
from auditor.reports.figures import Figures
from auditor.reports.sentences import headline, listed, plural, share, summary
from auditor.store.figures import Adherence, WaiverInForce
from tests.reports.report_samples import NOW, WAIVER, environment, estate, expiry, report, sweep

ESTATE = f"""
The sources hold 223 tokens for 3 environments; what they hold for 1 more is not known.
15 findings are open on 15 tokens: 3 critical, 5 high, 4 medium, 2 low and 1 info. 3 were resolved in the last 30 days.
The oldest open finding has been open since 2025-06-15 (260 days); 3 of 14 findings with a deadline are past it: \
2 critical and 1 high.
3 live tokens expire within 30 days, the first on 2026-03-02; of 31 others nothing is known.
No waiver in force ends within 30 days.
192 of 223 tokens (86.0%) were audited; 31 are unknown, which is not a pass. \
Lookups failed in the last sweeps because: the sweep stopped before its turn (22), 429 until the retries ended (5), \
no answer within 30 s (3) and 401: the auditor's own token was not accepted (1).
“acquired-company” has never been swept: nothing is known of the tokens there.
The last sweep of “lab” failed; what it did not reach stays as earlier sweeps left it.
The last sweep of “staging” was incomplete.
1 source could not be read to the end; tokens there may be missing from these figures.
In “production” the auditor's own token was looked up with itself, which may move its last-used date.
{len(rules()) - 3} of {len(rules())} rules were assessed wherever a sweep ran; \
2 could not be assessed somewhere, which is not a pass; 1 is disabled somewhere.
"""


def text(*environments: EnvironmentPosture) -> str:
    return "\n".join(summary(report(*environments)))


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 tokens"), (1, "1 token"), (2, "2 tokens"), (12345, "12,345 tokens")]
)
def test_count_and_noun_agree(count: int, words: str) -> None:
    assert plural(count, "token") == words


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b and 2 more"),
    ],
)
def test_lists_read_as_sentences_do(parts: list[str], words: str) -> None:
    assert listed(parts, most=3) == words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 3, "0.0%"), (1, 3, "33.3%"), (2, 3, "66.6%"), (99_999, 100_000, "99.9%"), (7, 7, "100%")],
)
def test_only_the_whole_is_a_hundred_percent(part: int, whole: int, words: str) -> None:
    assert share(part, whole) == words


@pytest.mark.parametrize(
    ("opened", "words"),
    [
        ({}, "No finding is open, and every known token was audited."),
        ({Severity.HIGH: 1}, "1 finding is open."),
        ({Severity.CRITICAL: 1}, "1 critical finding is open."),
        ({Severity.CRITICAL: 2}, "2 critical findings are open."),
        ({Severity.CRITICAL: 2, Severity.LOW: 1500}, "1,502 findings are open, 2 of them critical."),
    ],
)
def test_headline_of_a_whole_audit(opened: dict[Severity, int], words: str) -> None:
    assert headline(report(environment(open_by_severity=opened))) == words


@pytest.mark.parametrize(
    "gap",
    [
        environment(unknown_tokens=1),
        environment(last_sweep=sweep(status=SweepStatus.FAILED)),
        environment(last_sweep=sweep(status=SweepStatus.INCOMPLETE)),
        environment(last_sweep=sweep(source_problems={"vault": "sealed"})),
        environment(last_sweep=sweep(status=SweepStatus.RUNNING), last_complete_at=None),
    ],
)
def test_headline_never_hides_a_gap(gap: EnvironmentPosture) -> None:
    assert headline(report(gap)) == "No finding is open, but not everything could be audited."


@pytest.mark.parametrize(
    ("opened", "waived", "head", "sentence"),
    [
        (
            {},
            {Severity.HIGH: 1},
            "No finding is open beyond 1 waived, and every known token was audited.",
            "No finding is open. 1 is open and waived: 1 high.",
        ),
        (
            {Severity.LOW: 1},
            {Severity.HIGH: 2, Severity.LOW: 1},
            "1 finding is open.",
            "1 finding is open on 1 token: 1 low. 3 more are open and waived: 2 high and 1 low.",
        ),
        (
            {Severity.LOW: 1},
            {Severity.CRITICAL: 1},
            "1 finding is open.",
            "1 finding is open on 1 token: 1 low. 1 more is open and waived: 1 critical.",
        ),
    ],
)
def test_waived_findings_are_said_and_counted_apart(
    opened: dict[Severity, int], waived: dict[Severity, int], head: str, sentence: str
) -> None:
    here = environment(open_by_severity=opened, waived_by_severity=waived, tokens_with_findings=len(opened))
    assert headline(report(here)) == head
    assert f"{sentence} None was resolved in the last 30 days." in text(here).splitlines()


def test_headline_before_the_first_sweep() -> None:
    assert headline(report(environment(last_sweep=None))) == "Nothing has been audited yet."
    assert headline(report()) == "Nothing has been audited yet."


def test_environment_without_findings_reads_plainly() -> None:
    assert text(environment()).splitlines()[:3] == [
        "The sources hold 10 tokens for 1 environment.",
        "No finding is open. None was resolved in the last 30 days.",
        "All 10 known tokens were audited.",
    ]


def test_single_things_are_singular() -> None:
    sentences = text(
        environment(stored_tokens=1, open_by_severity={Severity.LOW: 1}, tokens_with_findings=1, resolved_recently=1)
    )

    assert "The sources hold 1 token for 1 environment." in sentences
    assert "1 finding is open on 1 token: 1 low. 1 was resolved in the last 30 days." in sentences
    assert "The one known token was audited." in sentences


def test_unknown_tokens_are_no_pass_and_have_their_reasons() -> None:
    failed = sweep(status=SweepStatus.INCOMPLETE, found=1, failed=9, reasons={"no answer within 30 s": 8, "429": 1})

    sentences = text(environment(last_sweep=failed, unknown_tokens=9))

    assert (
        "1 of 10 tokens (10.0%) was audited; 9 are unknown, which is not a pass. "
        "Lookups failed in the last sweeps because: no answer within 30 s (8) and 429 (1)."
    ) in sentences
    assert "The last sweep of “production” was incomplete." in sentences


def test_never_swept_environment_is_named() -> None:
    assert "“lab” has never been swept: nothing is known of the tokens there." in text(
        environment(), environment("lab", last_sweep=None, stored_tokens=0)
    )
    assert "No stored token is known, so none was audited." in text(environment(last_sweep=None, stored_tokens=0))


def test_failed_sweep_is_named() -> None:
    assert "The last sweep of “lab” failed; what it did not reach stays as earlier sweeps left it." in text(
        environment(), environment("lab", last_sweep=sweep("lab", status=SweepStatus.FAILED))
    )


def test_estate_in_sentences() -> None:
    assert "\n".join(summary(estate())) == ESTATE.strip()


def test_rules_of_a_never_swept_environment_count_nowhere() -> None:
    posture = RulePosture(
        environment="production", rule_id="DT-EXP-01", title="", state=RuleState.ASSESSED, open_findings=0
    )

    assert summary(report(environment(last_sweep=None), rules=[posture]))[-1] == "No rule has been applied."
    assert summary(report(environment(), rules=[posture]))[-1] == "1 rule was assessed."


def test_report_without_environments_says_only_that() -> None:
    assert summary(report()) == ["No environment is configured, so there is nothing to audit."]


def test_old_evidence_is_no_pass_and_says_its_age() -> None:
    old = environment(
        last_sweep=sweep(finished_at=NOW - timedelta(days=60)), unknown_tokens=9, outdated_tokens=8, stored_tokens=10
    )
    assert headline(report(old)) == "No finding is open, but not everything could be audited."
    sentences = text(old).splitlines()
    assert (
        "1 of 10 tokens (10.0%) was audited; 9 are unknown, which is not a pass. "
        "The last evidence on 8 of them is older than 14 days."
    ) in sentences
    assert (
        "No sweep has ended in the last 14 days in “production” (the last on 2026-01-01, 60 days before): "
        "what has changed there since is not known."
    ) in sentences


def test_sweep_of_14_days_ago_is_not_old() -> None:
    assert "14 days" not in text(environment(last_sweep=sweep(finished_at=NOW - timedelta(days=14))))


def test_report_of_a_time_before_the_first_sweep_says_only_that() -> None:
    then = report(as_of=NOW, made_at=NOW + timedelta(days=1))
    assert headline(then) == "Nothing had been audited by 2026-03-02 06:30 UTC."
    assert summary(then) == [
        "No environment of this report had been swept by 2026-03-02 06:30 UTC, so nothing is known of that time."
    ]


@pytest.mark.parametrize("last", [None, sweep("lab", status=SweepStatus.RUNNING, finished_at=None)])
def test_what_sources_hold_is_not_known_before_a_sweep_has_ended(last: SweepSummary | None) -> None:
    lab = environment("lab", last_sweep=last, last_complete_at=None, stored_tokens=0)
    assert summary(report(lab))[0] == "What the sources hold for 1 environment is not known."
    said = "The sources hold 10 tokens for 1 environment; what they hold for 1 more is not known."
    assert summary(report(environment(), lab))[0] == said
    assert headline(report(environment(), lab)) == "No finding is open, but not everything could be audited."


def told(about: str, **figures: Any) -> list[str]:
    """The sentences of the summary that speak of something, with these figures."""
    return [one for one in summary(report(environment(), figures=Figures(**figures))) if about in one]


@pytest.mark.parametrize(
    ("adherence", "words"),
    [
        ({}, "the policies applied set no deadline."),
        ({Severity.HIGH: Adherence((7,))}, "no open finding has a deadline."),
        ({Severity.HIGH: Adherence((7,), open_in_time=1)}, "none of 1 finding with a deadline is past it."),
        (
            {Severity.HIGH: Adherence((7,), open_late=1), Severity.LOW: Adherence((90,), open_in_time=1)},
            "1 of 2 findings with a deadline is past it: 1 high.",
        ),
    ],
)
def test_oldest_finding_is_told_with_what_is_late(adherence: Mapping[Severity, Adherence], words: str) -> None:
    (said,) = told("oldest", oldest_opened_at=NOW - timedelta(days=1), adherence=adherence)
    assert said == f"The oldest open finding has been open since 2026-03-01 (1 day); {words}"


def test_without_open_finding_nothing_is_said_of_its_age() -> None:
    assert told("oldest", adherence={Severity.HIGH: Adherence((7,))}) == []


@pytest.mark.parametrize(
    ("days", "unknown", "words"),
    [
        ({}, 0, "No live token expires within 30 days."),
        ({31: 5}, 1, "No live token expires within 30 days; of 1 other nothing is known."),
        ({30: 1}, 0, "1 live token expires within 30 days, on 2026-04-01."),
        (
            {2: 1, 4: 1199},
            2,
            "1,200 live tokens expire within 30 days, the first on 2026-03-04; of 2 others nothing",
        ),
    ],
)
def test_what_expires_soon_is_told(days: Mapping[int, int], unknown: int, words: str) -> None:
    made = expiry("production", 2000, **{f"_{ahead}": tokens for ahead, tokens in days.items()})
    (said,) = [one for one in summary(report(environment(unknown_tokens=unknown), forecasts=[made])) if "expire" in one]
    assert said.startswith(words)


@pytest.mark.parametrize(
    ("waivers", "words"),
    [
        ([], None),
        ([(31, 4)], "No waiver in force ends within 30 days."),
        ([(30, 1)], "1 waiver ends within 30 days, on 2026-04-01; the finding that it mutes then counts again."),
        ([(2, 4)], "1 waiver ends within 30 days, on 2026-03-04; the 4 findings that it mutes then count again."),
        (
            [(2, 4), (3, 1), (90, 7)],
            "2 waivers end within 30 days, the first on 2026-03-04; the 5 findings that they mute then count again.",
        ),
    ],
)
def test_waivers_that_end_soon_are_told(waivers: Sequence[tuple[int, int]], words: str | None) -> None:
    in_force = [
        WaiverInForce(msgspec.structs.replace(WAIVER, until=NOW + timedelta(days=ahead)), muted, Severity.HIGH)
        for ahead, muted in waivers
    ]
    assert told("waiver", waivers=in_force) == ([words] if words else [])


@pytest.mark.parametrize(("days", "is_told"), [(-1, False), (0, False), (1, True)])
def test_report_of_before_history_is_whole_says_so(days: int, is_told: bool) -> None:
    data = msgspec.structs.replace(report(environment()), as_of=NOW, exact_since=NOW + timedelta(days=days))
    told = f"History is whole from {data.exact_since:%Y-%m-%d} on only"
    assert (told in "\n".join(summary(data))) is is_told
