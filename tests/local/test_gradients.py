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

BASE = BaseModel(dtype=np.float64)
BASES = {
    257: BASE,
    1300: BaseModel(1300, np.float64),  # two levels, and a last class that is smaller than the others
    151_936: BaseModel(151_936, np.float64),
}


def _model(rank: int = 3, base: BaseModel = BASE, **flags: bool) -> TrainingModel:
    """One whose adapters are all away from zero."""
    model = TrainingModel(base, LoraSpec(rank, 5, **flags))
    random = np.random.default_rng(0)
    tensors = {name: 0.05 * random.standard_normal(value.shape) for name, value in model.weights.items()}
    model.load(model.spec, tensors, 0, optimizer=False)
    return model


def _batch(
    loss: str, forward_only: bool = False, config: dict[str, float] | None = None, vocab: int = 257
) -> Batch:
    random = np.random.default_rng(1)
    data = []
    for length, width in ((7, None), (4, None), (3, 2)):
        shape = (length,) if width is None else (length, width)
        inputs = {"weights": random.uniform(0.1, 1, shape)}
        if loss != "cross_entropy":
            # Near the learner's own, so that some ratios are clipped and some are not.
            inputs["logprobs"] = -math.log(vocab) + random.uniform(-0.5, 0.5, shape)
            inputs["advantages"] = random.standard_normal(shape)
        data.append(Datum(random.integers(0, vocab, length), random.integers(0, vocab, shape), inputs))
    return Batch("m", 1, tuple(data), loss, config or {}, forward_only)


@pytest.mark.parametrize("vocab", BASES)
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_gradients_match_finite_differences(loss: str, vocab: int) -> None:
    model = _model(base=BASES[vocab])
    batch = _batch(loss, vocab=vocab)
    model.run(batch)
    random = np.random.default_rng(2)
    step = 1e-6
    ratios = {}
    highest = {"cispo": 4, "stable_reinforce": 1}.get(loss)
    if highest:  # the clipped ratio is a constant, which only a frozen one can be compared with
        ratios = {"frozen": [np.exp(o["logprobs"] - d.inputs["logprobs"]) for o, d in _outputs(model, batch)]}
    for name, gradient in model.gradients.items():
        direction = random.standard_normal(gradient.shape)
        values = []
        for sign in (1, -1):
            moved = dict(model.weights)
            moved[name] = moved[name] + sign * step * direction
            other = _model(base=BASES[vocab])
            other.load(other.spec, moved, 0, optimizer=False)
            if ratios:
                pairs = zip(_outputs(other, batch), ratios["frozen"], strict=True)
                terms = [
                    (
                        -np.clip(r, 0, highest) * o["logprobs"] * d.inputs["advantages"] * d.inputs["weights"]
                    ).sum()
                    for (o, d), r in pairs
                ]
                values.append(sum(terms))
            else:
                values.append(other.run(_batch(loss, forward_only=True, vocab=vocab)).metrics["loss:sum"])
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
        "stable_reinforce": [1 * 1 * 2, -down * 2 * 3],
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


def test_tokens_without_weight_change_no_gradient() -> None:
    for vocab, base in BASES.items():
        random = np.random.default_rng(4)
        tokens, targets = random.integers(0, vocab, 9), random.integers(0, vocab, (9, 3))
        weights = np.zeros((9, 3))
        weights[[1, 4, 5], [0, 2, 1]] = 1.0, -0.5, 2.0
        model = _model(base=base)
        model.run(Batch("m", 1, (Datum(tokens, targets, {"weights": weights}),), "cross_entropy", {}, False))
        every = _model(base=base)
        some = np.where(weights == 0, 1e-300, weights)  # no token is left out
        every.run(Batch("m", 1, (Datum(tokens, targets, {"weights": some}),), "cross_entropy", {}, False))
        for name, gradient in model.gradients.items():
            np.testing.assert_allclose(gradient, every.gradients[name], atol=1e-12)


@pytest.mark.parametrize("vocab", BASES)
@pytest.mark.parametrize(
    ("flags", "layers"),
    [({"train_mlp": False}, {"unembed", "classes"}), ({"train_unembed": False}, {"hidden"})],
)
def test_only_the_layers_asked_for_train(flags: dict[str, bool], layers: set[str], vocab: int) -> None:
    model = _model(base=BASES[vocab], **flags)
    assert {name.split(".")[0] for name in model.weights} == layers & BASES[vocab].layers.keys()
    model.run(_batch("cross_entropy", vocab=vocab))
    assert all(gradient.any() for gradient in model.gradients.values())


@pytest.mark.parametrize("vocab", BASES)
def test_an_untrained_model_is_near_uniform_and_seeds_decide_the_adapters(vocab: int) -> None:
    base = BASES[vocab]
    model = TrainingModel(base, LoraSpec(4, 7))
    loss = model.run(_batch("cross_entropy", forward_only=True, vocab=vocab))
    assert abs(float(np.mean([o["logprobs"].mean() for o in loss.outputs])) + math.log(vocab)) < 0.3
    again, other = TrainingModel(base, LoraSpec(4, 7)), TrainingModel(base, LoraSpec(4, 8))
    for name, value in model.weights.items():
        assert (value == again.weights[name]).all()
        assert name.endswith(".up") or (value != other.weights[name]).any()
    context = np.zeros((1, CONTEXT), np.int64)
    np.testing.assert_array_equal(
        AdaptedModel(base, model.weights, model.spec).distribution(context).table,
        AdaptedModel(base, {}, model.spec).distribution(context).table,
    )


@pytest.mark.parametrize("vocab", BASES)
def test_probabilities_add_up_to_one_and_are_those_of_training(vocab: int) -> None:
    base, trained = BASES[vocab], _model(base=BASES[vocab])
    model = AdaptedModel(base, trained.weights, trained.spec)
    tokens = np.random.default_rng(6).integers(0, vocab, 5)
    table = model.distribution(base.windows(tokens)).table
    assert table.shape == (5, vocab)
    np.testing.assert_allclose(np.exp(table).sum(axis=1), 1, rtol=1e-9)
    targets = np.random.default_rng(7).integers(0, vocab, (5, 40))
    targets[:, :2] = 0, vocab - 1
    [output] = trained.run(Batch("m", 1, (Datum(tokens, targets, {}),), "cross_entropy", {}, True)).outputs
    np.testing.assert_allclose(output["logprobs"], np.take_along_axis(table, targets, axis=1), rtol=1e-9)
    np.testing.assert_allclose(
        model.distribution(base.windows(tokens)).logprobs(targets), output["logprobs"], rtol=1e-9
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
