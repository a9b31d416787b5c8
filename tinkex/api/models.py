"""Making models, of a base model or of a checkpoint, and freeing them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tinkex.api.call import read
from tinkex.api.futures import Done, Promise, Result, json_result, submit
from tinkex.errors import APIResponseValidationError, NotFoundError
from tinkex.http.transport import Transport
from tinkex.types.training import LoraConfig, OptimizerConfig, UnloadModelResponse


@dataclass(frozen=True)
class State:
    """A checkpoint to make a model from, and the settings of that model."""

    path: str
    with_optimizer: bool
    base_model: str | None = None
    user_metadata: Mapping[str, str] | None = None
    weights_access_token: str | None = None
    optimizer: OptimizerConfig | None = None


def create_model(
    transport: Transport,
    session_id: str,
    model_seq_id: int,
    base_model: str,
    lora_config: LoraConfig,
    *,
    user_metadata: Mapping[str, str] | None = None,
    optimizer: OptimizerConfig | None = None,
) -> Promise[str]:
    """Submit the making of a LoRA model on ``base_model``; the result is its model id."""
    payload: dict[str, Any] = {
        "type": "create_model",
        "session_id": session_id,
        "model_seq_id": model_seq_id,
        "base_model": base_model,
        "lora_config": lora_config.to_wire(),
        **_optional(user_metadata, optimizer),
    }
    return _naming_the_model(submit(transport, "/create_model", payload, "CreateModel", _read_model_id))


def create_model_from_state(
    transport: Transport, session_id: str, model_seq_id: int, state: State
) -> Promise[str]:
    """Submit the making of a model from a checkpoint in one call; the result is its model id.

    Servers that cannot do that refuse it (404 or 422).
    """
    payload: dict[str, Any] = {
        "type": "load_weights",
        "session_id": session_id,
        "model_seq_id": model_seq_id,
        "path": state.path,
        "optimizer": state.with_optimizer,
        **_optional(state.user_metadata, state.optimizer),
    }
    if state.base_model is not None:
        payload["base_model"] = state.base_model
    if state.weights_access_token is not None:
        payload["weights_access_token"] = state.weights_access_token
    return _naming_the_model(submit(transport, "/load_weights", payload, "LoadWeights", _read_model_id))


def unload_model(transport: Transport, model_id: str) -> Promise[UnloadModelResponse]:
    """Submit the freeing of the model. A repetition that finds no model any more has freed it before."""
    payload = {"type": "unload_model", "model_id": model_id}
    try:
        return submit(transport, "/unload_model", payload, "UnloadModel", _read_unloaded)
    except NotFoundError as error:
        if not error.repeated:
            raise
        return Promise("", "UnloadModel", _read_unloaded, done=Done(UnloadModelResponse(model_id)))


def _naming_the_model(promise: Promise[str]) -> Promise[str]:
    """``promise``, whose result may leave the model id out if the promise itself has named it."""
    return replace(promise, read=partial(_read_model_id, promised=promise.model_id))


def _read_model_id(result: Result, promised: str | None = None) -> str:
    answer = result.json
    if not isinstance(answer, dict) or answer.get("type") not in (None, "create_model", "load_weights"):
        raise APIResponseValidationError("the server's result is no new model", body=answer)
    model_id = answer.get("model_id") or promised
    if not isinstance(model_id, str):
        raise APIResponseValidationError("the server named no model_id", body=answer)
    return model_id


def _read_unloaded(result: Result) -> UnloadModelResponse:
    return read(UnloadModelResponse, json_result(result, "unload_model"))


def _optional(user_metadata: Mapping[str, str] | None, optimizer: OptimizerConfig | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if user_metadata is not None:
        fields["user_metadata"] = dict(user_metadata)
    if optimizer is not None:
        fields["optimizer_config"] = optimizer.to_wire()
    return fields
