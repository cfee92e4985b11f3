"""Packages of evidence: whole ones are proved, and whatever is altered is named."""

import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from auditor.reports.evidence.package import MANIFEST, SIGNATURE
from auditor.reports.evidence.signing import NAMESPACE, SigningKey, fingerprint, is_signed
from auditor.reports.evidence.verifying import Verified, verify_package
from auditor.store import embedded
from tests.reports.evidence_samples import KEY, OTHER_KEY, made_once

Files = dict[str, bytes]
CHAIN, RECORDS = "chain/prod.txt", "records/prod.jsonl"
KINDS = ("finding_event", "sweep", "token_change", "token_use")


@pytest.fixture(scope="module")
def made(server: embedded.Address) -> Mapping[str, bytes]:
    return made_once(server)


@pytest.fixture
def files(made: Mapping[str, bytes]) -> Files:
    """The files of a signed package."""
    with zipfile.ZipFile(io.BytesIO(made["signed"])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def covered(files: Files, key: SigningKey | None = None, **members: object) -> Files:
    """Do what one does who covers a change up: have the manifest say what is there, and sign it if there is a key."""
    manifest = msgspec.json.decode(files[MANIFEST]) | members
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in files.items()
        if name not in (MANIFEST, SIGNATURE)
    }
    text = msgspec.json.encode(manifest)
    return files | {MANIFEST: text} | ({SIGNATURE: key.sign(text).encode()} if key else {})


def lines(files: Files, name: str) -> list[bytes]:
    return files[name].splitlines(keepends=True)


def verified(tmp_path: Path, files: Files, key: str | None = None) -> Verified:
    return verify_package(packed(tmp_path / "package.zip", files), key)


def test_whole_package_is_proved(tmp_path: Path, made: Mapping[str, bytes]) -> None:
    (tmp_path / "package.zip").write_bytes(made["signed"])
    result = verify_package(tmp_path / "package.zip", KEY.public)
    assert result.problems == []
    assert [(head.environment, head.number) for head in result.heads] == [("prod", 5), ("staging", 5)]
    assert (result.links, result.signer) == (12, fingerprint(KEY.public))


def test_package_holds_records_of_every_kind_and_the_policy_that_was_applied(files: Files) -> None:
    said = [msgspec.json.decode(line)["record"] for line in lines(files, RECORDS)]
    assert {kind: said.count(kind) for kind in KINDS} == {
        "finding_event": 5,
        "sweep": 2,
        "token_change": 2,
        "token_use": 2,
    }
    (policy,) = [name for name in files if name.startswith("policies/")]
    assert files[policy] == b'{"name":"test"}'
    assert msgspec.json.decode(files["report.json"])["findings_count"] == 4


def changed(kind: str) -> Callable[[Files], None]:
    def alter(files: Files) -> None:
        before = lines(files, RECORDS)
        number = max(n for n, line in enumerate(before) if f'"record" : "{kind}"'.encode() in line)
        before[number] = re.sub(rb'"([a-z_]*at|at)" : "2026', rb'"\1" : "2025', before[number], count=1)
        files[RECORDS] = b"".join(before)

    return alter


def dropped(kind: str) -> Callable[[Files], None]:
    def alter(files: Files) -> None:
        before = lines(files, RECORDS)
        del before[next(n for n, line in enumerate(before) if f'"record" : "{kind}"'.encode() in line)]
        files[RECORDS] = b"".join(before)

    return alter


def inserted(files: Files) -> None:
    before = lines(files, RECORDS)
    files[RECORDS] = b"".join([*before[:2], before[0], *before[2:]])


def appended(files: Files) -> None:
    files[RECORDS] += lines(files, RECORDS)[0]


def reordered(files: Files) -> None:
    first, second, *rest = lines(files, RECORDS)
    files[RECORDS] = b"".join([second, first, *rest])


def header_changed(files: Files) -> None:
    files[CHAIN] = files[CHAIN].replace(b'"ben"', b'"bob"')


def header_changed_and_hashed(files: Files) -> None:
    before = lines(files, CHAIN)
    header = before[3].rstrip(b"\n")[66:].replace(b'"ben"', b'"bob"')
    before[3] = hashlib.sha256(header).hexdigest().encode() + b"  " + header + b"\n"
    files[CHAIN] = b"".join(before)


def link_dropped(files: Files) -> None:
    before = lines(files, CHAIN)
    files[CHAIN] = b"".join(before[:2] + before[3:])


def links_reordered(files: Files) -> None:
    before = lines(files, CHAIN)
    files[CHAIN] = b"".join([*before[:2], before[3], before[2], *before[4:]])


def end_cut(files: Files) -> None:
    files[CHAIN] = b"".join(lines(files, CHAIN)[:-1])
    files[RECORDS] = b"".join(lines(files, RECORDS)[:-1])


def link_unreadable(files: Files) -> None:
    files[CHAIN] = files[CHAIN].replace(b'"previous"', b'"precious"', 1)


@pytest.mark.parametrize(
    ("alter", "problem"),
    [
        *(
            (changed(kind), r"chain of prod, link \d: its records are not those of 2026-11-24 1\d:00:00 UTC")
            for kind in KINDS
        ),
        (dropped("token_use"), "chain of prod, link 1: (its records are not|it covers)"),
        (inserted, "chain of prod, link 1: its records are not"),
        (appended, "chain of prod: there are records after those of its last link"),
        (reordered, "chain of prod, link 1: its records are not"),
        (header_changed, "chain of prod, link 3: its hash is not that of its header"),
        (header_changed_and_hashed, "chain of prod, link 4: it does not follow on the link before it"),
        (link_dropped, "chain of prod, link 2: it is not there: link 3 stands in its place"),
        (links_reordered, "chain of prod, link 2: it is not there: link 3 stands in its place"),
        (end_cut, "chain of prod, link 5: it is not there: the chain goes on to link 5"),
        (link_unreadable, "chain of prod, link 0: its header cannot be read"),
    ],
)
def test_what_is_altered_is_named_though_the_manifest_was_made_anew(
    tmp_path: Path, files: Files, alter: Callable[[Files], None], problem: str
) -> None:
    before = dict(files)
    alter(files)
    assert files != before
    named = verified(tmp_path, files).problems
    assert any(re.match(f"{CHAIN}|{RECORDS}: is not the file of the manifest", one) for one in named)
    cover = covered(files)
    problems = verified(tmp_path, cover).problems
    assert problems[0] == "manifest.json.sig: does not fit manifest.json, which was altered, or another key signed"
    assert re.match(problem, problems[1]), problems
    assert re.match(problem, verified(tmp_path, covered(files, KEY)).problems[0])


def test_policy_that_was_swapped_is_named(tmp_path: Path, files: Files) -> None:
    (policy,) = [name for name in files if name.startswith("policies/")]
    files[policy] = b'{"name":"lenient"}'
    assert f"{policy}: is not the policy of that digest" in verified(tmp_path, covered(files, KEY)).problems


def test_policy_that_is_missing_is_named(tmp_path: Path, files: Files) -> None:
    (policy,) = [name for name in files if name.startswith("policies/")]
    del files[policy]
    assert verified(tmp_path, covered(files, KEY)).problems == [
        f"{policy}: is not there, though a sweep on record applied that policy"
    ]


def test_end_that_was_cut_with_its_manifest_breaks_the_signature(tmp_path: Path, files: Files) -> None:
    end_cut(files)
    chains = msgspec.json.decode(files[MANIFEST])["chains"]
    chains[0] |= {"last": 4, "head": lines(files, CHAIN)[-1][:64].decode()}
    cover = covered(files, chains=chains)
    assert verified(tmp_path, cover).problems == [
        "manifest.json.sig: does not fit manifest.json, which was altered, or another key signed"
    ]


def test_beginning_that_was_cut_is_named(tmp_path: Path, files: Files) -> None:
    first = lines(files, CHAIN)[0]
    files[CHAIN] = b"".join(lines(files, CHAIN)[1:])
    chains = msgspec.json.decode(files[MANIFEST])["chains"]
    chains[0] |= {"first": 1, "previous": first[:64].decode()}
    problems = verified(tmp_path, covered(files, KEY, chains=chains)).problems
    assert problems == ["chain of prod, link 0: it is not there: the package is of no period"]


@pytest.mark.parametrize("member", ["made_at", "auditor_version", "first_day"])
def test_manifest_that_was_altered_breaks_the_signature(tmp_path: Path, files: Files, member: str) -> None:
    altered = covered(files, None, **{member: "2020-01-01T00:00:00Z"})
    assert "manifest.json.sig: does not fit manifest.json" in verified(tmp_path, altered).problems[0]


def test_signature_of_another_key_is_named(tmp_path: Path, files: Files) -> None:
    files[SIGNATURE] = OTHER_KEY.sign(files[MANIFEST]).encode()
    assert "another key signed" in verified(tmp_path, files).problems[0]


def test_signer_that_was_replaced_is_told_by_whoever_knows_the_key(tmp_path: Path, files: Files) -> None:
    theirs = covered(files, OTHER_KEY, signer=OTHER_KEY.public)
    assert verified(tmp_path, theirs).signer == fingerprint(OTHER_KEY.public)
    assert verified(tmp_path, theirs, KEY.public).problems == [
        f"manifest.json.sig: is by {fingerprint(OTHER_KEY.public)}, not by the key that was asked for"
    ]


def test_signature_that_was_taken_away_is_named(tmp_path: Path, files: Files) -> None:
    del files[SIGNATURE]
    assert verified(tmp_path, files).problems == [
        "manifest.json.sig: is not there, though the manifest says who signed"
    ]
    unsigned = covered(files, signer=None)
    assert verified(tmp_path, unsigned).problems == []
    assert verified(tmp_path, unsigned, KEY.public).problems == ["manifest.json.sig: the package is not signed"]


def test_unsigned_package_is_proved_and_says_that_nobody_signed(tmp_path: Path, made: Mapping[str, bytes]) -> None:
    (tmp_path / "package.zip").write_bytes(made["unsigned"])
    result = verify_package(tmp_path / "package.zip")
    assert (result.problems, result.signer) == ([], None)


@pytest.mark.parametrize("name", [CHAIN, RECORDS, "report.json"])
def test_file_that_is_missing_is_named(tmp_path: Path, files: Files, name: str) -> None:
    del files[name]
    assert f"{name}: is not there" in verified(tmp_path, files).problems


def test_file_that_was_added_is_named(tmp_path: Path, files: Files) -> None:
    assert verified(tmp_path, {**files, "notes.txt": b"all is well"}).problems == ["notes.txt: is not in the manifest"]


def test_file_that_is_there_twice_is_named(tmp_path: Path, files: Files) -> None:
    path = packed(tmp_path / "package.zip", files)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("report.json", files["report.json"])
    assert verify_package(path).problems == ["report.json: is there twice"]


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_package_that_was_cut_short_is_no_package(tmp_path: Path, made: Mapping[str, bytes], size: int) -> None:
    (tmp_path / "package.zip").write_bytes(made["signed"][:size])
    (problem,) = verify_package(tmp_path / "package.zip").problems
    assert "is no whole package" in problem


def test_package_that_does_not_unpack_is_broken_wherever_it_is_damaged(
    tmp_path: Path, made: Mapping[str, bytes]
) -> None:
    package = tmp_path / "package.zip"
    package.write_bytes(made["signed"])
    with zipfile.ZipFile(package) as archive:
        entries = archive.infolist()
    for entry in entries:
        # 30 bytes and the name come before what is compressed; the first byte of that then begins no block.
        at = entry.header_offset + 30 + len(entry.filename)
        damaged = bytearray(made["signed"])
        at += int.from_bytes(damaged[entry.header_offset + 28 : entry.header_offset + 30], "little")
        damaged[at] = 0xFF
        package.write_bytes(damaged)
        assert verify_package(package).problems, entry.filename


def test_package_whose_table_of_contents_is_damaged_is_no_package(tmp_path: Path, made: Mapping[str, bytes]) -> None:
    package, damaged = tmp_path / "package.zip", bytearray(made["signed"])
    damaged[-4] ^= (
        0x80  # of where the table is said to begin, so that files are looked for before the package's own beginning
    )
    package.write_bytes(damaged)
    (problem,) = verify_package(package).problems
    assert "is no whole package" in problem


def test_package_that_is_compressed_in_another_way_is_refused(tmp_path: Path, files: Files) -> None:
    package = tmp_path / "package.zip"
    with zipfile.ZipFile(package, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    (problem,) = verify_package(package).problems
    assert "is compressed in another way than packages are" in problem


def test_no_single_byte_of_a_package_can_be_altered_unnoticed(tmp_path: Path, files: Files) -> None:
    for name, content in files.items():
        for at in range(0, len(content), max(len(content) // 12, 1)):
            altered = bytearray(content)
            altered[at] ^= 1
            assert verified(tmp_path, {**files, name: bytes(altered)}, KEY.public).problems, (name, at)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_signature_is_one_that_ssh_keygen_verifies(tmp_path: Path, files: Files) -> None:
    (tmp_path / SIGNATURE).write_bytes(files[SIGNATURE])
    (tmp_path / "signers").write_text(f'auditor namespaces="{NAMESPACE}" {KEY.public}\n')

    def keygen(message: bytes) -> int:
        options = ["-f", "signers", "-I", "auditor", "-n", NAMESPACE, "-s", SIGNATURE]
        command: list[Any] = ["ssh-keygen", "-Y", "verify", *options]
        return subprocess.run(command, cwd=tmp_path, input=message, capture_output=True, check=False).returncode

    assert keygen(files[MANIFEST]) == 0
    assert keygen(files[MANIFEST] + b" ") != 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.replace("BEGIN", "BEGUN"),
        lambda text: text[:200] + text[210:],
        lambda text: text.replace("A", "B", 9),
        lambda text: text.replace("\n", "\n!", 2),
    ],
)
def test_what_is_no_signature_signs_nothing(spoil: Callable[[str], str]) -> None:
    assert is_signed(b"message", KEY.sign(b"message"), KEY.public)
    assert not is_signed(b"message", spoil(KEY.sign(b"message")), KEY.public)
