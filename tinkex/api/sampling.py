"""Sampling sessions and samples."""

from __future__ import annotations

from typing import Any

from tinkex.api.call import post, read, send
from tinkex.api.futures import Promise, read_promise
from tinkex.errors import APIResponseValidationError
from tinkex.http.transport import Response, Transport
from tinkex.types.flags import JoinSamplingSessionResponse
from tinkex.types.sampling import SampleResponse
from tinkex.wire import json_codec

_BACKPRESSURE = {"X-Tinker-Sampling-Backpressure": "1"}


def create_sampling_session(
    transport: Transport, session_id: str, seq_id: int, base_model: str | None, model_path: str | None
) -> str:
    """Open a sampler on a base model or on saved weights; its id."""
    payload: dict[str, Any] = {
        "type": "create_sampling_session",
        "session_id": session_id,
        "sampling_session_seq_id": seq_id,
    }
    if base_model is not None:
        payload["base_model"] = base_model
    if model_path is not None:
        payload["model_path"] = model_path
    answer = post(transport, "/create_sampling_session", payload)
    if not isinstance(answer, dict) or not isinstance(answer.get("sampling_session_id"), str):
        raise APIResponseValidationError("the server's answer names no sampling_session_id", body=answer)
    return str(answer["sampling_session_id"])


def join_sampling_session(transport: Transport, sampling_session_id: str) -> int:
    """A number of this client's own among those that share the sampling session."""
    answer = post(transport, "/join_sampling_session", {"sampling_session_id": sampling_session_id})
    return read(JoinSamplingSessionResponse, answer).client_counter


def sample(transport: Transport, payload: dict[str, Any]) -> Promise:
    """Submit one sample request. A 429 is backpressure: it is raised, not tried again here."""
    response = send(transport, "POST", "/asample", payload, headers=_BACKPRESSURE, final=(429,))
    return read_promise(response)


def read_sample(response: Response) -> SampleResponse:
    """The result of a sample request, in whichever format it came."""
    if not response.is_proto:
        return json_codec.decode_sample(response.json())
    from tinkex.wire import proto_codec

    return proto_codec.decode_sample(response.content)
