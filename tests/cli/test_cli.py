from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.cli.main import COMMANDS
from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks

from ..conftest import make_task

SMALL = ("--preset", "cpu", "--collect-samples", "2", "--collect-max-tokens", "8", "--quiet")


def run_cli(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlx_selfdebug", *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def tasks_file(tmp_path: Path) -> Path:
    file = tmp_path / "tasks.jsonl"
    dump_tasks([make_task(), make_task("double", "x + x")], file)
    return file


def test_help_and_import_do_not_import_mlx() -> None:
    code = "import sys, mlx_selfdebug, mlx_selfdebug.cli\ntry: mlx_selfdebug.cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not [m for m in sys.modules if m.partition('.')[0] in ('mlx', 'mlx_lm', 'numpy', 'transformers')]"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = run_cli(command, "-h")
    assert result.returncode == 0
    assert "Usage: mlx-selfdebug" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("rum",), "no such command 'rum'. Did you mean 'run'?"),
        (("run", "--colect-samples", "3"), "--collect-samples"),
        (("run", "--collect-samples", "0"), "collect.samples = 0 is out of range: at least 1"),
        (("run", "--collect-samples", "x"), "'x' is not a valid integer"),
        (("run", "--model", "qwen2.5-codr-0.5b"), "Did you mean 'qwen2.5-coder-0.5b'"),
        (("run", "--collect-tasks", "startr"), "Did you mean 'starter'"),
        (("run", "--eval-tasks", "nowhere.jsonl"), "nowhere.jsonl"),
        (("run", "--eval-arms", "blynd"), "eval.arms: unknown arm 'blynd'. Known: blind"),
        (("run", "--config", "nowhere.toml"), "no configuration file nowhere.toml"),
        (("run", "--preset", "huge"), "unknown preset 'huge'"),
        (("tasks", "show", "humaneval", "HumanEval/999"), "unknown task 'HumanEval/999'"),
    ],
)
def test_a_wrong_word_is_one_clear_error_and_leaves_nothing_behind(
    tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    result = run_cli(*args, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_task_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    result = run_cli("run", "--collect-tasks", "empty.jsonl", cwd=tmp_path)
    assert result.returncode == 2
    assert "empty" in result.stderr


def test_tasks_check_fails_on_a_reference_that_fails_its_own_checks(tasks_file: Path) -> None:
    assert run_cli("tasks", "check", str(tasks_file)).returncode == 0
    rows = [json.loads(line) for line in tasks_file.read_text().splitlines()]
    rows[0]["reference"] = "def square(x):\n    return x\n"
    tasks_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run_cli("tasks", "check", str(tasks_file))
    assert result.returncode == 1
    assert "test/square" in result.stdout


def test_a_dry_run_shows_the_settings_and_makes_nothing(tmp_path: Path) -> None:
    result = run_cli("run", "--dry-run", "--seed", "5", cwd=tmp_path)
    assert result.returncode == 0
    assert any(line.split() == ["seed", "=", "5", "#", "command", "line"] for line in result.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_the_tiny_model_collects_and_a_run_without_pairs_says_what_to_do(
    tmp_path: Path, tasks_file: Path, tiny_folder: Path
) -> None:
    args = ("--run", str(tmp_path / "r"), "--model", str(tiny_folder), "--collect-tasks", str(tasks_file), *SMALL)
    result = run_cli("run", *args)
    assert result.returncode == 1
    assert "has no pairs to train on" in result.stderr
    assert "--collect-samples" in result.stderr
    listed = run_cli("runs", "list", "--folder", str(tmp_path), "--json")
    assert [(row["state"], row["stages"]) for row in json.loads(listed.stdout)] == [("open", "collect")]
    shown = run_cli("runs", "show", str(tmp_path / "r"))
    assert shown.returncode == 1
    assert "is not finished" in shown.stderr


def test_a_run_of_another_configuration_is_refused_with_what_differs(
    tmp_path: Path, tasks_file: Path, tiny_folder: Path
) -> None:
    args = ("--run", str(tmp_path / "r"), "--model", str(tiny_folder), "--collect-tasks", str(tasks_file), *SMALL)
    assert run_cli("collect", *args).returncode == 0
    result = run_cli("collect", "--run", str(tmp_path / "r"), "--seed", "9")
    assert result.returncode == 2
    assert "seed: the run has 0, asked for 9" in result.stderr


def test_a_budget_too_small_exits_with_3_and_the_number_and_a_larger_one_goes_on_with_the_run(
    tmp_path: Path, tasks_file: Path, tiny_folder: Path
) -> None:
    args = ("--run", str(tmp_path / "r"), "--model", str(tiny_folder), "--collect-tasks", str(tasks_file), *SMALL)
    result = run_cli("collect", *args, "--budget-inference-gb", "0.9")
    assert result.returncode == 3
    assert re.search(r"[\d.]+ GB are needed at least .* 0\.90 GB are allowed", result.stderr)
    assert "help: --budget-inference-gb" in result.stderr
    assert run_cli("collect", "--run", str(tmp_path / "r"), "--budget-inference-gb", "4").returncode == 0


@pytest.mark.parametrize("command", ["train", "eval"])
def test_a_stage_that_needs_a_run_does_not_begin_one(tmp_path: Path, command: str) -> None:
    result = run_cli(command, "--run", "nowhere", cwd=tmp_path)
    assert result.returncode == 1
    assert "there is no run in nowhere" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_sets_and_models_are_listed() -> None:
    assert {"starter", "humaneval", "humanevalpack"} <= set(json.loads(run_cli("tasks", "list", "--json").stdout))
    assert "qwen2.5-coder-0.5b" in run_cli("models", "list").stdout


def test_one_task_is_shown_whole() -> None:
    task = load_tasks("starter")[0]
    shown = json.loads(run_cli("tasks", "show", "starter", task.id, "--json").stdout)
    assert shown["reference"] == task.reference


# The probes are real; only the layers are left out, as on a machine that has none.
UNCONFINED = """
import sys
from mlx_selfdebug.cli import main
from mlx_selfdebug.sandbox import isolation
from mlx_selfdebug.sandbox.confinement.system import layer_names
probe = isolation.probe
isolation.probe = lambda *, packages, without: probe(packages=packages, without=frozenset(layer_names()))
sys.exit(main(sys.argv[1:]))
"""


def run_unconfined(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", UNCONFINED, *args]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.mark.parametrize("args", [("run",), ("collect",), ("eval",), ("tasks", "check", "starter")])
def test_where_code_cannot_be_confined_nothing_is_run_and_the_way_on_is_named(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    result = run_unconfined(*args, cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "a program could read a file of the runner's" in result.stderr
    assert "--allow-weak-sandbox" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_weak_sandbox_that_is_allowed_is_used_and_its_open_ways_are_named(tmp_path: Path) -> None:
    result = run_unconfined("tasks", "check", "starter", "--allow-weak-sandbox", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "connect by TCP" in result.stderr
