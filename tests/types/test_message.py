"""Messages: each field is of the type that its class promises, or the message is refused."""

from __future__ import annotations

import pytest

from tinkex.types import (
    Checkpoint,
    CheckpointsListResponse,
    ExternalWeightsUrlsResponse,
    GetInfoResponse,
    WeightsInfoResponse,
)
from tinkex.types.message import Message

CHECKPOINT = {
    "checkpoint_id": "weights/x",
    "checkpoint_type": "training",
    "tinker_path": "tinker://a/weights/x",
    "time": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("kind", "answer", "complaint"),
    [
        (WeightsInfoResponse, [], "must be an object, not list"),
        (WeightsInfoResponse, None, "must be an object, not null"),
        (WeightsInfoResponse, {}, "no base_model"),
        (WeightsInfoResponse, {"base_model": None}, "base_model must be text, not null"),
        (WeightsInfoResponse, {"base_model": {}}, "base_model must be text, not dict"),
        (WeightsInfoResponse, {"base_model": "b", "is_lora": 1}, "is_lora must be true or false, not int"),
        (
            WeightsInfoResponse,
            {"base_model": "b", "lora_rank": True},
            "lora_rank must be a whole number, not bool",
        ),
        (
            WeightsInfoResponse,
            {"base_model": "b", "lora_rank": 8.0},
            "lora_rank must be a whole number, not float",
        ),
        (
            WeightsInfoResponse,
            {"base_model": "b", "lora_rank": 2**63},
            "lora_rank is a number beyond 64 bits",
        ),
        (GetInfoResponse, {"model_id": "m", "model_data": []}, "ModelData must be an object"),
        (GetInfoResponse, {"model_id": "m", "model_data": {"arch": 5}}, "arch must be text"),
        (CheckpointsListResponse, {"checkpoints": {}}, "checkpoints must be"),
        (CheckpointsListResponse, {"checkpoints": ["x"]}, "Checkpoint must be an object"),
        (CheckpointsListResponse, {"checkpoints": [], "cursor": {"offset": 0}}, "no limit"),
        (Checkpoint, {**CHECKPOINT, "time": "soon"}, "not a point in time"),
        (ExternalWeightsUrlsResponse, {"urls": {}, "expires": None}, "expires must be a value, not null"),
        (Checkpoint, {**CHECKPOINT, "time": 1e300}, "point in time"),
        (Checkpoint, {**CHECKPOINT, "time": True}, "point in time"),
        (Checkpoint, {**CHECKPOINT, "checkpoint_type": 5}, "checkpoint_type must be text"),
        (Checkpoint, {**CHECKPOINT, "user_metadata": {"a": 1}}, "user_metadata must be text"),
        (Checkpoint, {**CHECKPOINT, "user_metadata": []}, "user_metadata must be"),
    ],
)
def test_a_field_of_another_type_is_refused(kind: type[Message], answer: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind.from_dict(answer)


def test_what_a_newer_server_may_send_is_read() -> None:
    found = Checkpoint.from_dict({**CHECKPOINT, "checkpoint_type": "sketch", "new": {"a": []}})
    assert str(found.checkpoint_type) == "sketch"


def test_null_means_the_default() -> None:
    found = WeightsInfoResponse.from_dict({"base_model": "b", "is_lora": None, "lora_rank": None})
    assert found == WeightsInfoResponse("b")
    assert Checkpoint.from_dict({**CHECKPOINT, "public": None, "expires_at": None}).public is False
