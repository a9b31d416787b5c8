"""Provenance: training data that names the sampled sequences its tokens came from."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from clients import config, datum, when
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import types
from tinkex.testing import Reply, Request, TinkerServer
from tinkex.types import PromptProvenanceSpan, SampledProvenanceSpan
from tinkex.types.provenance import ProvenanceSpan
from tinkex.wire import json_codec, proto_codec
from tinkex.wire import messages_pb2 as pb

SPANS = st.builds(
    lambda kind, sequence_id, offset, length: kind(sequence_id=sequence_id, offset=offset, length=length),
    st.sampled_from([PromptProvenanceSpan, SampledProvenanceSpan]),
    st.text(min_size=1),
    st.integers(0, 2**63 - 1),
    st.integers(0, 9),
)
PROMPT = [PromptProvenanceSpan(sequence_id="s", length=1), SampledProvenanceSpan(sequence_id="s", length=2)]
TARGETS = [SampledProvenanceSpan(sequence_id="s", length=3)]


def tokens(spans: Sequence[Any]) -> list[int]:
    """As many as the spans cover."""
    return [7] * sum(span.length for span in spans)


@given(st.lists(SPANS), st.lists(SPANS))
def test_spans_arrive_as_they_were_given(model_input: list[Any], targets: list[Any]) -> None:
    plain = types.Datum(types.ModelInput.from_ints(tokens(model_input)), {"target_tokens": tokens(targets)})
    with_spans = plain.with_provenance(model_input, targets)
    work = ("m", 1, [with_spans], "stable_reinforce", None)
    [sent] = pb.ForwardBackwardRequest.FromString(
        proto_codec.encode_forward_backward(*work, forward_only=False)
    ).data
    kinds = {"prompt_tokens": PromptProvenanceSpan, "sampled_tokens": SampledProvenanceSpan}
    for given_spans, sent_spans in (
        (model_input, sent.model_input_spans),
        (targets, sent.loss_fn_input_spans),
    ):
        arrived = []
        for span in sent_spans:
            kind = span.WhichOneof("span")
            run = getattr(span, kind)
            arrived.append(kinds[kind](sequence_id=run.sequence_id, offset=run.offset, length=run.length))
        assert arrived == given_spans
    # JSON has no word for them, and is as it would be without.
    assert json_codec.encode_forward_backward(
        *work, forward_only=False
    ) == json_codec.encode_forward_backward("m", 1, [plain], *work[3:], forward_only=False)


def test_a_datum_keeps_its_spans_and_its_original_has_none() -> None:
    plain = datum(1, 2, 3, 4)
    spans = list(PROMPT)
    named = plain.with_provenance(model_input=spans, loss_fn_inputs=TARGETS)
    spans.clear()
    assert (named.model_input_spans, named.loss_fn_input_spans) == (PROMPT, TARGETS)
    assert plain.model_input_spans is plain.loss_fn_input_spans is None
    assert named != plain
    copy = pickle.loads(pickle.dumps(named))
    assert (copy.model_input_spans, copy.loss_fn_input_spans) == (PROMPT, TARGETS)
    assert named == types.Datum(plain.model_input, plain.loss_fn_inputs, PROMPT, TARGETS)


@pytest.mark.parametrize(
    ("model_input", "targets", "what"),
    [
        (PROMPT[:1], TARGETS, "model_input cover 1 tokens, but it has 3"),
        (PROMPT, [*TARGETS, *TARGETS], "loss_fn_inputs cover 6 tokens, but it has 3"),
        (PROMPT, [{"sequence_id": "s", "length": 3}], "not dict"),
    ],
)
def test_spans_must_cover_what_they_explain(model_input: Any, targets: Any, what: str) -> None:
    with pytest.raises(tinkex.InputError, match=what):
        datum(1, 2, 3, 4).with_provenance(model_input, targets)


def test_spans_come_in_pairs() -> None:
    with pytest.raises(tinkex.InputError, match="or neither"):
        types.Datum(types.ModelInput.from_ints([1, 2, 3]), {}, PROMPT)


def test_targets_of_several_candidates_are_not_counted() -> None:
    wide = types.Datum(types.ModelInput.from_ints([1, 2, 3]), {"target_tokens": [[1, 2]] * 3})
    assert wide.with_provenance(PROMPT, TARGETS * 2).loss_fn_input_spans == TARGETS * 2


@pytest.mark.parametrize("kind", [PromptProvenanceSpan, SampledProvenanceSpan])
@pytest.mark.parametrize(
    "bad",
    [
        {"sequence_id": "", "length": 1},
        {"sequence_id": None, "length": 1},
        {"sequence_id": "s", "length": -1},
        {"sequence_id": "s", "length": 1.5},
        {"sequence_id": "s", "length": 1, "offset": -1},
        {"sequence_id": "s", "length": 1, "offset": 2**63},
    ],
)
def test_a_span_that_cannot_be_sent_is_refused(kind: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(tinkex.InputError):
        kind(**bad)


def test_the_two_kinds_differ() -> None:
    of_prompt: ProvenanceSpan = PromptProvenanceSpan(sequence_id="s", length=1)
    assert of_prompt != SampledProvenanceSpan(sequence_id="s", length=1)
    assert of_prompt == PromptProvenanceSpan(sequence_id="s", offset=0, length=1)


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_of_spans_is_no_reason_to_leave_them_out(server: TinkerServer, status: int) -> None:
    refuse = when(
        lambda r: r.headers["content-type"] != "application/json", Reply(status, {"detail": "spans"})
    )
    server.on("/forward_backward", refuse)
    named = datum(1, 2, 3, 4).with_provenance(PROMPT, TARGETS)
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(tinkex.APIStatusError, match="spans"):
            training.forward_backward([named], "stable_reinforce").result(60)
        assert training.forward_backward([datum(1, 2)], "cross_entropy").result(60).metrics


def test_a_server_that_takes_only_json_gets_the_datum_without_them(server: TinkerServer) -> None:
    named = datum(1, 2, 3, 4).with_provenance(PROMPT, TARGETS)
    server.on("/forward_backward", when(lambda r: r.headers["content-type"] != "application/json", 415))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        assert training.forward_backward([named], "cross_entropy").result(60).metrics
    in_proto, in_json = server.requests.to("/forward_backward")
    assert in_proto.headers["content-type"] != "application/json"
    assert "spans" not in in_json.content.decode()


def test_both_passes_of_a_custom_loss_carry_them(server: TinkerServer) -> None:
    sent: list[pb.ForwardBackwardRequest] = []

    def take(request: Request) -> Reply | dict[str, Any]:
        sent.append(pb.ForwardBackwardRequest.FromString(request.content))
        return {"request_id": f"pass-{len(sent)}"}

    def result(request: Request) -> Any:
        if not request.json()["request_id"].startswith("pass-"):
            return None
        logprobs = {"logprobs": {"data": [-1.0] * 3, "dtype": "float32"}}
        return {"loss_fn_output_type": "", "loss_fn_outputs": [logprobs], "metrics": {}}

    server.on("/forward_backward", take)
    server.on("/retrieve_future", result)
    with tinkex.ServiceClient(config=config(server, wire_format="proto")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        named = datum(1, 2, 3, 4).with_provenance(PROMPT, TARGETS)
        training.forward_backward_custom([named], lambda data, logprobs: (0.0, {}, [[0.0] * 3])).result(60)
    assert [message.forward_only for message in sent] == [True, False]
    for message in sent:
        assert [span.WhichOneof("span") for span in message.data[0].model_input_spans] == [
            "prompt_tokens",
            "sampled_tokens",
        ]
        assert message.data[0].loss_fn_input_spans[0].sampled_tokens.length == 3
