"""Pydantic's everyday methods. What they return was compared with the classes of the official SDK 0.38.0."""

from __future__ import annotations

import dataclasses
import inspect
import json
import threading
import warnings
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

import tinkex
from tinkex import types
from tinkex.types.data import Data

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, timezone.utc)
PARAMS = types.SamplingParams(max_tokens=4, stop=["a"])


@pytest.mark.parametrize(
    ("data", "dumped"),
    [
        (types.ModelInput.from_ints([1, 2]), '{"chunks":[{"tokens":[1,2],"type":"encoded_text"}]}'),
        (
            types.ModelInput([types.ImageChunk(b"hi", "png")]),
            '{"chunks":[{"data":"aGk=","format":"png","expected_tokens":null,"type":"image"}]}',
        ),
        (
            types.ImageAssetPointerChunk("l", "jpeg", 3),
            '{"format":"jpeg","location":"l","expected_tokens":3,"type":"image_asset_pointer"}',
        ),
        (PARAMS, '{"max_tokens":4,"seed":null,"stop":["a"],"temperature":1.0,"top_k":-1,"top_p":1.0}'),
        (
            types.AdamParams(learning_rate=1),
            '{"learning_rate":1.0,"beta1":0.9,"beta2":0.95,"eps":1e-12,"weight_decay":0.0,"grad_clip_norm":0.0}',
        ),
        (
            types.DimuonParams(0.5),
            '{"type":"dimuon","learning_rate":0.5,"grad_clip_norm":0.0,"beta1":0.9}',
        ),
        (
            types.Checkpoint("a", "training", "t", NOON),
            '{"checkpoint_id":"a","checkpoint_type":"training","time":"2026-01-02T12:00:00.123456Z",'
            '"tinker_path":"t","size_bytes":null,"public":false,"user_metadata":null,"expires_at":null}',
        ),
        (
            types.StorageBillingEvent(gigabyte_hours=1.5),
            '{"type":"storage","free":false,"gigabyte_hours":1.5}',
        ),
        (types.SessionCancelled(detail="d"), '{"type":"cancelled","detail":"d"}'),
        (
            types.OptimStepRequest(model_id="m", optimizer_params=types.DimuonParams(0.5)),
            '{"model_id":"m","seq_id":null,"type":"optim_step",'
            '"optimizer_params":{"type":"dimuon","learning_rate":0.5,"grad_clip_norm":0.0,"beta1":0.9}}',
        ),
        (
            types.GetInfoResponse(model_id="m", model_data=types.ModelData("a")),
            '{"type":null,"model_data":{"arch":"a","model_name":null,"tokenizer_id":null},"model_id":"m",'
            '"optimizer_config":{"type":"adamw"},"is_lora":null,"lora_rank":null,"model_name":null}',
        ),
        (
            types.FuturesRetrieveResponse(completions=[types.FutureFailed(request_id="r")], cursor=3),
            '{"completions":[{"state":"failed","request_id":"r"}],"cursor":3}',
        ),
    ],
)
def test_a_dump_is_that_of_the_official_class_and_can_be_read_again(data: Any, dumped: str) -> None:
    assert data.model_dump_json() == dumped
    assert data.model_dump(mode="json") == json.loads(dumped)
    assert type(data).model_validate(data.model_dump()) == data
    assert type(data).model_validate_json(dumped) == data
    assert data.model_copy() == data.model_copy(deep=True) == data


def test_results_can_be_dumped_and_read_again() -> None:
    sequence = types.SampledSequence("stop", "i", tokens=[1, 2], topk_logprobs=[[(1, -0.5)], None])
    tensor = types.TensorData([[1.5]])
    for data in (
        types.SampleResponse([sequence], prompt_logprobs=[None, -1.0], target_prompt_logprobs=tensor),
        types.ForwardBackwardOutput("x", [{"logprobs": tensor}], {"loss:sum": 1.0}),
        types.Datum(types.ModelInput.from_ints([1]), {"target_tokens": [2], "weights": [0.5]}),
    ):
        assert type(data).model_validate(data.model_dump()) == data
        assert type(data).model_validate_json(data.model_dump_json(indent=2)) == data


def test_what_a_dump_leaves_out() -> None:
    assert PARAMS.model_dump(exclude_none=True).keys() == {
        "max_tokens",
        "stop",
        "temperature",
        "top_k",
        "top_p",
    }
    assert PARAMS.model_dump(exclude_unset=True) == PARAMS.model_dump(exclude_defaults=True)
    assert PARAMS.model_dump(exclude_defaults=True, by_alias=True) == {"max_tokens": 4, "stop": ["a"]}
    assert PARAMS.model_dump(include={"seed", "top_k"}) == {"seed": None, "top_k": -1}
    assert "stop" not in PARAMS.model_dump(exclude={"stop"})
    assert dict(PARAMS) == PARAMS.model_dump()


def test_a_copy_with_other_values_is_checked() -> None:
    assert PARAMS.model_copy(update={"max_tokens": 5}) == types.SamplingParams(max_tokens=5, stop=["a"])
    with pytest.raises(tinkex.InputError, match="max_tokens"):
        PARAMS.model_copy(update={"max_tokens": 0})
    assert types.AdamParams.model_construct(beta1=0.5) == types.AdamParams(beta1=0.5)


def test_the_fields_of_a_class() -> None:
    fields = types.SamplingParams.model_fields
    assert list(fields) == ["max_tokens", "seed", "stop", "temperature", "top_k", "top_p"]
    assert (fields["top_k"].annotation, fields["top_k"].default) == (int, -1)
    assert not fields["stop"].is_required()
    assert types.ModelInput.model_fields["chunks"].is_required()
    assert str(inspect.signature(types.ModelInput)) == "(chunks: 'list[ModelInputChunk]')"


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (types.ModelInput, {"chunks": [{"type": "encoded_text", "tokens": [-1]}]}),
        (types.ModelInput, {"chunks": [{"type": "sound"}]}),
        (types.ModelInput, {}),
        (types.ModelInput, [1]),
        (types.AdamParams, {"lr": 1}),
        (types.AdamParams, {"learning_rate": "fast"}),
        (types.SamplingParams, {"max_tokens": 1.5}),
        (types.SamplingParams, {"stop": 5}),
        (types.Checkpoint, {"checkpoint_id": 5}),
        (
            types.Checkpoint,
            {"checkpoint_id": "a", "checkpoint_type": "b", "tinker_path": "c", "time": "noon"},
        ),
        (types.Datum, {"model_input": {"chunks": []}, "loss_fn_inputs": {"weights": "x"}}),
        (types.TensorData, {"data": [[1], [1, 2]]}),
        (types.CreateModelRequest, {"session_id": "s"}),
    ],
)
def test_what_is_not_valid_is_an_input_error(kind: type[Data], bad: Any) -> None:
    with pytest.raises(tinkex.InputError):
        kind.model_validate(bad)
    if isinstance(bad, dict):
        with pytest.raises(tinkex.InputError):
            kind.model_validate_json(json.dumps(bad))


def test_unknown_arguments_are_ignored_where_nothing_is_lost() -> None:
    with pytest.warns(UserWarning, match="SamplingParams has no min_p") as caught:
        params = types.SamplingParams(max_tokens=4, min_p=0.5)  # type: ignore[call-arg]
    assert params == types.SamplingParams(max_tokens=4)
    assert caught[0].filename == __file__
    with pytest.raises(tinkex.InputError, match="AdamParams has no lr"):
        types.AdamParams(lr=1e-3)  # type: ignore[call-arg]
    with pytest.raises(tinkex.InputError, match="format"):
        types.ImageChunk(b"hi")  # type: ignore[call-arg]


def test_numbers_of_other_types_are_the_same_numbers() -> None:
    params = types.SamplingParams(
        max_tokens=4.0,  # type: ignore[arg-type]
        seed=np.int64(3),
        stop=[np.int32(7), 8.0],
        temperature=np.float32(0.5),
        top_k=np.uint8(2),
    )
    assert json.dumps(params.to_wire()) == (
        '{"max_tokens": 4, "seed": 3, "stop": [7, 8], "temperature": 0.5, "top_k": 2, "top_p": 1.0}'
    )
    assert type(types.AdamParams(learning_rate=1).learning_rate) is float
    assert types.AdamParams(learning_rate="1e-4").learning_rate == 1e-4  # type: ignore[arg-type] # of a YAML file
    assert types.SamplingParams(max_tokens="4", temperature="0.5") == types.SamplingParams(  # type: ignore[arg-type]
        max_tokens=4, temperature=0.5
    )
    for text in ("4.5", "many", "", "1e400"):
        with pytest.raises(tinkex.InputError, match="max_tokens"):
            types.SamplingParams(max_tokens=text)  # type: ignore[arg-type]
    assert types.LoraConfig(rank=8.0).to_wire()["rank"] == 8  # type: ignore[arg-type]
    datum = types.Datum(
        {"chunks": [{"tokens": [1.0, 2.0]}]},  # type: ignore[arg-type]
        {
            "target_tokens": [2.0, 3.0],
            "weights": types.TensorData([1, 0], "int64"),
            "advantages": {"data": [1], "dtype": "int64"},
        },
    )
    assert {name: (tensor.dtype, tensor.data) for name, tensor in datum.loss_fn_inputs.items()} == {
        "target_tokens": ("int64", [2, 3]),
        "weights": ("float32", [1.0, 0.0]),
        "advantages": ("float32", [1.0]),
    }


def test_every_type_is_frozen_and_hashable_without_warnings() -> None:
    kinds = [getattr(types, name) for name in types.__all__]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Data):
            assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
            assert kind.__hash__ is not None
            assert kind.model_fields
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {types.AdamParams(): 1}[types.AdamParams()] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        PARAMS.seed = 1  # type: ignore[misc]


def test_sequences_of_arrays_are_those_of_lists() -> None:
    matrices = types.TopkLogprobs(
        np.array([[1, 0], [0, 0]], np.int32), np.array([[-1, -99999.0], [-99999.0, -99999.0]], np.float32)
    )
    tokens = np.array([1, 2], np.int32)
    sequence = types.SampledSequence("stop", "i", tokens, np.array([-0.5, -1.0], np.float32), matrices)
    tokens[:] = 0
    assert sequence == types.SampledSequence(
        stop_reason="stop",
        sequence_id="i",
        tokens=[1, 2],
        logprobs=[-0.5, -1.0],
        topk_logprobs=[[(1, -1.0)], None],
    )
    assert sequence.tokens_np.tolist() == [1, 2]
    response = types.SampleResponse([sequence], np.array([np.nan, -0.5], np.float32))
    assert response.prompt_logprobs == [None, -0.5]
    assert response == types.SampleResponse(sequences=[sequence], _prompt_logprobs_list=[None, -0.5])


def test_names_of_the_official_sdk_for_annotations() -> None:
    timeout = tinkex.Timeout(5.0, read=3.0)
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (5.0, 3.0, 5.0, 5.0)
    assert tinkex.Timeout(timeout, pool=None) == tinkex.Timeout(connect=5.0, read=3.0, write=5.0)
    with pytest.raises(TypeError, match="total"):
        tinkex.Timeout(total=1.0)
    options: tinkex.RequestOptions = {"max_retries": 2, "timeout": timeout}
    assert options["timeout"] is timeout
    assert tinkex.BackcompatSamplingClientFuture is tinkex.SamplingClient
    assert tinkex.__title__ == "tinkex"


def test_dictionaries_are_taken_where_data_is_expected() -> None:
    with tinkex.ServiceClient(base_url="local://") as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=4)
        datum: Any = {
            "model_input": {"chunks": [{"type": "encoded_text", "tokens": [72, 101]}]},
            "loss_fn_inputs": {"target_tokens": [101, 108], "weights": {"data": [1, 1], "dtype": "int64"}},
        }
        output = training.forward_backward([datum], "cross_entropy")
        training.optim_step({"learning_rate": 1e-4}).result(60)  # type: ignore[arg-type]
        assert output.result(60).loss_fn_outputs[0]["logprobs"].shape == [2]
        sampler: Any = service.create_sampling_client(base_model="tinkex/byte-lm")
        sampled = sampler.sample(datum["model_input"], 1, {"max_tokens": 4.0}, include_prompt_logprobs=True)
        assert len(sampled.result(60).sequences[0].tokens) == 4


def test_tensors_replaced_after_the_call_are_not_sent() -> None:
    replaced = threading.Event()

    def loss(data: Any, logprobs: Any) -> Any:
        assert replaced.wait(60)
        return 0.0, {}, [0 * each for each in logprobs]

    with tinkex.ServiceClient(base_url="local://") as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=4)
        datum = types.Datum(
            types.ModelInput.from_ints([72] * 8), {"target_tokens": [72] * 8, "weights": [1.0] * 8}
        )
        training.forward_backward_custom([datum], loss)
        output = training.forward([datum], "cross_entropy")  # is sent when the custom loss has been computed
        assert isinstance(datum.loss_fn_inputs, dict)
        datum.loss_fn_inputs["weights"] = types.TensorData([0.0] * 8)
        replaced.set()
        assert output.result(60).metrics["loss:sum"] > 0.0
