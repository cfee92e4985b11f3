"""Proves that a package is unaltered and complete, or that the database's own chain is: names what is broken first."""

import errno
import hashlib
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import IO, Final

import msgspec

from auditor.reports.evidence.checking import Follower, link_of_line
from auditor.reports.evidence.package import (
    FORMAT,
    MANIFEST,
    REPORT,
    SIGNATURE,
    Manifest,
    PackedChain,
)
from auditor.reports.evidence.signing import fingerprint, is_signed, same_key
from auditor.store import chain
from auditor.store.connection import Connection

_PIECE: Final = 1 << 20
_LARGEST_MANIFEST: Final = 64 << 20
_LONGEST_LINE: Final = 64 << 20
_KEYS_SHOWN: Final = 10
_PLAIN_OR_DEFLATED: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a check."""

    problems: Sequence[str]
    """What is broken: of each chain, signature and file the first thing. Empty: nothing is."""
    links: int = 0
    records: int = 0
    uses_removed: int = 0
    """How many uses are not there any more, as the chain says: they were older than uses are kept."""
    heads: Sequence[chain.Head] = ()
    signer: str | None = None
    """The fingerprint of the key whose signature is good; None: not signed, or not by it."""


class _Broken(Exception):
    """A package that cannot be read further."""


def verify_package(path: Path, key: str | None = None) -> Verified:
    """Check a package, with nothing but itself; ``key`` is the public key that must have signed it.

    Raises ``OSError`` where it cannot be read. Memory does not grow with its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _verified(archive, key)
    except (zipfile.BadZipFile, zlib.error, _Broken, EOFError, ValueError, RuntimeError) as error:
        return Verified(problems=[f"{path}: is no whole package: {error}"])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # The table of contents sends its reader to before the beginning of the file.
        return Verified(problems=[f"{path}: is no whole package: its table of contents is damaged"])


def _verified(archive: zipfile.ZipFile, key: str | None) -> Verified:
    problems: list[str] = []
    for entry in archive.infolist():
        if entry.compress_type not in _PLAIN_OR_DEFLATED:
            raise _Broken(f"{entry.filename} is compressed in another way than packages are")
    text = _read(archive, MANIFEST)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Broken(f"{MANIFEST} cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise _Broken(f'{MANIFEST} is of the form "{manifest.format}"; this auditor reads {FORMAT}')
    signature = _check_signature(archive, text, manifest, key)
    if isinstance(signature, str):
        problems.append(signature)
    problems.extend(_check_files(archive, manifest))
    links = records = uses_removed = 0
    policies: set[str] = set()
    for packed in manifest.chains:
        follower = _follow(archive, packed, is_whole=manifest.first_day is None)
        links += follower.links
        records += follower.records
        uses_removed += follower.uses_removed
        policies |= follower.policies
        if follower.problem:
            problems.append(follower.problem)
    problems.extend(
        f"policies/{digest}.json: is not there, though a sweep on record applied that policy"
        for digest in sorted(policies)
        if f"policies/{digest}.json" not in manifest.files
    )
    problems.extend(
        f"{name}: is not the policy of that digest"
        for name, file in manifest.files.items()
        if name.startswith("policies/") and name != f"policies/{file.sha256}.json"
    )
    return Verified(
        problems=problems,
        links=links,
        records=records,
        uses_removed=uses_removed,
        heads=[chain.Head(one.environment, one.last, one.head) for one in manifest.chains],
        signer=fingerprint(manifest.signer) if signature is None and manifest.signer else None,
    )


def _check_signature(archive: zipfile.ZipFile, text: bytes, manifest: Manifest, key: str | None) -> str | None:
    """Return what is wrong with the signature; None where nothing is, or there need be none."""
    if manifest.signer is None:
        if key is not None:
            return f"{SIGNATURE}: the package is not signed"
        return f"{SIGNATURE}: is there, but nobody is said to have signed" if _has(archive, SIGNATURE) else None
    if not _has(archive, SIGNATURE):
        return f"{SIGNATURE}: is not there, though the manifest says who signed"
    signature = _read(archive, SIGNATURE).decode("ascii", "replace")
    try:
        if key is not None and not same_key(key, manifest.signer):
            return f"{SIGNATURE}: is by {fingerprint(manifest.signer)}, not by the key that was asked for"
        if not is_signed(text, signature, manifest.signer):
            return f"{SIGNATURE}: does not fit {MANIFEST}, which was altered, or another key signed"
    except ValueError as error:
        return f"{MANIFEST}: names a signer that is no key: {error}"
    return None


def _check_files(archive: zipfile.ZipFile, manifest: Manifest) -> Iterator[str]:
    """Compare the files with the manifest: every one, no other, none twice."""
    wanted = {REPORT, *(name for one in manifest.chains for name in _names(one.environment))}
    yield from (f"{name}: is not in the manifest" for name in sorted(wanted - manifest.files.keys()))
    there: set[str] = set()
    for entry in archive.infolist():
        name = entry.filename
        if name in there:
            yield f"{name}: is there twice"
        elif name not in manifest.files and name not in (MANIFEST, SIGNATURE):
            yield f"{name}: is not in the manifest"
        there.add(name)
    for name, file in manifest.files.items():
        if name not in there:
            yield f"{name}: is not there"
            continue
        digest, size = hashlib.sha256(), 0
        with archive.open(name) as packed:
            try:
                while piece := packed.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
                    if size > file.bytes:
                        break
            except (zipfile.BadZipFile, zlib.error) as error:
                yield f"{name}: cannot be read: {error}"
                continue
        if (digest.hexdigest(), size) != (file.sha256, file.bytes):
            yield f"{name}: is not the file of the manifest"


def _follow(archive: zipfile.ZipFile, packed: PackedChain, *, is_whole: bool) -> Follower:
    follower = Follower(
        packed.environment,
        number=packed.first - 1,
        hash_before=packed.previous if packed.first else chain.NOTHING_BEFORE,
        uses_removed_through=packed.uses_removed_through,
        is_removal_vouched=not is_whole,  # the link that says so may be of a later period
    )
    if is_whole and packed.first:
        follower.problem = f"chain of {packed.environment}, link 0: it is not there: the package is of no period"
    links, records = _names(packed.environment)
    if not _has(archive, links) or not _has(archive, records):
        follower.problem = f"chain of {packed.environment}: its files are not there"
        return follower
    try:
        with archive.open(links) as link_file, archive.open(records) as record_file:
            lines = _lines(record_file)
            for line in _lines(link_file):
                for _ in range(follower.open(link_of_line(line))):
                    record = next(lines, None)
                    if record is None:
                        break
                    follower.add(record)
            follower.end(packed.last, packed.head)
            if follower.problem is None and next(lines, None) is not None:
                follower.problem = f"chain of {packed.environment}: there are records after those of its last link"
    except (zipfile.BadZipFile, zlib.error) as error:
        follower.problem = follower.problem or f"chain of {packed.environment}: cannot be read: {error}"
    return follower


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):
        yield line.removesuffix(b"\n")


def _names(environment: str) -> tuple[str, str]:
    return f"chain/{environment}.txt", f"records/{environment}.jsonl"


def _has(archive: zipfile.ZipFile, name: str) -> bool:
    return name in archive.NameToInfo


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if not _has(archive, name):
        raise _Broken(f"{name} is not there")
    with archive.open(name) as file:
        return file.read(_LARGEST_MANIFEST)


async def verify_database(connection: Connection, environments: Sequence[str] = ()) -> Verified:
    """Make the chains of the database anew from its records and compare; in a transaction of the caller's."""
    problems: list[str] = []
    links = count = uses_removed = 0
    heads = await chain.heads(connection, environments)
    policies: set[str] = set()
    for head in heads:
        follower = Follower(head.environment)
        async with (
            aclosing(chain.links(connection, head.environment)) as kept,
            aclosing(chain.records(connection, head.environment)) as records,
        ):
            pending: tuple[int, bytes] | None = await _next(records)
            async for link in kept:
                follower.open(link)
                while pending is not None and pending[0] <= follower.number:
                    follower.add(pending[1])
                    pending = await _next(records)
            follower.end(head.number, head.hash)
        links += follower.links
        count += follower.records
        uses_removed += follower.uses_removed
        policies |= follower.policies
        if follower.problem:
            problems.append(follower.problem)
    contents = await chain.policies(connection, sorted(policies))
    problems.extend(
        f"policy {digest}: was altered, or is not there any more"
        for digest in sorted(policies)
        if hashlib.sha256(contents.get(digest, b"")).hexdigest() != digest
    )
    problems.extend(
        f"{kind}: {number} records belong to no link, so they were written past the auditor, or their link is gone"
        for kind, number in (await chain.stray(connection)).items()
    )
    problems.extend(
        f"finding {key}: does not stand as its history says"
        for key in await chain.unlike_history(connection, most=_KEYS_SHOWN)
    )
    return Verified(problems=problems, links=links, records=count, uses_removed=uses_removed, heads=heads)


async def _next(records: AsyncIterator[tuple[int, bytes]]) -> tuple[int, bytes] | None:
    return await anext(records, None)
