"""Sampling sessions and samples."""

from __future__ import annotations

from tinkex.local.checkpoints.path import Key
from tinkex.local.model.lora import LoraSpec
from tinkex.local.model.offered import OfferedModel
from tinkex.local.model.sampling import SampleRequest, sample
from tinkex.local.model.training import Snapshot
from tinkex.local.protocol.results import SampleResult
from tinkex.local.protocol.samples import sample_request
from tinkex.local.routes.models import check_same_base
from tinkex.local.routes.routing import Route
from tinkex.local.routes.submission import Number, submitted
from tinkex.local.sessions import Sampler
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request
from tinkex.local.work.fingerprint import fingerprint
from tinkex.local.work.promises import Promise
from tinkex.local.work.workers import Task, Work

CLIENT_RANGE = 1_000_000_000
"""How many numbers each client of a sampling session has for its samples."""


def create_sampling_session(state: State, request: Request) -> Answer:
    """Open a sampler on the base model or on a checkpoint."""
    fields = request.fields
    session = state.session(fields.text("session_id"))
    number = Number(session, "sampling_session_seq_id", fields.integer("sampling_session_seq_id", low=0))
    path = fields.text("model_path", None)
    named = path is None or "base_model" in fields
    base = state.base_model(fields.text("base_model")) if named else None

    def add() -> str:
        return state.add_sampler(session, *_weights(state, base, path), path).id

    sampler_id = number.once("create_sampling_session", fields, add)
    return document({"type": "create_sampling_session", "sampling_session_id": sampler_id})


def _weights(state: State, base: OfferedModel | None, path: str | None) -> tuple[OfferedModel, Snapshot]:
    """The weights of a checkpoint, or of the base model if ``path`` is None."""
    if path is None:
        assert base is not None
        return base, Snapshot(base.base, LoraSpec(), {})
    key = Key.parse(path)
    checkpoint = state.checkpoints.find(key)
    base = base or state.base_model(checkpoint.base_model)
    check_same_base(checkpoint, base)
    saved = state.checkpoints.load(key)
    weights = saved.adapters
    base.base.check_adapters(weights)
    return base, Snapshot(base.base, saved.spec, weights)


def join_sampling_session(state: State, request: Request) -> Answer:
    """Give a further client of a sampling session a number of its own."""
    sampler = state.sampler(request.fields.text("sampling_session_id"))
    return document({"type": "join_sampling_session", "client_counter": state.join_sampler(sampler)})


def asample(state: State, request: Request) -> Answer:
    """Queue a sample request."""
    fields = request.fields
    sampler = state.sampler(fields.text("sampling_session_id"))
    wanted = sample_request(fields, sampler.base)
    number = state.sample_number(sampler, fields.integer("seq_id", None, low=0))
    request_id = sampler.numbered.once(
        f"seq_id {number} of sampling session {sampler.id}",
        fingerprint("sample", wanted),
        lambda: _start(state, sampler, number, wanted).request_id,
    )
    names = [f"{request_id}:{i}" for i in range(wanted.num_samples)]
    return submitted(state.promises.get(request_id), sample_sequence_ids=names)


def _start(state: State, sampler: Sampler, number: int, wanted: SampleRequest) -> Promise:
    promise = state.promises.new("sample", cancellable=True)
    promise.when_done(state.completions(sampler, number // CLIENT_RANGE).add)

    def work() -> Work:
        return SampleResult((yield from sample(state.adapted(sampler.snapshot), wanted)))

    state.sampling_workers.submit(Task(promise, work, lambda: None))
    return promise


ROUTES = (
    Route("POST", "/create_sampling_session", create_sampling_session),
    Route("POST", "/join_sampling_session", join_sampling_session),
    Route("POST", "/asample", asample),
)
