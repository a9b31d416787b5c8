"""The public calls: how each is prepared and made, the requests at which a fault may strike it, and what is right."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tinkex
from tinkex import types

from . import bench as b
from .catalogue import SiteKind
from .cell import BOUND, Cell, Trainee
from .proxy import Answer, Site

Do = Callable[[Cell], Any]
Change = Callable[[tinkex.RestClient, str], Any]
Done = Callable[["dict[str, Any] | None"], bool]
SAMPLE_TOKENS = 6


@dataclass(frozen=True)
class Spot(Site):
    """A site of a call. ``does`` tells whether the request does something, so that lost and done differ."""

    kind: SiteKind = "control"
    does: bool = False


@dataclass(frozen=True)
class Call:
    """``prepare`` runs without a fault, ``act`` under it, ``judge`` after it, when all goes through again."""

    name: str
    sites: Mapping[str, Spot]
    act: Do
    prepare: Do = lambda cell: None
    judge: Do = lambda cell: None
    flags: Mapping[str, Any] = field(default_factory=dict)
    standing: Mapping[str, Answer] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    blind: frozenset[str] = frozenset()
    """Names of faults after which a wrong value of this call looks right."""
    patient: bool = False
    """Whether it may wait for as long as a fault lasts, for the server may be at work on it."""
    first_contact: bool = False
    """Whether the client is to know nothing of the server yet."""
    core: bool = False
    """Whether every fault strikes it in every mode."""


def _promise(path: str) -> Spot:
    return Spot("POST", path, "promise", True)


def _get(path: str) -> Spot:
    return Spot("GET", path, "control")


_POLL = Spot("POST", "/retrieve_future", "result")


def _submit_and_poll(path: str) -> dict[str, Spot]:
    return {"submit": _promise(path), "poll": _POLL}


# ---- training ----


def _train(*before: str, flags: bool = True) -> Do:
    """A new model that has done ``before``."""

    def prepare(cell: Cell) -> None:
        train = cell.have["train"] = Trainee(cell, cell.bench.new_model(cell.service()))
        # The server gets a promise of each kind to its name, which faults may repeat.
        train.surely(*before)

    return prepare


def _run(*labels: str) -> Do:
    def act(cell: Cell) -> Any:
        train: Trainee = cell.have["train"]
        return train.call(*labels)

    return act


def _verify(cell: Cell) -> None:
    cell.have["train"].verify()


def _training(
    name: str, path: str, *labels: str, before: tuple[str, ...] = ("A", "O", "B"), **about: Any
) -> Call:
    return Call(name, _submit_and_poll(path), _run(*labels), _train(*before), _verify, **about)


def _verify_saved(cell: Cell) -> None:
    train: Trainee = cell.have["train"]
    there = cell.bench.checkpoint(train.client.model_id, "weights/part") is not None
    if cell.error is None and not there and not cell.blind:
        cell.find("lost", "saved, and it is not there")
    if cell.error is None and not cell.blind:
        expected = f"tinker://{train.client.model_id}/weights/part"
        if cell.value.path != expected:
            cell.find("wrong", f"saved as {cell.value.path!r}, not {expected!r}")
    if _refused(cell) and there:
        cell.find("wrong", f"saved, but said to be refused: {cell.error!r}"[:300])
    train.verify()


def _refused(cell: Cell) -> bool:
    """Whether the call said for sure that nothing was done; an answer to a poll does not say that."""
    error = cell.error
    if not isinstance(error, tinkex.APIStatusError) or "retrieve_future" in error.url:
        return False
    return not error.sent and not cell.refused_by_lie


# ---- making models and samplers ----


def _new_model(cell: Cell) -> Any:
    future = cell.have["service"].create_lora_training_client_async(b.BASE_MODEL, b.RANK, seed=b.SEED)
    return cell.wait(future)


def _from_state(with_optimizer: bool) -> Do:
    def act(cell: Cell) -> Any:
        service: tinkex.ServiceClient = cell.have["service"]
        make = (
            service.create_training_client_from_state_with_optimizer_async
            if with_optimizer
            else service.create_training_client_from_state_async
        )
        return cell.wait(make(cell.bench.state_path))

    return act


def _open_service(cell: Cell) -> None:
    cell.have["service"] = cell.service()


def _trains_from(start: str) -> Do:
    """The model that was made is trained for a step, as one made without a fault."""

    def judge(cell: Cell) -> None:
        if cell.error is None and not cell.blind:
            if not cell.bench.model_is_there(cell.value.model_id):
                cell.find("wrong", f"a client of model {cell.value.model_id!r}, which is not there"[:300])
                return
            Trainee(cell, cell.value, start).verify()

    return judge


def _sample(cell: Cell) -> Any:
    sampler: tinkex.SamplingClient = cell.have["sampler"]
    return cell.wait(_one_sample(sampler))


def _one_sample(sampler: tinkex.SamplingClient) -> tinkex.APIFuture[types.SampleResponse]:
    params = types.SamplingParams(max_tokens=SAMPLE_TOKENS, seed=3, temperature=1.0)
    return sampler.sample(_prompt(), 2, params)


def _prompt() -> types.ModelInput:
    return types.ModelInput.from_ints(list(b"once upon a time"))


def _sequences(response: types.SampleResponse) -> object:
    return [(one.tokens, _singles(one.logprobs), str(one.stop_reason)) for one in response.sequences]


def _singles(numbers: Any) -> object:
    """As 32-bit numbers, which is what proto has; JSON may give more digits."""
    if not isinstance(numbers, list):
        return numbers
    return [struct.pack("<f", one) if isinstance(one, float) else one for one in numbers]


def _open_sampler(cell: Cell) -> None:
    cell.have["sampler"] = cell.service().create_sampling_client_async(None, b.BASE_MODEL).result(60)


def _samples_right(cell: Cell) -> None:
    if cell.error is None and not cell.blind and _sequences(cell.value) != _right_samples(cell, "base"):
        cell.find("wrong", f"sampled {_sequences(cell.value)!r}"[:300])


def _right_samples(cell: Cell, which: str) -> object:
    """What a sampler of the server itself gives, asked once a process."""
    known = cell.bench.right
    if which not in known:
        with cell.bench.direct() as service:
            path = cell.bench.sampler_path if which == "trained" else None
            sampler = service.create_sampling_client_async(path, None if path else b.BASE_MODEL).result(60)
            known[which] = _sequences(_one_sample(sampler).result(60))
            known[f"logprobs of {which}"] = _singles(sampler.compute_logprobs(_prompt()).result(60))
    return known[which]


def _sampler_works(cell: Cell) -> None:
    """The sampler that was made gives what one made without a fault gives."""
    if cell.error is None and not cell.blind:
        given = _sequences(_one_sample(cell.value).result(60))
        if given != _right_samples(cell, "trained"):
            cell.find("wrong", "the sampler is of other weights")


def _logprobs(cell: Cell) -> Any:
    return cell.wait(cell.have["sampler"].compute_logprobs(_prompt()))


def _logprobs_right(cell: Cell) -> None:
    if cell.error is None and not cell.blind:
        _right_samples(cell, "base")
        if _singles(cell.value) != cell.bench.right["logprobs of base"]:
            cell.find("wrong", f"logprobs {cell.value!r}"[:300])


def _sampler_for_training(cell: Cell) -> None:
    """The weights that were given to a sampler are those of the model."""
    train: Trainee = cell.have["train"]
    if cell.error is None and not cell.blind:
        sampler = cell.value
        if isinstance(sampler, types.SaveWeightsForSamplerResponse):
            made = cell.have["service"].create_sampling_client_async(sampler.path)
            sampler = made.result(60)
        given = _sequences(_one_sample(sampler).result(60))
        if given != _right_samples(cell, "trained"):
            cell.find("wrong", "the sampler is of other weights")
    train.poisoned = train.poisoned or isinstance(cell.error, tinkex.ClientPoisonedError)
    train.verify()


def _train_with_service(*before: str) -> Do:
    def prepare(cell: Cell) -> None:
        service = cell.have["service"] = cell.service()
        train = cell.have["train"] = Trainee(cell, cell.bench.new_model(service))
        train.surely(*before)

    return prepare


# ---- asking and telling ----


def _same_as_direct(ask: Callable[[Any, Cell], Any]) -> tuple[Do, Do]:
    """A question, and the judgement that the answer is that of a client without a proxy."""

    def act(cell: Cell) -> Any:
        return ask(cell.have["service"], cell)

    def judge(cell: Cell) -> None:
        if cell.error is None and not cell.blind:
            known = cell.bench.right
            if cell.call.name not in known:
                with cell.bench.direct() as service:
                    known[cell.call.name] = ask(service, _Patient(cell))
            expected = known[cell.call.name]
            if cell.value != expected:
                cell.find("wrong", f"{cell.value!r}"[:250] + f" is not {expected!r}"[:250])

    return act, judge


class _Patient(Cell):
    """A cell that waits on behalf of a client without a fault."""

    def __init__(self, cell: Cell) -> None:
        self.bench = cell.bench

    def wait(self, future: Any) -> Any:
        return future.result(60)


def _question(name: str, spot: Spot, ask: Callable[[Any, Cell], Any], **about: Any) -> Call:
    act, judge = _same_as_direct(ask)
    return Call(name, {"get": spot}, act, _open_service, judge, **about)


def _rest(service: Any) -> tinkex.RestClient:
    rest: tinkex.RestClient = service.create_rest_client()
    return rest


def _with_checkpoint(cell: Cell) -> None:
    """A checkpoint of the cell's own, of a model that all cells share."""
    cell.have["service"] = cell.service()
    name = f"own-{cell.number}"
    cell.have["path"] = cell.bench.save(name)
    cell.have["id"] = f"weights/{name}"


def _effect(change: Change, done: Done) -> tuple[Do, Do]:
    """A change of a checkpoint, and the judgement that it is done if and only if the call says so."""

    def act(cell: Cell) -> Any:
        return cell.wait(change(_rest(cell.have["service"]), cell.have["path"]))

    def judge(cell: Cell) -> None:
        now = cell.bench.checkpoint(cell.bench.run, cell.have["id"])
        if cell.error is None and not done(now):
            cell.find("lost", f"said to be done, and is not: {now}")
        if _refused(cell) and done(now):
            cell.find("wrong", f"done, but said to be refused: {cell.error!r}"[:300])

    return act, judge


def _change(name: str, method: str, pattern: str, change: Change, done: Done) -> Call:
    act, judge = _effect(change, done)
    spot = Spot(method, pattern, "void", True)
    return Call(name, {"send": spot}, act, _with_checkpoint, judge)


def _info_right(cell: Cell) -> None:
    if cell.error is None and not cell.blind:
        client = cell.have["train"].client
        expected = cell.bench.ask("POST", "/get_info", {"model_id": client.model_id})[1]
        given = (cell.value.model_id, cell.value.model_data.model_name, cell.value.lora_rank)
        if given != (expected["model_id"], expected["model_name"], expected["lora_rank"]):
            cell.find("wrong", f"{cell.value!r}"[:300])


def _who(cell: Cell) -> Any:
    return cell.wait(_rest(cell.have["service"]).whoami())


def _who_right(cell: Cell) -> None:
    if cell.error is None and not cell.blind and "somebody" not in repr(cell.value):
        cell.find("wrong", f"{cell.value!r}"[:300])


def _unload(cell: Cell) -> Any:
    return cell.wait(cell.have["train"].client.unload())


def _unloaded(cell: Cell) -> None:
    there = cell.bench.model_is_there(cell.have["train"].client.model_id)
    if cell.error is None and there:
        cell.find("lost", "unloaded, and it is there")
    if _refused(cell) and not there:
        cell.find("wrong", f"unloaded, but said to be refused: {cell.error!r}"[:300])


def _download(cell: Cell) -> Any:
    target = cell.bench.place / f"download-{cell.number}" / "weights"
    cell.have["target"] = target
    return cell.wait(_rest(cell.have["service"]).download_checkpoint(cell.bench.state_path, target))


def _downloaded(cell: Cell) -> None:
    if "files" not in cell.bench.right:
        right = cell.bench.place / "right"
        with cell.bench.direct() as service:
            _rest(service).download_checkpoint(cell.bench.state_path, right).result(60)
        cell.bench.right["files"] = _sums(right)
    target = cell.have["target"]
    if cell.error is None and not cell.blind and _sums(target) != cell.bench.right["files"]:
        cell.find("wrong", f"other files: {sorted(_sums(target))}")
    if cell.error is not None and target.parent.exists() and any(target.parent.iterdir()):
        cell.find("leak", f"files are left: {[path.name for path in target.parent.rglob('*')]}")


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---- sessions ----


def _create_service(cell: Cell) -> Any:
    return cell.service()


def _service_works(cell: Cell) -> None:
    if cell.error is None and not cell.blind:
        answer = cell.value.get_server_capabilities()
        if [model.model_name for model in answer.supported_models] != [b.BASE_MODEL]:
            cell.find("wrong", f"{answer!r}"[:300])


def _beating(cell: Cell) -> None:
    cell.have["service"] = cell.service(heartbeat_interval=0.1)


def _beat(cell: Cell) -> None:
    """Until the fault has met a few beats."""
    cell.bench.proxy.plan.wait_for_hits(3, BOUND / 3)


def _still_alive(cell: Cell) -> None:
    """After the fault the session beats again, unless it was refused in a way that ends it."""
    service: tinkex.ServiceClient = cell.have["service"]
    passed = cell.bench.proxy.passed["/session_heartbeat"]
    ends = (401, 403, 404, 410)
    status = next((int(part) for part in cell.fault.name.replace(".", "-").split("-") if part.isdecimal()), 0)
    own = cell.fault.own or "json" in cell.fault.name
    may_end = (own and 400 <= status < 500) or status in ends
    try:
        service.get_server_capabilities()
    except tinkex.SessionEndedError as error:
        if not may_end:
            cell.find("wrong", f"the session was given up: {error}"[:300])
        return
    if not may_end and not cell.bench.proxy.wait_for_passed("/session_heartbeat", passed + 1, BOUND):
        cell.find("wrong", "no heartbeat after the fault")


def _finish(cell: Cell) -> None:
    began = time.monotonic()
    cell.have["service"].close()
    if time.monotonic() - began > 6:
        cell.find("hang", f"close() took {time.monotonic() - began:.1f} s")


def _reporting(cell: Cell) -> None:
    cell.have["service"] = cell.service(telemetry=True)


def _jwt() -> str:
    now = int(time.time())
    claims = {"sub": "somebody", "org_id": "some", "iat": now, "exp": now + 3600}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in [*parts, b"sig"])


JWT = _jwt()
_TOKEN = {"/auth/token": Answer.of(200, {"jwt": JWT})}
_SHORT_SAMPLES = frozenset({"short-arrays", "prompt-logprobs-one-less", "prompt-logprobs-one-more",
                            "prompt-logprobs-none", "every-value-null"})  # fmt: skip
_OTHER_FILES = frozenset(f"redirect-{status}.before" for status in (301, 302, 303, 307, 308)) | {
    "redirect-key.before",
    "redirect-loop.before",
    "length-too-short",
}
"""Links lead to other hosts, as a redirect of one may, and nothing says what is behind them, nor how long it is."""
_DIRECTORY = "/training_runs/*/checkpoints/weights/*"


def _make() -> dict[str, Call]:
    deleted, published = (lambda found: found is None), (lambda found: bool(found and found["public"]))
    expires = lambda found: bool(found and found.get("expires_at"))  # noqa: E731
    asking_runs = lambda service, cell: [  # noqa: E731
        one.training_run_id
        for one in cell.wait(_rest(service).list_training_runs(100)).training_runs
        if one.training_run_id == cell.bench.run
    ]
    asking_checkpoints = lambda service, cell: [  # noqa: E731
        one.tinker_path
        for one in cell.wait(_rest(service).list_checkpoints(cell.bench.run)).checkpoints
        if one.tinker_path == cell.bench.state_path
    ]
    calls = [
        Call(
            "create_service",
            {"config": Spot("POST", "/client/config"), "session": Spot("POST", "/create_session", does=True)},
            _create_service, judge=_service_works,
        ),
        Call(
            "create_service_with_jwt", {"token": Spot("POST", "/auth/token")}, _create_service,
            judge=_service_works, flags={"pjwt_auth_enabled": True}, standing=_TOKEN, secrets=(JWT,),
        ),
        Call(
            "create_lora_training_client", _submit_and_poll("/create_model"), _new_model, _open_service,
            _trains_from(b.START), blind=frozenset({"promise-of-create_model"}),
        ),
        Call(
            "create_training_client_from_state", _submit_and_poll("/load_weights"), _from_state(False),
            _open_service, _trains_from("weights"),
        ),
        Call(
            "create_training_client_from_state_with_optimizer", _submit_and_poll("/load_weights"),
            _from_state(True), _open_service, _trains_from("optimizer"),
        ),
        _training("forward", "/forward_backward", "F", before=("A", "O", "C")),
        _training("forward_backward", "/forward_backward", "B", before=("A", "O", "C"), core=True),
        _training("first_forward_backward", "/forward_backward", "B", before=(), first_contact=True),
        _training("forward_backward_in_chunks", "/forward_backward", "M", before=("A",),
                  flags={"fwdbwd_max_chunk_len": b.CHUNK}),
        _training("forward_backward_in_chunks_one_by_one", "/forward_backward", "M", before=("A",),
                  flags={"fwdbwd_max_chunk_len": b.CHUNK, "parallel_fwdbwd_chunks": False}),
        _training("forward_backward_custom", "/forward_backward", "X", before=("A", "O")),
        _training(
            "optim_step", "/optim_step", "O", before=("A", "O", "B"), core=True,
            blind=frozenset({"result-of-optim-step", "promise-of-optim_step"}),
        ),
        Call(
            "pipeline",
            {"first": _promise("/forward_backward"), "second": _promise("/optim_step"), "poll": _POLL},
            _run("B", "O", "C", "O"), _train("A"), _verify,
        ),
        Call(
            "save_state", _submit_and_poll("/save_weights"), _run("S"), _train("A", "O"), _verify_saved,
            blind=frozenset({"promise-of-save_weights"}),
        ),
        _training("load_state", "/load_weights", "L", before=("A", "O", "S", "B")),
        _training("load_state_with_optimizer", "/load_weights", "Q", before=("A", "O", "S", "B")),
        Call(
            "save_weights_for_sampler", _submit_and_poll("/save_weights_for_sampler"),
            lambda cell: cell.wait(cell.have["train"].client.save_weights_for_sampler("part")),
            _train_with_service("A", "O"), _sampler_for_training,
        ),
        Call(
            "save_weights_and_get_sampling_client", _submit_and_poll("/save_weights_for_sampler"),
            lambda cell: cell.wait(cell.have["train"].client.save_weights_and_get_sampling_client_async()),
            _train_with_service("A", "O"), _sampler_for_training,
        ),
        Call("unload", _submit_and_poll("/unload_model"), _unload, _train("A"), _unloaded),
        Call(
            "create_sampling_client", {"create": Spot("POST", "/create_sampling_session", does=True)},
            lambda cell: cell.wait(cell.have["service"].create_sampling_client_async(cell.bench.sampler_path)),
            _open_service, _sampler_works,
        ),
        Call("sample", _submit_and_poll("/asample"), _sample, _open_sampler,
             _samples_right, blind=_SHORT_SAMPLES),
        Call(
            "sample_watched", {"watch": Spot("POST", "/retrieve_futures")}, _sample,
            _open_sampler, _samples_right,
            flags={"sample_use_retrieve_futures": True}, blind=_SHORT_SAMPLES,
        ),
        Call("compute_logprobs", _submit_and_poll("/asample"), _logprobs, _open_sampler,
             _logprobs_right, blind=frozenset({"prompt-logprobs-one-less"})),
        _question("get_server_capabilities", _get("/get_server_capabilities"),
                  lambda service, cell: service.get_server_capabilities()),
        Call(
            "get_info", {"get": Spot("POST", "/get_info")}, lambda cell: cell.have["train"].client.get_info(),
            _train(), _info_right,
        ),
        Call(
            "whoami", {"get": Spot("POST", "/auth/token")}, _who, _open_service, _who_right,
            standing=_TOKEN, secrets=(JWT,),
        ),
        _question("list_training_runs", _get("/training_runs"), asking_runs),
        _question("list_checkpoints", _get("/training_runs/*/checkpoints"), asking_checkpoints),
        _question("get_training_run", _get("/training_runs/*"),
                  lambda service, cell: cell.wait(
                      _rest(service).get_training_run(cell.bench.run)).base_model),
        _question("weights_info", Spot("POST", "/weights_info"),
                  lambda service, cell: cell.wait(
                      _rest(service).get_weights_info_by_tinker_path(cell.bench.state_path))),
        _question("list_sessions", _get("/sessions"),
                  lambda service, cell: bool(cell.wait(_rest(service).list_sessions()).sessions)),
        _change("delete_checkpoint", "DELETE", _DIRECTORY,
                lambda rest, path: rest.delete_checkpoint_from_tinker_path(path), deleted),
        _change("publish_checkpoint", "POST", f"{_DIRECTORY}/publish",
                lambda rest, path: rest.publish_checkpoint_from_tinker_path(path), published),
        _change("set_checkpoint_ttl", "PUT", f"{_DIRECTORY}/ttl",
                lambda rest, path: rest.set_checkpoint_ttl_from_tinker_path(path, 7200), expires),
        Call(
            "download_checkpoint",
            {"links": _get("/training_runs/*/external_weights_urls"), "file": Spot("GET", "/download/*", "file")},
            _download, _open_service, _downloaded, blind=_OTHER_FILES,
        ),
        Call(
            "download_archive",
            {"archive": _get("/training_runs/*/archive"), "file": Spot("GET", "/download/*", "file")},
            _download, _open_service, _downloaded, patient=True, blind=_OTHER_FILES,
            standing={"/training_runs/*/external_weights_urls": Answer.of(404, {"detail": "no such thing"})},
        ),
        Call("heartbeat", {"beat": Spot("POST", "/session_heartbeat", "control")}, _beat, _beating, _still_alive),
        Call("close", {"finish": Spot("POST", "/sessions/*/finish", "control", True)}, _finish, _open_service),
        Call("telemetry", {"report": Spot("POST", "/telemetry", "control", True)}, _finish, _reporting),
    ]  # fmt: skip
    return {call.name: call for call in calls}


CALLS: dict[str, Call] = _make()
