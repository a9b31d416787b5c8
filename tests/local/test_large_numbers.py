"""Numbers that overflow fail the request that made them, and change nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Api, datum, prompt

FORWARD = {"data": [datum("abc", "def")], "loss_fn": "cross_entropy"}

pytestmark = pytest.mark.filterwarnings("error")


def failed(api: Api, endpoint: str, **body: Any) -> str:
    """The reason why the work of a request failed."""
    answer = api.post("retrieve_future", request_id=api.post(endpoint, **body)["request_id"])
    assert answer["category"] == "user"
    return str(answer["error"])


def far_off(q: float) -> dict[str, Any]:
    """A datum whose sampler gave its tokens the log-probability ``q``."""
    bad = datum("abc", "def")
    for name, value in (("logprobs", q), ("advantages", 1.0)):
        bad["loss_fn_inputs"][name] = {"data": [value] * 6, "dtype": "float32"}
    return {"data": [bad], "loss_fn": "importance_sampling"}


def test_a_step_too_large_leaves_the_weights(api: Api) -> None:
    model = api.model()
    before = api.run("forward", model_id=model, forward_input=FORWARD)
    api.run("forward_backward", model_id=model, forward_backward_input=FORWARD)
    assert "not finite" in failed(api, "optim_step", model_id=model, adam_params={"learning_rate": 1e39})
    assert api.run("forward", model_id=model, forward_input=FORWARD) == before


def test_a_loss_too_large_adds_no_gradient(api: Api) -> None:
    model, other = api.model(), api.model()
    api.run("forward_backward", model_id=model, forward_backward_input=FORWARD)
    assert "not finite" in failed(
        api, "forward_backward", model_id=model, forward_backward_input=far_off(-1e30)
    )
    api.run("forward_backward", model_id=other, forward_backward_input=FORWARD)
    norms = [api.run("optim_step", model_id=each)["metrics"] for each in (model, other)]
    assert norms[0] == norms[1]


def test_weights_too_large_to_compute_with_give_no_samples(api: Api) -> None:
    model = api.model(train_mlp=True)
    for rate in (1e10, 1e10):
        api.run("forward_backward", model_id=model, forward_backward_input=FORWARD)
        api.run("optim_step", model_id=model, adam_params={"learning_rate": rate})
    body = {"sampling_session_id": api.sampler(model), "prompt": prompt("a")}
    assert "not finite" in failed(api, "asample", **body, sampling_params={"max_tokens": 1})


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e308])
def test_any_temperature_samples(api: Api, temperature: float) -> None:
    params = {"max_tokens": 4, "temperature": temperature, "seed": 1}
    sample = api.sample(api.sampler(api.model()), "abc", sampling_params=params)
    assert len(sample["sequences"][0]["tokens"]) == 4
