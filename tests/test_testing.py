"""The kit for users' own tests."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import mlx_selfdebug as sd
from mlx_selfdebug import testing
from mlx_selfdebug.auditing.verify import check_tasks
from mlx_selfdebug.testing import ARCHITECTURES, ScriptedModel, fenced, make_task, tiny_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tiny_model_of_each_architecture_drafts(architecture: str, tmp_path: Path) -> None:
    from mlx_selfdebug.sampling.language_model import complete, open_decoder
    from mlx_selfdebug.sampling.request import Request

    model = tiny_model(tmp_path / architecture, architecture=architecture)
    ids = tuple(model.render([{"role": "user", "content": "Return x."}]))
    decoder = open_decoder(model, budget_bytes=10**9, max_rows=1, max_row_tokens=len(ids) + 4)
    [completion] = complete(decoder, [Request(ids, 4)])
    assert completion.n_tokens <= 4


def test_an_architecture_there_is_no_tiny_model_of_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="qwen2, llama, qwen3, qwen3_5"):
        tiny_model(tmp_path / "x", architecture="gpt2")


def test_a_made_task_is_sound_and_a_scripted_model_solves_it(tmp_path: Path) -> None:
    task = make_task("double", "x + x", hidden=(0, 2, -7))
    with sd.TestRunner(workers=1) as runner:
        assert check_tasks([task], runner) == []
    model = ScriptedModel(lambda prompt, seed: fenced("def double(x):\n    return x + x"))
    with sd.Run(tmp_path / "run", sd.load_config(overrides={"collect.samples": 2})) as run:
        attempts = sd.collect(run, model, [task])
    assert [attempt.passed for attempt in attempts] == [True, True]
    assert "Return x + x." in "".join(map(chr, model.asked[0].prompt))


def test_the_examples_run() -> None:
    result = doctest.testmod(testing)
    assert (result.failed, result.attempted > 0) == (0, True)
