"""Follows a chain link by link and tells where it first breaks: pure, for a package and for the database alike."""

import hashlib
import re
from typing import Final

import msgspec

from auditor.store.chain import NOTHING_BEFORE, Header, Link

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_header: Final = msgspec.json.Decoder(Header).decode


class Follower:
    """One chain on its way from a known link on. Each link is opened, given its records' lines, and closed."""

    def __init__(self, environment: str, *, number: int = -1, hash_before: str = NOTHING_BEFORE) -> None:
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
        self._header: Header | None = None
        self._digest = hashlib.sha256()
        self.lines = 0

    def open(self, link: Link) -> int:
        """Go on to the next link, which must follow on the last one; return how many records it says it covers."""
        self.close()
        try:
            header = _header(link.header)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._is_broken(self.number + 1, "its header cannot be read")
            return 0
        self._header = header
        self._digest = hashlib.sha256()
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
        return header.records

    def add(self, line: bytes) -> None:
        """Take the line of the next record of the link, without its line feed."""
        self._digest.update(line)
        self._digest.update(b"\n")
        self.lines += 1
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
        if self.lines != header.records:
            self._is_broken(header.number, f"it covers {header.records} records, and {self.lines} are there")
        elif self._digest.hexdigest() != header.digest:
            self._is_broken(header.number, f"its records are not those of {header.at:%Y-%m-%d %H:%M:%S} UTC")

    def end(self, number: int, head: str) -> None:
        """Close the last link, which must be the chain's head."""
        self.close()
        if self.number < number:
            self._is_broken(self.number + 1, f"it is not there: the chain goes on to link {number}")
        elif self.number > number or self.hash != head:
            self._is_broken(self.number, f"it is not the end of the chain, which is link {number} of hash {head}")

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
