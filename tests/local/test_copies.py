"""Copies of checkpoints, into a project or into a session."""

from __future__ import annotations

import requests

import tinkex
from tinkex.local import LocalServer

from .conftest import Api, datum


def test_a_copy_outlives_its_source_and_trains_on(
    service: tinkex.ServiceClient, training: tinkex.TrainingClient, api: Api
) -> None:
    rest = service.create_rest_client()
    source = training.save_state("a", ttl_seconds=7200).result(30).path
    rest.publish_checkpoint_from_tinker_path(source).result(30)
    path = rest.copy_weights(source, "elsewhere").result(30)
    run = path.removeprefix("tinker://").split("/")[0]
    assert path == f"tinker://{run}/weights/a"
    assert run != training.model_id
    (copied,) = rest.list_checkpoints(run).result(30).checkpoints
    assert (copied.tinker_path, copied.public, copied.expires_at) == (path, False, None)
    assert copied.size_bytes

    rest.delete_checkpoint_from_tinker_path(source).result(30)
    loaded = service.create_training_client_from_state_with_optimizer(path)
    api.train(loaded.model_id, [datum("abc", "def")], 1)

    again = rest.copy_weights(path, "elsewhere", ttl_seconds=3600).result(30)
    assert again != path
    assert rest.list_checkpoints(again.split("/")[2]).result(30).checkpoints[0].expires_at is not None


def test_a_request_sent_twice_makes_one_copy(api: Api) -> None:
    source = api.run("save_weights", model_id=api.model(), path="a")["path"]
    body = {"source_path": source, "destination_project_id": "p"}

    def copy(key: str) -> str:
        headers = {"X-Idempotency-Key": key}
        answer = api.http.post(api.root + "copy_weights", json=body, headers=headers, timeout=9)
        return str(answer.json()["tinker_path"])

    assert copy("one") == copy("one") != copy("two")


def test_a_copy_takes_a_place_among_a_sessions_models(api: Api) -> None:
    source = api.run("save_weights_for_sampler", model_id=api.model(), path="a")["path"]
    body = {"source_path": source, "session_id": api.sid, "model_seq_id": 77}
    run = f"{api.sid}:train:77"
    assert api.post("copy_weights", **body) == {"tinker_path": f"tinker://{run}/sampler_weights/a"}
    assert api.post("copy_weights", **body) == {"tinker_path": f"tinker://{run}/sampler_weights/a"}
    assert api.get(f"sessions/{api.sid}")["training_run_ids"].count(run) == 1
    assert api.get(f"training_runs/{run}")["last_sampler_checkpoint"]["checkpoint_id"] == "sampler_weights/a"


def test_bad_copies_are_refused(api: Api) -> None:
    source = api.run("save_weights", model_id=api.model(), path="a")["path"]
    missing = source.replace("/weights/a", "/weights/b")
    assert api.send("copy_weights", source_path=missing, destination_project_id="p").status_code == 404
    assert api.send("copy_weights", source_path="a", destination_project_id="p").status_code == 400
    assert api.send("copy_weights", source_path=source).status_code == 422
    short = {"source_path": source, "destination_project_id": "p", "ttl_seconds": 60}
    assert api.send("copy_weights", **short).status_code == 422


def test_a_conflict_that_stays_is_not_tried_again(server: LocalServer, api: Api) -> None:
    body = {"session_id": api.sid, "model_seq_id": 900, "base_model": "tinkex/byte-lm"}
    api.post("create_model", **body)
    refused: requests.Response = api.send("create_model", **body, lora_config={"rank": 2})
    assert (refused.status_code, refused.headers["X-Should-Retry"]) == (409, "false")
