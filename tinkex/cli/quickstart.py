"""``tinkex quickstart``: fine-tune a model on a text file and show what it learned."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import tinkex
from tinkex import types
from tinkex.cli import call as calls
from tinkex.cli import finetune, output, saved
from tinkex.cli.call import Call
from tinkex.cli.dataset import (
    Example,
    default_path,
    demonstration,
    find_completion,
    read_examples,
)
from tinkex.cli.plot import area_plot
from tinkex.config import named_base_url
from tinkex.finetune.records import DataError
from tinkex.tokenizers import Tokenizer

LOCAL = "local://"
SMALL_MODEL_RATE = 1e-2
LARGE_MODEL_RATE = 5e-4
LEARNED = 0.08
"""Training ends at this loss in nats per byte, where the model knows the examples by heart."""

_REPORT_EVERY = 25
"""The loss is printed after every so many steps."""
_LONGEST_ANSWER = 128
"""The most tokens of an answer if the expected completion is unknown."""


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option(
    "--base-url", help="The Tinker server. Default: $TINKER_BASE_URL, else one inside this process."
)
@click.option("--model", help="The base model. Default: the first that the server offers.")
@click.option(
    "--steps", type=click.IntRange(1), default=600, show_default=True, help="The most training steps."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=40.0,
    show_default=True,
    help="The most time to train for.",
)
@click.option(
    "--rank", type=click.IntRange(1), default=32, show_default=True, help="Rank of the LoRA adapters."
)
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), help="Default: by the model's size."
)
@click.option("--prompt", help="What to ask before and after. Default: an opening from the file.")
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=8_000,
    show_default=True,
    help="How much of the file to learn, from its beginning.",
)
@click.option(
    "--save",
    metavar="NAME",
    callback=lambda context, option, value: value if value is None else saved.name_option(value),
    help="Keep what was learned, for 'tinkex sample --checkpoint NAME'.",
)
@calls.output
def quickstart(
    call: Call,
    path: Path | None,
    model: str | None,
    steps: int,
    seconds: float,
    rank: int,
    learning_rate: float | None,
    prompt: str | None,
    max_bytes: int,
    save: str | None,
) -> None:
    """Fine-tune a model on PATH and show its answer to a prompt before and after.

    PATH is a UTF-8 text file: JSON lines with "prompt" and "completion", or plain lines, learned by heart.
    Without it the model learns a small data set about Tinkex. The API key comes from TINKER_API_KEY.
    """
    source = path or default_path()
    everything = read_examples(source)
    examples = _first_bytes(everything, max_bytes)
    url = call.base_url or named_base_url() or LOCAL
    if save is not None:
        url = saved.lasting(url, save) or url
    say = _silent if call.as_json else click.echo
    asked = _question(examples, prompt)
    with tinkex.ServiceClient(base_url=url) as service:
        name = model or _first_model(service)
        left_out = len(everything) - len(examples)
        say(f"{name} on {url} learns {len(examples)} examples of {source.name}", nl=not left_out)
        if left_out:
            say(f" ({left_out} more are beyond --max-bytes {max_bytes})")
        training = service.create_lora_training_client(name, rank=rank, seed=0)
        tokenizer = training.get_tokenizer()
        lessons = [finetune.lesson(tokenizer, example) for example in examples]
        lessons = [item for item in lessons if item.trained]
        rate = learning_rate or (SMALL_MODEL_RATE if name == "tinkex/byte-lm" else LARGE_MODEL_RATE)

        say(f"prompt:   {output.plain(asked.prompt)}")
        if asked.completion:
            say(f"expected: {output.plain(asked.completion)}")
        first_answer = _answer(training, tokenizer, asked)
        say(f"before:   {output.plain(first_answer)}\n")

        before = finetune.loss_per_byte(training, lessons)
        say(f"loss before training {before:6.3f} nats per byte")
        started = time.monotonic()
        losses = _train(training, lessons, steps, seconds, rate, say)
        spent = time.monotonic() - started
        after = finetune.loss_per_byte(training, lessons)
        say(f"loss after training  {after:6.3f} nats per byte ({len(losses)} steps, {spent:.1f} s)\n")
        say(area_plot(losses, "loss, nats per byte"))

        answer = _answer(training, tokenizer, asked)
        say(f"\nprompt:   {output.plain(asked.prompt)}\nafter:    {output.plain(answer)}")
        learned = answer == asked.completion if asked.completion else None
        if learned is not None:
            words = "yes, word for word" if learned else "not yet; more --steps or --seconds may help"
            say(f"learned:  {words}")
        if save is not None:
            kept = training.save_weights_for_sampler(save).result().path
            state = training.save_state(save, overwrite=True).result().path
            saved.keep(save, saved.Saved(kept, url, state))
            say(f'saved:    {kept}\ntry:      tinkex sample --checkpoint {save} "…"')
        usage = service.usage()
        say(str(usage))
        if call.as_json:
            report = {
                "model": name,
                "examples": len(examples),
                "prompt": asked.prompt,
                "expected": asked.completion or None,
                "answer_before": first_answer,
                "answer_after": answer,
                "learned": learned,
                "loss_before": before,
                "loss_after": after,
                "losses": losses,
                "seconds": spent,
                "usage": output.usage_document(usage),
            }
            output.show(call, report, "")


def _train(
    training: tinkex.TrainingClient,
    lessons: Sequence[finetune.Lesson],
    steps: int,
    seconds: float,
    rate: float,
    say: Callable[[str], None],
) -> list[float]:
    """Train under a progress bar, which is shown only on a terminal; return the loss after each step."""
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    losses: list[float] = []
    deadline = time.monotonic() + seconds
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("training", total=steps, loss="")
        for step in finetune.train(training, lessons, steps=steps, learning_rate=rate, target=LEARNED):
            losses.append(step.loss)
            progress.update(task, completed=step.number, loss=f"{step.loss:.3f} nats per byte")
            if step.number % _REPORT_EVERY == 0:
                say(f"  step {step.number:4}  loss {step.loss:6.3f}")
            if time.monotonic() > deadline:
                break
    return losses


def _answer(training: tinkex.TrainingClient, tokenizer: Tokenizer, asked: Example) -> str:
    """Return the answer of the present model to the prompt, with the likeliest token at each position."""
    expected = tokenizer.encode(asked.completion + finetune.END) if asked.completion else []
    prompt = types.ModelInput.from_ints(tokenizer.encode(asked.prompt))
    limits = types.SamplingParams(max_tokens=len(expected) or _LONGEST_ANSWER, temperature=0.0)
    sampler = training.save_weights_and_get_sampling_client()
    sequence = sampler.sample(prompt, num_samples=1, sampling_params=limits).result().sequences[0]
    text = tokenizer.decode(list(sequence.tokens))
    # If the completion contains line ends itself, only the last one is the end mark.
    return (
        text.removesuffix(finetune.END) if finetune.END in asked.completion else text.split(finetune.END)[0]
    )


def _question(examples: Sequence[Example], prompt: str | None) -> Example:
    if prompt is None:
        return demonstration(examples)
    if not prompt:
        raise DataError("--prompt is empty: give at least one character")
    return Example(prompt, find_completion(examples, prompt) or "")


def _first_bytes(examples: Sequence[Example], limit: int) -> list[Example]:
    """Return the first examples whose prompts and completions fit into ``limit`` bytes, but at least one."""
    kept: list[Example] = []
    for example in examples:
        limit -= len((example.prompt + example.completion).encode("utf-8", errors="replace"))
        if kept and limit < 0:
            break
        kept.append(example)
    return kept


def _first_model(service: tinkex.ServiceClient) -> str:
    models = [model.model_name for model in service.get_server_capabilities().supported_models]
    names = [name for name in models if name]
    if not names:
        raise tinkex.InputError("the server offers no models: name one with --model")
    return names[0]


def _silent(*args: Any, **kwargs: Any) -> None:
    """Print nothing, because JSON is to be the only output."""
