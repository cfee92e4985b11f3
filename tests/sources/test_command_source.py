import asyncio
import json
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.sources import command
from auditor.sources.base import Source
from auditor.sources.command import CommandSettings, CommandSource
from tests.sources.reading import EXAMPLE, found, minted, read, source


def python(directory: Path, code: str, **settings: Any) -> Source:
    settings.setdefault("environ", ["SECRET"])
    environ = {"SECRET": settings.pop("secret", ""), "OTHER": "other", "PATH": os.defpath}
    return source("command", directory, process_environ=environ, command=[sys.executable, "-c", code], **settings)


async def test_json_lines_name_token_environment_and_place(tmp_path: Path) -> None:
    lines = [
        {"token": EXAMPLE, "environment": "stage", "place": "kv/ci#token", "more": [1]},
        {"token": "one"},
        {"token": ""},
    ]
    code = f"print({chr(10).join(map(json.dumps, lines))!r}); print()"
    assert await found(python(tmp_path, code, environment="prod")) == {
        "kv/ci#token": ("stage", EXAMPLE),
        f"command {sys.executable} line 2": ("prod", "one"),
    }


async def test_plain_lines_are_tokens(tmp_path: Path) -> None:
    code = "print('one'); print(); print('two', end='')"
    assert await found(python(tmp_path, code, format="lines", environment="prod")) == {
        f"command {sys.executable} line 1": ("prod", "one"),
        f"command {sys.executable} line 3": ("prod", "two"),
    }


async def test_long_output_comes_in_batches(tmp_path: Path) -> None:
    opened = python(tmp_path, "for n in range(2500): print(n)", format="lines", environment="prod")
    sizes = [len(batch) async for batch in opened.read()]
    assert sizes == [1000, 1000, 500]


async def test_program_sees_the_variables_it_was_given_and_no_others(tmp_path: Path) -> None:
    secret = minted()
    code = "import os; print(os.environ['SECRET']); print(os.environ.get('OTHER', 'none'))"
    tokens, _problem = await read(python(tmp_path, code, format="lines", environment="prod", secret=secret))
    assert [token.secret.reveal() for token in tokens] == [secret, "none"]


async def test_program_with_a_slash_is_found_from_the_configurations_directory(tmp_path: Path) -> None:
    script = tmp_path / "tokens.sh"
    script.write_text("#!/bin/sh\necho one\n")
    script.chmod(0o700)
    opened = source("command", tmp_path, command=["./tokens.sh"], format="lines", environment="prod")
    assert await found(opened) == {"command ./tokens.sh line 1": ("prod", "one")}


async def test_failure_keeps_what_was_printed_and_shows_none_of_it(tmp_path: Path) -> None:
    secret = minted()
    code = "import os, sys; print(os.environ['SECRET'], flush=True); sys.exit('failed at ' + os.environ['SECRET'])"
    tokens, problem = await read(python(tmp_path, code, format="lines", environment="prod", secret=secret))
    assert [token.secret.reveal() for token in tokens] == [secret]
    assert problem == f"command {sys.executable}: ended with exit code 1; run it by hand to see why"


async def test_program_killed_by_a_signal_is_told(tmp_path: Path) -> None:
    _tokens, problem = await read(python(tmp_path, "import os; os.kill(os.getpid(), 9)", environment="prod"))
    assert "ended with exit code -9" in problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"token": 7}', "Expected `str`, got `int`"),
        (b'{"environment": "prod"}', "missing required field `token`"),
        (b"SECRET", "is not as format"),
        (b'["SECRET"]', "Expected `object`, got `array`"),
        (b'{"token": "\xff"}', "is not"),
        (b'{"token": "SECRET SECRET"}', "holds space"),
        (b'{"token": "x", "environment": "SECRET"}', "is for an environment that is not configured"),
        (b"x" * 70_000, "longer than 65536 bytes"),
        (b"x" * 700_000, "longer than 65536 bytes"),
    ],
)
async def test_bad_line_is_told_with_its_number_and_hides_nothing(tmp_path: Path, line: bytes, message: str) -> None:
    secret = minted()
    output = b'{"token": "one"}\n' + line.replace(b"SECRET", secret.encode()) + b'\n{"token": "two"}\n'
    (tmp_path / "output").write_bytes(output)
    code = f"import shutil, sys; shutil.copyfileobj(open({str(tmp_path / 'output')!r}, 'rb'), sys.stdout.buffer)"
    tokens, problem = await read(python(tmp_path, code, environment="prod"))
    assert [token.secret.reveal() for token in tokens] == ["one", "two"]
    assert problem.startswith(f"command {sys.executable} line 2: ")
    assert message in problem
    assert secret not in problem


async def test_token_without_an_environment_is_told(tmp_path: Path) -> None:
    _tokens, problem = await read(python(tmp_path, """print('{"token": "one"}')"""))
    assert problem.startswith(f"command {sys.executable} line 1: does not say which environment it is for")


async def test_program_that_does_not_end_is_ended_and_what_it_printed_is_kept(tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", "echo one; exec sleep 60"]
    environ = {"PATH": os.defpath}
    settings: dict[str, Any] = {"command": argv, "format": "lines", "environment": "prod", "timeout_seconds": 1}
    tokens, problem = await read(source("command", tmp_path, process_environ=environ, **settings))
    assert [token.secret.reveal() for token in tokens] == ["one"]
    assert problem == "command /bin/sh: did not end within 1 s; see why, or raise timeout_seconds"


async def test_output_without_end_is_ended_and_what_was_read_of_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LINES_LIMIT", 2500)
    endless = python(tmp_path, "while True: print('one')", format="lines", environment="prod")
    tokens, problem = await read(endless)
    assert len(tokens) == 2500
    assert problem == (
        f"command {sys.executable}: prints more than 2500 lines; see why, or divide it among several sources"
    )
    whole = python(tmp_path, "for n in range(2500): print(n)", format="lines", environment="prod")
    assert len(await found(whole)) == 2500


async def test_time_that_auditor_takes_for_tokens_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "for n in range(1500): print(n)"
    opened = python(tmp_path, code, format="lines", environment="prod", timeout_seconds=30)
    loop = asyncio.get_running_loop()
    skipped, time = 0.0, loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + skipped)
    number = 0
    async for batch in opened.read():
        number += len(batch)
        skipped += 3600
    assert number == 1500


async def test_leaving_early_ends_the_program(tmp_path: Path) -> None:
    code = "import os\nprint(os.getpid())\nwhile True: print('x')"
    opened = python(tmp_path, code, format="lines", environment="prod")
    assert isinstance(opened, CommandSource)
    async with aclosing(opened.read()) as batches:
        pid = int((await anext(batches))[0].secret.reveal())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_program_that_cannot_start_is_named(tmp_path: Path) -> None:
    _tokens, problem = await read(source("command", tmp_path, command=["no-such-program"], environment="prod"))
    assert problem.startswith("command no-such-program: cannot be started: No such file or directory; ")


async def test_program_that_prints_nothing_is_an_empty_source(tmp_path: Path) -> None:
    _tokens, problem = await read(python(tmp_path, "", environment="prod"))
    assert problem.startswith(f"no token found in the output of command {sys.executable}; ")
    assert await found(python(tmp_path, "", environment="prod", allow_empty=True)) == {}


@pytest.mark.parametrize(
    "settings", [{"command": []}, {"command": ["a\0b"]}, {"format": "lines"}, {"timeout_seconds": 0}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CommandSettings.model_validate({"type": "command", "command": ["x"], **settings})
