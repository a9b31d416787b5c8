"""Making models and freeing them."""

from __future__ import annotations

from collections.abc import Callable

from tinkex.local import strict
from tinkex.local.checkpoints.path import Key
from tinkex.local.checkpoints.store import Checkpoint
from tinkex.local.errors import Invalid
from tinkex.local.model.lora import MAX_RANK, LoraSpec
from tinkex.local.model.offered import OfferedModel
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
    base = state.base_model(fields.text("base_model"))
    spec = _lora_spec(fields.child("lora_config", {}))
    return _add_model(state, fields, "create_model", {}, lambda: (base, state.new_training(base, spec)))


def create_model_from_weights(state: State, fields: Fields) -> Answer:
    """Make a model from a checkpoint: ``/load_weights`` with a ``session_id`` and no ``model_id``."""
    if "model_id" in fields:
        raise Refused(422, "session_id, model_id: exactly one must be given")
    wanted = state.base_model(fields.text("base_model")) if "base_model" in fields else None
    key = Key.parse(fields.text("path"))
    optimizer = fields.flag("optimizer", default=False)

    def load() -> tuple[OfferedModel, TrainingModel]:
        checkpoint = state.checkpoints.find(key)
        base = wanted or state.base_model(checkpoint.base_model)
        training = state.new_training(base, checkpoint.spec)
        restore(state, base, training, key, optimizer=optimizer)
        return base, training

    return _add_model(state, fields, "load_weights", {"path": key.path}, load)


def unload_model(state: State, request: Request) -> Answer:
    """Free a model."""
    model = state.model(request.fields.text("model_id"))
    warnings = state.remove_model(model)
    answer = submitted(finished(state, "unload_model", {"model_id": model.id}, model.id))
    return strict.warned(answer, warnings)


def restore(state: State, base: OfferedModel, training: TrainingModel, key: Key, *, optimizer: bool) -> None:
    """Load a checkpoint into a model.

    Raises ``NotFound``, ``Invalid`` if the checkpoint is of another base model, or ``InvalidInput`` if it does not fit.
    """
    check_same_base(state.checkpoints.find(key), base)
    saved = state.checkpoints.load(key)
    training.load(saved.spec, saved.tensors, saved.step, optimizer=optimizer)


def check_same_base(checkpoint: Checkpoint, base: OfferedModel) -> None:
    """Raise ``Invalid`` if a checkpoint is of another base model than ``base``."""
    if checkpoint.base_model != base.name:
        raise Invalid(
            f"path: {checkpoint.key.path} is a checkpoint of {checkpoint.base_model}, not of {base.name}"
        )


def _add_model(
    state: State,
    fields: Fields,
    kind: str,
    result: dict[str, str],
    make: Callable[[], tuple[OfferedModel, TrainingModel]],
) -> Answer:
    """Make the model whose number in its session the request gives. The result is ready at once."""
    session = state.session(fields.text("session_id"))
    number = Number(session, "model_seq_id", fields.integer("model_seq_id", low=0))
    metadata = fields.mapping("user_metadata")
    _check_optimizer(fields)

    def add() -> Promise:
        model = state.add_model(session, f"{session.id}:train:{number.value}", *make(), metadata)
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
