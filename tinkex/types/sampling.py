"""The request and the answer of a sampler."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinkex.errors import InputError
from tinkex.types.checks import finite, integral
from tinkex.types.data import Data
from tinkex.types.model_input import ModelInput
from tinkex.types.tensor_data import TensorData

if TYPE_CHECKING:
    import numpy as np

StopReason = Literal["stop", "length"]
TopkRows = list[list[tuple[int, float]] | None]
"""For each position up to k pairs ``(token id, logprob)``, best first, or None if nothing was computed."""

EMPTY_LOGPROB = -99999.0
"""An empty cell of a top-k matrix has this logprob and the token id 0."""


@dataclass(frozen=True)
class SamplingParams(Data, strict=False, own=("stop",)):
    """How tokens are sampled. Cannot be changed; ``model_copy(update={"max_tokens": 5})`` makes another one.

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
        checked: dict[str, Any] = {
            "temperature": finite("temperature", self.temperature),
            "top_p": finite("top_p", self.top_p, at_most=1.0),
            "top_k": integral("top_k", self.top_k, at_least=-1),
        }
        if self.max_tokens is not None:
            checked["max_tokens"] = integral("max_tokens", self.max_tokens, at_least=1)
        if self.seed is not None:
            checked["seed"] = integral("seed", self.seed, at_least=-(2**63))
        if self.stop is not None and not isinstance(self.stop, str):
            checked["stop"] = _stop(self.stop)
        self.__dict__.update(checked)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        return {name: value for name, value in self._items() if value is not None}


def _stop(given: Any) -> tuple[Any, ...]:
    try:
        items = tuple(given)
    except TypeError:
        raise InputError(
            f"stop must be text, a list of texts or a list of token ids, not {given!r}"
        ) from None
    texts = sum(isinstance(item, str) for item in items)
    if texts not in (0, len(items)):
        raise InputError("stop must be all strings or all token ids")
    return items if texts else tuple(integral("a stop token", item, at_least=0) for item in items)


@dataclass(frozen=True, kw_only=True)
class SampleRequest(Data):
    """The body of ``POST /asample``: the request of one ``sample`` call.

    The prompt and the parameters may be given as dictionaries. Raises ``InputError`` for values that are not valid.
    """

    num_samples: int = 1
    prompt: ModelInput
    sampling_params: SamplingParams
    base_model: str | None = None
    model_path: str | None = None
    sampling_session_id: str | None = None
    """The sampler. A client gives it when it sends the request, with a ``seq_id``."""
    seq_id: int | None = None
    prompt_logprobs: bool | None = None
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
    record_stability_info: bool | None = None
    """Whether the server keeps, for each sampled sequence, the data that the loss ``stable_reinforce`` needs."""
    type: Literal["sample"] = "sample"

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "prompt": ModelInput.model_validate(self.prompt),
            "sampling_params": SamplingParams.model_validate(self.sampling_params),
            "num_samples": integral("num_samples", self.num_samples, at_least=1),
        }
        for name in ("topk_prompt_logprobs", "topk_sample_logprobs", "prompt_alt_tokens_k"):
            checked[name] = integral(name, getattr(self, name), at_least=0)
        if self.prompt_logprobs_last_n is not None:
            if not self.prompt_logprobs:
                raise InputError("prompt_logprobs_last_n needs include_prompt_logprobs=True")
            name = "prompt_logprobs_last_n"
            checked[name] = integral(name, self.prompt_logprobs_last_n, at_least=1)
        self.__dict__.update(checked)
        if not self.prompt.chunks:
            raise InputError("prompt is empty")
        target = self.target_prompt_logprobs
        if target is not None:
            target = self.__dict__["target_prompt_logprobs"] = TensorData.model_validate(target)
        if target is not None and (target.dtype != "int64" or len(target.shape) != 2):
            raise InputError("target_prompt_logprobs must be an int64 tensor of shape [len(prompt) - 1, K]")


@dataclass(frozen=True, eq=False)
class TopkLogprobs(Data):
    """Two numpy matrices of shape ``(length, k)``: token ids as int32 and logprobs as float32.

    An empty cell has the token id 0 and the logprob -99999.0.
    """

    token_ids: np.ndarray[Any, Any]
    logprobs: np.ndarray[Any, Any]


@dataclass(frozen=True)
class PromptAltTokens(Data):
    """Tokens sampled at every prompt position after the first. Each tensor has shape ``[len(prompt) - 1, k]``."""

    tokens: TensorData
    logprobs: TensorData


@dataclass(frozen=True, init=False)
class SampledSequence(Data, strict=False):
    """One sampled continuation of a prompt."""

    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float] | None
    """The natural logarithm of the probability of each token, or None if the server sent none."""
    sequence_id: str
    """A distinct id: that of the server, or one made by the client if the server gives none."""
    topk_logprobs: TopkRows | None

    def __init__(
        self,
        stop_reason: StopReason,
        sequence_id: str = "",
        tokens_np: Any = None,
        logprobs_np: Any = None,
        topk_logprobs_np: TopkLogprobs | None = None,
        _tokens_list: Sequence[int] | None = None,
        _logprobs_list: Sequence[float] | None = None,
        _topk_logprobs_list: TopkRows | None = None,
        *,
        tokens: Sequence[int] | None = None,
        logprobs: Sequence[float] | None = None,
        topk_logprobs: TopkRows | None = None,
    ) -> None:
        """Make a sequence from lists (``tokens``) or from numpy arrays (``tokens_np``), which are copied.

        The arguments with an underscore are those of the official SDK, whose users' tests give them.
        """
        self.__dict__.update(
            stop_reason=stop_reason,
            tokens=_listed(tokens, _tokens_list, tokens_np) or [],
            logprobs=_listed(logprobs, _logprobs_list, logprobs_np),
            sequence_id=sequence_id,
            topk_logprobs=_rows(topk_logprobs, _topk_logprobs_list, topk_logprobs_np),
        )

    @classmethod
    def _from_mapping(cls, fields: dict[str, Any]) -> SampledSequence:
        return cls(**_with_pairs(fields, "topk_logprobs"))

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


@dataclass(frozen=True, init=False)
class SampleResponse(Data, strict=False):
    """The answer to one ``sample`` call."""

    sequences: Sequence[SampledSequence]
    prompt_logprobs: list[float | None] | None
    """The natural logarithm of the probability of each prompt token; None for the first token."""
    topk_prompt_logprobs: TopkRows | None
    target_prompt_logprobs: TensorData | None
    """The logprobs of the requested target tokens, as float32 of their shape; 0.0 for a target of -1."""
    prompt_cache_hit_tokens: int
    prompt_alt_tokens: PromptAltTokens | None

    def __init__(
        self,
        sequences: Sequence[SampledSequence],
        prompt_logprobs_np: Any = None,
        topk_prompt_logprobs_np: TopkLogprobs | None = None,
        target_prompt_logprobs: TensorData | None = None,
        prompt_cache_hit_tokens: int = 0,
        prompt_alt_tokens: PromptAltTokens | None = None,
        _prompt_logprobs_list: Sequence[float | None] | None = None,
        _topk_prompt_logprobs_list: TopkRows | None = None,
        *,
        prompt_logprobs: Sequence[float | None] | None = None,
        topk_prompt_logprobs: TopkRows | None = None,
    ) -> None:
        """Make an answer from lists (``prompt_logprobs``) or from numpy arrays (``prompt_logprobs_np``).

        NaN in an array stands for None. The arguments with an underscore are those of the official SDK.
        """
        logprobs = _listed(prompt_logprobs, _prompt_logprobs_list, None)
        if logprobs is None and prompt_logprobs_np is not None:
            logprobs = [None if value != value else value for value in prompt_logprobs_np.tolist()]
        self.__dict__.update(
            sequences=list(sequences),
            prompt_logprobs=logprobs,
            topk_prompt_logprobs=_rows(
                topk_prompt_logprobs, _topk_prompt_logprobs_list, topk_prompt_logprobs_np
            ),
            target_prompt_logprobs=target_prompt_logprobs,
            prompt_cache_hit_tokens=prompt_cache_hit_tokens,
            prompt_alt_tokens=prompt_alt_tokens,
        )
        self._read_nested()

    @property
    def prompt_logprobs_np(self) -> np.ndarray[Any, Any] | None:
        """``prompt_logprobs`` as float32 with NaN for None, shape ``(prompt length,)``. Needs numpy."""
        return None if self.prompt_logprobs is None else _floats(self.prompt_logprobs)

    @property
    def topk_prompt_logprobs_np(self) -> TopkLogprobs | None:
        """``topk_prompt_logprobs`` as two matrices. Needs numpy."""
        return _matrices(self.topk_prompt_logprobs)

    @classmethod
    def _from_mapping(cls, fields: dict[str, Any]) -> SampleResponse:
        return cls(**_with_pairs(fields, "topk_prompt_logprobs"))

    def with_sequence_ids(self, ids: Sequence[str]) -> SampleResponse:
        """Return the same answer with these ids on its sequences, in order."""
        # ``dataclasses.replace`` would copy all lists once more.
        named = copy.copy(self)
        named.__dict__["sequences"] = sequences = list(map(copy.copy, self.sequences))
        for sequence, name in zip(sequences, ids):
            sequence.__dict__["sequence_id"] = name
        return named


def _listed(values: Any, private: Any, array: Any) -> list[Any] | None:
    """Return a new list of the first argument that is not None."""
    if values is None:
        if private is None:
            return None if array is None else array.tolist()
        values = private
    return list(values)


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


def _with_pairs(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return ``fields`` with pairs in the rows of ``name``, which has lists in JSON."""
    rows = fields.get(name)
    return fields if rows is None else {**fields, name: [row and list(map(tuple, row)) for row in rows]}


def _rows(rows: TopkRows | None, private: TopkRows | None, matrices: TopkLogprobs | None) -> TopkRows | None:
    """Return new lists of the first argument that is not None; of matrices, without their empty cells."""
    if rows is None:
        rows = private
    if rows is not None:
        return [row and list(row) for row in rows]
    if matrices is None:
        return None
    cells = [
        [cell for cell in zip(ids, logprobs) if cell != (0, EMPTY_LOGPROB)]
        for ids, logprobs in zip(matrices.token_ids.tolist(), matrices.logprobs.tolist())
    ]
    return [row or None for row in cells]
