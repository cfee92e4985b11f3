"""Follows a chain link by link and tells where it first breaks: pure, for a package and for the database alike."""

import hashlib
import re
from datetime import datetime
from typing import Final

import msgspec

from auditor.store.chain import NOTHING_BEFORE, Header, Link

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_header: Final = msgspec.json.Decoder(Header).decode


class Removal(msgspec.Struct, frozen=True):
    """What a link states of the uses of earlier links that were removed."""

    through: int
    """The last link that lost its uses; those before it had lost them, too."""
    before: datetime
    """From then on every use is kept."""
    removed: int
    carried: int
    """How many were the last ones of their tokens, and became records of this link."""


class Follower:
    """One chain on its way from a known link on. Each link is opened, given its records' lines, and closed."""

    def __init__(
        self,
        environment: str,
        *,
        number: int = -1,
        hash_before: str = NOTHING_BEFORE,
        uses_removed_through: int = -1,
        is_removal_vouched: bool = False,
    ) -> None:
        """Stand before the link after ``number``.

        ``uses_removed_through`` is the last link that has no uses of its own any more, nor have those before it. A
        later link must say so, unless whoever made the package vouches for it.
        """
        self.environment = environment
        self.number = number
        """Of the last link that was opened; before any, of the one before the first."""
        self.hash = hash_before
        self.links = 0
        self.records = 0
        self.problem: str | None = None
        """What is wrong with the first link that is broken; None while none is."""
        self.policies: set[str] = set()
        """Digests of the policies that the sweeps on record applied."""
        self.uses_removed = 0
        """How many uses links say were removed, as older than they are kept."""
        self._uses_removed_through = uses_removed_through
        self._vouched_through = uses_removed_through if is_removal_vouched else -1
        self._useless: tuple[int, int] | None = None
        """The first and the last link without its uses that nothing has accounted for yet."""
        self._header: Header | None = None
        self._digest = hashlib.sha256()
        self._uses_digest = hashlib.sha256()
        self._uses = 0
        self.lines = 0

    def open(self, link: Link) -> int:
        """Go on to the next link, which must follow on the last one; return how many records it must have."""
        self.close()
        try:
            header = _header(link.header)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._is_broken(self.number + 1, "its header cannot be read")
            return 0
        self._header = header
        self._digest = hashlib.sha256()
        self._uses_digest = hashlib.sha256()
        self._uses = 0
        self.lines = 0
        if header.environment != self.environment:
            self._is_broken(self.number + 1, f'its header is of environment "{header.environment}"')
        elif header.number != self.number + 1:
            self._is_broken(self.number + 1, f"it is not there: link {header.number} stands in its place")
        elif header.previous != self.hash:
            self._is_broken(header.number, "it does not follow on the link before it, which was altered or replaced")
        elif hashlib.sha256(link.header).hexdigest() != link.hash:
            self._is_broken(header.number, "its hash is not that of its header, which was altered")
        self.number, self.hash = header.number, link.hash
        self.links += 1
        return header.records + (header.uses if header.number > self._uses_removed_through else 0)

    def add(self, line: bytes) -> None:
        """Take the line of the next record of the link, without its line feed."""
        is_apart = self._header is not None and self._header.uses and line.startswith(b'{"record" : "token_use"')
        digest = self._uses_digest if is_apart else self._digest
        digest.update(line)
        digest.update(b"\n")
        self.lines += 1
        self._uses += bool(is_apart)
        if line.startswith(b'{"record" : "sweep"'):
            try:
                policy = msgspec.json.decode(line).get("policy")
            except (msgspec.DecodeError, AttributeError):
                return  # the digest tells
            if isinstance(policy, str):
                self.policies.add(policy)

    def close(self) -> None:
        """End the link that is open, when all its records were given."""
        header, self._header = self._header, None
        if header is None:
            return
        self.records += self.lines
        expected = header.records + header.uses
        if header.uses and self.lines == header.records and not self._uses:
            expected = header.records
            if header.number > self._vouched_through:
                self._useless = (self._useless[0] if self._useless else header.number, header.number)
        if self.lines != expected:
            self._is_broken(header.number, f"it covers {expected} records, and {self.lines} are there")
        elif self._digest.hexdigest() != header.digest or (
            self._uses and self._uses_digest.hexdigest() != header.uses_digest
        ):
            self._is_broken(header.number, f"its records are not those of {header.at:%Y-%m-%d %H:%M:%S} UTC")
        if header.states and "uses_removed" in header.states:
            self._account_for(header.states["uses_removed"])

    def _account_for(self, stated: object) -> None:
        """Take in what a link states of uses that were removed."""
        try:
            removal = msgspec.convert(stated, Removal)
        except msgspec.ValidationError:
            return  # what is missing then is told as missing
        self.uses_removed += removal.removed
        if self._useless is not None:
            first, last = self._useless
            self._useless = None if removal.through >= last else (max(first, removal.through + 1), last)

    def end(self, number: int, head: str) -> None:
        """Close the last link, which must be the chain's head."""
        self.close()
        if self.number < number:
            self._is_broken(self.number + 1, f"it is not there: the chain goes on to link {number}")
        elif self.number > number or self.hash != head:
            self._is_broken(self.number, f"it is not the end of the chain, which is link {number} of hash {head}")
        if self._useless is not None:
            self._is_broken(self._useless[0], "its uses are not there, and no later link says that they were removed")

    def _is_broken(self, number: int, what: str) -> None:
        if self.problem is None:
            self.problem = f"chain of {self.environment}, link {number}: {what}"


def link_of_line(line: bytes) -> Link:
    """Read a line of a chain's file, ``HASH  HEADER``; what is no such line is a link that is broken."""
    hashed, blanks, header = line.partition(b"  ")
    text = hashed.decode("ascii", "replace")
    return Link(header, text) if blanks and _HEX.fullmatch(text) else Link(b"", "")


def line_of_link(link: Link) -> bytes:
    """Return a link as a line of a chain's file, without its line feed."""
    return link.hash.encode() + b"  " + link.header
