"""``TrainingClient``: one model in training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

from tinkex import tokenizers
from tinkex.api import models as models_api
from tinkex.api import training as api
from tinkex.api.futures import Promise
from tinkex.api.models import State
from tinkex.concurrency.futures import APIFuture, at_once
from tinkex.concurrency.supervisor import Created
from tinkex.errors import ClientClosedError, InputError
from tinkex.http.transport import Transport
from tinkex.losses.custom import CustomLossFn
from tinkex.polling.queue_state import QueueStateObserver
from tinkex.sampling_client import SamplingClient
from tinkex.session.session import Session
from tinkex.training import create_model, forward_backward
from tinkex.training.request_queue import Call, Request, RequestQueue, single
from tinkex.types import console
from tinkex.types.checks import tinker_path, whole
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
)

if TYPE_CHECKING:
    from tinkex.session.telemetry import Telemetry
    from tinkex.tokenizers import Tokenizer
    from tinkex.types.server import GetInfoResponse

T = TypeVar("T")


class TrainingClient(Created, QueueStateObserver):
    """Trains one model. Made by ``ServiceClient``; safe to use from many threads.

    Every call returns an ``APIFuture`` at once, and the server runs the calls in the order in which they
    were made: ``forward_backward`` then ``optim_step`` need no waiting in between. Gradients accumulate
    until ``optim_step``. Futures raise ``RequestFailedError`` if the work failed, ``APIStatusError`` if the
    server refused it (the next call goes on), and ``ClientPoisonedError`` once the state of the model cannot
    be known; then every later call raises that at once. Bad input raises ``InputError`` before anything is sent.

    After a fork the model may be trained by the parent or by the child, not by both: they would give the
    same numbers to different requests.
    """

    def __init__(self, session: Session, queue: RequestQueue, base_model: str | None = None) -> None:
        self._session = session
        self.model_id = queue.model_id
        self._base_model = base_model
        self._queue = queue

    def __repr__(self) -> str:
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
        return cls(session, model.queue, model.base_model)

    def forward(
        self,
        data: Sequence[Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None = None,
    ) -> APIFuture[ForwardBackwardOutput]:
        """The loss and logprobs of ``data``, without gradients. Arguments as ``forward_backward``."""
        return self._pass(data, loss_fn, loss_fn_config, forward_only=True)

    forward_async = at_once(forward)

    def forward_backward(
        self,
        data: Sequence[Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None = None,
    ) -> APIFuture[ForwardBackwardOutput]:
        """Add the gradients of the loss of ``data`` to the model's.

        ``loss_fn`` is ``cross_entropy``, ``importance_sampling``, ``ppo``, ``cispo`` or another that the
        server knows, with its settings in ``loss_fn_config``. The output has one mapping per datum, in
        order, whose ``logprobs`` have the shape of the datum's ``target_tokens``. A large batch travels as
        several requests; the output is of the whole.
        """
        return self._pass(data, loss_fn, loss_fn_config, forward_only=False)

    forward_backward_async = at_once(forward_backward)

    def forward_backward_custom(
        self,
        data: Sequence[Datum],
        loss_fn: CustomLossFn,
        *,
        loss_type_input: Literal["logprobs"] | None = None,
    ) -> APIFuture[ForwardBackwardOutput]:
        """Add the gradients of a loss of your own over the logprobs of ``data``.

        ``loss_fn(data, logprobs)`` runs here, on a worker thread, and returns ``(loss, metrics)`` over torch
        tensors, or without torch ``(loss, metrics, gradients)`` over numpy arrays; see ``CustomLossFn``.
        Takes a forward and a backward pass; later calls of this client wait for both. A ``LossHandle`` that
        the server runs takes one pass, with ``data`` as it is; a datum must have all that the loss reads.
        ``loss_type_input`` has no effect: a loss is always of logprobs.
        """
        from tinkex.losses.traced import LossHandle  # here, for few scripts need it

        if loss_type_input not in (None, "logprobs"):
            raise InputError(f"loss_type_input must be 'logprobs', not {loss_type_input!r}")
        if loss_type_input is not None:
            warnings.warn("loss_type_input has no effect", DeprecationWarning, stacklevel=2)
        data = _checked(data)
        if isinstance(loss_fn, LossHandle):
            loss_fn.check(data, self._session.id)
            if loss_fn.loss_id is not None:
                return self.forward_backward(data, "custom", {"loss_id": loss_fn.loss_id})
        work = forward_backward.with_custom_loss(data, loss_fn, self._session.flags)
        return self._queue.in_turn("forward_backward_custom", work, self.on_queue_state_change)

    forward_backward_custom_async = at_once(forward_backward_custom)

    def optim_step(
        self,
        optim_params: AdamParams | OptimParams | None = None,
        *,
        adam_params: AdamParams | None = None,
    ) -> APIFuture[OptimStepResponse]:
        """Update the weights by the gradients so far, and clear these.

        ``AdamParams()`` unless given; other families (``OptimParams``) for models made with that optimizer.
        """
        params = optim_params or adam_params or AdamParams()
        if optim_params is not None and adam_params is not None:
            raise InputError("give optim_params or adam_params, not both")
        if not isinstance(params, (AdamParams, OptimParams)):
            raise InputError(f"optim_step takes AdamParams or OptimParams, not {type(params).__name__}")
        params.check()
        return self._submit("optim_step", partial(api.optim_step, params=copy.copy(params)))

    optim_step_async = at_once(optim_step)

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: Mapping[str, str] | None = None,
    ) -> APIFuture[SaveWeightsResponse]:
        """Save weights and optimizer state; the response's ``path`` is what to load.

        ``ttl_seconds`` (3600 to ten years) is how long they are kept, None for ever; ``overwrite`` replaces a
        state of this name.
        """
        _check_checkpoint(name, ttl_seconds)
        save = partial(
            api.save_weights,
            name=name,
            ttl_seconds=ttl_seconds,
            overwrite=overwrite,
            user_metadata=_copied(user_metadata),
        )
        queue = self._queue

        def remember(results: Sequence[SaveWeightsResponse]) -> SaveWeightsResponse:
            queue.checkpoint = results[0].path
            return results[0]

        return queue.submit(Call("save_state", [save], remember), self.on_queue_state_change)

    save_state_async = at_once(save_state)

    def load_state(
        self, path: str, weights_access_token: str | None = None
    ) -> APIFuture[LoadWeightsResponse]:
        """Load saved weights into this model. Newer servers want ``create_training_client_from_state`` instead.

        ``weights_access_token`` opens a checkpoint of another account.
        """
        return self._load(path, weights_access_token, optimizer=False)

    load_state_async = at_once(load_state)

    def load_state_with_optimizer(
        self, path: str, weights_access_token: str | None = None
    ) -> APIFuture[LoadWeightsResponse]:
        """As ``load_state``, with the optimizer state."""
        return self._load(path, weights_access_token, optimizer=True)

    load_state_with_optimizer_async = at_once(load_state_with_optimizer)

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: Mapping[str, str] | None = None
    ) -> APIFuture[SaveWeightsForSamplerResponse]:
        """Save the weights for ``create_sampling_client(path)``."""
        _check_checkpoint(name, ttl_seconds)
        save = partial(
            api.save_weights_for_sampler,
            name=name,
            ttl_seconds=ttl_seconds,
            user_metadata=_copied(user_metadata),
        )
        return self._submit("save_weights_for_sampler", save)

    save_weights_for_sampler_async = at_once(save_weights_for_sampler)

    def save_weights_external(
        self, name: str, ttl_seconds: int | None = None, age_encryption_recipients: list[str] | None = None
    ) -> APIFuture[SaveWeightsExternalResponse]:
        """Save the weights in a format for other programs, encrypted for the ``age`` recipients if given."""
        _check_checkpoint(name, ttl_seconds)
        recipients = None if age_encryption_recipients is None else list(age_encryption_recipients)
        save = partial(
            api.save_weights_external,
            name=name,
            ttl_seconds=ttl_seconds,
            age_encryption_recipients=recipients,
        )
        return self._submit("save_weights_external", save)

    save_weights_external_async = at_once(save_weights_external)

    def save_weights_and_get_sampling_client(
        self,
        name: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
        kind: SamplingClientKind = "snapshot",
    ) -> SamplingClient:
        """A sampling client on the weights as they are after the calls made so far. Blocks until it is ready.

        ``kind="inflight"`` publishes weights that this model's later publications change in place, for
        samplers that follow the training. ``name`` has no effect; ``record_stability_info`` as of
        ``ServiceClient.create_sampling_client``.
        """
        return self.save_weights_and_get_sampling_client_async(
            name, retry_config, record_stability_info, kind
        ).result()

    def save_weights_and_get_sampling_client_async(
        self,
        name: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
        kind: SamplingClientKind = "snapshot",
    ) -> APIFuture[SamplingClient]:
        """The same without blocking: a future of the client."""
        if kind not in ("snapshot", "inflight"):
            raise InputError(f"kind must be 'snapshot' or 'inflight', not {kind!r}")
        if name is not None:
            warnings.warn("name has no effect: these weights have no path", DeprecationWarning, stacklevel=2)
        session, base_model = self._session, self._base_model
        number = session.next_sampler_number()
        open_sampler = partial(api.open_sampler, sampling_session_seq_id=number, kind=kind)

        def make(results: Sequence[api.OpenedSampler]) -> SamplingClient:
            [opened] = results
            if opened.sampling_session_id is None:  # the server has no samplers without saved weights
                return SamplingClient._create(session, opened.path, None, retry_config, record_stability_info)
            return SamplingClient(
                session,
                opened.sampling_session_id,
                retry_config,
                base_model=base_model,
                record_stability_info=record_stability_info,
            )

        call = Call("save_weights_and_get_sampling_client", [open_sampler], make)
        return self._queue.submit(call, self.on_queue_state_change)

    def create_sampling_client(
        self, model_path: str, retry_config: RetryConfig | None = None, record_stability_info: bool = False
    ) -> SamplingClient:
        """A sampling client on saved weights, ``tinker://...``. Blocks until it is ready.

        ``record_stability_info`` as of ``ServiceClient.create_sampling_client``.
        """
        tinker_path("model_path", model_path)
        return SamplingClient._create(self._session, model_path, None, retry_config, record_stability_info)

    async def create_sampling_client_async(
        self, model_path: str, retry_config: RetryConfig | None = None, record_stability_info: bool = False
    ) -> SamplingClient:
        """As ``create_sampling_client``, awaited."""
        make = partial(self.create_sampling_client, model_path, retry_config, record_stability_info)
        return await self._session.start(make)

    def get_info(self) -> GetInfoResponse:
        """What this model is. Blocks for the round trip."""
        from tinkex.api import info  # here, for few scripts need it

        self._session.check()
        return info.get_info(self._session.transport, self.model_id)

    async def get_info_async(self) -> GetInfoResponse:
        """As ``get_info``, awaited."""
        return await self._session.start(self.get_info)

    def get_telemetry(self) -> Telemetry | None:
        """Where to report events of one's own; None if telemetry is off."""
        return self._session.telemetry

    def get_console_url(self) -> str:
        """The page of this model's training run; as ``ServiceClient.get_console_url``."""
        return console.page(self._session.transport.base_url, "training_runs", self.model_id)

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer of this model; see ``tinkex.tokenizers.load``."""
        data = self.get_info().model_data
        return tokenizers.load(data.model_name or "", data.tokenizer_id)

    def unload(self) -> APIFuture[UnloadModelResponse]:
        """Free the model on the server after the calls made so far; this client can do nothing more."""
        unloaded = ClientClosedError(f"model {self.model_id} was unloaded")

        def unload(transport: Transport, model_id: str, _: int) -> Promise[UnloadModelResponse]:
            return models_api.unload_model(transport, model_id)  # which has no number

        return self._queue.submit(single("unload", unload, closing=unloaded), self.on_queue_state_change)

    def close(self) -> None:
        """Send nothing more. The model stays on the server until its session ends; ``unload`` frees it."""
        self._queue.close(ClientClosedError(f"the training client of model {self.model_id} was closed"))

    def _pass(
        self,
        data: Sequence[Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None,
        *,
        forward_only: bool,
    ) -> APIFuture[ForwardBackwardOutput]:
        batch = api.Batch(_checked(data), loss_fn, _checked_loss(loss_fn, loss_fn_config), forward_only)
        call = forward_backward.call(batch, self._session.flags)
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


def _checked(data: Sequence[Datum]) -> list[Datum]:
    if isinstance(data, Datum):
        raise InputError("data is one Datum; give a list of them")
    data = list(data)
    if not data:
        raise InputError("data is empty: a batch has at least one Datum")
    for at, datum in enumerate(data):
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


def _check_checkpoint(name: str, ttl_seconds: int | None) -> None:
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
        raise InputError(f"a checkpoint's name must be text without '/', not {name!r}")
    if ttl_seconds is not None:
        whole("ttl_seconds", ttl_seconds, at_least=3600)


def _copied(user_metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if user_metadata is None else dict(user_metadata)
