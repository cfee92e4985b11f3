"""The HTML page: what it says, that nothing from outside is markup in it, and that no request leaves it."""

import base64
import hashlib
import json
import re
from itertools import pairwise
from xml.etree.ElementTree import Element

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.model.finding import Finding, Resolution, Severity
from auditor.model.sweep import RuleState, SweepStatus
from auditor.model.token import Location
from auditor.policy.base import Framework
from auditor.reports.base import RulePosture
from auditor.reports.html import Html
from tests.reports.pages import parsed, section, short, text_of
from tests.reports.report_samples import WAIVER, environment, finding, sweep, written

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "javascript:alert(1)",
    "]]><!--",
)


async def test_page_is_valid_html_with_headings_in_order(estate_document: Element) -> None:
    levels = [int(element.tag[1]) for element in estate_document.iter() if re.fullmatch("h[1-6]", str(element.tag))]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


async def test_ids_are_unique_and_every_inner_link_has_its_target(estate_document: Element) -> None:
    ids = [element.get("id") for element in estate_document.iter() if element.get("id")]
    targets = {str(element.get("href")).removeprefix("#") for element in estate_document.iter("a")}
    labels = {element.get("aria-labelledby") for element in estate_document.iter() if element.get("aria-labelledby")}

    assert len(ids) == len(set(ids))
    assert targets | labels <= set(ids)


async def test_every_table_has_a_caption_and_scoped_headers(estate_document: Element) -> None:
    tables = list(estate_document.iter("table"))

    assert len(tables) == 23
    for table in tables:
        assert table.find("caption") is not None
        assert all(header.get("scope") in {"col", "row"} for header in table.iter("th"))


async def test_no_request_leaves_the_page(estate_page: str, estate_document: Element) -> None:
    for element in estate_document.iter():
        for name, value in element.attrib.items():
            if name in {"src", "srcset", "href", "action", "formaction", "data", "poster", "background", "ping"}:
                assert re.match(r"#|data:,$", value), f"{element.tag} {name}={value}"
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", estate_page)


async def test_page_forbids_whatever_it_does_not_bring(estate_document: Element) -> None:
    policy = next(one for one in estate_document.iter("meta") if one.get("http-equiv") == "Content-Security-Policy")
    allowed = dict(part.strip().split(" ", 1) for part in str(policy.get("content")).split(";"))

    def source(text: str | None) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(str(text).encode()).digest()).decode()}'"

    assert allowed["default-src"] == "'none'"
    assert allowed["img-src"] == "data:"
    assert [source(one.text) for one in estate_document.iter("script")] == [allowed["script-src"]]
    assert [source(one.text) for one in estate_document.iter("style")] == [allowed["style-src"]]
    assert not [element for element in estate_document.iter() if "style" in element.attrib]


@pytest.mark.parametrize("value", HOSTILE)
async def test_hostile_values_are_shown_as_text_everywhere(value: str) -> None:
    hostile = finding(
        environment=value,
        label=value,
        rule_id=value,
        message=value,
        token_name=value,
        owner=value,
        evidence={value: value, "list": [value], "nested": {value: [value]}},
        locations=(Location(value, value),),
    )
    resolved = finding(1, token_name=value, status="resolved", resolved_at=hostile.opened_at)
    place = environment(
        value,
        url=value,
        last_sweep=sweep(value, reasons={value: 1}, source_problems={value: value}, policy_digest=value),
        open_by_severity={Severity.HIGH: 1},
    )
    posture = RulePosture(
        environment=value, rule_id="DT-X", title=value, state=RuleState.NOT_ASSESSED, reason=value, open_findings=1
    )
    data = short(place, rules=[posture], version=value, policy_name=value, policy_digest=value)

    page = await written(Html(), data, [hostile, resolved])
    document = parsed(page)

    assert len(list(document.iter("script"))) == 1
    assert not list(document.iter("img"))
    assert not [name for element in document.iter() for name in element.attrib if str(name).startswith("on")]
    shown = " ".join(value.split())
    assert text_of(document).count(shown) >= 18
    assert section(page, "findings").count(shown) >= 9


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=())))
@example("\ufffe\ufdd0\U0010ffff")
async def test_any_name_leaves_a_valid_page_that_can_be_encoded(name: str) -> None:
    page = await written(Html(), short(environment(), rules=[], frameworks=()), [finding(token_name=name)])

    page.encode()
    assert len(list(parsed(page).iter("script"))) == 1


async def test_invisible_characters_are_made_visible() -> None:
    name = "a\x00b\x1b[31m\u202egnp.exe\u200b\x85\ud800"

    page = await written(Html(), short(environment(open_by_severity={Severity.HIGH: 1})), [finding(token_name=name)])

    assert "a␀b␛[31m[U+202E]gnp.exe[U+200B][U+0085][U+D800]" in section(page, "findings")


async def test_long_name_is_cut_and_its_length_said() -> None:
    page = await written(
        Html(), short(environment(open_by_severity={Severity.HIGH: 1})), [finding(token_name="n" * 10_000)]
    )

    assert "n" * 120 + "… (10,000 characters)" in page
    assert "n" * 121 not in page


@pytest.mark.parametrize("padding", [0, 40, 80, 2000])
async def test_token_shape_loses_its_secret_wherever_text_is_cut(padding: int) -> None:
    public = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
    secret = "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
    name = f"{'x ' * (padding // 2)}{public}.{secret}"
    careless = finding(token_name=name, message=name, evidence={"note": name, "notes": {name: [name]}})

    page = await written(Html(), short(environment(open_by_severity={Severity.HIGH: 1})), [careless])

    assert secret[:8] not in page
    assert (f"{public}.…" in page) == (padding < 120)


async def test_page_without_findings_says_so_without_a_table() -> None:
    page = await written(Html(), short(environment()))

    assert "No finding is open, and every known token was audited." in section(page, "summary")
    assert section(page, "findings") == "Open findings No finding is open."
    assert "No finding was resolved in the last 30 days." in section(page, "resolved")


async def test_page_of_thousands_lists_the_worst_and_counts_the_rest() -> None:
    findings = [finding(n, severity=Severity.CRITICAL) for n in range(10)] + [finding(n) for n in range(10, 5000)]
    findings += [finding(n, status="resolved", resolved_at=findings[0].last_seen_at) for n in range(2001)]
    data = short(environment(open_by_severity={Severity.CRITICAL: 10, Severity.HIGH: 4990}))

    page = await written(Html(), data, findings)

    assert page.count('<tr data-finding="critical">') == 10
    assert page.count('<tr data-finding="high">') == 1990 + 2000
    assert (
        "3,000 more open findings are not listed on this page. All of them: <code>auditor report --format csv" in page
    )
    assert "1 more resolved finding is not listed on this page." in page


async def test_waived_findings_are_listed_apart_with_who_accepted_them_until_when() -> None:
    findings = [
        finding(1),
        finding(2, severity=Severity.CRITICAL, waiver=WAIVER),
        finding(3, waiver=msgspec.structs.replace(WAIVER, reason="<b>soon</b>")),
        finding(4, severity=Severity.LOW, status="resolved", resolved_at=finding().last_seen_at),
    ]
    waived = {Severity.CRITICAL: 1, Severity.HIGH: 1}
    here = environment(open_by_severity={Severity.HIGH: 1}, waived_by_severity=waived, tokens_with_findings=1)
    page = await written(Html(), short(here), findings)
    assert [name for name in ("service-1", "service-2", "service-3") if name in section(page, "findings")] == [
        "service-1"
    ]
    told = section(page, "waived")
    assert [name for name in ("service-1", "service-2", "service-3", "service-4") if name in told] == [
        "service-2",
        "service-3",
    ]
    for part in ("critical", "2026-04-21 06:30", "sec-1042", "SEC-1042", "moves to OAuth", "<b>soon</b>"):
        assert part in told
    assert "approved by jane.doe@example.com for platform-automation" in told
    assert "service-4" in section(page, "resolved")
    assert "1 on 1 token, and 2 waived" in section(page, "environments")


async def test_page_with_waived_findings_only_says_so() -> None:
    here = environment(waived_by_severity={Severity.HIGH: 3})
    page = await written(Html(max_listed=2), short(here), [finding(number, waiver=WAIVER) for number in range(3)])
    assert section(page, "findings") == "Open findings No finding is open beyond 3 waived."
    assert "1 more waived finding is not listed on this page." in section(page, "waived")
    assert section(await written(Html(), short(environment())), "waived") == "Waived No finding is waived."


@pytest.mark.parametrize(
    "findings",
    [
        [finding(1, waiver=WAIVER), finding(2)],
        [finding(1, waiver=WAIVER, severity=Severity.LOW), finding(2, waiver=WAIVER)],
    ],
)
async def test_stream_that_is_out_of_order_is_refused(findings: list[Finding]) -> None:
    with pytest.raises(ValueError, match="the stream of findings"):
        await written(Html(), short(environment(waived_by_severity={Severity.HIGH: 2})), findings)


async def test_findings_are_one_table_worst_first_with_their_details(estate_document: Element) -> None:
    table = next(one for one in estate_document.iter("table") if text_of(one[0]) == "Open findings, worst first")
    severities = [str(one.get("data-finding")) for one in table.iter("tr") if one.get("data-finding")]
    row = text_of(next(one for one in table.iter("tr") if "grafana-bridge" in text_of(one)))

    assert severities == ["critical"] * 3 + ["high"] * 5 + ["medium"] * 4 + ["low"] * 2 + ["info"]
    for part in (
        "observability",
        "DT-SCP-03",
        "production",
        "joins any ingest scope with settings.write",
        "combination metrics.ingest and settings.write",
        "dotenv: /srv/grafana/.env:14",
        "2025-10-23 05:53",
        "130 days, reopened 1 time",
        "What to do about DT-SCP-03",
    ):
        assert part in row
    assert "no longer in any source" in text_of(
        next(r for r in estate_document.iter("tr") if "load-test" in text_of(r))
    )


@pytest.mark.parametrize(
    ("resolution", "words"),
    [
        (Resolution.EVIDENCE, "an observation no longer shows it"),
        (Resolution.MISSING, "the token no longer exists"),
        (Resolution.POLICY, "the policy no longer applies the rule"),
        (None, "not recorded"),
    ],
)
async def test_resolved_finding_says_how_it_ended(resolution: Resolution | None, words: str) -> None:
    ended = finding(status="resolved", resolved_at=finding().last_seen_at, resolution=resolution)

    resolved = section(await written(Html(), short(environment()), [ended]), "resolved")

    assert words in resolved
    assert "open for 9 days" in resolved


async def test_environment_card_gives_the_sum_its_reasons_and_its_warnings(estate_document: Element) -> None:
    cards = section(estate_document, "environments")

    assert "142 enrolled = 139 found + 3 missing + 0 refused + 0 failed" in cards
    assert "5 \N{MULTIPLICATION SIGN} 429 until the retries ended" in cards
    assert "ci: the command printed 3 of 5 lines and ended with exit code 1" in cards
    assert "The sweep stopped early." in cards
    assert cards.count("looked up with itself") == 1
    assert cards.count("another version of the policy") == 1
    assert "No sweep has run here: nothing is known of its tokens." in cards
    assert "does not account for" not in cards


async def test_environment_whose_sum_does_not_add_up_is_marked() -> None:
    page = await written(Html(), short(environment(last_sweep=sweep(enrolled=12, found=10))))

    assert "The sum does not account for every enrolled token." in section(page, "environments")


async def test_running_sweep_is_not_judged_by_its_sum() -> None:
    running = sweep(status=SweepStatus.RUNNING, finished_at=None, enrolled=10, found=4)

    cards = section(await written(Html(), short(environment(last_sweep=running))), "environments")

    assert "not ended" in cards
    assert "its figures are not final" in cards
    assert "does not account for" not in cards


async def test_never_swept_environment_shows_no_zeros() -> None:
    page = await written(Html(), short(environment(last_sweep=None, stored_tokens=0)))
    table = next(one for one in parsed(page).iter("table") if text_of(one[0]) == "Open findings by environment")

    assert text_of(table).endswith("production unknown: never swept")


async def test_rules_section_tells_state_reason_and_controls(estate_document: Element) -> None:
    overview = next(one for one in estate_document.iter("table") if text_of(one[0]) == "Rules and how they stand")
    states = {text_of(row[0]): text_of(row[3]) for row in list(overview.iter("tr"))[1:]}
    article = text_of(next(one for one in estate_document.iter("article") if one.get("id") == "DT-EXP-01"))

    assert states["DT-EXP-01"] == "assessed in all 3 swept environments"
    assert states["DT-OWN-02"] == (
        "assessed in productionnot assessed in staging and lab: no leavers feed is configured"
    )
    assert states["DT-ENV-02"] == "disabled in all 3 swept environments"
    assert "NIST SP 800-53 r5IA-5 Authenticator Management" in article
    assert "Create a successor with an expiration date within policy" in article


async def test_every_picture_has_a_name_a_sentence_and_its_figures_in_a_table(estate_document: Element) -> None:
    figures = list(estate_document.iter("figure"))

    assert [text_of(title) for one in figures for title in one.iter("h3")] == [
        "Open findings over time",
        "Open findings by age and severity",
        "Deadlines kept",
        "Sweeps of the last 90 days",
        "Days without use, by owner",
        "Power of tokens, by what their scopes are about",
    ]
    for figure in figures:
        picture, says = figure.find("{http://www.w3.org/2000/svg}svg"), figure.find("figcaption/p")
        assert picture is not None
        assert says is not None
        assert picture.get("role") == "img"
        assert str(picture.get("aria-label")).startswith(text_of(says))
        assert figure.find(".//table") is not None
    assert "4 of 15 open findings are 90 days old or older." in text_of(figures[1])
    assert "high (7 days)41113" in text_of(figures[2]) or "high (7 days)41113" in text_of(figures[2])


async def test_controls_come_framework_by_framework_with_their_evidence(estate_document: Element) -> None:
    controls = next(one for one in estate_document.iter("section") if one.get("id") == "controls")

    rows = {text_of(row[0]): row for row in controls.iter("tr")}
    offboarding = next(text_of(row) for name, row in rows.items() if name.startswith("NHI1:2025"))

    assert "that a rule serves a control is the auditor project's judgement" in text_of(controls)
    assert len(list(controls.iter("details"))) >= len(list(Framework))
    assert "production: fail, 2 open findings" in offboarding
    assert "50 of 58 tokens assessed; last complete sweep 2026-02-28 06:11" in offboarding
    assert "acquired-company: unknown, never swept" in offboarding
    assert "DT-ROT-02" in offboarding
    assert "that no rule serves: not assessed" in text_of(controls)


async def test_method_holds_schedule_self_lookup_and_the_text_that_the_digest_is_of(estate_document: Element) -> None:
    method = next(one for one in estate_document.iter("section") if one.get("id") == "method")
    shown = "".join(next(method.iter("pre")).itertext())

    compact = json.dumps(json.loads(shown), separators=(",", ":")).encode()

    assert hashlib.sha256(compact).hexdigest() in text_of(method)
    assert "nightly: 0 2 * * * (UTC), environments *" in text_of(method)
    assert "In production the auditor's own token was looked up with itself" in text_of(method)
    without = section(await written(Html(), short(environment())), "method")
    assert "has no schedule" in without
    assert "was not looked up with itself" in without


async def test_waivers_in_force_are_listed_with_owner_and_end(estate_document: Element) -> None:
    waived = section(estate_document, "waived")

    for part in ("sec-1042", "SEC-1042", "approved by jane.doe@example.com", "2026-04-21 06:30", "in 50 days", "high"):
        assert part in waived


async def test_rule_that_is_not_installed_is_still_named() -> None:
    posture = RulePosture(
        environment="production", rule_id="ACME-1", title="House rule", state=RuleState.ASSESSED, open_findings=2
    )

    rules = section(await written(Html(), short(environment(), rules=[posture])), "rules")

    assert "ACME-1 House rule" in rules
    assert "This rule is not installed where the report was made" in rules


@pytest.mark.parametrize(
    "findings",
    [
        [finding(0, severity=Severity.LOW), finding(1, severity=Severity.HIGH)],
        [finding(0, status="resolved"), finding(1)],
    ],
)
async def test_stream_out_of_order_is_an_error(findings: list[Finding]) -> None:
    with pytest.raises(ValueError, match="the stream of findings"):
        await written(Html(), short(environment()), findings)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
async def test_text_has_the_contrast_of_wcag_aa_in_light_and_dark(scheme: int, estate_page: str) -> None:
    page = estate_page
    blocks = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", blocks[scheme]))
    severities = ("critical", "high", "medium", "low", "info", "good")

    pairs = [(text, ground) for text in ("ink", "soft", "link") for ground in ("paper", "panel")]
    pairs += [(text, ground) for text in severities[:4] for ground in ("paper", "panel")]
    fills = [name for name in colours if name.startswith("fill-")]
    assert {f"fill-{name}" for name in ("critical", "high", "medium", "low", "info", "good")} == set(fills)
    for fill in fills:
        assert _contrast(colours[fill], colours["panel"]) >= 2.8, fill  # each is also named, and counted in a table
    pairs += [("badge-ink", severity) for severity in severities] + [("ink", "warn-paper")]

    contrasts = {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: contrast for pair, contrast in contrasts.items() if contrast < 4.5} == {}
