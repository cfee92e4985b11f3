"""Text with a little form: headings, lists, strong words, code and links, escaped as a whole for whoever shows it.

A template's output says where form begins and ends by control characters, which text from outside cannot hold
(``outside_text.visible``). So nothing is escaped before it is known for whom, and nothing is forgotten.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from auditor.alerts.blocks import Block, Line, Run, Shape, Style, plain
from auditor.alerts.forms import html_of, markdown_of, slack_of

_STRONG: Final = "\x01"
_CODE: Final = "\x02"
_LINK: Final = "\x03"
_OF: Final = "\x04"
_END: Final = "\x05"
_HEADING: Final = "\x06"
_MARKS: Final = re.compile("[\x01-\x06]")
_SPAN: Final = re.compile("([\x01-\x03])([^\x01-\x06]*)(?:\x04([^\x01-\x06]*))?\x05")
_ITEM: Final = "- "
_SHORTENED: Final = "…"

_STYLES: Final = {_STRONG: Style.STRONG, _CODE: Style.CODE, _LINK: Style.LINK}


def strong(value: object) -> str:
    """Mark text as strong; a template's filter, as are the next three."""
    return _marked(_STRONG, str(value))


def code(value: object) -> str:
    """Mark text as code: a key, a command, something to copy."""
    return _marked(_CODE, str(value))


def link(url: object, text: str = "") -> str:
    """Mark a link; what is not an http or https URL stays text."""
    address = _MARKS.sub("", str(url))
    if not re.match(r"https?://[^\s]+$", address):
        return _MARKS.sub("", text or address)
    return _marked(_LINK, f"{address}{_OF}{_MARKS.sub('', text or address)}", keep=_OF)


def heading(value: object) -> str:
    """Mark a line as a heading; it stands by itself."""
    return _HEADING + _MARKS.sub("", str(value))


def _marked(mark: str, text: str, *, keep: str = "") -> str:
    inner = _MARKS.sub(lambda found: found[0] if found[0] == keep else "", text.replace("\n", " "))
    return f"{mark}{inner}{_END}" if inner else ""


@dataclass(frozen=True, slots=True)
class Rich:
    """Text with form."""

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, rendered: str) -> "Rich":
        """Read what a template made: blocks are parted by empty lines, and items of lists begin with ``- ``."""
        return cls(tuple(_blocks(rendered)))

    def plain(self) -> str:
        """Return it as plain text."""
        pieces: list[str] = []
        for block in self.blocks:
            mark = _ITEM if block.shape is Shape.LIST else ""
            pieces.append("\n".join(mark + "".join(map(plain, line)) for line in block.lines))
            pieces.append("\n" if block.shape is Shape.HEADING else "\n\n")
        return "".join(pieces[:-1])

    def html(self) -> str:
        """Return it as a fragment of HTML."""
        return "\n".join(map(html_of, self.blocks))

    def markdown(self) -> str:
        """Return it in Markdown."""
        return "\n\n".join(map(markdown_of, self.blocks))

    def slack(self) -> list[str]:
        """Return it in Slack's ``mrkdwn``, block by block."""
        return [slack_of(block) for block in self.blocks]

    def clipped(self, limit: int) -> "Rich":
        """Return as much of its beginning as is no longer than so many characters of plain text."""
        if len(self.plain()) <= limit:
            return self
        kept: list[Block] = []
        left = limit - len(_SHORTENED)
        for block in self.blocks:
            mark = len(_ITEM) if block.shape is Shape.LIST else 0
            for number, line in enumerate(block.lines):
                begins = number == 0
                length = mark + sum(len(plain(run)) for run in line)
                if length > left:
                    start = _start_of(line, left - mark)
                    return Rich(_shortened(_extended(kept, block.shape, start, begins=begins) if start else kept))
                kept = _extended(kept, block.shape, line, begins=begins)
                left -= length + 1
            left -= 1
        return self


def _extended(blocks: list[Block], shape: Shape, line: Line, *, begins: bool) -> list[Block]:
    """Return blocks with a line more, which begins a block of its own or goes on with the last."""
    if begins:
        return [*blocks, Block(shape, (line,))]
    return [*blocks[:-1], Block(shape, (*blocks[-1].lines, line))]


def _shortened(blocks: list[Block]) -> tuple[Block, ...]:
    """Return blocks with a mark at their end that something is missing."""
    if not blocks:
        return (Block(Shape.PARAGRAPH, ((Run(_SHORTENED),),)),)
    *lines, last = blocks[-1].lines
    return (*blocks[:-1], Block(blocks[-1].shape, (*lines, (*last, Run(_SHORTENED)))))


def one_line(rendered: str) -> str:
    """Return what a template made as one plain line."""
    return " ".join("".join(run.text for run in _line(rendered)).split())


def _blocks(rendered: str) -> Iterator[Block]:
    lines = [line.rstrip() for line in rendered.split("\n")]
    for shape, group in groupby(lines, _shape_of):
        if shape is Shape.HEADING:
            for line in group:
                yield Block(shape, (_line(line.lstrip(_HEADING)),))
        elif shape is not None:
            cut = len(_ITEM) if shape is Shape.LIST else 0
            yield Block(shape, tuple(_line(line[cut:]) for line in group))


def _shape_of(line: str) -> Shape | None:
    if not line:
        return None
    if line.startswith(_HEADING):
        return Shape.HEADING
    return Shape.LIST if line.startswith(_ITEM) else Shape.PARAGRAPH


def _line(text: str) -> Line:
    runs: list[Run] = []
    end = 0
    for span in _SPAN.finditer(text):
        runs.append(Run(_MARKS.sub("", text[end : span.start()])))
        mark, inner, label = span.groups()
        runs.append(Run(label or inner, _STYLES[mark], inner if mark == _LINK else ""))
        end = span.end()
    runs.append(Run(_MARKS.sub("", text[end:])))
    return tuple(run for run in runs if run.text)


def _start_of(line: Line, length: int) -> Line:
    """Return the beginning of a line; a run that is code stands whole or not at all, for half of it helps nobody."""
    kept: list[Run] = []
    for run in line:
        if len(plain(run)) <= length:
            kept.append(run)
            length -= len(plain(run))
            continue
        if length > 0 and run.style in {Style.PLAIN, Style.STRONG}:
            kept.append(run._replace(text=run.text[:length]))
        break
    return tuple(kept)
