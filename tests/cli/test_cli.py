from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_selfdebug.auditing.audit import MUTANTS
from mlx_selfdebug.cli.main import COMMANDS
from mlx_selfdebug.evaluation.overlap import ABOVE
from mlx_selfdebug.tasks import Checks, load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import make_task

pytestmark = pytest.mark.slow

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
        (("run", "--collect-samples", "0"), "collect.samples = 0 is out of range: it must be at least 1"),
        (("run", "--collect-samples", "x"), "'x' is not a valid integer"),
        (("run", "--model", "qwen2.5-codr-0.5b"), "Did you mean 'qwen2.5-coder-0.5b'"),
        (("run", "--collect-tasks", "startr"), "Did you mean 'starter'"),
        (("run", "--eval-tasks", "nowhere.jsonl"), "nowhere.jsonl"),
        (("run", "--eval-arms", "blynd"), "eval.arms: unknown arm 'blynd'. Known: blind"),
        (("run", "--config", "nowhere.toml"), "no configuration file nowhere.toml"),
        (("run", "--preset", "huge"), "unknown preset 'huge'"),
        (("run", "--track", "tensrboard"), "unknown tracker 'tensrboard'. Did you mean 'tensorboard'?"),
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


def test_tasks_audit_shows_what_the_checks_catch_and_flags_weak_ones(tmp_path: Path) -> None:
    weak = replace(
        make_task("weak", "x * x + x - 1"), hidden=Checks.from_asserts(["assert weak(2) != 50"]), public=Checks()
    )
    dump_tasks([make_task(), weak], file := tmp_path / "tasks.jsonl")
    result = run_cli("tasks", "audit", str(file))
    assert result.returncode == 0, result.stderr
    assert re.search(r"^test/square +2 +100.0% +100.0%$", result.stdout, re.MULTILINE)
    assert re.search(r"^test/weak +6 +0.0% +- +weak$", result.stdout, re.MULTILINE)
    assert "passes test/weak: line 2: `return x * x - x - 1` for `return x * x + x - 1`" in result.stdout
    assert result.stdout.endswith(
        "2 tasks, 8 mutants: at least 25.0% caught, 25.0% by hidden checks, 100.0% by public ones; 1 tasks weak (below 50%)\n"
    )
    found = json.loads(run_cli("tasks", "audit", str(file), "--mutants", "5", "--json").stdout)
    assert [(audit["mutants"], audit["weak"], len(audit["survivors"])) for audit in found] == [
        (2, False, 0),
        (5, True, 5),
    ]


def test_tasks_audit_fails_on_a_reference_that_fails(tmp_path: Path) -> None:
    dump_tasks([replace(make_task(), reference="def square(x):\n    return x\n")], file := tmp_path / "tasks.jsonl")
    result = run_cli("tasks", "audit", str(file))
    assert result.returncode == 1
    assert "error: test/square: the reference does not pass the hidden checks: failed" in result.stdout


def test_tasks_overlap_lists_the_nearest_pairs(tasks_file: Path) -> None:
    result = run_cli("tasks", "overlap", str(tasks_file), str(tasks_file), "--above", "1")
    assert re.search(r"^test/double +test/double +1.00 +1.00 +1.00$", result.stdout, re.MULTILINE)
    assert result.stdout.endswith("2 x 2 tasks: 2 pairs at or above 1\n")
    far = run_cli("tasks", "overlap", "starter", str(tasks_file))
    assert f"{len(load_tasks('starter'))} x 2 tasks: 0 pairs at or above 0.5; the nearest is shown" in far.stdout
    assert json.loads(run_cli("tasks", "overlap", "starter", str(tasks_file), "--json").stdout) == []


def test_the_defaults_the_help_of_tasks_names_are_so() -> None:
    assert f"[default: {MUTANTS}]" in run_cli("tasks", "audit", "-h").stdout
    assert f"[default: {ABOVE}]" in run_cli("tasks", "overlap", "-h").stdout


def test_a_dry_run_shows_the_settings_and_makes_nothing(tmp_path: Path) -> None:
    result = run_cli("run", "--dry-run", "--seed", "5", cwd=tmp_path)
    assert result.returncode == 0
    assert any(line.split() == ["seed", "=", "5", "#", "command", "line"] for line in result.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_the_tiny_model_collects_and_a_run_without_pairs_says_what_to_do(
    tmp_path: Path, tasks_file: Path, tiny_folder: Path
) -> None:
    args = ("--run", str(tmp_path / "r"), "--model", str(tiny_folder), "--collect-tasks", str(tasks_file), *SMALL)
    result = run_cli("run", *args, "--train-targets", "own")
    assert result.returncode == 1
    assert "has no pairs to train on: every failed draft was cut off at collect.max_tokens = 8" in result.stderr
    listed = run_cli("runs", "list", "--folder", str(tmp_path), "--json")
    [row] = json.loads(listed.stdout)
    assert row["stages"] == "collect"
    assert row["state"] in ("between", "stopped")  # it was closed moments ago
    for command in (
        ("runs", "show", str(tmp_path / "r")),
        ("run", *args, "--train-targets", "own"),
        ("eval", *args[:2]),
    ):
        again = run_cli(*command)
        assert again.returncode == 1
        assert "has no pairs to train on: every failed draft was cut off" in again.stderr
        assert again.stderr.endswith(
            f"mlx-selfdebug run --run {tmp_path / 'r-2'} --config {tmp_path / 'r' / 'config.toml'} --collect-max-tokens 16\n"
        )
    page = run_cli("report", "--run", str(tmp_path / "r"), "--md").stdout
    assert page.startswith(
        "# This run has no pairs to train on: every failed draft was cut off at collect.max_tokens = 8.\n"
    )
    assert "Continue with" not in page


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
    assert re.search(r"at least [\d.]+ GB are needed .* 0\.90 GB are allowed", result.stderr)
    assert "help: use --budget-inference-gb" in result.stderr
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


def test_several_sets_are_checked_at_once_a_line_each(tasks_file: Path) -> None:
    lines = run_cli("tasks", "check", "regex", str(tasks_file)).stdout.splitlines()
    assert [line.split(",")[0] for line in lines if " broken" in line] == [
        f"regex: {len(load_tasks('regex'))} tasks",
        f"{tasks_file}: 2 tasks",
    ]


def test_a_folder_of_tasks_is_checked_and_shown(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "double"
    folder.mkdir(parents=True)
    (folder / "task.md").write_text("Return the number doubled.\n\n>>> double(2)\n4\n")
    (folder / "reference.py").write_text("def double(n):\n    return 2 * n\n")
    (folder / "test_double.py").write_text("def test_double():\n    assert double(4) == 8\n")
    assert "0 broken, 0 warnings" in run_cli("tasks", "check", str(folder.parent)).stdout
    assert "mine/double" in run_cli("tasks", "show", str(folder.parent)).stdout


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
isolation.cached_findings = lambda probed, probe, afresh: probe()
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
    assert "a program could read one of the runner's files" in result.stderr
    assert "--allow-weak-sandbox" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_weak_sandbox_that_is_allowed_is_used_and_its_open_ways_are_named(tmp_path: Path) -> None:
    result = run_unconfined("tasks", "check", "starter", "--allow-weak-sandbox", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "connect over TCP" in result.stderr
