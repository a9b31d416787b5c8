"""``tinkex sample``: continues prompts with a model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import click

from tinkex.cli import call as calls
from tinkex.cli import saved
from tinkex.cli.failures import BadInput, CallFailed
from tinkex.cli.output import usage_document
from tinkex.cli.progress import progress

if TYPE_CHECKING:
    from tinkex import SamplingClient, ServiceClient
    from tinkex.tokenizers import Tokenizer
    from tinkex.types import SampledSequence, SampleResponse


@dataclass(frozen=True)
class _Place:
    """The number of a prompt, and of one of its samples, both counted from 0."""

    prompt: int
    sample: int


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "--file",
    "-i",
    "source",
    type=click.File("r", encoding="utf-8"),
    help="A file that is the prompt; or, ending in .jsonl, has objects with a 'prompt'. - is standard input.",
)
@click.option("--model", "-m", help="A base model, or a tinker:// path. [default: the server's first model]")
@click.option("--checkpoint", metavar="NAME", help="A model that train or quickstart saved under this name.")
@click.option(
    "--chat/--no-chat",
    default=None,
    help="Send each prompt as the message of a user. [default: where --checkpoint has learned conversations]",
)
@click.option(
    "--num-samples", "-n", type=click.IntRange(1), default=1, show_default=True, help="Of each prompt."
)
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True)
@click.option(
    "--temperature", type=click.FloatRange(0), default=1.0, show_default=True, help="0: the likeliest."
)
@click.option("--top-k", type=click.IntRange(1), help="Only the likeliest so many tokens. [default: all]")
@click.option("--top-p", type=click.FloatRange(0, 1), default=1.0, show_default=True)
@click.option("--seed", type=int, help="Of the first sample; each one more has the next.")
@click.option("--stop", multiple=True, help="Text to stop at; may be repeated.")
@calls.server
def sample(
    call: calls.Call,
    prompt: str | None,
    source: IO[str] | None,
    model: str | None,
    checkpoint: str | None,
    chat: bool | None,  # noqa: FBT001  the value of an option
    num_samples: int,
    max_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float,
    seed: int | None,
    stop: tuple[str, ...],
) -> None:
    """Continue PROMPT, or the prompts of a file. Each sample is printed as soon as it is there.

    At the end, the number of tokens used is printed on standard error.
    """
    from tinkex.types import ModelInput, SamplingParams

    if model is not None and checkpoint is not None:
        raise click.UsageError("give either --model or --checkpoint")
    prompts = _prompts(prompt, source)
    known = None if checkpoint is None else saved.find(call, checkpoint)
    if known is not None:
        call, model = replace(call, base_url=known.base_url or call.base_url), known.path
    with call.service() as service, progress("sampling") as update:
        sampler = _sampler(service, model)
        tokenizer = _tokenizer(sampler, known)
        is_chat = chat if chat is not None else known is not None and known.chat
        encode = _chat_encoder(tokenizer, known) if is_chat else tokenizer.encode
        futures: dict[Future[SampleResponse], _Place] = {}
        for number, text in enumerate(prompts):
            tokens = ModelInput.from_ints(encode(text))
            for index in range(num_samples):
                params = SamplingParams(
                    max_tokens=max_tokens,
                    seed=None if seed is None else seed + index,
                    stop=list(stop) or None,
                    temperature=temperature,
                    top_k=top_k or -1,
                    top_p=top_p,
                )
                futures[sampler.sample(tokens, 1, params)] = _Place(number, index)
        samples = []
        for done, future in enumerate(as_completed(futures), 1):
            place, sequence = futures[future], future.result().sequences[0]
            # The mark that ends a turn is no part of the answer.
            text = _text(tokenizer, sequence, stop, tokenizer.eos_token_id if is_chat else None)
            samples.append(_record(place, text, sequence))
            if not call.as_json:
                _print(place, text, sequence.stop_reason, several=len(futures) > 1)
            update(done, len(futures))
        if call.as_json:
            samples.sort(key=lambda found: (found["prompt_index"], found["sample_index"]))
            report = {"model": model or sampler.get_base_model(), "samples": samples}
            click.echo(json.dumps({**report, "usage": usage_document(service.usage())}, indent=2))
        else:
            click.echo(str(service.usage()), err=True)


def _tokenizer(sampler: SamplingClient, known: saved.Saved | None) -> Tokenizer:
    from tinkex import tokenizers

    if known is not None and known.tokenizer is not None:
        return tokenizers.load(known.tokenizer)
    return sampler.get_tokenizer()


def _chat_encoder(tokenizer: Tokenizer, known: saved.Saved | None) -> Callable[[str], list[int]]:
    """Return a function that encodes a message of a user, with what opens the answer of the assistant."""
    from tinkex.finetune import chat_templates
    from tinkex.finetune.records import BadRecord, Chat

    template = chat_templates.load(tokenizer, None if known is None else known.chat_template)

    def encode(text: str) -> list[int]:
        try:
            rendered = template.prompt(Chat([{"role": "user", "content": text}]))
        except BadRecord as reason:
            raise BadInput(f"the prompt cannot be sent as a chat: {reason}") from None
        return tokenizer.encode(rendered, add_special_tokens=False)

    return encode


def _prompts(prompt: str | None, source: IO[str] | None) -> list[str]:
    if (prompt is None) is (source is None):
        raise click.UsageError("give either a prompt or --file")
    if source is None:
        found = [prompt or ""]
    else:
        name = str(getattr(source, "name", "standard input"))
        try:
            text = source.read()
        except UnicodeDecodeError:
            raise BadInput(f"{name} is not UTF-8 text") from None
        found = _records(text, name) if name.endswith(".jsonl") else [text]
    if not found or not all(found):
        raise BadInput("a prompt is empty: give at least one character")
    return found


def _records(text: str, name: str) -> list[str]:
    prompts = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
                raise BadInput(f'{name}, line {number}: expected an object such as {{"prompt": "Why?"}}')
            prompts.append(record["prompt"])
    return prompts


def _sampler(service: ServiceClient, model: str | None) -> SamplingClient:
    if model is not None and model.startswith("tinker://"):
        return service.create_sampling_client(model_path=model)
    if model is None:
        offered = service.get_server_capabilities().supported_models
        model = next((found.model_name for found in offered if found.model_name), None)
    if model is None:
        raise CallFailed("the server names no model: name one with --model")
    return service.create_sampling_client(base_model=model)


def _text(tokenizer: Tokenizer, sequence: SampledSequence, stop: tuple[str, ...], mark: int | None) -> str:
    tokens = list(sequence.tokens)
    if mark is not None and tokens[-1:] == [mark]:
        tokens.pop()
    text = tokenizer.decode(tokens)
    # Some servers include the stop text at the end of a sample.
    return next((text.removesuffix(end) for end in stop if end and text.endswith(end)), text)


def _record(place: _Place, text: str, sequence: SampledSequence) -> dict[str, object]:
    return {
        "prompt_index": place.prompt,
        "sample_index": place.sample,
        "text": text,
        "stop_reason": sequence.stop_reason,
        "tokens": list(sequence.tokens),
        "logprobs": None if sequence.logprobs is None else list(sequence.logprobs),
    }


def _print(place: _Place, text: str, reason: str, *, several: bool) -> None:
    if sys.stdout.isatty():
        # Control characters, which a terminal would act on, are printed as escape sequences.
        text = "".join(
            c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text
        )
    # This uses print, not click.echo, because rich then prints it above a progress bar on the same terminal.
    if several:
        print(f"--- prompt {place.prompt + 1}, sample {place.sample + 1} ({reason})")
    print(text, flush=True)
