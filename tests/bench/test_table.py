from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.bench import read_records
from mlx_selfdebug.bench.table import BEGIN, END, mean_and_sd, rewrite, sheet, tables
from mlx_selfdebug.bench.trial import StageTrials

from .conftest import AIR, make_record, trial

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_the_page_of_machines_shows_the_records_beside_it() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    records = read_records(RESULTS)
    assert records
    assert {path.name for path in RESULTS.glob("*.json")} == {record.file_name for record in records}
    assert rewrite(page, records) == page


def test_rows_of_macs_are_never_in_a_table_with_others() -> None:
    text = tables([make_record(AIR, "metal"), make_record()])
    apple, other = text.split("### Other machines")
    assert "Apple M4" in apple
    assert "AMD EPYC" not in apple
    assert "AMD EPYC" in other
    assert "Apple M4" not in other


def test_a_mac_on_the_cpu_backend_is_no_row_of_apples_table() -> None:
    apple, other = tables([make_record(AIR, "cpu")]).split("### Other machines")
    assert "None has been measured yet." in apple
    assert "Apple M4, 10-core GPU, 16 GB, cpu" in other


def test_the_bound_by_arithmetic_stands_beside_what_was_measured_and_is_called_a_prediction() -> None:
    text = tables([make_record(AIR, "metal")])
    assert "a prediction, not a measurement" in text
    assert "| Apple M4, 10-core GPU, 16 GB | 10.0 ± 1.0 | 432 | 500 |" in text


def test_what_was_not_measured_is_a_dash() -> None:
    row = next(line for line in tables([make_record()]).splitlines() if line.startswith("| AMD EPYC"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:6] == ["2.00 ± 1.00", "-", "10.0 ± 1.0", "40.0 ± 4.0"]
    assert cells[-2] == "-"


def test_a_record_of_other_work_is_left_out_and_named() -> None:
    text = tables([make_record(date="2026-12-01"), make_record(AIR, "metal", size={"drafts": 4})])
    assert "None has been measured yet." in text
    assert "to be measured again: Apple M4" in text


def test_energy_counts_only_if_every_stage_has_it() -> None:
    both = (StageTrials("load", (trial(joules=5.0),)), StageTrials("test", (trial(joules=7.0),)))
    assert "| 12 |" in tables([make_record(stages=both)])
    assert "| 12 |" not in tables([make_record(stages=(*both, StageTrials("train", (trial(),))))])


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [(None, None, "-"), (1.234, None, "1.23"), (12.34, 0.5, "12.3 ± 0.5"), (1234.5, 10.0, "1234 ± 10")],
)
def test_a_mean_has_as_many_digits_as_it_needs(mean: float | None, sd: float | None, text: str) -> None:
    assert mean_and_sd(mean, sd) == text


def test_the_sheet_of_a_record_fits_a_terminal_of_80_columns() -> None:
    text = sheet(make_record())
    assert max(map(len, text.splitlines())) <= 80
    assert "decode alone tokens/s" in text


def test_the_tables_are_written_between_the_marks_and_nothing_else_changes() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = rewrite(page, [make_record()])
    assert written.startswith(f"before\n{BEGIN}\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "AMD EPYC" in written
    assert rewrite(written, [make_record()]) == written
    with pytest.raises(ValueError, match="marks"):
        rewrite("no marks", [])
