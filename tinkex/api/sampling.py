"""Sampling sessions and samples."""

from __future__ import annotations

from functools import partial
from typing import Any

from tinkex.api.call import post, read
from tinkex.api.futures import Promise, Result, json_result, submit
from tinkex.errors import APIResponseValidationError
from tinkex.http.transport import Transport
from tinkex.types.flags import JoinSamplingSessionResponse
from tinkex.types.sampling import SampleRequest, SampleResponse
from tinkex.wire import json_codec

_BACKPRESSURE = {"X-Tinker-Sampling-Backpressure": "1"}


def create_sampling_session(
    transport: Transport, session_id: str, seq_id: int, base_model: str | None, model_path: str | None
) -> str:
    """Open a sampler on a base model or on saved weights; return its id."""
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
    """Get a number that tells this client from the others that share the sampling session."""
    answer = post(transport, "/join_sampling_session", {"sampling_session_id": sampling_session_id})
    return read(JoinSamplingSessionResponse, answer).client_counter


def sample(
    transport: Transport, sampling_session_id: str, seq_id: int, request: SampleRequest
) -> Promise[SampleResponse]:
    """Submit one sample request.

    A 429 is raised and not tried again here, because it must pause all samplers of this server and key.
    """
    target = request.target_prompt_logprobs
    options = {
        "prompt_logprobs": request.prompt_logprobs,
        "topk_prompt_logprobs": request.topk_prompt_logprobs,
        "topk_sample_logprobs": request.topk_sample_logprobs,
        "target_prompt_logprobs": None if target is None else json_codec.encode_tensor(target),
        "prompt_alt_tokens_k": request.prompt_alt_tokens_k,
        "prompt_logprobs_last_n": request.prompt_logprobs_last_n,
        "record_stability_info": request.record_stability_info,
    }
    payload = {
        "type": "sample",
        "sampling_session_id": sampling_session_id,
        "seq_id": seq_id,
        "num_samples": request.num_samples,
        "prompt": json_codec.encode_model_input(request.prompt),
        "sampling_params": request.sampling_params.to_wire(),
        # Options with their default value are left out.
        **{name: value for name, value in options.items() if value},
    }
    read_sample = partial(_read_sample, request.num_samples)
    return submit(transport, "/asample", payload, "Sample", read_sample, headers=_BACKPRESSURE, final=(429,))


def _read_sample(num_samples: int, result: Result) -> SampleResponse:
    """Read the proto or JSON result of a request for ``num_samples`` sequences."""
    if result.proto is None:
        response = json_codec.decode_sample(json_result(result, "sample", has="sequences"))
    else:
        from tinkex.wire import proto_codec

        response = proto_codec.decode_sample(result.proto)
    if len(response.sequences) != num_samples:
        raise APIResponseValidationError(
            f"the server's result has {len(response.sequences)} sequences, not {num_samples}"
        )
    return response
