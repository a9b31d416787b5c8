"""The store of checkpoints: a safetensors file for each, beside a JSON file that describes it."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from tinkex.local.checkpoints.files import INFO_FILE, WEIGHTS_FILE, DiskFiles, Files, MemoryFiles
from tinkex.local.checkpoints.path import KINDS, Key
from tinkex.local.errors import Conflict, NotFound
from tinkex.local.model.lora import LoraSpec
from tinkex.local.model.training import Saved


@dataclass(frozen=True)
class Checkpoint:
    """The description of a checkpoint. Times are ISO 8601 in UTC; ``step`` counts the optimizer steps before it."""

    run: str
    kind: str
    name: str
    time: str
    rank: int
    train_mlp: bool
    train_attn: bool
    train_unembed: bool
    step: int
    size_bytes: int
    base_model: str = "tinkex/byte-lm"  # checkpoints of earlier versions do not say it
    public: bool = False
    expires_at: str | None = None
    user_metadata: dict[str, Any] | None = None
    run_metadata: dict[str, Any] | None = None
    project_id: str | None = None

    @property
    def key(self) -> Key:
        """The key under which the checkpoint is kept."""
        return Key(self.run, self.kind, self.name)

    @property
    def spec(self) -> LoraSpec:
        """The layers that have an adapter, and the rank of the adapters."""
        return LoraSpec(self.rank, None, self.train_mlp, self.train_attn, self.train_unembed)

    @property
    def expired(self) -> bool:
        """Whether the checkpoint has expired and cannot be used any more."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= _now()

    def to_json(self) -> dict[str, Any]:
        """Return the description as the JSON object ``Checkpoint`` of the protocol."""
        return {
            "checkpoint_id": f"{self.kind}/{self.name}",
            "checkpoint_type": KINDS[self.kind],
            "time": self.time,
            "tinker_path": self.key.path,
            "training_run_id": self.run,
            "size_bytes": self.size_bytes,
            "public": self.public,
            "expires_at": self.expires_at,
            "user_metadata": self.user_metadata,
        }


@dataclass(frozen=True)
class Labels:
    """The attributes of a checkpoint when it is saved. Without ``ttl_seconds`` it never expires."""

    base_model: str
    ttl_seconds: int | None
    user_metadata: dict[str, Any] | None
    run_metadata: dict[str, Any] | None
    project_id: str | None


class CheckpointStore:
    """Saves, finds and administers checkpoints. Any thread may use it.

    Checkpoints are kept under ``directory``, or in memory without one.
    """

    def __init__(self, directory: Path | None) -> None:
        self._files: Files = MemoryFiles() if directory is None else DiskFiles(directory)
        # Held from the decision on a change until the files are changed, so that the decision stays right.
        # Reading needs no lock.
        self._changing = threading.Lock()

    def save(self, key: Key, saved: Saved, labels: Labels, *, overwrite: bool) -> None:
        """Save a checkpoint; raises ``Conflict`` if there is one of that name and ``overwrite`` is off."""
        data = save(
            dict(saved.tensors), metadata={"format": "tinkex-local-1", "base_model": labels.base_model}
        )
        checkpoint = Checkpoint(
            run=key.run,
            kind=key.kind,
            name=key.name,
            time=_now().isoformat(),
            rank=saved.spec.rank,
            train_mlp=saved.spec.train_mlp,
            train_attn=saved.spec.train_attn,
            train_unembed=saved.spec.train_unembed,
            step=saved.step,
            size_bytes=len(data),
            base_model=labels.base_model,
            expires_at=_expiry(labels.ttl_seconds),
            user_metadata=labels.user_metadata,
            run_metadata=labels.run_metadata,
            project_id=labels.project_id,
        )
        with self._changing:
            if not overwrite and self._find(key) is not None:
                raise Conflict(f"{key.path} exists; pass overwrite to replace it")
            self._files.put(key, {WEIGHTS_FILE: data, INFO_FILE: _dump(checkpoint)})

    def copy(self, source: Key, run: str, *, ttl_seconds: int | None, project_id: str | None) -> Key:
        """Copy a checkpoint into another run and return the copy's key; an earlier copy is left as it is.

        The copy is private, and expires only if ``ttl_seconds`` says so. Raises ``NotFound`` if there is no source.
        """
        target = replace(source, run=run)
        with self._changing:
            if self._find(target) is not None:
                return target
            checkpoint = self.find(source)
            data = self._file(source, WEIGHTS_FILE)
            copied = replace(
                checkpoint,
                run=run,
                time=_now().isoformat(),
                public=False,
                expires_at=_expiry(ttl_seconds),
                project_id=project_id,
            )
            self._files.put(target, {WEIGHTS_FILE: data, INFO_FILE: _dump(copied)})
        return target

    def find(self, key: Key) -> Checkpoint:
        """The description of a checkpoint; raises ``NotFound`` if there is none or it has expired."""
        checkpoint = self._find(key)
        if checkpoint is None:
            raise NotFound(f"{key.path} does not exist")
        return checkpoint

    def load(self, key: Key) -> Saved:
        """Return the tensors of a checkpoint and its step; raises ``NotFound`` if there is none."""
        checkpoint = self.find(key)
        return Saved(checkpoint.spec, load(self._file(key, WEIGHTS_FILE)), checkpoint.step)

    def all(self, run: str | None = None) -> list[Checkpoint]:
        """The checkpoints of one run, or of all runs, the newest first."""
        keys = [key for key in self._files.held() if run is None or key.run == run]
        found = [checkpoint for checkpoint in map(self._find, keys) if checkpoint is not None]
        return sorted(found, key=lambda checkpoint: checkpoint.time, reverse=True)

    def delete(self, key: Key) -> None:
        """Delete a checkpoint; raises ``NotFound`` if there is none."""
        with self._changing:
            self.find(key)
            self._files.remove(key)

    def publish(self, key: Key, *, public: bool) -> None:
        """Make a checkpoint public, or private again; raises ``NotFound`` if there is none."""
        self._update(key, public=public)

    def set_ttl(self, key: Key, ttl_seconds: int | None) -> None:
        """Let a checkpoint expire ``ttl_seconds`` from now, or never; raises ``NotFound`` if there is none."""
        self._update(key, expires_at=_expiry(ttl_seconds))

    def set_project(self, run: str, project_id: str) -> None:
        """Move the checkpoints of a run into a project."""
        for checkpoint in self.all(run):
            try:
                self._update(checkpoint.key, project_id=project_id)
            except NotFound:  # deleted meanwhile
                pass

    def _update(self, key: Key, **changes: Any) -> None:
        with self._changing:
            self._files.put(key, {INFO_FILE: _dump(replace(self.find(key), **changes))})

    def archive(self, key: Key) -> bytes:
        """The files of a checkpoint as an uncompressed tar archive; raises ``NotFound`` if there is none."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name in (INFO_FILE, WEIGHTS_FILE):
                data = self.file(key, name)
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()

    def file(self, key: Key, name: str) -> bytes:
        """One file of a checkpoint; raises ``NotFound`` if there is no such checkpoint."""
        self.find(key)
        return self._file(key, name)

    def _file(self, key: Key, name: str) -> bytes:
        data = self._files.read(key, name)
        if data is None:
            raise NotFound(f"{key.path} does not exist")
        return data

    def _find(self, key: Key) -> Checkpoint | None:
        data = self._files.read(key, INFO_FILE)
        if data is None:
            return None
        checkpoint = Checkpoint(**json.loads(data))
        return None if checkpoint.expired else checkpoint


def _dump(checkpoint: Checkpoint) -> bytes:
    return json.dumps(asdict(checkpoint), indent=1).encode()


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _expiry(ttl_seconds: int | None) -> str | None:
    return None if ttl_seconds is None else (_now() + timedelta(seconds=ttl_seconds)).isoformat()
