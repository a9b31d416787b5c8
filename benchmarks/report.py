"""Turns the measures into a table, a plot and a JSON document."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.goals import MEASURES, Measure


@dataclass(frozen=True)
class Row:
    """The values of one measure in all pairs, in seconds or bytes."""

    measure: Measure
    tinkex: list[float]
    official: list[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.tinkex, self.official, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        if self.measure.goal is None:
            return ""
        return "met" if self.ratio <= self.measure.goal else "missed"

    def shown(self, values: list[float]) -> str:
        value = statistics.median(values) * self.measure.scale
        return f"{value:,.0f} {self.measure.unit}" if value >= 100 else f"{value:.3g} {self.measure.unit}"


def rows_of(pairs: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Return the rows of the table. ``pairs`` has pairs (Tinkex, official) for the key of each measure."""
    return [
        Row(measure, [pair[0] for pair in pairs[measure.key]], [pair[1] for pair in pairs[measure.key]])
        for measure in MEASURES
        if pairs.get(measure.key)
    ]


def table(rows: list[Row]) -> str:
    lines = [
        "| work | Tinkex | official | ratio (min to max) | goal | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        spread = f"**{row.ratio:.2f}** ({min(row.ratios):.2f} to {max(row.ratios):.2f})"
        goal = "" if row.measure.goal is None else f"{row.measure.goal:.2f}"
        ours, theirs = row.shown(row.tinkex), row.shown(row.official)
        lines.append(f"| {row.measure.label} | {ours} | {theirs} | {spread} | {goal} | {row.verdict} |")
    return "\n".join(lines) + "\n"


def traffic_table(traffic: dict[str, dict[str, dict[str, int]]]) -> str:
    """Return a table of the requests and connections that the server saw in one run of each work."""
    lines = ["| work | requests: Tinkex | official | connections: Tinkex | official |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for work, seen in traffic.items():
        if len(seen) == 2:
            ours, theirs = seen["tinkex"], seen["tinker"]
            counts = (ours["requests"], theirs["requests"], ours["connections"], theirs["connections"])
            lines.append(f"| {work} | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: list[Row]) -> str:
    """Return an SVG image: for each measure a bar up to the ratio, a whisker from least to most, and the goal."""
    left, width, line, top = 360, 420, 30, 46
    full = max(1.0, *(max(row.ratios) for row in rows))
    height = top + line * len(rows) + 30

    def x(ratio: float) -> float:
        return left + width * ratio / full

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{left + width + 90}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="24" font-size="15" font-weight="bold">Tinkex, where the official SDK is 1</text>',
    ]
    for quarter in range(int(full * 4 + 1e-9) + 1):
        at = x(quarter / 4)
        parts.append(f'<path d="M{at:.1f} {top - 6}V{height - 26}" stroke="#dddddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 10}" text-anchor="middle">{quarter / 4:g}</text>')
    for index, row in enumerate(rows):
        y = top + line * index
        colour = "#c2562d" if row.verdict == "missed" else "#2d7dc2"
        middle = y + 10
        label = escape(row.measure.label.replace("`", ""))
        parts.append(f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{label}</text>')
        parts.append(
            f'<rect x="{left}" y="{y + 1}" width="{x(row.ratio) - left:.1f}" height="18" fill="{colour}"/>'
        )
        low, high = x(min(row.ratios)), x(max(row.ratios))
        parts.append(f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222222"/>')
        for end in (low, high):
            parts.append(f'<path d="M{end:.1f} {middle - 4}v8" stroke="#222222"/>')
        if row.measure.goal is not None:
            goal = x(row.measure.goal)
            parts.append(f'<path d="M{goal:.1f} {y - 3}v26" stroke="#1a8a3a" stroke-width="3"/>')
        past = max(high, x(row.measure.goal or 0)) + 8
        parts.append(f'<text x="{past:.1f}" y="{y + 15}">{row.ratio:.2f}</text>')
    parts.append(f'<text x="12" y="{height - 10}" fill="#1a8a3a">green mark: the goal</text></svg>')
    return "\n".join(parts) + "\n"


def write(
    directory: Path,
    rows: list[Row],
    traffic: dict[str, dict[str, dict[str, int]]],
    about: dict[str, str],
) -> None:
    """Write ``results.md``, ``results.svg`` and ``results.json`` into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    heading = ", ".join(f"{name} {value}" for name, value in about.items())
    seen = "\nWhat the server saw of one run of each work:\n\n" + traffic_table(traffic)
    (directory / "results.md").write_text(f"{heading}\n\n{table(rows)}{seen}")
    (directory / "results.svg").write_text(plot(rows))
    document = {
        "about": about,
        "measures": {
            row.measure.key: {
                "label": row.measure.label,
                "goal": row.measure.goal,
                "ratio": row.ratio,
                "ratios": row.ratios,
                "tinkex": row.tinkex,
                "official": row.official,
            }
            for row in rows
        },
        "traffic": traffic,
    }
    (directory / "results.json").write_text(json.dumps(document, indent=2) + "\n")
