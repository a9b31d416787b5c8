"""The options of ``tinkex train``, and what they must not say together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tinkex.cli import saved
from tinkex.finetune.chat import TrainOn
from tinkex.finetune.examples import TooLong
from tinkex.finetune.learning_rate import Decay

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


def train_options(command: Command) -> Command:
    """Give a command the options, whose values make ``Options``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Options:
    """The options of ``tinkex train``, by their names."""

    data: tuple[str, ...]
    model: str
    name: str
    tokenizer: str | None
    chat_template: str | None
    train_on: TrainOn
    max_length: int | None
    too_long: TooLong
    skip_bad: bool
    epochs: int | None
    steps: int | None
    batch_size: int | None
    batch_tokens: int | None
    accumulate: int
    learning_rate: float | None
    schedule: Decay
    warmup_steps: int | None
    rank: int
    seed: int
    eval_data: tuple[str, ...]
    eval_every: int
    patience: int | None
    save_every: int | None
    resume: str
    log_dir: Path
    wandb: bool
    mlflow: bool
    price: float | None
    dry_run: bool

    def rehearsal(self, folder: Path) -> Options:
        """Return the options of a dry run, which leaves its files in ``folder``."""
        return replace(self, resume="never", log_dir=folder / "log", wandb=False, mlflow=False)

    @property
    def checkpoint_every(self) -> int:
        """The number of steps between two checkpoints."""
        return self.save_every or (self.eval_every if self.eval_data else 20)

    def check(self) -> None:
        """Raise ``click.UsageError`` for options that do not go together."""
        for one, other in (("epochs", "steps"), ("batch_size", "batch_tokens")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise click.UsageError(f"give --{one} or --{other}, not both".replace("_", "-"))
        if self.patience is not None and not self.eval_data:
            raise click.UsageError("--patience needs --eval")
        if self.eval_data and self.save_every is not None and self.eval_every % self.save_every:
            raise click.UsageError(
                "--eval-every must be a multiple of --save-every, so that the best model is saved"
            )
        if [*self.data, *self.eval_data].count("-") > 1:
            raise click.UsageError("standard input (-) can be read once only")
        if self.resume not in ("auto", "never") and self.dry_run:
            raise click.UsageError("--dry-run starts anew: leave --resume out")
