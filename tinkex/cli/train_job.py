"""The work of ``tinkex train``: it reads, trains, saves, and says what it does."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from tinkex import metrics, recovery, tokenizers
from tinkex.cli import INTERRUPTED, saved
from tinkex.cli.call import Call
from tinkex.cli.failures import BadInput, CallFailed, Interrupted
from tinkex.cli.output import plain, show, usage_document
from tinkex.cli.plot import area_plot
from tinkex.cli.progress import noted_progress
from tinkex.cli.train_options import Options
from tinkex.cli.train_progress import Reporter
from tinkex.config import named_base_url
from tinkex.errors import NotFoundError, TinkerError
from tinkex.finetune import chat_templates, learning_rate, loss_plot, readers, trackers
from tinkex.finetune.batches import BatchSize, Plan
from tinkex.finetune.examples import Example, Preparation, digest
from tinkex.finetune.learning_rate import Schedule
from tinkex.finetune.loop import Evaluation, Loop
from tinkex.finetune.records import BadRecords, Chat
from tinkex.finetune.records import Row as Record
from tinkex.finetune.run_folder import RunFolder, start_of

if TYPE_CHECKING:
    from tinkex import ServiceClient, TrainingClient

LOCAL = "local://"
DRY_STEPS = 3
_SHOWN_BAD = 20
"""The most bad records that are named one by one."""


@dataclass(frozen=True)
class Data:
    """The examples, and what the settings of the run say about them."""

    examples: list[Example]
    evaluation: list[Example]
    digests: tuple[str, str]
    chat: bool
    template: str | None


class Job:
    """One use of the command."""

    def __init__(self, call: Call, options: Options) -> None:
        self._options = options
        self._as_json = call.as_json
        self._url = self._server(call, options)
        self._call = Call(self._url, call.as_json)
        self._folder = RunFolder(options.log_dir)
        self._trackers: list[trackers.Tracker] = []

    def run(self) -> None:
        """Train, and show what came of it. Raises ``Interrupted`` on Ctrl-C."""
        options = self._options
        data = self._read()
        plan, schedule = self._planned(data)
        start = None if options.resume in ("auto", "never") else start_of(options.resume)
        self._folder.open(self._settings(data, schedule), anew=options.resume == "never")
        if self._folder.saved is not None:
            self._say(f"done      {self._folder.path} has the end of this run; --resume never trains anew")
            self._show_saved(self._folder.saved)
            return
        run = recovery.Run(
            functools.partial(_create, options),
            connect=self._connect,
            journal=self._folder.journal,
            start=start,
            name=options.name,
            save_every=options.checkpoint_every,
        )
        with ExitStack() as stack:
            update = stack.enter_context(noted_progress("training"))
            evaluation = (
                Evaluation(data.evaluation, options.eval_every, options.patience) if data.evaluation else None
            )
            loop = Loop(
                run,
                data.examples,
                plan,
                schedule,
                metrics=self._folder.metrics,
                checkpoints=self._folder.checkpoints,
                evaluation=evaluation,
                report=Reporter(schedule.steps, update, self._say, self._trackers),
            )
            if run.checkpoint is not None:
                self._say(f"resuming after step {run.checkpoint.step}: {run.checkpoint.path}")
            self._start_trackers(run.checkpoint, schedule)
            for tracker in self._trackers:
                stack.callback(tracker.close)
            best = self._train(run, loop)
        self._finish(loop, best, data)

    def _train(self, run: recovery.Run, loop: Loop) -> dict[str, Any]:
        """Train and save; return the paths of what was saved."""
        try:
            with run:
                loop.train()
                best = loop.best()
                if not loop.stopped_early and best == run.checkpoint:
                    return self._saved(run)
            # A run of its own, because the journal of this one still names the last checkpoint.
            with recovery.Run(
                functools.partial(_create, self._options), connect=self._connect, start=best
            ) as again:
                return self._saved(again)
        except NotFoundError as error:
            if run.checkpoint is None:
                raise
            raise CallFailed(
                f"the server has no checkpoint {run.checkpoint.path} to go on from; --resume never starts anew "
                f"({error})"
            ) from error
        except KeyboardInterrupt:
            kept = run.checkpoint
            what = "nothing was saved yet" if kept is None else f"saved up to step {kept.step}: {kept.path}"
            raise Interrupted(f"\n{INTERRUPTED}; {what}. The same command goes on from there.") from None

    def _saved(self, run: recovery.Run) -> dict[str, Any]:
        """Save the model of ``run`` under its name: once to sample from, and once to go on training."""
        name = self._options.name
        state = run.call(lambda training: training.save_state(name, overwrite=True).result().path)
        path = run.call(lambda training: training.save_weights_for_sampler(name).result().path)
        step = 0 if run.checkpoint is None else run.checkpoint.step
        return {"step": step, "checkpoint": path, "state": state}

    def _finish(self, loop: Loop, done: dict[str, Any], data: Data) -> None:
        options = self._options
        rows = loop.metrics.rows
        losses = [(row["step"], row["loss"]) for row in rows]
        evaluations = [(row["step"], row["eval_loss"]) for row in rows if "eval_loss" in row]
        if losses:
            title = f"{options.name}: loss, nats per token"
            drawn = loss_plot.svg(title, losses, evaluations)
            (self._folder.path / "loss.svg").write_text(drawn, encoding="utf-8")
            loss_plot.png(self._folder.path / "loss.png", title, losses, evaluations)
            self._say("\n" + area_plot([loss for _, loss in losses], "loss, nats per token"))
        prices = {} if options.price is None else {options.model: {"train": options.price}}
        usage = metrics.usage(prices)
        report: dict[str, Any] = {
            "name": options.name,
            "model": options.model,
            **done,
            "steps": rows[-1]["step"] if rows else done["step"],
            "stopped_early": loop.stopped_early,
            "loss_first": losses[0][1] if losses else None,
            "loss_last": losses[-1][1] if losses else None,
            "eval_loss": dict(evaluations).get(done["step"]),
            "tokens": sum(row["tokens"] for row in rows),
            "log_dir": str(self._folder.path),
            "usage": usage_document(usage),
            "cost": usage.cost,
        }
        self._say(f"\n{usage}")
        if options.dry_run:
            self._say(
                f"\ndry run: {report['steps']} steps on the embedded server went well; nothing was kept"
            )
            if self._as_json:
                show(self._call, report, "")
            return
        saved.keep(
            options.name,
            saved.Saved(
                done["checkpoint"], self._url, done["state"], options.tokenizer, data.chat, data.template
            ),
        )
        self._folder.remember(saved=report)
        self._show_saved(report)

    def _show_saved(self, report: dict[str, Any]) -> None:
        lines = [""]
        if report["loss_first"] is not None:
            lines.append(f"loss    {report['loss_first']:.3f} at first, {report['loss_last']:.3f} at last")
        if report["eval_loss"] is not None:
            early = ", stopped early" if report["stopped_early"] else ""
            lines.append(f"best    step {report['step']}, evaluation loss {report['eval_loss']:.3f}{early}")
        lines += [
            f"saved   {report['checkpoint']}",
            f"        {report['state']}  (with the optimizer)",
            f"logs    {report['log_dir']}",
            f'try     tinkex sample --checkpoint {report["name"]} "…"',
        ]
        show(self._call, report, "\n".join(lines))

    def _read(self) -> Data:
        """Read all files and turn them into tokens. Raises ``BadInput`` unless all of them can be learned."""
        options, bad = self._options, BadRecords()
        rows = readers.read(options.data, bad)
        eval_rows = readers.read(options.eval_data, bad)
        try:
            tokenizer = tokenizers.load(options.tokenizer or options.model)
        except TinkerError as error:
            raise CallFailed(f"{error}; --tokenizer names another one, or its folder") from error
        if options.dry_run and options.model != tokenizers.BYTE_MODEL:
            # The embedded server goes by the name of the model, and has the vocabulary of its tokenizer.
            offer = f"{quote(options.model)}={tokenizers.vocabulary_size(tokenizer)}"
            self._call = replace(self._call, base_url=f"{self._url}?model={offer}")
        make_template = functools.partial(chat_templates.load, tokenizer, options.chat_template)
        prepare = Preparation(
            tokenizer,
            make_template,
            train_on=options.train_on,
            longest=options.max_length or self._context_length(),
            too_long=options.too_long,
        )
        examples = prepare.examples(rows, bad)
        evaluation = prepare.examples(eval_rows, bad)
        self._report_bad(bad, len(rows) + len(eval_rows))
        for kind, found in (("learn", examples), ("evaluate", evaluation or examples)):
            if not found:
                raise BadInput(f"no record is left to {kind}")
        self._describe(rows, examples, prepare)
        digests = (digest(rows), digest(eval_rows))
        is_chat = any(isinstance(row.record, Chat) for row in rows)
        return Data(examples, evaluation, digests, is_chat, options.chat_template)

    def _report_bad(self, bad: BadRecords, good: int) -> None:
        if not bad.lines:
            return
        if len(bad) == 1 and not self._options.skip_bad:
            raise BadInput(bad.lines[0])
        for line in bad.lines[:_SHOWN_BAD]:
            click.echo(plain(line), err=True)
        if len(bad) > _SHOWN_BAD:
            click.echo(f"… and {len(bad) - _SHOWN_BAD} more", err=True)
        if not self._options.skip_bad:
            raise BadInput(f"{len(bad)} records cannot be learned; --skip-bad leaves them out")
        click.echo(f"left out {len(bad)} records that cannot be learned", err=True)

    def _describe(self, rows: Sequence[Record], examples: Sequence[Example], prepare: Preparation) -> None:
        counts = prepare.counts
        notes = [
            f"{counts.truncated} cut at --max-length" * bool(counts.truncated),
            f"{counts.dropped} too long and left out" * bool(counts.dropped),
            f"{counts.split} conversations split by turns, as their template asks for" * bool(counts.split),
        ]
        extra = "".join(f"; {note}" for note in notes if note)
        self._say(
            f"data      {len(rows):,} records, {len(examples):,} sequences, "
            f"{sum(len(example.tokens) for example in examples):,} tokens, "
            f"{sum(example.trained for example in examples):,} of them learned{extra}"
        )

    def _planned(self, data: Data) -> tuple[Plan, Schedule]:
        options = self._options
        sequences = None if options.batch_tokens else options.batch_size or 16
        plan = Plan(
            [len(example.tokens) for example in data.examples],
            BatchSize(sequences, options.batch_tokens),
            seed=options.seed,
            accumulate=options.accumulate,
        )
        steps = options.steps or plan.steps(options.epochs or 3)
        if options.dry_run:
            steps = min(steps, DRY_STEPS)
        suggestion = learning_rate.suggested(options.model)
        warmup = options.warmup_steps
        schedule = Schedule(
            options.learning_rate or suggestion.rate,
            steps,
            min(100, steps // 20) if warmup is None else warmup,
            options.schedule,
        )
        source = "" if options.learning_rate else f" ({suggestion.source})"
        server = self._url or "the hosted service"
        self._say(
            f"training  {options.model} on {server}, {steps} steps ({plan.steps(1)} for each epoch), "
            f"rank {options.rank}\n"
            f"rate      {schedule.peak:g}{source}, {schedule.decay} after {schedule.warmup} steps of warm-up"
        )
        return plan, schedule

    def _settings(self, data: Data, schedule: Schedule) -> dict[str, Any]:
        """Return what makes this run what it is. A run goes on only with the same settings."""
        options = self._options
        names = ["model", "tokenizer", "chat_template", "train_on", "max_length", "too_long", "batch_size"]
        names += ["batch_tokens", "accumulate", "rank", "seed", "patience"]
        settings = {name: getattr(options, name) for name in names}
        settings |= {"data": data.digests[0], "eval": data.digests[1], **asdict(schedule)}
        settings["eval_every"] = options.eval_every if data.evaluation else None
        settings["resume"] = None if options.resume in ("auto", "never") else options.resume
        return settings

    def _start_trackers(self, checkpoint: recovery.Checkpoint | None, schedule: Schedule) -> None:
        options, folder = self._options, self._folder
        ids = folder.trackers
        settings = {name: str(value) for name, value in asdict(options).items()} | asdict(schedule)
        if options.wandb:
            wandb = trackers.WandB(options.name, settings, folder.path, ids.get("wandb"))
            self._trackers.append(wandb)
            ids["wandb"] = wandb.run_id
        if options.mlflow:
            mlflow = trackers.MLflow(options.name, settings, ids.get("mlflow"))
            self._trackers.append(mlflow)
            ids["mlflow"] = mlflow.run_id
        writer = trackers.tensorboard(folder.path, 0 if checkpoint is None else checkpoint.step)
        if writer is not None:
            self._trackers.append(writer)
        folder.remember(trackers=ids)

    def _server(self, call: Call, options: Options) -> str | None:
        if options.dry_run:
            # A folder, since a second session asks for the checkpoints of the first.
            return f"{LOCAL}{options.log_dir.parent / 'server'}"
        url = call.base_url or named_base_url()
        return saved.lasting(url, options.name)

    def _connect(self) -> ServiceClient:
        return self._call.service()

    def _context_length(self) -> int | None:
        with self._call.rest() as client:
            models = client.get_server_capabilities().result().supported_models
        return next((m.max_context_length for m in models if m.model_name == self._options.model), None)

    def _say(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)  # and not click.echo, so that rich prints it above the bar


def _create(options: Options, service: ServiceClient) -> TrainingClient:
    return service.create_lora_training_client(options.model, rank=options.rank, seed=options.seed)
