"""What the hooks have in common that send words to a service over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from yarl import URL

from auditor.alerts.base import Hook, Surroundings
from auditor.alerts.http import Answer, HttpSettings, Sender, secret_url
from auditor.alerts.wording import WordedSettings, Wording
from auditor.credentials.reference import SecretReference


class ServiceHook:
    """Words messages, and sends them over connections of its own."""

    def __init__(self, name: str, wording: Wording, sender: Sender) -> None:
        self.name = name
        self._wording = wording
        self._sender = sender

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()


class SecretUrlSettings(WordedSettings, HttpSettings):
    """What hooks may be told that POST to one URL, which is a secret: whoever has it can post."""

    url: SecretReference


class _AtUrl(Protocol):
    def __call__(self, name: str, url: URL, wording: Wording, sender: Sender, /) -> Hook: ...


def at_secret_url(make: _AtUrl) -> Callable[[str, SecretUrlSettings, Surroundings], Awaitable[Hook]]:
    """Return what opens a hook that POSTs to one URL, which is a secret."""

    async def opened(name: str, settings: SecretUrlSettings, surroundings: Surroundings) -> Hook:
        place = f"hooks.{name}.url"
        url = secret_url(await surroundings.resolver.resolve(settings.url, place), settings, place)
        return make(name, url, surroundings.wording, await Sender.open(name, settings, surroundings.resolver))

    return opened


def refusal(answer: Answer) -> str:
    """Return what a service says of a request: ``{"message": …}`` with ``errors``, in a list or by field."""
    try:
        said = msgspec.json.decode(answer.body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    errors = said.errors or []
    if isinstance(errors, dict):
        errors = [f"{field}: {error}" for field, error in errors.items()]
    return "; ".join(map(str, [said.message, *errors]))


class _Refusal(msgspec.Struct, frozen=True):
    message: str
    errors: list[object] | dict[str, object] | None = None
