"""The loss ``stable_reinforce`` of the embedded server, which needs to know where the tokens come from."""

from __future__ import annotations

import pytest

import tinkex
from tinkex import types
from tinkex.local import LocalServer

PROMPT = [1, 2, 3]


@pytest.mark.parametrize("wire_format", ["proto", "json"])
def test_it_raises_what_was_rewarded_and_wants_the_provenance(
    server: LocalServer, wire_format: tinkex.config.WireFormat
) -> None:
    config = tinkex.Config(base_url=server.base_url, api_key=server.api_key, wire_format=wire_format)
    with tinkex.ServiceClient(config=config) as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=8, seed=0)
        sampler = training.save_weights_and_get_sampling_client(record_stability_info=True)
        sample = sampler.sample(
            types.ModelInput.from_ints(PROMPT), 1, types.SamplingParams(max_tokens=4, seed=0)
        )
        sequence = sample.result(60).sequences[0]
        length, unrewarded = len(sequence.tokens), [0.0] * (len(PROMPT) - 1)
        assert sequence.logprobs is not None
        plain = types.Datum(
            types.ModelInput.from_ints(PROMPT + sequence.tokens[:-1]),
            {
                "target_tokens": PROMPT[1:] + sequence.tokens,
                "logprobs": unrewarded + sequence.logprobs,
                "advantages": unrewarded + [1.0] * length,
            },
        )
        with pytest.raises(tinkex.BadRequestError, match="provenance"):
            training.forward_backward([plain], "stable_reinforce").result(60)
        if wire_format == "json":
            return
        name = sequence.sequence_id
        datum = plain.with_provenance(
            [
                types.PromptProvenanceSpan(sequence_id=name, length=len(PROMPT)),
                types.SampledProvenanceSpan(sequence_id=name, length=length - 1),
            ],
            [
                types.PromptProvenanceSpan(sequence_id=name, offset=1, length=len(PROMPT) - 1),
                types.SampledProvenanceSpan(sequence_id=name, length=length),
            ],
        )
        sums = []
        for _ in range(10):
            passed = training.forward_backward([datum], "stable_reinforce")
            training.optim_step(types.AdamParams(learning_rate=1e-2))
            sums.append(sum(passed.result(60).loss_fn_outputs[0]["logprobs"].tolist()[-length:]))
        assert sums[-1] > sums[0] + 1
