"""The request and the answer of a sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tinkex.errors import InputError
from tinkex.types.checks import finite, whole
from tinkex.types.model_input import ModelInput
from tinkex.types.tensor_data import TensorData

if TYPE_CHECKING:
    import numpy as np

StopReason = Literal["stop", "length"]
TopkRows = list[list[tuple[int, float]] | None]
"""For each position up to k pairs ``(token id, logprob)``, best first, or None if nothing was computed."""

EMPTY_LOGPROB = -99999.0
"""An empty cell of a top-k matrix has this logprob and the token id 0."""


@dataclass
class SamplingParams:
    """How tokens are sampled.

    ``stop`` has texts or token ids that end a sequence. None means the model's own end token, and an empty list
    means that nothing ends a sequence but ``max_tokens``. Raises ``InputError`` for values out of range.
    """

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | Sequence[str] | Sequence[int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    """Sample only from the k likeliest tokens; -1 means from all."""
    top_p: float = 1.0
    """Sample only from the likeliest tokens that together have this probability."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ``InputError`` if a value is out of range. Called again when the request is made."""
        if self.max_tokens is not None:
            whole("max_tokens", self.max_tokens, at_least=1)
        if self.seed is not None:
            whole("seed", self.seed, at_least=-(2**63))
        finite("temperature", self.temperature)
        finite("top_p", self.top_p, at_most=1.0)
        whole("top_k", self.top_k, at_least=-1)
        if self.stop is not None and not isinstance(self.stop, str):
            kinds = {str if isinstance(item, str) else int for item in self.stop}
            if len(kinds) > 1:
                raise InputError("stop must be all strings or all token ids")
            for item in self.stop:
                if not isinstance(item, str):
                    whole("a stop token", item, at_least=0)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        stop = self.stop if self.stop is None or isinstance(self.stop, str) else list(self.stop)
        fields = {
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "stop": stop,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class SampleRequest:
    """The request of one ``sample`` call. Raises ``InputError`` for values that are not valid."""

    prompt: ModelInput
    num_samples: int
    sampling_params: SamplingParams
    prompt_logprobs: bool = False
    """Whether the answer has the logprobs of the prompt tokens."""
    topk_prompt_logprobs: int = 0
    """How many of the likeliest tokens the answer has for each position of the prompt."""
    topk_sample_logprobs: int = 0
    """How many of the likeliest tokens the answer has for each sampled position."""
    target_prompt_logprobs: TensorData | None = None
    """Token ids whose logprobs the answer has, for each prompt position after the first.

    An int64 tensor of shape ``[len(prompt) - 1, K]``; -1 stands for no token.
    """
    prompt_alt_tokens_k: int = 0
    """How many alternative tokens are sampled at each position of the prompt after the first."""
    prompt_logprobs_last_n: int | None = None
    """The answer has only the logprobs of the last n prompt tokens; None means of all."""
    record_stability_info: bool = False
    """Whether the server keeps, for each sampled sequence, the data that the loss ``stable_reinforce`` needs."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, ModelInput):
            raise InputError(f"prompt must be a ModelInput, not {type(self.prompt).__name__}")
        if not self.prompt.chunks:
            raise InputError("prompt is empty")
        if not isinstance(self.sampling_params, SamplingParams):
            raise InputError(
                f"sampling_params must be SamplingParams, not {type(self.sampling_params).__name__}"
            )
        self.sampling_params.check()
        whole("num_samples", self.num_samples, at_least=1)
        whole("topk_prompt_logprobs", self.topk_prompt_logprobs, at_least=0)
        whole("topk_sample_logprobs", self.topk_sample_logprobs, at_least=0)
        whole("prompt_alt_tokens_k", self.prompt_alt_tokens_k, at_least=0)
        if self.prompt_logprobs_last_n is not None:
            if not self.prompt_logprobs:
                raise InputError("prompt_logprobs_last_n needs include_prompt_logprobs=True")
            whole("prompt_logprobs_last_n", self.prompt_logprobs_last_n, at_least=1)
        target = self.target_prompt_logprobs
        if target is not None and (target.dtype != "int64" or len(target.shape) != 2):
            raise InputError("target_prompt_logprobs must be an int64 tensor of shape [len(prompt) - 1, K]")


@dataclass(frozen=True)
class TopkLogprobs:
    """Two numpy matrices of shape ``(length, k)``: token ids as int32 and logprobs as float32.

    An empty cell has the token id 0 and the logprob -99999.0.
    """

    token_ids: np.ndarray[Any, Any]
    logprobs: np.ndarray[Any, Any]


@dataclass(frozen=True)
class PromptAltTokens:
    """Tokens sampled at every prompt position after the first. Each tensor has shape ``[len(prompt) - 1, k]``."""

    tokens: TensorData
    logprobs: TensorData


@dataclass(frozen=True)
class SampledSequence:
    """One sampled continuation of a prompt."""

    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float] | None = None
    """The natural logarithm of the probability of each token, or None if the server sent none."""
    sequence_id: str = ""
    """A distinct id: that of the server, or one made by the client if the server gives none."""
    topk_logprobs: TopkRows | None = None

    @property
    def tokens_np(self) -> np.ndarray[Any, Any]:
        """``tokens`` as int32, shape ``(n,)``. Needs numpy."""
        import numpy as np

        return np.array(self.tokens, dtype=np.int32)

    @property
    def logprobs_np(self) -> np.ndarray[Any, Any] | None:
        """``logprobs`` as float32, shape ``(n,)``. Needs numpy."""
        return None if self.logprobs is None else _floats(self.logprobs)

    @property
    def topk_logprobs_np(self) -> TopkLogprobs | None:
        """``topk_logprobs`` as two matrices. Needs numpy."""
        return _matrices(self.topk_logprobs)


@dataclass(frozen=True)
class SampleResponse:
    """The answer to one ``sample`` call."""

    sequences: Sequence[SampledSequence]
    prompt_logprobs: list[float | None] | None = None
    """The natural logarithm of the probability of each prompt token; None for the first token."""
    topk_prompt_logprobs: TopkRows | None = None
    target_prompt_logprobs: TensorData | None = None
    """The logprobs of the requested target tokens, as float32 of their shape; 0.0 for a target of -1."""
    prompt_cache_hit_tokens: int = 0
    prompt_alt_tokens: PromptAltTokens | None = None

    @property
    def prompt_logprobs_np(self) -> np.ndarray[Any, Any] | None:
        """``prompt_logprobs`` as float32 with NaN for None, shape ``(prompt length,)``. Needs numpy."""
        return None if self.prompt_logprobs is None else _floats(self.prompt_logprobs)

    @property
    def topk_prompt_logprobs_np(self) -> TopkLogprobs | None:
        """``topk_prompt_logprobs`` as two matrices. Needs numpy."""
        return _matrices(self.topk_prompt_logprobs)

    def with_sequence_ids(self, ids: Sequence[str]) -> SampleResponse:
        """Return the same answer with these ids on its sequences, in order."""
        named = [replace(sequence, sequence_id=name) for sequence, name in zip(self.sequences, ids)]
        return replace(self, sequences=named)


def _floats(values: Sequence[float | None]) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.array([np.nan if value is None else value for value in values], dtype=np.float32)


def _matrices(rows: TopkRows | None) -> TopkLogprobs | None:
    if rows is None:
        return None
    import numpy as np

    k = max((len(row) for row in rows if row), default=0)
    token_ids = np.zeros((len(rows), k), dtype=np.int32)
    logprobs = np.full((len(rows), k), EMPTY_LOGPROB, dtype=np.float32)
    for at, row in enumerate(rows):
        if row:
            token_ids[at, : len(row)], logprobs[at, : len(row)] = zip(*row)
    return TopkLogprobs(token_ids, logprobs)
