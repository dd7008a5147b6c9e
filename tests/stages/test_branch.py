"""A branch has the attempts of its run and another training, or is not made at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlx_selfdebug.config import Config
from mlx_selfdebug.errors import ConfigError, StoreError, UsageError
from mlx_selfdebug.stages.branch import branch
from mlx_selfdebug.stages.collect import collect
from mlx_selfdebug.store import Run, open_stored
from mlx_selfdebug.tasks.jsonl import dump_tasks
from mlx_selfdebug.testing import ScriptedModel, make_task

from ..support.values import small_config

TASKS = [make_task("cube", "x ** 3"), make_task("double", "x + x"), make_task("minus", "-x")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("branch")
    dump_tasks(TASKS, folder / "tasks.jsonl")

    def reply(prompt: str, seed: int) -> str:
        task = next(task for task in TASKS if f"def {task.entry_point}" in prompt)
        return task.reference if seed % 2 else f"def {task.entry_point}(x):\n    return x - {seed % 50 + 100}\n"

    config = small_config(collect__tasks=str(folder / "tasks.jsonl"), collect__samples=6, collect__weak_share=0)
    with Run(folder / "run", config) as run:
        collect(run, ScriptedModel(reply), TASKS)  # type: ignore[arg-type]
        assert run.pairs()
    return folder / "run"


def make(source: Path, target: Path, **changes: object) -> None:
    with open_stored(source) as run:
        train = {k.removeprefix("train_"): v for k, v in changes.items() if k.startswith("train_")}
        top = {k: v for k, v in changes.items() if not k.startswith("train_")}
        config: Config = replace(run.config, train=replace(run.config.train, **train), **top)  # type: ignore[arg-type]
        branch(run, target, config)


def test_a_branch_of_another_seed_has_the_same_attempts_and_held_back_tasks(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "new", seed=1)
    with open_stored(source) as old, open_stored(tmp_path / "new") as new:
        assert new.attempts() == old.attempts()
        assert new.config.seed == 1
        assert sorted(p.attempts for p in new.pairs()) == sorted(p.attempts for p in old.pairs())
        for key in ("train.held_back", "collect.tasks", "model"):
            assert new.facts().stored[key] == old.facts().stored[key]
        assert new.is_done("collect")
        assert [(s.at_s, s.n_bytes) for s in new.memory()] == [(s.at_s, s.n_bytes) for s in old.memory()]


def test_a_branch_may_train_on_direct_pairs_alone(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "direct", train_repair_share=0.0, train_bug_share=0.0, train_keep_share=0.0)
    with open_stored(tmp_path / "direct") as run:
        assert {pair.kind for pair in run.pairs()} == {"direct"}


def test_a_branch_with_other_drafts_is_refused(source: Path, tmp_path: Path) -> None:
    with open_stored(source) as run, pytest.raises(ConfigError, match=r"collect\.samples: the run has 6, asked for 9"):
        branch(run, tmp_path / "new", replace(run.config, collect=replace(run.config.collect, samples=9)))
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("x")
    with pytest.raises(StoreError, match="is not empty"):
        make(source, tmp_path / "new", seed=1)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["mine"]


def test_a_run_that_has_not_collected_cannot_be_branched(tmp_path: Path) -> None:
    Run(tmp_path / "empty", small_config()).close()
    with pytest.raises(UsageError, match="has not collected to the end"):
        make(tmp_path / "empty", tmp_path / "new", seed=1)


def test_a_branch_that_fails_half_way_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "replace_pairs", fail)
    with pytest.raises(StoreError, match="No space left"):
        make(source, tmp_path / "new", seed=1)
    assert list(tmp_path.iterdir()) == []
