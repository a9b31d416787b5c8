"""A curve drawn with block characters, for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def area_plot(values: Sequence[float], title: str, width: int = 64, height: int = 10) -> str:
    """``values`` from left to right as an area above zero.

    Args:
        values: at least one finite number, none negative; more than ``width`` are averaged into columns.
        title: the line above.
        width: the most columns, ``height`` the rows, of the area itself.

    Returns:
        ``height + 3`` lines: title, rows with the scale at their left, axis, and the first and last step.
    """
    columns = _columns(values, width)
    top = max(columns) or 1.0
    lines = [title]
    for row in range(height - 1, -1, -1):
        level = top * (row + 1) / height
        label = f"{level:6.2f}" if row % 3 == (height - 1) % 3 else " " * 6
        lines.append(f"{label} ┤{''.join(_cell(value / top * height - row) for value in columns)}".rstrip())
    lines.append(f"{0:6.2f} └{'─' * len(columns)}")
    first, last = "step 1", f"step {len(values)}"
    lines.append(f"{'':8}{first}  {last.rjust(len(columns) - len(first) - 2)}")
    return "\n".join(lines)


def _columns(values: Sequence[float], width: int) -> list[float]:
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    # A short run is drawn wide enough to read.
    return [mean for mean in means for _ in range(max(1, width // count // 2))]


def _cell(filled: float) -> str:
    """One character, ``filled`` (of 1) from below."""
    return _EIGHTHS[max(0, min(8, round(filled * 8)))]
