"""Two runs are compared task by task, or refused with what does not match."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.evaluation.compare import compare
from mlx_selfdebug.evaluation.played import read_own_failures
from mlx_selfdebug.evaluation.statistics import holm
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.store.facts import Key

from ..support.runs import ARMS, make_run
from ..support.values import small_config


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("compare")
    for name, tasks in (("a", 20), ("b", 30)):
        make_run(folder / name, tasks=tasks, pairs=3).close()
    return folder / "a", folder / "b"


def test_runs_are_paired_on_the_tasks_they_share(paths: tuple[Path, Path]) -> None:
    with open_stored(paths[0]) as a, open_stored(paths[1]) as b:
        found = compare(a, b)
    assert found.tasks == tuple(f"Test/{i}" for i in range(20))
    assert [row.arm for row in found.rows] == [
        f"{m}/{arm}" for m in ("base", "adapter") for arm in ("first", *ARMS.split(","))
    ]
    for row in found.rows:
        assert row.solved[1] - row.solved[0] == row.only_second - row.only_first
        assert row.p <= row.p_holm <= 1
    assert f"{len(found.tasks)} that both runs were evaluated on" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["arm"] == "base/first"


def test_bugs_that_both_runs_were_given_are_compared_too_and_all_corrected_together(paths: tuple[Path, Path]) -> None:
    with open_stored(paths[0]) as a, open_stored(paths[1]) as b:
        found = compare(a, b)
    assert found.bugs
    assert [row.arm for row in found.bugs.rows] == [
        f"{m}/{arm}" for m in ("base", "adapter") for arm in ARMS.split(",")
    ]
    rows = [*found.rows, *found.bugs.rows]
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    assert f"bugs repaired, of the {len(found.bugs.tasks)} that both runs were given" in str(found)


def test_a_run_of_before_there_were_bugs_is_compared_by_its_own_failures(
    paths: tuple[Path, Path], tmp_path: Path
) -> None:
    make_run(tmp_path / "old", tasks=20, pairs=3, bugs=0).close()
    with open_stored(paths[0]) as a, open_stored(tmp_path / "old") as b:
        found = compare(a, b)
    assert found.bugs is None
    assert found.tasks


def test_a_run_compared_with_itself_differs_nowhere(paths: tuple[Path, Path]) -> None:
    with open_stored(paths[0]) as a, open_stored(paths[0]) as again:
        found = compare(a, again)
    assert all(row.only_first == row.only_second == 0 and row.p == 1 for row in found.rows)
    assert found.differences == {}


def altered(path: Path, target: Path, **settings: Any) -> Path:
    """The run at ``path`` with other settings."""
    with open_stored(path) as run, Run(target, replace(run.config, eval=replace(run.config.eval, **settings))) as copy:
        for attempt in run.attempts():
            copy.add_attempt(attempt)
        for key, value in run.facts().stored.items():
            copy.remember(key, value)
        copy.add_stage_time("evaluate", 1.0, 1, done=True)
    return target


def test_other_settings_of_the_evaluation_are_oranges_and_named(paths: tuple[Path, Path], tmp_path: Path) -> None:
    other = altered(paths[0], tmp_path / "other", tokens=100, temperature=0.5)
    with open_stored(paths[0]) as a, open_stored(other) as b, pytest.raises(UsageError) as caught:
        compare(a, b)
    assert "eval.tokens: 400 and 100" in str(caught.value)
    assert "eval.temperature: 0.8 and 0.5" in str(caught.value)


def test_a_task_with_other_checks_is_an_orange_and_named(paths: tuple[Path, Path], tmp_path: Path) -> None:
    other = altered(paths[0], tmp_path / "other")
    with Run(other) as run:
        figures = run.facts().stored[Key.FIGURES]
        figures["Test/3"]["n_checks"] = 7
        run._write("DELETE FROM environment WHERE key = ?", (Key.FIGURES,))
        run.remember(Key.FIGURES, figures)
    with open_stored(paths[0]) as a, open_stored(other) as b:
        assert read_own_failures(b)
        with pytest.raises(UsageError, match="Test/3: 6 and 7 hidden checks"):
            compare(a, b)


def test_a_run_that_was_not_evaluated_is_named(paths: tuple[Path, Path], tmp_path: Path) -> None:
    Run(tmp_path / "new", small_config()).close()
    with (
        open_stored(paths[0]) as a,
        open_stored(tmp_path / "new") as b,
        pytest.raises(UsageError, match="new was not evaluated") as caught,
    ):
        compare(a, b)
    assert "mlx-selfdebug eval" in (caught.value.hint or "")


def test_what_explains_a_difference_is_said(paths: tuple[Path, Path], tmp_path: Path) -> None:
    other = altered(paths[0], tmp_path / "other", batch_size=3)
    with open_stored(paths[0]) as a, open_stored(other) as b:
        assert compare(a, b).differences == {"eval.batch_size": (64, 3)}
