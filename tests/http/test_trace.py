"""Requests carry the trace context of the program."""

from __future__ import annotations

import pytest
from clients import config
from programs import run_code

import tinkex
from tinkex import types
from tinkex.testing import TinkerServer


def test_requests_carry_the_active_span(server: TinkerServer) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(
        trace_id=0xABC, span_id=0xDEF, is_remote=False,
        trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState([("vendor", "value")]),
    )  # fmt: skip
    parent = f"00-{0xABC:032x}-{0xDEF:016x}-01"
    prompt, params = types.ModelInput.from_ints([1, 2]), types.SamplingParams(max_tokens=1)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        training = service.create_lora_training_client("tinkex/byte-lm")
        sampler.sample(prompt, 1, params).result(60)
        assert not any("traceparent" in request.headers for request in server.requests)
        server.requests.clear()
        with trace.use_span(trace.NonRecordingSpan(context)):
            sampled = sampler.sample(prompt, 1, params)
            trained = training.optim_step()
        sampled.result(60)
        trained.result(60)
        training.optim_step().result(60)
    for path in ("/asample", "/optim_step", "/retrieve_future"):
        first = server.requests.to(path)[0]
        assert (first.headers["traceparent"], first.headers["tracestate"]) == (parent, "vendor=value")
    assert "traceparent" not in server.requests.to("/optim_step")[1].headers


def test_opentelemetry_is_never_imported_here(server: TinkerServer) -> None:
    server.on("/x", {})
    code = """
    import sys
    import tinkex
    from tinkex.http.transport import Transport
    transport = Transport(tinkex.Config(base_url=sys.argv[1], api_key="tml-test-key"))
    transport.request("POST", "/x", b"123")
    assert "opentelemetry" not in sys.modules
    """
    run_code(code, server.url)
