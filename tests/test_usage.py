"""Usage: which tokens count, once each, under which model, and what they cost."""

from __future__ import annotations

import pytest
from clients import DATUM, PARAMS, PROMPT, client_of, datum

import tinkex
from tinkex import metrics, types
from tinkex.concurrency.tally import Tally
from tinkex.local import LocalServer
from tinkex.testing import Reply, TinkerServer
from tinkex.usage import ModelUsage, usage_of

BYTE_LM = "tinkex/byte-lm"


@pytest.fixture(autouse=True)
def _from_zero() -> None:
    metrics.reset()


def test_each_kind_of_work_counts_its_tokens() -> None:
    with tinkex.ServiceClient(base_url="local://") as service:
        training = service.create_lora_training_client(BYTE_LM, rank=2)
        assert service.usage().models == {}
        training.forward_backward([datum(*range(10)), datum(1, 2)], "cross_entropy").result()
        training.forward([datum(*range(6))], "cross_entropy").result()
        training.forward_backward_custom(
            [datum(*range(4))], lambda data, logprobs: (0.0, {}, [each * 0 for each in logprobs])
        ).result()
        sampler = training.save_weights_and_get_sampling_client()
        sampled = sampler.sample(types.ModelInput.from_ints([65] * 7), 3, types.SamplingParams(max_tokens=5))
        found = sum(len(sequence.tokens) for sequence in sampled.result().sequences)
        sampler.compute_logprobs(types.ModelInput.from_ints([65] * 4)).result()
        # A prompt counts once for all its samples; computing logprobs samples one token.
        expected = ModelUsage(prefill=7 + 4, sample=found + 1, train=10 + 3, forward=5 + 3)
        assert service.usage().models == {BYTE_LM: expected}
        assert str(service.usage()) == (
            f"tokens: {BYTE_LM}: 11 prefilled, {found + 1} sampled, 13 trained, 8 forward only"
        )
        with tinkex.ServiceClient(base_url="local://") as other:
            assert other.usage().models == {}
            other.create_sampling_client(base_model=BYTE_LM).sample(PROMPT, 1, PARAMS).result()
            assert service.usage().models == {BYTE_LM: expected}
            assert metrics.usage().models[BYTE_LM].prefill == 11 + 2
    assert service.usage().models == {BYTE_LM: expected}  # still known after the end of the session


def test_the_model_of_a_checkpoint_is_found_out() -> None:
    with (
        LocalServer() as server,
        tinkex.ServiceClient(base_url=server.base_url, api_key=server.api_key) as service,
    ):
        training = service.create_lora_training_client(BYTE_LM, rank=2)
        state = training.save_state("s").result().path
        weights = training.save_weights_for_sampler("w").result().path
        resumed = service.create_training_client_from_state(state)
        resumed.forward_backward([DATUM], "cross_entropy").result()
        for sampler in (
            service.create_sampling_client(weights),
            resumed.save_weights_and_get_sampling_client(),
        ):
            sampler.sample(PROMPT, 1, types.SamplingParams(max_tokens=1)).result()
        assert set(metrics.usage().models) == {weights, state}
        assert service.usage().models == {BYTE_LM: ModelUsage(prefill=4, sample=2, train=2)}
        assert metrics.usage().models == service.usage().models


def test_failed_work_does_not_count_and_repeated_work_counts_once(server: TinkerServer) -> None:
    with client_of(server) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.once("/asample", 503, Reply(429, {}, headers={"Retry-After": "0"}))
        server.once("/forward_backward", 500)
        sampler.sample(PROMPT, 1, PARAMS).result(60)
        training.forward_backward([DATUM], "cross_entropy").result(60)
        counted = service.usage().models["tinkex/byte-lm"]
        assert (counted.prefill, counted.train) == (2, 2)
        server.once("/asample", Reply(422, {"detail": "no"}))
        server.once("/forward_backward", Reply(422, {"detail": "no"}))
        with pytest.raises(tinkex.UnprocessableEntityError):
            sampler.sample(PROMPT, 1, PARAMS).result(60)
        with pytest.raises(tinkex.UnprocessableEntityError):
            training.forward_backward([DATUM], "cross_entropy").result(60)
        assert service.usage().models == {"tinkex/byte-lm": counted}


def test_costs() -> None:
    counter = Tally()
    counter.add("a", prefill=1_000_000, cached=500_000, sample=2_000_000, train=3_000_000, forward=1_000_000)
    counter.add("b", sample=10)
    prices = {"a": {"prefill": 0.2, "sample": 0.5, "train": 0.4}}
    usage = usage_of(counter, prices)
    assert usage.models["a"].cost == pytest.approx(1.5 * 0.2 + 2 * 0.5 + 4 * 0.4)
    assert usage.models["b"].cost is None
    assert usage.cost is None
    usage = usage_of(counter, {"a": {**prices["a"], "cached": 0.02, "forward": 0.1}, "b": {"sample": 1.0}})
    assert usage.cost == pytest.approx(0.2 + 0.01 + 1.0 + 1.2 + 0.1 + 1e-5)
    assert "($" in str(usage)
    assert (
        usage_of(counter, {"a": {"prefill": 0.2}}).models["a"].cost is None
    )  # it has sampled, at no known price


@pytest.mark.parametrize(
    "prices", [{"a": 1.0}, {"a": {"input": 1.0}}, {"a": {"train": -1.0}}, {"a": {"train": float("nan")}}]
)
def test_prices_that_make_no_sense(prices: dict[str, dict[str, float]]) -> None:
    with pytest.raises(tinkex.InputError, match="'a'"):
        metrics.usage(prices)


def test_tokens_from_the_cache_of_the_server(server: TinkerServer) -> None:
    answer = {"sequences": [{"tokens": [1], "stop_reason": "length"}]}
    with client_of(server) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        for hits in (1, 50, -3):  # a prompt of two tokens cannot have had more from the cache
            server.once("/retrieve_future", {**answer, "prompt_cache_hit_tokens": hits})
            sampler.sample(PROMPT, 1, PARAMS).result(60)
        assert service.usage().models == {"tinkex/byte-lm": ModelUsage(prefill=3, cached=3, sample=3)}


def test_images_count_as_many_tokens_as_they_are_said_to_have() -> None:
    text, image = types.EncodedTextChunk([1, 2]), types.ImageChunk(b"PNG", "png")
    assert types.ModelInput([text, image]).known_length == 2
    sized = types.ImageChunk(b"PNG", "png", expected_tokens=7)
    assert types.ModelInput([text, sized]).known_length == 9
