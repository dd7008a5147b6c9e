"""Uses what one optional extra of pyproject.toml is for, in an environment that has that extra alone.

    python .ci/extra.py tables

Each of the extra's domains runs one task. Exits with an error if anything does not work.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.config import SandboxConfig
from mlx_selfdebug.domains.running import open_runner
from mlx_selfdebug.tasks import load_tasks

MBPP = {
    "task_id": 11,
    "text": "Write a function to add two numbers.",
    "code": "def add(a, b):\n    return a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"],
}
GSM8K = {"question": "What is 2 + 2?", "answer": "2 + 2 = 4\n#### 4"}


def one_task_of(*names: str) -> None:
    """Check the first task of each set: its reference must pass, and what is wrong must not."""
    for name in names:
        task = load_tasks(name)[0]
        with open_runner(SandboxConfig(workers=1), [task]) as runner:
            problems = [problem.what for problem in check_tasks([task], runner) if problem.severity == "error"]
        print(f"{name}: {task.id}: {'; '.join(problems) or 'passed'}")
        if problems:
            raise SystemExit(1)


def cpu() -> None:
    from mlx_selfdebug.testing import tiny_model

    from mlx_selfdebug.models.backend import mx  # isort: skip

    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(folder)
        mx.eval(model.network(mx.array([model.render([{"role": "user", "content": "hi"}])])))
    print(f"{model!r} computes")


def report() -> None:
    from mlx_selfdebug.notebook import Rows
    from mlx_selfdebug.testing import make_attempt

    frame = Rows([make_attempt()]).to_frame()
    assert len(frame) == 1, frame
    print(f"a data frame of {len(frame.columns)} columns")


def sets() -> None:
    import pyarrow
    from pyarrow import parquet

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test.parquet")
        parquet.write_table(pyarrow.Table.from_pylist([MBPP]), path)
        one_task_of(f"mbpp:{path}")


def math() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test.jsonl")
        path.write_text(json.dumps(GSM8K), encoding="utf-8")
        one_task_of(f"gsm8k:{path}", "reasoning-gym:chain_sum,size=1")


def fix() -> None:
    import watchfiles

    from mlx_selfdebug.fixing import Project
    from mlx_selfdebug.projects.suite import open_suite

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_sum.py").write_text("def test_sum():\n    assert 1 + 1 == 2\n", encoding="utf-8")
        with open_suite(Project(Path(folder).resolve(), sys.executable)) as suite:
            run = suite.run().result()
    assert run.passed("test_sum.py::test_sum"), run
    print(f"{suite.framework} runs confined; watchfiles {watchfiles.__version__} is there")


def track(name: str) -> None:
    """Send a run to a tracker twice: the second time, the tracker has it already."""
    from mlx_selfdebug.store import Run
    from mlx_selfdebug.tracking import send_run
    from mlx_selfdebug.values.step import Step

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TRACKIO_DIR": f"{folder}/trackio", "WANDB_MODE": "offline"}
        with Run(f"{folder}/run") as run:
            for step in range(3):
                run.add_step(Step(step, 1.0 / (1 + step), 400, 1e-4, 0.7, 1.25))
        sent = [send_run(run.path, name)[0] for _ in range(2)]
    # wandb does not read offline records of earlier sessions, so each session's are whole.
    assert [each.points for each in sent] == ([3, 3] if name == "wandb" else [3, 0]), sent
    print(f"{name} keeps {sent[0].points} points; to see them: {sent[0].view}")


USES: dict[str, Callable[[], None]] = {
    "cpu": cpu,
    "report": report,
    "sets": sets,
    "math": math,
    "tables": lambda: one_task_of("pandas", "polars", "jq"),
    "fix": fix,
    "duckdb": lambda: one_task_of("garden-duckdb"),
    "trackio": lambda: track("trackio"),
    "wandb": lambda: track("wandb"),
    "tensorboard": lambda: track("tensorboard"),
}

# The processes of the test runner import this file again.
if __name__ == "__main__":
    USES[sys.argv[1]]()
