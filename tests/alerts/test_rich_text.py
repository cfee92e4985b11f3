"""Text with a little form, and what it is for those who show it."""

from xml.etree.ElementTree import Element

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from auditor.alerts.blocks import Block, Run, Shape, Style
from auditor.alerts.rich import Rich, code, heading, link, one_line, strong
from auditor.outside_text import visible

SAMPLE = "\n".join(
    [
        heading("Two <tokens>"),
        f"{strong('Where')}: {code('a`b')} & more",
        "second line",
        "",
        "- one",
        f"- {link('https://example.com/?a=1&b=2', 'two *')}",
        "",
        "",
        "the end",
    ]
)


def test_blocks_are_headings_paragraphs_and_lists() -> None:
    assert Rich.of(SAMPLE).blocks == (
        Block(Shape.HEADING, ((Run("Two <tokens>"),),)),
        Block(
            Shape.PARAGRAPH,
            (
                (Run("Where", Style.STRONG), Run(": "), Run("a`b", Style.CODE), Run(" & more")),
                (Run("second line"),),
            ),
        ),
        Block(Shape.LIST, ((Run("one"),), (Run("two *", Style.LINK, "https://example.com/?a=1&b=2"),))),
        Block(Shape.PARAGRAPH, ((Run("the end"),),)),
    )


def test_form_in_each_way_of_writing_it() -> None:
    text = Rich.of(SAMPLE)
    assert text.plain() == (
        "Two <tokens>\nWhere: a`b & more\nsecond line\n\n- one\n- two * (https://example.com/?a=1&b=2)\n\nthe end"
    )
    assert text.html() == (
        "<h3>Two &lt;tokens&gt;</h3>\n"
        "<p><strong>Where</strong>: <code>a`b</code> &amp; more<br>second line</p>\n"
        '<ul><li>one</li><li><a href="https://example.com/?a=1&amp;b=2">two *</a></li></ul>\n'
        "<p>the end</p>"
    )
    assert text.markdown() == (
        "### Two \\<tokens\\>\n\n**Where**\\: `` a`b `` \\& more\\\nsecond line\n\n"
        "- one\n- [two \\*](<https://example.com/?a=1&b=2>)\n\nthe end"
    )
    assert text.slack() == [
        "*Two &lt;tokens&gt;*",
        "*Where*: `aˋb` &amp; more\nsecond line",  # noqa: RUF001
        "• one\n• <https://example.com/?a=1&amp;b=2|two ∗>",  # noqa: RUF001
        "the end",
    ]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "https://a b", "", "example.com"])
def test_what_is_no_web_address_is_no_link(url: str) -> None:
    assert link(url, "text") == "text"


@pytest.mark.parametrize(
    "hostile", ["<!channel>", "<https://evil.example|Dynatrace>", "@here <@U123>", "&lt;!here&gt;"]
)
def test_slack_text_cannot_mention_or_link(hostile: str) -> None:
    (text,) = Rich.of(strong(hostile)).slack()
    assert "<" not in text
    assert ">" not in text


def shown(element: Element) -> str:
    return "".join(element.itertext())


outside = st.text(max_size=60).map(visible).map(str.strip).filter(bool)


@given(outside, outside)
def test_html_says_what_the_plain_text_says_and_has_no_other_tags(bold: str, item: str) -> None:
    text = Rich.of(f"{strong(bold)} {code(item)}\n\n- {item}")
    tree = html5lib.parseFragment(text.html(), namespaceHTMLElements=False)
    assert {element.tag for element in tree.iter()} <= {"DOCUMENT_FRAGMENT", "p", "strong", "code", "ul", "li"}
    assert shown(tree) == f"{bold} {item}\n{item}"


@given(outside, outside)
def test_markdown_says_what_the_plain_text_says_and_has_no_other_form(words: str, item: str) -> None:
    tree = html5lib.parseFragment(
        MarkdownIt("commonmark").render(Rich.of(f"Said {words}\n\n- of {item}").markdown()),
        namespaceHTMLElements=False,
    )
    assert {element.tag for element in tree.iter()} <= {"DOCUMENT_FRAGMENT", "p", "ul", "li", "br"}
    assert shown(tree).split() == f"Said {words} of {item}".split()


@given(st.lists(outside, max_size=8), st.integers(min_value=10, max_value=200))
def test_clipped_text_is_a_beginning_that_fits(lines: list[str], limit: int) -> None:
    whole = Rich.of("\n\n".join(f"x{line}" for line in lines))
    clipped = whole.clipped(limit).plain()
    assert len(clipped) <= limit
    if clipped != whole.plain():
        assert clipped.endswith("…")
        assert whole.plain().startswith(clipped.removesuffix("…").rstrip())


def test_command_is_not_cut_in_half() -> None:
    text = Rich.of(f"Waive it: {code('auditor waive prod/x --until 2027-01-31')}")
    assert text.clipped(30).plain() == "Waive it: …"


def test_subject_is_one_plain_line() -> None:
    assert one_line(f" a\n {strong('b')}\t{link('https://c.example', 'c')} ") == "a b c"
