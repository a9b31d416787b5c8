"""Checkpoints: safetensors beside a JSON of what is known of them."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from safetensors.numpy import load, save

from .arrays import Floats, Weights
from .lora import LoraSpec
from .model import BASE_MODEL
from .problems import Refused
from .storage import INFO_FILE, KINDS, WEIGHTS_FILE, DiskFiles, Files, Key, MemoryFiles


@dataclass(frozen=True)
class Checkpoint:
    """What is known of one besides its tensors. Times are ISO 8601 in UTC; `step` counts optimizer steps."""

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
    base_model: str = BASE_MODEL
    public: bool = False
    expires_at: str | None = None
    user_metadata: dict[str, Any] | None = None
    run_metadata: dict[str, Any] | None = None
    project_id: str | None = None

    @property
    def key(self) -> Key:
        return Key(self.run, self.kind, self.name)

    @property
    def spec(self) -> LoraSpec:
        return LoraSpec(self.rank, None, self.train_mlp, self.train_attn, self.train_unembed)

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= _now()

    def to_json(self) -> dict[str, Any]:
        """A `Checkpoint` of the protocol."""
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


class CheckpointStore:
    """Save, find and administer checkpoints; safe for threads."""

    def __init__(self, directory: Path | None) -> None:
        self._files: Files = MemoryFiles() if directory is None else DiskFiles(directory)
        self._lock = threading.Lock()

    def save(
        self,
        key: Key,
        tensors: Mapping[str, Floats],
        spec: LoraSpec,
        *,
        step: int,
        overwrite: bool,
        ttl_seconds: int | None,
        user_metadata: dict[str, Any] | None,
        run_metadata: dict[str, Any] | None,
        project_id: str | None,
    ) -> Checkpoint:
        """Raises:
        Refused: 409 if `key` exists and `overwrite` is off.
        """
        data = save(dict(tensors), metadata={"format": "tinkex-local-1", "base_model": BASE_MODEL})
        checkpoint = Checkpoint(
            run=key.run,
            kind=key.kind,
            name=key.name,
            time=_now().isoformat(),
            rank=spec.rank,
            train_mlp=spec.train_mlp,
            train_attn=spec.train_attn,
            train_unembed=spec.train_unembed,
            step=step,
            size_bytes=len(data),
            expires_at=_expiry(ttl_seconds),
            user_metadata=user_metadata,
            run_metadata=run_metadata,
            project_id=project_id,
        )
        with self._lock:
            if not overwrite and self._find(key) is not None:
                raise Refused(409, f"{key.path} exists; pass overwrite to replace it")
            self._files.put(key, {WEIGHTS_FILE: data, INFO_FILE: _dump(checkpoint)})
        return checkpoint

    def copy(self, source: Key, run: str, *, ttl_seconds: int | None, project_id: str | None) -> Key:
        """Copy it into another run; a copy that is there already stays. Neither what publishes the source
        nor what lets it expire goes along. Raises as `find`.
        """
        target = replace(source, run=run)
        with self._lock:
            if self._find(target) is not None:
                return target
            checkpoint, data = self._find(source), self._files.read(source, WEIGHTS_FILE)
            if checkpoint is None or data is None:
                raise Refused(404, f"{source.path} does not exist")
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

    def _find(self, key: Key) -> Checkpoint | None:
        data = self._files.read(key, INFO_FILE)
        if data is None:
            return None
        checkpoint = Checkpoint(**json.loads(data))
        return None if checkpoint.expired else checkpoint

    def find(self, key: Key) -> Checkpoint:
        """Raises:
        Refused: 404 if there is none, or it has expired.
        """
        with self._lock:
            checkpoint = self._find(key)
        if checkpoint is None:
            raise Refused(404, f"{key.path} does not exist")
        return checkpoint

    def load(self, key: Key) -> tuple[Checkpoint, Weights]:
        """The checkpoint with its tensors; raises as `find`."""
        with self._lock:
            checkpoint, data = self._find(key), self._files.read(key, WEIGHTS_FILE)
        if checkpoint is None or data is None:
            raise Refused(404, f"{key.path} does not exist")
        return checkpoint, load(data)

    def all(self, run: str | None = None) -> list[Checkpoint]:
        """Newest first; those of one run, or all."""
        with self._lock:
            keys = [key for key in self._files.held() if run is None or key.run == run]
            found = [checkpoint for checkpoint in map(self._find, keys) if checkpoint is not None]
        return sorted(found, key=lambda checkpoint: checkpoint.time, reverse=True)

    def delete(self, key: Key) -> None:
        """Raises as `find`."""
        self.find(key)
        with self._lock:
            self._files.remove(key)

    def publish(self, key: Key, public: bool) -> None:
        """Raises as `find`."""
        self._update(replace(self.find(key), public=public))

    def set_ttl(self, key: Key, ttl_seconds: int | None) -> None:
        """Let it expire in `ttl_seconds` from now, or never; raises as `find`."""
        self._update(replace(self.find(key), expires_at=_expiry(ttl_seconds)))

    def set_project(self, run: str, project_id: str) -> None:
        """Move the checkpoints of a run into a project."""
        for checkpoint in self.all(run):
            self._update(replace(checkpoint, project_id=project_id))

    def _update(self, checkpoint: Checkpoint) -> None:
        with self._lock:
            self._files.put(checkpoint.key, {INFO_FILE: _dump(checkpoint)})

    def archive(self, key: Key) -> bytes:
        """Its files as an uncompressed tar; raises as `find`."""
        self.find(key)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name in (INFO_FILE, WEIGHTS_FILE):
                data = self._files.read(key, name) or b""
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()

    def file(self, key: Key, name: str) -> bytes:
        """One file of it; raises as `find`, for an unknown name too."""
        self.find(key)
        data = self._files.read(key, name) if name in (INFO_FILE, WEIGHTS_FILE) else None
        if data is None:
            raise Refused(404, f"{key.path} has no file {name!r}")
        return data


def _dump(checkpoint: Checkpoint) -> bytes:
    return json.dumps(asdict(checkpoint), indent=1).encode()


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _expiry(ttl_seconds: int | None) -> str | None:
    return None if ttl_seconds is None else (_now() + timedelta(seconds=ttl_seconds)).isoformat()
