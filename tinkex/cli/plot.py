"""Draws a curve with block characters, for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def area_plot(values: Sequence[float], title: str, width: int = 64, height: int = 10) -> str:
    """Return a plot of ``values`` from left to right, as an area above zero.

    ``values`` has at least one number; the numbers are finite and not negative. If there are more than
    ``width``, neighbours are averaged into one column. The area is ``height`` lines high. The result has
    ``height + 3`` lines: the title, the area with a scale on its left, the axis, and the first and last step.
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
    # Few values get columns that are several characters wide.
    return [mean for mean in means for _ in range(max(1, width // count // 2))]


def _cell(filled: float) -> str:
    """Return a character that is filled from below by the share ``filled`` (0 to 1)."""
    return _EIGHTHS[max(0, min(8, round(filled * 8)))]
