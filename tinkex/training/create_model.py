"""Creates a model on the server, from a base model or from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from tinkex.api import models as api
from tinkex.api import training as training_api
from tinkex.api.models import State
from tinkex.errors import APIStatusError
from tinkex.session.session import Session
from tinkex.training.request_queue import RequestQueue
from tinkex.types.training import LoraConfig, OptimizerConfig

# The statuses with which a server refuses the creation of a model from a checkpoint in one call.
_NO_CREATE_BY_LOAD = frozenset({400, 404, 405, 422})


class Model(NamedTuple):
    """A new model: the queue of its requests, and the name of its base model, or None if unknown."""

    queue: RequestQueue
    base_model: str | None


def create(
    session: Session,
    base_model: str,
    lora_config: LoraConfig,
    user_metadata: Mapping[str, str] | None,
    optimizer: OptimizerConfig | None,
) -> Model:
    """Create a LoRA model, and block until it can be used."""
    number = session.next_model_number()
    return _create(session, number, base_model, lora_config, user_metadata, optimizer)


def create_from_state(session: Session, state: State) -> Model:
    """Create a model from a checkpoint, and block until it can be used.

    If the server cannot do this in one call, a model with the settings of the checkpoint is created, and the
    checkpoint is then loaded into it.
    """
    number = session.next_model_number()
    submit = partial(api.create_model_from_state, session.transport, session.id, number, state)
    try:
        promise = submit()
    except APIStatusError as refusal:
        if refusal.status_code not in _NO_CREATE_BY_LOAD:
            raise
    else:
        model_id = session.poller.wait(promise, submit)
        return Model(RequestQueue(session, model_id), state.base_model)
    from tinkex.api.info import weights_info

    info = weights_info(session.transport, state.path)
    trained = {
        name: flag
        for name in ("train_mlp", "train_attn", "train_unembed")
        if (flag := getattr(info, name)) is not None
    }
    lora = LoraConfig(rank=info.lora_rank or LoraConfig.rank, **trained)
    base_model = state.base_model or info.base_model
    model = _create(session, number, base_model, lora, state.user_metadata, state.optimizer)
    model.queue.run_now(
        partial(
            training_api.load_weights,
            path=state.path,
            optimizer=state.with_optimizer,
            weights_access_token=state.weights_access_token,
        )
    )
    return model


def _create(
    session: Session,
    number: int,
    base_model: str,
    lora_config: LoraConfig,
    user_metadata: Mapping[str, str] | None,
    optimizer: OptimizerConfig | None,
) -> Model:
    submit = partial(
        api.create_model,
        session.transport,
        session.id,
        number,
        base_model,
        lora_config,
        user_metadata=user_metadata,
        optimizer=optimizer,
    )
    return Model(RequestQueue(session, session.poller.wait(submit(), submit)), base_model)
