"""Sessions live by their heartbeats, and take their models with them."""

from __future__ import annotations

import time

from tinkex.local import LocalServer

from .conftest import Api


def test_a_finished_session_is_gone(api: Api) -> None:
    model = api.model()
    assert api.send("session_heartbeat", session_id=api.sid).status_code == 200
    waiting = api.post("optim_step", model_id=model, seq_id=5)
    api.post(f"sessions/{api.sid}/finish", reason={"type": "success"})
    assert api.post("retrieve_future", **waiting)["category"] == "user"
    assert api.send("session_heartbeat", session_id=api.sid).status_code == 410
    assert api.send("optim_step", model_id=model).status_code == 404
    assert api.send(f"sessions/{api.sid}/finish", reason={"type": "odd"}).status_code == 422


def test_a_silent_session_expires_and_a_beating_one_does_not() -> None:
    with LocalServer(session_timeout=3.0) as server:
        silent, beating = Api(server), Api(server)
        model = silent.model()
        deadline = time.monotonic() + 60
        while silent.send("session_heartbeat", session_id=beating.sid).status_code == 200:
            if beating.http.get(f"{beating.root}training_runs/{model}", timeout=9).status_code == 404:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert silent.send("session_heartbeat", session_id=silent.sid).status_code == 410
        assert silent.send("optim_step", model_id=model).status_code == 404
        assert beating.send("session_heartbeat", session_id=beating.sid).status_code == 200


def test_sessions_are_listed_and_found(api: Api) -> None:
    body = {"user_metadata": {"team": "a"}, "display_name": "My First Run", "project_id": "p"}
    named = api.post("create_session", **body)["session_id"]
    model = api.model()
    assert api.get("sessions?limit=1000")["sessions"][0] == named
    assert api.get(f"sessions/{api.sid}")["training_run_ids"] == [model]
    for query in ({"display_name": "first my"}, {"session_id": named}, {"user_metadata": {"team": "a"}}):
        assert [s["session_id"] for s in api.post("sessions/search", **query)["sessions"]] == [named]
    page = api.post("sessions/search", limit=1)
    following = api.post("sessions/search", limit=1, cursor=page["next_cursor"])
    assert [s["sessions"][0]["session_id"] for s in (page, following)] == api.get("sessions?limit=2")[
        "sessions"
    ]
    assert api.http.put(f"{api.root}sessions/{named}/project", json={"project_id": "q"}, timeout=9).ok
    assert api.post("sessions/search", project_ids=["q"])["sessions"][0]["session_id"] == named


def test_training_runs_are_listed_by_project(api: Api) -> None:
    session = api.sid = api.post("create_session", project_id="one")["session_id"]
    lives, leaves = api.model(), api.model()
    for model in (lives, leaves):
        api.run("save_weights", model_id=model, path="kept")
    unsaved = api.model()
    api.run("unload_model", model_id=leaves)
    api.sid = api.post("create_session", project_id="two")["session_id"]
    elsewhere = api.model()

    def runs(project: str) -> list[str]:
        return [
            run["training_run_id"] for run in api.get(f"training_runs?project_id={project}")["training_runs"]
        ]

    assert sorted(runs("one")) == sorted([lives, leaves, unsaved])
    assert runs("two") == [elsewhere]
    assert runs("three") == []
    first = api.get("training_runs?project_id=one&limit=1")
    assert len(first["training_runs"]) == 1
    assert first["cursor"]["total_count"] == 3
    listed = {run["training_run_id"] for run in api.get("training_runs?limit=1000")["training_runs"]}
    assert listed >= {lives, leaves, unsaved, elsewhere}

    assert api.http.put(f"{api.root}sessions/{session}/project", json={"project_id": "three"}, timeout=9).ok
    assert sorted(runs("three")) == sorted([lives, leaves, unsaved])
    assert runs("one") == []


def test_handshake(api: Api) -> None:
    assert api.post("client/config", sdk_version="0.38.0")["parallel_fwdbwd_chunks"] is True
    assert api.post("client/dynamic_config")["sample_cancel_enabled"] is True
    assert api.post("telemetry", events=[]) == {"status": "accepted"}
    assert api.get("get_server_capabilities")["supported_models"][0]["model_name"] == "tinkex/byte-lm"
    model = api.model(rank=3)
    info = api.post("get_info", model_id=model)
    assert (info["model_data"]["tokenizer_id"], info["lora_rank"]) == ("tinkex/byte-tokenizer", 3)
    api.run("unload_model", model_id=model)
    assert api.send("get_info", model_id=model).status_code == 404
