"""Recovery: whatever happens to the server, the session or the process, every step counts exactly once."""

from __future__ import annotations

import collections
import json
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from clients import config, datum, when
from programs import REPOSITORY, run_python, start_python

import tinkex
from tinkex import recovery, types
from tinkex.local import LocalServer
from tinkex.testing import Hang, Reply, Request, Reset, TinkerServer

STEPS = 12
BROKEN_AT = 7
DATUM = datum(1, 2, 3)
PROBE = [datum(*b"Every step counts exactly once."), datum(*b"And no step twice.")]


def create(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client("tinkex/byte-lm")


def do_step(training: tinkex.TrainingClient, step: int) -> Sequence[Future[Any]]:
    """The learning rate tells the server which step this is."""
    rate = types.AdamParams(learning_rate=float(step))
    return training.forward_backward([DATUM], "cross_entropy"), training.optim_step(rate)


def make_run(server: TinkerServer, **settings: Any) -> recovery.Run:
    def connect() -> tinkex.ServiceClient:
        quick = config(server, wire_format="json", outage_timeout=0.2, max_tries=2)
        return tinkex.ServiceClient(config=quick, heartbeat_interval=0.05)

    quick = {"save_every": 5, "first_wait": 0.001, **settings}
    return recovery.Run(create, connect=connect, **quick)


def steps_in(server: TinkerServer, path: str) -> list[float]:
    """The steps whose effect the state at ``path`` holds, on a server that did all it was asked, once."""
    models: dict[str, list[float]] = {}
    states: dict[str, list[float]] = {}
    seen = set()
    for request in server.requests:
        body = request.json() if request.content else {}
        call = request.path.rpartition("/")[2]
        if call == "load_weights":
            assert body["optimizer"] is True
            models[f"{body['session_id']}:train:{body['model_seq_id']}"] = list(states[body["path"]])
        if "seq_id" not in body or (body["model_id"], body["seq_id"]) in seen:
            continue
        seen.add((body["model_id"], body["seq_id"]))
        steps = models.setdefault(body["model_id"], [])
        if call == "optim_step":
            steps.append(body["adam_params"]["learning_rate"])
        if call == "save_weights":
            states[f"tinker://{body['model_id']}/weights/{body['path']}"] = list(steps)
    return states[path]


def is_step(number: int) -> Callable[[Request], bool]:
    return lambda request: request.json()["adam_params"]["learning_rate"] == number


def once_at(number: int, *replies: Any) -> Callable[[Request], Any]:
    """``replies`` to the first requests of that step, the default to all others."""
    left = list(replies)
    return lambda request: left.pop(0) if left and is_step(number)(request) else None


def the_submission_is_lost(server: TinkerServer) -> None:
    server.on("/optim_step", once_at(BROKEN_AT, Reset(), Reset()))


def the_result_is_lost(server: TinkerServer) -> None:
    server.on("/optim_step", once_at(BROKEN_AT, lambda _: {"request_id": "lost"}))
    server.on("/retrieve_future", when(lambda request: request.json()["request_id"] == "lost", Reset()))


def the_server_says_it_failed(server: TinkerServer) -> None:
    server.on("/optim_step", once_at(BROKEN_AT, lambda _: {"request_id": "failed"}))
    failure = {"error": "out of memory", "category": "server"}
    server.on("/retrieve_future", when(lambda request: request.json()["request_id"] == "failed", failure))


def the_save_is_lost(server: TinkerServer) -> None:
    left = [Reset(), Reset()]
    late = lambda request: left.pop() if left and request.json()["path"] == "step-000010" else None  # noqa: E731
    server.on("/save_weights", late)


def the_model_is_forgotten(server: TinkerServer) -> None:
    gone = threading.Event()
    first: list[str] = []

    def forget(request: Request) -> Any:
        body = request.json()
        first.append(body["model_id"])
        if request.path.endswith("/optim_step") and is_step(BROKEN_AT)(request):
            gone.set()
        return 404 if gone.is_set() and body["model_id"] == first[0] else None

    for path in ("/forward_backward", "/optim_step", "/save_weights", "/get_info"):
        server.on(path, forget)


@pytest.mark.parametrize(
    "breaks",
    [
        the_submission_is_lost,
        the_result_is_lost,
        the_server_says_it_failed,
        the_save_is_lost,
        the_model_is_forgotten,
    ],
)
@pytest.mark.parametrize("in_flight", [1, 4])
def test_every_step_counts_once_whatever_breaks(
    server: TinkerServer, breaks: Callable[[TinkerServer], None], in_flight: int
) -> None:
    breaks(server)
    with make_run(server, in_flight=in_flight) as run:
        run.train(STEPS, do_step)
        assert run.restarts == 1
        assert run.checkpoint is not None
        assert run.checkpoint.step == STEPS
        assert steps_in(server, run.checkpoint.path) == list(range(STEPS))
    loaded = [request.json()["path"] for request in server.requests.to("/load_weights")]
    assert len(loaded) == 1
    assert loaded[0].endswith("/weights/step-000005")


def test_a_session_that_ends_is_resumed_in_another(server: TinkerServer) -> None:
    ended: list[str] = []
    server.on("/session_heartbeat", lambda request: 410 if request.json()["session_id"] in ended else None)

    with make_run(server) as run:

        def last_step(training: tinkex.TrainingClient, step: int) -> Any:
            if step == BROKEN_AT and not ended:
                ended.append(run.service.session_id)
                while True:  # until a heartbeat has told the client
                    training.optim_step(types.AdamParams(learning_rate=99.0)).result(60)
            return do_step(training, step)

        run.train(STEPS, last_step)
        assert run.restarts == 1
        assert run.service.session_id not in ended
        assert run.checkpoint is not None
        assert steps_in(server, run.checkpoint.path) == list(range(STEPS))


def test_before_the_first_checkpoint_a_run_begins_again(server: TinkerServer) -> None:
    server.on("/optim_step", once_at(2, Reset(), Reset()))
    with make_run(server) as run:
        run.train(STEPS, do_step)
        assert run.restarts == 1
        assert run.checkpoint is not None
        assert steps_in(server, run.checkpoint.path) == list(range(STEPS))
    assert len(server.requests.to("/create_model")) == 2


def test_results_come_in_the_order_of_the_steps(server: TinkerServer) -> None:
    seen: list[int] = []

    def on_step(step: int, results: list[Any]) -> None:
        output, update = results
        assert output.metrics.keys() == {"loss:sum"}
        assert isinstance(update, types.OptimStepResponse)
        seen.append(step)

    the_submission_is_lost(server)
    with make_run(server) as run:
        run.train(STEPS, do_step, on_step)
    # Of the steps that were lost those whose results had come are told again.
    assert seen == [*range(BROKEN_AT), *range(5, STEPS)]


def test_steps_are_queued_ahead_of_their_results(server: TinkerServer) -> None:
    hang, queued = Hang(), queue.Queue[int]()
    server.once("/optim_step", hang)

    def told_step(training: tinkex.TrainingClient, step: int) -> Any:
        queued.put(step)
        return do_step(training, step)

    with make_run(server, in_flight=3) as run:
        trainer = threading.Thread(target=run.train, args=(6, told_step))
        trainer.start()
        assert [queued.get(timeout=60) for _ in range(3)] == [0, 1, 2]
        server.requests.wait_for("/optim_step")
        assert queued.empty()
        hang.release()
        trainer.join(60)
        assert not trainer.is_alive()


@pytest.mark.parametrize(
    ("path", "reply", "error"),
    [
        ("/forward_backward", Reply(422, {"detail": "no such loss"}), tinkex.UnprocessableEntityError),
        ("/forward_backward", Reply(404, {"detail": "no such loss"}), tinkex.NotFoundError),
        ("/retrieve_future", {"error": "bad targets", "category": "user"}, tinkex.RequestFailedError),
    ],
)
def test_an_error_of_the_step_passes_through(
    server: TinkerServer, path: str, reply: Any, error: type[Exception]
) -> None:
    with make_run(server) as run:
        run.train(5, do_step)
        server.once(path, reply)
        with pytest.raises(error):
            run.train(STEPS, do_step)
        assert run.restarts == 0
        assert run.checkpoint is not None
        assert run.checkpoint.step == 5
        # What the model holds now is anybody's guess, so going on means going on from the checkpoint.
        run.train(STEPS, do_step)
        assert steps_in(server, run.checkpoint.path) == list(range(STEPS))


def test_an_exception_of_the_user_passes_through_after_what_went_before_is_kept(
    server: TinkerServer, tmp_path: Path
) -> None:
    def failing_step(training: tinkex.TrainingClient, step: int) -> Any:
        if step == 5:
            raise ZeroDivisionError
        return do_step(training, step)

    with make_run(server, in_flight=4, journal=tmp_path / "run.json") as run:
        with pytest.raises(ZeroDivisionError):
            run.train(STEPS, failing_step)
        assert run.checkpoint is not None
        assert run.checkpoint.step == 5
    assert json.loads((tmp_path / "run.json").read_text())["step"] == 5


def test_restarts_are_bounded(server: TinkerServer) -> None:
    server.on("/optim_step", Reset())
    with make_run(server, max_restarts=3) as run:
        with pytest.raises(tinkex.ClientPoisonedError):
            run.train(STEPS, do_step)
        assert run.restarts == 3
    assert len(server.requests.to("/create_session")) == 4


def test_restarts_with_progress_in_between_do_not_add_up(server: TinkerServer) -> None:
    asked = collections.Counter[float]()

    def every_step_breaks_once(request: Request) -> Any:
        step = request.json()["adam_params"]["learning_rate"]
        asked[step] += 1
        return 500 if asked[step] <= 2 else None

    server.on("/optim_step", every_step_breaks_once)
    with make_run(server, max_restarts=1, save_every=1) as run:
        run.train(4, do_step)
        assert run.restarts == 4
        assert run.checkpoint is not None
        assert steps_in(server, run.checkpoint.path) == list(range(4))


def test_a_journal_names_only_states_that_were_saved(server: TinkerServer, tmp_path: Path) -> None:
    journal = tmp_path / "run.json"
    hang = Hang()
    server.once("/save_weights", hang)
    with make_run(server, journal=journal) as run:
        trainer = threading.Thread(target=run.train, args=(5, do_step))
        trainer.start()
        server.requests.wait_for("/save_weights")
        assert not journal.exists()
        hang.release()
        trainer.join(60)
        assert run.checkpoint is not None
        assert json.loads(journal.read_text()) == {"step": 5, "path": run.checkpoint.path}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]


def test_a_journal_takes_another_run_to_where_the_first_got(server: TinkerServer, tmp_path: Path) -> None:
    journal = tmp_path / "run.json"
    with make_run(server, journal=journal) as run:
        run.train(7, do_step)
    with make_run(server, journal=journal) as run:
        run.train(STEPS, do_step)
        assert run.restarts == 0
        assert run.checkpoint is not None
        assert steps_in(server, run.checkpoint.path) == list(range(STEPS))
    sent = len(server.requests.to("/optim_step"))
    with make_run(server, journal=journal) as run:
        run.train(STEPS, do_step)
    assert len(server.requests.to("/optim_step")) == sent


def test_a_checkpoint_that_is_gone_is_an_error(server: TinkerServer, tmp_path: Path) -> None:
    journal = tmp_path / "run.json"
    journal.write_text('{"step": 5, "path": "tinker://gone/weights/step-000005"}')
    server.on("/load_weights", 404)
    server.on("/weights_info", 404)
    with pytest.raises(tinkex.NotFoundError), make_run(server, journal=journal):
        pass
    assert not server.requests.to("/create_model")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"step": -1, "path": "tinker://a/weights/b"}', "null"])
def test_a_file_that_is_no_journal_is_refused(server: TinkerServer, tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(tinkex.InputError, match="journal"):
        make_run(server, journal=tmp_path / "run.json")
    with pytest.raises(tinkex.InputError, match="folder"):
        make_run(server, journal=tmp_path / "nowhere" / "run.json")
    assert not len(server.requests)


# ---- on the embedded server: the weights themselves ----


def learn(training: tinkex.TrainingClient, step: int) -> Sequence[Future[Any]]:
    tokens = [(step * 31 + at * 7) % 256 for at in range(20)]
    output = training.forward_backward([datum(*tokens)], "cross_entropy")
    return output, training.optim_step(types.AdamParams(learning_rate=1e-2))


def create_local(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client("tinkex/byte-lm", rank=8, seed=3)


def connect_to(url: str) -> tinkex.ServiceClient:
    quick: dict[str, Any] = {"retry_delay": 0.01, "retry_delay_max": 0.05, "outage_timeout": 5.0}
    return tinkex.ServiceClient(config=tinkex.Config(url, "tml-local", **quick))


def local_run(url: str, **settings: Any) -> recovery.Run:
    return recovery.Run(
        create_local, connect=lambda: connect_to(url), save_every=5, first_wait=0.01, **settings
    )


def weights_of(training: tinkex.TrainingClient) -> list[list[float]]:
    """What the weights make of the probe, to the last bit."""
    outputs = training.forward(PROBE, "cross_entropy").result(60).loss_fn_outputs
    return [output["logprobs"].tolist() for output in outputs]


@pytest.fixture(scope="module")
def undisturbed() -> list[list[float]]:
    """The weights of a run to which nothing happened; a plain loop, without the helper."""
    with LocalServer() as server, connect_to(server.base_url) as service:
        training = create_local(service)
        for step in range(STEPS):
            for future in learn(training, step):
                future.result(60)
        return weights_of(training)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_server_that_is_started_again_makes_no_difference(
    tmp_path: Path, undisturbed: list[list[float]], in_flight: int
) -> None:
    local = LocalServer(tmp_path)
    with local, local_run(local.base_url, in_flight=in_flight) as run:
        stops = [2, 8, 9]

        def disturbed(training: tinkex.TrainingClient, step: int) -> Sequence[Future[Any]]:
            futures = learn(training, step)
            if step in stops:
                stops.remove(step)
                local.stop()
                local.start()
            return futures

        run.train(STEPS, disturbed)
        assert run.restarts >= 2
        assert not stops
        assert weights_of(run.training) == undisturbed


class ServerProcess:
    """``python -m tinkex.local`` with a directory, to be killed and started again on its port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.start()

    def start(self) -> None:
        options = ["--directory", str(self.directory), "--port", str(self.port)]
        self.process = start_python("-m", "tinkex.local", *options)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


def test_a_server_that_is_killed_makes_no_difference(tmp_path: Path, undisturbed: list[list[float]]) -> None:
    remote = ServerProcess(tmp_path)
    try:
        with local_run(remote.url) as run:
            ports = [remote.port]

            def disturbed(training: tinkex.TrainingClient, step: int) -> Sequence[Future[Any]]:
                futures = learn(training, step)
                if step == BROKEN_AT and len(ports) == 1:
                    remote.kill()
                    remote.start()
                    ports.append(remote.port)
                return futures

            run.train(STEPS, disturbed)
            assert ports[0] == ports[1]
            assert run.restarts >= 1
            assert weights_of(run.training) == undisturbed
    finally:
        remote.kill()


PROGRAM = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import test_recovery as here
from tinkex import ServiceClient, recovery

folder, killed_at = sys.argv[2], int(sys.argv[3])

def do_step(training, step):
    futures = here.learn(training, step)
    if step == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return futures

run = recovery.Run(
    here.create_local, connect=lambda: ServiceClient(base_url="local://" + folder),
    journal=folder + "/run.json", save_every=5,
)
with run:
    began = run.checkpoint.step if run.checkpoint else 0
    run.train(here.STEPS, do_step)
    print(json.dumps([began, here.weights_of(run.training)]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_process_that_is_killed_makes_no_difference(tmp_path: Path, undisturbed: list[list[float]]) -> None:
    def run_until(step: int) -> subprocess.CompletedProcess[str]:
        here = str(Path(__file__).parent)
        return run_python("-c", PROGRAM, here, str(tmp_path), str(step))

    # In the first process nothing was saved yet; the second gets over the first checkpoint, and is killed too.
    for killed_at in (3, 8):
        assert run_until(killed_at).returncode == -signal.SIGKILL
    last = run_until(-1)
    assert last.returncode == 0, last.stderr
    began, weights = json.loads(last.stdout)
    assert began == 5
    assert weights == undisturbed


def test_the_example_ends_with_the_same_weights(tmp_path: Path) -> None:
    example = REPOSITORY / "examples" / "resume.py"
    done = run_python(str(example), "--steps", "40", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the same weights" in done.stdout
    assert "resuming after step" in done.stderr


def test_a_run_begins_with_the_checkpoint_that_it_is_given(
    tmp_path: Path, undisturbed: list[list[float]]
) -> None:
    with LocalServer(tmp_path) as local:
        with local_run(local.base_url) as run:
            run.train(5, learn)
            first = run.checkpoint
        seen: list[recovery.Checkpoint] = []
        steps: list[int] = []
        with local_run(local.base_url, start=first, journal=tmp_path / "run.json") as run:
            run.train(STEPS, learn, lambda step, results: steps.append(step), seen.append)
            assert weights_of(run.training) == undisturbed
        assert steps == list(range(5, STEPS))
        assert [checkpoint.step for checkpoint in seen] == [10, STEPS]
        # What the journal says comes first.
        assert local_run(local.base_url, start=first, journal=tmp_path / "run.json").checkpoint == seen[-1]


def test_an_action_is_repeated_after_a_restart(tmp_path: Path, undisturbed: list[list[float]]) -> None:
    local = LocalServer(tmp_path)
    with local, local_run(local.base_url) as run:
        run.train(STEPS, learn)
        stops = [1, 1]

        def save(training: tinkex.TrainingClient) -> str:
            if stops:
                stops.pop()
                local.stop()
                local.start()
            return training.save_weights_for_sampler("learned").result(60).path

        path = run.call(save)
        assert run.restarts == 2
        assert path.endswith("/sampler_weights/learned")
        assert weights_of(run.training) == undisturbed


def test_what_a_callback_raises_ends_the_run(server: TinkerServer) -> None:
    def stop(checkpoint: recovery.Checkpoint) -> None:
        raise KeyError(checkpoint.step)

    with make_run(server) as run, pytest.raises(KeyError, match="5"):
        run.train(10, do_step, on_checkpoint=stop)
    assert run.checkpoint is not None
    assert run.checkpoint.step == 5
    assert run.restarts == 0
