"""Credentials are checked where they enter, and no error has one in its text, its fields or the errors behind it."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import PARAMS, PROMPT, client_of, config
from raw_server import raw_server

import tinkex
from tinkex import Config, RestClient, metrics
from tinkex.config import credentials_path
from tinkex.http.request import Request as HTTPRequest
from tinkex.http.response import Response
from tinkex.http.transport import Transport
from tinkex.testing import Reply, Request, Reset, TinkerServer

SECRET = "s3cr3tpart"
KEY = f"tml-{SECRET}"
ODD = f"like-no-other-{SECRET}"
"""A credential that does not look like one; a command may print any."""


def texts(error: BaseException) -> Iterator[str]:
    """All that can be read in an error and in the errors that are chained to it."""
    yield "".join(traceback.format_exception(error))
    behind: list[Any] = [error]
    for one in behind:
        yield from (str(one), repr(one), repr(vars(one)), repr(one.args))
        # A decoding error has what it could not decode.
        yield from (
            repr(getattr(one, name, None)) for name in ("doc", "object", "output", "stdout", "cmd", "line")
        )
        behind += [
            other
            for other in (one.__cause__, one.__context__, *one.args)
            if isinstance(other, BaseException) and other not in behind
        ]


def refused(call: Callable[[], object], kind: type[tinkex.TinkerError]) -> tinkex.TinkerError:
    """The error of ``call``, which must be of this kind and must not hold the secret."""
    with pytest.raises(kind) as caught:
        call()
    for text in texts(caught.value):
        assert SECRET not in text
    return caught.value


def command(code: str) -> str:
    return f'"{sys.executable}" -c "{code}"'


COMMANDS = {
    "two lines": f"print('{ODD}'); print('{ODD}')",
    "words": f"print('key is {ODD}')",
    "a header": f"print('{ODD}' + chr(13) + chr(10) + 'X-Other: {SECRET}')",
    "another alphabet": f"import sys; sys.stdout.buffer.write('ключ-{SECRET}'.encode())",
    "latin-1": f"import sys; sys.stdout.buffer.write('schlüssel-{SECRET}'.encode('latin-1'))",
    "no text": f"import sys; sys.stdout.buffer.write(b'{SECRET}' + bytes([0, 255, 254]))",
    "a failure": f"import sys; print('{ODD}'); sys.exit(3)",
}


@pytest.mark.parametrize("code", COMMANDS.values(), ids=COMMANDS)
def test_a_command_prints_one_word(server: TinkerServer, code: str) -> None:
    settings = config(server, api_key=None, credential_cmd=command(code))
    error = refused(lambda: tinkex.ServiceClient(config=settings), tinkex.ConfigError)
    assert "credential command" in str(error)
    assert len(server.requests) == 0


def test_a_command_that_hangs_is_given_up(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinkex.http.auth.COMMAND_TIMEOUT", 0.5)
    code = f"import time; print('{ODD}', flush=True); time.sleep(20)"
    settings = config(server, api_key=None, credential_cmd=command(code))
    refused(lambda: tinkex.ServiceClient(config=settings), tinkex.ConfigError)


@pytest.mark.parametrize(
    "key",
    [
        f"{KEY}\n",
        f"{KEY}\r\nX: y",
        f"tml-ключ{SECRET}",
        f"{KEY}\0",
        f"tml-{SECRET} x",
        f"x{KEY}",
        "",
        b"tml-x",
        5,
    ],
)
def test_a_key_is_one_word(key: Any) -> None:
    refused(lambda: Config(base_url="http://127.0.0.1:1", api_key=key), tinkex.ConfigError)


@pytest.mark.parametrize(
    "value", [f"{SECRET}\n", f"{SECRET}\r\n X: y", f"{SECRET}\0", f"ключ {SECRET}", f"{SECRET}\x7f", 5, None]
)
def test_a_default_header_is_one_line_of_latin_1(value: Any) -> None:
    headers = {"CF-Access-Client-Secret": value}
    refused(lambda: Config(api_key=KEY, default_headers=headers), tinkex.ConfigError)


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", "a\n", 5])
def test_the_name_of_a_default_header_is_a_token(name: Any) -> None:
    with pytest.raises(tinkex.ConfigError):
        Config(api_key=KEY, default_headers={name: "x"})


def test_a_default_header_may_be_latin_1(server: TinkerServer) -> None:
    transport = Transport(config(server, default_headers={"X-Name": "Jürgen"}))
    transport.request("GET", "/healthz")
    transport.close()
    assert server.requests.to("/healthz")[0].headers["x-name"] == "Jürgen"


@pytest.mark.parametrize(
    "content",
    [
        f'{{"keys": {{"a": {{"key": "{KEY}"}}}}, "default": "a"',
        f'{{"keys": {{"a": {{"key": "{KEY}\\n"}}}}, "default": "a"}}',
        f'{{"keys": {{"a": {{"key": ["{KEY}"]}}}}, "default": "a"}}',
        f'{{"keys": {{"a": "{KEY}"}}, "default": "a"}}',
        f'{{"keys": ["{KEY}"], "default": 0}}',
        f'["{KEY}"]',
        f'"{KEY}' + "\udcff",
        f'{{"{KEY}":' + "[" * 100_000,
    ],
)
def test_a_stored_login_that_is_damaged(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    credentials_path().parent.mkdir(parents=True)
    credentials_path().write_bytes(content.encode("utf-8", "surrogateescape"))
    refused(Config.from_env, tinkex.ConfigError)


TOKENS = {
    "a line break": f"eyJ{SECRET}\n.x.y",
    "no text": [f"eyJ{SECRET}"],
    "another object": {"jwt": f"eyJ{SECRET}"},
    "a number": 5,
    "null": None,
    "empty": "",
    "another alphabet": f"eyJ{SECRET}ключ",
    "two words": f"eyJ{SECRET} {SECRET}",
}
ANSWERS = {name: json.dumps({"jwt": token}).encode() for name, token in TOKENS.items()}
ANSWERS |= {
    "no object": f'["{SECRET}"]'.encode(),
    "no field": f'{{"token": "{SECRET}"}}'.encode(),
    "a line break that is no JSON": f'{{"jwt": "eyJ{SECRET}\n{SECRET}"}}'.encode(),
    "the token alone": f"{ODD}".encode(),
    "nothing": b"",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_jwt_is_one_word(server: TinkerServer, transport: Transport, answer: bytes) -> None:
    server.on("/auth/token", Reply(200, answer))
    transport.use_jwt()
    refused(lambda: transport.request("GET", "/healthz"), tinkex.APIResponseValidationError)
    assert server.requests.to("/healthz") == []


def test_a_server_may_give_back_the_jwt_that_it_was_sent(server: TinkerServer) -> None:
    server.on("/auth/token", lambda request: {"jwt": request.secrets["x-api-key"]})
    transport = Transport(config(server, api_key=f"eyJ{SECRET}"))
    transport.use_jwt()
    transport.request("GET", "/healthz")
    transport.close()
    assert server.requests.to("/healthz")[0].secrets["x-api-key"] == f"eyJ{SECRET}"


@pytest.mark.parametrize(
    "claims",
    [
        None, [], 5, "x", {}, {"sub": "u"}, {"sub": 5, "org_id": "o"}, {"sub": "u", "org_id": ["o"]},
        {"sub": None, "org_id": "o"}, {"sub": "u", "org_id": "o", "email": {}}, {"sub": "\ud800", "org_id": "o"},
    ],
)  # fmt: skip
def test_odd_claims_say_nothing_of_a_caller(server: TinkerServer, claims: Any) -> None:
    token = f"eyJ.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()}.x"
    with (
        RestClient(config=config(server, api_key=token)) as client,
        pytest.raises(tinkex.APIResponseValidationError),
    ):
        client.whoami().result(60)


# A server that repeats what it was sent


def echo(request: Request) -> str:
    return request.secrets["x-api-key"]


@pytest.fixture(params=[KEY, ODD])
def settings(request: pytest.FixtureRequest, server: TinkerServer) -> Config:
    if request.param == KEY:
        return config(server, api_key=KEY, max_tries=1)
    return config(server, api_key=None, credential_cmd=command(f"print('{ODD}')"), max_tries=1)


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 404, 500])
def test_a_key_in_an_answer_is_hidden(server: TinkerServer, settings: Config, status: int) -> None:
    server.on(
        "/get_server_capabilities",
        lambda request: Reply(
            status,
            f"you sent {echo(request)}".encode(),
            {"X-Request-Id": echo(request), "Location": echo(request)},
        ),
    )
    with RestClient(config=settings) as client:
        refused(lambda: client.get_server_capabilities().result(60), tinkex.APIError)


def test_a_key_in_a_failed_result_is_hidden(server: TinkerServer, settings: Config) -> None:
    server.on("/retrieve_future", lambda request: {"error": f"you sent {echo(request)}", "category": "user"})
    with tinkex.ServiceClient(config=settings) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        error = refused(lambda: sampler.sample(PROMPT, 1, PARAMS).result(60), tinkex.RequestFailedError)
    assert "[hidden]" in str(error)


def test_a_key_in_a_value_of_the_wrong_type_is_hidden(server: TinkerServer, settings: Config) -> None:
    server.on("/client/config", lambda request: {"fwdbwd_max_chunk_len": echo(request)})
    error = refused(lambda: tinkex.ServiceClient(config=settings), tinkex.APIResponseValidationError)
    assert "fwdbwd_max_chunk_len" in str(error)


@pytest.mark.parametrize(
    "line",
    [
        "HTTP/1.1 200 {}",
        "HTTP/1.1 500 {}",
        "HTTP/1.1 {} OK",
        "HTTP/9.9 200 {}",
        "{}",
        "HTTP/1.1 200 OK\r\n{}",
    ],
)
def test_a_key_in_a_status_line_is_hidden(
    settings: Config, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(request: bytes) -> list[bytes]:
        key = request.split(b"X-API-Key: ")[1].split(b"\r\n")[0]
        return [line.encode().replace(b"{}", key), b"\r\n\r\n", b"not json: ", key]

    caplog.set_level(logging.DEBUG)
    with raw_server(answer) as url:
        transport = Transport(
            Config(
                base_url=url,
                api_key=settings.api_key,
                credential_cmd=settings.credential_cmd,
                max_tries=2,
                retry_delay=0,
            )
        )
        refused(lambda: transport.call(HTTPRequest("GET", "/x"), Response.json), tinkex.APIError)
        transport.close()
    assert SECRET not in caplog.text


def test_a_key_in_the_id_of_an_answer_is_hidden_from_hooks_and_the_log(
    server: TinkerServer, settings: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.on("/healthz", lambda request: Reply(200, {}, {"X-Request-Id": echo(request)}))
    told: list[object] = []
    remove = metrics.on_response(told.append)
    try:
        transport = Transport(settings)
        transport.request("GET", "/healthz")
        transport.close()
    finally:
        remove()
    assert "[hidden]" in caplog.text
    assert SECRET not in caplog.text
    assert len(told) == 1
    assert SECRET not in repr(told)


def test_an_answer_shows_none_of_its_content(server: TinkerServer, transport: Transport) -> None:
    response = transport.request("GET", "/healthz")
    assert repr(response) == "Response(200, 15 bytes)"


def test_an_error_can_be_pickled(server: TinkerServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": "many"})
    with pytest.raises(tinkex.APIResponseValidationError) as caught:
        client_of(server)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="cat")
def test_a_credential_that_fails_between_two_tries_leaves_the_outcome_of_the_first_unknown(
    server: TinkerServer, tmp_path: Path
) -> None:
    """A JWT that expires in less than a minute is fetched anew for each try."""
    claims = json.dumps({"iat": 0, "exp": time.time() + 30}).encode()
    key = tmp_path / "key"
    key.write_text(f"a.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c")

    def lose(_: Request) -> Reset:
        key.unlink()
        return Reset()

    settings = config(server, api_key=None, credential_cmd=f"cat '{key}'")
    with tinkex.ServiceClient(config=settings) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        server.once("/optim_step", lose)
        with pytest.raises(tinkex.ClientPoisonedError, match="no credential for another try"):
            training.optim_step().result(60)
    assert len(server.requests.to("/optim_step")) == 1
