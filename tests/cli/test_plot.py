"""The curve in the terminal."""

from __future__ import annotations

import pytest

from tinkex.cli.plot import area_plot


def test_a_falling_curve_is_high_at_the_left_and_low_at_the_right() -> None:
    lines = area_plot([4.0, 3.0, 2.0, 1.0], "title", width=4, height=4).splitlines()
    assert lines[0] == "title"
    assert [line.partition("┤")[2] for line in lines[1:5]] == ["█", "██", "███", "████"]
    assert lines[1].startswith("  4.00")
    assert lines[-1].split() == ["step", "1", "step", "4"]


@pytest.mark.parametrize("values", [[5.5], [0.0, 0.0], [1.0, 2.0], [float(i) for i in range(1000)]])
def test_any_number_of_values_fits_the_width(values: list[float]) -> None:
    lines = area_plot(values, "t", width=40, height=6).splitlines()
    assert len(lines) == 6 + 3
    assert max(len(line) for line in lines) <= 8 + 40 + len("step 1000")
