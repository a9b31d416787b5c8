"""A text file as prompts and completions to learn.

Two kinds of file: JSON lines, each an object with the strings ``prompt`` and ``completion``; or plain text,
of which every line is learned whole, blank ones left out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

LONGEST_LINE = 400
"""Characters. Longer lines of plain text are cut there, so that no single example outweighs a batch."""

_WINDOW = 32
"""Bytes. A small model may see no further back than this, so the demonstration must not need to."""


class DatasetError(ValueError):
    """The file cannot be learned from; the message names the line and the cure."""


@dataclass(frozen=True)
class Example:
    """One thing to learn: after ``prompt`` comes ``completion``. Lines of plain text have an empty prompt."""

    prompt: str
    completion: str


def default_path() -> Path:
    """The data set that ships with Tinkex: questions and answers about itself."""
    return Path(str(files("tinkex.cli") / "data" / "tinkex.jsonl"))


def read_examples(path: Path) -> list[Example]:
    """The examples of a UTF-8 file, in its order.

    Raises:
        DatasetError: not text, nothing in it, or a line of JSON without ``prompt`` and ``completion``.
        OSError: the file cannot be read.
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
    """A prompt to try before and after training, with the completion it is to bring.

    Of JSON lines it is one of the records; of plain text, the opening of a line and the rest of it. It is one
    whose every next byte follows from the bytes just before it, wherever else in the file those occur.
    """
    followers = _followers(examples)
    halves = [half for example in examples for half in _halves(example)]
    halves.sort(key=_awkwardness)
    return next(
        (half for half in halves if _is_unambiguous(half, followers)), halves[0] if halves else examples[0]
    )


def find_completion(examples: Sequence[Example], prompt: str) -> str | None:
    """What the file says should follow ``prompt``, if it says so."""
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
    """Ways to ask for this example: its own prompt; or a line's opening words, ever more of them."""
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
    """0 for what reads well: a few words asked, a few answered, no indentation."""
    asked, answered = len(half.prompt.strip()), len(half.completion.strip())
    short = asked < 10 or answered < 8
    long = answered > 80 or asked > 60
    return 2 * short + 2 * long + half.prompt[0].isspace()


def _followers(examples: Sequence[Example]) -> dict[bytes, set[int]]:
    """Every byte that follows each window of bytes, in the whole file."""
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
