"""``tinkex train``: each option, on the embedded server."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from chat_tokenizers import write_tokenizer
from commands import Outcome, Tinkex
from train_data import SUMS, write_chats, write_lines

from tinkex import metrics

MODEL = ("--model", "tinkex/byte-lm")


@pytest.fixture
def chats(tmp_path: Path) -> str:
    return write_chats(tmp_path / "chat.jsonl", SUMS)


@pytest.fixture
def train(tinkex_here: Tinkex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tinkex:
    """``train(*arguments)`` trains the byte model on the embedded server."""
    monkeypatch.setenv("TINKER_BASE_URL", "local://")

    def run(*arguments: str, **more: str) -> Outcome:
        return tinkex_here("train", *MODEL, "--save", "sums", *arguments, **more)

    return run


def report(outcome: Outcome) -> Any:
    assert outcome.status == 0, outcome
    return outcome.json


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_chat_is_learned_saved_and_sampled(
    train: Tinkex, tinkex_here: Tinkex, chats: str, tmp_path: Path
) -> None:
    done = train(chats, "--epochs", "30")
    assert done.status == 0, done
    assert "24 records, 24 sequences" in done.out
    assert "loss, nats per token" in done.out
    folder = tmp_path / "runs" / "sums"
    found = rows(folder)
    assert len(found) == 60
    assert found[-1]["loss"] < found[0]["loss"] / 5
    assert (folder / "loss.svg").read_text("utf-8").startswith("<svg")
    assert list(folder.glob("events.out.tfevents.*"))
    assert "tinkex sample --checkpoint sums" in done.out

    options = ("--checkpoint", "sums", "--temperature", "0", "--max-tokens", "30")
    assert tinkex_here("sample", "What is 7 plus one?", *options).out.startswith(" It is")
    raw = tinkex_here("sample", "User: What is 7 plus one?\nAssistant:", *options, "--no-chat")
    assert raw.out == tinkex_here("sample", "What is 7 plus one?", *options).out
    assert tinkex_here("checkpoint", "download", "sums", "--output", "models").status == 0
    assert list((tmp_path / "models").rglob("adapter.safetensors"))


def test_the_end_of_a_run_is_its_end(train: Tinkex, chats: str, tmp_path: Path) -> None:
    first = report(train(chats, "--steps", "4", "-f", "json"))
    again = train(chats, "--steps", "4")
    assert "has the end of this run" in again.out
    assert first["checkpoint"] in again.out
    train(chats, "--steps", "5").fails(2, "other settings", "steps was 4, now 5", "--resume never")
    anew = report(train(chats, "--steps", "5", "--resume", "never", "-f", "json"))
    assert anew["steps"] == 5
    assert anew["checkpoint"] != first["checkpoint"]
    assert len(rows(tmp_path / "runs" / "sums")) == 5


def test_other_data_is_another_run(train: Tinkex, chats: str, tmp_path: Path) -> None:
    assert train(chats, "--steps", "2").status == 0
    write_chats(Path(chats), SUMS[1:])
    train(chats, "--steps", "2").fails(2, "other settings", "data was")


def test_it_goes_on_from_a_checkpoint_or_a_folder(train: Tinkex, chats: str, tmp_path: Path) -> None:
    options = (chats, "--steps", "12", "--save-every", "4", "-f", "json")
    whole = report(train(*options))
    server = f"local://{tmp_path / '.tinkex' / 'local' / 'sums'}"
    checkpoints = (tmp_path / "runs" / "sums" / "checkpoints.jsonl").read_text("utf-8").splitlines()
    path = json.loads(checkpoints[1])["path"]
    assert path.endswith("/weights/sums-000008")
    for resume, log in ((path, "from-path"), (str(tmp_path / "runs" / "sums"), "from-folder")):
        part = report(train(*options, "--resume", resume, "--log-dir", log, "--base-url", server))
        assert part["loss_last"] == whole["loss_last"] or log == "from-folder"
        assert part["steps"] == 12
    assert [row["step"] for row in rows(tmp_path / "from-path")] == [9, 10, 11, 12]
    assert rows(tmp_path / "from-path")[-1]["loss"] == rows(tmp_path / "runs" / "sums")[-1]["loss"]
    train(*options, "--resume", "nothing", "--log-dir", "other").fails(2, "neither auto nor never")
    gone = path.replace("000008", "000009")
    train(*options, "--resume", gone, "--log-dir", "gone", "--base-url", server).fails(
        1, "sums-000009", "no checkpoint"
    )


def test_the_best_model_is_kept_and_training_stops_early(train: Tinkex, chats: str, tmp_path: Path) -> None:
    # On other words the loss falls at first, while the model learns letters, and then rises.
    held = write_chats(
        tmp_path / "held.jsonl", [("Which bird sings at night?", "A nightingale sings, surely.")]
    )
    options = (
        "--eval",
        held,
        "--eval-every",
        "2",
        "--patience",
        "3",
        "--steps",
        "200",
        "--schedule",
        "constant",
    )
    done = report(train(chats, *options, "-f", "json"))
    assert done["stopped_early"] is True
    found = rows(tmp_path / "runs" / "sums")
    losses = {row["step"]: row["eval_loss"] for row in found if "eval_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert done["step"] == best < done["steps"] < 200
    assert done["steps"] == best + 2 * 3
    assert done["eval_loss"] == losses[best]
    assert done["checkpoint"].rpartition("/")[2] == "sums"
    assert "best    step" in train(chats, *options).out


def test_what_is_learned_can_be_chosen(train: Tinkex, tmp_path: Path) -> None:
    talk = [("user", "a"), ("assistant", "bb"), ("user", "c"), ("assistant", "ddd")]
    messages = [{"role": role, "content": content} for role, content in talk]
    data = write_lines(tmp_path / "one.jsonl", [{"messages": messages}])
    learned = {}
    for choice in ("all", "assistant", "last"):
        assert train(data, "--steps", "1", "--train-on", choice, "--log-dir", choice).status == 0
        [row] = rows(tmp_path / choice)
        learned[choice] = row["trained_tokens"]
    assert learned["last"] == len(" ddd") + 1
    assert learned["assistant"] == len(" bb ddd") + 2
    assert learned["all"] > learned["assistant"]


def test_batches_accumulation_and_the_learning_rate(train: Tinkex, chats: str, tmp_path: Path) -> None:
    def lines(*options: str) -> list[dict[str, Any]]:
        assert train(chats, *options, "--log-dir", "log", "--resume", "never").status == 0
        return rows(tmp_path / "log")

    assert len(lines("--batch-size", "5", "--epochs", "2")) == 10
    assert len(lines("--batch-size", "5", "--accumulate", "2", "--epochs", "2")) == 6
    by_tokens = lines("--batch-tokens", "200", "--epochs", "1")
    assert sum(row["tokens"] for row in by_tokens) == sum(row["tokens"] for row in lines("--epochs", "1"))
    assert max(row["tokens"] for row in by_tokens) <= 200
    rates = lines("--steps", "4", "--learning-rate", "0.4", "--warmup-steps", "1", "--schedule", "cosine")
    assert [round(row["learning_rate"], 3) for row in rates] == [0.2, 0.4, 0.3, 0.1]
    assert lines("--steps", "3", "--seed", "1")[0]["loss"] != lines("--steps", "3", "--seed", "2")[0]["loss"]


def test_accumulated_batches_are_one_step_of_their_sum(train: Tinkex, chats: str, tmp_path: Path) -> None:
    for name, options in (
        ("one", ("--batch-size", "8")),
        ("four", ("--batch-size", "2", "--accumulate", "4")),
    ):
        assert train(chats, *options, "--steps", "6", "--log-dir", name).status == 0
    one, four = rows(tmp_path / "one"), rows(tmp_path / "four")
    assert [row["tokens"] for row in one] == [row["tokens"] for row in four]
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in four], rel=1e-3)


def test_long_sequences(train: Tinkex, chats: str, tmp_path: Path) -> None:
    cut = train(chats, "--steps", "1", "--max-length", "44")
    assert "cut at --max-length" in cut.out
    dropped = train(chats, "--steps", "1", "--max-length", "46", "--too-long", "drop", "--log-dir", "drop")
    assert "15 too long and left out" in dropped.out, dropped.out
    refused = train(chats, "--steps", "1", "--max-length", "46", "--too-long", "error", "--log-dir", "error")
    assert refused.status == 2
    assert "chat.jsonl, line 10: has" in refused.err
    train(chats, "--steps", "1", "--max-length", "5", "--log-dir", "none").fails(
        2, "no record is left to learn"
    )


def test_bad_records_are_named_or_left_out(train: Tinkex, chats: str, tmp_path: Path) -> None:
    mixed = write_lines(
        tmp_path / "mixed.jsonl", [{"text": "a"}, {"text": 1}, {"prompt": "x"}, {"text": "b"}]
    )
    one = write_lines(tmp_path / "one.jsonl", [{"text": "a"}, {"text": None}])
    train(one, "--steps", "1").fails(2, "one.jsonl, line 2: 'text' is null")
    refused = train(mixed, one, "--steps", "1")
    assert refused.status == 2
    assert [line.partition("jsonl")[2] for line in refused.err.splitlines()] == [
        ", line 2: 'text' is a number, not text",
        ", line 3: has a 'prompt' and no 'completion'",
        ", line 2: 'text' is null",
        "",
    ]
    assert "3 records cannot be learned; --skip-bad leaves them out" in refused.err
    kept = train(mixed, one, "--steps", "1", "--skip-bad")
    assert kept.status == 0
    assert "3 records, 3 sequences" in kept.out
    assert "left out 3 records" in kept.err


def test_standard_input(train: Tinkex, chats: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Stdin(io.StringIO):
        buffer = io.BytesIO(Path(chats).read_bytes())

    monkeypatch.setattr(io, "StringIO", lambda text: Stdin(text))
    assert "24 records" in train("-", "--steps", "1").out


def test_a_dry_run_leaves_nothing(train: Tinkex, chats: str, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    done = train(chats, "--dry-run", "--eval", chats)
    assert done.status == 0, done
    assert "dry run: 3 steps" in done.out
    assert set(tmp_path.iterdir()) == before
    assert report(train(chats, "--dry-run", "-f", "json"))["steps"] == 3


def test_another_tokenizer_and_template(
    train: Tinkex, tinkex_here: Tinkex, chats: str, tmp_path: Path
) -> None:
    # The embedded model has a vocabulary of 257, so the tokenizer is one of letters alone.
    folder = write_tokenizer(
        tmp_path / "letters", "{% for m in messages %}{{ m.content }}{% endfor %}", marks=False
    )
    refused = train(
        chats, "--tokenizer", str(folder), "--chat-template", str(tmp_path / "none"), "--steps", "1"
    )
    refused.fails(2, "cannot be read")
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}", "utf-8")
    done = train(chats, "--tokenizer", str(folder), "--chat-template", str(template), "--steps", "1")
    assert done.status == 0, done
    options = ("--checkpoint", "sums", "--max-tokens", "3", "-f", "json")
    sample = tinkex_here("sample", "What", *options).json["samples"][0]
    assert len(sample["tokens"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "1", "--steps", "1"], "--epochs or --steps"),
        (["--batch-size", "1", "--batch-tokens", "1"], "--batch-size or --batch-tokens"),
        (["--patience", "1"], "--patience needs --eval"),
        (["--eval", "x.jsonl", "--eval-every", "5", "--save-every", "2"], "multiple of --save-every"),
        (["--save", "a/b"], "a name has letters"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--max-length", "1"], "--max-length"),
        (["--dry-run", "--resume", "x"], "--dry-run starts anew"),
        (["-", "--eval", "-"], "once only"),
        (["--eval", "none.jsonl"], "none.jsonl cannot be read"),
    ],
)
def test_bad_usage(train: Tinkex, chats: str, arguments: list[str], words: str) -> None:
    train(chats, *arguments).fails(2, words)


def test_a_tokenizer_that_cannot_be_had(
    tinkex_here: Tinkex, chats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("transformers", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    options = ("--save", "x", "--base-url", "local://")
    tinkex_here("train", chats, "--model", "no/such-model", *options).fails(1, "no/such-model", "--tokenizer")


def test_a_folder_that_is_no_run(train: Tinkex, chats: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("hello", "utf-8")
    train(chats, "--log-dir", "other").fails(2, "is not the file of a run")


def test_a_dry_run_has_the_name_and_the_tokenizer_of_the_model(
    tinkex_here: Tinkex, chats: str, tmp_path: Path
) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    folder = str(write_tokenizer(tmp_path / "letters", template))
    options = ("--save", "sums", "--dry-run", "--base-url", "http://127.0.0.1:9", "-f", "json")
    metrics.reset()
    done = report(tinkex_here("train", chats, "--model", folder, *options))
    assert done["model"] == folder
    assert done["steps"] == 3
    assert list(done["usage"]) == [folder]


def test_the_usage_and_its_cost_are_shown(train: Tinkex, chats: str, tmp_path: Path) -> None:
    metrics.reset()
    done = report(train(chats, "--steps", "2", "--batch-size", "4", "--price", "1000000", "-f", "json"))
    trained = sum(row["tokens"] - 4 for row in rows(tmp_path / "runs" / "sums"))  # inputs lack the last token
    assert done["usage"]["tinkex/byte-lm"]["train"] == trained
    assert done["cost"] == trained
    assert "trained" in train(chats, "--steps", "1", "--resume", "never").out


def test_a_tracker_that_fails_does_not_end_the_training(
    train: Tinkex, chats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Run:
        id = "w"
        finished = False

        def log(self, values: dict[str, float], step: int) -> None:
            raise ConnectionError(f"nobody listens at step {step}")

        def finish(self) -> None:
            self.finished = True

    run, asked = Run(), []
    wandb = types.ModuleType("wandb")
    wandb.init = lambda **options: asked.append(options) or run  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    done = train(chats, "--steps", "3", "--wandb")
    assert done.status == 0, done
    assert done.err.count("WandB gets no more metrics: nobody listens at step 1") == 1
    assert asked[0]["config"]["steps"] == 3
    assert run.finished
    monkeypatch.setitem(sys.modules, "mlflow", None)
    train(chats, "--steps", "3", "--mlflow", "--log-dir", "other").fails(2, "pip install mlflow")


def test_a_chat_with_the_tokens_of_another_model(tinkex_here: Tinkex, chats: str, tmp_path: Path) -> None:
    folder = str(write_tokenizer(tmp_path / "letters", None))
    options = ("--save", "sums", "--base-url", f"local://?model={folder}", "--learning-rate", "0.01")
    done = tinkex_here("train", chats, "--model", folder, *options, "--epochs", "40")
    assert done.status == 0, done
    answer = tinkex_here("sample", "What is 7 plus one?", "--checkpoint", "sums", "--temperature", "0")
    assert answer.out.startswith("It is")
    assert answer.out.endswith(".\n")  # and not with the mark that ends the turn
    raw = tinkex_here("sample", "Hi", "--checkpoint", "sums", "--no-chat", "--max-tokens", "1")
    assert raw.status == 0
