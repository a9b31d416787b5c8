"""``ServiceClient``: starts a session on a server, and makes the other clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tinkex.api.models import State
from tinkex.concurrency.futures import APIFuture, finished
from tinkex.concurrency.supervisor import ClientSupervisor
from tinkex.concurrency.twins import blocking, creating, future_of
from tinkex.config import Config
from tinkex.errors import InputError, TinkerError
from tinkex.observability.caller_warnings import warn_caller
from tinkex.sampling_client import SamplingClient
from tinkex.session.process_end import Status
from tinkex.session.session import Session
from tinkex.session.telemetry import Telemetry
from tinkex.session_manager import SessionManager
from tinkex.training_client import TrainingClient
from tinkex.types import console
from tinkex.types.checks import tinker_path
from tinkex.types.retry import RetryConfig
from tinkex.types.training import LoraConfig, OptimizerConfig

if TYPE_CHECKING:
    from tinkex.losses.traced import LossHandle, PerDatumLossFn
    from tinkex.rest_client import RestClient
    from tinkex.types.custom_loss import CustomLossInputRank
    from tinkex.types.server import GetServerCapabilitiesResponse
    from tinkex.usage import Prices, Usage

CLOSE_SECONDS = 4.0


class ServiceClient:
    """A session on a Tinker server, kept alive by heartbeats, and the maker of all other clients.

    Creating a ``ServiceClient`` blocks until the session has started. If that fails, ``ConfigError`` or
    ``APIError`` is raised, and nothing is left behind. The ``create_...`` methods block until the new
    client is ready. Their ``_async`` twins return a future of the client at once, so that several clients
    can be made at the same time.

    On a thread that runs an event loop, such as that of a coroutine or of a notebook, the ``create_...`` methods
    do not block either. They return at once a client that is still being made: ``await client`` and
    ``client.result()`` give it when it is ready, and its first use waits for that. Each of these raises the error
    if the client cannot be made. Everything else that is said to block does so on an event loop, too: the twins of
    such methods do not, and ``await asyncio.to_thread(tinkex.ServiceClient)`` starts a session meanwhile.

    Use a service in a ``with`` block, or call ``close()``. A service that is not closed ends its session
    at interpreter exit. It also ends the session when SIGTERM kills the process, unless the program
    handles SIGTERM itself (``Config.end_session_on_sigterm``).

    ``base_url`` and ``api_key`` default to ``TINKER_BASE_URL`` and ``TINKER_API_KEY``;
    ``base_url="local://"`` is the embedded server, which needs neither key nor network.

    Example::

        with tinkex.ServiceClient(base_url="local://") as service:
            training = service.create_lora_training_client("tinkex/byte-lm", rank=8)  # blocks until ready
            saved = training.save_state("untrained")  # a future, at once
            print(service.session_id, training.get_info().lora_rank, saved.result().path)
    """

    def __init__(
        self,
        user_metadata: Mapping[str, str] | None = None,
        project_id: str | None = None,
        *,
        display_name: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        default_headers_overrides: Mapping[str, str] | None = None,
        config: Config | None = None,
        session_manager: SessionManager | None = None,
        heartbeat_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Start a session with the settings of ``config``, or of the environment if it is None.

        The other arguments override single settings. The heartbeats are sent by ``session_manager``;
        or, with ``heartbeat_interval`` (seconds), by a manager of this client alone; or else by the
        manager that the clients of the process share.
        """
        if kwargs:
            # The official client warns too, so that a script for a newer version still runs.
            warn_caller(
                f"ServiceClient ignores unknown arguments: {', '.join(sorted(kwargs))}", FutureWarning
            )
        self.config: Config = Config.resolve(
            config,
            user_metadata=user_metadata,
            project_id=project_id,
            display_name=display_name,
            base_url=base_url,
            api_key=api_key,
            default_headers=default_headers_overrides,
        )
        if session_manager is not None and heartbeat_interval is not None:
            raise InputError("give session_manager or heartbeat_interval, not both")
        self._own_manager = SessionManager(heartbeat_interval) if heartbeat_interval is not None else None
        self._session = Session(self.config, self._own_manager or session_manager or SessionManager.default())
        self._supervisor = ClientSupervisor(self._session.executor)

    def __repr__(self) -> str:
        return f"ServiceClient(session_id={self._session.id!r}, base_url={self.config.base_url!r})"

    def __enter__(self) -> ServiceClient:
        self._session.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status: Status = (
            "success" if kind is None else "errored" if issubclass(kind, Exception) else "interrupted"
        )
        telemetry = self.get_telemetry()
        if status == "errored" and error is not None and telemetry is not None:
            telemetry.log_exception(error)
        self.close(status)

    @property
    def session_id(self) -> str:
        """The id of the session on the server."""
        return self._session.id

    @property
    def holder(self) -> Session:
        """The session, for code that passes it on, as to ``SamplingClient.create``.

        In the official SDK, too, this is an internal object. ``holder.get_session_id()`` is all that it shares
        with the official one.
        """
        return self._session

    def get_telemetry(self) -> Telemetry | None:
        """The telemetry of this session, to report events of your own; None if telemetry is off.

        It is always off for ``local://``.
        """
        return self._session.telemetry

    def get_console_url(self) -> str:
        """The URL of this session's page in the web console, which the hosted service has.

        For another server it is the URL of the session in the API of the server, which asks for the key.
        """
        return console.page(self._session.transport.base_url, "sessions", self.session_id)

    def clients(self) -> list[TrainingClient | SamplingClient | RestClient]:
        """The training, sampling and REST clients that this one made and that are still in use."""
        return self._supervisor.children()

    def get_server_capabilities(self) -> GetServerCapabilitiesResponse:
        """List the models on offer, with the longest context of each in tokens. Blocks for the round trip.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                for model in service.get_server_capabilities().supported_models:
                    print(model.model_name, model.max_context_length)
        """
        from tinkex.api import info

        self._session.check()
        return info.get_server_capabilities(self._session.transport)

    def get_server_capabilities_async(self) -> APIFuture[GetServerCapabilitiesResponse]:
        """Ask for the models on offer without blocking; returns a future of them at once."""
        return self._session.start(self.get_server_capabilities)

    def usage(self, prices: Prices | None = None) -> Usage:
        """Return how many tokens were prefilled, sampled and trained by this session so far, per base model.

        ``prices`` has US dollars per million tokens, ``{model: {"prefill": ..., "sample": ..., "train": ...}}``; with
        them the usage has its cost. Blocks for a round trip if the base model of a checkpoint in use is unknown;
        if it cannot be learned, the path of the checkpoint stands in its place. Raises ``InputError`` for prices
        that make no sense.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm", rank=8)
                datum = types.Datum(types.ModelInput.from_ints([72, 101]), {"target_tokens": [101, 108]})
                training.forward_backward([datum], "cross_entropy").result()
                print(service.usage().models["tinkex/byte-lm"].train)  # 2
        """
        from tinkex.api import info
        from tinkex.usage import usage_of

        tally = self._session.usage
        for name in tally.read():
            if name.startswith("tinker://") and self._session.lifetime.is_open:
                with suppress(TinkerError):
                    tally.rename(name, info.weights_info(self._session.transport, name).base_model)
        return usage_of(tally, prices)

    @creating(TrainingClient)
    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: Mapping[str, str] | None = None,
        optimizer: OptimizerConfig | None = None,
    ) -> APIFuture[TrainingClient]:
        """Make a LoRA model of ``rank`` on ``base_model``; returns its client. Blocks until it can be trained.

        The same ``seed`` gives the same first weights. ``train_mlp``, ``train_attn`` and ``train_unembed`` say
        which layers are adapted, at least one of them. ``user_metadata`` is kept with the training run;
        ``optimizer`` is the family of optimizers that ``optim_step`` may use, Adam by default.

        Raises ``InputError`` for bad arguments, before anything is sent; ``APIStatusError`` or
        ``RequestFailedError`` if the server has no such model; ``APIConnectionError`` if it cannot be reached.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm", rank=8, seed=0)
                print(training.get_info().lora_rank)
        """
        if not isinstance(base_model, str) or not base_model:
            raise InputError(f"base_model must be the name of a model, not {base_model!r}")
        lora = LoraConfig(
            rank=rank, seed=seed, train_mlp=train_mlp, train_attn=train_attn, train_unembed=train_unembed
        )
        return self._start(
            partial(TrainingClient._create, self._session, base_model, lora, user_metadata, optimizer)
        )

    @future_of(create_lora_training_client)
    def create_lora_training_client_async(self) -> None:
        """Start what ``create_lora_training_client`` does; returns a future of the client at once.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:  # two models are made side by side
                futures = [service.create_lora_training_client_async("tinkex/byte-lm", seed=n) for n in (0, 1)]
                clients = [future.result(timeout=60) for future in futures]
        """

    @creating(TrainingClient)
    def create_training_client_from_state(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
        optimizer: OptimizerConfig | None = None,
    ) -> APIFuture[TrainingClient]:
        """Make a model with the weights saved at ``path`` and a fresh optimizer; returns its client.

        Blocks until the model can be trained. ``path`` is what ``save_state`` gave, ``tinker://...``;
        ``base_model`` is that of the checkpoint by default; ``weights_access_token`` opens a checkpoint of
        another account. Raises as ``create_lora_training_client`` does.
        """
        state = State(
            path,
            with_optimizer=False,
            base_model=base_model,
            user_metadata=user_metadata,
            weights_access_token=weights_access_token,
            optimizer=optimizer,
        )
        return self._from_state(state)

    @future_of(create_training_client_from_state)
    def create_training_client_from_state_async(self) -> None:
        """Start what ``create_training_client_from_state`` does; returns a future of the client at once."""

    @creating(TrainingClient)
    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> APIFuture[TrainingClient]:
        """Make a model that goes on exactly where ``save_state`` left off: weights and optimizer state.

        Returns the model's client. Arguments, blocking and errors are as those of
        ``create_training_client_from_state``.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                path = training.save_state("before-the-night").result().path
                resumed = service.create_training_client_from_state_with_optimizer(path)
        """
        state = State(
            path,
            with_optimizer=True,
            base_model=base_model,
            user_metadata=user_metadata,
            weights_access_token=weights_access_token,
        )
        return self._from_state(state)

    @future_of(create_training_client_from_state_with_optimizer)
    def create_training_client_from_state_with_optimizer_async(self) -> None:
        """Start what ``create_training_client_from_state_with_optimizer`` does; returns a future at once."""

    @creating(SamplingClient)
    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
    ) -> APIFuture[SamplingClient]:
        """Open a sampler on saved weights (``tinker://...``) or on a base model. Blocks until it is ready.

        ``record_stability_info`` lets the server keep, for a while, what the loss ``stable_reinforce`` needs
        of each sampled sequence; ``Datum.with_provenance`` names the sequences by their ``sequence_id``.

        Raises ``InputError`` if neither weights nor a base model is given or the path is malformed,
        ``NotFoundError`` if the server has no such model or weights, and any other ``APIStatusError`` or
        ``APIConnectionError``.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
                prompt = types.ModelInput.from_ints(sampler.get_tokenizer().encode("The sea"))
                params = types.SamplingParams(max_tokens=8)
                answer = sampler.sample(prompt, num_samples=1, sampling_params=params).result()
                print(answer.sequences[0].tokens)
        """
        if model_path is None and base_model is None:
            raise InputError("give model_path or base_model")
        if model_path is not None:
            tinker_path("model_path", model_path)
        make = partial(
            SamplingClient._create,
            self._session,
            model_path,
            base_model,
            retry_config,
            record_stability_info=record_stability_info,
        )
        return self._start(make)

    @future_of(create_sampling_client)
    def create_sampling_client_async(self) -> None:
        """Start what ``create_sampling_client`` does; returns a future of the client at once."""

    def create_custom_loss(
        self, fn: PerDatumLossFn, input_ranks: Mapping[str, CustomLossInputRank]
    ) -> APIFuture[LossHandle]:
        """Make a loss of your own for ``forward_backward_custom``; the future gives its ``LossHandle``.

        The server runs the loss if it can, else this process does. ``fn(logprobs, *inputs)`` returns
        ``(loss, metrics)`` of one datum in torch tensors, see ``PerDatumLossFn``; the losses of a batch are
        summed. ``logprobs`` are those of the datum's ``target_tokens`` and have their shape. Every other
        parameter, 15 at most, has the name of the entry of ``loss_fn_inputs`` that it is given.
        ``input_ranks`` has the rank of every parameter: 0 for a scalar, 1 for ``[T]``, 2 for ``[T, K]``.

        ``fn`` is traced with ``torch.fx``, so it must be made of functions of torch and math alone: no branch
        on the value of a tensor, no ``torch.nn`` module, no tensor from elsewhere. These rules are those of
        the official SDK, and so is the rule that a session accepts the same loss only once.

        Raises ``InputError`` at once for an ``fn`` that breaks a rule, and ``ImportError`` without torch; the
        future raises ``APIStatusError`` or ``RequestFailedError`` if the server refuses the loss.
        """
        from tinkex.losses import traced as loss_graph
        from tinkex.training.create_loss import create_custom_loss

        self._session.check()
        loss = loss_graph.trace(fn, input_ranks, self._session.id)
        return self._session.start(partial(create_custom_loss, self._session, loss))

    @blocking
    def create_rest_client(self) -> APIFuture[RestClient]:
        """Make a client of runs, checkpoints and sessions that shares this one's connections and threads.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                training.save_state("first", ttl_seconds=3600).result()
                for checkpoint in service.create_rest_client().iter_checkpoints():
                    print(checkpoint.tinker_path, checkpoint.size_bytes)
        """
        from tinkex.rest_client import RestClient

        return self._start(partial(RestClient._of, self._session))

    @future_of(create_rest_client)
    def create_rest_client_async(self) -> None:
        """Start what ``create_rest_client`` does; returns a future of the client at once."""

    def copy_weights(
        self, path: str, *, ttl_seconds: int | None = None, weights_access_token: str | None = None
    ) -> APIFuture[str]:
        """Copy a checkpoint into this client's project; the future gives the path of the copy.

        The copy is kept for ``ttl_seconds``, by default for ever; ``weights_access_token`` opens a checkpoint
        of another account. Raises ``InputError`` if the client's ``Config`` names no project.
        """
        from tinkex.rest_client import RestClient

        return RestClient._of(self._session).copy_weights(
            path, ttl_seconds=ttl_seconds, weights_access_token=weights_access_token
        )

    def close(self, status: Status = "success", detail: str | None = None) -> APIFuture[None]:
        """End the session on the server with ``status``, stop its heartbeat, close all its clients.

        Calls without a result raise ``ClientClosedError``. A second call has no effect. The call
        blocks for at most five seconds, and returns a finished future, because ``close`` of the official
        client returns one. In a forked child the session goes on, because it belongs to the
        process that started it; only the connections of the child are closed.
        """
        if status not in ("success", "errored", "interrupted"):
            raise InputError(f"status must be 'success', 'errored' or 'interrupted', not {status!r}")
        self._supervisor.shutdown()
        self._session.finish(status, detail, CLOSE_SECONDS)
        if self._own_manager is not None:
            self._own_manager.close(CLOSE_SECONDS / 4)
        return finished(None)

    def _start(self, make: Callable[[], Any]) -> APIFuture[Any]:
        self._session.check()
        return self._supervisor.start_child(make, self._session.transport.trouble)

    def _from_state(self, state: State) -> APIFuture[TrainingClient]:
        tinker_path("path", state.path)
        return self._start(partial(TrainingClient._create_from_state, self._session, state))
