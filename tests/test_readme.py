"""Every command of the README and of the command line's page, typed as it stands there, on a tiny model that was taught two tasks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_selfdebug.tasks import load_tasks
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import make_task, write_taught_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "mlx_selfdebug/cli/README.md")


def commands_on(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


COMMANDS = sorted({command for page in PAGES for command in commands_on(page)})
ELSEWHERE = {
    "make train": ".ci/run",
    "make test": ".ci/run",
    "mlx-selfdebug bench --submit": "tests/cli/test_bench.py, a stage of it",
    "mlx.launch --hostfile hosts.json -- mlx-selfdebug run --run runs/mine": "tests/cli/test_ranks.py, without the launcher",
    "mlx-selfdebug runs watch runs/mine": "tests/cli/test_watch.py, since it goes on until it is interrupted",
    "mlx-selfdebug serve runs/mine": "tests/cli/test_serve.py",
}
RUN = "mlx-selfdebug run --run runs/mine --collect-tasks my_tasks.jsonl"
"""The command that makes the run which the other commands are about."""
NOTHING_LEARNED = {"mlx-selfdebug run --run runs/sql --collect-tasks garden --eval-tasks geoquery:FOLDER"}
"""The tiny model was taught no SQL."""
BEFORE = {
    "mlx-selfdebug runs compare runs/mine runs/other": ["cp -r runs/mine runs/other"],
    "mlx-selfdebug train --run runs/seed-1": ["mlx-selfdebug runs branch runs/mine --run runs/seed-1 --seed 1"],
    "mlx-selfdebug train --run runs/rewards": [
        "mlx-selfdebug runs branch runs/mine --run runs/rewards --train-reward-steps 1 --train-reward-prompts 2"
    ],
    "mlx-selfdebug eval --run runs/mine --adapter seed-1=runs/seed-1": ["cp -r runs/mine runs/seed-1"],
    "mlx-selfdebug eval --run runs/mine --adapter theirs=peft-folder": [
        "mlx-selfdebug export runs/mine --to peft --output peft-folder"
    ],
}
"""What a reader has typed before a command, beside ``RUN``."""
MAKES = {
    RUN: "runs/mine/summary.json",
    "mlx-selfdebug runs pairs runs/mine --output pairs.jsonl": "pairs.jsonl",
    "mlx-selfdebug runs export runs/mine --output run.jsonl": "run.jsonl",
    "mlx-selfdebug report --run runs/mine": "runs/mine/report.html",
    "mlx-selfdebug train --run runs/seed-1": "runs/seed-1/adapter/adapters.safetensors",
    "mlx-selfdebug train --run runs/rewards": "runs/rewards/adapter-of-pairs/adapters.safetensors",
    "mlx-selfdebug config init": "mlx-selfdebug.toml",
}
"""The file that each of these commands leaves behind."""
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
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has a file of tasks, a project, a model and a finished run."""
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
    result = type_it(RUN, here)
    assert result.returncode == 0, (result.stdout, result.stderr)
    return here


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one command. Its model is a link, because a run knows its model by where it is."""
    copy = tmp_path / "a reader's folder"
    shutil.copytree(begun, copy, ignore=lambda _, names: {"model"}.intersection(names))
    (copy / "model").symlink_to(begun / "model")
    return copy


def type_it(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    small = {f"MLX_SELFDEBUG_{key}": value for key, value in SMALL.items()}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    model = str((folder / "model").resolve())
    typed = command.replace("geoquery:FOLDER", "garden")
    typed = typed.replace("qwen2.5-coder-0.5b", shlex.quote(model)).replace("MODEL", shlex.quote(model))
    environment = {**os.environ, **small, "MLX_SELFDEBUG_MODEL": model, "HF_HUB_OFFLINE": "1", "PATH": path}
    return subprocess.run(
        ["bash", "-c", typed], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ELSEWHERE])
def test_a_command_that_the_pages_show_does_what_they_say(command: str, folder: Path) -> None:
    for earlier in BEFORE.get(command, []):
        assert type_it(earlier, folder).returncode == 0, earlier
    result = type_it(command, folder)
    if command in NOTHING_LEARNED:
        assert "nothing" in result.stderr or "no pairs" in result.stderr, (command, result.stderr)
    else:
        assert result.returncode == 0, (command, result.stdout, result.stderr)
    if command in MAKES:
        assert (folder / MAKES[command]).stat().st_size > 0


def test_the_run_of_the_first_command_has_repair_pairs(folder: Path) -> None:
    assert type_it("mlx-selfdebug runs pairs runs/mine --output pairs.jsonl", folder).returncode == 0
    assert (folder / "pairs.jsonl").read_text().count('"kind": "repair"') >= 1


def test_every_command_that_has_something_special_here_is_on_a_page() -> None:
    assert set(ELSEWHERE) | NOTHING_LEARNED | set(BEFORE) | set(MAKES) | {RUN} <= set(COMMANDS)
