"""``TrainingClient``: one model in training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tinkex import tokenizers
from tinkex.api import models as models_api
from tinkex.api import training as api
from tinkex.api.futures import Promise
from tinkex.api.models import State
from tinkex.concurrency.created import Created
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.twins import at_once, awaited, creating, future_of
from tinkex.errors import ClientClosedError, InputError
from tinkex.http.transport import Transport
from tinkex.losses.custom import CustomLossFn
from tinkex.observability.caller_warnings import warn_caller
from tinkex.polling.queue_state import QueueStateObserver
from tinkex.sampling_client import SamplingClient
from tinkex.session.session import Session
from tinkex.training import create_model, forward_backward
from tinkex.training.call import Call, Request, single
from tinkex.training.request_queue import RequestQueue
from tinkex.types import console
from tinkex.types.checks import integral, tinker_path
from tinkex.types.datum import Datum
from tinkex.types.retry import RetryConfig
from tinkex.types.training import (
    AdamParams,
    ForwardBackwardOutput,
    LoadWeightsResponse,
    LoraConfig,
    OptimizerConfig,
    OptimParams,
    OptimStepResponse,
    SamplingClientKind,
    SaveWeightsExternalResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
    UnloadModelResponse,
    read_optim_params,
)

if TYPE_CHECKING:
    from tinkex.session.telemetry import Telemetry
    from tinkex.tokenizers import Tokenizer
    from tinkex.types.server import GetInfoResponse

T = TypeVar("T")


class _OtherCalls(Created, QueueStateObserver):
    """The calls of a training client that the official client does not have, or not any more.

    They are in a base class, because programs that wrap the calls of a client, as the tracing of ``tinker-cookbook``
    does, go through ``vars(TrainingClient)``, and know the official ones alone.
    """

    model_id: str
    _queue: RequestQueue

    def unload(self) -> APIFuture[UnloadModelResponse]:
        """Free the model on the server once the calls made so far are done.

        Later calls of this client raise ``ClientClosedError``.
        """
        unloaded = ClientClosedError(f"model {self.model_id} was unloaded")

        submissions = itertools.count()

        def unload(transport: Transport, model_id: str, _: int) -> Promise[UnloadModelResponse]:
            # The request has no seq_id.
            return models_api.unload_model(transport, model_id, again=next(submissions) > 0)

        return self._queue.submit(single("unload", unload, closing=unloaded), self.on_queue_state_change)

    def save_weights_and_get_sampling_client_submit(
        self, retry_config: RetryConfig | None = None
    ) -> APIFuture[SamplingClient]:
        """Do what ``save_weights_and_get_sampling_client_async`` does. Deprecated: that is its present name."""
        warn_caller("use save_weights_and_get_sampling_client_async", DeprecationWarning)
        client: Any = self
        future: APIFuture[SamplingClient] = client.save_weights_and_get_sampling_client_async(
            retry_config=retry_config
        )
        return future


class TrainingClient(_OtherCalls):
    """Trains one model. Made by ``ServiceClient``; safe to use from many threads.

    Every call returns an ``APIFuture`` at once, and the server runs the calls in the order in which they
    were made: ``forward_backward`` then ``optim_step`` need no waiting in between. Gradients accumulate
    until ``optim_step``. Futures raise ``RequestFailedError`` if the work failed, ``APIStatusError`` if the
    server refused it (the next call goes on), and ``ClientPoisonedError`` once the state of the model cannot
    be known; then every later call raises that at once. Bad input raises ``InputError`` before anything is sent.

    The ``_async`` twin of a call is a coroutine: awaiting it starts the call and gives its future.

    After a fork the model may be trained by the parent or by the child, not by both: they would give the
    same numbers to different requests.

    Example::

        with tinkex.ServiceClient(base_url="local://") as service:
            training = service.create_lora_training_client("tinkex/byte-lm", rank=8)
            tokens = training.get_tokenizer().encode("The sea is blue.")
            datum = types.Datum(
                model_input=types.ModelInput.from_ints(tokens[:-1]),
                loss_fn_inputs={"target_tokens": tokens[1:], "weights": [1.0] * (len(tokens) - 1)},
            )
            for step in range(3):
                forward_backward = training.forward_backward([datum], "cross_entropy")
                optim = training.optim_step(types.AdamParams(learning_rate=1e-2))
                optim.result()  # both calls are on their way before this waits
                print(step, forward_backward.result().metrics["loss:sum"])
    """

    def __init__(
        self,
        session: Session,
        queue: RequestQueue,
        base_model: str | None = None,
        loaded_from: str | None = None,
    ) -> None:
        self._session = session
        self.model_id: str = queue.model_id
        self._base_model = base_model
        self._loaded_from = loaded_from
        self._count = partial(session.usage.add, base_model or loaded_from or self.model_id)
        self._queue = queue

    def _described(self) -> str:
        return f"TrainingClient({self.model_id!r})"

    @classmethod
    def _create(
        cls,
        session: Session,
        base_model: str,
        lora_config: LoraConfig,
        user_metadata: Mapping[str, str] | None,
        optimizer: OptimizerConfig | None,
    ) -> TrainingClient:
        session.check()
        model = create_model.create(session, base_model, lora_config, user_metadata, optimizer)
        return cls(session, model.queue, model.base_model)

    @classmethod
    def _create_from_state(cls, session: Session, state: State) -> TrainingClient:
        session.check()
        model = create_model.create_from_state(session, state)
        return cls(session, model.queue, model.base_model, state.path)

    def forward(
        self,
        data: Sequence[Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None = None,
    ) -> APIFuture[ForwardBackwardOutput]:
        """Compute the loss and logprobs of ``data`` without gradients.

        Arguments and output are those of ``forward_backward``.
        """
        return self._pass(data, loss_fn, loss_fn_config, forward_only=True)

    @at_once(forward)
    async def forward_async(self) -> None:
        """A coroutine that starts ``forward`` and returns its future."""

    def forward_backward(
        self,
        data: Sequence[Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None = None,
    ) -> APIFuture[ForwardBackwardOutput]:
        """Compute the loss of ``data`` and add its gradients to those that the model has.

        ``loss_fn`` is ``cross_entropy``, ``importance_sampling``, ``ppo``, ``cispo`` or another that the
        server knows, with its settings in ``loss_fn_config``. The output has one mapping per datum, in
        order, whose ``logprobs`` (natural log) have the shape of the datum's ``target_tokens``, and the
        ``metrics`` of the whole batch. A large batch travels as several requests; the output is of the whole.

        Raises ``InputError`` for an empty batch or a malformed datum, before anything is sent.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                datum = types.Datum(
                    model_input=types.ModelInput.from_ints([72, 101, 108, 108]),  # 4 tokens
                    loss_fn_inputs={  # the token after each of them, and how much each counts
                        "target_tokens": [101, 108, 108, 111],
                        "weights": [0.0, 0.0, 1.0, 1.0],
                    },
                )
                output = training.forward_backward([datum], "cross_entropy").result()
                print(output.loss_fn_outputs[0]["logprobs"].shape)  # [4]
        """
        return self._pass(data, loss_fn, loss_fn_config, forward_only=False)

    @at_once(forward_backward)
    async def forward_backward_async(self) -> None:
        """A coroutine that starts ``forward_backward`` and returns its future."""

    def forward_backward_custom(
        self,
        data: Sequence[Datum],
        loss_fn: CustomLossFn,
        *,
        loss_type_input: Literal["logprobs"] | None = None,
    ) -> APIFuture[ForwardBackwardOutput]:
        """Add the gradients of a loss of your own, computed from the logprobs of ``data``.

        ``loss_fn(data, logprobs)`` runs here, on a worker thread, and returns ``(loss, metrics)`` over torch
        tensors, or without torch ``(loss, metrics, gradients)`` over numpy arrays; see ``CustomLossFn``.
        Takes a forward and a backward pass; later calls of this client wait for both. A ``LossHandle`` that
        the server runs takes one pass, with ``data`` as it is; a datum must have all that the loss reads.
        ``loss_type_input`` has no effect: a loss is always of logprobs.

        The future also raises what ``loss_fn`` raises, and ``InputError`` if it returns no loss.

        Example::

            def likelihood(data, logprobs):  # without torch: the loss, metrics, and d loss / d logprob
                return -sum(each.sum() for each in logprobs), {}, [0 * each - 1 for each in logprobs]

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                prompt = types.ModelInput.from_ints([72, 101, 108, 108])
                datum = types.Datum(prompt, {"target_tokens": [101, 108, 108, 111]})
                print(training.forward_backward_custom([datum], likelihood).result().metrics["loss:sum"])
        """
        from tinkex.losses.traced import LossHandle

        if loss_type_input not in (None, "logprobs"):
            raise InputError(f"loss_type_input must be 'logprobs', not {loss_type_input!r}")
        if loss_type_input is not None:
            warn_caller("loss_type_input has no effect", DeprecationWarning)
        data = _checked(data)
        if isinstance(loss_fn, LossHandle):
            loss_fn.check(data, self._session.id)
            if loss_fn.loss_id is not None:
                return self.forward_backward(data, "custom", {"loss_id": loss_fn.loss_id})
        work = forward_backward.with_custom_loss(data, loss_fn, self._session.flags, self._count)
        return self._queue.in_turn("forward_backward_custom", work, self.on_queue_state_change)

    @at_once(forward_backward_custom)
    async def forward_backward_custom_async(self) -> None:
        """A coroutine that starts ``forward_backward_custom`` and returns its future."""

    def optim_step(
        self,
        optim_params: AdamParams | OptimParams | None = None,
        *,
        adam_params: AdamParams | None = None,
    ) -> APIFuture[OptimStepResponse]:
        """Update the weights with the gradients added up so far, then set the gradients to zero.

        Without arguments the step is one of ``AdamParams()``, whose learning rate is 1e-4. ``OptimParams``
        are for models that were made with another family of optimizers. ``adam_params`` is another name of
        the first argument.

        Raises ``InputError`` for parameters that are not finite or out of range, before anything is sent.
        """
        if optim_params is not None and adam_params is not None:
            raise InputError("give optim_params or adam_params, not both")
        params = read_optim_params(adam_params if optim_params is None else optim_params)
        return self._submit("optim_step", partial(api.optim_step, params=params))

    @at_once(optim_step)
    async def optim_step_async(self) -> None:
        """A coroutine that starts ``optim_step`` and returns its future."""

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: Mapping[str, str] | None = None,
    ) -> APIFuture[SaveWeightsResponse]:
        """Save weights and optimizer state under ``name``; the response's ``path`` is what to load.

        ``ttl_seconds`` (3600, an hour, to ten years) is how long they are kept, None for ever; ``overwrite``
        replaces a state of the same name, which is else an error of the server.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                path = training.save_state("step-0", ttl_seconds=24 * 3600).result().path
                again = service.create_training_client_from_state_with_optimizer(path)
        """
        ttl_seconds = _checked_ttl(name, ttl_seconds)
        save = partial(
            api.save_weights,
            name=name,
            ttl_seconds=ttl_seconds,
            overwrite=overwrite,
            user_metadata=_copied(user_metadata),
        )
        remember = partial(_remember_checkpoint, self._queue)
        return self._queue.submit(Call("save_state", [save], remember), self.on_queue_state_change)

    @at_once(save_state)
    async def save_state_async(self) -> None:
        """A coroutine that starts ``save_state`` and returns its future."""

    def load_state(
        self, path: str, weights_access_token: str | None = None
    ) -> APIFuture[LoadWeightsResponse]:
        """Load the weights saved at ``path``, ``tinker://...``, into this model.

        ``weights_access_token`` opens a checkpoint of another account. Newer servers refuse this call; use
        ``ServiceClient.create_training_client_from_state`` there.
        """
        return self._load(path, weights_access_token, optimizer=False)

    @at_once(load_state)
    async def load_state_async(self) -> None:
        """A coroutine that starts ``load_state`` and returns its future."""

    def load_state_with_optimizer(
        self, path: str, weights_access_token: str | None = None
    ) -> APIFuture[LoadWeightsResponse]:
        """Load the weights and the optimizer state saved at ``path``; otherwise as ``load_state``."""
        return self._load(path, weights_access_token, optimizer=True)

    @at_once(load_state_with_optimizer)
    async def load_state_with_optimizer_async(self) -> None:
        """A coroutine that starts ``load_state_with_optimizer`` and returns its future."""

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: Mapping[str, str] | None = None
    ) -> APIFuture[SaveWeightsForSamplerResponse]:
        """Save the weights under ``name`` for samplers; ``create_sampling_client`` takes the response's ``path``.

        ``ttl_seconds`` (3600, an hour, to ten years) is how long they are kept, None for ever.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                path = training.save_weights_for_sampler("trained").result().path
                sampler = service.create_sampling_client(path)
        """
        ttl_seconds = _checked_ttl(name, ttl_seconds)
        save = partial(
            api.save_weights_for_sampler,
            name=name,
            ttl_seconds=ttl_seconds,
            user_metadata=_copied(user_metadata),
        )
        return self._submit("save_weights_for_sampler", save)

    @at_once(save_weights_for_sampler)
    async def save_weights_for_sampler_async(self) -> None:
        """A coroutine that starts ``save_weights_for_sampler`` and returns its future."""

    def save_weights_external(
        self, name: str, ttl_seconds: int | None = None, age_encryption_recipients: list[str] | None = None
    ) -> APIFuture[SaveWeightsExternalResponse]:
        """Save the weights under ``name`` in a format for other programs.

        ``age_encryption_recipients`` are the public keys of those for whom the files are encrypted (with
        ``age``); without any they are not encrypted. ``ttl_seconds`` is as in ``save_state``.
        """
        ttl_seconds = _checked_ttl(name, ttl_seconds)
        recipients = None if age_encryption_recipients is None else list(age_encryption_recipients)
        save = partial(
            api.save_weights_external,
            name=name,
            ttl_seconds=ttl_seconds,
            age_encryption_recipients=recipients,
        )
        return self._submit("save_weights_external", save)

    @at_once(save_weights_external)
    async def save_weights_external_async(self) -> None:
        """A coroutine that starts ``save_weights_external`` and returns its future."""

    @creating(SamplingClient)
    def save_weights_and_get_sampling_client(
        self,
        name: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
        kind: SamplingClientKind = "snapshot",
    ) -> APIFuture[SamplingClient]:
        """Open a sampler on the weights as they are after the calls made so far. Blocks until it is ready.

        The weights are not kept as a checkpoint. ``kind="inflight"`` publishes weights that this model's
        later publications change in place, for samplers that follow the training. ``name`` has no effect;
        ``record_stability_info`` is as in ``ServiceClient.create_sampling_client``. On a thread that runs an
        event loop the sampler is returned at once, while it is still being opened; see ``ServiceClient``.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                sampler = training.save_weights_and_get_sampling_client()
                prompt = types.ModelInput.from_ints(training.get_tokenizer().encode("The sea"))
                print(sampler.sample(prompt, 1, types.SamplingParams(max_tokens=4)).result().sequences)
        """
        if kind not in ("snapshot", "inflight"):
            raise InputError(f"kind must be 'snapshot' or 'inflight', not {kind!r}")
        if name is not None:
            warn_caller("name has no effect: these weights have no path", DeprecationWarning)
        open_sampler = partial(
            api.open_sampler, sampling_session_seq_id=self._session.next_sampler_number(), kind=kind
        )
        make = partial(
            _sampling_client,
            self._session,
            base_model=self._base_model,
            model_path=self._loaded_from,
            retry_config=retry_config,
            record_stability_info=record_stability_info,
        )
        call = Call("save_weights_and_get_sampling_client", [open_sampler], make)
        return self._queue.submit(call, self.on_queue_state_change)

    @future_of(save_weights_and_get_sampling_client)
    def save_weights_and_get_sampling_client_async(self) -> None:
        """Start what ``save_weights_and_get_sampling_client`` does; returns a future of the client at once."""

    @creating(SamplingClient)
    def create_sampling_client(
        self, model_path: str, retry_config: RetryConfig | None = None, record_stability_info: bool = False
    ) -> APIFuture[SamplingClient]:
        """Open a sampler on saved weights, ``tinker://...``. Blocks until it is ready.

        Arguments and errors, and what happens on an event loop, are as in
        ``ServiceClient.create_sampling_client``.
        """
        tinker_path("model_path", model_path)
        make = partial(
            SamplingClient._create,
            self._session,
            model_path,
            None,
            retry_config,
            record_stability_info=record_stability_info,
        )
        return self._session.start(make)

    @awaited(create_sampling_client)
    async def create_sampling_client_async(self) -> None:
        """A coroutine that returns the client of a sampler on saved weights once it is ready."""

    def get_info(self) -> GetInfoResponse:
        """Ask the server for the model's name, LoRA rank and tokenizer. Blocks for the round trip."""
        from tinkex.api import info

        self._session.check()
        return info.get_info(self._session.transport, self.model_id)

    async def get_info_async(self) -> GetInfoResponse:
        """A coroutine that returns the model's name, LoRA rank and tokenizer."""
        if self._creation is not None:
            await self._creation.over()
        return await self._session.start(self.get_info)

    def get_telemetry(self) -> Telemetry | None:
        """The telemetry of this session, to report events of your own; None if telemetry is off."""
        return self._session.telemetry

    def get_console_url(self) -> str:
        """The URL of this model's training run in the web console; see ``ServiceClient.get_console_url``."""
        return console.page(self._session.transport.base_url, "training_runs", self.model_id)

    def get_tokenizer(self) -> Tokenizer:
        """Load the tokenizer of this model, as ``tinkex.tokenizers.load`` does. Blocks.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                tokenizer = service.create_lora_training_client("tinkex/byte-lm").get_tokenizer()
                print(tokenizer.encode("Hello"), tokenizer.decode([72, 101, 108, 108, 111]))
        """
        data = self.get_info().model_data
        return tokenizers.load(data.model_name or "", data.tokenizer_id)

    def close(self) -> None:
        """Send nothing more. The model stays on the server until its session ends; ``unload`` frees it."""
        if not self._given_up(ClientClosedError("the training client was closed while it was being made")):
            self._queue.close(ClientClosedError(f"the training client of model {self.model_id} was closed"))

    def _pass(
        self,
        data: Sequence[Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None,
        *,
        forward_only: bool,
    ) -> APIFuture[ForwardBackwardOutput]:
        # The tensors of a datum may be replaced by the caller before this batch is sent, or sent again.
        own = [replace(datum) for datum in _checked(data)]
        batch = api.Batch(own, loss_fn, _checked_loss(loss_fn, loss_fn_config), forward_only)
        call = forward_backward.call(batch, self._session.flags, self._count)
        return self._queue.submit(call, self.on_queue_state_change)

    def _submit(self, name: str, request: Request[T]) -> APIFuture[T]:
        return self._queue.submit(single(name, request), self.on_queue_state_change)

    def _load(
        self, path: str, weights_access_token: str | None, *, optimizer: bool
    ) -> APIFuture[LoadWeightsResponse]:
        tinker_path("path", path)
        load = partial(
            api.load_weights, path=path, optimizer=optimizer, weights_access_token=weights_access_token
        )
        return self._submit("load_state", load)


BackcompatTrainingClientFuture = TrainingClient
"""The official SDK's name for a client that may still be in the making."""


def _remember_checkpoint(queue: RequestQueue, results: Sequence[SaveWeightsResponse]) -> SaveWeightsResponse:
    [saved] = results
    queue.checkpoint = saved.path
    return saved


def _sampling_client(
    session: Session,
    results: Sequence[api.OpenedSampler],
    *,
    base_model: str | None,
    model_path: str | None,
    retry_config: RetryConfig | None,
    record_stability_info: bool,
) -> SamplingClient:
    [opened] = results
    if opened.sampling_session_id is None:  # the server has no samplers without saved weights
        return SamplingClient._create(
            session, opened.path, None, retry_config, record_stability_info=record_stability_info
        )
    return SamplingClient(
        session,
        opened.sampling_session_id,
        retry_config,
        base_model=base_model,
        model_path=model_path,
        record_stability_info=record_stability_info,
    )


def _checked(data: Sequence[Datum]) -> list[Datum]:
    if isinstance(data, Datum):
        raise InputError("data is one Datum; give a list of them")
    data = list(data)
    if not data:
        raise InputError("data is empty: a batch has at least one Datum")
    for at, datum in enumerate(data):
        if isinstance(datum, Mapping):
            datum = data[at] = Datum.model_validate(datum)
        if not isinstance(datum, Datum):
            raise InputError(f"data[{at}] must be a Datum, not {type(datum).__name__}")
        if not datum.model_input.chunks:
            raise InputError(f"data[{at}] has an empty model_input")
    return data


def _checked_loss(loss_fn: str, config: Mapping[str, float | str] | None) -> Mapping[str, float | str] | None:
    if not isinstance(loss_fn, str) or not loss_fn:
        raise InputError(f"loss_fn must be the name of a loss, not {loss_fn!r}")
    for name, value in (config or {}).items():
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise InputError(f"loss_fn_config[{name!r}] must be a number or text, not {value!r}")
    return dict(config) if config else None


def _checked_ttl(name: str, ttl_seconds: int | None) -> int | None:
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
        raise InputError(f"a checkpoint's name must be text without '/', not {name!r}")
    return None if ttl_seconds is None else integral("ttl_seconds", ttl_seconds, at_least=3600)


def _copied(user_metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if user_metadata is None else dict(user_metadata)
