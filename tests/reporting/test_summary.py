from __future__ import annotations

import json

from mlx_selfdebug.evaluation.result import ModelResult, Result, Score
from mlx_selfdebug.reporting.summary import stage_table, summary_text, write_summary
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.pair import Pair

ARM = ModelResult(Score((1, 3), (5, 9)), Score((2, 3), (7, 9)), {"facts": Score((2, 3), (7, 9))})
RESULT = Result(ARM, ARM, 240)


def test_the_summary_counts_what_the_run_recorded(run: Run) -> None:
    run.add_attempt(make_attempt())
    run.add_attempt(make_attempt(arm="base/facts"))
    run.replace_pairs([Pair("repair", "python", "t", "p", "t", ("a", "b"))])
    run.add_stage_time("collect", 1.5, 10**9, done=True)
    run.remember("isolation", "none")
    write_summary(run, RESULT)
    summary = json.loads(run.summary_path.read_text())
    assert summary["attempts"]["by_arm"] == {"base/facts": 1, "collect": 1}
    assert summary["pairs"] == {"repair": 1, "bug": 0, "direct": 0, "keep": 0}
    assert summary["stages"] == {"collect": {"wall_s": 1.5, "peak_bytes": 10**9}}
    assert summary["isolation"] == "none"
    assert summary["base"]["after_repair"] == {"problems": [2, 3], "checks": [7, 9]}


def test_the_summary_counts_the_steps_that_tidied_attempts(run: Run) -> None:
    run.add_attempt(make_attempt(tidied=("fence", "imports")))
    run.add_attempt(make_attempt(sample=1, tidied=("imports",)))
    assert write_summary(run, None)["attempts"]["tidied"] == {"fence": 1, "imports": 2}


def test_the_text_of_a_summary_holds_the_tables_of_the_result(run: Run) -> None:
    assert str(RESULT) in summary_text(write_summary(run, RESULT), RESULT)


def test_a_run_that_was_not_evaluated_has_null_scores(run: Run) -> None:
    summary = write_summary(run, None)
    assert summary["base"] is None
    assert "problems" not in summary_text(summary, None)


def test_peaks_are_shown_in_the_unit_of_the_budgets() -> None:
    table = stage_table(
        {"train": {"wall_s": 2.0, "peak_bytes": 10**10}, "collect": {"wall_s": 1.0, "peak_bytes": None}}
    )
    assert table.splitlines() == ["stage    seconds  peak GB", "train        2.0    10.00", "collect      1.0        -"]


def test_the_table_fits_80_columns() -> None:
    assert max(map(len, str(RESULT).splitlines())) <= 80
