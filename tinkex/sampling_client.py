"""``SamplingClient``: many samples in flight from one model."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tinkex import tokenizers
from tinkex.api import sampling as api
from tinkex.concurrency.created import Created
from tinkex.concurrency.futures import APIFuture, finished
from tinkex.concurrency.tally import Tally
from tinkex.concurrency.twins import awaited
from tinkex.config import Config
from tinkex.errors import APIResponseValidationError, ClientClosedError, InputError, NotFoundError
from tinkex.polling.queue_state import QueueStateObserver
from tinkex.sampling.in_flight import SamplesInFlight
from tinkex.session.session import AttachedSession, Session
from tinkex.types.checks import tinker_path
from tinkex.types.model_input import EncodedTextChunk, ModelInput
from tinkex.types.retry import RetryConfig
from tinkex.types.sampling import SampleRequest, SampleResponse, SamplingParams
from tinkex.types.tensor_data import TensorData

if TYPE_CHECKING:
    from tinkex.session.telemetry import Telemetry
    from tinkex.tokenizers import Tokenizer


class _OtherCalls(Created, QueueStateObserver):
    """The call of a sampling client that the official client does not have.

    It is in a base class, because programs that wrap the calls of a client, as the tracing of ``tinker-cookbook``
    does, go through ``vars(SamplingClient)``, and know the official ones alone.
    """

    def sample_many(
        self, prompts: Sequence[ModelInput], num_samples: int, sampling_params: SamplingParams, **options: Any
    ) -> list[APIFuture[SampleResponse]]:
        """Start ``sample`` for each prompt; returns the futures in the order of the prompts.

        ``options`` are the further arguments of ``sample``.

        Example::

            from concurrent.futures import as_completed

            with tinkex.ServiceClient(base_url="local://") as service:
                sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
                prompts = [types.ModelInput.from_ints([token]) for token in (65, 66, 67)]
                futures = sampler.sample_many(prompts, 1, types.SamplingParams(max_tokens=4))
                for future in as_completed(futures, timeout=60):  # as they finish
                    print(prompts[futures.index(future)].to_ints(), future.result().sequences[0].tokens)
        """
        client: Any = self
        return [client.sample(prompt, num_samples, sampling_params, **options) for prompt in prompts]


class SamplingClient(_OtherCalls):
    """Samples from a base model or from saved weights. Made by ``ServiceClient`` or ``TrainingClient``.

    Calls return an ``APIFuture`` at once and run side by side, up to the server's limit or
    ``RetryConfig.max_connections``; the rest wait their turn. A 429 pauses every sampler of the same server
    and key. Safe to use from many threads; it can be pickled, and works in a forked child.

    Example::

        with tinkex.ServiceClient(base_url="local://") as service:
            sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
            tokenizer = sampler.get_tokenizer()
            prompt = types.ModelInput.from_ints(tokenizer.encode("The sea is"))
            params = types.SamplingParams(max_tokens=16, temperature=0.7)
            response = sampler.sample(prompt, num_samples=2, sampling_params=params).result(timeout=60)
            for sequence in response.sequences:
                print(sequence.stop_reason, repr(tokenizer.decode(sequence.tokens)))
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
        count = partial(_count, session.usage, base_model or model_path or sampling_session_id)
        number = 0 if is_maker else None
        self._in_flight = SamplesInFlight(session, sampling_session_id, self._retry, number, count)

    def _described(self) -> str:
        return f"SamplingClient({self.sampling_session_id!r})"

    @classmethod
    def create(
        cls,
        holder: Session,
        *,
        model_path: str | None = None,
        base_model: str | None = None,
        sampling_session_id: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
    ) -> APIFuture[SamplingClient]:
        """Open a sampler in the session ``ServiceClient.holder``; returns a future of its client at once.

        Programs should call ``ServiceClient.create_sampling_client``, whose arguments these are. With
        ``sampling_session_id`` the client is that of a sampler which exists already.
        """
        if model_path is not None:
            tinker_path("model_path", model_path)
        if sampling_session_id is not None:
            return finished(
                cls(
                    holder,
                    sampling_session_id,
                    retry_config,
                    base_model=base_model,
                    model_path=model_path,
                    is_maker=False,
                    record_stability_info=record_stability_info,
                )
            )
        if model_path is None and base_model is None:
            raise InputError("give model_path or base_model")
        make = partial(cls._create, holder, model_path, base_model, retry_config)
        return holder.start(partial(make, record_stability_info=record_stability_info))

    @classmethod
    def _create(
        cls,
        session: Session,
        model_path: str | None,
        base_model: str | None,
        retry_config: RetryConfig | None,
        *,
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

        Each sequence of the response has its ``tokens`` and their ``logprobs`` (natural log), both of the
        same length. ``include_prompt_logprobs`` also scores the prompt, or with ``prompt_logprobs_last_n``
        only its last n tokens. ``topk_prompt_logprobs`` and ``topk_sample_logprobs`` ask for the k likeliest
        tokens at each position of the prompt and of the continuation. ``target_prompt_logprobs``, an int64
        tensor of shape ``[len(prompt) - 1, K]``, asks for the logprobs of those token ids at each position
        after the first (-1 for none), and ``prompt_alt_tokens_k`` for k draws at each of these positions.

        Raises ``InputError`` before anything is sent; the future raises ``RequestFailedError``,
        ``APIStatusError`` or ``APIConnectionError``.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
                prompt = types.ModelInput.from_ints([72, 101, 108, 108])
                params = types.SamplingParams(max_tokens=8, seed=0)
                response = sampler.sample(prompt, 1, params, include_prompt_logprobs=True).result()
                print(len(response.sequences[0].tokens), response.prompt_logprobs)  # 4 of the latter
        """
        request = SampleRequest(
            prompt=prompt,
            num_samples=num_samples,
            sampling_params=sampling_params,
            prompt_logprobs=include_prompt_logprobs,
            topk_prompt_logprobs=topk_prompt_logprobs,
            topk_sample_logprobs=topk_sample_logprobs,
            target_prompt_logprobs=target_prompt_logprobs,
            prompt_alt_tokens_k=prompt_alt_tokens_k,
            prompt_logprobs_last_n=prompt_logprobs_last_n,
            record_stability_info=self._record_stability_info,
        )

        def complete(response: SampleResponse) -> SampleResponse:
            if include_prompt_logprobs:
                _prompt_logprobs(response, request.prompt, request.prompt_logprobs_last_n)
            return response

        return self._in_flight.start(request, complete, self.on_queue_state_change)

    @awaited(sample)
    async def sample_async(self) -> None:
        """A coroutine that returns the ``SampleResponse`` of ``sample``."""

    def compute_logprobs(
        self, prompt: ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> APIFuture[list[float | None]]:
        """Compute the logprob (natural log) of each prompt token given the tokens before it.

        The list is as long as the prompt. It has None for the first token, and for all tokens before the
        last ``prompt_logprobs_last_n``. Raises as ``sample`` does.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
                prompt = types.ModelInput.from_ints(sampler.get_tokenizer().encode("The sea"))
                first, *rest = sampler.compute_logprobs(prompt).result()  # the first is None
                print(sum(rest) / len(rest))
        """
        request = SampleRequest(
            prompt=prompt,
            sampling_params=SamplingParams(max_tokens=1),
            prompt_logprobs=True,
            prompt_logprobs_last_n=prompt_logprobs_last_n,
            record_stability_info=self._record_stability_info,
        )

        def logprobs(response: SampleResponse) -> list[float | None]:
            found = _prompt_logprobs(response, request.prompt, request.prompt_logprobs_last_n)
            # Some servers leave the first token out instead of giving it none.
            return [None] * ((_length(request.prompt) or 0) - len(found)) + found

        return self._in_flight.start(request, logprobs, self.on_queue_state_change)

    @awaited(compute_logprobs)
    async def compute_logprobs_async(self) -> None:
        """A coroutine that returns the logprobs of the prompt."""

    def get_base_model(self) -> str:
        """The name of the base model that is sampled from. Blocks for a round trip the first time."""
        from tinkex.api import info

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
        """A coroutine that returns the name of the base model that is sampled from."""
        if self._creation is not None:
            await self._creation.over()
        return await self._session.start(self.get_base_model)

    def get_tokenizer(self) -> Tokenizer:
        """Load the tokenizer of the base model, as ``tinkex.tokenizers.load`` does. Blocks."""
        return tokenizers.load(self.get_base_model())

    def get_telemetry(self) -> Telemetry | None:
        """The telemetry of this session, to report events of your own; None if telemetry is off.

        It is also None for a sampler whose session another process keeps alive.
        """
        return self._session.telemetry

    def get_sampler_handle(self) -> str:
        """Return a text that names this sampler for ``from_sampler_handle`` in another process.

        The text has no secret. Raises ``InputError`` for a sampler of ``local://``, which exists in
        this process only.

        Example::

            from tinkex.local import LocalServer

            with LocalServer() as server, tinkex.ServiceClient(base_url=server.base_url, api_key="tml-any") as service:
                handle = service.create_sampling_client(base_model="tinkex/byte-lm").get_sampler_handle()
                # in another process, while this one keeps the session alive:
                sampler = tinkex.SamplingClient.from_sampler_handle(handle, api_key="tml-any")
                print(sampler.get_base_model())
        """
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
        """Make a client of the sampler that ``get_sampler_handle`` named, in this or another process.

        ``api_key`` defaults to ``TINKER_API_KEY``. The process that made the sampler must keep its session
        alive. Raises ``InputError`` if ``handle`` is not such a text, and ``APIError`` if there is no server.
        """
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
        """Send nothing more. Calls without a result raise ``ClientClosedError``."""
        if not self._given_up(ClientClosedError("the sampling client was closed while it was being made")):
            self._in_flight.close()


BackcompatSamplingClientFuture = SamplingClient
"""The official SDK's name for a client that may still be in the making."""


def _count(usage: Tally, model: str, request: SampleRequest, response: SampleResponse) -> None:
    """Count the tokens of a request that has its result."""
    length = request.prompt.known_length
    cached = max(0, min(response.prompt_cache_hit_tokens, length))
    sampled = sum(len(sequence.tokens) for sequence in response.sequences)
    usage.add(model, prefill=length - cached, cached=cached, sample=sampled)


def _length(prompt: ModelInput) -> int | None:
    """The number of tokens of a prompt; None for one with images or audio, whose tokens the server counts."""
    text_only = all(isinstance(chunk, EncodedTextChunk) for chunk in prompt.chunks)
    return prompt.length if text_only else None


def _prompt_logprobs(response: SampleResponse, prompt: ModelInput, last_n: int | None) -> list[float | None]:
    """The logprobs of the prompt in ``response``; raises ``APIResponseValidationError`` if there are too few.

    Some servers leave out the first token, and some all tokens before the last ``last_n``.
    """
    found = response.prompt_logprobs
    if found is None:
        raise APIResponseValidationError(
            "the server gave no logprobs of the prompt although they were asked for; it may not offer them"
        )
    length = _length(prompt)
    if length is not None:
        least = length - 1 if last_n is None else min(last_n, length - 1)
        if not least <= len(found) <= length:
            raise APIResponseValidationError(
                f"the server gave {len(found)} logprobs for a prompt of {length} tokens"
            )
        scored = found[-least:] if least else []
        if None in scored:
            raise APIResponseValidationError("the server left out logprobs of the prompt")
    return found


def _unpickle(handle: str, retry_config: RetryConfig) -> SamplingClient:
    return SamplingClient.from_sampler_handle(handle, retry_config=retry_config)
