"""Sampling: what each setting promises."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tinkex.local.model.output_layer import Distribution, OutputLayer, Vocabulary
from tinkex.local.model.sampling import SampleRequest, choose

from .conftest import Api, datum, prompt


def _request(**settings: Any) -> SampleRequest:
    plain: dict[str, Any] = {
        "prompt": np.zeros(1, np.int64),
        "num_samples": 1,
        "max_tokens": 1,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "seed": 0,
        "stop": (),
        "prompt_logprobs": False,
        "last_n": None,
        "topk_prompt": 0,
        "topk_sample": 0,
        "target_prompt": None,
        "prompt_alt": 0,
        "end_of_text": None,
    }
    return SampleRequest(**{**plain, **settings})


def _distribution(probabilities: list[float], class_size: int, n: int) -> Distribution:
    """The same probabilities at ``n`` positions, by an output layer with classes of ``class_size`` tokens."""
    vocabulary = Vocabulary(len(probabilities), class_size)
    if vocabulary.classes == 1:
        matrices = {"unembed": np.log([probabilities])}
        return Distribution(OutputLayer(vocabulary, matrices, None), np.ones((n, 1)))
    padded = np.zeros((vocabulary.classes, class_size))
    padded.flat[: len(probabilities)] = probabilities
    # In place of signs, each class takes a row of its own of the common matrix.
    totals = np.zeros((vocabulary.classes, vocabulary.classes))
    totals[0] = np.log(padded.sum(axis=1))
    matrices = {"classes": totals, "unembed": np.log(np.maximum(padded, 1e-9))}
    layer = OutputLayer(vocabulary, matrices, np.eye(vocabulary.classes))
    return Distribution(layer, np.ones((n, vocabulary.classes)))


def _drawn(probabilities: list[float], class_size: int, n: int = 4000, **settings: Any) -> np.ndarray:
    """How often each token was chosen."""
    distribution = _distribution(probabilities, class_size, n)
    draws = np.random.default_rng(0).random((n, distribution.vocabulary.draws))
    chosen = choose(distribution, _request(**settings), draws)
    return np.bincount(chosen, minlength=len(probabilities)) / n


@pytest.mark.parametrize("class_size", [5, 2, 3])
def test_frequencies_follow_temperature_top_k_and_top_p(class_size: int) -> None:
    given = [0.1, 0.4, 0.2, 0.25, 0.05]
    drawn = partial(_drawn, given, class_size)
    np.testing.assert_allclose(drawn(), given, atol=0.04)
    squared = np.square(given) / np.square(given).sum()
    np.testing.assert_allclose(drawn(temperature=0.5), squared, atol=0.04)
    np.testing.assert_allclose(drawn(top_k=2), [0, 8 / 13, 0, 5 / 13, 0], atol=0.04)
    np.testing.assert_allclose(drawn(top_p=0.6), [0, 8 / 13, 0, 5 / 13, 0], atol=0.04)
    np.testing.assert_allclose(drawn(top_p=0.01), [0, 1, 0, 0, 0])
    np.testing.assert_allclose(drawn(temperature=0), [0, 1, 0, 0, 0])


@pytest.mark.parametrize("top_p", [0.1, 0.9])
def test_top_p_takes_as_many_tokens_of_a_large_vocabulary_as_it_needs(top_p: float) -> None:
    size, n = 4096, 1500
    left = size * top_p
    found = np.count_nonzero(_drawn([1 / size] * size, 64, n=n, top_p=top_p))
    assert found == pytest.approx(left * (1 - np.exp(-n / left)), rel=0.1)  # distinct ones of n draws


@pytest.fixture
def trained(api: Api) -> str:
    model = api.model()
    api.train(model, [datum("abc", "defghij"), datum("say: ", "one two three")], 30)
    return api.sampler(model)


def test_seeds_repeat_and_samples_of_one_request_differ(api: Api) -> None:
    sampler = api.sampler(api.model())
    params = {"max_tokens": 12, "seed": 4}
    first, second = (
        api.sample(sampler, "x", num_samples=3, sampling_params=params)["sequences"] for _ in range(2)
    )
    assert first == second
    assert len({tuple(sequence["tokens"]) for sequence in first}) == 3
    other = api.sample(sampler, "x", num_samples=3, sampling_params={**params, "seed": 5})["sequences"]
    assert other[0]["tokens"] != first[0]["tokens"]


@pytest.mark.parametrize(
    ("stop", "expected", "reason"),
    [
        ("two", "one two", "stop"),
        (["zz", "e t"], "one t", "stop"),
        ([ord("w")], "one tw", "stop"),
        ([], "one two three", "stop"),
    ],
)
def test_stops(api: Api, trained: str, stop: Any, expected: str, reason: str) -> None:
    params = {"max_tokens": 30, "temperature": 0, "stop": stop}
    sequence = api.sample(trained, "say: ", sampling_params=params)["sequences"][0]
    assert bytes(t for t in sequence["tokens"] if t < 256).decode() == expected
    assert sequence["stop_reason"] == reason


def test_length_ends_a_sample(api: Api, trained: str) -> None:
    sequence = api.sample(trained, "say: ", sampling_params={"max_tokens": 5, "temperature": 0})["sequences"][
        0
    ]
    assert bytes(sequence["tokens"]) == b"one t"
    assert sequence["stop_reason"] == "length"


def test_prompt_scores_agree_with_sampled_ones(api: Api, trained: str) -> None:
    sampled = api.sample(
        trained, "abc", sampling_params={"max_tokens": 5, "temperature": 0}, topk_sample_logprobs=2
    )
    sequence = sampled["sequences"][0]
    text = "abc" + bytes(sequence["tokens"]).decode()
    scored = api.sample(
        trained,
        text,
        sampling_params={"max_tokens": 1},
        prompt_logprobs=True,
        topk_prompt_logprobs=2,
        target_prompt_logprobs={
            "data": [x for t in text.encode()[1:] for x in (t, -1)],
            "dtype": "int64",
            "shape": [len(text) - 1, 2],
        },
    )
    scores = scored["prompt_logprobs"]
    assert scores[0] is None
    np.testing.assert_allclose(scores[3:], sequence["logprobs"], atol=1e-4)
    targets = np.reshape(scored["target_prompt_logprobs"]["data"], (-1, 2))
    np.testing.assert_allclose(targets[:, 0], scores[1:], atol=1e-6)
    assert not targets[:, 1].any()
    for row, sampled_row in zip(scored["topk_prompt_logprobs"][3:], sequence["topk_logprobs"], strict=True):
        assert [i for i, _ in row] == [i for i, _ in sampled_row]
    last = api.sample(
        trained, text, sampling_params={"max_tokens": 1}, prompt_logprobs=True, prompt_logprobs_last_n=2
    )["prompt_logprobs"]
    assert last[:-2] == [None] * (len(text) - 2)
    np.testing.assert_allclose(last[-2:], scores[-2:], atol=1e-5)


def test_a_sampler_does_not_move_with_its_model(api: Api) -> None:
    model = api.model()
    sampler = api.sampler(model)
    scores = [api.sample(sampler, "abc", prompt_logprobs=True, sampling_params={"max_tokens": 1})]
    api.train(model, [datum("abc", "def")], 3)
    scores.append(api.sample(sampler, "abc", prompt_logprobs=True, sampling_params={"max_tokens": 1}))
    assert scores[0]["prompt_logprobs"] == scores[1]["prompt_logprobs"]


def test_numbers_of_samples(api: Api) -> None:
    sampler = api.post(
        "create_sampling_session", session_id=api.sid, sampling_session_seq_id=1, base_model="tinkex/byte-lm"
    )["sampling_session_id"]
    body = {
        "sampling_session_id": sampler,
        "prompt": prompt("a"),
        "sampling_params": {"max_tokens": 1},
        "num_samples": 2,
    }
    first = api.post("asample", seq_id=0, **body)
    assert len(first["sample_sequence_ids"]) == 2
    assert api.post("asample", seq_id=0, **body) == first
    assert api.send("asample", seq_id=0, **{**body, "num_samples": 1}).status_code == 409
    clone = api.post("join_sampling_session", sampling_session_id=sampler)["client_counter"]
    theirs = api.post("asample", seq_id=clone * 10**9, **body)
    target = {"type": "sampling_session", "sampling_session_id": sampler, "cloned_sampler_id": clone}
    done = api.post("retrieve_futures", target=target, prev_cursor=0)
    assert [c["request_id"] for c in done["completions"]] == [theirs["request_id"]]
    assert (
        api.post("retrieve_futures", target=target, prev_cursor=done["cursor"], timeout=0)["completions"]
        == []
    )
    assert api.get(f"samplers/{sampler}") == {
        "sampler_id": sampler,
        "base_model": "tinkex/byte-lm",
        "model_path": None,
    }


def test_a_long_sample_can_be_cancelled_and_delays_no_other(api: Api) -> None:
    sampler = api.sampler(api.model())
    body = {"sampling_session_id": sampler, "prompt": prompt("a"), "sampling_params": {"max_tokens": 30000}}
    long = [api.post("asample", num_samples=16, **body) for _ in range(3)]
    assert api.sample(sampler, "b", sampling_params={"max_tokens": 2})["sequences"]
    for each in long:
        api.post("cancel_future", request_id=each["request_id"])
        assert api.post("retrieve_future", request_id=each["request_id"])["category"] == "user"
