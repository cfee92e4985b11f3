"""No secret of a known shape survives, whatever stands around it and however it was quoted."""

import json
import random
import string
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.redaction import redact, redact_values

PUBLIC_ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
SECRET_PART = "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
TOKEN = f"{PUBLIC_ID}.{SECRET_PART}"
OLD = "aBcD-1234_efGH5678xyz"
"""A value like a token of the old format, which has no shape of its own."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (TOKEN, f"{PUBLIC_ID}.…"),
        (f"<{TOKEN}>, {TOKEN}", f"<{PUBLIC_ID}.…>, {PUBLIC_ID}.…"),
        (TOKEN[:-40], f"{PUBLIC_ID}.…"),
        (TOKEN.lower(), f"{PUBLIC_ID.lower()}.…"),
        (PUBLIC_ID, PUBLIC_ID),
        (f'"token": "{TOKEN}"', f'"token": "{PUBLIC_ID}.…"'),
        (f"Api-Token {TOKEN}", "Api-Token …"),
        (f"Authorization: Api-Token {OLD}", "Authorization: Api-Token …"),
        (f"authorization: bearer {OLD}", "authorization: bearer …"),
        (f"('Authorization', 'Basic {OLD}')", "('Authorization', 'Basic …')"),
        (f"Authorization: Splunk {OLD}", "Authorization: …"),
        (f"?api-token={OLD}&from=now-2h", "?api-token=…&from=now-2h"),
        (f'{{"token": "{OLD}"}}', '{"token": "…"}'),
        (f"{{'clientSecret': '{OLD}', 'n': 1}}", "{'clientSecret': '…', 'n': 1}"),
        (f"password='{OLD} with spaces' host=db", "password='…' host=db"),
        (rf'"password": "{OLD}\"more"', '"password": "…"'),
        (f"access_token={OLD}", "access_token=…"),
        (f"postgresql://auditor:{OLD}@db/audit", "postgresql://auditor:…@db/audit"),
        (f"postgresql://auditor:{OLD}@h/o:st@db/audit", "postgresql://auditor:…@db/audit"),
        (f"proxy http://u:{OLD}@a, https://v:{OLD}@b", "proxy http://u:…@a, https://v:…@b"),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_…"),
        (f"to https://hooks.slack.com/services/T0/B0/{OLD} failed", "to https://hooks.slack.com/… failed"),
        (f"https://x.powerplatform.com/w?sp=%2F&sig={OLD}&sv=1.0", "https://x.powerplatform.com/w?sp=%2F&sig=…&sv=1.0"),
        (f'body \\"token\\": \\"{OLD}\\"', 'body \\"token\\": \\"…\\"'),
        (f"\x1b[36mtoken\x1b[0m=\x1b[35m{OLD}\x1b[0m done", "\x1b[36mtoken\x1b[0m=\x1b[35m…\x1b[0m done"),
        (f"İ token={OLD} İ", "İ token=… İ"),
    ],
)
def test_secret_is_cut_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "environments.prod.token: environment variable DT_TOKEN is empty or not set; put the secret there",
        f'{{"token":"{PUBLIC_ID}","rule":"DT-EXP-01"}}',
        f"token={PUBLIC_ID} token=fp:0123456789abcdef token=c2b2b0ab-4dc8-4f0e-8d3f-0a6a4e0f9a11",
        "personal_access_token=True tokens=12 token_name='deploy'",
        "token = { env = … }",
        "see https://docs.example.com:8443/a/b?c=d#e or mail ops@example.com",
        f"Secret('{PUBLIC_ID}.…')",
        "100% of 20 %a",
        "",
    ],
)
def test_what_operators_need_is_left_alone(text: str) -> None:
    assert redact(text) == text


around = st.text(max_size=40)
at_any_speed = settings(deadline=None)


@given(before=around, after=around)
@example(before="dt0c01." + "A" * 18, after="")
@example(before="dt0c01.ABCDEFGHIJKLMNOPQRSTUVWX.", after="")
@example(before="token=", after="token=")
@example(before='"token":"', after="")
@example(before="://", after="@")
@example(before="Api-Token\n", after="\\")
@example(before="İ\\u00", after="%2")
@at_any_speed
def test_no_surroundings_save_a_token_s_secret_part(before: str, after: str) -> None:
    assert SECRET_PART not in redact(f"{before}{TOKEN}{after}")


@given(
    before=around,
    after=around,
    shape=st.sampled_from(
        [
            "Api-Token {}",
            "Authorization: Bearer {}",
            '"token": "{}"',
            "token={}",
            "password={}",
            "whsec_{}",
            "db://user:{}@host",
            "Authorization: {}",
        ]
    ),
)
@example(before="token=dt0c01.", after="", shape="token={}")
@example(before="", after="@", shape="db://user:{}@host")
@at_any_speed
def test_no_surroundings_save_a_value_in_a_sensitive_place(before: str, after: str, shape: str) -> None:
    assert OLD.lower() not in redact(f"{before} {shape.format(OLD)} {after}").lower()


def _encoded(text: str, how: random.Random) -> str:
    """Encode some characters of a text, each in one of the ways that quoting has."""
    ways = ("{0}", "%{1:02X}", "%{1:02x}", "\\u{1:04x}", "\\x{1:02x}", "%25{1:02x}", "\\\\u{1:04x}")
    return "".join(how.choice(ways).format(char, ord(char)) for char in text)


@given(how=st.randoms(use_true_random=False), before=st.text(alphabet=string.ascii_letters + ' "{:', max_size=20))
@at_any_speed
def test_encoding_part_of_it_does_not_save_the_secret(how: random.Random, before: str) -> None:
    encoded = _encoded(TOKEN, how)
    shown = redact(f"{before} {encoded} {before}")
    assert not any(encoded[start : start + 24] in shown for start in range(len(encoded) - 64, len(encoded) - 24))


@given(layers=st.integers(min_value=0, max_value=4), name=st.sampled_from(["token", "client_secret"]))
@at_any_speed
def test_json_in_json_does_not_save_the_secret(layers: int, name: str) -> None:
    text = json.dumps({name: OLD})
    for _layer in range(layers):
        text = json.dumps(text)
    unpacked: object = redact(text)
    assert OLD not in str(unpacked)
    for _layer in range(layers + 1):
        assert isinstance(unpacked, str)
        unpacked = json.loads(unpacked)
    assert unpacked == {name: "…"}


def test_percent_encoded_twice_is_still_met() -> None:
    assert redact(quote(quote(f'{{"token":"{OLD}"}}'))).count(OLD) == 0


@given(text=st.text(alphabet="ab.:/@%\\\"'=… dt0c1tokenApi-Bearer\n", max_size=60))
@at_any_speed
def test_what_was_redacted_once_stays_as_it_is(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "unit", ["token=", "dt0c01.", "://a:", "Api-Token ", "authorization: ", "%25", '\\"token', "whsec_"]
)
def test_hostile_text_is_read_once(unit: str) -> None:
    """A pattern that looks again from every place would need many minutes for this."""
    redact(unit * (500_000 // len(unit)))


def test_values_under_a_sensitive_key_are_hidden_whole() -> None:
    data = {"apiToken": OLD, "items": [{"password": "a b", "token": PUBLIC_ID}], "secret": None, "token": TOKEN}
    assert redact_values(data) == {
        "apiToken": "…",
        "items": [{"password": "…", "token": PUBLIC_ID}],
        "secret": None,
        "token": f"{PUBLIC_ID}.…",
    }


def test_keys_may_hold_labels_where_that_is_known() -> None:
    assert redact_values({"token": "v1-id", TOKEN: [TOKEN]}, by_key=False) == {
        "token": "v1-id",
        f"{PUBLIC_ID}.…": [f"{PUBLIC_ID}.…"],
    }
