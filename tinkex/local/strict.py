"""What a strict server refuses, and what it warns of: mistakes that an open server lets pass.

A refusal is an error of the request. A warning travels in the header ``Warning`` of the answer (RFC 9111, section
5.5), which Tinkex shows to its user and other clients ignore, and is written to the log of the server. Saves that were
forgotten are found by ``State``, when models and sessions end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from tinkex.local.model.batch import Batch, Datum
from tinkex.local.model.errors import InvalidInput
from tinkex.local.sessions import Model
from tinkex.local.web.answer import Answer

logger = logging.getLogger("tinkex.local")


def check_batch(model: Model, batch: Batch) -> list[str]:
    """Return the warnings for a batch. A model is warned once of targets that are not the input shifted by one.

    Raises ``InvalidInput`` for a backward pass over a datum whose weights are all zero.
    """
    for i, datum in enumerate(batch.data):
        weights = datum.inputs.get("weights")
        if not batch.forward_only and weights is not None and not weights.any():
            raise InvalidInput(
                f"data[{i}].weights: all of them are zero, so nothing can be learned from this datum, and it would "
                "be paid for; leave it out (strict)"
            )
    place = next((i for i, datum in enumerate(batch.data) if not _is_shifted(datum)), None)
    if place is None or model.shift_warned:
        return []
    model.shift_warned = True
    text = (
        f"data[{place}].target_tokens of model {model.id} are not the input shifted by one token: the target of a "
        "position is the token that follows it, so with tokens[:-1] as the input they are tokens[1:]"
    )
    logger.warning("%s", text)
    return [text]


def _is_shifted(datum: Datum) -> bool:
    """Whether the targets with a weight are the tokens that follow; several targets for a position count as such."""
    if datum.targets.ndim != 1 or len(datum.tokens) < 2:
        return True
    counts = datum.inputs.get("weights", np.ones(len(datum.tokens)))[:-1] != 0
    return bool((datum.targets[:-1] == datum.tokens[1:])[counts].all())


def check_step(model: Model) -> None:
    """Raise ``InvalidInput`` if no backward pass has been run since the last step of the optimizer."""
    if not model.training.has_gradients:
        raise InvalidInput(
            "optim_step: there are no gradients, since no forward_backward has succeeded after the last optim_step; "
            "the weights would not learn, yet decay and momentum would move them (strict)"
        )


def warned(answer: Answer, warnings: Iterable[str]) -> Answer:
    """Return ``answer`` with the warnings."""
    headers = list(answer.headers)
    for text in warnings:
        # A header may only have Latin-1, and what is in quotes needs its quotes and backslashes escaped.
        plain = text.encode("ascii", "backslashreplace").decode().replace("\\", "\\\\").replace('"', '\\"')
        headers.append(("Warning", f'299 tinkex "{plain}"'))
    return answer._replace(headers=headers)
