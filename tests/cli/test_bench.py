from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..bench.conftest import AIR, make_record
from .test_cli import run_cli

pytestmark = pytest.mark.slow


def test_without_a_subcommand_the_machine_is_measured_and_the_row_to_contribute_printed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    options = ("--model", str(tiny_folder), "--stages", "load", "--submit", "--quiet")
    result = run_cli("bench", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "| machine | model | load s |" in result.stdout
    [file] = (tmp_path / "benchmarks" / "results").glob("*.json")
    [stage] = json.loads(file.read_text())["stages"]
    assert (stage["name"], len(stage["trials"])) == ("load", 3)


def test_a_stage_nobody_knows_is_refused(tmp_path: Path) -> None:
    result = run_cli("bench", "--stages", "lode", cwd=tmp_path)
    assert result.returncode == 2
    assert "unknown stage 'lode'" in result.stderr


def test_the_tables_of_a_folder_are_printed_and_written(tmp_path: Path) -> None:
    make_record(AIR, "metal").save(tmp_path)
    refused = run_cli("bench", "table", "--results", str(tmp_path), "--write")
    assert refused.returncode == 2
    assert "README.md" in refused.stderr
    (tmp_path / "README.md").write_text("# Results\n\n<!-- bench:begin -->\n<!-- bench:end -->\n")
    assert run_cli("bench", "table", "--results", str(tmp_path), "--write").returncode == 0
    assert "Apple M4, 10-core GPU" in (tmp_path / "README.md").read_text()


def test_an_empty_folder_of_records_says_what_to_type(tmp_path: Path) -> None:
    result = run_cli("bench", "table", "--results", str(tmp_path))
    assert result.returncode == 2
    assert "mlx-selfdebug bench" in result.stderr


def test_a_sweep_prints_a_row_per_population_and_temperature_and_goes_on_in_its_run(
    tiny_folder: Path, tmp_path: Path
) -> None:
    small = (
        "--tasks",
        "starter",
        "--places",
        "3:5",
        "--populations",
        "1,2",
        "--temperatures",
        "0,0.8",
        "--max-tokens",
        "8",
    )
    arguments = ("bench", "sweep", "--model", str(tiny_folder), *small, "--quiet")
    result = run_cli(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:]] == [
        [temperature, population, "0/2"] for temperature in ("0", "0.8") for population in ("1", "2")
    ]
    again = json.loads(run_cli(*arguments, "--json", cwd=tmp_path).stdout)
    assert [(row["temperature"], row["population"], row["problems"]) for row in again] == [
        (0.0, 1, 2), (0.0, 2, 2), (0.8, 1, 2), (0.8, 2, 2)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--populations", "2,x", "'2,x' is not a list of numbers"),
        ("--populations", "0", "every number must be 1 or more"),
        ("--temperatures", "-1", "every number must be 0 or more"),
        ("--places", "40", "'40' is not a range of places such as 40:48"),
        ("--places", "9000:9001", "none at these places"),
    ],
)
def test_a_sweep_says_what_is_wrong_with_an_option(tmp_path: Path, option: str, value: str, complaint: str) -> None:
    result = run_cli("bench", "sweep", "--tasks", "starter", option, value, cwd=tmp_path)
    assert result.returncode == 2
    assert complaint in " ".join(result.stderr.split())


def test_predictions_are_called_predictions(tiny_folder: Path) -> None:
    result = run_cli("bench", "predict", "--model", str(tiny_folder))
    assert "Apple M4 Pro" in result.stdout
    assert "Predictions:" in result.stdout
