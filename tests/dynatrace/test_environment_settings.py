from typing import Any

import pytest
from pydantic import ValidationError

from auditor.dynatrace.settings import EnvironmentSettings

HTTPS = "https://abc12345.live.dynatrace.com"
LIKE = "must be a URL like https://abc12345.live.dynatrace.com"
BASE = "must be the environment's base URL, without"


def settings(url: str = HTTPS, **more: Any) -> EnvironmentSettings:
    return EnvironmentSettings.model_validate({"url": url, "token": {"env": "DT_TOKEN"}, **more})


def refusal(url: str = HTTPS, **more: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        settings(url, **more)
    (error,) = refused.value.errors()
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (HTTPS, HTTPS),
        (HTTPS + "//", HTTPS),
        ("HTTPS://abc12345.live.dynatrace.com", "HTTPS://abc12345.live.dynatrace.com"),
        ("https://managed.example.com/e/1-2-3/", "https://managed.example.com/e/1-2-3"),
        ("https://activegate:9999/e/1", "https://activegate:9999/e/1"),
        ("https://[2001:db8::1]:9999/e/1", "https://[2001:db8::1]:9999/e/1"),
        ("https://gateway.example.com/api/dynatrace/e/1", "https://gateway.example.com/api/dynatrace/e/1"),
    ],
)
def test_base_urls_are_taken(url: str, kept: str) -> None:
    assert settings(url).url == kept


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", LIKE),
        ("abc12345", LIKE),
        ("abc12345.live.dynatrace.com", LIKE),
        ("ftp://abc12345.live.dynatrace.com", LIKE),
        ("https://abc12345..live.dynatrace.com", LIKE),
        ("https://.live.dynatrace.com", LIKE),
        (f"https://{'a' * 64}.live.dynatrace.com", LIKE),
        ("https://", LIKE),
        ("https://[::1", LIKE),
        ("https://host:99999", LIKE),
        ("https://xn--/", LIKE),
        ("https://{id}.live.dynatrace.com", LIKE),
        (" https://abc12345.live.dynatrace.com", LIKE),
        ("https://abc12345.live.dynatrace.com\n", LIKE),
        ("https://user@host", f"{BASE} user, query or fragment"),
        ("https://:G3DFPBEJ@host", f"{BASE} user, query or fragment"),
        ("https://host?Api-Token=G3DFPBEJ", f"{BASE} user, query or fragment"),
        ("https://host/?", f"{BASE} user, query or fragment"),
        ("https://host/#", f"{BASE} user, query or fragment"),
        ("https://host/#settings", f"{BASE} user, query or fragment"),
        ("https://host/api", f"{BASE} /api and what follows it"),
        ("https://host/e/1/api/v1/", f"{BASE} /api and what follows it"),
        ("https://host/api/v2//", f"{BASE} /api and what follows it"),
        ("https://host/e/1/api/v2/apiTokens/lookup", f"{BASE} /api and what follows it"),
    ],
)
def test_what_is_no_base_url_is_refused(url: str, told: str) -> None:
    assert refusal(url) == told


@pytest.mark.parametrize("url", ["https://user:G3DFP/BEJ@host", "https://user:G3DFP#BEJ@host"])
def test_password_that_breaks_a_url_is_not_quoted(url: str) -> None:
    assert refusal(url) == LIKE


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_http_is_for_loopback_and_has_to_be_asked_for(host: str) -> None:
    url = f"http://{host}:8080"
    assert settings(url, allow_http=True).url == url
    assert refusal(url) == f"url must be https (got {url}); set allow_http = true only for loopback"


@pytest.mark.parametrize("url", ["http://abc12345.live.dynatrace.com", "http://10.0.0.1", "http://localhost.example"])
def test_plain_http_to_elsewhere_is_refused(url: str) -> None:
    assert refusal(url, allow_http=True) == f"url must be https (got {url}); set allow_http = true only for loopback"


def test_proxy_would_read_what_goes_over_plain_http() -> None:
    told = refusal("http://localhost:1", allow_http=True, proxy="http://proxy.example.com:3128")
    assert told == "url must be https where a proxy is set: over http the proxy would read every token"


@pytest.mark.parametrize("proxy", ["http://proxy.example.com:3128", "https://proxy.example.com"])
def test_proxies_are_taken(proxy: str) -> None:
    assert settings(proxy=proxy).proxy == proxy


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        (
            "http://user:G3DFPBEJ@proxy.example.com",
            "proxy must not hold a password; let the proxy know this machine by its address",
        ),
        ("proxy.example.com:3128", "proxy must be like http://proxy.example.com:3128"),
        ("socks5://proxy.example.com", "proxy must be like http://proxy.example.com:3128"),
    ],
)
def test_proxy_with_a_password_or_of_another_kind_is_refused(proxy: str, told: str) -> None:
    assert refusal(proxy=proxy) == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("requests_per_second", 0),
        ("attempts", 0),
        ("connect_timeout_seconds", 0),
        ("total_timeout_seconds", 601),
        ("api", "v3"),
    ],
)
def test_numbers_and_choices_have_bounds(name: str, value: Any) -> None:
    assert refusal(**{name: value})
