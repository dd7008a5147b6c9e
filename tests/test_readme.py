"""Every command of the README, typed as it stands there, in order, on a tiny model that was taught two tasks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import make_task, write_taught_model

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
COMMANDS = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
ELSEWHERE = {
    "make train": ".ci/run",
    "make test": ".ci/run",
    "mlx-selfdebug bench --submit": "tests/cli/test_bench.py, a stage of it",
}
NOTHING_LEARNED = {"mlx-selfdebug run --run runs/sql --collect-tasks garden --eval-tasks geoquery:FOLDER"}
"""The tiny model was taught no SQL."""
SMALL = {
    "PRESET": "demo",
    "COLLECT_TASKS": "my_tasks.jsonl",
    "COLLECT_LIMIT": "2",
    "COLLECT_SAMPLES": "6",
    "COLLECT_MAX_TOKENS": "48",
    "EVAL_LIMIT": "1",
    "EVAL_TOKENS": "16",
    "EVAL_MAX_TOKENS": "8",
    "SANDBOX_WORKERS": "1",
    "TRAIN_TARGETS": "own",
}
PRICES = 'def total(prices):\n    """The sum of the prices."""\n    return sum(prices)\n'
TESTS = "from prices import total\n\n\ndef test_two():\n    assert total([1, 2]) == 3\n\n\ndef test_none():\n    assert total([]) == 0\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the README is: a file of tasks, a project, and a model."""
    here = tmp_path_factory.mktemp("a reader's folder")
    (here / "my_project").mkdir()
    (here / "my_project" / "prices.py").write_text(PRICES)
    (here / "my_project" / "test_prices.py").write_text(TESTS)
    square, double = make_task(), make_task("double", "x + x")
    dump_tasks([square, double], here / "my_tasks.jsonl")
    [total] = load_tasks(f"functions:{here / 'my_project'}")
    lessons = {
        square: [square.reference, "def square(x):\n    return x"],
        double: [double.reference, "def double(x):\n    return 2"],
        total: ["def total(prices):\n    return sum(prices)", "def total(prices):\n    return 1"],
    }
    write_taught_model(here / "model", lessons)
    return here


def type_it(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    small = {f"MLX_SELFDEBUG_{key}": value for key, value in SMALL.items()}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **small, "MLX_SELFDEBUG_MODEL": "model", "HF_HUB_OFFLINE": "1", "PATH": path}
    typed = (
        command.replace("geoquery:FOLDER", "garden").replace("qwen2.5-coder-0.5b", "model").replace("MODEL", "model")
    )
    return subprocess.run(
        ["bash", "-c", typed], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_every_command_of_the_readme_does_what_it_says(folder: Path) -> None:
    for command in COMMANDS:
        if command in ELSEWHERE:
            continue
        if "runs/other" in command:
            shutil.copytree(folder / "runs" / "mine", folder / "runs" / "other")
        result = type_it(command, folder)
        if command in NOTHING_LEARNED:
            assert "nothing" in result.stderr or "no pairs" in result.stderr, (command, result.stderr)
        else:
            assert result.returncode == 0, (command, result.stdout, result.stderr)
    assert (folder / "runs" / "mine" / "summary.json").exists()
    assert (folder / "pairs.jsonl").read_text().count('"kind": "repair"') >= 1
    assert (folder / "mlx-selfdebug.toml").exists()


def test_what_is_run_elsewhere_is_in_the_readme() -> None:
    assert set(ELSEWHERE) | NOTHING_LEARNED <= set(COMMANDS)
