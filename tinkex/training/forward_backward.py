"""Forward and backward passes over a batch, which may need several requests, and passes for custom losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tinkex.api.training import Batch
from tinkex.losses import custom
from tinkex.training import chunking, wire_format
from tinkex.training.call import Call
from tinkex.training.request_queue import Turn
from tinkex.types.datum import Datum
from tinkex.types.flags import ServerFlags
from tinkex.types.training import ForwardBackwardOutput

Count = Callable[..., None]
"""Counts the tokens of a pass that has its result, as ``train=tokens`` or ``forward=tokens``."""


def call(
    batch: Batch, flags: ServerFlags, count: Count
) -> Call[ForwardBackwardOutput, ForwardBackwardOutput]:
    """Return the call for one pass over ``batch``, cut into requests of the size that the server asks for."""
    chunks = chunking.split(batch.data, flags.fwdbwd_max_chunk_len, flags.fwdbwd_max_chunk_bytes_count)
    parts = [Batch(chunk, batch.loss_fn, batch.loss_fn_config, batch.forward_only) for chunk in chunks]
    return Call(
        "forward" if batch.forward_only else "forward_backward",
        [partial(wire_format.submit, batch=part, compress=flags.proto_compress_fwdbwd) for part in parts],
        partial(_join, batch, count),
        parallel=flags.parallel_fwdbwd_chunks,
        # If one request fails, the gradients of the others cannot be undone. A forward pass adds no gradients.
        all_or_nothing=not batch.forward_only,
    )


def _join(batch: Batch, count: Count, outputs: Sequence[ForwardBackwardOutput]) -> ForwardBackwardOutput:
    tokens = sum(datum.model_input.known_length for datum in batch.data)
    count(**{"forward" if batch.forward_only else "train": tokens})
    return chunking.join(outputs)


def with_custom_loss(
    data: Sequence[Datum], loss_fn: custom.CustomLossFn, flags: ServerFlags, count: Count
) -> Callable[[Turn], ForwardBackwardOutput]:
    """Return a function that runs a forward pass, the loss of the user on its logprobs, and a backward pass."""
    forward = custom.forward_data(data)

    def work(turn: Turn) -> ForwardBackwardOutput:
        first = turn.run(call(Batch(forward, "cross_entropy", None, forward_only=True), flags, count))
        backward, metrics = custom.backward_data(data, first, loss_fn)
        second = turn.run(call(Batch(backward, "cross_entropy", None, forward_only=False), flags, count))
        # The backward pass reports its own loss, to which the official SDK gives this name.
        of_pass = {
            "surrogate_loss:sum" if name == "loss:sum" else name: value
            for name, value in second.metrics.items()
        }
        return ForwardBackwardOutput(
            second.loss_fn_output_type, second.loss_fn_outputs, {**of_pass, **metrics}
        )

    return work
