"""``tinkex train``: fine-tune a model on files of examples, over any number of restarts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tinkex.cli import call as calls
from tinkex.cli import saved
from tinkex.cli.call import Call
from tinkex.cli.failures import BadInput
from tinkex.cli.train_job import Job, Options

Command = Callable[..., None]

_OPTIONS = (
    click.argument("data", nargs=-1, required=True, metavar="DATA..."),
    click.option("--model", "-m", required=True, help="The base model: its name on the server."),
    click.option(
        "--save",
        "name",
        required=True,
        metavar="NAME",
        callback=lambda context, option, value: saved.name_option(value),
        help="The name of the checkpoints, and of the trained model.",
    ),
    click.option("--tokenizer", help="Its name or folder. [default: the model's]"),
    click.option("--chat-template", help="chatml, plain, or a file with Jinja. [default: the tokenizer's]"),
    click.option(
        "--train-on",
        type=click.Choice(["all", "assistant", "last"]),
        default="assistant",
        show_default=True,
        help="What is learned: all tokens; what the assistant says, and completions; or the assistant's last turn.",
    ),
    click.option(
        "--max-length",
        type=click.IntRange(2),
        help="The most tokens of a sequence. [default: the model's context length]",
    ),
    click.option(
        "--too-long",
        type=click.Choice(["truncate", "drop", "error"]),
        default="truncate",
        show_default=True,
        help="What happens to longer sequences.",
    ),
    click.option("--skip-bad", is_flag=True, help="Leave records out that cannot be learned."),
    click.option("--epochs", type=click.IntRange(1), help="[default: 3]"),
    click.option("--steps", type=click.IntRange(1), help="The number of steps, in place of --epochs."),
    click.option("--batch-size", type=click.IntRange(1), help="Sequences in a batch. [default: 16]"),
    click.option(
        "--batch-tokens", type=click.IntRange(1), help="Tokens in a batch, in place of --batch-size."
    ),
    click.option(
        "--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches in a step."
    ),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        help="The highest one. [default: by the model's size, as tinker-cookbook has it]",
    ),
    click.option(
        "--schedule",
        type=click.Choice(["linear", "cosine", "constant"]),
        default="linear",
        show_default=True,
        help="How the learning rate falls.",
    ),
    click.option(
        "--warmup-steps",
        type=click.IntRange(0),
        help="Steps in which it rises. [default: a twentieth of all, at most 100]",
    ),
    click.option(
        "--rank", type=click.IntRange(1), default=32, show_default=True, help="Of the LoRA adapters."
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the weights and the order."
    ),
    click.option(
        "--eval", "eval_data", multiple=True, metavar="FILE", help="Measures the loss on it; may be repeated."
    ),
    click.option("--eval-every", type=click.IntRange(1), default=20, show_default=True, help="In steps."),
    click.option(
        "--patience",
        type=click.IntRange(1),
        help="Stop after so many evaluations in a row that are not the best. [default: never]",
    ),
    click.option(
        "--save-every",
        type=click.IntRange(1),
        help="Steps between checkpoints. [default: --eval-every, else 20]",
    ),
    click.option(
        "--resume",
        default="auto",
        show_default=True,
        metavar="auto|never|PATH",
        help="auto goes on after the last checkpoint in --log-dir; PATH is a checkpoint or another log folder.",
    ),
    click.option(
        "--log-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="For the journal, metrics.jsonl, loss.svg and TensorBoard files. [default: runs/NAME]",
    ),
    click.option("--wandb", is_flag=True, help="Log to Weights & Biases."),
    click.option("--mlflow", is_flag=True, help="Log to MLflow."),
    click.option(
        "--price",
        type=click.FloatRange(0),
        metavar="USD",
        help="Of a million trained tokens, to show the cost at the end.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Check everything, and do three steps on the embedded server."
    ),
)


def _with_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@_with_options
@calls.server
def train(call: Call, **values: Any) -> None:
    """Fine-tune a model on DATA: JSON lines, JSON arrays, CSV or Parquet; - is standard input.

    A record has "messages" (a chat), "prompt" and "completion", or "text". Killed and started again with the same
    options, the command goes on from its last checkpoint.
    """
    log_dir = values.pop("log_dir") or Path("runs", values["name"])
    options = Options(**{**values, "log_dir": log_dir})
    _check(options)
    if not options.dry_run:
        Job(call, options).run()
        return
    with tempfile.TemporaryDirectory(prefix="tinkex-dry-run-") as folder:
        Job(call, options.rehearsal(Path(folder))).run()


def _check(options: Options) -> None:
    for one, other in (("epochs", "steps"), ("batch_size", "batch_tokens")):
        if getattr(options, one) is not None and getattr(options, other) is not None:
            raise click.UsageError(f"give --{one} or --{other}, not both".replace("_", "-"))
    if options.patience is not None and not options.eval_data:
        raise click.UsageError("--patience needs --eval")
    if options.eval_data and options.save_every is not None and options.eval_every % options.save_every:
        raise click.UsageError(
            "--eval-every must be a multiple of --save-every, so that the best model is saved"
        )
    if [*options.data, *options.eval_data].count("-") > 1:
        raise click.UsageError("standard input (-) can be read once only")
    if options.resume not in ("auto", "never") and options.dry_run:
        raise BadInput("--dry-run starts anew: leave --resume out")
