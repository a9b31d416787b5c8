"""``ServiceClient``: starting, closing, and what a closed one says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from clients import FINISH, PARAMS, PROMPT, client_of

from tinkex import ServiceClient
from tinkex.errors import (
    ClientClosedError,
    InputError,
)
from tinkex.testing import TinkerServer

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_the_session_has_started_when_the_client_is_there(server: TinkerServer) -> None:
    service = ServiceClient(
        {"who": "me"}, "project-1", display_name="name", base_url=server.url, api_key="tml-a",
        default_headers_overrides={"X-Extra": "yes"}, heartbeat_interval=0.05,
    )  # fmt: skip
    with service:
        [created] = server.requests.to("/create_session")
        assert created.json() == {
            "type": "create_session", "tags": [], "user_metadata": {"who": "me"}, "sdk_version": "0.38.0",
            "project_id": "project-1", "display_name": "name",
        }  # fmt: skip
        assert created.secrets["x-api-key"] == "tml-a"
        assert created.headers["x-extra"] == "yes"
        server.requests.wait_for("/session_heartbeat", 2)
        assert service.session_id in repr(service)


def test_an_unknown_argument_is_only_warned_about(server: TinkerServer) -> None:
    with pytest.warns(FutureWarning, match="novelty"):
        client_of(server, novelty=1).close()


PATH = "tinker://run/weights/step-1"


def test_weights_are_copied_into_the_clients_project(server: TinkerServer) -> None:
    server.on("/copy_weights", {"tinker_path": "tinker://copy/weights/step-1"})
    with client_of(server, project_id="archive") as service:
        copy = service.copy_weights(PATH, ttl_seconds=4000, weights_access_token="theirs")
        assert copy.result(60) == "tinker://copy/weights/step-1"
    [request] = server.requests.to("/copy_weights")
    assert request.json() == {
        "source_path": PATH,
        "destination_project_id": "archive",
        "ttl_seconds": 4000,
    }
    assert request.headers["x-tinker-weights-access-token"] == "theirs"


def test_weights_are_not_copied_to_nowhere(server: TinkerServer, service: ServiceClient) -> None:
    with pytest.raises(InputError, match="project"):
        service.copy_weights(PATH)
    with pytest.raises(InputError, match="tinker://"):
        service.copy_weights("weights")
    assert not server.requests.to("/copy_weights")


def test_close_rejects_other_words(service: ServiceClient) -> None:
    with pytest.raises(InputError):
        service.close("whatever")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "status"), [(None, "success"), (ValueError, "errored"), (KeyboardInterrupt, "interrupted")]
)
def test_the_with_block_reports_how_it_ended(
    server: TinkerServer, error: type[BaseException] | None, status: str
) -> None:
    def block() -> None:
        with client_of(server):
            if error is not None:
                raise error

    if error is None:
        block()
    else:
        with pytest.raises(error):
            block()
    assert server.requests.to(FINISH)[0].json()["reason"] == {"type": status}


def test_every_call_of_a_closed_service_says_that_it_is_closed(server: TinkerServer) -> None:
    with client_of(server) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        path = training.save_weights_for_sampler("a").result(60).path
        sampler = service.create_sampling_client(model_path=path)
    calls: list[Callable[[], Any]] = [
        service.get_server_capabilities,
        service.get_server_capabilities_async,
        lambda: asyncio.run(training.get_info_async()),
        lambda: asyncio.run(training.create_sampling_client_async("tinker://run/weights/a")),
        lambda: asyncio.run(sampler.get_base_model_async()),
        lambda: sampler.sample(PROMPT, 1, PARAMS),
        training.optim_step,
    ]
    for call in calls:
        for _ in range(2):
            with pytest.raises(ClientClosedError) as caught:
                call()
            assert len(caught.traceback) < 12, "an error of its own each time"
