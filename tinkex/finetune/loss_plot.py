"""The plot of the losses as SVG, and as PNG where matplotlib is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Points = Sequence[tuple[int, float]]
"""Steps and losses."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 360, 60, 40, 20, 40
_COLORS = {"training": "#3b6ea5", "evaluation": "#c8553d"}


def svg(title: str, training: Points, evaluation: Points = ()) -> str:
    """Return an SVG document with the curves. ``training`` has at least one point; losses are finite."""
    points = [*training, *evaluation]
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    top = max(max(loss for _, loss in points), 1e-9) * 1.05

    def x(step: float) -> float:
        return _LEFT + (step - first) / max(1, last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: float) -> float:
        return _HEIGHT - _BOTTOM - max(0.0, loss) / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for part in range(5):
        loss = top * part / 4
        parts += [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.3g}</text>',
        ]
    for step, anchor in ((first, "start"), (last, "end")):
        place = f'x="{x(step):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="{anchor}"'
        parts.append(f"<text {place}>step {step}</text>")
    for number, (name, curve) in enumerate((("training", training), ("evaluation", evaluation))):
        if not curve:
            continue
        line = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in curve)
        color = _COLORS[name]
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        if len(curve) == 1 or name == "evaluation":
            parts += [f'<circle cx="{x(s):.1f}" cy="{y(v):.1f}" r="2.5" fill="{color}"/>' for s, v in curve]
        place = f'x="{_WIDTH - _RIGHT}" y="{20 + 16 * number}" text-anchor="end" fill="{color}"'
        parts.append(f"<text {place}>{name}</text>")
    return "\n".join([*parts, "</svg>\n"])


def png(path: Path, title: str, training: Points, evaluation: Points = ()) -> bool:
    """Write the curves into a PNG file; return whether matplotlib is installed, without which nothing is written."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError:
        return False
    figure = figures.Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, curve in (("training", training), ("evaluation", evaluation)):
        if curve:
            marker = "o" if name == "evaluation" or len(curve) == 1 else None
            axes.plot(*zip(*curve), label=name, color=_COLORS[name], marker=marker, markersize=3)
    axes.set(title=title, xlabel="step", ylabel="nats per token", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=150)
    return True
