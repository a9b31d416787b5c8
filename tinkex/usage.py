"""How many tokens were prefilled, sampled and trained, per model, and what they cost.

The client counts what it sends and receives, so the counts are there for every server. They follow the billing events
of the hosted service (``sampling_prefill``, ``sampling_sample``, ``training``). Work counts once, when its result
arrives, however often it was tried; work that failed or was cancelled before that does not count.

Example::

    prices = {"tinkex/byte-lm": {"prefill": 0.13, "sample": 0.40, "train": 0.40}}  # USD per million tokens
    with tinkex.ServiceClient(base_url="local://") as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        prompt = types.ModelInput.from_ints([72, 101, 108, 108])
        sampler.sample(prompt, 2, types.SamplingParams(max_tokens=8)).result()
        usage = service.usage(prices)
        print(usage, usage.models["tinkex/byte-lm"].prefill, usage.cost)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tinkex.concurrency.tally import Tally
from tinkex.errors import InputError

Prices = Mapping[str, Mapping[str, float]]
"""For each model the prices in US dollars per million tokens: ``prefill``, ``sample``, ``train``, and, where they
differ from ``prefill`` and ``train``, ``cached`` and ``forward``."""

_KINDS = ("prefill", "cached", "sample", "train", "forward")


@dataclass(frozen=True)
class ModelUsage:
    """The tokens of one model, and their cost in US dollars, or None if a price is missing."""

    prefill: int = 0
    """Tokens of the prompts of ``sample`` and ``compute_logprobs``, without those in ``cached``.

    A prompt counts once, however many samples of it one request asks for.
    """
    cached: int = 0
    """Tokens of prompts that the server took from its cache, as it says in its answers."""
    sample: int = 0
    """Tokens of sampled sequences."""
    train: int = 0
    """Tokens of the inputs of ``forward_backward``, and of the backward pass of ``forward_backward_custom``."""
    forward: int = 0
    """Tokens of the inputs of forward passes without gradients. The hosted service bills them as training."""
    cost: float | None = field(default=None, compare=False)

    def __str__(self) -> str:
        parts = [f"{self.prefill + self.cached:,} prefilled", f"{self.sample:,} sampled"]
        parts.append(f"{self.train:,} trained")
        if self.forward:
            parts.append(f"{self.forward:,} forward only")
        return ", ".join(parts) + ("" if self.cost is None else f" (${self.cost:,.4f})")


@dataclass(frozen=True)
class Usage:
    """The usage of each model by its name, and its cost. ``str()`` gives one line."""

    models: Mapping[str, ModelUsage]

    @property
    def cost(self) -> float | None:
        """The cost of all models in US dollars; None if the price of one of them is missing."""
        costs = [model.cost for model in self.models.values()]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def __str__(self) -> str:
        return "tokens: " + ("; ".join(f"{name}: {used}" for name, used in self.models.items()) or "none")


def usage_of(tally: Tally, prices: Prices | None = None) -> Usage:
    """Return the usage that ``tally`` has counted, with its cost.

    Raises ``InputError`` for prices that make no sense.
    """
    prices = {} if prices is None else prices
    _check(prices)
    return Usage(
        {name: _priced(ModelUsage(**counts), prices.get(name)) for name, counts in tally.read().items()}
    )


def _check(prices: Prices) -> None:
    for model, of_model in prices.items():
        if not isinstance(of_model, Mapping):
            raise InputError(f"prices[{model!r}] must map kinds of tokens to prices, not {of_model!r}")
        for kind, price in of_model.items():
            if kind not in _KINDS:
                raise InputError(f"prices[{model!r}] has {kind!r}; there are {', '.join(_KINDS)}")
            is_number = isinstance(price, (int, float)) and not isinstance(price, bool)
            if not is_number or not math.isfinite(price) or price < 0:
                raise InputError(
                    f"prices[{model!r}][{kind!r}] must be US dollars per million tokens, not {price!r}"
                )


def _priced(used: ModelUsage, prices: Mapping[str, float] | None) -> ModelUsage:
    if prices is None:
        return used
    price = {"cached": prices.get("prefill"), "forward": prices.get("train"), **prices}
    cost = 0.0
    for kind in _KINDS:
        count, of_kind = getattr(used, kind), price.get(kind)
        if count and of_kind is None:
            return used
        cost += count * (of_kind or 0.0) / 1e6
    return replace(used, cost=cost)
