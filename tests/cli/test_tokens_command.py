"""``auditor tokens``: what goes in from standard input, comes out only as what it is called, and survives new keys."""

import os
import pty
import secrets as randomness
from pathlib import Path

import pytest

from auditor.simulator import secrets
from tests.command_line import CONFIGURATION, Ended, Site, ended


def piped(secrets_: list[str]) -> bytes:
    return "".join(f"{secret}\n" for secret in secrets_).encode()


def entries(site: Site, *arguments: str) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = site.run("tokens", "list", *arguments, "--json").json()
    return listed


def hidden_parts(secrets_: list[str]) -> list[str]:
    return [secret.rpartition(".")[2] for secret in secrets_]


def shows_none(done: Ended, secrets_: list[str]) -> bool:
    return not any(part in done.out + done.err for part in hidden_parts(secrets_))


def test_import_takes_many_with_blanks_comments_and_repetitions(site: Site) -> None:
    many = list(secrets(str(site.directory), 1500))
    text = (
        b"\xef\xbb\xbf# exported today\r\n\r\n" + piped([*many, *many[:10]]) + b"  \n\t# the end\n" + many[0].encode()
    )
    done = site.run("tokens", "import", "prod", "--note", "from the old vault", stdin=text)
    assert (done.exit_code, done.err) == (0, "")
    assert done.out == "Added 1500 tokens to prod; 11 were there before or came twice.\n"
    assert site.run("tokens", "import", "prod", stdin=text).out.startswith("Added 0 tokens to prod; 1511 ")
    listed = entries(site)
    assert len(listed) == 1500
    assert {(entry["environment"], entry["note"]) for entry in listed} == {("prod", "from the old vault")}


def test_list_names_tokens_and_shows_no_secret(site: Site) -> None:
    modern, old = next(secrets("modern", 1)), randomness.token_urlsafe(16)
    assert site.run("tokens", "import", "staging", stdin=piped([modern, old])).exit_code == 0
    table = site.run("tokens", "list")
    assert [line.split()[:2] for line in table.out.splitlines()[1:]] == sorted(
        [entry["environment"], entry["label"]] for entry in entries(site)
    )
    assert {entry["label"].partition(":")[0] for entry in entries(site)} == {modern.rpartition(".")[0], "fp"}
    assert entries(site, "prod") == []
    assert {"environment", "label", "note", "added_at", "key_id"} == entries(site)[0].keys()
    assert shows_none(table, [modern, old])
    assert shows_none(site.run("tokens", "list", "--json"), [modern, old])


@pytest.mark.parametrize(
    "line",
    [b"two words", b"caf\xe9", b"nul\0inside", b"x" * 5000, "right‮to-left".encode(), b"\x1b[31mred"],
    ids=["words", "not UTF-8", "NUL", "long", "bidirectional", "escape"],
)
def test_bad_line_is_told_by_number_only_and_nothing_is_added(site: Site, line: bytes) -> None:
    good = list(secrets("good", 3))
    done = site.run("tokens", "import", "prod", stdin=piped(good[:2]) + b"\n" + line + b"\n" + piped(good[2:]))
    assert (done.exit_code, done.out) == (2, "")
    assert done.complaints[0].startswith("standard input:4: ")
    assert done.complaints[-1] == "tokens import: nothing was added; correct these lines first"
    assert len(done.err) < 300
    assert not any(word in done.err for word in ("two words", "caf", "inside", "xxxx", "left", "red"))
    assert shows_none(done, good)
    assert entries(site) == []


def test_many_bad_lines_are_counted(site: Site) -> None:
    done = site.run("tokens", "import", "prod", stdin=b"a b\n" * 25)
    assert [line.partition(": ")[0] for line in done.complaints[:2]] == ["standard input:1", "standard input:2"]
    assert done.complaints[10] == "standard input: 15 more lines are no token"
    assert len(done.complaints) == 12


def test_input_without_a_token_exits_with_2(site: Site) -> None:
    for command in ("import", "add"):
        for text in (b"", b"\n \n"):
            done = site.run("tokens", command, "prod", stdin=text)
            assert done.exit_code == 2
            assert "holds no token" in done.complaints[0]


def test_add_takes_exactly_one(site: Site) -> None:
    first, second = secrets("two", 2)
    assert site.run("tokens", "add", "prod", stdin=f"  {first}\n".encode()).out == "Added the token to prod.\n"
    assert site.run("tokens", "add", "prod", stdin=first.encode()).out == "prod holds this token already.\n"
    done = site.run("tokens", "add", "prod", stdin=piped([first, second]))
    assert done.exit_code == 2
    assert done.complaints == [
        "standard input: has several lines; add one token, or several with auditor tokens import prod"
    ]
    assert shows_none(done, [first, second])
    assert len(entries(site)) == 1


def test_add_asks_on_a_terminal_without_echo(site: Site) -> None:
    token = next(secrets(str(site.directory), 1))
    ours, theirs = pty.openpty()
    # A session of its own whose terminal is ours, so that the program finds it as /dev/tty.
    process = site.started("tokens", "add", "prod", stdin=theirs, stdout=theirs, stderr=theirs, **own_terminal(theirs))
    os.close(theirs)
    shown = b""
    while b"Token: " not in shown:
        shown += os.read(ours, 1024)
    os.write(ours, token.encode() + b"\n")
    try:
        while piece := os.read(ours, 1024):
            shown += piece
    except OSError:  # how a terminal says that nobody has it open any more
        pass
    finally:
        os.close(ours)
    assert ended(process).exit_code == 0
    assert b"Added the token to prod." in shown
    assert token.rpartition(".")[2].encode() not in shown
    assert len(entries(site)) == 1


def own_terminal(descriptor: int) -> dict[str, object]:
    def take() -> None:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)

    return {"preexec_fn": take}


def test_token_is_removed_by_its_name(site: Site) -> None:
    token = next(secrets("one", 1))
    assert site.run("tokens", "add", "prod", stdin=token.encode()).exit_code == 0
    label = token.rpartition(".")[0]
    assert site.run("tokens", "remove", "staging", label).exit_code == 2
    done = site.run("tokens", "remove", "prod", label)
    assert (done.exit_code, entries(site)) == (0, [])
    again = site.run("tokens", "remove", "prod", label)
    assert again.exit_code == 2
    assert "no such token is stored for prod" in again.complaints[0]


@pytest.mark.parametrize("label", ["\udcff", "it-could-be-the-secret"])
def test_unknown_label_is_not_repeated(site: Site, label: str) -> None:
    done = site.run("tokens", "remove", "prod", label)
    assert done.exit_code == 2
    assert label not in done.err


def test_unknown_environment_is_told_before_anything_is_read(files: Site) -> None:
    for arguments in (("import", "prd"), ("add", "prd"), ("list", "prd"), ("remove", "prd", "x")):
        done = files.run("tokens", *arguments, stdin=b"not looked at")
        assert (done.exit_code, done.complaints) == (
            2,
            ['tokens: unknown environment "prd"; did you mean "prod"?'],
        )


def test_note_cannot_hold_a_token(files: Site) -> None:
    token = next(secrets("noted", 1))
    for note in (f"see {token}", "two\nlines", "\udcff"):
        done = files.run("tokens", "import", "prod", "--note", note, stdin=b"x")
        assert done.exit_code == 2
        assert "--note" in done.complaints[0]
        assert shows_none(done, [token])


def test_stored_tokens_are_swept(site: Site) -> None:
    extra = site.worlds["prod"].create("only in the vault", ["metrics.read"])
    assert site.run("tokens", "add", "prod", stdin=extra.secret.encode()).exit_code == 0
    assert site.run("sweep", "prod", "--json").json()["sweeps"][0]["found"] == 4
    finding = next(f for f in site.run("findings", "--json").json() if f["label"] == extra.token.id)
    assert finding["locations"] == [{"source": "vault", "place": f"entry {extra.token.id}"}]


def test_keys_rotate_and_the_previous_one_can_be_dropped(site: Site, tmp_path: Path) -> None:
    world = site.worlds["staging"]
    stored = [world.create(f"stored {number}", ["logs.ingest"]).secret for number in range(5)]
    assert site.run("tokens", "import", "staging", stdin=piped(stored)).exit_code == 0
    before = {entry["key_id"] for entry in entries(site)}
    site.write("second.key", "3b" * 32)
    both = CONFIGURATION.replace(
        'key = { file = "master.key" }', 'key = { file = "second.key" }\nprevious_keys = [{ file = "master.key" }]'
    )
    site.configure(both)
    assert site.run("sweep", "staging", "--json").json()["sweeps"][0]["found"] == 6
    done = site.run("tokens", "rotate-key")
    assert (done.exit_code, done.out) == (0, "Encrypted 5 tokens and 1 keys anew.\n")
    assert site.run("tokens", "rotate-key").out == "Encrypted 0 tokens and 0 keys anew.\n"
    site.configure(CONFIGURATION.replace('"master.key"', '"second.key"'))
    (tmp_path / "master.key").unlink()
    assert site.run("sweep", "staging", "--json").json()["sweeps"][0] | {"found": 6, "status": "complete"}
    assert site.run("tokens", "add", "staging", stdin=stored[0].encode()).out == "staging holds this token already.\n"
    assert {entry["key_id"] for entry in entries(site)}.isdisjoint(before)


def test_key_that_is_not_configured_exits_with_3_and_names_itself(site: Site) -> None:
    assert site.run("tokens", "add", "prod", stdin=b"whatever").exit_code == 0
    (key_id,) = {entry["key_id"] for entry in entries(site)}
    site.write("master.key", "3b" * 32)
    for arguments in (("tokens", "list"), ("tokens", "rotate-key"), ("sweep", "prod")):
        done = site.run(*arguments)
        assert done.exit_code == 3
        assert f"encrypted under key {key_id}, which is not configured" in done.complaints[0]
        assert "previous_keys" in done.complaints[0]
