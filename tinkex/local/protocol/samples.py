"""The body of ``/asample``, read into a request of the model."""

from __future__ import annotations

import numpy as np

from tinkex.local.model.arrays import Ints
from tinkex.local.model.offered import BYTE_LM, OfferedModel
from tinkex.local.model.sampling import SampleRequest
from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.refused import Refused
from tinkex.local.protocol.tensors import json_tensor, json_tokens

_MAX_SAMPLES = 1024
_MAX_STOPS = 64
_MAX_TOPK = 257
"""The most tokens of a position that are listed: the whole vocabulary of the small model, a part of others."""


def sample_request(fields: Fields, base: OfferedModel) -> SampleRequest:
    """The request in the body of ``/asample``, for a sampler of the base model ``base``.

    Raises ``Refused`` (400 or 422) if a field is missing, mistyped or out of range, and ``InvalidInput`` if a token is
    not in the vocabulary.
    """
    params = fields.child("sampling_params", {})
    chunks = json_tokens(fields.child("prompt"))
    prompt = base.check_tokens(np.concatenate([*chunks, np.zeros(0, np.int64)]), "prompt")
    longest = base.max_context_length
    room = longest - len(prompt)
    if not len(prompt) or room < 1:
        raise Refused(400, f"prompt: must hold 1 to {longest - 1} tokens, holds {len(prompt)}")
    max_tokens = params.integer("max_tokens", room, low=1)
    if max_tokens > room:
        raise Refused(400, f"sampling_params.max_tokens: prompt and sample may have {longest} tokens in all")
    top_k = params.integer("top_k", -1, low=-1)
    top_p = params.number("top_p", 1.0, low=0, high=1)
    if top_p == 0:
        raise Refused(422, "sampling_params.top_p: must be more than 0")
    stop, stop_texts = _stops(params, base)
    topk = min(base.vocab_size, _MAX_TOPK)
    return SampleRequest(
        prompt=prompt,
        num_samples=fields.integer("num_samples", 1, low=1, high=_MAX_SAMPLES),
        max_tokens=max_tokens,
        temperature=params.number("temperature", 1.0, low=0),
        top_k=max(top_k, 0),
        top_p=top_p,
        seed=_seed(params),
        stop=stop,
        prompt_logprobs=fields.flag("prompt_logprobs", default=False),
        last_n=_last_n(fields, len(prompt)),
        topk_prompt=fields.integer("topk_prompt_logprobs", 0, low=0, high=topk),
        topk_sample=fields.integer("topk_sample_logprobs", 0, low=0, high=topk),
        target_prompt=_targets(fields, len(prompt), base),
        prompt_alt=fields.integer("prompt_alt_tokens_k", 0, low=0, high=topk),
        end_of_text=base.end_of_text,
        stop_texts=stop_texts,
        decode=base.decode,
    )


def _seed(params: Fields) -> int | None:
    seed = params.integer("seed", None)
    # The protocol has signed seeds; numpy takes no negative ones.
    return None if seed is None else seed % 2**64


def _stops(params: Fields, base: OfferedModel) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """The token sequences, and the strings, that end a sample. For the byte tokenizer a string is a sequence."""
    raw = params.raw("stop", [])
    parts = [raw] if isinstance(raw, str) else raw
    if not isinstance(parts, list) or len(parts) > _MAX_STOPS:
        raise params.refuse("stop", f"must be a string, or a list of at most {_MAX_STOPS} strings or tokens")
    stops: list[tuple[int, ...]] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str) and part:
            if base.tokenizer_id == BYTE_LM.tokenizer_id:
                stops.append(tuple(part.encode(errors="surrogatepass")))
            elif base.decode is not None:
                texts.append(part)
            else:
                raise Refused(
                    400,
                    f"sampling_params.stop: this server has no tokenizer of {base.name}, so it cannot find a string in "
                    "a sample; give token ids, or start the server without the size of the vocabulary, so that it "
                    "loads the tokenizer",
                )
        elif isinstance(part, int) and not isinstance(part, bool) and 0 <= part < base.vocab_size:
            stops.append((part,))
        else:
            raise params.refuse(
                "stop", f"must hold non-empty strings, or token ids from 0 to {base.vocab_size - 1}"
            )
    return tuple(stops), tuple(texts)


def _last_n(fields: Fields, length: int) -> int | None:
    last_n = fields.integer("prompt_logprobs_last_n", None, low=1)
    if last_n is not None and last_n > length - 1:
        raise Refused(400, f"prompt_logprobs_last_n: must be within 1 and {length - 1} for this prompt")
    if last_n is not None and not fields.flag("prompt_logprobs", default=False):
        raise Refused(400, "prompt_logprobs_last_n: needs prompt_logprobs")
    return last_n


def _targets(fields: Fields, length: int, base: OfferedModel) -> Ints | None:
    """The token ids ``[length - 1, k]`` to score at each position after the first; -1 asks for nothing."""
    if "target_prompt_logprobs" not in fields:
        return None
    tensor = fields.child("target_prompt_logprobs")
    targets = json_tensor(tensor, "target_prompt_logprobs")
    if targets.dtype.kind != "i" or targets.ndim != 2 or len(targets) != length - 1:
        raise Refused(400, f"target_prompt_logprobs: must be int64 of shape [{length - 1}, k]")
    base.check_tokens(np.maximum(targets, 0), "target_prompt_logprobs")
    return targets
