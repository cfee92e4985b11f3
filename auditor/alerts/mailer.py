"""Hook ``email``: a mail by SMTP submission, over TLS, with plain and HTML text."""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import structlog
from pydantic import Field, field_validator, model_validator

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.enclosing import enclosed, is_report
from auditor.alerts.mail import mail_of, mailbox
from auditor.alerts.receiver import shown, trust_of
from auditor.alerts.wording import WordedSettings, Wording
from auditor.credentials.reference import SecretReference
from auditor.model.errors import DeliveryFailed
from auditor.model.message import Message
from auditor.model.secret import Secret
from auditor.model.shape import HOST
from auditor.outbound import is_loopback, name_of

_PORTS: Final = {"starttls": 587, "implicit": 465, "off": 25}
_REMEMBERED: Final = 1_000
_PERMANENT: Final = 500

log = structlog.get_logger(__name__)


class EmailSettings(WordedSettings):
    """A ``[hooks.NAME]`` table with ``type = "email"``."""

    server: Annotated[str, HOST]
    """Name or address of the mail server."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """By default 587 with STARTTLS, 465 with implicit TLS, 25 without."""
    tls: Literal["starttls", "implicit", "off"] = "starttls"
    """``starttls`` begins in clear and must become TLS; ``implicit`` is TLS from the start; ``off`` only to this
    machine."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""
    username: str | None = None
    """Whom to log in as; without it nobody logs in."""
    password: SecretReference | None = None
    """The password of ``username``."""
    sender: str
    """Whom mails are from: ``auditor@example.com`` or ``Auditor <auditor@example.com>``."""
    to: tuple[str, ...] = Field(default=(), max_length=100)
    """Whom mails go to, written like ``sender``."""
    owners: Literal["add", "instead", "ignore"] = "add"
    """Whether a mail goes to those who can act (mapped owners), too, or to them ``instead`` where there are any."""
    attach_up_to_bytes: int = Field(default=10_000_000, ge=0, le=1_000_000_000)
    """How large the files of a report may be in all, to be attached; in the mail they grow by a third. What does not
    fit is named in the mail, with its place. Zero: none is attached."""
    timeout_seconds: float = Field(default=30, gt=0, le=300)
    """For one attempt, from connecting to the server's answer."""

    @field_validator("sender")
    @classmethod
    def _is_from_somebody(cls, text: str) -> str:
        mailbox(text)
        return text

    @field_validator("to")
    @classmethod
    def _goes_somewhere(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            mailbox(text)
        return texts

    @property
    def is_addressed(self) -> bool:
        """Whether owners get their mails: then each gets a digest of their own, and not of what concerns others."""
        return self.owners != "ignore"

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.tls == "off" and not is_loopback(self.server):
            raise ValueError(f'tls = "off" is only for loopback (got server {self.server}); use "starttls"')
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together; set both or none")
        if not self.to and self.owners == "ignore":
            raise ValueError('mails would go to nobody; set to, or owners = "add"')
        return self


class Email:
    """One mail server and those whom its mails go to."""

    def __init__(
        self, name: str, settings: EmailSettings, password: Secret | None, trust: ssl.SSLContext, wording: Wording
    ) -> None:
        self.name = name
        self._settings = settings
        self._password = password
        self._trust = trust
        self._wording = wording
        self._sender = mailbox(settings.sender)
        self._to = [mailbox(text) for text in settings.to]
        self._taken: OrderedDict[str, set[str]] = OrderedDict()
        """Who got a message that others could not get yet, by its id: a second attempt leaves them in peace."""

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send one mail to all, and fail while the server asks to try again for some.

        Who is refused for good (5xx) is logged, and holds nobody up unless all are.
        """
        recipients = self._recipients(message)
        contents: Sequence[bytes | None] = ()
        if is_report(message):
            message, contents = await enclosed(message, self._settings.attach_up_to_bytes)
        mail = mail_of(message, self.name, self._sender, recipients, self._wording, contents).as_bytes()
        taken = self._taken.get(message.id, set())
        left = [address.addr_spec for address in recipients if address.addr_spec not in taken]
        refused = await self._send(mail, left)
        later = {address: said for address, said in refused.items() if said[0] < _PERMANENT}
        for address, (status, said) in refused.items():
            if status >= _PERMANENT:
                log.warning("recipient_refused", hook=self.name, recipient=address, answer=f"{status} {said}")
        if later:
            self._remember(message.id, taken | set(left) - later.keys())
            status, said = next(iter(later.values()))
            raise self._failed(f"{len(later)} of {len(recipients)} recipients put off: SMTP {status} {said}")
        self._taken.pop(message.id, None)
        return f"SMTP 250{f', {len(refused)} of {len(recipients)} recipients refused' if refused else ''}"

    async def close(self) -> None:
        """Do nothing: a connection lives for one mail."""

    def _recipients(self, message: Message) -> Sequence[Address]:
        owners: list[Address] = []
        for text in message.recipients if self._settings.owners != "ignore" else ():
            try:
                owners.append(mailbox(text))
            except ValueError as error:
                log.warning("recipient_invalid", hook=self.name, problem=str(error))
        to = owners if owners and self._settings.owners == "instead" else [*self._to, *owners]
        unique: dict[str, Address] = {}
        for address in to:
            unique.setdefault(address.addr_spec.lower(), address)
        if not unique:
            raise self._failed("there is nobody to send to; set to, or map owners to addresses")
        return list(unique.values())

    async def _send(self, mail: bytes, recipients: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Send a mail and return who was refused, and how; raises ``DeliveryFailed`` where nobody got it."""
        import aiosmtplib  # most commands send no mail

        client = aiosmtplib.SMTP(
            hostname=self._settings.server,
            port=self._settings.port or _PORTS[self._settings.tls],
            local_hostname=self._sender.domain,
            timeout=self._settings.timeout_seconds,
            use_tls=self._settings.tls == "implicit",
            start_tls=self._settings.tls == "starttls",
            tls_context=self._trust,
            username=self._settings.username,
            password=self._password.reveal() if self._password else None,
        )
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await client.connect()
                refused, _said = await client.sendmail(self._sender.addr_spec, recipients, mail)
        except aiosmtplib.SMTPRecipientsRefused as error:
            answers = {one.recipient: (one.code, shown(one.message)) for one in error.recipients}
            if any(status < _PERMANENT for status, _text in answers.values()):
                return answers
            status, said = next(iter(answers.values()))
            raise self._failed(f"all recipients refused: SMTP {status} {said}") from None
        except aiosmtplib.SMTPAuthenticationError as error:  # its text may quote what was sent
            raise self._failed(f"login refused: SMTP {error.code}; check username and password") from None
        except aiosmtplib.SMTPResponseException as error:
            raise self._failed(f"SMTP {error.code} {shown(error.message)}") from None
        except TimeoutError:
            raise self._failed(f"no answer within {self._settings.timeout_seconds:g} s") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise self._failed(_why(error)) from None
        finally:
            client.close()
        return {address: (answer.code, shown(answer.message)) for address, answer in refused.items()}

    def _remember(self, message_id: str, taken: set[str]) -> None:
        self._taken[message_id] = taken
        while len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)

    def _failed(self, reason: str) -> DeliveryFailed:
        return DeliveryFailed(f"hooks.{self.name}: {self._settings.server}: {reason}")


def _why(error: Exception) -> str:
    """Name what went wrong before the server could answer, with its mend."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate refused: {cause.verify_message}; does it need ca_file?"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS: {cause.reason or 'SSL error'}; is tls right for this port?"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError):
        return f"no connection: {name_of(error)}"
    return shown(str(error))


async def _open(name: str, settings: EmailSettings, surroundings: Surroundings) -> Hook:
    resolver = surroundings.resolver
    password = None
    if settings.password is not None:
        password = await resolver.resolve(settings.password, f"hooks.{name}.password")
    return Email(
        name, settings, password, await trust_of(name, settings.ca_file, resolver.directory), surroundings.wording
    )


KIND: Final = HookKind(name="email", settings=EmailSettings, open=_open)
