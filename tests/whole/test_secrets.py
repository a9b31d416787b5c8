"""The API key is in the header ``X-API-Key`` and nowhere else: not in anything shown, logged, reported or kept."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import textwrap
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from clients import config, datum
from programs import run_python

import tinkex
from tinkex import Config, ServiceClient, metrics, types
from tinkex.errors import TinkerError
from tinkex.http.transport import Transport
from tinkex.testing import Hang, Reply, Request, Reset, TinkerServer

KEY = "tml-" + "k3y0f7h3t3st" * 3


ACCESS = "cf-" + "acc3ss" * 5


class Shown:
    """Everything that somebody could read."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, *things: object) -> None:
        for thing in things:
            self.texts += [str(thing), repr(thing)]
            self.texts += [repr(vars(thing))] if isinstance(thing, BaseException) else []

    def error(self, error: BaseException) -> None:
        """All that a program may print, pickle or report of ``error``."""
        self.add(error, pickle.loads(pickle.dumps(error)))
        self.texts.append(pickle.dumps(error).decode("latin-1"))
        stack = traceback.TracebackException.from_exception(error)
        self.texts += list(stack.format())

    def failing(self, call: Callable[[], object], kind: type[BaseException]) -> None:
        with pytest.raises(kind) as caught:
            call()
        self.error(caught.value)

    def check(self) -> None:
        assert len(self.texts) > 50
        for secret in (KEY, ACCESS):
            assert [text for text in self.texts if secret in text] == []


def echo(status: int) -> Callable[[Request], Reply]:
    """A server that repeats what it was sent, headers and all, when it refuses."""

    def answer(request: Request) -> Reply:
        sent = {**request.headers, **request.secrets}
        words = {"detail": f"refused: {sent}", "got": sent}
        return Reply(status, words, {"X-Request-Id": "req-7", "X-You-Sent": request.secrets["x-api-key"]})

    return answer


def test_the_key_shows_nowhere(server: TinkerServer) -> None:
    shown = Shown()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    levels = {logger: logger.level for logger in (root, logging.getLogger("tinkex"))}
    root.addHandler(handler)
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    hooks = (metrics.on_request, metrics.on_retry, metrics.on_response)
    removals = [hook(shown.add) for hook in hooks]
    try:
        _use_everything(server, shown)
    finally:
        for remove in removals:
            remove()
        root.removeHandler(handler)
        for logger, level in levels.items():
            logger.setLevel(level)
    shown.texts += [written.getvalue(), repr(metrics.snapshot())]
    assert "POST /asample: 200" in written.getvalue()
    for request in server.requests:
        assert request.secrets["x-api-key"] == KEY
        kept = dict(request.headers)
        assert request.secrets["cf-access-client-secret"] == ACCESS
        shown.texts += [request.path, request.query, request.content.decode("latin-1"), repr(kept)]
    kinds = {
        event["event"] for request in server.requests.to("/telemetry") for event in request.json()["events"]
    }
    assert kinds == {"SESSION_START", "SESSION_END", "UNHANDLED_EXCEPTION", "GENERIC_EVENT"}
    shown.check()


def _use_everything(server: TinkerServer, shown: Shown) -> None:
    server.on("/telemetry", {"status": "accepted"})
    headers = {"CF-Access-Client-Secret": ACCESS}
    settings = config(server, api_key=KEY, telemetry=True, default_headers=headers, outage_timeout=0.2)
    shown.add(settings, copy.copy(settings))
    transport = Transport(settings)
    shown.add(transport, transport.identity, transport.redact(f"{KEY} and {ACCESS}"))

    server.once("/odd", Reply(200, f"your key is {KEY}".encode()))
    shown.failing(lambda: transport.request("POST", "/odd", b"{}").json(), tinkex.APIResponseValidationError)
    for status, kind in (
        (401, tinkex.AuthenticationError),
        (418, tinkex.APIStatusError),
        (503, tinkex.APIError),
    ):
        server.on("/refused", echo(status))
        shown.failing(lambda: transport.request("POST", "/refused", b"{}"), kind)
    server.on("/slow", Hang())
    shown.failing(lambda: transport.request("POST", "/slow", b"{}", timeout=0.05), tinkex.APITimeoutError)
    server.on("/broken", Reset())
    shown.failing(lambda: transport.request("POST", "/broken", b"{}"), tinkex.APIConnectionError)
    transport.close()

    service = tinkex.ServiceClient(config=settings)
    with pytest.raises(ZeroDivisionError) as caught, service:
        _fail_in_the_end(server, service, shown)
    assert KEY in str(caught.value)  # the program's own words stay its own; what is reported of them is clean
    shown.failing(service.get_server_capabilities, tinkex.ClientClosedError)


def _fail_in_the_end(server: TinkerServer, service: tinkex.ServiceClient, shown: Shown) -> None:
    prompt, params = types.ModelInput.from_ints([1, 2, 3]), types.SamplingParams(max_tokens=2)
    telemetry = service.get_telemetry()
    assert telemetry is not None
    telemetry.log(KEY, {KEY: [f"\n{KEY}", {"inner": ACCESS}]})
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    training = service.create_lora_training_client("tinkex/byte-lm")
    server.once("/asample", echo(503))
    shown.add(sampler.sample(prompt, 1, params).result(60))
    shown.add(training.forward_backward([datum(1, 2, 3)], "cross_entropy").result(60))
    shown.add(service, sampler, training, service.clients(), telemetry, service.config)
    shown.texts.append(pickle.dumps(sampler).decode("latin-1"))
    shown.add(sampler.get_sampler_handle(), json.dumps(sampler.get_sampler_handle()))

    server.once("/asample", echo(400))
    shown.failing(lambda: sampler.sample(prompt, 1, params).result(60), tinkex.BadRequestError)
    for status in (402, 408, 429, 503):
        server.once("/retrieve_future", echo(status))
    server.once("/client/dynamic_config", echo(500))
    server.once("/optim_step", Reset(), Reset(), Reset(), Reset())
    shown.failing(lambda: training.optim_step().result(60), tinkex.ClientPoisonedError)
    shown.failing(training.optim_step, tinkex.ClientPoisonedError)

    logging.getLogger("tinkex").warning("a slip: %s", KEY)
    try:
        raise RuntimeError(f"another slip, {KEY}")
    except RuntimeError:
        logging.getLogger("tinkex").exception("with its traceback")
    raise ZeroDivisionError(f"the program fails and says {KEY}, {ACCESS}")


@pytest.mark.parametrize("log", ["", "debug"])
def test_the_key_is_in_no_traceback_that_ends_a_program(server: TinkerServer, log: str) -> None:
    server.on("/create_model", echo(403))
    server.on("/telemetry", {"status": "accepted"})
    code = """
    import sys, tinkex
    with tinkex.ServiceClient(base_url=sys.argv[1]) as service:
        service.create_lora_training_client("tinkex/byte-lm")
    """
    settings = {"TINKER_API_KEY": KEY, "TINKER_LOG": log, "TINKER_TELEMETRY": "1"}
    done = run_python("-X", "dev", "-c", textwrap.dedent(code), server.url, **settings)
    assert done.returncode == 1
    assert "PermissionDeniedError: 403" in done.stderr
    assert "[hidden]" in done.stderr
    assert ("POST /create_model: 403" in done.stderr) == bool(log)
    [telemetry] = server.requests.to("/telemetry")
    assert b"PermissionDeniedError" in telemetry.content
    for text in (done.stdout, done.stderr, telemetry.content.decode()):
        assert KEY not in text


def test_a_credential_of_any_form_that_a_command_prints_is_hidden_too(server: TinkerServer) -> None:
    odd = "a-credential-like-no-other"
    settings = config(server, api_key=None, credential_cmd=f"echo {odd}")
    assert odd not in repr(settings)
    transport = Transport(settings)
    server.on("/refused", echo(401))
    with pytest.raises(tinkex.AuthenticationError) as caught:
        transport.request("POST", "/refused", b"{}")
    transport.close()
    [request] = server.requests.to("/refused")
    assert request.secrets["x-api-key"] == odd
    assert odd not in str(caught.value) + repr(vars(caught.value))


KEY = "tml-very-secret-key"


CAPABILITIES = "/get_server_capabilities"


@pytest.mark.parametrize("reply", [400, 401, 403, 404, 422, 429, 503, Reset(), Reply(200, b"not json")])
def test_no_error_shows_the_key(server: TinkerServer, reply: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = Config(
        base_url=server.url, api_key=KEY, max_tries=2, retry_delay=0.01,
        default_headers={"CF-Access-Client-Secret": "hush-hush"},
    )  # fmt: skip
    shown = [repr(config), str(config)]
    server.on("/create_session", reply)
    with pytest.raises(TinkerError) as caught:
        ServiceClient(config=config)
    server.on("/create_session", None)
    server.on(CAPABILITIES, reply)
    with ServiceClient(config=config, heartbeat_interval=5) as service:
        shown += [repr(service), repr(service._session.transport)]
        with pytest.raises(TinkerError) as caught_later:
            service.get_server_capabilities()
    for error in (caught.value, caught_later.value):
        shown += [repr(error), str(error), repr(vars(error)), repr(pickle.dumps(error))]
        shown.append(
            "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
        )
    shown.append(caplog.text)
    for text in shown:
        assert KEY not in text
        assert "hush-hush" not in text
