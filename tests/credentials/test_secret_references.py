import os
import secrets
import stat
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from auditor.credentials.reference import Resolver, SecretReference
from auditor.model.errors import ConfigError, SecretUnavailable

PLACE = "environments.prod.token"


@pytest.fixture
def value() -> str:
    return secrets.token_urlsafe(24)


def resolver(directory: Path, **environ: str) -> Resolver:
    return Resolver(directory, environ)


def private(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    return path


async def refusal(where: Resolver, reference: SecretReference) -> str:
    with pytest.raises(ConfigError) as caught:
        await where.resolve(reference, PLACE)
    assert caught.value.problems[0].place == PLACE
    return str(caught.value)


async def exit_code(where: Resolver, reference: SecretReference) -> int:
    with pytest.raises(ConfigError) as caught:
        await where.resolve(reference, PLACE)
    return caught.value.exit_code


def python(code: str) -> SecretReference:
    return SecretReference(command=(sys.executable, "-c", code))


async def test_variable_gives_its_value_without_surrounding_space(tmp_path: Path, value: str) -> None:
    secret = await resolver(tmp_path, TOKEN=f" {value}\n").resolve(SecretReference(env="TOKEN"), PLACE)
    assert secret.reveal() == value


async def test_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    message = await refusal(resolver(tmp_path), SecretReference(env="TOKEN"))
    assert "environment variable TOKEN is empty or not set" in message


async def test_relative_file_is_found_from_the_directory(tmp_path: Path, value: str) -> None:
    private(tmp_path / "token", f"{value}\n")
    secret = await resolver(tmp_path).resolve(SecretReference(file=Path("token")), PLACE)
    assert secret.reveal() == value


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
async def test_file_that_others_may_use_is_refused(tmp_path: Path, value: str, mode: int) -> None:
    path = private(tmp_path / "token", value)
    path.chmod(mode)
    message = await refusal(resolver(tmp_path), SecretReference(file=path))
    assert f"{mode:04o}" in message
    assert f"chmod 600 {path}" in message
    assert value not in message


async def test_file_of_a_stricter_mode_is_accepted(tmp_path: Path, value: str) -> None:
    path = private(tmp_path / "token", value)
    path.chmod(0o400)
    assert (await resolver(tmp_path).resolve(SecretReference(file=path), PLACE)).reveal() == value


async def test_missing_file_is_named_with_the_reason(tmp_path: Path) -> None:
    message = await refusal(resolver(tmp_path), SecretReference(file=Path("absent")))
    assert f"{tmp_path / 'absent'} cannot be read: No such file or directory" in message


async def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "Is not a regular file" in await refusal(resolver(tmp_path), SecretReference(file=Path("pipe")))


async def test_directory_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    assert "Is a directory" in await refusal(resolver(tmp_path), SecretReference(file=tmp_path))


async def test_path_with_a_nul_character_is_refused(tmp_path: Path) -> None:
    assert "Not a path" in await refusal(resolver(tmp_path), SecretReference(file=Path("a\0b")))


async def test_home_directory_of_nobody_is_refused(tmp_path: Path) -> None:
    message = await refusal(resolver(tmp_path), SecretReference(file=Path("~no-such-user-here/token")))
    assert "names a home directory that does not exist" in message


async def test_file_that_is_too_large_is_refused_rather_than_cut(tmp_path: Path) -> None:
    path = private(tmp_path / "token", "x" * 65_537)
    assert "is larger than 65536 bytes" in await refusal(resolver(tmp_path), SecretReference(file=path))


@pytest.mark.parametrize("content", [b"", b" \n\t"])
async def test_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = private(tmp_path / "token", content)
    assert "is empty or not set" in await refusal(resolver(tmp_path), SecretReference(file=path))


async def test_second_word_is_refused_and_not_shown(tmp_path: Path, value: str) -> None:
    path = private(tmp_path / "token", f"first {value}")
    message = await refusal(resolver(tmp_path), SecretReference(file=path))
    assert "more than one word" in message
    assert value not in message


@pytest.mark.parametrize("content", [b"abc\xffdef", b"abc\x00def", b"\xef\xbb\xbfabc"])
async def test_bytes_that_cannot_be_a_secret_are_refused_rather_than_replaced(tmp_path: Path, content: bytes) -> None:
    path = private(tmp_path / "token", content)
    assert "do not print or are not UTF-8" in await refusal(resolver(tmp_path), SecretReference(file=path))


async def test_credential_is_read_from_the_credentials_directory_whatever_its_mode(tmp_path: Path, value: str) -> None:
    (tmp_path / "key").write_text(value)
    (tmp_path / "key").chmod(stat.S_IRUSR | stat.S_IRGRP)
    where = resolver(Path("/nowhere"), CREDENTIALS_DIRECTORY=str(tmp_path))
    assert (await where.resolve(SecretReference(credential="key"), PLACE)).reveal() == value


async def test_credential_outside_systemd_says_how_to_get_one(tmp_path: Path) -> None:
    message = await refusal(resolver(tmp_path), SecretReference(credential="key"))
    assert "LoadCredential=key" in message


async def test_first_line_of_a_command_is_the_secret(tmp_path: Path, value: str) -> None:
    secret = await resolver(tmp_path).resolve(python(f"print('{value}'); print('a comment')"), PLACE)
    assert secret.reveal() == value


async def test_command_with_a_slash_is_found_from_the_directory(tmp_path: Path, value: str) -> None:
    script = tmp_path / "bin" / "secret"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\necho {value}\n")
    script.chmod(0o700)
    secret = await resolver(tmp_path, PATH=os.defpath).resolve(SecretReference(command=("bin/secret",)), PLACE)
    assert secret.reveal() == value


async def test_command_gets_none_of_the_auditors_own_variables(tmp_path: Path, value: str) -> None:
    where = resolver(tmp_path, TOKEN=value, HOME="/home/of-somebody")
    secret = await where.resolve(
        python("import os; print(os.environ.get('TOKEN', 'none') + os.environ['HOME'])"), PLACE
    )
    assert secret.reveal() == "none/home/of-somebody"


async def test_command_that_fails_is_named_without_its_output(tmp_path: Path, value: str) -> None:
    message = await refusal(resolver(tmp_path), python(f"import sys; print('{value}'); sys.exit('{value}')"))
    assert "ended with exit code 1" in message
    assert value not in message


async def test_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    where = Resolver(tmp_path, {}, command_seconds=0.05)
    message = await refusal(where, python("import time; time.sleep(60)"))
    assert "did not end within 0.05 s" in message


async def test_command_that_writes_without_end_is_ended(tmp_path: Path) -> None:
    message = await refusal(resolver(tmp_path), python("while True: print('x' * 1000)"))
    assert "more than 65536 bytes of output" in message


@pytest.mark.parametrize("argv", [("no-such-program-anywhere",), ("echo", "a\0b")])
async def test_command_that_cannot_start_is_named(tmp_path: Path, argv: tuple[str, ...]) -> None:
    assert f"command {argv[0]} could not be used" in await refusal(resolver(tmp_path), SecretReference(command=argv))


@pytest.mark.parametrize(
    "reference",
    [
        python("raise SystemExit(1)"),
        python("pass"),
        python("print('connection refused')"),
        python("print('x' * 70_000)"),
        python("import time; time.sleep(60)"),
        SecretReference(file=Path("absent")),
        SecretReference(file=Path("not", "mounted")),
    ],
)
async def test_secret_that_may_be_there_at_the_next_try_is_out_of_reach(
    tmp_path: Path, reference: SecretReference
) -> None:
    where = Resolver(tmp_path, {}, command_seconds=60 if "sleep" not in str(reference) else 0.05)
    assert await exit_code(where, reference) == SecretUnavailable.exit_code == 3


@pytest.mark.parametrize(
    "reference",
    [
        SecretReference(env="UNSET"),
        SecretReference(command=("./no-such-program",)),
        SecretReference(command=("./two words",)),
        SecretReference(command=("echo", "a\0b")),
        SecretReference(credential="not-loaded"),
        SecretReference(file=Path("two words")),
        SecretReference(file=Path()),
    ],
)
async def test_reference_that_stays_wrong_is_a_mistake(tmp_path: Path, reference: SecretReference) -> None:
    private(tmp_path / "two words", "two words")
    assert await exit_code(resolver(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path)), reference) == 2


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"env": "A", "file": "b"},
        {"command": []},
        {"credential": "../escape"},
        {"credential": ""},
        {"vault": "A"},
    ],
)
def test_reference_that_is_not_exactly_one_place_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SecretReference.model_validate(table)


def test_secret_in_place_of_a_reference_is_refused_with_the_mend(value: str) -> None:
    with pytest.raises(ValidationError, match="renew the one that stood here"):
        SecretReference.model_validate(value)
