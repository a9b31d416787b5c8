"""Making a model on the server, new or from a checkpoint, or a custom loss, and waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tinkex.api import models as api
from tinkex.api import service as service_api
from tinkex.api.call import read
from tinkex.api.futures import Promise
from tinkex.errors import APIResponseValidationError, APIStatusError, InputError
from tinkex.http.transport import Response
from tinkex.polling.result import wait_or_resubmit
from tinkex.session.session import Session
from tinkex.types.training import LoraConfig, OptimizerConfig

if TYPE_CHECKING:
    from tinkex.losses.traced import LossHandle

# A server that cannot make a model from a checkpoint in one call answers one of these to the attempt.
_NO_CREATE_BY_LOAD = frozenset({400, 404, 405, 422})


class State(NamedTuple):
    """A checkpoint, and what the model to be made from it shall have of its own."""

    path: str
    with_optimizer: bool
    base_model: str | None
    user_metadata: Mapping[str, str] | None
    weights_access_token: str | None
    optimizer: OptimizerConfig | None


class Made(NamedTuple):
    """A new model; where it is not ``loaded``, the checkpoint is still to be loaded into it."""

    model_id: str
    base_model: str | None
    loaded: bool


def create(
    session: Session,
    base_model: str,
    lora_config: LoraConfig,
    user_metadata: Mapping[str, str] | None,
    optimizer: OptimizerConfig | None,
    number: int | None = None,
) -> str:
    """Make a LoRA model and wait until it is there; its id."""
    submit = partial(
        api.create_model,
        session.transport,
        session.id,
        session.next_model_number() if number is None else number,
        base_model,
        lora_config,
        user_metadata,
        optimizer,
    )
    return _wait_for_model(session, submit(), submit, "CreateModel")


def create_from_state(session: Session, state: State) -> Made:
    """By one call where the server can, else by making the model that the checkpoint is of."""
    number = session.next_model_number()
    submit = partial(
        api.create_model_from_weights,
        session.transport,
        session.id,
        number,
        state.path,
        state.with_optimizer,
        state.base_model,
        state.user_metadata,
        state.optimizer,
        state.weights_access_token,
    )
    try:
        promise = submit()
    except APIStatusError as refusal:
        if refusal.status_code not in _NO_CREATE_BY_LOAD:
            raise
    else:
        return Made(_wait_for_model(session, promise, submit, "LoadWeights"), state.base_model, loaded=True)
    from tinkex.api.info import weights_info  # here, for newer servers need it not

    info = weights_info(session.transport, state.path)
    base_model = state.base_model or info.base_model
    trained = {
        name: flag
        for name in ("train_mlp", "train_attn", "train_unembed")
        if (flag := getattr(info, name)) is not None
    }
    lora = LoraConfig(rank=info.lora_rank or LoraConfig.rank, **trained)
    model_id = create(session, base_model, lora, state.user_metadata, state.optimizer, number)
    return Made(model_id, base_model, loaded=False)


def create_custom_loss(session: Session, loss: LossHandle) -> LossHandle:
    """Give ``loss`` to the server, where that runs losses itself; else it stays one for this process.

    ``InputError`` if the session has the same loss already, a rule of the official SDK; one that the
    server did not take may be made again.
    """
    from tinkex.losses import traced as loss_graph  # here and below, for few scripts need them
    from tinkex.types.custom_loss import CreateCustomLossResponse

    known = session.losses.setdefault(loss.key, loss)
    if known is not loss:
        raise InputError(f"this session has the same custom loss already, as {known.name!r}; use its handle")
    if not session.flags.custom_loss_server_side:
        return loss
    submit = partial(
        service_api.create_custom_loss,
        session.transport,
        session.id,
        session.next_loss_number(),
        loss.name,
        loss.inputs,
        loss_graph.encode(loss.graph),
    )

    def decode(response: Response) -> CreateCustomLossResponse:
        return read(CreateCustomLossResponse, response.json())

    try:
        created = wait_or_resubmit(
            session.transport, session.flags, submit(), submit, "CreateCustomLoss", decode
        )
    except BaseException:
        del session.losses[loss.key]
        raise
    return replace(loss, loss_id=created.loss_id)


def _wait_for_model(session: Session, promise: Promise, submit: Callable[[], Promise], kind: str) -> str:
    def decode(response: Response) -> str:
        answer = response.json()
        model_id = answer.get("model_id") if isinstance(answer, dict) else None
        if not (model_id or promise.model_id):
            raise APIResponseValidationError("the server named no model_id", body=answer)
        return str(model_id or promise.model_id)

    return wait_or_resubmit(session.transport, session.flags, promise, submit, kind, decode)
