"""Whatever an environment answers: it decodes or is malformed, and what decodes can be judged and kept."""

from contextlib import suppress

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from auditor.dynatrace.answer import Api, MalformedAnswer, decode, decode_page, error_code
from auditor.dynatrace.pace import allowance_of
from auditor.model.history import NO_HISTORY
from auditor.model.lookup import Observation, Outcome, TokenMetadata
from auditor.outbound import LONGEST_WAIT_SECONDS, retry_after_seconds
from auditor.policy.base import Feeds
from auditor.policy.document import PolicyDocument
from auditor.policy.engine import Policy
from auditor.policy.registry import SHIPPED
from tests.fuzz.mutations import mutated, no_hang, tries
from tests.policy.policy_samples import NOW, PUBLIC_ID

ANSWERS = (
    b"""{"lastUsedDate":"2020-11-12T08:15:30.144Z","lastUsedIpAddress":"34.197.2.44","name":"myToken","enabled":true,
    "expirationDate":"2020-11-12T08:15:30.144Z","personalAccessToken":true,"id":"dt0c01.ST2EY72KQINMH574WMNVI7YN",
    "owner":"john.smith","creationDate":"2020-11-05T08:15:30.144Z","modifiedDate":"2020-11-05T08:15:30.144Z",
    "scopes":["metrics.read","apiTokens.write"],"additionalMetadata":{"dashboardId":"x"}}""",
    b"""{"id":"dt0c01.ST2EY72KQINMH574WMNVI7YN","name":"a","userId":"b","revoked":false,"created":1604564130144,
    "expires":1605168930144,"lastUse":1605168930144,"personalAccessToken":false,"scopes":["DataExport"]}""",
    b'{"error":{"code":404,"message":"no","constraintViolations":[{"path":"token","message":"m"}]}}',
    b'{"apiTokens":[{"id":"dt0c01.ST2EY72KQINMH574WMNVI7YN"}],"totalCount":1,"nextPageKey":"AQAAABQBAAAABQ=="}',
    b"<!doctype html><title>502</title>",
)
HEADERS = (b"120", b"1606225320000000", b"Tue, 24 Nov 2026 09:02:00 GMT", b"Tue, 24 Nov 2026 09:02:00 +0100")
POLICY = Policy(
    PolicyDocument(name="all"), list(SHIPPED), feeds=Feeds(owners=frozenset({"x"})), environment_kind="production"
)


@tries(300)
@given(st.sampled_from(("v1", "v2")), mutated(ANSWERS))
@example("v2", b'{"id":"\\ud800"}')
def test_answer_is_decoded_and_judged_or_malformed(api: Api, body: bytes) -> None:
    with no_hang():
        error_code(body)
        try:
            metadata = decode(api, body)
        except MalformedAnswer:
            return
        violations = POLICY.evaluate(observed(metadata), NO_HISTORY, NOW)
    kept = msgspec.json.encode([metadata, violations])
    assert b"\\u0000" not in kept.replace(b"\\\\", b"")


@tries(100)
@given(mutated(ANSWERS))
def test_page_of_the_list_is_decoded_or_malformed(body: bytes) -> None:
    with no_hang(), suppress(MalformedAnswer):
        for token in decode_page(body).tokens:
            POLICY.evaluate(observed(token), NO_HISTORY, NOW)


@tries(100)
@given(mutated(HEADERS), mutated(HEADERS))
@example(b"9" * 400, b"120")
@example(HEADERS[2], HEADERS[2] + b" +" + b"9" * 20)
def test_headers_ask_for_a_pause_of_a_day_at_most_or_for_none(one: bytes, other: bytes) -> None:
    asks, date = one.decode("latin-1"), other.decode("latin-1")
    headers = {"Retry-After": asks, "Date": date, "X-RateLimit-Remaining": asks, "X-RateLimit-Reset": asks}
    seconds, allowance = retry_after_seconds(headers, NOW), allowance_of(headers, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT_SECONDS
    assert allowance is None or 0 <= allowance.reset_seconds <= LONGEST_WAIT_SECONDS


def observed(metadata: TokenMetadata) -> Observation:
    return Observation(
        environment="prod", label=PUBLIC_ID, at=NOW, outcome=Outcome.FOUND, metadata=metadata, public_id=PUBLIC_ID
    )
