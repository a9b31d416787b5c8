"""The numbered requests of one model: training, and saving and loading its weights."""

from __future__ import annotations

from typing import Any

from tinkex.local import strict
from tinkex.local.checkpoints.path import Key, check_name
from tinkex.local.checkpoints.store import Labels
from tinkex.local.model.adamw import AdamParams
from tinkex.local.model.batch import Batch
from tinkex.local.protocol.batches import batch_from_json, batch_from_proto
from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.refused import Refused
from tinkex.local.protocol.results import Document, TrainingResult
from tinkex.local.routes.models import create_model_from_weights, restore
from tinkex.local.routes.routing import Route
from tinkex.local.routes.submission import Number, queue, submitted
from tinkex.local.sessions import Model
from tinkex.local.state import State
from tinkex.local.web.answer import Answer
from tinkex.local.web.request import PROTO, Request
from tinkex.local.work.fingerprint import fingerprint

MIN_TTL = 3600
MAX_TTL = 315_360_000  # ten years


def forward_backward(state: State, request: Request) -> Answer:
    """Do a forward pass and add its gradients to the model's; a proto body may ask for the forward pass alone."""
    if request.content_type == PROTO:
        return _run(state, batch_from_proto(request.body))
    return _run(state, batch_from_json(request.fields, forward_only=False))


def forward(state: State, request: Request) -> Answer:
    """Do a forward pass."""
    return _run(state, batch_from_json(request.fields, forward_only=True))


def _run(state: State, batch: Batch) -> Answer:
    model = state.model(batch.model_id)
    model.base.check_batch(batch)
    warnings = strict.check_batch(model, batch) if state.strict else []
    kind = "forward" if batch.forward_only else "forward_backward"
    # The fingerprint is that of the data, since a client may send one request in proto first, then in JSON.
    promise = model.queue.submit(
        batch.seq_id, kind, fingerprint(kind, batch), lambda: TrainingResult(model.training.run(batch))
    )
    return strict.warned(submitted(promise), warnings)


def optim_step(state: State, request: Request) -> Answer:
    """Update the model's weights with the gradients added up so far."""
    params = _adam_params(request.fields)
    model = state.model(request.fields.text("model_id"))

    def step() -> Document:
        if state.strict:
            strict.check_step(model)
        return Document({"metrics": model.training.optim_step(params)})

    return submitted(queue(model, "optim_step", request.fields, step))


def save_weights(state: State, request: Request) -> Answer:
    """Save the model with its optimizer, to go on from there later."""
    fields = request.fields
    name = check_name(fields.text("path"))
    overwrite = fields.flag("overwrite", default=False)
    ttl, metadata = ttl_seconds(fields), fields.mapping("user_metadata")
    model = state.model(fields.text("model_id"))

    def save() -> Document:
        key = Key(model.id, "weights", name)
        labels = _labels(model, ttl, metadata)
        state.checkpoints.save(key, model.training.saved(optimizer=True), labels, overwrite=overwrite)
        model.saved = True
        return Document({"path": key.path})

    return submitted(queue(model, "save_weights", fields, save))


def save_weights_for_sampler(state: State, request: Request) -> Answer:
    """Save the weights to sample from: under a name, or only as a sampler of the model's session."""
    fields = request.fields
    name = fields.text("path", None)
    number = fields.integer("sampling_session_seq_id", None, low=0)
    ttl, metadata = ttl_seconds(fields), fields.mapping("user_metadata")
    if fields.text("kind", "snapshot") not in ("snapshot", "inflight"):
        raise Refused(422, "kind: must be snapshot or inflight")
    if (name is None) == (number is None):
        raise Refused(422, "path, sampling_session_seq_id: exactly one must be given")
    model = state.model(fields.text("model_id"))
    if name is not None:
        key = Key(model.id, "sampler_weights", check_name(name))
        return _save_adapters(state, model, key, fields, _labels(model, ttl, metadata))
    return _open_sampler(state, model, fields)


def _open_sampler(state: State, model: Model, fields: Fields) -> Answer:
    kind = "save_weights_for_sampler"
    name = "sampling_session_seq_id"

    def open_sampler() -> Document:
        sampler = state.add_sampler(model.session, model.base, model.training.snapshot(), None)
        return Document({"sampling_session_id": sampler.id})

    number = Number(model.session, name, fields.integer(name, low=0))
    return number.promise_once(state, kind, fields, lambda: queue(model, kind, fields, open_sampler))


def save_weights_external(state: State, request: Request) -> Answer:
    """Save the weights for other programs."""
    fields = request.fields
    name, ttl = check_name(fields.text("path")), ttl_seconds(fields)
    if fields.strings("age_encryption_recipients"):
        raise Refused(400, "age_encryption_recipients: this server encrypts nothing; leave it out")
    model = state.model(fields.text("model_id"))
    key = Key(model.id, "external_weights", name)
    return _save_adapters(state, model, key, fields, _labels(model, ttl, None))


def load_weights(state: State, request: Request) -> Answer:
    """Load a checkpoint into a model, or into a new model of a session."""
    fields = request.fields
    if "session_id" in fields:
        return create_model_from_weights(state, fields)
    key = Key.parse(fields.text("path"))
    optimizer = fields.flag("optimizer", default=False)
    model = state.model(fields.text("model_id"))
    state.checkpoints.find(key)

    def load() -> Document:
        restore(state, model.base, model.training, key, optimizer=optimizer)
        return Document({"path": key.path, "model_id": model.id})

    return submitted(queue(model, "load_weights", fields, load))


def ttl_seconds(fields: Fields) -> int | None:
    """Return the seconds after which a checkpoint expires, or None for never."""
    return fields.integer("ttl_seconds", None, low=MIN_TTL, high=MAX_TTL)


def _save_adapters(state: State, model: Model, key: Key, fields: Fields, labels: Labels) -> Answer:
    """Queue the saving of the weights without the optimizer. A checkpoint of that name is replaced."""
    kind = "save_weights_external" if key.kind == "external_weights" else "save_weights_for_sampler"

    def save() -> Document:
        state.checkpoints.save(key, model.training.saved(optimizer=False), labels, overwrite=True)
        model.saved = True
        return Document({"path": key.path})

    return submitted(queue(model, kind, fields, save))


def _labels(model: Model, ttl: int | None, metadata: dict[str, Any] | None) -> Labels:
    return Labels(model.base.name, ttl, metadata, model.user_metadata, model.session.project_id)


def _adam_params(fields: Fields) -> AdamParams:
    if "optimizer_params" in fields and "adam_params" not in fields:
        raise Refused(400, "optimizer_params: only adam_params are taken here")
    adam = fields.child("adam_params", {})
    default = AdamParams()
    return AdamParams(
        learning_rate=adam.number("learning_rate", default.learning_rate, low=0),
        beta1=adam.number("beta1", default.beta1, low=0, high=1 - 1e-9),
        beta2=adam.number("beta2", default.beta2, low=0, high=1 - 1e-9),
        eps=adam.number("eps", default.eps, low=0),
        weight_decay=adam.number("weight_decay", default.weight_decay, low=0),
        grad_clip_norm=adam.number("grad_clip_norm", default.grad_clip_norm, low=0),
    )


ROUTES = (
    Route("POST", "/forward_backward", forward_backward),
    Route("POST", "/forward", forward),
    Route("POST", "/optim_step", optim_step),
    Route("POST", "/save_weights", save_weights),
    Route("POST", "/save_weights_for_sampler", save_weights_for_sampler),
    Route("POST", "/save_weights_external", save_weights_external),
    Route("POST", "/load_weights", load_weights),
)
