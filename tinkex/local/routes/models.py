"""Making models and freeing them."""

from __future__ import annotations

from collections.abc import Callable

from tinkex.local.checkpoints.path import Key
from tinkex.local.model.lora import MAX_RANK, LoraSpec
from tinkex.local.model.network import BASE_MODEL
from tinkex.local.model.training import TrainingModel
from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.refused import Refused
from tinkex.local.routes.routing import Route
from tinkex.local.routes.submission import Number, finished, submitted
from tinkex.local.state import State
from tinkex.local.web.answer import Answer
from tinkex.local.web.request import Request
from tinkex.local.work.promises import Promise


def create_model(state: State, request: Request) -> Answer:
    """Make a new model."""
    fields = request.fields
    check_base_model(fields)
    spec = _lora_spec(fields.child("lora_config", {}))
    return _add_model(state, fields, "create_model", {}, lambda: state.new_training(spec))


def create_model_from_weights(state: State, fields: Fields) -> Answer:
    """Make a model from a checkpoint: ``/load_weights`` with a ``session_id`` and no ``model_id``."""
    if "model_id" in fields:
        raise Refused(422, "session_id, model_id: exactly one must be given")
    if "base_model" in fields:
        check_base_model(fields)
    key = Key.parse(fields.text("path"))
    optimizer = fields.flag("optimizer", default=False)

    def load() -> TrainingModel:
        training = state.new_training(state.checkpoints.find(key).spec)
        restore(state, training, key, optimizer=optimizer)
        return training

    return _add_model(state, fields, "load_weights", {"path": key.path}, load)


def unload_model(state: State, request: Request) -> Answer:
    """Free a model."""
    model = state.model(request.fields.text("model_id"))
    state.remove_model(model)
    return submitted(finished(state, "unload_model", {"model_id": model.id}, model.id))


def restore(state: State, training: TrainingModel, key: Key, *, optimizer: bool) -> None:
    """Load a checkpoint into a model; raises ``NotFound``, or ``InvalidInput`` if it does not fit."""
    saved = state.checkpoints.load(key)
    training.load(saved.spec, saved.tensors, saved.step, optimizer=optimizer)


def check_base_model(fields: Fields) -> None:
    """Raise ``Refused`` (404) if the request names another base model than this server's."""
    name = fields.text("base_model")
    if name != BASE_MODEL:
        raise Refused(404, f"base_model: {name!r} is unknown; this server has {BASE_MODEL}")


def _add_model(
    state: State, fields: Fields, kind: str, result: dict[str, str], make: Callable[[], TrainingModel]
) -> Answer:
    """Make the model whose number in its session the request gives. The result is ready at once."""
    session = state.session(fields.text("session_id"))
    number = Number(session, "model_seq_id", fields.integer("model_seq_id", low=0))
    metadata = fields.mapping("user_metadata")
    _check_optimizer(fields)

    def add() -> Promise:
        model = state.add_model(session, f"{session.id}:train:{number.value}", make(), metadata)
        return finished(state, kind, {**result, "model_id": model.id}, model.id)

    return number.promise_once(state, kind, fields, add)


def _check_optimizer(fields: Fields) -> None:
    family = fields.child("optimizer_config", {}).text("type", "adamw")
    if family not in ("adam", "adamw"):
        raise Refused(400, f"optimizer_config.type: {family!r} is not offered here, only adamw")


def _lora_spec(fields: Fields) -> LoraSpec:
    return LoraSpec(
        fields.integer("rank", 32, low=1, high=MAX_RANK),
        fields.integer("seed", None, low=0),
        fields.flag("train_mlp", default=True),
        fields.flag("train_attn", default=True),
        fields.flag("train_unembed", default=True),
    )


ROUTES = (
    Route("POST", "/create_model", create_model),
    Route("POST", "/unload_model", unload_model),
)
