"""The plot of the losses is a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tinkex.finetune import loss_plot

LOSSES = [(1, 5.0), (2, 3.0), (3, 2.5)]


def test_the_svg_has_both_curves() -> None:
    root = ElementTree.fromstring(loss_plot.svg("a <b> & c", LOSSES, [(3, 2.0)]))
    lines = [line.attrib["points"].split() for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points) for points in lines] == [3, 1]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights)  # the y axis of SVG points down: the loss falls
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <b> & c", "step 1", "step 3", "training", "evaluation"} <= set(texts)


@pytest.mark.parametrize("losses", [[(1, 2.0)], [(1, 0.0), (2, 0.0)]])
def test_few_or_flat_losses_are_drawn(losses: list[tuple[int, float]]) -> None:
    ElementTree.fromstring(loss_plot.svg("t", losses))


def test_without_matplotlib_there_is_no_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not loss_plot.png(tmp_path / "loss.png", "t", LOSSES)
    assert not (tmp_path / "loss.png").exists()
