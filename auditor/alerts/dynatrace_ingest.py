"""What the hooks have in common that send to a Dynatrace environment."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
from yarl import URL

from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.http import Answer, Sender, UrlSettings
from auditor.alerts.service import ServiceHook
from auditor.alerts.wording import AlertWordedSettings, Wording
from auditor.credentials.reference import SecretReference
from auditor.model.secret import Secret

TEXT_LIMIT: Final = 4_096
"""Characters of a property's value at most."""


class DynatraceSettings(AlertWordedSettings, UrlSettings):
    """What the settings of these hooks have in common."""

    url: str
    """The environment, ``https://abc12345.live.dynatrace.com``, or an ActiveGate's ``https://gate:9999/e/ENVIRONMENT``."""
    token: SecretReference
    """An access token of that environment with the one scope that the hook needs."""


class DynatraceHook(ServiceHook):
    """One environment, and the endpoint of it that takes events."""

    path: ClassVar[str]
    """Of the endpoint, below the environment's URL."""
    scope: ClassVar[str]
    """What a token needs there."""

    def __init__(self, name: str, settings: DynatraceSettings, token: Secret, wording: Wording, sender: Sender) -> None:
        super().__init__(name, wording, sender)
        self._url = URL(settings.url) / self.path
        self._token = token

    async def _ingest(self, events: object, now: datetime) -> Answer:
        """POST events; raises ``DeliveryFailed`` where they are not taken."""
        return await self._sender.post(
            self._url,
            msgspec.json.encode(events),
            now,
            # docs.dynatrace.com, Tokens and authentication
            headers={"Authorization": f"Api-Token {self._token.reveal()}"},
            hints=_hints(self.scope),
            quote=_reason,
        )


_Make = Callable[[str, Any, Secret, Wording, Sender], Hook]


def at_environment(make: _Make) -> Callable[[str, DynatraceSettings, Surroundings], Awaitable[Hook]]:
    """Return what opens a hook that sends to an environment."""

    async def opened(name: str, settings: DynatraceSettings, surroundings: Surroundings) -> Hook:
        token = await surroundings.resolver.resolve(settings.token, f"hooks.{name}.token")
        sender = await Sender.open(name, settings, surroundings.resolver)
        return make(name, settings, token, surroundings.wording, sender)

    return opened


def _hints(scope: str) -> Mapping[int, str]:
    return {
        HTTPStatus.UNAUTHORIZED: "; is token valid in this environment?",
        HTTPStatus.FORBIDDEN: f"; does token have the scope {scope}?",
        HTTPStatus.NOT_FOUND: "; is url that of the environment, without /api?",
    }


class _Violation(msgspec.Struct, frozen=True):
    message: str = ""


class _Error(msgspec.Struct, frozen=True, rename="camel"):
    message: str = ""
    constraint_violations: tuple[_Violation, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


def _reason(answer: Answer) -> str:
    """Return what Dynatrace says of a request that it refuses: an ``ErrorEnvelope``."""
    try:
        error = msgspec.json.decode(answer.body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return "; ".join(filter(None, [error.message, *(violation.message for violation in error.constraint_violations)]))
