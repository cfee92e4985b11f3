"""The report as one self-contained HTML page: no request leaves it, and nothing from outside is markup in it."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import cache
from typing import Any, BinaryIO, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from auditor.model.finding import Finding, Resolution, Severity
from auditor.outside_text import clipped, visible
from auditor.policy.assessment import ControlState
from auditor.policy.revocation import TOO_OLD
from auditor.reports import sentences, verdicts
from auditor.reports.base import Findings, ReportData, as_text
from auditor.reports.calendar import HEIGHT, calendar
from auditor.reports.charts import COLOURS
from auditor.reports.controls import JUDGEMENT, assessments
from auditor.reports.pictures import pictures
from auditor.reports.rule_views import rule_views

MAX_LISTED: Final = 2000
"""Open findings that the page lists, and likewise resolved ones; it counts the rest and says where they are."""

MAX_REVOCABLE: Final = 200
"""Tokens that can be revoked and that the page lists, surest first."""

_MAX_POLICIES: Final = 10
"""Policies whose text the page holds, that of the latest sweep first."""

_NAME_LIMIT: Final = 120
_TEXT_LIMIT: Final = 1000
"""Characters of any one value from outside; the page says how long a longer one was."""

_ENDINGS: Final[Mapping[Resolution | None, str]] = {
    Resolution.EVIDENCE: "an observation no longer shows it",
    Resolution.MISSING: "the token no longer exists",
    Resolution.POLICY: "the policy no longer applies the rule",
    None: "not recorded",
}

_PAINTS: Final[Mapping[str, str]] = {
    "found": "good",
    "missing": "low",
    "refused": "critical",
    "failed": "high",
    "control-pass": "good",
    "control-pass-with-exceptions": "low",
    "control-partly-assessed": "medium",
    "control-fail": "critical",
    "control-unknown": "high",
    "control-not-assessed": "info",
}
"""What a part of a bar is → its colour, for paper; the style sheet says the same for screens."""


class Html:
    """HTML for people: readable on screens, phones and paper."""

    name = "html"
    media_type = "text/html"
    suffix = "html"
    is_binary = False

    def __init__(self, max_listed: int = MAX_LISTED, *, is_paper: bool = False) -> None:
        """``is_paper`` makes the page for paged media: with contents and running headers, without its script."""
        self._max_listed = max_listed
        self._is_paper = is_paper

    async def write(self, data: ReportData, findings: Findings, out: BinaryIO) -> None:
        """Write the page piece by piece; only one batch of findings is in memory at a time."""
        revocable = await verdicts.overview(data.verdicts, MAX_REVOCABLE)
        timeline = await data.timeline()
        async with aclosing(findings()) as batches:
            listing = _Listing(batches, self._max_listed)
            page = _template().generate_async(
                is_paper=self._is_paper,
                data=data,
                listing=listing,
                stored=sum(environment.stored_tokens for environment in data.environments),
                unknown=sum(environment.unknown_tokens for environment in data.environments),
                most_open=max((environment.open_findings for environment in data.environments), default=0),
                opened=sentences.open_totals(data.environments),
                waived=sum(environment.waived_findings for environment in data.environments),
                headline=sentences.headline(data),
                summary=sentences.summary(data),
                pictures=pictures(data, timeline),
                frameworks=assessments(data),
                max_listed=self._max_listed,
                self_lookups=sentences.listed(
                    one.name for one in data.environments if one.last_sweep is not None and one.last_sweep.self_lookup
                ),
                rules=rule_views(data),
                too_old=TOO_OLD,
                never_swept=sentences.listed(one.name for one in data.environments if one.last_sweep is None),
                revocable=revocable,
                calendars=[calendar(forecast) for forecast in data.forecasts],
                rule_titles={posture.rule_id: posture.title for posture in data.rules},
            )
            with as_text(out) as text:
                async with aclosing(page) as chunks:
                    async for chunk in chunks:
                        text.write(chunk)


class _Listing:
    """Splits the stream of findings into open, waived and resolved ones, and counts what it leaves out."""

    def __init__(self, batches: AsyncIterator[Sequence[Finding]], most: int) -> None:
        self._findings = (finding async for batch in batches for finding in batch)
        self._most = most
        self._first_of_next: Finding | None = None
        """Where the next part begins, once the one before it has ended."""
        self.unlisted_open = 0
        self.unlisted_waived = 0
        self.unlisted_resolved = 0

    async def open(self) -> AsyncIterator[Finding]:
        """Yield open findings; ``unlisted_open`` is right afterwards."""
        count = 0
        async for finding in self._part(is_waived=False):
            count += 1
            if count <= self._most:
                yield finding
        self.unlisted_open = max(0, count - self._most)

    async def waived(self) -> AsyncIterator[Finding]:
        """Yield waived findings, once ``open`` has ended; ``unlisted_waived`` is right afterwards."""
        count = 0
        async for finding in self._part(is_waived=True):
            count += 1
            if count <= self._most:
                yield finding
        self.unlisted_waived = max(0, count - self._most)

    async def _part(self, *, is_waived: bool) -> AsyncIterator[Finding]:
        """Yield the open findings that are waived, or those that are not, up to the first that is something else."""
        rank = len(Severity)
        while (finding := await self._next()) is not None:
            if finding.status == "resolved" or (finding.waiver is not None) is not is_waived:
                self._first_of_next = finding
                return
            if finding.severity.rank > rank:
                raise ValueError(f"the stream of findings is not sorted worst first at {finding.key}")
            rank = finding.severity.rank
            yield finding

    async def _next(self) -> Finding | None:
        first, self._first_of_next = self._first_of_next, None
        return first or await anext(self._findings, None)

    async def resolved(self) -> AsyncIterator[Finding]:
        """Yield resolved findings, once ``waived`` has ended; ``unlisted_resolved`` is right afterwards."""
        count = 0
        while (finding := await self._next()) is not None:
            if finding.status != "resolved":
                raise ValueError(f"the stream of findings has an open one out of its order: {finding.key}")
            count += 1
            if count <= self._most:
                yield finding
        self.unlisted_resolved = max(0, count - self._most)


@cache
def _template() -> Template:
    loader = PackageLoader("auditor.reports")
    environment = Environment(
        loader=loader,
        autoescape=True,
        enable_async=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = loader.get_source(environment, "report.css")[0]
    script = loader.get_source(environment, "report.js")[0]
    paper_style = loader.get_source(environment, "paper.css")[0]
    environment.globals |= {
        "style": Markup(style),  # noqa: S704 - ours, and its hash is the only one that the page's own policy admits
        "script": Markup(script),  # noqa: S704
        "paper_style": Markup(paper_style),  # noqa: S704
        "content_security_policy": (
            f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        ),
        "severities": sentences.WORST_FIRST,
        "verdicts": verdicts.MEANINGS,
        "control_states": tuple(ControlState),
        "judgement": JUDGEMENT,
        "max_policies": _MAX_POLICIES,
        "listed": sentences.listed,
        "counted_states": lambda counts: sentences.listed(
            [f"{counts[one]:,} {one}" for one in counts if counts[one]], 9
        ),
        "state_classes": lambda counts: {
            f"control-{state.replace(' ', '-')}": count for state, count in counts.items()
        },
        "paint": lambda name: COLOURS[_PAINTS.get(name, name)],
        "calendar_height": HEIGHT,
        "plural": sentences.plural,
        "share": sentences.share,
        "parts": _parts,
        "by_severity": lambda environment: sentences.open_totals([environment]),
    }
    environment.filters |= {
        "name": lambda text: clipped(text, _NAME_LIMIT),
        "instant": _instant,
        "evidence": _evidence,
        "ending": _ENDINGS.__getitem__,
        "number": lambda count: f"{count:,}",
        "policy_text": _policy_text,
    }
    return environment.get_template("report.html.j2")


def _finalized(value: object) -> object:
    """Prepare any value that the template shows, before it is escaped; a missing one is an error in the template."""
    if isinstance(value, Markup):
        return value
    return clipped(visible(str(value)), _TEXT_LIMIT)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _policy_text(content: bytes) -> Markup:
    """Lay a policy's JSON out in lines; whole, since its digest is to be checked."""
    text = msgspec.json.format(content, indent=2).decode()
    return escape("\n".join(visible(line) for line in text.split("\n")))


def _instant(at: datetime) -> Markup:
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}"><span>{}</span> <span>{}</span></time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d}", f"{utc:%H:%M}"
    )


def _evidence(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return evidence as names and short texts."""
    return [(name, _compact(value)) for name, value in evidence.items()]


def _compact(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return clipped(value, _NAME_LIMIT)
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return sentences.listed([clipped(item, _NAME_LIMIT) for item in value], most=12) or "none"
    return clipped(json.dumps(value, ensure_ascii=False), _NAME_LIMIT)


class _Part(msgspec.Struct, frozen=True):
    """One piece of a bar, in hundredths of the bar's width."""

    name: str
    start: float
    width: float


def _parts(counts: Mapping[str, int], whole: int) -> list[_Part]:
    """Lay counts side by side on a bar whose full width is ``whole``; zeros take no place."""
    parts = []
    start = 0.0
    for name, count in counts.items():
        width = round(100 * count / whole, 2) if whole else 0.0
        if width:
            parts.append(_Part(str(name), round(start, 2), width))
        start += width
    return parts
