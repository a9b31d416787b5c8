"""``RestClient``: every call as it goes over the wire, and against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl

import pytest
from clients import config
from listings import CHECKPOINT, NOON, PATH, RUN, USAGE, checkpoint, cursor, training_run

import tinkex
from tinkex import RestClient, types
from tinkex.local import LocalServer
from tinkex.testing import Reply, Reset, TinkerServer

Call = Callable[[RestClient], "tinkex.APIFuture[Any]"]


CALLS: list[tuple[Call, str, str, dict[str, Any]]] = [
    (lambda c: c.get_server_capabilities(), "GET", "/get_server_capabilities", {"supported_models": []}),
    (lambda c: c.get_training_run(RUN), "GET", f"/training_runs/{RUN}?access_scope=owned", training_run()),
    (
        lambda c: c.get_training_run_by_tinker_path(PATH, "accessible"),
        "GET",
        f"/training_runs/{RUN}?access_scope=accessible",
        training_run(),
    ),
    (
        lambda c: c.list_training_runs(5, 10, "accessible", "p 1"),
        "GET",
        "/training_runs?limit=5&offset=10&access_scope=accessible&project_id=p+1",
        {"training_runs": [training_run()], "cursor": cursor(10, 5, 11)},
    ),
    (lambda c: c.list_checkpoints(RUN), "GET", f"/training_runs/{RUN}/checkpoints", {"checkpoints": []}),
    (
        lambda c: c.list_user_checkpoints(),
        "GET",
        "/checkpoints?limit=100&offset=0",
        {"checkpoints": [checkpoint()], "cursor": cursor(0, 100, 1)},
    ),
    (lambda c: c.delete_checkpoint(RUN, "weights/final"), "DELETE", CHECKPOINT, {}),
    (lambda c: c.delete_checkpoint_from_tinker_path(PATH), "DELETE", CHECKPOINT, {}),
    (lambda c: c.publish_checkpoint_from_tinker_path(PATH), "POST", f"{CHECKPOINT}/publish", {}),
    (lambda c: c.unpublish_checkpoint_from_tinker_path(PATH), "DELETE", f"{CHECKPOINT}/publish", {}),
    (
        lambda c: c.get_external_weights_urls(PATH),
        "GET",
        f"{CHECKPOINT}/external_weights_urls",
        {"urls": {"a": "https://store/a?signature=1"}, "expires": "2026-01-02T12:00:00Z"},
    ),
    (
        lambda c: c.list_sessions(),
        "GET",
        "/sessions?limit=20&offset=0&access_scope=owned",
        {"sessions": ["s"]},
    ),
    (
        lambda c: c.get_session("s"),
        "GET",
        "/sessions/s?access_scope=owned",
        {"training_run_ids": [RUN], "sampler_ids": []},
    ),
    (
        lambda c: c.get_sampler("s/1"),
        "GET",
        "/samplers/s%2F1",
        {"sampler_id": "s/1", "base_model": "tinkex/byte-lm"},
    ),
    (
        lambda c: c.get_billing_usage(NOON, "2026-01-02T14:00Z"),
        "GET",
        f"{USAGE}?starting_on=2026-01-02T12%3A00%3A00%2B00%3A00&ending_before=2026-01-02T14%3A00%3A00%2B00%3A00",
        {"data": []},
    ),
    (
        lambda c: c.get_current_checkpoint_storage_usage("p"),
        "GET",
        "/billing/usage/checkpoints/current?project_id=p",
        {"data": []},
    ),
    (
        lambda c: c.get_audit_log(day=date(2026, 1, 2)),
        "GET",
        "/audit?event_type=all&day=2026-01-02",
        {"entries": []},
    ),
]


BODIES: list[tuple[Call, str, str, dict[str, Any], dict[str, Any]]] = [
    (
        lambda c: c.set_checkpoint_ttl_from_tinker_path(PATH, 3600),
        "PUT",
        f"{CHECKPOINT}/ttl",
        {"ttl_seconds": 3600},
        {},
    ),
    (
        lambda c: c.set_checkpoint_ttl_from_tinker_path(PATH, None),
        "PUT",
        f"{CHECKPOINT}/ttl",
        {"ttl_seconds": None},
        {},
    ),
    (
        lambda c: c.get_weights_info_by_tinker_path(PATH),
        "POST",
        "/weights_info",
        {"tinker_path": PATH},
        {"base_model": "tinkex/byte-lm", "is_lora": True},
    ),
    (
        lambda c: c.copy_weights(PATH, ttl_seconds=4000),
        "POST",
        "/copy_weights",
        {"source_path": PATH, "destination_project_id": "home", "ttl_seconds": 4000},
        {"tinker_path": "tinker://copy/weights/final"},
    ),
    (lambda c: c.assign_session_project("s", "p"), "PUT", "/sessions/s/project", {"project_id": "p"}, {}),
    (
        lambda c: c.search_sessions(types.SessionSearchRequest()),
        "POST",
        "/sessions/search",
        {"user_metadata": {}, "owner": {"type": "own"}, "limit": 50},
        {"sessions": []},
    ),
    (
        lambda c: c.search_sessions(
            types.SessionSearchRequest(
                display_name="nightly",
                owner=types.UserSearchOwner(["urn"]),
                statuses=[
                    types.ActiveSessionStatusQuery(),
                    types.ClientFinishedSessionStatusQuery(["errored"]),
                ],
                cursor=types.SessionSearchCursor("2026-01-02T12:00:00.123456789Z", "s"),
            )
        ),
        "POST",
        "/sessions/search",
        {
            "user_metadata": {},
            "display_name": "nightly",
            "owner": {"type": "user", "owner_urns": ["urn"]},
            "statuses": [{"type": "active"}, {"type": "client_finished", "reasons": ["errored"]}],
            "limit": 50,
            "cursor": {"last_created_at": "2026-01-02T12:00:00.123456789Z", "last_session_id": "s"},
        },
        {"sessions": []},
    ),
]


@pytest.mark.parametrize(("call", "method", "target", "answer"), CALLS, ids=[entry[2] for entry in CALLS])
def test_calls_without_a_body(
    client: RestClient, server: TinkerServer, call: Call, method: str, target: str, answer: dict[str, Any]
) -> None:
    server.on("*", Reply(200, answer) if answer else Reply(204, b""))
    result = call(client).result(60)
    assert (result is None) == (not answer)
    request = list(server.requests)[-1]
    path, _, query = target.partition("?")
    assert (request.method, request.path, parse_qsl(request.query)) == (
        method,
        f"/api/v1{path}",
        parse_qsl(query),
    )
    assert (request.content, request.secrets["x-api-key"]) == (b"", "tml-test")


@pytest.mark.parametrize(("call", "method", "path", "body", "answer"), BODIES)
def test_calls_with_a_body(
    client: RestClient,
    server: TinkerServer,
    call: Call,
    method: str,
    path: str,
    body: dict[str, Any],
    answer: dict[str, Any],
) -> None:
    server.on("*", answer)
    call(client).result(60)
    request = list(server.requests)[-1]
    assert (request.method, request.path, request.json()) == (method, f"/api/v1{path}", body)
    assert request.headers["x-idempotency-key"]


def test_answers_become_types(client: RestClient, server: TinkerServer) -> None:
    server.on("/training_runs/*", training_run())
    run = client.get_training_run(RUN).result(60)
    assert isinstance(run, types.TrainingRun)
    assert run.last_request_time == NOON
    assert run.last_checkpoint is not None
    assert run.last_checkpoint.time == run.last_checkpoint.expires_at == NOON
    assert (run.last_checkpoint.size_bytes, run.last_checkpoint.public) == (5, False)
    assert (run.last_sampler_checkpoint, run.corrupted) == (None, False)

    found = {
        "session_id": "s",
        "created_at": "2026-01-02T12:00:00.5Z",
        "owner": "me",
        "project_id": "p",
        "checkpoints_count": 2,
        "status": {"type": "client_finished", "reason": {"type": "errored"}, "detail": "oh"},
    }
    following = {"last_created_at": "2026-01-02T12:00:00.123456789Z", "last_session_id": "s"}
    server.on("/sessions/search", {"sessions": [found], "next_cursor": following})
    page = client.search_sessions(types.SessionSearchRequest()).result(60)
    assert page.sessions[0].created_at == NOON + timedelta(seconds=0.5)
    assert page.sessions[0].status == types.ClientSessionFinished(
        reason=types.ClientSessionFinishErrored(), detail="oh"
    )
    assert page.next_cursor is not None
    assert page.next_cursor.to_wire() == following

    event = {
        "bucket_start": "2026-01-02T12:00:00+0000",
        "bucket_end": "2026-01-02T13:00:00Z",
        "event_info": {"type": "training", "token_count": 7},
        "session_id": "s",
    }
    server.on(USAGE, {"data": [event], "sessions": {"s": {"user_metadata": {"a": "b"}}}})
    usage = client.get_billing_usage(NOON, NOON).result(60)
    assert usage.data[0].event_info.token_count == 7
    assert usage.data[0].bucket_end - usage.data[0].bucket_start == timedelta(hours=1)
    assert usage.sessions["s"].user_metadata == {"a": "b"}


def test_an_odd_answer_is_named(client: RestClient, server: TinkerServer) -> None:
    odd: list[dict[str, Any]] = [{}, {"checkpoints": [checkpoint(time="yesterday")]}, {"checkpoints": [{}]}]
    for answer in odd:
        server.on("/checkpoints", answer)
        with pytest.raises(tinkex.APIResponseValidationError, match="CheckpointsListResponse"):
            client.list_user_checkpoints().result(60)


def test_signed_urls_do_not_show(client: RestClient, server: TinkerServer) -> None:
    server.on("*", {"urls": {"a": "https://store/a?signature=1"}, "expires": "2026-01-02T12:00:00Z"})
    urls = client.get_external_weights_urls(PATH).result(60)
    assert urls.urls == {"a": "https://store/a?signature=1"}
    assert "signature" not in repr(urls)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get_training_run(""),
        lambda c: c.delete_checkpoint(RUN, "weights/.."),
        lambda c: c.delete_checkpoint("..", "weights/final"),
        lambda c: c.delete_checkpoint_from_tinker_path("tinker://run/final"),
        lambda c: c.publish_checkpoint_from_tinker_path("https://run/weights/final"),
        lambda c: c.get_training_run_by_tinker_path("tinker://run/weights/.."),
        lambda c: c.get_weights_info_by_tinker_path("weights"),
        lambda c: c.list_training_runs(0),
        lambda c: c.list_sessions(offset=-1),
        lambda c: c.list_user_checkpoints(limit=1.5),
        lambda c: c.set_checkpoint_ttl_from_tinker_path(PATH, 0),
        lambda c: c.set_checkpoint_ttl_from_tinker_path(PATH, "1h"),
        lambda c: c.assign_session_project("s", ""),
        lambda c: c.get_billing_usage("yesterday", NOON),
        lambda c: c.download_checkpoint("final", "out"),
        lambda c: types.SessionSearchRequest(limit=201),
        lambda c: types.SessionSearchRequest(display_name=""),
    ],
)
def test_bad_input_is_not_sent(client: RestClient, server: TinkerServer, call: Callable[[Any], Any]) -> None:
    server.requests.clear()
    with pytest.raises(tinkex.InputError):
        call(client).result(60)
    assert len(server.requests) == 0


def test_copying_needs_a_project(server: TinkerServer) -> None:
    with (
        RestClient(config=config(server)) as client,
        pytest.raises(tinkex.InputError, match="TINKER_PROJECT_ID"),
    ):
        client.copy_weights(PATH)


def test_an_access_token_travels_in_a_header(client: RestClient, server: TinkerServer) -> None:
    server.on("/copy_weights", {"tinker_path": PATH})
    assert client.copy_weights(PATH, "p", weights_access_token="token").result(60) == PATH
    assert server.requests.to("/copy_weights")[0].headers["x-tinker-weights-access-token"] == "token"


def test_a_trace_is_waited_for(
    client: RestClient, server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.rest_client.TRACE_PAUSE", 0.01)
    url = "https://store/trace"
    server.once(
        "*/trace_export", {"status": "pending"}, 503, {"status": "pending"}, {"status": "ready", "url": url}
    )
    assert client.export_session_trace("s").result(60) == url
    server.once("*/trace_export", {"status": "failed", "error": "too long"})
    with pytest.raises(tinkex.RequestFailedError, match="too long"):
        client.export_session_trace("s").result(60)


def test_against_the_embedded_server(tmp_path: Any) -> None:
    with LocalServer() as local:
        address: dict[str, Any] = {"base_url": local.base_url, "api_key": local.api_key}
        with tinkex.ServiceClient(display_name="nightly run", **address) as service:
            model = service.get_server_capabilities().supported_models[0].model_name or ""
            training = service.create_lora_training_client(model, rank=4)
            state = training.save_state("state").result(60).path
            sampler = training.save_weights_for_sampler("sampler", ttl_seconds=7200).result(60).path
        with RestClient(**address) as client:
            (run,) = client.iter_training_runs(page_size=1)
            assert (run.training_run_id, run.lora_rank) == (training.model_id, 4)
            assert client.get_training_run_by_tinker_path(state).result(60) == run
            found = {
                checkpoint.tinker_path: checkpoint for checkpoint in client.iter_checkpoints(page_size=1)
            }
            assert found.keys() == {state, sampler}
            assert found[sampler].expires_at is not None
            assert client.list_checkpoints(run.training_run_id).result(60).checkpoints == list(found.values())
            assert client.get_weights_info_by_tinker_path(state).result(60).lora_rank == 4
            assert service.session_id in set(client.iter_sessions())
            assert client.get_session(service.session_id).result(60).training_run_ids == [training.model_id]
            search = client.search_sessions(types.SessionSearchRequest(display_name="NIGHTLY")).result(60)
            assert [session.session_id for session in search.sessions] == [service.session_id]
            client.set_checkpoint_ttl_from_tinker_path(sampler, None).result(60)
            client.publish_checkpoint_from_tinker_path(sampler).result(60)
            changed = {c.tinker_path: c for c in client.iter_checkpoints()}[sampler]
            assert (changed.expires_at, changed.public) == (None, True)
            target = client.download_checkpoint(state, tmp_path / "state").result(60)
            assert sum(path.stat().st_size for path in target.iterdir()) >= (found[state].size_bytes or 0) > 0
            client.delete_checkpoint_from_tinker_path(state).result(60)
            assert [checkpoint.tinker_path for checkpoint in client.iter_checkpoints()] == [sampler]
            with pytest.raises(tinkex.NotFoundError):
                client.download_checkpoint(state, tmp_path / "gone").result(60)


def test_a_deletion_whose_answer_was_lost_has_worked(server: TinkerServer) -> None:
    gone = Reply(404, {"detail": "no such checkpoint"})
    with RestClient(config=config(server)) as client:
        server.once(CHECKPOINT, Reset(), gone)
        client.delete_checkpoint(RUN, "weights/final").result(60)
        server.once(CHECKPOINT, gone)
        with pytest.raises(tinkex.NotFoundError):
            client.delete_checkpoint(RUN, "weights/final").result(60)


def test_a_checkpoint_of_a_server_that_does_not_say_when_it_was_saved(server: TinkerServer) -> None:
    for said in ({"time": None}, {}):
        fields = {name: value for name, value in checkpoint().items() if name != "time"}
        server.on(f"/training_runs/{RUN}/checkpoints", {"checkpoints": [{**fields, **said}]})
        with RestClient(config=config(server)) as client:
            [found] = client.list_checkpoints(RUN).result(60).checkpoints
        assert found.time is None
        assert "None" in repr(found)


def test_the_archive_url_of_earlier_releases(client: RestClient, server: TinkerServer) -> None:
    moved = {"Location": "https://store/a?signature=1", "Expires": "Fri, 02 Jan 2093 12:00:00 GMT"}
    server.on("*/archive", Reply(302, b"", moved))
    with pytest.warns(DeprecationWarning, match="use download_checkpoint") as warned:
        archive = client.get_checkpoint_archive_url(RUN, "weights/final").result(60)
    assert warned[0].filename == __file__
    assert archive.url == "https://store/a?signature=1"
    assert abs(archive.expires - datetime(2093, 1, 2, 12, tzinfo=timezone.utc)) < timedelta(minutes=10)
    assert "signature" not in repr(archive)
    with pytest.warns(DeprecationWarning, match="archive URLs"):
        assert client.get_checkpoint_archive_url_from_tinker_path(PATH).result(60).url == archive.url
    with pytest.warns(DeprecationWarning, match="archive URLs"):
        assert asyncio.run(client.get_checkpoint_archive_url_async(RUN, "weights/final")).url == archive.url
    with pytest.warns(DeprecationWarning, match="archive URLs"):
        awaited = asyncio.run(client.get_checkpoint_archive_url_from_tinker_path_async(tinker_path=PATH))
    assert awaited.url == archive.url
    assert {request.path for request in server.requests.to("*/archive")} == {f"/api/v1{CHECKPOINT}/archive"}


def test_an_archive_that_is_being_made_is_waited_for(client: RestClient, server: TinkerServer) -> None:
    server.once("*/archive", 503, 503)
    server.on("*/archive", Reply(302, b"", {"Location": "https://store/a"}))
    with pytest.warns(DeprecationWarning, match="archive URLs"):
        archive = client.get_checkpoint_archive_url(RUN, "weights/final").result(60)
    left = archive.expires - datetime.now(timezone.utc)
    assert timedelta(minutes=10) < left <= timedelta(minutes=15)
