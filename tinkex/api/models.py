"""The endpoints that create a model, from a base model or a checkpoint, and unload it."""

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
    """A checkpoint from which a model is created, and the settings of that model."""

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
    """Ask for a new LoRA model on ``base_model``; the result is the id of the model."""
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
    """Ask for a new model with the weights of a checkpoint; the result is the id of the model.

    A server that does not support this in one call refuses it, with 404 or 422.
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


def unload_model(transport: Transport, model_id: str, *, again: bool = False) -> Promise[UnloadModelResponse]:
    """Submit a request to free the model on the server.

    A server that does not have the model answers 404. That is a success if an earlier request may have freed
    the model: an earlier try of this one, or, with ``again``, the same request whose promise the server
    forgot.
    """
    payload = {"type": "unload_model", "model_id": model_id}
    read_unloaded = partial(_read_unloaded, model_id)
    try:
        return submit(transport, "/unload_model", payload, "UnloadModel", read_unloaded)
    except NotFoundError as error:
        if not (again or error.repeated):
            raise
    return Promise("", "UnloadModel", read_unloaded, done=Done(UnloadModelResponse(model_id)))


def _naming_the_model(promise: Promise[str]) -> Promise[str]:
    """Return ``promise`` with a reader that takes the model id from the promise if the result has none."""
    return replace(promise, read=partial(_read_model_id, promised=promise.model_id))


def _read_model_id(result: Result, promised: str | None = None) -> str:
    answer = result.json
    if not isinstance(answer, dict) or answer.get("type") not in (None, "create_model", "load_weights"):
        raise APIResponseValidationError("the server's result is no new model", body=answer)
    model_id = answer.get("model_id") or promised
    if not isinstance(model_id, str):
        raise APIResponseValidationError("the server named no model_id", body=answer)
    if promised is not None and model_id != promised:
        raise APIResponseValidationError(
            f"the server promised model {promised!r}, and names another", body=answer
        )
    return model_id


def _read_unloaded(model_id: str, result: Result) -> UnloadModelResponse:
    unloaded = read(UnloadModelResponse, json_result(result, "unload_model"))
    if unloaded.model_id not in (None, model_id):
        raise APIResponseValidationError(f"the server has unloaded another model than {model_id!r}")
    return unloaded


def _optional(user_metadata: Mapping[str, str] | None, optimizer: OptimizerConfig | None) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if user_metadata is not None:
        fields["user_metadata"] = dict(user_metadata)
    if optimizer is not None:
        fields["optimizer_config"] = optimizer.to_wire()
    return fields
