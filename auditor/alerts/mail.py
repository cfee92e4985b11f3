"""The mail that a message becomes: the same bytes for every attempt, threaded by finding, and nobody to reply to it."""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC
from email.headerregistry import Address, BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, Policy
from email.utils import format_datetime
from typing import Any, Final

from auditor.alerts.standing import key_of
from auditor.alerts.wording import Wording
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.outside_text import visible

_KEY_LIMIT: Final = 512
_ID_PART: Final = re.compile(r"[^A-Za-z0-9_-]+")
_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_MAILBOX: Final = re.compile(r"\s*(?:\"?([^\"<>]*?)\"?\s*<([^<>]+)>|([^<>]+?))\s*")
_WHOLE: Final = ("In-Reply-To", "References", "List-Id")
"""Headers of one identifier, which must not be encoded (RFC 2047 §5)."""


class _Whole(BaseHeader):
    """A header that stays on its line: folding encodes what is longer and has no space to break at."""

    max_count = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        kwds["parse_tree"] = None
        kwds["decoded"] = value

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS: Final = HeaderRegistry()
for _name in _WHOLE:
    _HEADERS.map_to_type(_name, _Whole)


def mailbox(text: str) -> Address:
    """Return the address of ``name@example.com`` or ``Name <name@example.com>``; raises ``ValueError`` saying why not.

    The part before the ``@`` is a dot-atom of RFC 5322 §3.2.3, the part after it a host's name, in ASCII both.
    """
    match = _MAILBOX.fullmatch(text)
    name, spec = ((match[1] or "").strip(), match[2] or match[3]) if match and text.isprintable() else ("", "")
    local, _at, domain = spec.partition("@")
    if not _ATOM.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{visible(text)!r} is no address; write name@example.com or Name <name@example.com>")
    return Address(name, local, domain)


def mail_of(
    message: Message,
    hook: str,
    sender: Address,
    recipients: Sequence[Address],
    wording: Wording,
    contents: Sequence[bytes | None] = (),
) -> EmailMessage:
    """Return the mail of a message, with the contents of a report's files that are not None.

    Its ``Message-ID`` is made of the message's id, and the alerts of one finding refer to one ``Message-ID`` that no
    mail has, which threads them. ``Auto-Submitted`` (RFC 3834) keeps answering machines quiet, ``List-Id`` (RFC 2919)
    and the ``X-Auditor-…`` headers are for filters.
    """
    words = wording.words(message)
    mail = EmailMessage(policy=SMTP.clone(header_factory=_HEADERS))
    mail["From"] = sender
    mail["To"] = tuple(recipients)
    mail["Subject"] = words.subject
    mail["Date"] = format_datetime(message.at.astimezone(UTC))
    mail["Message-ID"] = f"<{_part(message.id)}.{_part(hook)}@{sender.domain}>"
    if not message.is_digest:
        key = hashlib.sha256(key_of(message.alerts[0], _KEY_LIMIT).encode()).hexdigest()[:32]
        root = f"<{key}.{_part(hook)}@{sender.domain}>"
        mail["In-Reply-To"] = root
        mail["References"] = root
    mail["Auto-Submitted"] = "auto-generated"
    mail["List-Id"] = f"<{_part(hook)}.auditor.{sender.domain}>"
    mail["X-Auditor-Event"] = "digest" if message.is_digest else visible(message.alerts[0].event)
    mail["X-Auditor-Severity"] = _worst(message).value
    mail["X-Auditor-Environment"] = ", ".join(dict.fromkeys(visible(alert.environment) for alert in message.alerts))
    mail.set_content(words.body.plain(), cte="quoted-printable")
    mail.add_alternative(
        f'<!DOCTYPE html>\n<html><head><meta charset="utf-8"></head><body>\n{words.body.html()}\n</body></html>\n',
        subtype="html",
        cte="quoted-printable",
    )
    # Not by chance, as it would be else; "=_" cannot stand in quoted-printable text (RFC 2045 §6.7), nor in base64.
    boundary = f"=_auditor_{hashlib.sha256(message.id.encode()).hexdigest()[:24]}"
    mail.set_boundary(boundary)
    attached = False
    for content, file in zip(contents, message.alerts[0].data["files"] if contents else (), strict=True):
        if content is not None:
            kind, _slash, subtype = file["media_type"].partition("/")
            mail.add_attachment(content, maintype=kind, subtype=subtype, filename=file["name"])
            attached = True
    if attached:
        mail.set_boundary(f"{boundary}_files")
    return mail


def _part(text: str) -> str:
    """Return what may stand in an identifier before its ``@``."""
    return _ID_PART.sub("-", text)


def _worst(message: Message) -> Severity:
    return max(message.counts, key=lambda severity: severity.rank, default=Severity.INFO)
