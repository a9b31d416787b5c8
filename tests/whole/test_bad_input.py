"""Bad input: a clear, typed error within a second, and nothing sent where it can be known here."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator

import pytest

import tinkex
from tinkex import metrics, types
from tinkex.testing import TinkerServer

PROMPT = types.ModelInput.from_ints([1, 2])
GOOD = types.Datum(PROMPT, {"target_tokens": [2, 3], "weights": [1.0, 1.0]})


@pytest.fixture(autouse=True)
def within_a_second() -> Iterator[None]:
    """The client chooses to wait for less than a second, and nothing else takes as long as its timeouts do."""
    pauses: list[metrics.RetryEvent] = []
    remove = metrics.on_retry(pauses.append)
    began = time.monotonic()
    yield
    remove()
    assert sum(pause.wait for pause in pauses) < 1.0
    assert time.monotonic() - began < 20


@pytest.fixture
def service(server: TinkerServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as made:
        yield made


def test_no_key() -> None:
    with pytest.raises(tinkex.ConfigError, match=r"TINKER_API_KEY.*local://"):
        tinkex.ServiceClient(base_url="https://example.test")


@pytest.mark.parametrize("key", ["sk-1234", "tml-a b", "tml-\n", "Bearer tml-x", 5])
def test_malformed_key(key: str) -> None:
    with pytest.raises(tinkex.ConfigError) as caught:
        tinkex.ServiceClient(base_url="https://example.test", api_key=key)
    assert str(key) not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "example.test",
        "ftp://example.test",
        "https://",
        "http://host:99999",
        "http://a b",
        "http://u:p@h",
        "local:/x",
    ],
)
def test_wrong_url(url: str) -> None:
    with pytest.raises(tinkex.ConfigError, match="base_url"):
        tinkex.ServiceClient(base_url=url, api_key="tml-test")


def test_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(tinkex.APIConnectionError, match="refused"):
        tinkex.ServiceClient(base_url=url, api_key="tml-test")


def test_a_url_where_no_tinker_server_is(server: TinkerServer) -> None:
    with pytest.raises(tinkex.NotFoundError):
        tinkex.ServiceClient(base_url=server.url + "/elsewhere", api_key="tml-test")


def test_unknown_model(server: TinkerServer, service: tinkex.ServiceClient) -> None:
    server.on("/create_model", 404)
    with pytest.raises(tinkex.NotFoundError):
        service.create_lora_training_client("no-such-model")
    assert service.clients() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.create_lora_training_client(""),
        lambda s: s.create_lora_training_client("tinkex/byte-lm", rank=0),
        lambda s: s.create_lora_training_client("tinkex/byte-lm", rank=1.5),
        lambda s: s.create_lora_training_client(
            "tinkex/byte-lm", train_mlp=False, train_attn=False, train_unembed=False
        ),
        lambda s: s.create_sampling_client(),
        lambda s: s.create_sampling_client(model_path="/some/where"),
        lambda s: s.create_sampling_client(model_path="tinker://"),
        lambda s: s.create_training_client_from_state("weights/x"),
        lambda s: s.create_training_client_from_state_with_optimizer("http://x"),
        lambda s: s.close("finished"),
    ],
)
def test_nothing_is_sent_for_a_client_that_cannot_be(
    server: TinkerServer, service: tinkex.ServiceClient, call: Callable[[tinkex.ServiceClient], object]
) -> None:
    before = len(server.requests)
    with pytest.raises(tinkex.InputError):
        call(service)
    assert len(server.requests) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.forward_backward([], "cross_entropy"),
        lambda t: t.forward_backward(GOOD, "cross_entropy"),
        lambda t: t.forward_backward([PROMPT], "cross_entropy"),
        lambda t: t.forward_backward([types.Datum(types.ModelInput.empty(), {})], "cross_entropy"),
        lambda t: t.forward_backward([GOOD], ""),
        lambda t: t.forward_backward([GOOD], "ppo", {"clip_low_threshold": [1]}),
        lambda t: t.forward([], "cross_entropy"),
        lambda t: t.optim_step(types.AdamParams(learning_rate=math.nan)),
        lambda t: t.optim_step(0.1),
        lambda t: t.optim_step({"lr": 0.1}),
        lambda t: t.save_state(""),
        lambda t: t.save_state("a/b"),
        lambda t: t.save_state("a", ttl_seconds=5),
        lambda t: t.load_state("a"),
        lambda t: t.create_sampling_client("x"),
        lambda t: t.save_weights_and_get_sampling_client(kind="other"),
        lambda t: t.forward_backward_custom([types.Datum(PROMPT, {})], lambda data, logprobs: (0, {})),
    ],
)
def test_nothing_is_sent_for_training_that_cannot_be(
    server: TinkerServer, service: tinkex.ServiceClient, call: Callable[[tinkex.TrainingClient], object]
) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    before = len(server.requests)
    with pytest.raises(tinkex.InputError):
        call(training)
    assert len(server.requests) == before


def test_a_learning_rate_cannot_be_spoiled_later(service: tinkex.ServiceClient) -> None:
    params = types.AdamParams()
    with pytest.raises(AttributeError):
        params.learning_rate = math.inf  # type: ignore[misc]
    training = service.create_lora_training_client("tinkex/byte-lm")
    with pytest.raises(tinkex.InputError, match="learning_rate"):
        training.optim_step({"learning_rate": math.inf})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.sample([1, 2], 1, types.SamplingParams()),
        lambda s: s.sample(types.ModelInput.empty(), 1, types.SamplingParams()),
        lambda s: s.sample(PROMPT, 0, types.SamplingParams()),
        lambda s: s.sample(PROMPT, 1.5, types.SamplingParams()),
        lambda s: s.sample(PROMPT, 1, {"max_tokens": 0}),
        lambda s: s.sample(PROMPT, 1, 5),
        lambda s: s.sample({"chunks": [{"type": "sound"}]}, 1, types.SamplingParams()),
        lambda s: s.sample(PROMPT, 1, types.SamplingParams(max_tokens=0)),
        lambda s: s.sample(types.ModelInput.from_ints([-1]), 1, types.SamplingParams()),
        lambda s: s.sample(types.ModelInput.from_ints([0.5]), 1, types.SamplingParams()),  # type: ignore[list-item]
        lambda s: s.sample(PROMPT, 1, types.SamplingParams(), topk_prompt_logprobs=-1),
        lambda s: s.sample(PROMPT, 1, types.SamplingParams(), prompt_logprobs_last_n=1),
        lambda s: s.sample(
            PROMPT, 1, types.SamplingParams(), target_prompt_logprobs=types.TensorData([1.0], "float32")
        ),
        lambda s: s.compute_logprobs(PROMPT, prompt_logprobs_last_n=0),
    ],
)
def test_nothing_is_sent_for_a_sample_that_cannot_be(
    server: TinkerServer, service: tinkex.ServiceClient, call: Callable[[tinkex.SamplingClient], object]
) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    before = len(server.requests)
    with pytest.raises(tinkex.InputError):
        call(sampler)
    assert len(server.requests) == before
