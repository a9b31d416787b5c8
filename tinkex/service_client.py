"""``ServiceClient``: where everything starts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tinkex.api.models import State
from tinkex.concurrency.futures import APIFuture, finished
from tinkex.concurrency.supervisor import ClientSupervisor
from tinkex.config import Config
from tinkex.errors import InputError
from tinkex.sampling_client import SamplingClient
from tinkex.session import process_end
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

CLOSE_SECONDS = 4.0


class ServiceClient:
    """A session on a Tinker server, kept alive by heartbeats, and the maker of all other clients.

    Making one blocks until the session has started, and raises ``ConfigError`` or ``APIError``, leaving
    nothing behind. ``create_...`` methods block until the client they make is ready; their ``_async`` twins
    return an ``APIFuture`` of it at once, which is how to overlap several. Use it in a ``with`` block, or
    ``close()`` it; one that is forgotten ends its session at interpreter exit, and when SIGTERM ends a process
    that has no handler of its own for it (``Config.end_session_on_sigterm``).

    ``base_url`` and ``api_key`` default to ``TINKER_BASE_URL`` and ``TINKER_API_KEY``;
    ``base_url="local://"`` is the embedded server, which needs neither key nor network.
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
        """``config`` is taken as it is, the other arguments over it; without one the environment is read.

        ``heartbeat_interval`` (seconds) gives this client a session manager of its own, unless
        ``session_manager`` brings one; else the process's is used.
        """
        if kwargs:
            # As the official client does, so that a script written for a newer one still runs.
            warnings.warn(
                f"ServiceClient ignores unknown arguments: {', '.join(sorted(kwargs))}",
                FutureWarning,
                stacklevel=2,
            )
        given = {
            "user_metadata": user_metadata,
            "project_id": project_id,
            "display_name": display_name,
            "base_url": base_url,
            "api_key": api_key,
            "default_headers": default_headers_overrides,
        }
        overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.config = replace(config, **overrides) if config is not None else Config.from_env(**overrides)
        if session_manager is not None and heartbeat_interval is not None:
            raise InputError("give session_manager or heartbeat_interval, not both")
        self._own_manager = SessionManager(heartbeat_interval) if heartbeat_interval is not None else None
        self._session = Session(self.config, self._own_manager or session_manager or SessionManager.default())
        self._supervisor = ClientSupervisor(self._session.executor)
        process_end.end_with_process(self, on_sigterm=self.config.end_session_on_sigterm)

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

    def get_telemetry(self) -> Telemetry | None:
        """Where to report events of one's own; None if telemetry is off, as it always is for ``local://``."""
        return self._session.telemetry

    def get_console_url(self) -> str:
        """The page of this session in the web console.

        Only the hosted service has one; else where the server's API tells of the session, given its key.
        """
        return console.page(self._session.transport.base_url, "sessions", self.session_id)

    def clients(self) -> list[TrainingClient | SamplingClient | RestClient]:
        """The living clients that this one made."""
        return self._supervisor.children()

    def get_server_capabilities(self) -> GetServerCapabilitiesResponse:
        """The models on offer. Blocks for the round trip."""
        from tinkex.api import info  # here, for few scripts need it

        self._session.check()
        return info.get_server_capabilities(self._session.transport)

    def get_server_capabilities_async(self) -> APIFuture[GetServerCapabilitiesResponse]:
        """The same as a future."""
        return self._session.start(self.get_server_capabilities)

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
    ) -> TrainingClient:
        """A new LoRA model of ``rank`` on ``base_model``. Blocks until it can be trained.

        Raises ``InputError``; ``APIStatusError`` or ``RequestFailedError`` if the server has no such model.
        """
        return self.create_lora_training_client_async(
            base_model, rank, seed, train_mlp, train_attn, train_unembed, user_metadata, optimizer
        ).result()

    def create_lora_training_client_async(
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
        """The same as a future."""
        if not isinstance(base_model, str) or not base_model:
            raise InputError(f"base_model must be the name of a model, not {base_model!r}")
        lora = LoraConfig(rank, seed, train_mlp, train_attn, train_unembed)
        return self._start(
            partial(TrainingClient._create, self._session, base_model, lora, user_metadata, optimizer)
        )

    def create_training_client_from_state(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
        optimizer: OptimizerConfig | None = None,
    ) -> TrainingClient:
        """A new model with the weights saved at ``path`` and a fresh optimizer. Blocks until it can be trained."""
        return self.create_training_client_from_state_async(
            path, base_model, user_metadata, weights_access_token, optimizer
        ).result()

    def create_training_client_from_state_async(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
        optimizer: OptimizerConfig | None = None,
    ) -> APIFuture[TrainingClient]:
        """The same as a future."""
        return self._from_state(path, False, base_model, user_metadata, weights_access_token, optimizer)

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> TrainingClient:
        """A new model that goes on exactly where ``save_state`` left off. Blocks until it can be trained."""
        return self.create_training_client_from_state_with_optimizer_async(
            path, base_model, user_metadata, weights_access_token
        ).result()

    def create_training_client_from_state_with_optimizer_async(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> APIFuture[TrainingClient]:
        """The same as a future."""
        return self._from_state(path, True, base_model, user_metadata, weights_access_token, None)

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
    ) -> SamplingClient:
        """A sampler on saved weights (``tinker://...``) or on a base model. Blocks until it is ready.

        ``record_stability_info`` lets the server keep, for a while, what the loss ``stable_reinforce`` needs
        of each sampled sequence; ``Datum.with_provenance`` names these by their ``sequence_id``.
        """
        return self.create_sampling_client_async(
            model_path, base_model, retry_config, record_stability_info
        ).result()

    def create_sampling_client_async(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
    ) -> APIFuture[SamplingClient]:
        """The same as a future."""
        if model_path is None and base_model is None:
            raise InputError("give model_path or base_model")
        if model_path is not None:
            tinker_path("model_path", model_path)
        make = partial(SamplingClient._create, self._session, model_path, base_model, retry_config)
        return self._start(partial(make, record_stability_info))

    def create_custom_loss(
        self, fn: PerDatumLossFn, input_ranks: Mapping[str, CustomLossInputRank]
    ) -> APIFuture[LossHandle]:
        """A loss of your own for ``forward_backward_custom``, run by the server where it can, else here.

        ``fn(logprobs, *inputs)`` returns ``(loss, metrics)`` of one datum in torch tensors, see
        ``PerDatumLossFn``; the losses of a batch are summed. ``logprobs`` are those of the datum's
        ``target_tokens`` and have their shape; every other parameter, 15 at most, is named as the entry of
        ``loss_fn_inputs`` it is given. ``input_ranks`` has the rank of every parameter: 0 for a scalar, 1 for
        ``[T]``, 2 for ``[T, K]``. ``fn`` is traced with ``torch.fx``, so it must be made of torch and math
        alone: no branch on the value of a tensor, no ``torch.nn`` module, no tensor from elsewhere. These are
        the rules of the official SDK, as is that a session takes a loss once only.

        Raises ``InputError`` at once for an ``fn`` that breaks a rule, and ``ImportError`` without torch; the
        future raises ``APIStatusError`` or ``RequestFailedError`` if the server refuses the loss.
        """
        from tinkex.losses import traced as loss_graph  # here, for few scripts need it
        from tinkex.training.create_loss import create_custom_loss

        self._session.check()
        loss = loss_graph.trace(fn, input_ranks, self._session.id)
        return self._session.start(partial(create_custom_loss, self._session, loss))

    def create_rest_client(self) -> RestClient:
        """A client of runs, checkpoints and sessions that shares this one's connections and threads."""
        return self.create_rest_client_async().result()

    def create_rest_client_async(self) -> APIFuture[RestClient]:
        """The same as a future."""
        from tinkex.rest_client import RestClient  # here, for few scripts need it

        return self._start(partial(RestClient._of, self._session))

    def copy_weights(
        self, path: str, *, ttl_seconds: int | None = None, weights_access_token: str | None = None
    ) -> APIFuture[str]:
        """Copy a checkpoint into this client's project; the path of the copy. As ``RestClient.copy_weights``."""
        from tinkex.rest_client import RestClient

        return RestClient._of(self._session).copy_weights(
            path, ttl_seconds=ttl_seconds, weights_access_token=weights_access_token
        )

    def close(self, status: Status = "success", detail: str | None = None) -> APIFuture[None]:
        """End the session on the server with ``status``, stop its heartbeat, close all its clients.

        Results still due raise ``ClientClosedError``. Idempotent; blocks for at most five seconds, and
        returns a finished future, as the official client returns one. Only the process that made the
        client finishes the session; in a forked child this just lets go of it.
        """
        if status not in ("success", "errored", "interrupted"):
            raise InputError(f"status must be 'success', 'errored' or 'interrupted', not {status!r}")
        self._close(status, detail, CLOSE_SECONDS)
        return finished(None)

    def end_session(self, status: Status, seconds: float) -> None:
        """``close``, if this process made the client; for the end of the process, within ``seconds``."""
        if self._session.made_by(os.getpid()):
            self._close(status, None, seconds, tries=1)

    def _close(self, status: Status, detail: str | None, seconds: float, *, tries: int = 2) -> None:
        process_end.forget(self)
        self._supervisor.shutdown()
        self._session.finish(status, detail, seconds, tries)
        if self._own_manager is not None:
            self._own_manager.close(seconds / 4)

    def _start(self, make: Callable[[], Any]) -> APIFuture[Any]:
        self._session.check()
        return self._supervisor.start_child(make)

    def _from_state(
        self,
        path: str,
        with_optimizer: bool,
        base_model: str | None,
        user_metadata: Mapping[str, str] | None,
        weights_access_token: str | None,
        optimizer: OptimizerConfig | None,
    ) -> APIFuture[TrainingClient]:
        tinker_path("path", path)
        state = State(path, with_optimizer, base_model, user_metadata, weights_access_token, optimizer)
        return self._start(partial(TrainingClient._create_from_state, self._session, state))
