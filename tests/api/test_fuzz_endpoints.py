"""Whatever JSON an endpoint answers with, its function returns a value of the promised type or a typed error."""

from __future__ import annotations

import dataclasses
import json
import types as python
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timezone
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from clients import DATUM, PARAMS, PROMPT, config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from json_values import VALUES, damaged

import tinkex
from tinkex import types
from tinkex.api import admin, futures, info, models, rest, sampling, service, training
from tinkex.api.identity import whoami
from tinkex.http.transport import Transport
from tinkex.testing import Reply, TinkerServer
from tinkex.types.message import Message
from tinkex.types.sampling import SampleRequest

NOW = "2026-01-01T00:00:00Z"
DAY = datetime(2026, 1, 1, tzinfo=timezone.utc)
CHECKPOINT = {
    "checkpoint_id": "weights/x", "checkpoint_type": "training", "tinker_path": "tinker://a/weights/x", "time": NOW,
    "size_bytes": 5, "public": False, "user_metadata": {"a": "b"}, "expires_at": NOW,
}  # fmt: skip
RUN = {
    "training_run_id": "r", "base_model": "b", "model_owner": "o", "is_lora": True, "last_request_time": NOW,
    "lora_rank": 8, "last_checkpoint": CHECKPOINT, "user_metadata": {},
}  # fmt: skip
CURSOR = {"offset": 0, "limit": 5, "total_count": 1}
SUMMARY = {
    "session_id": "s", "owner": "o", "project_id": "p", "checkpoints_count": 1, "created_at": NOW,
    "status": {"type": "failed", "reason": {"type": "request", "request_id": "r"}}, "user_metadata": {"a": [1]},
}  # fmt: skip
FLAGS = {
    "pjwt_auth_enabled": False, "fwdbwd_max_chunk_len": 8, "billing_exception_max_pause_duration_sec": 5,
    "sample_max_concurrent_requests": 3, "unknown": [1],
}  # fmt: skip
SAMPLE = {"sequences": [{"tokens": [1, 2], "logprobs": [-1.0, -2.0], "stop_reason": "stop"}]}
OUTPUT = {
    "loss_fn_outputs": [{"logprobs": {"data": [-1.0, -1.0], "dtype": "float32"}}],
    "metrics": {"loss:sum": 1},
}
BATCH = training.Batch([DATUM], "cross_entropy", None, forward_only=False)
BILLING = {
    "data": [{"event_info": {"type": "storage", "gigabyte_hours": 1}, "bucket_start": NOW, "bucket_end": NOW}],
    "sessions": {"s": {"user_metadata": None}}, "cost_data_through": NOW,
}  # fmt: skip

Endpoint = tuple[Callable[[Transport], Any], list[Any]]


def result_of(submitted: Callable[[Transport], futures.Promise[Any]]) -> Callable[[Transport], Any]:
    """Asks once for a result; the answer of the submit call is always the same, for it is fuzzed apart."""

    def ask(transport: Transport) -> Any:
        return futures.retrieve(transport, submitted(transport), 1, 5.0)

    return ask


def sample(transport: Transport) -> futures.Promise[Any]:
    return sampling.sample(transport, "s", 0, SampleRequest(prompt=PROMPT, sampling_params=PARAMS))


SUBMITTED: dict[str, tuple[Callable[[Transport], futures.Promise[Any]], list[Any]]] = {
    "sample": (sample, [SAMPLE]),
    "forward_backward": (lambda t: training.forward_backward(t, "m", 1, BATCH, "json"), [OUTPUT]),
    "optim_step": (lambda t: training.optim_step(t, "m", 1, types.AdamParams()), [{"metrics": {"a": 1.0}}]),
    "save_weights": (lambda t: training.save_weights(t, "m", 1, "x"), [{"path": "tinker://a/weights/x"}]),
    "load_weights": (lambda t: training.load_weights(t, "m", 1, "tinker://a", optimizer=True), [{"path": None}]),
    "open_sampler": (
        lambda t: training.open_sampler(t, "m", 1, 0, "snapshot"), [{"sampling_session_id": "s"}, {"path": "p"}]
    ),
    "unload_model": (lambda t: models.unload_model(t, "m"), [{"model_id": "m"}]),
}  # fmt: skip
PROMISES: list[Any] = [{"request_id": "r", "model_id": "m", "sample_sequence_ids": ["a"]}]
OUTCOMES: list[Any] = [
    {"type": "try_again", "queue_state": "active", "queue_state_reason": None},
    {"status": "complete_metadata", "response_payload_size": 5},
    {"error": "no", "category": "user"},
]
ENDPOINTS: dict[str, Endpoint] = {
    "client_config": (service.client_config, [FLAGS]),
    "dynamic_config": (service.dynamic_config, [{"refresh_interval_sec": 3, "sample_cancel_enabled": True}]),
    "create_session": (lambda t: service.create_session(t, t.config), [{"session_id": "s", "info_message": "hi"}]),
    "create_sampling_session": (
        lambda t: sampling.create_sampling_session(t, "s", 0, "tinkex/byte-lm", None), [{"sampling_session_id": "s"}]
    ),
    "join_sampling_session": (lambda t: sampling.join_sampling_session(t, "s"), [{"client_counter": 3}]),
    "get_server_capabilities": (
        info.get_server_capabilities,
        [{"supported_models": [{"model_name": "a", "trainable": True}, {"model_id": "b"}]}],
    ),
    "get_info": (
        lambda t: info.get_info(t, "m"), [{"model_id": "m", "model_data": {"tokenizer_id": "a:b"}, "lora_rank": 8}]
    ),
    "get_sampler": (lambda t: info.get_sampler(t, "s"), [{"sampler_id": "s", "base_model": "b"}]),
    "weights_info": (lambda t: info.weights_info(t, "tinker://x"), [{"base_model": "b", "is_lora": None}]),
    "list_training_runs": (
        lambda t: rest.list_training_runs(t, 5, 0, "owned", None), [{"training_runs": [RUN, RUN], "cursor": CURSOR}]
    ),
    "get_training_run": (lambda t: rest.get_training_run(t, "r", "owned"), [RUN]),
    "list_checkpoints": (lambda t: rest.list_checkpoints(t, "r"), [{"checkpoints": [CHECKPOINT], "cursor": CURSOR}]),
    "external_weights_urls": (
        lambda t: rest.external_weights_urls(t, "r", "weights/x"), [{"urls": {"a": "http://x/a"}, "expires": NOW}]
    ),
    "copy_weights": (lambda t: rest.copy_weights(t, "tinker://x", "p", None, None), [{"tinker_path": "tinker://y"}]),
    "list_sessions": (lambda t: rest.list_sessions(t, 5, 0, "owned"), [{"sessions": ["a", "b"]}]),
    "get_session": (
        lambda t: rest.get_session(t, "s", "owned"),
        [{"training_run_ids": ["r"], "sampler_ids": [], "user_metadata": {"a": 1}}],
    ),
    "search_sessions": (
        lambda t: rest.search_sessions(t, types.SessionSearchRequest()),
        [{"sessions": [SUMMARY], "next_cursor": {"last_created_at": NOW, "last_session_id": "s"}}],
    ),
    "trace_export": (
        lambda t: rest.trace_export_url(t, "s"),
        [{"status": "ready", "url": "http://x"}, {"status": "failed", "error": "no"}],
    ),
    "billing_usage": (lambda t: admin.billing_usage(t, DAY, DAY), [BILLING]),
    "checkpoint_storage": (
        lambda t: admin.checkpoint_storage(t, None),
        [{"data": [{"checkpoint_count": 1, "size_bytes": 2, "size_gigabytes": 3}]}],
    ),
    "audit_log": (
        lambda t: admin.audit_log(t, "all", date(2026, 1, 1)),
        [{"entries": [{"event": "e", "timestamp": NOW, "event_details": {"a": []}}]}],
    ),
    "whoami": (lambda t: whoami(t, t.config), [{"jwt": "eyJ.eyJzdWIiOiJ1Iiwib3JnX2lkIjoibyJ9.x"}]),
    "retrieve_futures": (
        lambda t: futures.retrieve_many(t, "s", 0, 0, [], 5.0), [{"completions": [{"request_id": "r"}], "cursor": 3}]
    ),
    "submit": (sample, PROMISES),
    **{name: (result_of(submit), results + OUTCOMES) for name, (submit, results) in SUBMITTED.items()},
}  # fmt: skip


@pytest.fixture
def transport(server: TinkerServer) -> Iterator[Transport]:
    # An answer that cannot be read is tried again, which is tested elsewhere.
    made = Transport(config(server, max_tries=1))
    yield made
    made.close()


def conforms(hint: Any, value: Any) -> bool:
    """Whether ``value`` is of the type ``hint``, all the way down."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, python.UnionType):
        return any(conforms(one, value) for one in args)
    if origin is Literal:
        return isinstance(value, type(args[0]))
    if origin is list:
        return isinstance(value, list) and all(conforms(args[0], one) for one in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            conforms(args[0], key) and conforms(args[1], one) for key, one in value.items()
        )
    if hint is float:
        return type(value) in (int, float)
    if isinstance(value, Message):
        hints = get_type_hints(type(value))
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        return isinstance(value, hint) and all(
            conforms(hints[f.name], getattr(value, f.name)) for f in fields
        )
    return type(value) is hint


@pytest.mark.parametrize("name", ENDPOINTS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_odd_answer_is_a_value_or_a_typed_error(
    server: TinkerServer, transport: Transport, name: str, data: st.DataObject
) -> None:
    call, valid = ENDPOINTS[name]
    answer = data.draw(damaged(*valid) | VALUES)
    server.on("*", Reply(200, json.dumps(answer).encode()))
    if name in SUBMITTED:
        for path in ("/asample", "/forward_backward", "/optim_step", "/save*", "/load*", "/unload*"):
            server.once(path, {"request_id": "r"})
    try:
        value = call(transport)
    except tinkex.TinkerError:
        return
    if isinstance(value, Message):
        assert conforms(type(value), value)
    repr(value).encode()


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_valid_answer_is_a_value(server: TinkerServer, transport: Transport, name: str) -> None:
    call, valid = ENDPOINTS[name]
    server.on("*", Reply(200, json.dumps(valid[0]).encode()))
    if name in SUBMITTED:
        for path in ("/asample", "/forward_backward", "/optim_step", "/save*", "/load*", "/unload*"):
            server.once(path, {"request_id": "r"})
    value = call(transport)
    assert value is not None
    if isinstance(value, Message):
        assert conforms(type(value), value)
