import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from auditor.dynatrace.answer import Api, MalformedAnswer, decode, error_code
from auditor.model.lookup import TokenMetadata

ID = "dt0c01.ST2EY72KQINMH574WMNVI7YN"
AT = datetime(2020, 11, 12, 8, 15, 30, 144_000, UTC)
PROVIDERS_EXAMPLE = """{
"lastUsedDate": "2020-11-12T08:15:30.144Z",
"lastUsedIpAddress": "34.197.2.44",
"expirationDate": "2020-11-12T08:15:30.144Z",
"personalAccessToken": true,
"name": "myToken",
"id": "dt0c01.ST2EY72KQINMH574WMNVI7YN",
"owner": "john.smith",
"creationDate": "2020-11-05T08:15:30.144Z",
"enabled": true,
"scopes": [
"string"
]
}"""

APIS: tuple[Api, ...] = ("v1", "v2")


def v2(**fields: object) -> TokenMetadata:
    return decode("v2", json.dumps({"id": ID, "scopes": [], **fields}).encode())


def v1(**fields: object) -> TokenMetadata:
    return decode("v1", json.dumps({"id": ID, "scopes": [], **fields}).encode())


def refusal(api: Api, body: bytes) -> str:
    with pytest.raises(MalformedAnswer) as refused:
        decode(api, body)
    return str(refused.value)


def test_providers_example_is_understood() -> None:
    assert decode("v2", PROVIDERS_EXAMPLE.encode()) == TokenMetadata(
        id=ID,
        name="myToken",
        owner="john.smith",
        enabled=True,
        personal_access_token=True,
        creation_date=AT - timedelta(days=7),
        expiration_date=AT,
        last_used_date=AT,
        last_used_ip_address="34.197.2.44",
        scopes=("string",),
    )


def test_fields_beyond_the_providers_page_are_understood() -> None:
    metadata = v2(modifiedDate="2020-11-12T08:15:30.144Z", additionalMetadata={"dashboardId": "82402bab", "none": None})
    assert metadata.modified_date == AT
    assert metadata.additional_metadata == {"dashboardId": "82402bab", "none": ""}


def test_v1_says_the_same_in_its_own_words() -> None:
    milliseconds = 1_605_168_930_144
    assert v1(
        name="old",
        userId="john.smith",
        revoked=True,
        created=milliseconds - 7 * 86_400_000,
        expires=milliseconds,
        lastUse=milliseconds,
        personalAccessToken=False,
        scopes=["InstallerDownload", "DataExport"],
    ) == TokenMetadata(
        id=ID,
        name="old",
        owner="john.smith",
        enabled=False,
        personal_access_token=False,
        creation_date=AT - timedelta(days=7),
        expiration_date=AT,
        last_used_date=AT,
        scopes=("DataExport", "InstallerDownload"),
    )


@pytest.mark.parametrize("api", APIS)
def test_every_field_but_the_id_and_the_scopes_may_be_absent(api: Api) -> None:
    assert decode(api, b'{"id":"x","scopes":[]}') == TokenMetadata(id="x")


def test_null_means_absent() -> None:
    names = ("name", "owner", "enabled", "personalAccessToken", "creationDate", "modifiedDate", "expirationDate")
    more = ("lastUsedDate", "lastUsedIpAddress", "additionalMetadata")
    assert v2(**dict.fromkeys(names + more)) == TokenMetadata(id=ID)
    v1_names = ("name", "userId", "revoked", "personalAccessToken", "created", "expires", "lastUse")
    assert v1(**dict.fromkeys(v1_names)) == TokenMetadata(id=ID)


@pytest.mark.parametrize("blank", ["", " ", "\t\u2003"])
def test_blank_name_and_owner_are_none(blank: str) -> None:
    assert v2(name=blank, owner=blank, lastUsedIpAddress=blank) == TokenMetadata(id=ID)
    assert v1(name=blank, userId=blank) == TokenMetadata(id=ID)


@pytest.mark.parametrize("api", APIS)
def test_answer_that_lists_no_scopes_is_no_answer_of_a_token_without_any(api: Api) -> None:
    told = "answer does not fit the API: Object missing required field `scopes`"
    assert refusal(api, b'{"id":"x"}') == told
    told = "answer does not fit the API: Expected `array`, got `null` - at `$.scopes`"
    assert refusal(api, b'{"id":"x","scopes":null}') == told


@pytest.mark.parametrize("api", APIS)
def test_unknown_fields_are_passed_over_and_unknown_scopes_kept(api: Api) -> None:
    body = {"id": ID, "newThing": {"deep": [1, None]}, "scopes": ["brand.new", "metrics.read", "brand.new"]}
    assert decode(api, json.dumps(body).encode()).scopes == ("brand.new", "metrics.read")


def test_v1_token_that_is_not_revoked_is_enabled() -> None:
    assert v1(revoked=False).enabled is True


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2020-11-12T08:15:30.144Z", AT),
        ("2020-11-12T08:15:30.144", AT),
        ("2020-11-12T08:15:30.144-00:00", AT),
        ("2020-11-12T09:45:30.144+01:30", AT),
        ("2020-11-12T09:15:30.144+0100", AT),
        ("2020-11-11T20:15:30.144-12:00", AT),
        ("2020-11-12T08:15:30Z", AT.replace(microsecond=0)),
        ("9999-12-31T23:59:59.999Z", datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)),
        ("0001-01-02T00:00:00Z", datetime(1, 1, 2, tzinfo=UTC)),
    ],
)
def test_dates_become_utc(written: str, meant: datetime) -> None:
    date = v2(expirationDate=written).expiration_date
    assert date is not None
    assert (date, date.utcoffset()) == (meant, timedelta())


@pytest.mark.parametrize(
    ("milliseconds", "meant"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
        (-62_135_510_400_000, datetime(1, 1, 2, tzinfo=UTC)),
        (253_402_300_799_999, datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)),
    ],
)
def test_v1_times_are_milliseconds_since_the_epoch(milliseconds: int, meant: datetime) -> None:
    assert v1(expires=milliseconds).expiration_date == meant


def test_first_and_last_instant_are_moved_off_what_the_database_takes_for_infinities() -> None:
    first = datetime(1, 1, 1, 0, 0, 0, 1, UTC)
    assert v2(creationDate="0001-01-01T00:00:00Z").creation_date == first
    assert v1(created=-62_135_596_800_000).creation_date == first
    last = datetime(9999, 12, 31, 23, 59, 59, 999_998, UTC)
    assert v2(expirationDate="9999-12-31T23:59:59.999999Z").expiration_date == last


@pytest.mark.parametrize(
    ("api", "field", "value"),
    [
        ("v2", "expirationDate", '"9999-12-31T23:59:59-05:00"'),
        ("v2", "expirationDate", '"0001-01-01T00:00:00+05:00"'),
        ("v1", "expires", "253402300800000"),
        ("v1", "expires", "9223372036854775807"),
        ("v1", "expires", "-99999999999999999"),
        ("v1", "expires", "9" * 40),
    ],
)
def test_date_outside_of_the_calendar_is_told_as_such(api: Api, field: str, value: str) -> None:
    body = f'{{"id":"x","scopes":[],"{field}":{value}}}'.encode()
    assert refusal(api, body) == "answer holds a date outside of the years 1 to 9999"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (r"a\u0000b", "a\ufffdb"),
        (r"\ud800", "\ufffd"),
        (r"\uDFFF!", "\ufffd!"),
        (r"\ud83d\ude00 \ude00 \ud83d", "\U0001f600 \ufffd \ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud800 \ud800", "\\ud800 \ufffd"),
        (r"\"\\\ud800", '"\\\ufffd'),
        (r"\n\\\\ud800\ud800", "\n\\\\ud800\ufffd"),
    ],
)
def test_what_no_database_can_hold_is_replaced(api: Api, written: str, kept: str) -> None:
    owner = {"v1": "userId", "v2": "owner"}[api]
    body = f'{{"id":"{written}","name":"{written}","{owner}":"{written}","scopes":["{written}"]}}'
    assert decode(api, body.encode()) == TokenMetadata(id=kept, name=kept, owner=kept, scopes=(kept,))


def test_what_no_database_can_hold_is_replaced_in_additional_metadata_and_address() -> None:
    metadata = decode(
        "v2", rb'{"id":"x","scopes":[],"additionalMetadata":{"a\ud800":"\u0000"},"lastUsedIpAddress":"\u0000"}'
    )
    assert metadata.additional_metadata == {"a\ufffd": "\ufffd"}
    assert metadata.last_used_ip_address == "\ufffd"


@pytest.mark.parametrize("api", APIS)
def test_secret_part_of_a_token_in_any_text_is_cut_off(api: Api) -> None:
    hidden = "G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH52PX6BNDVFFM572RZM"
    whole = f"{ID}.{hidden}"
    answer = {"id": whole, "name": f"see {whole}!", "owner": whole, "userId": whole, "scopes": [whole]}
    token = decode(api, json.dumps(answer | {"additionalMetadata": {whole: whole}}).encode())
    assert (token.id, token.name, token.owner, token.scopes) == (f"{ID}.…", f"see {ID}.…!", f"{ID}.…", (f"{ID}.…",))
    assert hidden not in str(token)


def test_scopes_that_become_equal_are_one() -> None:
    assert decode("v2", rb'{"id":"x","scopes":["\ud800","\udfff"]}').scopes == ("\ufffd",)


@pytest.mark.parametrize("api", APIS)
def test_scopes_can_be_told_apart_when_they_are_joined(api: Api) -> None:
    long = "metrics." * 20
    answer = {"id": ID, "scopes": ["", "metrics.read\x1fsettings.write", f"{long}\x1fread", "logs.read"]}
    assert decode(api, json.dumps(answer).encode()).scopes == (
        "logs.read",
        f"{long}\ufffdread",
        "metrics.read\ufffdsettings.write",
    )


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty answer"),
        (b" \r\n", "empty answer"),
        (b"<html>G3DFPBEJ</html>", "an HTML page instead of the API's answer (a proxy or a login page?)"),
        (b"  <?xml version='1.0'?>", "an HTML page instead of the API's answer (a proxy or a login page?)"),
        (b'{"id":"G3DFPBEJ"', "answer is not JSON, or was cut short"),
        (b'{"id":"G3DFPBEJ","name":"G3DFP', "answer is not JSON, or was cut short"),
        (b'{"id":"G3DFPBEJ","scopes":[]}G3DFPBEJ', "answer is not JSON, or was cut short"),
        (b'{"id":"x","name":"\xff\xfeG3DFPBEJ"}', "answer is not JSON, or was cut short"),
        (b'{"id":"x","name":"\xed\xa0\x80"}', "answer is not JSON, or was cut short"),
        (b'\xef\xbb\xbf{"id":"x"}', "answer is not JSON, or was cut short"),
        (b"G3DFPBEJ", "answer is not JSON, or was cut short"),
        (b'["G3DFPBEJ"]', "answer does not fit the API: Expected `object`, got `array`"),
        (b"null", "answer does not fit the API: Expected `object`, got `null`"),
        (b'{"name":"G3DFPBEJ"}', "answer does not fit the API: Object missing required field `id`"),
        (b'{"id":null}', "answer does not fit the API: Expected `str`, got `null` - at `$.id`"),
        (b'{"id":"","scopes":[]}', "answer does not fit the API: empty id"),
        (b'{"id":["G3DFPBEJ"]}', "answer does not fit the API: Expected `str`, got `array` - at `$.id`"),
        (
            b'{"id":"x","scopes":["G3DFP",1]}',
            "answer does not fit the API: Expected `str`, got `int` - at `$.scopes[1]`",
        ),
        (b'{"id":"x","name":1}', "answer does not fit the API: Expected `str | null`, got `int` - at `$.name`"),
    ],
)
def test_what_is_not_the_apis_answer_is_told_without_any_of_it(api: Api, body: bytes, told: str) -> None:
    assert refusal(api, body) == told


@pytest.mark.parametrize(
    ("api", "fields", "told"),
    [
        ("v2", '"enabled":"G3DFPBEJ"', "Expected `bool | null`, got `str` - at `$.enabled`"),
        ("v2", '"creationDate":"G3DFPBEJ"', "Invalid RFC3339 encoded datetime - at `$.creationDate`"),
        ("v2", '"creationDate":1605168930144', "Expected `datetime | null`, got `int` - at `$.creationDate`"),
        (
            "v2",
            '"additionalMetadata":{"G3DFPBEJ":7}',
            "Expected `str | null`, got `int` - at `$.additionalMetadata[...]`",
        ),
        ("v1", '"created":"2020-11-12T08:15:30Z"', "Expected `int | null`, got `str` - at `$.created`"),
        ("v1", '"created":true', "Expected `int | null`, got `bool` - at `$.created`"),
        ("v1", '"revoked":0', "Expected `bool | null`, got `int` - at `$.revoked`"),
    ],
)
def test_wrong_type_is_told_by_its_field(api: Api, fields: str, told: str) -> None:
    assert refusal(api, f'{{"id":"x","scopes":[],{fields}}}'.encode()) == f"answer does not fit the API: {told}"


@pytest.mark.parametrize("api", APIS)
def test_deep_nesting_is_malformed(api: Api) -> None:
    assert refusal(api, b'{"id":"x","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}") == "answer is nested too deeply"
    assert error_code(b'{"error":' + b"[" * 100_000) is None


def test_error_envelope_of_another_status_is_not_a_token() -> None:
    assert refusal("v2", b'{"error":{"code":404,"message":"x"}}').endswith("Object missing required field `id`")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"code":404,"message":"Token not found"}}', 404),
        (b'{"error":{"code":404}}', 404),
        (b'{"error":{"code":404,"message":null}}', 404),
        (rb'{"error":{"code":404,"message":"\ud800","constraintViolations":[{}]},"more":1}', 404),
        (b'{"error":{"code":"404"}}', None),
        (b'{"error":"Not Found"}', None),
        (b'{"message":"Not Found"}', None),
        (b"<html>404</html>", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_only_the_apis_own_envelope_has_an_error_code(body: bytes, code: int | None) -> None:
    assert error_code(body) == code


@given(st.sampled_from(APIS), st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
@example("v2", b"{")
@example("v2", b'{"id":"\\')
def test_any_bytes_are_decoded_or_malformed(api: Api, body: bytes) -> None:
    error_code(body)
    with suppress(MalformedAnswer):
        decode(api, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("id", "name", "owner", "userId", "enabled", "revoked", "personalAccessToken", "scopes", "additionalMetadata")
DATED = ("creationDate", "created", "expirationDate", "expires", "lastUsedDate", "lastUse", "modifiedDate")
FIELDS = st.sampled_from((*NAMES, *DATED, "error"))


@given(st.sampled_from(APIS), st.dictionaries(FIELDS, JSON | st.datetimes().map(str)))
def test_any_object_is_decoded_or_malformed(api: Api, fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    error_code(body)
    try:
        metadata = decode(api, body)
    except MalformedAnswer:
        return
    assert metadata.id
    json.dumps(metadata.id).encode()


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SAID = TEXT.filter(str.strip)
SCOPES = st.sets(st.text(st.characters(exclude_characters="\0\x1f", exclude_categories=["Cs"]), min_size=1))
DATES = st.none() | st.datetimes(timezones=st.just(UTC)).filter(lambda date: 1 < date.year < 9999)


@given(
    st.builds(
        TokenMetadata,
        id=TEXT.filter(bool),
        name=st.none() | SAID,
        owner=st.none() | SAID,
        enabled=st.none() | st.booleans(),
        personal_access_token=st.none() | st.booleans(),
        creation_date=DATES,
        modified_date=DATES,
        expiration_date=DATES,
        last_used_date=DATES,
        last_used_ip_address=st.none() | SAID,
        scopes=SCOPES.map(lambda scopes: tuple(sorted(scopes))),
        additional_metadata=st.dictionaries(TEXT, TEXT),
    )
)
def test_token_comes_back_as_it_was_written(token: TokenMetadata) -> None:
    def date(value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    assert token == v2(
        id=token.id,
        name=token.name,
        owner=token.owner,
        enabled=token.enabled,
        personalAccessToken=token.personal_access_token,
        creationDate=date(token.creation_date),
        modifiedDate=date(token.modified_date),
        expirationDate=date(token.expiration_date),
        lastUsedDate=date(token.last_used_date),
        lastUsedIpAddress=token.last_used_ip_address,
        scopes=token.scopes,
        additionalMetadata=token.additional_metadata,
    )
