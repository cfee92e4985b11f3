"""Hook ``apprise``: whatever the library Apprise can send to, for what has no hook of its own.

Apprise is an extra, ``auditor[apprise]``. It sends with blocking sockets and time limits of its own; so it runs in
threads of this hook, of which an attempt waits for one and no longer than ``timeout_seconds``.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pydantic import Field

from auditor.alerts.base import Hook, HookKind, Surroundings
from auditor.alerts.wording import WordedSettings, Wording
from auditor.credentials.reference import SecretReference
from auditor.model.errors import ConfigError, DeliveryFailed, Problem
from auditor.model.finding import Severity
from auditor.model.message import Message
from auditor.outbound import is_loopback

if TYPE_CHECKING:
    from apprise import Apprise, NotifyBase

_THREADS: Final = 2
_BAD: Final = Severity.HIGH.rank


class AppriseSettings(WordedSettings):
    """A ``[hooks.NAME]`` table with ``type = "apprise"``; needs the extra ``auditor[apprise]``."""

    urls: tuple[SecretReference, ...] = Field(min_length=1, max_length=20)
    """Where to send to, each a URL of Apprise: ``mailtos://…``, ``matrixs://…``, ``ntfys://…``."""
    timeout_seconds: float = Field(default=30, gt=0, le=120)
    """For one attempt, to all of them."""


class Other:
    """What Apprise sends to."""

    def __init__(self, name: str, targets: "Apprise", timeout_seconds: float, wording: Wording) -> None:
        self.name = name
        self._targets = targets
        self._seconds = timeout_seconds
        self._wording = wording
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"hook-{name}")

    async def deliver(self, message: Message, now: datetime) -> str:
        """Send to all; where one of several fails, the next attempt sends to all again."""
        words = self._wording.words(message)
        worst = max((severity.rank for severity in message.counts), default=0)
        sending = asyncio.get_running_loop().run_in_executor(
            self._threads, self._send, words.subject, words.body.plain(), "failure" if worst >= _BAD else "info"
        )
        try:
            async with asyncio.timeout(self._seconds):
                is_taken = await sending
        except TimeoutError:
            raise self._failed(f"not sent within {self._seconds:g} s") from None
        if not is_taken:
            raise self._failed("not taken by all of urls; try each with the command apprise to see why")
        return f"taken by {len(self._targets)}"

    def _send(self, title: str, body: str, kind: str) -> bool:
        from apprise import NotifyFormat, NotifyType

        try:
            return bool(
                self._targets.notify(
                    body=body, title=title, notify_type=NotifyType(kind), body_format=NotifyFormat.TEXT
                )
            )
        except Exception as error:  # noqa: BLE001 - a plugin's; it may quote its URL, and that is a secret
            raise self._failed(f"Apprise failed: {type(error).__name__}") from None

    async def close(self) -> None:
        """Start nothing more; what is being sent ends by the time limits of Apprise."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _failed(self, reason: str) -> DeliveryFailed:
        return DeliveryFailed(f"hooks.{self.name}: {reason}")


async def _open(name: str, settings: AppriseSettings, surroundings: Surroundings) -> Hook:
    urls = [
        (place, await surroundings.resolver.resolve(reference, place))
        for place, reference in ((f"hooks.{name}.urls[{number}]", url) for number, url in enumerate(settings.urls))
    ]
    try:
        # Its import takes a second, and it reads its plugins from files.
        targets, wrong = await asyncio.to_thread(_targets, [(place, url.reveal()) for place, url in urls])
    except ImportError:
        reason = "Apprise is not installed; install auditor[apprise]"
        raise ConfigError(Problem(f"hooks.{name}.type", reason)) from None
    if wrong:
        raise ConfigError(*wrong)
    return Other(name, targets, settings.timeout_seconds, surroundings.wording)


def _targets(urls: list[tuple[str, str]]) -> tuple["Apprise", list[Problem]]:
    from apprise import Apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs what it sends, and where to
    targets, wrong = Apprise(), []
    for place, url in urls:
        target = Apprise.instantiate(url)
        if target is None:
            wrong.append(Problem(place, "what it points to is no URL that Apprise knows; see its documentation"))
        elif _is_open_to_all(target, url):
            scheme = url.partition("://")[0].lower()
            reason = f"{scheme}:// sends in clear, which is only for loopback; use {scheme}s://"
            wrong.append(Problem(place, reason))
        else:
            targets.add(target)
    return targets, wrong


def _is_open_to_all(target: "NotifyBase", url: str) -> bool:
    """Whether a URL's scheme is the one in clear of two, and its host another machine."""
    protocol: object = target.protocol  # plugins write one scheme, or several
    clear = protocol if isinstance(protocol, tuple | list) else (protocol,)
    is_clear = bool(target.secure_protocol) and url.partition("://")[0].lower() in clear
    return is_clear and not is_loopback(getattr(target, "host", None))


KIND: Final = HookKind(name="apprise", settings=AppriseSettings, open=_open)
