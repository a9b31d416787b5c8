"""One training example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinkex.errors import InputError
from tinkex.types.model_input import ModelInput
from tinkex.types.tensor_data import TensorData, TensorDtype

# The dtype of a plain list follows from its name, as every Tinker server expects it.
_DTYPE_BY_NAME: dict[str, TensorDtype] = {
    "target_tokens": "int64",
    "weights": "float32",
    "advantages": "float32",
    "logprobs": "float32",
    "clip_low_threshold": "float32",
    "clip_high_threshold": "float32",
    "sequence_ratio_mask": "float32",
}
_SPARSE_NAMES = ("target_tokens", "weights")


@dataclass(frozen=True)
class Datum:
    """A model input and the tensors its loss needs.

    ``loss_fn_inputs`` maps a name to a ``TensorData``, a (nested) list, an ``array.array``, a numpy
    array or a torch tensor. Known names have a fixed dtype (``target_tokens`` int64; ``weights``,
    ``advantages``, ``logprobs``, ``clip_low_threshold``, ``clip_high_threshold`` float32), others take
    theirs from the values. A 2-D torch tensor of ``target_tokens`` or ``weights`` is sent sparse where
    that is smaller. Typically ``target_tokens`` is the input shifted by one, shape ``(length,)``.

    Raises ``InputError`` naming the tensor, for ragged, mistyped or lossy input.
    """

    model_input: ModelInput
    loss_fn_inputs: Mapping[str, TensorData] = field(default_factory=dict)

    def __init__(self, model_input: ModelInput, loss_fn_inputs: Mapping[str, Any] | None = None) -> None:
        if not isinstance(model_input, ModelInput):
            raise InputError(f"model_input must be a ModelInput, not {type(model_input).__name__}")
        tensors = {name: _tensor(name, value) for name, value in (loss_fn_inputs or {}).items()}
        object.__setattr__(self, "model_input", model_input)
        object.__setattr__(self, "loss_fn_inputs", tensors)

    @property
    def nbytes(self) -> int:
        """Estimated size in a proto body: 4 a text token, images by their data, tensors by their values."""
        size = 0
        for chunk in self.model_input.chunks:
            if chunk.type == "encoded_text":
                size += len(chunk.packed)
            elif chunk.type == "image":
                size += len(chunk.data)
            else:
                size += len(chunk.location)
        return size + sum(tensor.nbytes for tensor in self.loss_fn_inputs.values())


def _tensor(name: str, value: Any) -> TensorData:
    try:
        if isinstance(value, TensorData):
            wanted = _DTYPE_BY_NAME.get(name, value.dtype)
            if value.dtype != wanted:
                raise InputError(f"must be {wanted}, not {value.dtype}")
            return value
        if name in _SPARSE_NAMES and hasattr(value, "to_sparse_csr") and value.ndim == 2:
            return TensorData.from_torch_sparse(value)
        return TensorData(value, _DTYPE_BY_NAME.get(name))
    except InputError as error:
        raise InputError(f"loss_fn_inputs[{name!r}]: {error}") from None
