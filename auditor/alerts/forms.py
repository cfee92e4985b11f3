"""How blocks are written in HTML, Markdown and Slack's mrkdwn: each escapes all text for itself."""

import html
import re
from collections.abc import Callable, Iterable
from typing import Final

from auditor.alerts.blocks import Block, Line, Run, Shape, Style

_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&:@])")
_GRAVE: Final = "\N{MODIFIER LETTER GRAVE ACCENT}"
_SLACK_FORM: Final = str.maketrans({"*": "\N{ASTERISK OPERATOR}", "~": "\N{TILDE OPERATOR}", "`": _GRAVE})
"""Look-alikes of what Slack takes for form and has no escape for."""
_SLACK_EDGE: Final = re.compile(r"(?<!\w)_|_(?!\w)")


def html_of(block: Block) -> str:
    """Return a block as HTML."""
    lines = _written(block.lines, _html)
    if block.shape is Shape.HEADING:
        return f"<h3>{lines[0]}</h3>"
    if block.shape is Shape.LIST:
        return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"
    return f"<p>{'<br>'.join(lines)}</p>"


def _html(run: Run) -> str:
    text = html.escape(run.text)
    match run.style:
        case Style.STRONG:
            return f"<strong>{text}</strong>"
        case Style.CODE:
            return f"<code>{text}</code>"
        case Style.LINK:
            return f'<a href="{html.escape(run.url)}">{text}</a>'
    return text


def markdown_of(block: Block) -> str:
    """Return a block as CommonMark has it."""
    lines = _written(block.lines, _markdown)
    if block.shape is Shape.HEADING:
        return f"### {lines[0]}"
    if block.shape is Shape.LIST:
        return "\n".join(f"- {line}" for line in lines)
    return "\\\n".join(line.lstrip() for line in lines)  # more spaces would make it code


def _markdown(run: Run) -> str:
    text = _MARKDOWN.sub(r"\\\1", run.text)
    match run.style:
        case Style.STRONG:
            return f"**{text.strip()}**"
        case Style.CODE:
            fence = "`" * (max(map(len, re.findall("`+", run.text)), default=0) + 1)
            pad = " " if "`" in run.text else ""
            return f"{fence}{pad}{run.text}{pad}{fence}"
        case Style.LINK:
            return f"[{text}](<{run.url.replace('<', '%3C').replace('>', '%3E')}>)"
    return text


def slack_of(block: Block) -> str:
    """Return a block in Slack's ``mrkdwn`` (docs.slack.dev, *Formatting message text*)."""
    lines = _written(block.lines, _slack)
    if block.shape is Shape.HEADING:
        return f"*{lines[0]}*"
    return "\n".join(f"• {line}" if block.shape is Shape.LIST else line for line in lines)


def _slack(run: Run) -> str:
    match run.style:
        case Style.CODE:
            return f"`{escaped_for_slack(run.text.replace('`', _GRAVE))}`"
        case Style.LINK:
            return f"<{escaped_for_slack(run.url).replace('|', '%7C')}|{_slack_words(run.text)}>"
        case Style.STRONG:
            return f"*{_slack_words(run.text).strip()}*"
    return _slack_words(run.text)


def _slack_words(text: str) -> str:
    return escaped_for_slack(_SLACK_EDGE.sub("\N{MODIFIER LETTER LOW MACRON}", text.translate(_SLACK_FORM)))


def escaped_for_slack(text: str) -> str:
    """Escape Slack's three control characters, without which no text can mention, link or command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _written(lines: Iterable[Line], write: Callable[[Run], str]) -> list[str]:
    return ["".join(map(write, line)) for line in lines]
