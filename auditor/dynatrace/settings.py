"""What the configuration says of one environment."""

import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator
from yarl import URL

from auditor.credentials.reference import SecretReference
from auditor.dynatrace.answer import Api
from auditor.model.table import Table
from auditor.outbound import ProxyUrl, is_loopback

_API_PATH: Final = re.compile(r"/api(/v[12](/.*)?)?/*$")
_NOT_IN_A_URL: Final = re.compile(r"[\s{}<>*]")
_LONGEST_LABEL: Final = 63


def _is_host(name: str) -> bool:
    """Whether every part of a name is as long as the DNS allows (RFC 1035 §2.3.4); an address is of parts, too."""
    return all(0 < len(part) <= _LONGEST_LABEL for part in name.removesuffix(".").split("."))


def _base_url(text: str) -> str:
    try:
        url = URL(text)
        is_one = url.scheme in {"http", "https"} and url.host and not _NOT_IN_A_URL.search(text)
    except ValueError:  # not told further: it may quote a part of a password
        is_one = False
    if not is_one or not _is_host(url.raw_host or ""):
        raise ValueError("must be a URL like https://abc12345.live.dynatrace.com")
    if url.user or url.password or "?" in text or "#" in text:
        raise ValueError("must be the environment's base URL, without user, query or fragment")
    if _API_PATH.search(url.path):
        raise ValueError("must be the environment's base URL, without /api and what follows it")
    return text.rstrip("/")


class EnvironmentSettings(Table):
    """An ``[environments.NAME]`` table: one Dynatrace tenant."""

    url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="Base URL: https://{id}.live.dynatrace.com, https://{domain}/e/{id} on Managed, "
        "https://{activegate}:9999/e/{id} through an ActiveGate"
    )
    token: SecretReference = Field(description="The auditor's own token for this environment; any scope will do")
    api: Api = Field(default="v2", description="Which lookup the environment offers; v1 on older Managed clusters")
    kind: str | None = Field(
        default=None, description="What the environment is for, e.g. production or test; rules can tell them apart"
    )
    concurrency: int = Field(
        default=64,
        ge=1,
        le=1024,
        description="Ceiling of requests under way at once; how many there are is found by trying",
    )
    requests_per_second: float | None = Field(
        default=None, gt=0, description="Ceiling of requests a second; none when absent"
    )
    lookups_per_sweep: int | None = Field(
        default=None,
        ge=1,
        description="Tokens that one sweep looks up at most; the rest is left to later ones, and counted so",
    )
    connect_timeout_seconds: float = Field(
        default=10, gt=0, le=300, description="For making a connection, TLS included"
    )
    read_timeout_seconds: float = Field(default=30, gt=0, le=300, description="Between two pieces of an answer")
    total_timeout_seconds: float = Field(default=30, gt=0, le=600, description="For one request, all parts of it")
    attempts: int = Field(default=4, ge=1, le=20, description="Requests for one lookup, the first included")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authorities to trust instead of the system's"
    )
    proxy: ProxyUrl | None = Field(default=None, description="HTTP proxy to go through, without a password")
    allow_http: bool = Field(default=False, description="Permit plain HTTP, to this machine only")
    inventory: bool = Field(
        default=True,
        description="Read the environment's own list of tokens at each sweep's end, where the policy applies "
        "DT-INV-01; takes the scope apiTokens.read",
    )
    self_lookup: bool = Field(
        default=False,
        description="Look the auditor's own token up with itself if a source holds it; this may move its lastUsedDate",
    )

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        url = URL(self.url)
        if url.scheme == "http" and not (self.allow_http and is_loopback(url.host)):
            raise ValueError(f"url must be https (got {self.url}); set allow_http = true only for loopback")
        if url.scheme == "http" and self.proxy is not None:
            raise ValueError("url must be https where a proxy is set: over http the proxy would read every token")
        return self
