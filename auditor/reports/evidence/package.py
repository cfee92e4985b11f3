"""Writes a package of evidence: a zip file of the chain, its records, the policies, a report, and a signed manifest."""

import hashlib
import io
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

import msgspec

from auditor import __version__
from auditor.reports.evidence.checking import Follower, line_of_link
from auditor.reports.evidence.signing import SigningKey
from auditor.reports.json_format import Json
from auditor.reports.period import Period
from auditor.reports.reading import NONE_CONFIGURED, snapshot
from auditor.store import chain
from auditor.store.chain import NOTHING_BEFORE, Header
from auditor.store.connection import Connection, Pool

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FORMAT: Final = "auditor.evidence/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.json.sig"
REPORT: Final = "report.json"


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a package."""

    sha256: str
    bytes: int


class PackedChain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a package holds of one environment's chain: the links from ``first`` to ``last``, without a gap."""

    environment: str
    first: int
    last: int
    previous: str
    """The hash of the link before ``first``; of the first of all, ``NOTHING_BEFORE``."""
    head: str
    """The hash of ``last``."""
    records: int
    uses_removed_through: int = -1
    """The last link whose uses had been removed, as those of the links before it, when the package was made."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a package holds."""

    format: str
    made_at: datetime
    auditor_version: str
    first_day: str | None
    """Of the period that it is of; None: of everything."""
    last_day: str | None
    chains: Sequence[PackedChain]
    files: Mapping[str, PackedFile]
    """Every file but the manifest and its signature, by name."""
    signer: str | None
    """The public key of who signed the manifest, ``ssh-ed25519 AAAA…``; None: nobody did."""


class _Writer:
    """A zip file that is written from front to back, with the digest of each file."""

    def __init__(self, archive: zipfile.ZipFile, at: datetime) -> None:
        self._archive = archive
        self._date = (at.year, at.month, at.day, at.hour, at.minute, at.second)
        self.files: dict[str, PackedFile] = {}

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        entry = zipfile.ZipInfo(name, self._date)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        with self._archive.open(entry, "w", force_zip64=True) as out:
            counting = _Counting(out)
            yield cast("BinaryIO", counting)
        self.files[name] = PackedFile(counting.digest.hexdigest(), counting.bytes)


class _Counting(io.RawIOBase):
    """Bytes on their way into a file, counted and hashed."""

    def __init__(self, out: IO[bytes]) -> None:
        super().__init__()
        self._out = out
        self.digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: "ReadableBuffer", /) -> int:
        self.digest.update(piece)
        self.bytes += memoryview(piece).nbytes
        return self._out.write(piece)


async def write(
    pool: Pool,
    out: BinaryIO,
    *,
    now: datetime,
    period: Period | None,
    environments: Sequence[str],
    key: SigningKey | None,
    configured: Mapping[str, str] = NONE_CONFIGURED,
) -> Manifest:
    """Write a package of some environments, empty for all that were ever swept, and return its manifest.

    Its report names those that are ``configured``, by name with their URLs, and were never swept, where it is of now.

    With a period, of the links that were made in it. Memory does not grow with the number of records.
    """
    since, until = (period.start, period.end) if period else (None, now)
    with zipfile.ZipFile(out, "w") as archive:
        files = _Writer(archive, now)
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            packed: list[PackedChain] = []
            digests: set[str] = set()
            for head in await chain.heads(connection, environments):
                one, policies = await _pack(connection, files, head.environment, since, until)
                digests |= policies
                if one is not None:
                    packed.append(one)
            for digest, content in sorted((await chain.policies(connection, sorted(digests))).items()):
                with files.file(f"policies/{digest}.json") as file:
                    file.write(content)
        async with snapshot(
            pool,
            now=now,
            resolved_days=30,
            environments=environments,
            configured=configured,
            as_of=None if period else now,
            period=period,
        ) as (data, findings):
            with files.file(REPORT) as file:
                await Json().write(data, findings, file)
        manifest = Manifest(
            format=FORMAT,
            made_at=now,
            auditor_version=__version__,
            first_day=period.first_day.isoformat() if period else None,
            last_day=period.last_day.isoformat() if period else None,
            chains=packed,
            files=dict(files.files),
            signer=key.public if key else None,
        )
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
        with files.file(MANIFEST) as file:
            file.write(text)
        if key is not None:
            with files.file(SIGNATURE) as file:
                file.write(key.sign(text).encode())
    return manifest


async def _pack(
    connection: Connection, files: _Writer, environment: str, since: datetime | None, until: datetime | None
) -> tuple[PackedChain | None, set[str]]:
    """Write the files of one chain; return what they hold, None where there is no link, and the policies applied."""
    first: Header | None = None
    last: chain.Link | None = None
    with files.file(f"chain/{environment}.txt") as file:
        async with aclosing(chain.links(connection, environment, since, until)) as links:
            async for link in links:
                first = first or msgspec.json.decode(link.header, type=Header)
                last = link
                file.write(line_of_link(link) + b"\n")
    seen = Follower(environment)
    with files.file(f"records/{environment}.jsonl") as file:
        async for lines in _lines(connection, environment, since, until):
            for line in lines:
                seen.add(line)
            file.write(b"\n".join(lines) + b"\n")
    if first is None or last is None:
        return None, set()
    number = msgspec.json.decode(last.header, type=Header).number
    return (
        PackedChain(
            environment=environment,
            first=first.number,
            last=number,
            previous=first.previous or NOTHING_BEFORE,
            head=last.hash,
            records=seen.lines,
            uses_removed_through=await chain.uses_removed_through(connection, environment),
        ),
        seen.policies,
    )


async def _lines(
    connection: Connection, environment: str, since: datetime | None, until: datetime | None
) -> AsyncGenerator[Sequence[bytes], None]:
    gathered: list[bytes] = []
    records: AsyncIterator[tuple[int, bytes]] = chain.records(connection, environment, since, until)
    async for _number, line in records:
        gathered.append(line)
        if len(gathered) == 1000:
            yield gathered
            gathered = []
    if gathered:
        yield gathered
