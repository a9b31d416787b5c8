"""``SamplingClient``: many samples in flight from one model."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tinkex import tokenizers
from tinkex.api import sampling as api
from tinkex.concurrency.futures import APIFuture, awaited
from tinkex.concurrency.supervisor import Created
from tinkex.config import Config
from tinkex.errors import InputError, NotFoundError
from tinkex.polling.queue_state import QueueStateObserver
from tinkex.sampling.in_flight import Flights
from tinkex.session.session import AttachedSession, Session
from tinkex.types.checks import whole
from tinkex.types.model_input import EncodedTextChunk, ModelInput
from tinkex.types.retry import RetryConfig
from tinkex.types.sampling import SampleResponse, SamplingParams
from tinkex.types.tensor_data import TensorData
from tinkex.wire import json_codec

if TYPE_CHECKING:
    from tinkex.session.telemetry import Telemetry
    from tinkex.tokenizers import Tokenizer

T = TypeVar("T")

REQUEST_BYTES = 4096
"""Of a sample request, as counted beside its prompt."""


class SamplingClient(Created, QueueStateObserver):
    """Samples from a base model or from saved weights. Made by ``ServiceClient`` or ``TrainingClient``.

    Calls return an ``APIFuture`` at once and run side by side, up to the server's limit or
    ``RetryConfig.max_connections``; the rest wait their turn. A 429 pauses every sampler of the same server
    and key. Safe to use from many threads; it can be pickled, and works in a forked child.
    """

    def __init__(
        self,
        session: AttachedSession,
        sampling_session_id: str,
        retry_config: RetryConfig | None = None,
        *,
        base_model: str | None = None,
        model_path: str | None = None,
        is_maker: bool = True,
        record_stability_info: bool = False,
    ) -> None:
        self._session = session
        self.sampling_session_id = sampling_session_id
        self._retry = retry_config or RetryConfig()
        self._base_model = base_model
        self._model_path = model_path
        self._record_stability_info = record_stability_info
        self._flights = Flights(session, sampling_session_id, self._retry, 0 if is_maker else None)

    def __repr__(self) -> str:
        return f"SamplingClient({self.sampling_session_id!r})"

    @classmethod
    def _create(
        cls,
        session: Session,
        model_path: str | None,
        base_model: str | None,
        retry_config: RetryConfig | None,
        record_stability_info: bool,
    ) -> SamplingClient:
        session.check()
        number = session.next_sampler_number()
        sampler = api.create_sampling_session(session.transport, session.id, number, base_model, model_path)
        return cls(
            session,
            sampler,
            retry_config,
            base_model=base_model,
            model_path=model_path,
            record_stability_info=record_stability_info,
        )

    def sample(
        self,
        prompt: ModelInput,
        num_samples: int,
        sampling_params: SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: TensorData | None = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> APIFuture[SampleResponse]:
        """Draw ``num_samples`` continuations of ``prompt``.

        ``include_prompt_logprobs`` also scores the prompt, with ``prompt_logprobs_last_n`` only its end;
        ``topk_prompt_logprobs`` and ``topk_sample_logprobs`` ask for the k likeliest tokens at each position;
        ``target_prompt_logprobs``, int64 of shape ``[len(prompt) - 1, K]``, for the logprobs of those ids at
        each position after the first (-1 for none); ``prompt_alt_tokens_k`` for k draws at each of them.

        Raises ``InputError`` before anything is sent; the future raises ``RequestFailedError``,
        ``APIStatusError`` or ``APIConnectionError``.
        """
        for name, k in (
            ("topk_prompt_logprobs", topk_prompt_logprobs),
            ("topk_sample_logprobs", topk_sample_logprobs),
            ("prompt_alt_tokens_k", prompt_alt_tokens_k),
        ):
            whole(name, k, at_least=0)
        if prompt_logprobs_last_n is not None and not include_prompt_logprobs:
            raise InputError("prompt_logprobs_last_n needs include_prompt_logprobs=True")
        target = target_prompt_logprobs
        if target is not None and (target.dtype != "int64" or len(target.shape) != 2):
            raise InputError("target_prompt_logprobs must be an int64 tensor of shape [len(prompt) - 1, K]")
        return self._start(
            lambda response: response,
            prompt,
            num_samples,
            sampling_params,
            prompt_logprobs=include_prompt_logprobs,
            topk_prompt_logprobs=topk_prompt_logprobs,
            topk_sample_logprobs=topk_sample_logprobs,
            target_prompt_logprobs=None if target is None else json_codec.encode_tensor(target),
            prompt_alt_tokens_k=prompt_alt_tokens_k,
            prompt_logprobs_last_n=prompt_logprobs_last_n,
        )

    sample_async = awaited(sample)

    def sample_many(
        self, prompts: Sequence[ModelInput], num_samples: int, sampling_params: SamplingParams, **options: Any
    ) -> list[APIFuture[SampleResponse]]:
        """``sample`` for each prompt; the futures in the order of the prompts.

        ``concurrent.futures.as_completed`` gives them as they finish.
        """
        return [self.sample(prompt, num_samples, sampling_params, **options) for prompt in prompts]

    def compute_logprobs(
        self, prompt: ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> APIFuture[list[float | None]]:
        """The logprob of each prompt token given those before it, as many as there are tokens.

        None where there is none: for the first token, and before the last ``prompt_logprobs_last_n``.
        """

        def logprobs(response: SampleResponse) -> list[float | None]:
            found = list(response.prompt_logprobs or [])
            text_only = all(isinstance(chunk, EncodedTextChunk) for chunk in prompt.chunks)
            length = prompt.length if text_only else 0
            # Some servers leave the first token out instead of giving it none.
            return [None] * (length - len(found)) + found

        one_token = SamplingParams(max_tokens=1)
        return self._start(
            logprobs,
            prompt,
            1,
            one_token,
            prompt_logprobs=True,
            prompt_logprobs_last_n=prompt_logprobs_last_n,
        )

    compute_logprobs_async = awaited(compute_logprobs)

    def get_base_model(self) -> str:
        """The name of the model underneath. Blocks for the round trip the first time."""
        from tinkex.api import info  # here, for few scripts need it

        if self._base_model is None:
            self._session.check()
            try:
                self._base_model = info.get_sampler(
                    self._session.transport, self.sampling_session_id
                ).base_model
            except NotFoundError:
                if self._model_path is None:
                    raise
                self._base_model = info.weights_info(self._session.transport, self._model_path).base_model
        return self._base_model

    async def get_base_model_async(self) -> str:
        """``get_base_model``, awaited."""
        return await self._session.start(self.get_base_model)

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer of the model underneath; see ``tinkex.tokenizers.load``."""
        return tokenizers.load(self.get_base_model())

    def get_telemetry(self) -> Telemetry | None:
        """Where to report events of one's own; None if it is off, or if the sampler came from elsewhere."""
        return self._session.telemetry

    def get_sampler_handle(self) -> str:
        """Text that names this sampler for ``from_sampler_handle`` in another process. No secret in it."""
        if self._session.config.is_local:
            raise InputError(
                "a sampler of local:// cannot leave its process, which alone knows the server's key; run "
                "'python -m tinkex.local' and use its URL"
            )
        state = {
            "base_url": self._session.config.base_url,
            "session_id": self._session.id,
            "sampling_session_id": self.sampling_session_id,
            "base_model": self._base_model,
            "model_path": self._model_path,
            "record_stability_info": self._record_stability_info,
        }
        return base64.urlsafe_b64encode(json.dumps(state).encode()).decode("ascii")

    @classmethod
    def from_sampler_handle(
        cls, handle: str, *, api_key: str | None = None, retry_config: RetryConfig | None = None
    ) -> SamplingClient:
        """A client of the same sampler, with ``api_key`` or the environment's. The session stays its maker's."""
        try:
            state = json.loads(base64.urlsafe_b64decode(handle))
            base_url, session_id, sampler = (
                state["base_url"],
                state["session_id"],
                state["sampling_session_id"],
            )
        except (ValueError, KeyError, TypeError):
            raise InputError("this is not a sampler handle") from None
        session = AttachedSession(Config.from_env(base_url=base_url, api_key=api_key), session_id)
        return cls(
            session,
            sampler,
            retry_config,
            base_model=state.get("base_model"),
            model_path=state.get("model_path"),
            is_maker=False,
            record_stability_info=bool(state.get("record_stability_info")),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.get_sampler_handle(), self._retry)

    def close(self) -> None:
        """Send nothing more; results still due raise ``ClientClosedError``, at the end of their present poll."""
        self._flights.close()

    def _start(
        self,
        finish: Callable[[SampleResponse], T],
        prompt: ModelInput,
        num_samples: int,
        params: SamplingParams,
        **options: Any,
    ) -> APIFuture[T]:
        if not isinstance(prompt, ModelInput):
            raise InputError(f"prompt must be a ModelInput, not {type(prompt).__name__}")
        if not prompt.chunks:
            raise InputError("prompt is empty")
        if not isinstance(params, SamplingParams):
            raise InputError(f"sampling_params must be SamplingParams, not {type(params).__name__}")
        params.check()
        whole("num_samples", num_samples, at_least=1)
        if options["prompt_logprobs_last_n"] is not None:
            whole("prompt_logprobs_last_n", options["prompt_logprobs_last_n"], at_least=1)
        body = {
            "type": "sample",
            "sampling_session_id": self.sampling_session_id,
            "num_samples": num_samples,
            "prompt": json_codec.encode_model_input(prompt),
            "sampling_params": params.to_wire(),
            # What is not asked for is not sent.
            **{name: value for name, value in options.items() if value},
        }
        if self._record_stability_info:
            body["record_stability_info"] = True
        return self._flights.start(body, REQUEST_BYTES + prompt.nbytes, finish, self.on_queue_state_change)


def _unpickle(handle: str, retry_config: RetryConfig) -> SamplingClient:
    return SamplingClient.from_sampler_handle(handle, retry_config=retry_config)
