"""Reads a text file as a list of examples to learn.

The file has either JSON lines, each an object with the strings ``prompt`` and ``completion``, or plain text. Of
plain text every line is an example, except blank lines.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

LONGEST_LINE = 400
"""Lines of plain text are cut into pieces of this many characters, so that no example is much longer than others."""

_WINDOW = 32
"""The context of a small model in bytes. The demonstration must not depend on text further back."""


class DatasetError(ValueError):
    """The file has no examples that can be learned. The message names the line and how to mend it."""


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

    Raises ``DatasetError`` if the file is not text, is empty, or has a JSON line without ``prompt`` and
    ``completion``, and ``OSError`` if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text: convert it first, for example with iconv") from error
    lines = [(number, line.rstrip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DatasetError(f"{path} has no text in it: give a file with at least one line")
    if path.suffix == ".jsonl" or _is_record(lines[0][1]):
        return [_parse_record(path, number, line) for number, line in lines]
    return [Example("", piece) for _, line in lines for piece in _pieces(line)]


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


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _parse_record(path: Path, number: int, line: str) -> Example:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{path}, line {number}: not JSON ({error})") from error
    values = [record.get(key) for key in ("prompt", "completion")] if isinstance(record, dict) else []
    match values:
        case [str(prompt), str(completion)] if prompt and completion:
            return Example(prompt, completion)
    raise DatasetError(
        f'{path}, line {number}: expected an object such as {{"prompt": "Why?", "completion": "Because."}}'
    )


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
