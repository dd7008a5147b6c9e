"""``runs``: export, import and upgrade, and a list that one bad run does not end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import make_attempt

from ..store.test_schema import make_first_version
from ..support.runs import make_run
from .test_cli import run_cli

pytestmark = pytest.mark.slow


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    with Run(tmp_path / "runs" / "first") as run:
        run.add_attempt(make_attempt())
    return run.path


def test_a_run_goes_through_a_file_and_back(run_path: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "run.jsonl", tmp_path / "runs" / "copy"
    assert "1 attempt, 0 pairs" in run_cli("runs", "export", str(run_path), "--output", str(file)).stderr
    assert "1 attempt, 0 pairs" in run_cli("runs", "import", str(file), "--run", str(copy)).stderr
    again = run_cli("runs", "export", str(copy))
    assert again.stdout == file.read_text()
    listed = json.loads(run_cli("runs", "list", "--folder", str(tmp_path / "runs"), "--json").stdout)
    assert [row["attempts"] for row in listed] == [1, 1]


def test_an_export_goes_to_stdout_by_a_dash_too(run_path: Path, tmp_path: Path) -> None:
    result = run_cli("runs", "export", str(run_path), "--output", "-", cwd=tmp_path)
    assert [json.loads(line)["type"] for line in result.stdout.splitlines()] == ["run", "attempt"]
    assert not (tmp_path / "-").exists()


def test_a_damaged_file_is_refused_line_by_line(run_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(run_cli("runs", "export", str(run_path)).stdout + "nonsense\n")
    result = run_cli("runs", "import", str(file), "--run", str(tmp_path / "copy"))
    assert result.returncode == 1
    assert f"{file}:3: not JSON" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("args", [("export", "nowhere"), ("upgrade", "nowhere")])
def test_a_run_that_is_not_there_is_named_and_not_made(tmp_path: Path, args: tuple[str, ...]) -> None:
    result = run_cli("runs", *args, cwd=tmp_path)
    assert result.returncode == 1
    assert "nowhere is not a run folder" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_named_for_an_older_run_makes_it_readable(tmp_path: Path) -> None:
    make_first_version(tmp_path / "old")
    refused = run_cli("runs", "pairs", str(tmp_path / "old"))
    command = refused.stderr.partition("help: mlx-selfdebug ")[2].split()
    assert run_cli(*command).returncode == 0
    assert run_cli("runs", "pairs", str(tmp_path / "old")).returncode == 0


def test_a_damaged_run_is_listed_as_unreadable_beside_the_others(run_path: Path) -> None:
    bad = run_path.parent / "bad"
    Run(bad).close()
    (bad / "run.db").write_bytes(b"")
    (run_path / "run.lock").unlink()  # a run that was closed moments ago is between two stages, perhaps
    result = run_cli("runs", "list", "--folder", str(run_path.parent), "--json")
    assert [row["state"] for row in json.loads(result.stdout)] == ["unreadable", "stopped"]
    assert "run.db is damaged: it is empty" in result.stderr
    assert run_cli("runs", "list", "--folder", str(run_path.parent)).returncode == 0


def test_runs_are_listed_as_running_finished_or_stopped(run_path: Path) -> None:
    (run_path / "run.lock").unlink()  # as above
    (Run(run_path.parent / "finished").path / "summary.json").write_text("{}")
    with Run(run_path.parent / "running"):
        result = run_cli("runs", "list", "--folder", str(run_path.parent), "--json")
    assert {Path(row["run"]).name: row["state"] for row in json.loads(result.stdout)} == {
        run_path.name: "stopped",
        "finished": "finished",
        "running": "running",
    }


def test_two_runs_are_compared_and_a_run_is_reported(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, tasks=6, pairs=3).close()
    compared = run_cli("runs", "compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert compared.returncode == 0, compared.stderr
    assert "problems solved, of the 6 that both runs were evaluated on" in compared.stdout
    as_json = run_cli("runs", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json")
    assert len(json.loads(as_json.stdout)["tasks"]) == 6
    assert run_cli("report", "--run", str(tmp_path / "a")).returncode == 0
    assert "<!doctype html>" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "## Before and after, by arm" in run_cli("report", "--run", str(tmp_path / "a"), "--md").stdout
    data = json.loads(run_cli("report", "--run", str(tmp_path / "a"), "--json").stdout)
    assert data["evidence"]["models"] == ["base", "adapter"]


def test_a_report_of_nothing_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    result = run_cli("report", "--run", "nowhere", cwd=tmp_path)
    assert result.returncode == 1
    assert "nowhere is not a run folder" in result.stderr
    assert run_cli("report", "--run", "nowhere", "--md", "--json", cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_branch_that_cannot_be_made_says_what_to_type(run_path: Path, tmp_path: Path) -> None:
    result = run_cli("runs", "branch", str(run_path), "--run", str(tmp_path / "new"), "--seed", "1")
    assert result.returncode == 2
    assert f"help: mlx-selfdebug collect --run {run_path}" in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["seed-1", "=x", "a="])
def test_an_adapter_without_a_name_or_folder_is_refused(run_path: Path, text: str) -> None:
    result = run_cli("eval", "--run", str(run_path), "--adapter", text)
    assert result.returncode == 2
    assert "the form must be NAME=FOLDER" in result.stderr
