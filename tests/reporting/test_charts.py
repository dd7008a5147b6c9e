"""The charts of a report, which are drawn as SVG text."""

from __future__ import annotations

from mlx_selfdebug.reporting.report.charts import Series, lines


def test_lines_that_stay_below_zero_are_drawn() -> None:
    chart = lines("Scores", [Series("score", "c0 d0", [(0, -1.0), (1, -2.0)])], "step", "points")
    assert chart.count("<path") == 1
