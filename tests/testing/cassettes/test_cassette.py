"""A cassette is recorded on a server once, and played without it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clients import DATUM, PARAMS, PROMPT, sample

import tinkex
from tinkex import metrics, types
from tinkex.api.rest import archive_url
from tinkex.testing import CassetteError, Reply, TinkerServer, cassette

KEY = "tml-s3cr3t-s3cr3t-s3cr3t"
NOWHERE: dict[str, Any] = {"base_url": "http://127.0.0.1:9", "api_key": "tml-another"}


def train_and_sample(folder: Path, **settings: Any) -> list[object]:
    """A session with many threads, whose order is never the same."""
    seen: list[object] = []
    with tinkex.ServiceClient(**settings) as service, ThreadPoolExecutor(8) as pool:
        training = service.create_lora_training_client("tinkex/byte-lm", seed=1)
        for rate in (0.1, 0.1, 0.2):
            forward_backward = training.forward_backward([DATUM], "cross_entropy")
            step = training.optim_step(types.AdamParams(learning_rate=rate))
            seen += [forward_backward.result(60).metrics, step.result(60).metrics]
        path = training.save_weights_for_sampler("w").result(60).path
        sampler = service.create_sampling_client(path)

        def ask(first: int) -> list[int]:
            params = types.SamplingParams(max_tokens=4, seed=first)
            prompt = types.ModelInput.from_ints([first])
            return sampler.sample(prompt, 1, params).result(60).sequences[0].tokens

        seen.append(list(pool.map(ask, range(20))))
        rest = service.create_rest_client()
        files = Path(
            rest.download_checkpoint(path, folder / f"{len(seen)}-{len(list(folder.iterdir()))}").result(60)
        )
        seen.append({file.name: file.read_bytes() for file in files.iterdir()})
    return seen


def test_it_is_recorded_once_and_played_without_the_server(tmp_path: Path) -> None:
    file, folder = tmp_path / "deep" / "cassette.json", tmp_path / "files"
    folder.mkdir()
    with TinkerServer() as server, cassette(file) as recording:
        assert recording.recording
        first = train_and_sample(folder, base_url=server.url, api_key=KEY)
        asked = len(server.requests)
    for _ in range(3):
        with cassette(file) as playing:
            assert not playing.recording
            assert train_and_sample(folder, **NOWHERE) == first
        assert 0 < playing.played <= asked
    assert len(server.requests) == asked


def test_it_works_for_the_server_of_this_process_and_as_a_decorator(tmp_path: Path) -> None:
    @cassette(tmp_path / "cassette.json")
    def ask() -> list[int]:
        with tinkex.ServiceClient(base_url="local://") as service:
            sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
            return (
                sampler.sample(PROMPT, 1, types.SamplingParams(max_tokens=8)).result(60).sequences[0].tokens
            )

    assert ask() == ask() == ask(), "without a seed, each sample would be another one"


def test_it_lasts_as_long_as_a_decorated_coroutine(tmp_path: Path) -> None:
    def decorated(settings: dict[str, Any]) -> Callable[[], Any]:
        @cassette(tmp_path / "c.json")
        async def ask() -> Any:
            await asyncio.sleep(0)
            with tinkex.ServiceClient(**settings) as service:
                return await service.get_server_capabilities_async()

        return ask

    with TinkerServer() as server:
        first = asyncio.run(decorated({"base_url": server.url, "api_key": KEY})())
    assert asyncio.run(decorated(NOWHERE)()) == first


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    entered = False
    with pytest.raises(OSError), cassette(tmp_path / "file" / "c.json"):  # noqa: PT011  # which one, the system says
        entered = True
    assert not entered


def test_no_secret_reaches_the_file(tmp_path: Path, server: TinkerServer) -> None:
    jwt = "eyJhbGciOiJub25lIn0.s3cr3t"
    signed = "https://store.test/archive?X-Amz-Signature=s3cr3t"
    server.on("/client/config", Reply(200, {"pjwt_auth_enabled": True}, {"Set-Cookie": "id=s3cr3t"}))
    server.on("/auth/token", {"jwt": jwt})
    server.on("*/archive", Reply(302, {"url": signed}, {"Location": signed}))
    echo = lambda request: {"detail": [*request.secrets.values(), signed], "supported_models": []}  # noqa: E731
    server.on("get_server_capabilities", echo)
    headers = {"Cookie": "id=s3cr3t-cookie", "CF-Access-Client-Secret": "s3cr3t-access"}
    file = tmp_path / "cassette.json"

    def use(**settings: Any) -> str:
        config = tinkex.Config(default_headers=headers, telemetry=True, **settings)
        with tinkex.ServiceClient(config=config) as service:
            service.get_server_capabilities()
            url = archive_url(service._session.transport, "run", "weights/x")
            with pytest.raises(tinkex.NotFoundError, match="exist"):
                service.create_training_client_from_state(
                    "tinker://a/weights/b", weights_access_token="s3cr3t-token"
                )
            return url.url

    with cassette(file):
        assert use(base_url=server.url, api_key=KEY) == signed
    text = file.read_text(encoding="utf-8")
    assert "s3cr3t" not in text
    assert "store.test" not in text
    assert "telemetry" not in text
    with cassette(file):
        assert use(**NOWHERE).startswith("https://signed-link.invalid/")


def test_heartbeats_beyond_the_recorded_ones_are_answered(tmp_path: Path, server: TinkerServer) -> None:
    def use(beats: int, **settings: Any) -> None:
        beaten = threading.Semaphore(0)
        remove = metrics.on_response(lambda event: beaten.release() if "heartbeat" in event.path else None)
        with tinkex.ServiceClient(heartbeat_interval=0.05, **settings) as service:
            assert all(beaten.acquire(timeout=60) for _ in range(beats))
            service.get_server_capabilities()
        remove()

    with cassette(tmp_path / "cassette.json"):
        use(0, base_url=server.url, api_key=KEY)
    with cassette(tmp_path / "cassette.json"):
        use(4, **NOWHERE)


def test_the_end_of_a_session_and_refusals_are_played_too(tmp_path: Path, server: TinkerServer) -> None:
    def use(**settings: Any) -> None:
        with tinkex.ServiceClient(**settings) as service:
            with pytest.raises(tinkex.NotFoundError, match="unknown"):
                service.create_sampling_client(base_model="nothing")
            sample(service.create_sampling_client(base_model="tinkex/byte-lm"))

    server.fail_next("asample", status=429, retry_after=1, times=2)
    with cassette(tmp_path / "cassette.json"):
        use(base_url=server.url, api_key=KEY)
    with cassette(tmp_path / "cassette.json"):
        use(**NOWHERE)


def test_clients_that_get_each_others_ids_are_served_all_the_same(
    tmp_path: Path, server: TinkerServer
) -> None:
    def use(prompts: list[int], **settings: Any) -> dict[int, list[int]]:
        with tinkex.ServiceClient(**settings) as one, tinkex.ServiceClient(**settings) as two:
            samplers = [each.create_sampling_client(base_model="tinkex/byte-lm") for each in (one, two)]
            return {
                prompt: sampler.sample(types.ModelInput.from_ints([prompt]), 1, PARAMS)
                .result(60)
                .sequences[0]
                .tokens
                for prompt, sampler in zip(prompts, samplers)
            }

    with cassette(tmp_path / "cassette.json"):
        first = use([1, 2], base_url=server.url, api_key=KEY)
    with cassette(tmp_path / "cassette.json"):
        assert use([2, 1], **NOWHERE) == first


def test_what_is_not_on_it_is_named(tmp_path: Path, server: TinkerServer) -> None:
    file = tmp_path / "cassette.json"
    with cassette(file), tinkex.ServiceClient(config=server.config()) as service:
        sample(service.create_sampling_client(base_model="tinkex/byte-lm"))

    def model(service: tinkex.ServiceClient) -> None:
        service.create_lora_training_client("tinkex/byte-lm")

    def swallowed(service: tinkex.ServiceClient) -> None:
        with pytest.raises(tinkex.TinkerError):
            service.get_server_capabilities()

    def too_often(service: tinkex.ServiceClient) -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        for _ in range(2):
            sampler.sample(PROMPT, 1, PARAMS).result(60)

    def play(use: Callable[[tinkex.ServiceClient], None]) -> None:
        with cassette(file), tinkex.ServiceClient(**NOWHERE) as service:
            use(service)

    with pytest.raises(CassetteError, match=r"no answer left for POST /create_model .*base_model"):
        play(model)
    with pytest.raises(CassetteError, match="no answer left for GET /get_server_capabilities"):
        play(swallowed)
    with pytest.raises(CassetteError, match="no answer left for POST /asample"):
        play(too_often)
    assert len(server.requests.to("create_session")) == 1


def test_ignored_fields_do_not_count(tmp_path: Path, server: TinkerServer) -> None:
    file = tmp_path / "cassette.json"
    ignore = ["user_metadata"]
    with cassette(file, ignore=ignore), tinkex.ServiceClient({"run": "1"}, base_url=server.url, api_key=KEY):
        pass
    with cassette(file, ignore=ignore), tinkex.ServiceClient({"run": "2"}, **NOWHERE):
        pass
    with pytest.raises(CassetteError, match="create_session"), cassette(file):
        tinkex.ServiceClient({"run": "2"}, **NOWHERE)


def test_the_modes(tmp_path: Path, server: TinkerServer) -> None:
    file = tmp_path / "cassette.json"
    with pytest.raises(CassetteError, match="no cassette"), cassette(file, record_mode="none"):
        pass
    for count in (1, 2):
        with cassette(file, record_mode="all"), tinkex.ServiceClient(config=server.config()):
            pass
        assert len(server.requests.to("create_session")) == count
    with pytest.raises(tinkex.InputError, match="record_mode"):
        cassette(file, record_mode="new")  # type: ignore[arg-type]
    with cassette(file), pytest.raises(CassetteError, match="another cassette"), cassette(tmp_path / "b"):
        pass
    with pytest.raises(ZeroDivisionError), cassette(tmp_path / "failed.json"):
        raise ZeroDivisionError
    assert not (tmp_path / "failed.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"tinkex_cassette": 9, "interactions": []}',
        '{"tinkex_cassette": 1, "interactions": [{}]}',
    ],
)
def test_a_file_that_is_no_cassette_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(CassetteError, match="no cassette that can be played"), cassette(tmp_path / "x.json"):
        pass


def test_the_file_is_readable(tmp_path: Path, server: TinkerServer) -> None:
    with cassette(tmp_path / "x.json"), tinkex.ServiceClient(config=server.config()) as service:
        service.get_server_capabilities()
    [asked] = [
        each
        for each in json.loads((tmp_path / "x.json").read_text())["interactions"]
        if each["request"]["place"] == "GET /get_server_capabilities"
    ]
    assert asked["answer"]["json"]["supported_models"][0]["model_name"] == "tinkex/byte-lm"
