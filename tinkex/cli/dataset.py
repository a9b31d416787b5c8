"""Reads a text file as a list of examples to learn by heart.

The file has records with ``prompt`` and ``completion`` or with ``text``, or else plain text. Of plain text every line
is an example, except blank lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tinkex.finetune import readers
from tinkex.finetune.records import BadRecords, Completion, DataError, Text

LONGEST_LINE = 400
"""Lines of plain text are cut into pieces of this many characters, so that no example is much longer than others."""

_WINDOW = 32
"""The context of a small model in bytes. The demonstration must not depend on text further back."""


@dataclass(frozen=True)
class Example:
    """A prompt and its completion. The prompt of a line of plain text is empty."""

    prompt: str
    completion: str


def default_path() -> Path:
    """Return the path of the data set that is part of Tinkex: questions and answers about Tinkex."""
    return Path(str(files("tinkex.cli") / "data" / "tinkex.jsonl"))


def read_examples(path: Path) -> list[Example]:
    """Return the examples of a UTF-8 file, in the order of the file.

    Raises ``DataError`` if the file cannot be read, is not text, is empty, or has a record without ``prompt`` and
    ``completion`` or ``text``.
    """
    if not readers.has_records(str(path)):
        lines = readers.decoded(str(path), readers.contents(str(path))).split("\n")
        return [Example("", piece) for line in lines if line.strip() for piece in _pieces(line.rstrip())]
    bad = BadRecords()
    rows = readers.read([str(path)], bad)
    if bad.lines:
        raise DataError(bad.lines[0])
    examples = []
    for row in rows:
        if isinstance(row.record, Completion) and row.record.prompt:
            examples.append(Example(row.record.prompt, row.record.completion))
        elif isinstance(row.record, Text):
            examples.append(Example("", row.record.text))
        else:
            raise DataError(
                f'{row.place}: expected an object such as {{"prompt": "Why?", "completion": "Because."}}; '
                "conversations are for 'tinkex train'"
            )
    return examples


def demonstration(examples: Sequence[Example]) -> Example:
    """Return a prompt to try before and after training, with the completion that the model should learn.

    From JSON lines it is one of the records. From plain text it is the start of a line, and the rest of that
    line. If possible every byte of the completion is determined by the ``_WINDOW`` bytes before it, so that
    no other place in the file continues the same text differently.
    """
    followers = _followers(examples)
    halves = [half for example in examples for half in _halves(example)]
    halves.sort(key=_awkwardness)
    return next(
        (half for half in halves if _is_unambiguous(half, followers)), halves[0] if halves else examples[0]
    )


def find_completion(examples: Sequence[Example], prompt: str) -> str | None:
    """Return the text that follows ``prompt`` in the examples, or None if the prompt does not occur."""
    for example in examples:
        text = example.prompt + example.completion
        if example.prompt == prompt or (not example.prompt and text.startswith(prompt) and text != prompt):
            return text[len(prompt) :]
    return None


def _pieces(line: str) -> Iterator[str]:
    for start in range(0, len(line), LONGEST_LINE):
        yield line[start : start + LONGEST_LINE]


def _halves(example: Example) -> Iterator[Example]:
    """Yield the prompts that can ask for this example, with the completions to expect.

    They are the example's own prompt, or for a line of plain text its first word, its first two words, and so on.
    """
    if example.prompt:
        yield example
        return
    line = example.completion
    blank = len(line) - len(line.lstrip())
    cuts = [at for at in range(blank + 1, len(line)) if line[at] == " "]
    for cut in cuts or [(blank + len(line) + 1) // 2]:
        if cut < len(line):
            yield Example(line[:cut], line[cut:])


def _awkwardness(half: Example) -> int:
    """Return how badly a prompt and its completion suit a demonstration; 0 is best.

    A few words each read well; very short or long ones and indented lines do not.
    """
    asked, answered = len(half.prompt.strip()), len(half.completion.strip())
    short = asked < 10 or answered < 8
    long = answered > 80 or asked > 60
    return 2 * short + 2 * long + half.prompt[0].isspace()


def _followers(examples: Sequence[Example]) -> dict[bytes, set[int]]:
    """Return, for each window of bytes in the file, the set of bytes that follow it."""
    followers: dict[bytes, set[int]] = defaultdict(set)
    for example in examples:
        for window, byte in _steps("", example.prompt + example.completion + "\n"):
            followers[window].add(byte)
    return followers


def _steps(prompt: str, completion: str) -> Iterator[tuple[bytes, int]]:
    data = (prompt + completion).encode("utf-8", errors="replace")
    for at in range(len(prompt.encode("utf-8", errors="replace")), len(data)):
        yield data[max(0, at - _WINDOW) : at], data[at]


def _is_unambiguous(half: Example, followers: dict[bytes, set[int]]) -> bool:
    return all(
        len(followers[window]) == 1 for window, _ in _steps(half.prompt, half.completion + "\n") if window
    )
