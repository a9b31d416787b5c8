"""Cuts a large batch into several requests, and joins their outputs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tinkex.types.datum import Datum
from tinkex.types.training import ForwardBackwardOutput

logger = logging.getLogger("tinkex")


def split(data: Sequence[Datum], max_count: int, max_bytes: int) -> list[list[Datum]]:
    """Cut ``data`` into runs of at most ``max_count`` datums and ``max_bytes`` estimated bytes.

    A datum that is larger than ``max_bytes`` is a run of its own.
    """
    chunks: list[list[Datum]] = [[]]
    size = 0
    for datum in data:
        nbytes = datum.nbytes
        if chunks[-1] and (len(chunks[-1]) >= max_count or size + nbytes > max_bytes):
            chunks.append([])
            size = 0
        chunks[-1].append(datum)
        size += nbytes
    return chunks


def join(outputs: Sequence[ForwardBackwardOutput]) -> ForwardBackwardOutput:
    """Join outputs into one: the datums one after the other, and the metrics reduced by their names."""
    if len(outputs) == 1:
        return outputs[0]
    return ForwardBackwardOutput(
        outputs[0].loss_fn_output_type,
        [tensors for output in outputs for tensors in output.loss_fn_outputs],
        reduce_metrics(outputs),
    )


def reduce_metrics(outputs: Sequence[ForwardBackwardOutput]) -> dict[str, float]:
    """Reduce the metrics of all outputs, by the suffix of each name (``loss:sum``), as the official SDK does.

    The suffixes are ``sum``, ``min`` and ``max``; ``mean``, weighted by the number of datums of each output;
    ``slack``, which is the largest value minus that mean; ``hash2``, which is the sum modulo 2**64; and
    ``unique``, which keeps the first value under its name and the others as ``name_1``, ``name_2`` and so on.
    A metric that some outputs lack is reduced over the others.
    """
    reduced: dict[str, float] = {}
    for name in dict.fromkeys(name for output in outputs for name in output.metrics):
        having = [output for output in outputs if name in output.metrics]
        values = [output.metrics[name] for output in having]
        weights = [len(output.loss_fn_outputs) for output in having]
        total = sum(weights)
        mean = sum(v * w for v, w in zip(values, weights)) / total if total else sum(values) / len(values)
        reduction = name.rpartition(":")[2]
        if reduction == "sum":
            reduced[name] = sum(values)
        elif reduction == "min":
            reduced[name] = min(values)
        elif reduction == "max":
            reduced[name] = max(values)
        elif reduction == "slack":
            reduced[name] = max(values) - mean
        elif reduction == "hash2":
            reduced[name] = sum(int(value) for value in values) % 2**64
        elif reduction == "unique":
            reduced[name] = values[0]
            reduced.update({f"{name}_{at}": value for at, value in enumerate(values[1:], 1)})
        else:
            if reduction != "mean":
                logger.debug("metric %r names no reduction; its mean is taken", name)
            reduced[name] = mean
    return reduced
