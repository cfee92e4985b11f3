"""What the configuration says of one environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from yarl import URL

from auditor.credentials.reference import SecretReference
from auditor.dynatrace.answer import Api
from auditor.outbound import ProxyUrl, is_loopback


def _base_url(text: str) -> str:
    try:
        url = URL(text)
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("url must be like https://abc12345.live.dynatrace.com")
    if url.user or url.password or url.query_string or url.fragment:
        raise ValueError("url must be the environment's base, without user, query or fragment")
    if url.path.rstrip("/").endswith(("/api", "/api/v1", "/api/v2")):
        raise ValueError("url must be the environment's base, without /api")
    return text.rstrip("/")


class EnvironmentSettings(BaseModel):
    """An ``[environments.NAME]`` table: one Dynatrace tenant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(_base_url)] = Field(
        description="Base URL: https://{id}.live.dynatrace.com, https://{domain}/e/{id} on Managed, "
        "https://{activegate}:9999/e/{id} through an ActiveGate"
    )
    token: SecretReference = Field(description="The auditor's own token for this environment; any scope will do")
    api: Api = Field(default="v2", description="Which lookup the environment offers; v1 on older Managed clusters")
    kind: str | None = Field(
        default=None, description="What the environment is for, e.g. production or test; rules can tell them apart"
    )
    concurrency: int = Field(default=16, ge=1, le=1024, description="Lookups under way at once, at most")
    requests_per_second: float | None = Field(
        default=None, gt=0, description="Ceiling of requests a second; none when absent"
    )
    connect_timeout_seconds: float = Field(default=10, gt=0, le=300)
    read_timeout_seconds: float = Field(default=20, gt=0, le=300)
    total_timeout_seconds: float = Field(default=30, gt=0, le=600, description="For one request, all parts of it")
    attempts: int = Field(default=4, ge=1, le=20, description="Requests for one lookup, the first included")
    ca_file: Path | None = Field(
        default=None, description="PEM file of the authorities to trust instead of the system's"
    )
    proxy: ProxyUrl | None = None
    allow_http: bool = Field(default=False, description="Permit plain HTTP, to this machine only")
    self_lookup: bool = Field(
        default=False,
        description="Look the auditor's own token up with itself if a source holds it; this may move its lastUsedDate",
    )

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        url = URL(self.url)
        if url.scheme == "http" and not (self.allow_http and is_loopback(url.host)):
            raise ValueError(f"url must be https (got {self.url}); set allow_http = true only for loopback")
        return self
