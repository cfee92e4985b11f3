from pathlib import Path

from tests.sources.reading import EXAMPLE, Write, found, minted, read, source


async def test_each_file_is_a_token(write: Write, tmp_path: Path) -> None:
    first, second = write("secrets/ci", f"{EXAMPLE}\n"), write("secrets/web", "one")
    write("secrets/.hidden", "not this")
    write("secrets/sub/deep", "nor this")
    assert await found(source("directory", tmp_path, path="secrets", environment="prod")) == {
        str(first): ("prod", EXAMPLE),
        str(second): ("prod", "one"),
    }


async def test_mounted_kubernetes_secret_is_read_once(write: Write, tmp_path: Path) -> None:
    write("secret/..2026_01_01_00_00_00.1/token", EXAMPLE)
    (tmp_path / "secret" / "..data").symlink_to("..2026_01_01_00_00_00.1")
    (tmp_path / "secret" / "token").symlink_to("..data/token")
    assert await found(source("directory", tmp_path, path="secret", environment="prod")) == {
        f"{tmp_path}/secret/token": ("prod", EXAMPLE)
    }


async def test_credentials_of_systemd_are_the_default(write: Write, tmp_path: Path) -> None:
    path = write("credentials/dt-ci", EXAMPLE)
    write("credentials/auditor-token", minted())
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    opened = source("directory", tmp_path, process_environ=environ, files=["DT-*"], environment="prod")
    assert await found(opened) == {str(path): ("prod", EXAMPLE)}


async def test_missing_credentials_directory_says_how_to_get_one(tmp_path: Path) -> None:
    _tokens, problem = await read(source("directory", tmp_path, environment="prod"))
    assert problem.startswith("$CREDENTIALS_DIRECTORY: is not set; run under systemd with LoadCredential=")


async def test_missing_directory_is_named(tmp_path: Path) -> None:
    _tokens, problem = await read(source("directory", tmp_path, path="absent", environment="prod"))
    assert problem.startswith(f"{tmp_path}/absent: cannot be read: No such file or directory")


async def test_bad_file_is_told_and_hides_nothing(write: Write, tmp_path: Path) -> None:
    write("d/a", "two\nlines")
    write("d/b", b"\xff\xfe")
    write("d/c", b"x" * 65_537)
    write("d/d", "")
    (tmp_path / "d" / "e").symlink_to("nowhere")
    good = write("d/f", "one")
    tokens, problem = await read(source("directory", tmp_path, path="d", environment="prod"))
    assert [token.location.place for token in tokens] == [str(good)]
    told = [part.split(": ", 1) for part in problem.split("; ") if part.startswith(str(tmp_path))]
    assert [(Path(place).name, message) for place, message in told] == [
        ("a", "holds space or characters that do not print, so it is no token"),
        ("b", "is not UTF-8 text"),
        ("c", "larger than 65536 bytes, which is the most that is read at once"),
        ("e", "cannot be read: No such file or directory"),
    ]
