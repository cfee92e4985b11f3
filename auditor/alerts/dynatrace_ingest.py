"""What the hooks have in common that send to a Dynatrace environment."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from auditor.alerts.http import Answer, UrlSettings
from auditor.alerts.wording import AlertWordedSettings
from auditor.credentials.reference import SecretReference
from auditor.model.secret import Secret


class DynatraceSettings(AlertWordedSettings, UrlSettings):
    """What the settings of these hooks have in common."""

    url: str
    """The environment, ``https://abc12345.live.dynatrace.com``, or an ActiveGate's ``https://gate:9999/e/ENVIRONMENT``."""
    token: SecretReference
    """An access token of that environment with the one scope that the hook needs."""


def authorization(token: Secret) -> dict[str, str]:
    """Return the header that an access token goes in (docs.dynatrace.com, *Tokens and authentication*)."""
    return {"Authorization": f"Api-Token {token.reveal()}"}


def hints(scope: str) -> Mapping[int, str]:
    """Return what to look at, by status, where a token must have a scope."""
    return {
        HTTPStatus.UNAUTHORIZED: "; is token valid in this environment?",
        HTTPStatus.FORBIDDEN: f"; does token have the scope {scope}?",
        HTTPStatus.NOT_FOUND: "; is url that of the environment, without /api?",
    }


def cut(text: str, limit: int) -> str:
    """Return a text of so many characters at most."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class _Violation(msgspec.Struct, frozen=True):
    message: str = ""


class _Error(msgspec.Struct, frozen=True, rename="camel"):
    message: str = ""
    constraint_violations: tuple[_Violation, ...] = ()


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


def reason(answer: Answer) -> str:
    """Return what Dynatrace says of a request that it refuses: an ``ErrorEnvelope``."""
    try:
        error = msgspec.json.decode(answer.body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return "; ".join(filter(None, [error.message, *(violation.message for violation in error.constraint_violations)]))


TEXT_LIMIT: Final = 4_096
"""Characters of a property's value at most."""
