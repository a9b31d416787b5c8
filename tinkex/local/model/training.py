"""A model in training: its adapters, the gradients added up so far, and the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tinkex.local.model.adamw import AdamParams, AdamState, adamw_step, clipped, gradient_norm
from tinkex.local.model.arrays import Array, Floats, Weights
from tinkex.local.model.batch import Batch, Datum
from tinkex.local.model.errors import InvalidInput, NotFinite
from tinkex.local.model.lora import LoraSpec, new_adapters, trainable_layers
from tinkex.local.model.losses import LOSSES
from tinkex.local.model.network import LAYER_GROUPS, AdaptedModel, BaseModel
from tinkex.local.model.output_layer import overflow_allowed
from tinkex.local.model.outputs import TrainingOutput

BlockMap = Callable[[Callable[[slice], Weights], Sequence[slice]], Iterable[Weights]]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The adapters of a model at one moment. They never change: an optimizer step makes new ones."""

    base: BaseModel
    spec: LoraSpec
    weights: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Saved:
    """The content of a checkpoint: tensors by name, and the number of optimizer steps before it.

    The optimizer's moments are named ``first.NAME`` and ``second.NAME`` after their adapter.
    """

    spec: LoraSpec
    tensors: Mapping[str, Floats]
    step: int

    @property
    def adapters(self) -> dict[str, Floats]:
        """The adapters, without the optimizer's moments."""
        return {k: v for k, v in self.tensors.items() if not k.startswith(("first.", "second."))}


class TrainingModel:
    """Adapters on top of ``base``, trained one step at a time. Only one thread may use it at a time.

    ``map_blocks`` runs a function over the blocks of a batch; it may use several cores. Raises ``InvalidInput`` if
    ``spec`` leaves nothing to train.
    """

    def __init__(self, base: BaseModel, spec: LoraSpec, map_blocks: BlockMap = map) -> None:
        self._base = base
        self._map = map_blocks
        self.spec: LoraSpec = spec
        layers = trainable_layers(spec, {layer: LAYER_GROUPS[layer] for layer in base.layers})
        if not layers:
            raise InvalidInput(
                "lora_config: nothing to train; this model has mlp and unembed layers, no attention"
            )
        shapes = {layer: (base.layers[layer].shape[0], base.layers[layer].shape[1]) for layer in layers}
        self._weights: Mapping[str, Floats] = new_adapters(spec, shapes, base.dtype)
        self._optimizer = AdamState.fresh(self._weights)
        self.steps: int = 0
        """How many steps the optimizer has taken since this object was made."""
        self._reset()

    def _reset(self) -> None:
        self.has_gradients: bool = False
        self._gradients: Weights = {name: np.zeros_like(value) for name, value in self._weights.items()}
        self._model = AdaptedModel(self._base, self._weights, self.spec)

    @property
    def gradients(self) -> Mapping[str, Floats]:
        """The gradients that the next ``optim_step`` will use."""
        return self._gradients

    @property
    def step(self) -> int:
        """The number of optimizer steps so far, with those of a checkpoint whose optimizer was loaded."""
        return self._optimizer.step

    @property
    def weights(self) -> Mapping[str, Floats]:
        """The adapters as they are now."""
        return self._weights

    def snapshot(self) -> Snapshot:
        """The adapters as they are now, for a sampler to keep."""
        return Snapshot(self._base, self.spec, self._weights)

    def run(self, batch: Batch) -> TrainingOutput:
        """Do a forward pass and, unless the batch is forward only, add its gradients to those added up so far.

        Raises ``NotFinite`` if the loss is infinite or NaN, and ``InvalidInput`` if the datums do not go together;
        then no gradient is added.
        """
        outputs: list[Mapping[str, Floats]] = [{} for _ in batch.data]
        total = 0.0
        gradients: Weights = {}
        for places in _equal_widths(batch.data):
            group = [batch.data[i] for i in places]
            logprobs, losses = self._run_group(group, batch, gradients)
            total += float(losses.sum(dtype=np.float64))
            ends = np.cumsum([len(datum.tokens) for datum in group])[:-1]
            for i, lp, loss in zip(places, np.split(logprobs, ends), np.split(losses, ends), strict=True):
                shape = batch.data[i].targets.shape
                outputs[i] = {"logprobs": lp.reshape(shape), "elementwise_loss": loss.reshape(shape)}
        if not np.isfinite(total):
            raise NotFinite(f"{batch.loss}: the loss is not finite")
        self.has_gradients = self.has_gradients or not batch.forward_only
        with overflow_allowed():
            for name, value in gradients.items():
                self._gradients[name] += value
        return TrainingOutput(outputs, {"loss:sum": total})

    def _run_group(self, group: list[Datum], batch: Batch, gradients: Weights) -> tuple[Floats, Floats]:
        """The log-probabilities and losses of one group; its gradients are added to ``gradients``."""
        context = np.concatenate([self._base.windows(datum.tokens) for datum in group])
        targets = np.concatenate([_columns(datum.targets) for datum in group])
        inputs = _stacked(group, targets.shape)
        logprobs = np.empty(targets.shape, self._base.dtype)
        losses = np.empty_like(logprobs)

        def run_block(cut: slice) -> Weights:
            trace = self._model.trace(context[cut], targets[cut])
            logprobs[cut] = trace.logprobs()
            here = {name: value[cut] for name, value in inputs.items()}
            with overflow_allowed():
                losses[cut], upstream = LOSSES[batch.loss](logprobs[cut], here, batch.config)
                return {} if batch.forward_only else self._model.gradients(trace, upstream)

        # The order of the blocks is kept, so that the sum does not depend on which thread was faster.
        for block in self._map(run_block, list(self._model.blocks(context, targets.shape[1]))):
            with overflow_allowed():
                for name, value in block.items():
                    if name in gradients:
                        gradients[name] += value
                    else:
                        gradients[name] = value
        return logprobs, losses

    def optim_step(self, params: AdamParams) -> dict[str, float]:
        """Update the adapters, set the gradients to zero, and return the gradient's norm before clipping.

        Raises ``NotFinite`` if a weight would become infinite or NaN; then the adapters stay as they were, and the
        gradients are set to zero.
        """
        before = self._weights, self._optimizer
        gradients = self._gradients
        with np.errstate(all="ignore"):
            norm = gradient_norm(gradients)
            gradients = dict(clipped(gradients, norm, params.grad_clip_norm))
            self._weights, self._optimizer = adamw_step(self._weights, gradients, self._optimizer, params)
        self._reset()
        if not self._model.finite:
            self._weights, self._optimizer = before
            self._reset()
            raise NotFinite("optim_step: the step would leave weights that are not finite")
        self.steps += 1
        return {"grad_norm:mean": norm}

    def saved(self, *, optimizer: bool) -> Saved:
        """Return the content of a checkpoint of the present model, with or without optimizer moments."""
        tensors = dict(self._weights)
        if optimizer:
            tensors |= {f"first.{name}": value for name, value in self._optimizer.first.items()}
            tensors |= {f"second.{name}": value for name, value in self._optimizer.second.items()}
        return Saved(self.spec, tensors, self._optimizer.step)

    def load(self, spec: LoraSpec, tensors: Mapping[str, Floats], step: int, *, optimizer: bool) -> None:
        """Replace the adapters by those of a checkpoint.

        With ``optimizer``, the optimizer goes on from the checkpoint's moments and step; otherwise it starts anew.
        Raises ``InvalidInput`` if the checkpoint's adapters have other names or shapes than this model's.
        """
        names = {name for name in tensors if not name.startswith(("first.", "second."))}
        if names != self._weights.keys() or any(tensors[n].shape != self._weights[n].shape for n in names):
            raise InvalidInput("load_weights: the checkpoint's adapters do not fit this model's lora_config")
        if optimizer and not all(f"second.{name}" in tensors for name in names):
            raise InvalidInput("load_weights: the checkpoint holds no optimizer state")
        self._weights = {name: tensors[name].astype(self._base.dtype) for name in self._weights}
        self._optimizer = AdamState.fresh(self._weights)
        if optimizer:
            self._optimizer = AdamState(
                step,
                {name: tensors[f"first.{name}"] for name in self._weights},
                {name: tensors[f"second.{name}"] for name in self._weights},
            )
        self.spec = replace(spec, seed=self.spec.seed)
        self._reset()


def _columns(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _equal_widths(data: tuple[Datum, ...]) -> list[list[int]]:
    """The indices of the datums, grouped by the number of targets per position, so that a group is one matrix."""
    groups: dict[int, list[int]] = {}
    for i, datum in enumerate(data):
        groups.setdefault(_columns(datum.targets).shape[1], []).append(i)
    return list(groups.values())


def _stacked(group: list[Datum], shape: tuple[int, ...]) -> dict[str, Floats]:
    """The inputs of a group's datums, one array ``[n, m]`` per name.

    A datum without ``weights`` counts as having weights of 1. Clipping thresholds must come with every datum of the
    group or with none.
    """
    stacked: dict[str, Floats] = {}
    for name in sorted({name for datum in group for name in datum.inputs}):
        if name != "weights" and any(name not in datum.inputs for datum in group):
            raise InvalidInput(f"{name}: must be given for every datum of a batch or for none")
        ones = (np.ones(datum.targets.shape, np.float32) for datum in group)
        stacked[name] = np.concatenate(
            [_columns(datum.inputs.get(name, one)) for datum, one in zip(group, ones, strict=True)]
        )
    return stacked
