"""The mathematics: gradients against finite differences, AdamW against torch's published update."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from tinkex.local.model.adamw import AdamParams, AdamState, adamw_step, clipped, gradient_norm
from tinkex.local.model.arrays import Floats, Weights
from tinkex.local.model.batch import Batch, Datum
from tinkex.local.model.lora import LoraSpec
from tinkex.local.model.losses import LOSSES
from tinkex.local.model.network import CONTEXT, AdaptedModel, BaseModel
from tinkex.local.model.training import TrainingModel

BASE = BaseModel(np.float64)


def _model(rank: int = 3, **flags: bool) -> TrainingModel:
    """One whose adapters are all away from zero."""
    model = TrainingModel(BASE, LoraSpec(rank, 5, **flags))
    random = np.random.default_rng(0)
    tensors = {name: 0.05 * random.standard_normal(value.shape) for name, value in model.weights.items()}
    model.load(model.spec, tensors, 0, optimizer=False)
    return model


def _batch(loss: str, forward_only: bool = False, config: dict[str, float] | None = None) -> Batch:
    random = np.random.default_rng(1)
    data = []
    for length, width in ((7, None), (4, None), (3, 2)):
        shape = (length,) if width is None else (length, width)
        inputs = {"weights": random.uniform(0.1, 1, shape)}
        if loss != "cross_entropy":
            # Near the learner's own, so that some ratios are clipped and some are not.
            inputs["logprobs"] = -5.6 + random.uniform(-0.5, 0.5, shape)
            inputs["advantages"] = random.standard_normal(shape)
        data.append(Datum(random.integers(0, 257, length), random.integers(0, 257, shape), inputs))
    return Batch("m", 1, tuple(data), loss, config or {}, forward_only)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_gradients_match_finite_differences(loss: str) -> None:
    model = _model()
    batch = _batch(loss)
    model.run(batch)
    random = np.random.default_rng(2)
    step = 1e-6
    ratios = {}
    if loss == "cispo":  # its clipped ratio is a constant, which only a frozen one can be compared with
        ratios = {"frozen": [np.exp(o["logprobs"] - d.inputs["logprobs"]) for o, d in _outputs(model, batch)]}
    for name, gradient in model.gradients.items():
        direction = random.standard_normal(gradient.shape)
        values = []
        for sign in (1, -1):
            moved = dict(model.weights)
            moved[name] = moved[name] + sign * step * direction
            other = _model()
            other.load(other.spec, moved, 0, optimizer=False)
            if ratios:
                pairs = zip(_outputs(other, batch), ratios["frozen"], strict=True)
                terms = [
                    (-np.clip(r, 0, 4) * o["logprobs"] * d.inputs["advantages"] * d.inputs["weights"]).sum()
                    for (o, d), r in pairs
                ]
                values.append(sum(terms))
            else:
                values.append(other.run(_batch(loss, forward_only=True)).metrics["loss:sum"])
        numeric = (values[0] - values[1]) / (2 * step)
        exact = float((gradient * direction).sum())
        assert exact == pytest.approx(numeric, rel=1e-5, abs=1e-7), name


def _outputs(model: TrainingModel, batch: Batch) -> list[tuple[Mapping[str, Floats], Datum]]:
    only = Batch(batch.model_id, 1, batch.data, batch.loss, batch.config, True)
    return list(zip(model.run(only).outputs, batch.data, strict=True))


def test_formulas_of_the_losses() -> None:
    lp, inputs = (
        np.array([[-1.0], [-2.0]]),
        {"logprobs": np.array([[-1.5], [-1.0]]), "advantages": np.array([[2.0], [-3.0]])},
    )
    up, down = math.exp(0.5), math.exp(-1.0)
    expected = {
        "importance_sampling": [-up * 2, down * 3],
        "ppo": [-1.2 * 2, 0.8 * 3],
        "cispo": [up * 1 * 2, -down * 2 * 3],
    }
    for name, values in expected.items():
        losses, _ = LOSSES[name](lp, inputs, {})
        np.testing.assert_allclose(losses[:, 0], values)
    wide, _ = LOSSES["ppo"](lp, inputs, {"clip_low_threshold": 0.0, "clip_high_threshold": 9.0})
    np.testing.assert_allclose(wide[:, 0], expected["importance_sampling"])


def test_gradients_add_up_until_the_step_and_forward_leaves_them() -> None:
    once, twice = _model(), _model()
    once.run(_batch("cross_entropy"))
    twice.run(_batch("cross_entropy"))
    twice.run(_batch("cross_entropy", forward_only=True))
    twice.run(_batch("cross_entropy"))
    for name, gradient in once.gradients.items():
        np.testing.assert_allclose(twice.gradients[name], 2 * gradient)
    twice.optim_step(AdamParams())
    assert all(not gradient.any() for gradient in twice.gradients.values())


@pytest.mark.parametrize(
    ("flags", "layer"), [({"train_mlp": False}, "unembed"), ({"train_unembed": False}, "hidden")]
)
def test_only_the_layers_asked_for_train(flags: dict[str, bool], layer: str) -> None:
    model = _model(**flags)
    assert {name.split(".")[0] for name in model.weights} == {layer}
    model.run(_batch("cross_entropy"))
    assert all(gradient.any() for gradient in model.gradients.values())


def test_an_untrained_model_is_near_uniform_and_seeds_decide_the_adapters() -> None:
    model = TrainingModel(BASE, LoraSpec(4, 7))
    loss = model.run(_batch("cross_entropy", forward_only=True))
    assert abs(float(np.mean([o["logprobs"].mean() for o in loss.outputs])) + math.log(257)) < 0.3
    again, other = TrainingModel(BASE, LoraSpec(4, 7)), TrainingModel(BASE, LoraSpec(4, 8))
    for name, value in model.weights.items():
        assert (value == again.weights[name]).all()
        assert name.endswith(".up") or (value != other.weights[name]).any()
    context = np.zeros((1, CONTEXT), np.int64)
    np.testing.assert_array_equal(
        AdaptedModel(BASE, model.weights, model.spec).logits(context),
        AdaptedModel(BASE, {}, model.spec).logits(context),
    )


def test_adamw_is_the_published_update() -> None:
    random = np.random.default_rng(3)
    weight = random.standard_normal((4, 3))
    params = AdamParams(3e-3, 0.8, 0.97, 1e-6, 0.1, 0.0)
    reference, first, second = weight.copy(), np.zeros((4, 3)), np.zeros((4, 3))
    weights: Weights = {"w": weight}
    state = AdamState.fresh({"w": weight})
    for step in range(1, 8):
        gradient = random.standard_normal((4, 3))
        weights, state = adamw_step(weights, {"w": gradient}, state, params)
        # The algorithm box in the documentation of torch.optim.AdamW, line by line.
        reference = reference - params.learning_rate * params.weight_decay * reference
        first = params.beta1 * first + (1 - params.beta1) * gradient
        second = params.beta2 * second + (1 - params.beta2) * gradient**2
        first_hat, second_hat = first / (1 - params.beta1**step), second / (1 - params.beta2**step)
        reference = reference - params.learning_rate * first_hat / (np.sqrt(second_hat) + params.eps)
        np.testing.assert_allclose(weights["w"], reference, rtol=1e-12)


def test_clipping_is_by_the_global_norm() -> None:
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    norm = gradient_norm(gradients)
    assert norm == 5
    scaled = clipped(gradients, norm, 1.0)
    assert gradient_norm(scaled) == pytest.approx(5 / (5 + 1e-6))
    assert clipped(gradients, norm, 0.0) is gradients
    assert clipped(gradients, norm, 6.0) is gradients
