"""The command hook, with real programs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.command import KIND, CommandSettings
from auditor.alerts.wording import SHIPPED
from auditor.credentials.reference import Resolver
from auditor.model.errors import ConfigError, DeliveryFailed
from tests.alerts.receivers import PUBLIC_ID, TOKEN, message, now

SURROUNDINGS = {"PATH": "/usr/bin", "PAGER_KEY": "k", "AUDITOR_MASTER_KEY": "hidden"}


async def command(*argv: str, directory: Path = Path(), **settings: Any) -> Hook:
    return await KIND.open(
        "pager",
        CommandSettings.model_validate({"type": "command", "argv": argv, **settings}),
        Surroundings(Resolver(directory, SURROUNDINGS), SHIPPED),
    )


async def python(program: str, *arguments: str, **settings: Any) -> Hook:
    return await command(sys.executable, "-c", program, *arguments, **settings)


async def failure_of(hook: Hook) -> str:
    with pytest.raises(DeliveryFailed) as raised:
        await hook.deliver(message(), now())
    return str(raised.value).removeprefix(f"hooks.pager: {sys.executable}: ")


async def test_program_reads_the_alert_with_its_id(tmp_path: Path) -> None:
    hook = await python(
        "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())", str(tmp_path / "got")
    )
    assert await hook.deliver(message(token_name=TOKEN), now()) == "exit code 0"
    assert json.loads((tmp_path / "got").read_bytes()) == {
        "id": message().id,
        "type": "finding.opened",
        "timestamp": "2026-11-24T08:30:00Z",
        "data": {
            "environment": "prod",
            "severity": "high",
            "token": PUBLIC_ID,
            "rule": "DT-EXP-01",
            "token_name": f"{PUBLIC_ID}.…",
        },
    }


async def test_program_sees_only_the_variables_that_are_named(tmp_path: Path) -> None:
    hook = await python(
        "import json, os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps(dict(os.environ)))",
        str(tmp_path / "got"),
        environ=["PAGER_KEY"],
    )
    await hook.deliver(message(), now())
    seen = json.loads((tmp_path / "got").read_text())
    assert (seen["PATH"], seen["PAGER_KEY"]) == ("/usr/bin", "k")
    assert "AUDITOR_MASTER_KEY" not in seen


async def test_program_that_ignores_its_input_can_take_the_alert() -> None:
    hook = await python("pass")
    assert await hook.deliver(message(token_name="x" * 1_000_000), now()) == "exit code 0"


async def test_program_took_the_alert_although_what_it_left_behind_holds_its_pipes() -> None:
    hook = await command("/bin/sh", "-c", "cat > /dev/null; sleep 60 & exit 0", timeout_seconds=20)
    assert await hook.deliver(message(), now()) == "exit code 0"


async def test_failure_tells_exit_code_and_last_line() -> None:
    hook = await python("import sys; print('first', file=sys.stderr); sys.exit('pager is away')")
    assert await failure_of(hook) == "exit code 1: pager is away"


async def test_silent_failure_tells_exit_code() -> None:
    assert await failure_of(await python("raise SystemExit(7)")) == "exit code 7"


async def test_last_line_is_cleaned_of_secrets_and_controls() -> None:
    hook = await python("import sys; sys.exit('\\x1b[2J refused ' + sys.argv[1])", TOKEN)
    assert await failure_of(hook) == f"exit code 1: \N{REPLACEMENT CHARACTER}[2J refused {PUBLIC_ID}.…"


async def test_program_that_does_not_end_is_killed() -> None:
    hook = await python("import threading; threading.Event().wait()", timeout_seconds=0.1)
    assert await failure_of(hook) == "did not end within 0.1 s"


async def test_program_that_floods_is_killed() -> None:
    hook = await python("import sys\nwhile True: sys.stdout.write('x' * 65536)")
    assert await failure_of(hook) == "wrote more than 1000000 bytes"


async def test_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    hook = await command(str(tmp_path / "none"))
    assert await failure_of(hook) == f"hooks.pager: {tmp_path}/none: cannot be started: No such file or directory"


async def test_program_with_a_slash_is_found_from_the_directory_of_the_configuration(tmp_path: Path) -> None:
    program = tmp_path / "notify"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    assert await (await command("./notify", directory=tmp_path)).deliver(message(), now()) == "exit code 0"


async def test_variable_that_is_not_set_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hooks\.pager\.environ: PAGER_URL is not set here"):
        await python("pass", environ=["PAGER_URL", "PAGER_KEY"])


def test_hook_without_a_program_is_refused() -> None:
    with pytest.raises(ValidationError, match="argv"):
        CommandSettings.model_validate({"type": "command", "argv": []})
