"""Custom losses in torch train the embedded model exactly as the losses it has itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import tinkex
from tinkex import types

pytestmark = pytest.mark.filterwarnings("error")
MODEL = "tinkex/byte-lm"
STEPS = 3
# With such an eps a step of AdamW is in proportion to the gradient, so that the weights tell its size too.
PROPORTIONAL = types.AdamParams(learning_rate=100.0, eps=100.0)
Losses = Callable[..., tuple[Any, dict[str, Any]]]


@pytest.fixture(scope="module")
def service() -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(base_url="local://") as client:
        yield client


def _ratio(logprobs: Any, sampled: Any) -> Any:
    return torch.exp(logprobs - sampled)


def _with_metrics(loss: Any) -> tuple[Any, dict[str, Any]]:
    return loss, {"custom/loss:sum": loss, "custom/loss:mean": loss}


def cross_entropy(logprobs: Any, weights: Any) -> tuple[Any, dict[str, Any]]:
    loss = -(logprobs * weights).sum()
    return _with_metrics(loss)


def importance_sampling(logprobs: Any, sampled: Any, advantages: Any) -> tuple[Any, dict[str, Any]]:
    loss = -(_ratio(logprobs, sampled) * advantages).sum()
    return _with_metrics(loss)


def ppo(logprobs: Any, sampled: Any, advantages: Any) -> tuple[Any, dict[str, Any]]:
    ratio = _ratio(logprobs, sampled)
    loss = -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).sum()
    return _with_metrics(loss)


def cispo(logprobs: Any, sampled: Any, advantages: Any) -> tuple[Any, dict[str, Any]]:
    loss = -(_ratio(logprobs, sampled).clamp(0.0, 4.0).detach() * logprobs * advantages).sum()
    return _with_metrics(loss)


def data(loss: Losses, width: int | None) -> tuple[list[types.Datum], list[types.Datum]]:
    """The same batch for the server's loss and for ours, which finds the sampler's logprobs as ``sampled``."""
    random = torch.Generator().manual_seed(1)
    built_in, custom = [], []
    for length in (7, 4):
        shape = (length,) if width is None else (length, width)
        prompt = types.ModelInput.from_ints(torch.randint(0, 257, (length,), generator=random).tolist())
        targets = {"target_tokens": torch.randint(0, 257, shape, generator=random)}
        if loss is cross_entropy:
            inputs = {"weights": torch.rand(shape, generator=random)}
            built_in.append(types.Datum(prompt, targets | inputs))
            custom.append(built_in[-1])
            continue
        # Near the learner's own, so that some ratios are clipped and some are not.
        sampled = -5.6 + torch.rand(shape, generator=random) - 0.5
        advantages = {"advantages": torch.randn(shape, generator=random)}
        built_in.append(types.Datum(prompt, targets | advantages | {"logprobs": sampled}))
        custom.append(types.Datum(prompt, targets | advantages | {"sampled": sampled}))
    return built_in, custom


def as_callable(loss: Losses) -> Losses:
    """What a user writes who has the whole batch in hand."""
    names = list(_parameters(loss))[1:]

    def of_batch(batch: list[types.Datum], logprobs: list[Any]) -> tuple[Any, dict[str, Any]]:
        each = [
            loss(lp, *(datum.loss_fn_inputs[name].to_torch() for name in names))[0]
            for datum, lp in zip(batch, logprobs, strict=True)
        ]
        return sum(each), {"custom/loss:sum": sum(each), "custom/loss:mean": sum(each) / len(each)}

    return of_batch


def _parameters(loss: Losses) -> tuple[str, ...]:
    return loss.__code__.co_varnames[: loss.__code__.co_argcount]


def train(
    service: tinkex.ServiceClient, pass_: Callable[[tinkex.TrainingClient], Any], probe: list[types.Datum]
) -> tuple[list[dict[str, float]], torch.Tensor]:
    """The metrics of each step, and the logprobs of ``probe`` after the last one."""
    training = service.create_lora_training_client(MODEL, rank=4, seed=3)
    metrics = []
    for _ in range(STEPS):
        output = pass_(training)
        training.optim_step(PROPORTIONAL)
        metrics.append(output.result(60).metrics)
    after = training.forward(probe, "cross_entropy").result(60).loss_fn_outputs
    return metrics, torch.cat([output["logprobs"].to_torch().reshape(-1) for output in after])


@pytest.mark.parametrize("width", [None, 3], ids=["T", "TxK"])
@pytest.mark.parametrize("loss", [cross_entropy, importance_sampling, ppo, cispo])
def test_a_torch_loss_trains_as_the_built_in_one(loss: Losses, width: int | None) -> None:
    built_in, custom = data(loss, width)
    probe = data(cross_entropy, None)[0]
    with tinkex.ServiceClient(base_url="local://") as service:
        ranks: dict[str, Any] = dict.fromkeys(_parameters(loss), 1 if width is None else 2)
        handle = service.create_custom_loss(loss, ranks).result(60)
        assert handle.loss_id is None, "the embedded server runs no custom losses"
        of_batch = as_callable(loss)
        expected = train(service, lambda t: t.forward_backward(built_in, loss.__name__), probe)
        untrained = service.create_lora_training_client(MODEL, rank=4, seed=3).forward(probe, "cross_entropy")
        plain = train(service, lambda t: t.forward_backward_custom(custom, of_batch), probe)
        handled = train(service, lambda t: t.forward_backward_custom(custom, handle), probe)
        before = torch.cat([out["logprobs"].to_torch() for out in untrained.result(60).loss_fn_outputs])
    assert (expected[1] - before).abs().max() > 0.05, "training moved the model far more than rounding does"
    for metrics, logprobs in (plain, handled):
        torch.testing.assert_close(logprobs, expected[1], rtol=1e-4, atol=1e-4)
        for ours, theirs in zip(metrics, expected[0], strict=True):
            assert ours["loss:sum"] == pytest.approx(theirs["loss:sum"], rel=1e-4, abs=1e-4)
            assert ours["custom/loss:sum"] == pytest.approx(ours["loss:sum"])
            assert ours["custom/loss:mean"] == pytest.approx(ours["loss:sum"] / len(custom))


def test_what_a_loss_leaves_out_has_no_gradient(service: tinkex.ServiceClient) -> None:
    first, second = data(cross_entropy, None)[0]
    batch, probe = [first, second], [first, second]

    def of_first(data: list[types.Datum], logprobs: list[Any]) -> tuple[Any, dict[str, float]]:
        return -(logprobs[0] * data[0].loss_fn_inputs["weights"].to_torch()).sum(), {}

    alone = train(service, lambda t: t.forward_backward([first], "cross_entropy"), probe)
    both = train(service, lambda t: t.forward_backward_custom(batch, of_first), probe)
    torch.testing.assert_close(both[1], alone[1], rtol=1e-4, atol=1e-4)


def test_inputs_come_at_the_ranks_that_were_declared(service: tinkex.ServiceClient) -> None:
    def soft(logprobs: Any, scale: Any, target_distribution: Any) -> tuple[Any, dict[str, Any]]:
        loss = -scale * (target_distribution * logprobs).sum()
        return loss, {"custom/positions:sum": loss * 0 + logprobs.shape[0], "custom/scale:mean": scale}

    ranks: dict[str, Any] = {"logprobs": 2, "scale": 0, "target_distribution": 2}
    handle = service.create_custom_loss(soft, ranks).result(60)
    prompt = types.ModelInput.from_ints([1, 2])
    targets = torch.tensor([[3, 4], [5, 6]])
    share = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    batch = [
        types.Datum(
            prompt,
            {"target_tokens": targets, "target_distribution": share, "scale": torch.tensor(float(scale))},
        )
        for scale in (1, 4)
    ]
    weighted = [types.Datum(prompt, {"target_tokens": targets, "weights": scale * share}) for scale in (1, 4)]
    ours = train(service, lambda t: t.forward_backward_custom(batch, handle), weighted)
    theirs = train(service, lambda t: t.forward_backward(weighted, "cross_entropy"), weighted)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-4)
    assert ours[0][0]["custom/positions:sum"] == 4.0
    assert ours[0][0]["custom/scale:mean"] == 2.5


def test_a_loss_that_is_no_scalar_reaches_the_caller_and_the_client_goes_on(
    service: tinkex.ServiceClient,
) -> None:
    handle = service.create_custom_loss(lambda logprobs: (logprobs, {}), {"logprobs": 1}).result(60)
    training = service.create_lora_training_client(MODEL, rank=4)
    batch = data(cross_entropy, None)[0]
    with pytest.raises(tinkex.InputError, match=r"scalar, but has shape \[7\]"):
        training.forward_backward_custom(batch, handle).result(60)
    with pytest.raises(RuntimeError, match="does not require grad"):
        training.forward_backward_custom(batch, lambda data, lp: (torch.tensor(1.0), {})).result(60)
    training.forward_backward(batch, "cross_entropy").result(60)


def test_a_handle_can_be_called_as_it_will_be_run(service: tinkex.ServiceClient) -> None:
    def nll(logprobs: Any, weights: Any) -> tuple[Any, dict[str, Any]]:
        return -(logprobs * weights).sum(), {"custom/nll:mean": -logprobs.mean()}

    handle = service.create_custom_loss(nll, {"logprobs": 1, "weights": 1}).result(60)
    prompt = types.ModelInput.from_ints([1, 2])
    batch = [
        types.Datum(prompt, {"target_tokens": [1, 2], "weights": [weight, 0.0]}) for weight in (1.0, 2.0)
    ]
    loss, metrics = handle(batch, [torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -4.0])])
    assert (float(loss), float(metrics["custom/nll:mean"])) == (7.0, 2.5)
