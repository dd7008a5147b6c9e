from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlx_selfdebug.config import load_config
from mlx_selfdebug.errors import ConfigError, StoreError
from mlx_selfdebug.store import Run, read_attempts, reading
from mlx_selfdebug.store.rows import StageTime
from mlx_selfdebug.testing import make_attempt
from mlx_selfdebug.values.pair import Pair

from ..support.values import FAILED


def test_an_attempt_comes_back_as_it_was_stored(run: Run) -> None:
    attempt = make_attempt(verdict=FAILED)
    run.add_attempt(attempt)
    assert run.attempts() == [attempt]


def test_the_steps_that_tidied_an_attempt_are_kept(run: Run) -> None:
    run.add_attempt(make_attempt(tidied=("fence", "imports")))
    assert run.attempts()[0].tidied == ("fence", "imports")


def test_a_stored_attempt_is_never_rewritten(run: Run) -> None:
    run.add_attempt(make_attempt(code="first"))
    run.add_attempt(make_attempt(code="second"))
    assert [attempt.code for attempt in run.attempts()] == ["first"]


def test_a_completion_with_a_lone_surrogate_is_stored(run: Run) -> None:
    run.add_attempt(make_attempt(completion="x = '\ud800'"))
    assert run.attempts()[0].completion == "x = '\\ud800'"


def test_pairs_come_back_in_their_order(run: Run) -> None:
    pairs = [Pair("repair", "python", f"t{i}", "prompt", "target", (f"a{i}", "b")) for i in (2, 0, 1)]
    run.replace_pairs(pairs)
    assert run.pairs() == pairs


def test_a_stage_sums_its_seconds_and_keeps_its_highest_peak(run: Run) -> None:
    run.add_stage_time("collect", 2.0, 100, done=False)
    run.add_stage_time("collect", 3.0, 50, done=True)
    assert run.stages() == {"collect": StageTime("collect", 5.0, 100, True)}


def test_the_memory_of_a_resumed_stage_goes_on_where_it_stopped_and_its_parts_sum_up(run: Run) -> None:
    run.add_stage_time("collect", 2.0, 100, done=False, parts={"decoding": 1.5}, memory=[(0.0, 80), (1.0, 100)])
    run.add_stage_time("collect", 3.0, 50, done=True, parts={"decoding": 2.0, "prompts": 0.5}, memory=[(0.0, 50)])
    assert [(s.stage, s.at_s, s.n_bytes) for s in run.memory()] == [
        ("collect", 0.0, 80),
        ("collect", 1.0, 100),
        ("collect", 2.0, 50),
    ]
    assert run.parts() == {"collect": {"decoding": 3.5, "prompts": 0.5}}


def test_a_run_of_another_configuration_is_refused_with_what_differs(tmp_path: Path) -> None:
    Run(tmp_path / "run", load_config(overrides={"seed": 1}, environment={})).close()
    with pytest.raises(ConfigError, match="seed: the run has 1, asked for 2"):
        Run(tmp_path / "run", load_config(overrides={"seed": 2}, environment={}))


def test_a_run_can_be_opened_again_after_a_refusal(tmp_path: Path) -> None:
    Run(tmp_path / "run", load_config(overrides={"seed": 1}, environment={})).close()
    with pytest.raises(ConfigError):
        Run(tmp_path / "run", load_config(overrides={"seed": 2}, environment={}))
    with Run(tmp_path / "run") as run:
        assert run.config.seed == 1


def test_a_run_made_with_another_model_is_refused(run: Run) -> None:
    run.require("model", "gguf:1", "model")
    run.require("model", "gguf:1", "model")
    with pytest.raises(ConfigError, match="another model"):
        run.require("model", "gguf:2", "model")


def test_a_folder_with_other_things_in_it_is_not_taken_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="not empty and not a run folder"):
        Run(tmp_path)


def test_reading_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run folder"), reading(tmp_path / "nowhere"):
        pass


def test_a_run_can_be_read_while_it_is_written(run: Run) -> None:
    run.add_attempt(make_attempt())
    with reading(run.path) as db:
        run.add_attempt(make_attempt(sample=1))
        run.flush()
        assert len(list(read_attempts(db))) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_finished_run_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    with Run(tmp_path / "run") as run:
        run.add_attempt(make_attempt())
    run.path.chmod(0o555)
    try:
        with reading(run.path) as db:
            assert len(list(read_attempts(db))) == 1
    finally:
        run.path.chmod(0o755)


def test_a_pair_with_a_lone_surrogate_is_stored(run: Run) -> None:
    run.replace_pairs([Pair("direct", "python", "t", "prompt \ud800", "target", ("a",))])
    assert run.pairs()[0].prompt == "prompt \\ud800"


def test_a_number_that_does_not_fit_is_refused_at_once(run: Run) -> None:
    with pytest.raises(StoreError, match="at most 64 bits"):
        run.add_attempt(make_attempt(seed=2**64))


def test_the_folder_of_a_run_may_have_any_name(tmp_path: Path) -> None:
    with Run(tmp_path / "50% done? #1") as run:
        run.add_attempt(make_attempt())
    with reading(run.path) as db:
        assert len(list(read_attempts(db))) == 1
