"""What holds of every format, whatever values come from outside."""

import io
import json

import msgspec
import pytest

from auditor.model.finding import Finding
from auditor.policy.base import Framework
from auditor.reports.base import Format
from auditor.reports.jsonl_format import JsonLines
from auditor.reports.registry import SHIPPED
from tests.reports.report_samples import (
    SECRET_SHAPE,
    environment,
    every_kind,
    report,
    stream,
    written,
)

EVERY_RULE = report(environment(), findings=every_kind(), frameworks=(Framework.OWASP_NHI,))
DATA = msgspec.structs.replace(
    EVERY_RULE, rules=[one for one in EVERY_RULE.rules if one.rule_id in {one.rule_id for one in every_kind()}]
)


class Pipe(io.BytesIO):
    """What standard output is when another program reads it."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_args: int) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")

    def read(self, _size: int | None = -1, /) -> bytes:
        raise io.UnsupportedOperation("read")


@pytest.mark.parametrize("form", SHIPPED, ids=lambda form: form.name)
async def test_hostile_values_break_nothing_and_no_secret_shows_even_in_a_pipe(form: Format) -> None:
    out = Pipe()
    await form.write(DATA, stream(every_kind()), out)
    assert not out.closed
    content = out.getvalue()
    assert content
    assert SECRET_SHAPE.rpartition(".")[2].encode() not in content
    if not form.is_binary:
        content.decode()


async def test_every_line_of_json_lines_is_a_finding() -> None:
    lines = (await written(JsonLines(), report(), every_kind())).removesuffix("\n").split("\n")
    read = [msgspec.json.decode(line, type=Finding) for line in lines]
    assert [one.key for one in read] == [one.key for one in every_kind()]
    assert read[0] == every_kind()[0]
    assert json.loads(lines[1])["reopenings"] == 2
