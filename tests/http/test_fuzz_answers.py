"""Whatever a server answers is read, or is a typed error that can be shown and kept."""

from __future__ import annotations

import base64
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from json_values import VALUES

import tinkex
from tinkex.download.digests import digest_of
from tinkex.errors import describe_body
from tinkex.http.auth import RenewedCredential, claims_of
from tinkex.http.json_text import parse_json
from tinkex.http.refusal import decode_body, status_error
from tinkex.http.request import Request
from tinkex.http.response import Response
from tinkex.http.retry import retry_after
from tinkex.http.transport import Transport
from tinkex.testing import Reply, TinkerServer

LONGEST_WAIT = 10_000_000_000.0
PAIR = json.dumps("😀").encode()

NOT_JSON = {
    "nothing": b"",
    "html": b"<html>busy</html>",
    "depth": b"[" * 100_000,
    "depth that ends": b"[" * 100_000 + b"]" * 100_000,
    "depth of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "digits": b"1" * 5000,
    "digits inside": b'{"a": [-' + b"9" * 5000 + b"]}",
    "latin-1": '"ü"'.encode("latin-1"),
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "a surrogate as utf-8": b'"\xed\xa0\x80"',
    "half a pair": b'["\\ud83d"]',
    "halves the wrong way round": b'["\\ude00\\ud83d"]',
    "half a pair as a key": b'{"\\uDC00": 1}',
    "a line break in a string": b'"a\nb"',
    "more behind it": b"{} {}",
    "half of it": b'{"a": [1, 2',
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_one_error(content: bytes) -> None:
    with pytest.raises(tinkex.APIResponseValidationError, match="not JSON") as caught:
        Response(200, {}, content).json()
    assert caught.value.__context__ is None
    error = status_error(400, content, {}, method="GET", url="/x")
    assert len(str(pickle.loads(pickle.dumps(error)))) < 1000


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"[1e400, -Infinity]", [math.inf, -math.inf]),
        (b"1" * 400, int("1" * 400)),
        (PAIR, "😀"),
        (b'"\\\\ud83d"', "\\ud83d"),
        (b" null ", None),
    ],
)
def test_what_is_json_has_one_value(content: bytes, value: object) -> None:
    assert parse_json(content) == value


def test_an_error_keeps_no_body_that_could_not_be_kept() -> None:
    deep: Any = {"detail": "because"}
    for _ in range(500):
        deep = [deep]
    error = tinkex.APIResponseValidationError("no", body=deep)
    assert error.body is None
    text = json.dumps(deep).encode()
    assert decode_body(text) == text.decode()
    assert len(describe_body(decode_body(text))) <= 501


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()), st.integers(400, 599))
def test_any_refusal_can_be_shown_and_kept(content: bytes, status: int) -> None:
    error = status_error(status, content, {"X-Request-Id": "req-7"}, method="GET", url="/x")
    assert error.status_code == status
    str(error).encode()
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), repr(copy.body)) == (str(error), repr(error.body))


HEADERS = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"), max_size=30)
WAITS = st.sampled_from(
    [
        "0", "3", "0.5", ".5", "5.", "-5", "+5", "nan", "inf", "-inf", "1e400", "1e3", "1_000", "٣", "²", "0x10",
        "9" * 400, "9" * 70_000, "", " ", "soon", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359",
        "Fri, 01 Jan 2100 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -0000", "Fri, 31 Dec 99999 23:59:59 GMT", "Mon, 32 Foo 2026 25:61:61 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999", "1 1 1 1:1:1", ",,,", "0 0 0 0 0",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(WAITS | HEADERS, st.none() | WAITS | HEADERS)
def test_any_retry_after_is_a_finite_wait_or_none(value: str, millis: str | None) -> None:
    headers = {"Retry-After": value} if millis is None else {"Retry-After": value, "retry-after-ms": millis}
    for found in (retry_after(headers), retry_after({"retry-after": value})):
        assert found is None or (type(found) is float and 0 <= found < LONGEST_WAIT)


@pytest.mark.parametrize(
    ("value", "wait"),
    [("0", 0.0), ("3", 3.0), ("0.5", 0.5), ("-5", None), ("nan", None), ("1e400", None), ("1_000", None), ("٣", None),
     ("9" * 400, None), ("86400", 86400.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)  # fmt: skip
def test_a_retry_after_is_read_as_written(value: str, wait: float | None) -> None:
    assert retry_after({"Retry-After": value}) == wait


def test_a_far_retry_after_is_a_large_number() -> None:
    for year in (2100, 9999):
        wait = retry_after({"Retry-After": f"Fri, 01 Jan {year} 00:00:00 GMT"})
        assert wait is not None
        assert 50 * 365 * 86400 < wait < LONGEST_WAIT


DIGESTS = ("Content-MD5", "x-amz-checksum-sha256", "Repr-Digest", "Content-Digest", "Digest", "x-goog-hash")


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(DIGESTS), HEADERS | st.sampled_from(["md5=ä", "sha-256=:²:", "=", ",=,"]))
)
def test_any_digest_header_is_read_or_passed_over(headers: dict[str, str]) -> None:
    digest = digest_of(headers)
    if digest is not None:
        digest.update(b"x")
        digest.matches()


def token(claims: Any) -> str:
    return f"eyJ.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES, VALUES | st.text(max_size=30))
@example("5", math.nan, "a.b.c")
@example(10**400, 10**400, "eyJ")
@example(-math.inf, [], "eyJ." + "[" * 10_000)
def test_any_claims_give_a_life_to_a_credential(exp: Any, iat: Any, other: Any) -> None:
    for value in (token({"exp": exp, "iat": iat}), token({"exp": exp}), token(other), str(other)):
        claims = claims_of(value)
        assert claims is None or isinstance(claims, dict)
        assert RenewedCredential(lambda value=value: value).get() == value  # type: ignore[misc]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(200, 599),
    st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(
            [
                "Content-Type",
                "Retry-After",
                "Location",
                "X-Request-Id",
                "WWW-Authenticate",
                "Content-Encoding",
            ]
        ),
        HEADERS.map(str.strip),
    ),
)
def test_any_answer_to_a_request_is_typed(
    server: TinkerServer, transport: Transport, status: int, content: bytes, headers: dict[str, str]
) -> None:
    server.on("/x", Reply(status, content, headers))
    try:
        transport.call(Request("POST", "/x", b"{}", tries=1), Response.json)
    except tinkex.TinkerError as error:
        pickle.loads(pickle.dumps(error))
