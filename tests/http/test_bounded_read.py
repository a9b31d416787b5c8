"""The content of an answer: read in bounded memory, decompressed, and refused where it is damaged or too large."""

from __future__ import annotations

import functools
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from clients import PARAMS, PROMPT, config
from raw_server import head, raw_server

import tinkex
from tinkex import Config
from tinkex.http.transport import Transport
from tinkex.testing import Reply, TinkerServer

MB = 1 << 20
WORDS = json.dumps({"long": "x" * 5000}).encode()


@pytest.fixture
def peak() -> Iterator[None]:
    """A test may use 24 MB of memory at most; what it is sent claims to be far larger."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 24 * MB
    finally:
        tracemalloc.stop()


def transport_to(url: str, **settings: Any) -> Transport:
    return Transport(Config(base_url=url, api_key="tml-test", **{"max_tries": 1, **settings}))


def gzip_bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(MB)
    return b"".join(packer.compress(zeros) for _ in range(size // MB)) + packer.flush()


BOMB = gzip_bomb(100 * MB)

TOO_LARGE = {
    "a declared size": [head(Content_Length=10**14), b"x"],
    "a declared size of compressed content": [head(Content_Length=10**14, Content_Encoding="gzip"), BOMB],
    "an endless answer": [head(), *[bytes(MB)] * 18],
    "one chunk": [head(Transfer_Encoding="chunked"), b"ffffffffffffffff\r\n", *[bytes(MB)] * 18],
    "many chunks": [head(Transfer_Encoding="chunked"), *[b"100000\r\n" + bytes(MB) + b"\r\n"] * 18],
    "a gzip bomb": [head(Content_Length=len(BOMB), Content_Encoding="gzip"), BOMB],
    "a gzip bomb without a size": [head(Content_Encoding="gzip"), BOMB],
    "a deflate bomb": [head(Content_Encoding="deflate"), zlib.compress(bytes(18 * MB), 9)],
}


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize("answer", TOO_LARGE.values(), ids=TOO_LARGE)
def test_an_answer_that_is_too_large_is_refused_by_the_name_of_the_setting(answer: list[bytes]) -> None:
    with raw_server(answer) as url:
        transport = transport_to(url)
        with pytest.raises(tinkex.APIResponseValidationError, match="max_message_bytes"):
            transport.request("GET", "/x")
        transport.close()


@pytest.mark.parametrize("status", [403, 503])
@pytest.mark.parametrize("answer", [[head(Content_Length=10**14)], [head(Content_Encoding="gzip"), BOMB]])
def test_a_refusal_that_is_too_large_is_still_a_refusal(answer: list[bytes], status: int) -> None:
    refusal = [answer[0].replace(b"200 OK", b"%d No" % status), *answer[1:]]
    with raw_server(refusal) as url:
        transport = transport_to(url)
        with pytest.raises(tinkex.APIStatusError) as caught:
            transport.request("GET", "/x")
        transport.close()
    assert (caught.value.status_code, caught.value.body) == (status, None)


BROKEN = {
    "negative chunk": [head(Transfer_Encoding="chunked"), b"-1\r\n", b"x" * 100],
    "another negative chunk": [head(Transfer_Encoding="chunked"), b"-5\r\n", b"x" * 100],
    "chunk without a number": [head(Transfer_Encoding="chunked"), b"many\r\n", b"x" * 100],
    "chunk that ends early": [head(Transfer_Encoding="chunked"), b"ff\r\nx"],
    "content that ends early": [head(Content_Length=10), b"{}"],
    "two lengths": [head(Content_Length="2, 3"), b"{}"],
    "damaged gzip": [head(Content_Encoding="gzip"), b"\x1f\x8b" + bytes(50)],
    "no gzip": [head(Content_Encoding="gzip"), b"{}"],
    "gzip that ends early": [head(Content_Encoding="gzip"), gzip.compress(WORDS)[:-1]],
    "gzip that goes on": [head(Content_Encoding="gzip"), gzip.compress(WORDS) + b"{}"],
    "damaged deflate": [head(Content_Encoding="deflate"), zlib.compress(WORDS)[:-3] + b"abc"],
    "unknown encoding": [head(Content_Encoding="br"), b"{}"],
    "gzip of gzip": [head(Content_Encoding="gzip, gzip"), gzip.compress(gzip.compress(WORDS))],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "nothing": [],
    "half a head": [b"HTTP/1.1 200 OK\r\nContent-Le"],
    "no status": [b"HTTP/1.1 2OO OK\r\n\r\n{}"],
    "too many headers": [head().replace(b"\r\n\r\n", b"\r\nX: y" * 200 + b"\r\n\r\n")],
    "an endless header": [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"],
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_a_connection_error(answer: list[bytes]) -> None:
    with raw_server(answer) as url:
        transport = transport_to(url)
        with pytest.raises(tinkex.APIConnectionError) as caught:
            transport.request("GET", "/x", timeout=5)
        transport.close()
    assert caught.value.sent


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize(
    "answer",
    [
        [head(Content_Length=900 * MB), bytes(MB)],
        [head(Transfer_Encoding="chunked"), b"-1\r\n", *[bytes(MB)] * 40],
    ],
)
def test_memory_is_not_taken_for_what_is_only_announced(answer: list[bytes]) -> None:
    with raw_server(answer) as url:
        transport = transport_to(url)
        with pytest.raises(tinkex.APIConnectionError):
            transport.request("GET", "/x", limit=1 << 30)
        transport.close()


@pytest.mark.parametrize("status", [400, 409])
def test_a_refusal_with_damaged_content_is_still_a_refusal(server: TinkerServer, status: int) -> None:
    transport = Transport(config(server, max_tries=1))
    server.on("/x", Reply(status, b"no gzip", {"Content-Encoding": "gzip"}))
    with pytest.raises(tinkex.APIStatusError) as caught:
        transport.request("POST", "/x", b"{}")
    transport.close()
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzip.compress(WORDS), "gzip"),
        (gzip.compress(WORDS), "X-GZip"),
        (zlib.compress(WORDS), "deflate"),
        (WORDS, "identity"),
        (b"", "gzip"),
    ],
    ids=["gzip", "x-gzip", "deflate", "identity", "empty gzip"],
)
def test_compressed_answers_are_read(
    server: TinkerServer, transport: Transport, content: bytes, encoding: str
) -> None:
    server.on("/x", Reply(200, content, {"Content-Encoding": encoding}))
    assert transport.request("GET", "/x").content == (WORDS if content else b"")


@pytest.mark.parametrize("size", [0, 1, MB - 1, MB, MB + 1, 3 * MB, 16 * MB])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_all_of_an_answer_is_read(
    server: TinkerServer, transport: Transport, size: int, encoding: str
) -> None:
    content = b"0123456789abcdef" * (size // 16) + b"x" * (size % 16)
    server.on(
        "/x",
        Reply(200, gzip.compress(content, 1), {"Content-Encoding": "gzip"})
        if encoding
        else Reply(200, content),
    )
    assert transport.request("GET", "/x").content == content
    assert transport.request("GET", "/healthz").json() == {"status": "ok"}
    assert server.open_connections == 1


def test_chunked_answers_are_read() -> None:
    chunks = [b"5\r\n[1, 2\r\n", b"3;x=y\r\n, 3\r\n", b"1\r\n]\r\n", b"0\r\n\r\n"]
    with raw_server([head(Transfer_Encoding="chunked"), *chunks]) as url:
        transport = transport_to(url)
        assert transport.request("GET", "/x").json() == [1, 2, 3]
        transport.close()


def test_results_have_a_limit_of_their_own(server: TinkerServer) -> None:
    server.on("/client/config", {})
    service = tinkex.ServiceClient(config=config(server, max_message_bytes=500, max_result_bytes=100_000))
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    sequence = {"tokens": list(range(1000)), "stop_reason": "length"}
    server.once("/retrieve_future", {"sequences": [sequence]})
    assert len(sampler.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens) == 1000
    server.on("/get_server_capabilities", Reply(200, {"supported_models": [{"model_name": "x" * 500}]}))
    with pytest.raises(tinkex.APIResponseValidationError, match="max_message_bytes"):
        service.get_server_capabilities()
    service.close()


def test_a_result_that_is_too_large_is_refused_by_the_name_of_the_setting(server: TinkerServer) -> None:
    settings = config(server, max_result_bytes=1000, outage_timeout=0.2)
    service = tinkex.ServiceClient(config=settings)
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    server.on("/retrieve_future", Reply(200, b" " * 1001))
    with pytest.raises(tinkex.TinkerError, match="max_result_bytes"):
        sampler.sample(PROMPT, 1, PARAMS).result(60)
    service.close()


@pytest.mark.usefixtures("peak")
@pytest.mark.parametrize("reads", [True, False])
def test_an_instrumented_answer_is_bounded_too(monkeypatch: pytest.MonkeyPatch, reads: bool) -> None:
    """Tracing tools wrap ``Session.send``, and some of them read the answer."""
    plain = requests.Session.send

    @functools.wraps(plain)
    def traced(*args: Any, **kwargs: Any) -> requests.Response:
        answer = plain(*args, **kwargs)
        if reads:
            assert answer.content.startswith(b"xxx")
        return answer

    monkeypatch.setattr(requests.Session, "send", traced)
    with raw_server([head(), *[b"x" * 1000] * 1001]) as url:
        transport = transport_to(url, max_message_bytes=MB)
        assert len(transport.request("GET", "/x").content) == 1_001_000
        transport.close()
        transport = transport_to(url, max_message_bytes=1_000_999)
        with pytest.raises(tinkex.APIResponseValidationError, match="max_message_bytes"):
            transport.request("GET", "/x")
        transport.close()


def test_an_instrumented_call_follows_no_redirect(
    server: TinkerServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = requests.Session.send
    monkeypatch.setattr(requests.Session, "send", functools.wraps(plain)(lambda *a, **k: plain(*a, **k)))
    server.on("/x", Reply(307, b"", {"Location": "/api/v1/healthz"}))
    assert transport.request("GET", "/x", expected=(307,)).status == 307
    assert server.requests.to("/healthz") == []


def test_content_that_is_not_wanted_is_not_read() -> None:
    with raw_server([head(Content_Length=10**14), *[bytes(MB)] * 3]) as url:
        transport = transport_to(url)
        assert transport.request("GET", "/x", limit=0).content == b""
        transport.close()


@pytest.mark.parametrize("name", ["max_result_bytes", "max_message_bytes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1", None])
def test_a_limit_is_a_whole_number(name: str, value: object) -> None:
    with pytest.raises(tinkex.ConfigError, match=name):
        Config(api_key="tml-test", **{name: value})  # type: ignore[arg-type]
