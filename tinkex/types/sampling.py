"""What is asked of a sampler and what comes back."""

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
"""For each position up to k ``(token id, logprob)`` pairs, best first; None where nothing was computed."""

EMPTY_LOGPROB = -99999.0
"""With token id 0, marks an empty cell of a top-k matrix on the wire."""


@dataclass
class SamplingParams:
    """How to draw tokens. ``stop=None`` keeps the model's own end token; ``stop=[]`` stops for nothing.

    ``check`` (called before anything is sent) raises ``InputError`` for values out of range.
    """

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | Sequence[str] | Sequence[int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    """Only the k likeliest tokens; -1 for all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ``InputError`` if a value cannot be sent."""
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
        """The JSON object to send."""
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
    """What one ``sample`` call asks of a sampling session."""

    prompt: ModelInput
    num_samples: int
    sampling_params: SamplingParams
    prompt_logprobs: bool = False
    """Also score the prompt."""
    topk_prompt_logprobs: int = 0
    """The k likeliest tokens at each position of the prompt; 0 for none."""
    topk_sample_logprobs: int = 0
    """The k likeliest tokens at each sampled position; 0 for none."""
    target_prompt_logprobs: TensorData | None = None
    """int64 ``[len(prompt) - 1, K]``: the ids to score at each position after the first, -1 for none."""
    prompt_alt_tokens_k: int = 0
    """So many draws at each position of the prompt after the first; 0 for none."""
    prompt_logprobs_last_n: int | None = None
    """Score only the last n tokens of the prompt; None for all."""
    record_stability_info: bool = False
    """Let the server keep what the loss ``stable_reinforce`` needs of each sampled sequence."""

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
    """Two numpy matrices of shape ``(length, k)``: int32 token ids and float32 logprobs.

    An empty cell is ``(0, -99999.0)``.
    """

    token_ids: np.ndarray[Any, Any]
    logprobs: np.ndarray[Any, Any]


@dataclass(frozen=True)
class PromptAltTokens:
    """Draws from the model at every prompt position after the first, each tensor ``[len(prompt) - 1, k]``."""

    tokens: TensorData
    logprobs: TensorData


@dataclass(frozen=True)
class SampledSequence:
    """One sampled continuation."""

    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float] | None = None
    """Of each token, natural log; None if the server sent none."""
    sequence_id: str = ""
    """Distinct per sequence: the server's id, or one made here where the server gives none."""
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
        """``topk_logprobs`` as matrices. Needs numpy."""
        return _matrices(self.topk_logprobs)


@dataclass(frozen=True)
class SampleResponse:
    """The answer to one ``sample`` call."""

    sequences: Sequence[SampledSequence]
    prompt_logprobs: list[float | None] | None = None
    """Of each prompt token, natural log; None where none was computed (the first token)."""
    topk_prompt_logprobs: TopkRows | None = None
    target_prompt_logprobs: TensorData | None = None
    """float32, of the shape and layout that was asked for; 0.0 where the request had -1."""
    prompt_cache_hit_tokens: int = 0
    prompt_alt_tokens: PromptAltTokens | None = None

    @property
    def prompt_logprobs_np(self) -> np.ndarray[Any, Any] | None:
        """``prompt_logprobs`` as float32 with NaN for None, shape ``(prompt length,)``. Needs numpy."""
        return None if self.prompt_logprobs is None else _floats(self.prompt_logprobs)

    @property
    def topk_prompt_logprobs_np(self) -> TopkLogprobs | None:
        """``topk_prompt_logprobs`` as matrices. Needs numpy."""
        return _matrices(self.topk_prompt_logprobs)

    def with_sequence_ids(self, ids: Sequence[str]) -> SampleResponse:
        """The same answer with these ids on its sequences, in order."""
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
