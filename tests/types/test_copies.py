"""Public data has a copy of what the caller gave it: no later change of the caller's reaches it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex import types
from tinkex.wire import json_codec, proto_codec
from tinkex.wire import messages_pb2 as pb

IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20)


def _clear(values: list[int]) -> None:
    values.clear()


def _replace(values: list[int]) -> None:
    values[:] = [0] * (len(values) + 1)


def _grow(values: list[int]) -> None:
    values.append(7)


def _reverse(values: list[int]) -> None:
    values.reverse()
    values[0] = 5


CHANGES = st.lists(st.sampled_from([_clear, _replace, _grow, _reverse]), max_size=3)


def _changed(values: list[Any], changes: list[Callable[[list[Any]], None]]) -> None:
    for change in changes:
        if values:
            change(values)


def _sent(datum: types.Datum) -> list[int]:
    """Return the token ids in the bytes of a request."""
    body = proto_codec.encode_forward_backward("m", 1, [datum], "cross_entropy", None, forward_only=False)
    message = pb.ForwardBackwardRequest.FromString(body)
    ids: list[int] = np.frombuffer(message.data[0].model_input[0].encoded_text.tokens, "<i4").tolist()
    return ids


@given(IDS, CHANGES, CHANGES)
def test_all_views_of_tokens_agree_whatever_happens_to_the_lists(
    tokens: list[int], changes: list[Callable[[list[int]], None]], more: list[Callable[[list[int]], None]]
) -> None:
    wanted = list(tokens)
    chunk = types.EncodedTextChunk(tokens=tokens)
    prompt = types.ModelInput.from_ints(tokens)
    datum = types.Datum(prompt, {})
    _changed(tokens, changes)
    _changed(chunk.tokens, more)
    _changed(prompt.chunks, more)
    again = types.EncodedTextChunk(wanted)
    assert chunk == again
    assert hash(chunk) == hash(again)
    assert repr(chunk) == repr(again)
    assert chunk.tokens == prompt.to_ints() == _sent(datum) == wanted
    assert chunk.length == prompt.length == len(wanted)
    assert json_codec.encode_model_input(prompt) == {"chunks": [{"type": "encoded_text", "tokens": wanted}]}
    assert prompt == types.ModelInput([again])
    assert hash(prompt) == hash(types.ModelInput([again]))
    assert prompt.model_dump() == {"chunks": [{"tokens": wanted, "type": "encoded_text"}]}


@given(IDS)
def test_tokens_of_any_kind_are_the_same_chunk(tokens: list[int]) -> None:
    wanted = types.EncodedTextChunk(tokens)
    kinds: list[Any] = [
        tuple(tokens),
        array("q", tokens),
        range(tokens[0], tokens[0] + 1),
        np.array(tokens),
        np.array(tokens, dtype=np.uint32)[::-1][::-1],
        np.array(tokens, dtype=np.float64),
        list(map(float, tokens)),
        list(np.array(tokens)),
    ]
    kinds[2] = list(kinds[2]) + tokens[1:]
    for kind in kinds:
        chunk = types.EncodedTextChunk(kind)
        assert chunk == wanted
        assert list(map(type, chunk.tokens)) == [int] * len(tokens)


@given(IDS)
def test_a_chunk_is_a_dataclass_like_any_other(tokens: list[int]) -> None:
    chunk = types.EncodedTextChunk(tokens)
    assert copy.copy(chunk) == copy.deepcopy(chunk) == pickle.loads(pickle.dumps(chunk)) == chunk
    assert dataclasses.replace(chunk, tokens=[1]).tokens == [1]
    assert dataclasses.asdict(chunk) == {"tokens": tokens, "type": "encoded_text"}
    assert chunk.tokens + [1] == [*tokens, 1]  # noqa: RUF005 - that a list is added is what is tested
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.tokens = [2]  # type: ignore[misc]


def test_a_long_chunk_is_shown_by_its_first_tokens_and_its_length() -> None:
    assert repr(types.EncodedTextChunk([1, 2])) == "EncodedTextChunk(tokens=[1, 2])"
    shown = repr(types.ModelInput.from_ints(range(1000)))
    assert "tokens=[0, 1, 2, 3, 4, 5, 6, 7, ...], length=1000" in shown


def test_no_list_is_made_of_an_array() -> None:
    class Counted(np.ndarray):
        def tolist(self) -> Any:
            raise AssertionError("a list was made")

        def __iter__(self) -> Any:
            raise AssertionError("the array was iterated")

    ids = np.arange(100).view(Counted)
    prompt = types.ModelInput.from_ints(ids)  # type: ignore[arg-type]
    datum = types.Datum(prompt, {"target_tokens": ids, "weights": ids.astype(np.float32)})
    ids[:] = 0
    assert _sent(datum) == list(range(100))
    assert datum.loss_fn_inputs["target_tokens"].data == list(range(100))


@given(st.lists(st.text(max_size=3), max_size=4), CHANGES)
def test_the_stops_of_sampling_params(stop: list[str], changes: list[Callable[[list[Any]], None]]) -> None:
    wanted = list(stop)
    params = types.SamplingParams(stop=stop)
    _changed(stop, changes)
    _changed(params.stop, changes)  # type: ignore[arg-type]
    assert params.stop == wanted
    assert params == types.SamplingParams(stop=wanted)
    assert hash(params) == hash(types.SamplingParams(stop=wanted))
    assert params.to_wire()["stop"] == wanted


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6), CHANGES)
def test_tensors(values: list[float], changes: list[Callable[[list[Any]], None]]) -> None:
    wanted, shape = list(values), [len(values)]
    tensor = types.TensorData(data=values, dtype="float32", shape=shape)
    same = np.array(wanted, np.float32)
    of_array = types.TensorData.from_numpy(same)
    for mine in (values, shape, tensor.data, tensor.shape):
        _changed(mine, changes)
    same[:] = 0
    assert tensor.data == tensor.tolist() == of_array.data == wanted
    assert tensor.shape == [len(wanted)]
    assert tensor == of_array == pickle.loads(pickle.dumps(tensor)) == copy.deepcopy(tensor)
    assert hash(tensor) == hash(of_array)
    assert dataclasses.replace(tensor) == tensor


def test_the_indices_of_sparse_tensors() -> None:
    crow, col = [0, 1, 2], [2, 0]
    tensor = types.TensorData([5.0, 7.0], "float32", [2, 3], crow, col)
    crow[1] = 2
    col.clear()
    assert tensor.tolist() == [[0.0, 0.0, 5.0], [7.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("kind", "name", "given", "others"),
    [
        (types.CheckpointsListResponse, "checkpoints", [types.Checkpoint("weights/a", "training", "t")], {}),
        (types.ListSessionsResponse, "sessions", ["a"], {}),
        (types.GetSessionResponse, "training_run_ids", ["a"], {"sampler_ids": []}),
        (
            types.GetSessionResponse,
            "user_metadata",
            {"a": {"b": [1]}},
            {"training_run_ids": [], "sampler_ids": []},
        ),
        (types.OptimStepResponse, "metrics", {"a": 1.0}, {}),
        (types.ForwardBackwardOutput, "loss_fn_outputs", [{}], {"loss_fn_output_type": ""}),
        (types.SampledSequence, "tokens", [1, 2], {"stop_reason": "stop"}),
        (types.SampledSequence, "logprobs", [0.5], {"stop_reason": "stop"}),
        (types.SampleResponse, "prompt_logprobs", [None, 0.5], {"sequences": []}),
        (types.SampleResponse, "sequences", [types.SampledSequence("stop")], {}),
        (types.SessionSearchRequest, "project_ids", ["a"], {}),
        (types.UserSearchOwner, "owner_urns", ["a"], {}),
        (types.CustomLossNode, "args", [1, [2]], {"op": "output", "name": "a", "target": "b"}),
    ],
)
def test_lists_and_mappings_of_other_types(kind: Any, name: str, given: Any, others: dict[str, Any]) -> None:
    wanted = copy.deepcopy(given)
    made = kind(**{name: given, **others})
    for inner in given.values() if isinstance(given, dict) else given:
        if isinstance(inner, (list, dict)):
            inner.clear()
    given.clear()
    assert getattr(made, name) == wanted
    assert isinstance(hash(made), int)


def test_a_datum_has_its_own_mapping() -> None:
    tensors: dict[str, Any] = {"target_tokens": [1]}
    datum = types.Datum(types.ModelInput.from_ints([1]), tensors)
    tensors.clear()
    assert list(datum.loss_fn_inputs) == ["target_tokens"]
    assert datum == copy.deepcopy(datum) == pickle.loads(pickle.dumps(datum))
    assert hash(datum) == hash(copy.deepcopy(datum))
