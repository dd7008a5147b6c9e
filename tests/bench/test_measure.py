"""The stages on the tiny model: the same code as on a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_selfdebug.bench import bench
from mlx_selfdebug.bench.stages import STAGES
from mlx_selfdebug.errors import UsageError

pytestmark = pytest.mark.slow


def test_every_stage_is_repeated_and_says_how_fast_it_was(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_selfdebug.bench import stages

    sizes = {"DRAFTS": 2, "DRAFT_TOKENS": 4, "TESTED": 4, "REPAIRED": 1, "TRAINED": 3, "EVALUATED": 1}
    settings = {
        "collect.max_tokens": 8,
        "collect.edits": 0,
        "collect.forks": 0,
        "eval.tokens": 16,
        "eval.max_tokens": 8,
    }
    for name, n in sizes.items():
        monkeypatch.setattr(stages, name, n)
    for name, n in settings.items():
        monkeypatch.setitem(stages.SIZE, name, n)
    record = bench(str(tiny_folder))
    assert [stage.name for stage in record.stages] == list(STAGES)
    assert {len(stage.trials) for stage in record.stages} == {3}
    rates = {stage.name: set(stage.trials[0].rates) for stage in record.stages}
    assert rates["sample"] == {"prefill_tokens_per_s", "decode_tokens_per_s", "decode_alone_tokens_per_s"}
    assert rates["train"] == {"train_tokens_per_s"}
    assert all(value > 0 for stage in record.stages for t in stage.trials for value in t.rates.values())
    assert record.size["tested"] == 4
    assert str(tiny_folder) not in str(record.to_dict())


def test_a_model_in_a_folder_is_known_by_the_folders_name(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_folder)
    monkeypatch.setenv("HOME", str(tiny_folder.parent))
    for name in (".", f"~/{tiny_folder.name}"):
        assert bench(name, stages=["load"]).model == tiny_folder.name


def test_a_stage_nobody_knows_and_too_few_repetitions_are_refused(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown stage .smaple.\. Known: load, sample"):
        bench(str(tiny_folder), stages=["smaple"])
    with pytest.raises(UsageError, match="at least 3 are needed"):
        bench(str(tiny_folder), repeats=1)
