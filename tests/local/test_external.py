"""Weights for other programs, through the package's own clients."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import requests
from safetensors.numpy import load, load_file

import tinkex
from tinkex.local import LocalServer


def test_external_weights_are_a_checkpoint_like_others(
    service: tinkex.ServiceClient, training: tinkex.TrainingClient, tmp_path: Path
) -> None:
    rest = service.create_rest_client()
    path = training.save_weights_external("out", ttl_seconds=7200).result(30).path
    run = training.model_id
    assert path == f"tinker://{run}/external_weights/out"
    (listed,) = rest.list_checkpoints(run).result(30).checkpoints
    assert (listed.checkpoint_type, listed.checkpoint_id) == ("external", "external_weights/out")
    assert listed.tinker_path == path
    assert listed.expires_at is not None

    rest.set_checkpoint_ttl_from_tinker_path(path, None).result(30)
    rest.publish_checkpoint_from_tinker_path(path).result(30)
    (listed,) = rest.list_checkpoints(run).result(30).checkpoints
    assert (listed.public, listed.expires_at) == (True, None)

    urls = rest.get_external_weights_urls(path).result(30).urls
    # The link is its own permission: no key goes along. Moments are of no use to other programs.
    tensors = load(requests.get(urls["adapter.safetensors"], timeout=9).content)
    assert "hidden.up" in tensors
    assert not any(name.startswith(("first.", "second.")) for name in tensors)

    folder = rest.download_checkpoint(path, tmp_path / "files").result(30)
    assert load_file(folder / "adapter.safetensors").keys() == tensors.keys()

    rest.delete_checkpoint_from_tinker_path(path).result(30)
    assert rest.list_checkpoints(run).result(30).checkpoints == []


def test_external_weights_as_an_archive(
    server: LocalServer, training: tinkex.TrainingClient, tmp_path: Path
) -> None:
    training.save_weights_external("out").result(30)
    where = f"training_runs/{training.model_id}/checkpoints/external_weights/out/archive"
    headers = {"X-API-Key": str(server.api_key)}
    answer = requests.get(f"{server.base_url}/api/v1/{where}", headers=headers, timeout=9)
    (tmp_path / "out.tar").write_bytes(answer.content)
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert tar.getnames() == ["checkpoint.json", "adapter.safetensors"]


def test_the_same_name_again_replaces(service: tinkex.ServiceClient, training: tinkex.TrainingClient) -> None:
    first = training.save_weights_external("out").result(30)
    assert training.save_weights_external("out").result(30) == first
    rest = service.create_rest_client()
    assert len(rest.list_checkpoints(training.model_id).result(30).checkpoints) == 1


def test_encryption_is_refused_rather_than_forgotten(training: tinkex.TrainingClient) -> None:
    with pytest.raises(tinkex.BadRequestError, match="encrypts nothing"):
        training.save_weights_external("out", age_encryption_recipients=["age1xyz"]).result(30)
