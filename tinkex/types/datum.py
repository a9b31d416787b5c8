"""One training example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tinkex.errors import InputError
from tinkex.types.data import Data
from tinkex.types.model_input import ModelInput
from tinkex.types.provenance import ProvenanceSpan, ProvenanceSpans, checked
from tinkex.types.tensor_data import TensorData, TensorDtype

_DTYPE_BY_NAME: dict[str, TensorDtype] = {
    "target_tokens": "int64",
    "weights": "float32",
    "advantages": "float32",
    "logprobs": "float32",
    "clip_low_threshold": "float32",
    "clip_high_threshold": "float32",
    "sequence_ratio_mask": "float32",
}
"""The dtypes that Tinker servers expect of these tensors, whatever the values look like."""
LossFnInputs = Mapping[str, TensorData]
"""The tensors that a loss reads, by name."""

_SPARSE_NAMES = ("target_tokens", "weights")
"""The tensors that a server accepts in sparse form."""


@dataclass(frozen=True)
class Datum(Data):
    """One training example: a model input, and the tensors that the loss reads.

    ``loss_fn_inputs`` maps a name to a ``TensorData``, a (nested) list, an ``array.array``, a numpy array or a
    torch tensor. Some names have a fixed dtype: ``target_tokens`` is int64; ``weights``, ``advantages``,
    ``logprobs``, ``clip_low_threshold``, ``clip_high_threshold`` and ``sequence_ratio_mask`` are float32. For
    other names the dtype follows from the values. A 2-D torch tensor of ``target_tokens`` or ``weights`` is
    sent in sparse form if that is smaller.

    ``target_tokens`` is usually the input shifted by one token, with the shape ``(length,)``::

        Datum(ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:]})

    Raises ``InputError``, which names the tensor, for a ragged list, a wrong dtype, or a value that the dtype
    cannot hold.
    """

    model_input: ModelInput
    loss_fn_inputs: LossFnInputs = field(default_factory=dict)
    model_input_spans: ProvenanceSpans | None = None
    """Where the tokens of ``model_input`` came from. ``with_provenance`` sets it."""
    loss_fn_input_spans: ProvenanceSpans | None = None
    """Where the ``target_tokens`` came from. ``with_provenance`` sets it."""

    def __init__(
        self,
        model_input: ModelInput,
        loss_fn_inputs: Mapping[str, Any] | None = None,
        model_input_spans: Iterable[ProvenanceSpan] | None = None,
        loss_fn_input_spans: Iterable[ProvenanceSpan] | None = None,
    ) -> None:
        model_input = ModelInput.model_validate(model_input)
        tensors = {name: _tensor(name, value) for name, value in (loss_fn_inputs or {}).items()}
        object.__setattr__(self, "model_input", model_input)
        object.__setattr__(self, "loss_fn_inputs", tensors)
        if (model_input_spans is None) != (loss_fn_input_spans is None):
            raise InputError("give model_input_spans and loss_fn_input_spans, or neither")
        if model_input_spans is not None and loss_fn_input_spans is not None:
            target = tensors.get("target_tokens")
            rows = target.shape[0] if target is not None and len(target.shape) == 1 else None
            spans = checked("model_input", model_input_spans, model_input.length)
            object.__setattr__(self, "model_input_spans", spans)
            spans = checked("loss_fn_inputs", loss_fn_input_spans, rows)
            object.__setattr__(self, "loss_fn_input_spans", spans)

    def with_provenance(
        self,
        model_input: Iterable[ProvenanceSpan],
        loss_fn_inputs: Iterable[ProvenanceSpan],
    ) -> Datum:
        """Return the same example with the origin of its tokens: which sampled sequences they come from.

        The lengths of the ``model_input`` spans must add up to the length of the model input, and those of the
        ``loss_fn_inputs`` spans to the length of a one-dimensional ``target_tokens``; ``InputError`` is raised
        otherwise. Spans are sent in proto only: a server that accepts only JSON does not get them.
        """
        return Datum(self.model_input, self.loss_fn_inputs, model_input, loss_fn_inputs)

    @property
    def nbytes(self) -> int:
        """The estimated size in a proto body, in bytes: that of the model input and of all tensor values."""
        return self.model_input.nbytes + sum(tensor.nbytes for tensor in self.loss_fn_inputs.values())


def _tensor(name: str, value: Any) -> TensorData:
    try:
        if isinstance(value, Mapping):
            value = TensorData.model_validate(value)
        if isinstance(value, TensorData):
            return value.to_dtype(_DTYPE_BY_NAME.get(name, value.dtype))
        if name in _SPARSE_NAMES and hasattr(value, "to_sparse_csr") and value.ndim == 2:
            return TensorData.from_torch_sparse(value)
        return TensorData(value, _DTYPE_BY_NAME.get(name))
    except InputError as error:
        raise InputError(f"loss_fn_inputs[{name!r}]: {error}") from None
