"""Descriptions of training runs. A run is listed while its model lives or a checkpoint of it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinkex.local.checkpoints.store import Checkpoint
from tinkex.local.errors import NotFound
from tinkex.local.model.lora import LoraSpec
from tinkex.local.sessions import Model
from tinkex.local.state import State

OWNER = "local"
"""The name of the one owner of everything on this server."""


def training_runs(state: State, project_id: str | None) -> list[dict[str, Any]]:
    """All runs, or those of a project, the one used last first."""
    # Models and checkpoints are read once, so those that are removed meanwhile are still listed.
    models = state.models()
    saved: dict[str, list[Checkpoint]] = {run: [] for run in models}
    for checkpoint in state.checkpoints.all():
        saved.setdefault(checkpoint.run, []).append(checkpoint)
    found = [
        _document(run, models.get(run), checkpoints)
        for run, checkpoints in saved.items()
        if project_id in (None, _project(models.get(run), checkpoints))
    ]
    return sorted(found, key=lambda run: str(run["last_request_time"]), reverse=True)


def training_run(state: State, run: str) -> dict[str, Any]:
    """Return one run; raises ``NotFound`` if it has neither a living model nor a checkpoint."""
    model, checkpoints = state.models().get(run), state.checkpoints.all(run)
    if model is None and not checkpoints:
        raise NotFound(f"training run {run} is unknown")
    return _document(run, model, checkpoints)


def lora_document(spec: LoraSpec) -> dict[str, Any]:
    """Return the adapters of a run or a checkpoint as the JSON object of the protocol."""
    return {
        "is_lora": True,
        "lora_rank": spec.rank,
        "train_mlp": spec.train_mlp,
        "train_attn": spec.train_attn,
        "train_unembed": spec.train_unembed,
    }


def _document(run: str, model: Model | None, checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    if model is not None:
        spec, seen, metadata = model.training.spec, model.last_request, model.user_metadata
        base_model = model.base.name
    else:
        spec, seen, metadata = checkpoints[0].spec, checkpoints[0].time, checkpoints[0].run_metadata
        base_model = checkpoints[0].base_model
    return {
        "training_run_id": run,
        "base_model": base_model,
        "model_owner": OWNER,
        **lora_document(spec),
        "corrupted": False,
        "last_request_time": seen,
        "last_checkpoint": _newest(checkpoints, "weights"),
        "last_sampler_checkpoint": _newest(checkpoints, "sampler_weights"),
        "user_metadata": metadata,
    }


def _project(model: Model | None, checkpoints: Sequence[Checkpoint]) -> str | None:
    return model.session.project_id if model is not None else checkpoints[0].project_id


def _newest(checkpoints: Sequence[Checkpoint], kind: str) -> dict[str, Any] | None:
    return next((checkpoint.to_json() for checkpoint in checkpoints if checkpoint.kind == kind), None)
