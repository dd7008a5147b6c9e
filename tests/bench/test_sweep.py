"""A sweep counts what each population solves, draws only the largest one, and goes on with what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.bench.sweep import SweepRow, sheet, sweep
from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import ScriptedModel, fenced, make_task

from ..support.values import small_config

TASKS = [make_task("square", "x * x"), make_task("double", "x + x")]
WRONG = "def {name}(x):\n    return x - 50\n"


def rows_of(path: Path, model: Any, **options: Any) -> list[SweepRow]:
    with Run(path, small_config(collect__max_tokens=64)) as run:
        return sweep(run, model, TASKS, **{"populations": (1, 3), "temperatures": (0.5,), **options})


def test_more_drafts_solve_more_where_the_model_is_sometimes_right(tmp_path: Path) -> None:
    asked: dict[str, int] = {}

    def reply(prompt: str, seed: int) -> str:
        """Be right in the third draft of square, and in the repair of double."""
        name = "square" if "def square" in prompt else "double"
        asked[name] = asked.get(name, 0) + 1
        repaired = "was tested" in prompt and name == "double"
        lucky = name == "square" and asked[name] == 3
        right = next(task.reference for task in TASKS if task.entry_point == name)
        return fenced(right if repaired or lucky else WRONG.format(name=name))

    one, three = rows_of(tmp_path / "run", ScriptedModel(reply))
    assert (one.population, one.solved, one.any_right, one.solved_after_repair, one.problems) == (1, 0, 0, 1, 2)
    assert (three.population, three.solved, three.any_right, three.solved_after_repair) == (3, 1, 1, 2)
    assert one.tokens < three.tokens
    assert (three.checks_passed, three.checks) == (6, 6)


def test_only_the_largest_population_is_drawn_and_nothing_is_drawn_twice(tmp_path: Path) -> None:
    model: Any = ScriptedModel(lambda prompt, seed: "I do not know.")
    first = rows_of(tmp_path / "run", model)
    assert len(model.asked) == 12  # three drafts of two tasks, and a repair of each
    assert rows_of(tmp_path / "run", model) == first
    assert len(model.asked) == 12


@pytest.mark.parametrize("options", [{"populations": ()}, {"populations": (0, 2)}, {"temperatures": ()}])
def test_a_sweep_of_nothing_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="a sweep needs"):
        rows_of(tmp_path / "run", ScriptedModel(lambda prompt, seed: ""), **options)


def test_the_table_has_an_interval_for_each_population() -> None:
    text = sheet([SweepRow(0.2, 4, 8, 3, 4, 5, 30, 50, 1234)])
    assert text.split("\n")[1].split() == ["0.2", "4", "3/8", "5/8", "4/8", "22%", "to", "78%", "30/50", "1,234"]
