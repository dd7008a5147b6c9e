"""Trying a task: what is played, with which model, what decides, and what is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_selfdebug.errors import UsageError
from mlx_selfdebug.stages.tryout import PLAYABLE, Tried, Tryout
from mlx_selfdebug.tasks.typed import typed_task
from mlx_selfdebug.testing import ScriptedModel, fenced, make_task
from mlx_selfdebug.values.checks import Checks

from ..support.values import small_config

TASK = typed_task("Return the square of x.\nsquare(3) == 9\nsquare(4) == 16")
WRONG, RIGHT = "def square(x):\n    return x + x\n", "def square(x):\n    return x * x\n"
HOPELESS = "def square(x):\n    return None\n"


def draft(code: str) -> Callable[[str, int], str]:
    return lambda prompt, seed: fenced(code)


def tried(reply: Callable[[str, int], str], task: Any = TASK, **options: Any) -> Tried:
    with Tryout(ScriptedModel(reply), small_config(), **options) as tryout:
        return tryout.play(task)


def test_a_draft_that_passes_is_the_answer() -> None:
    result = tried(draft(RIGHT))
    assert (result.outcome, len(result.attempts)) == ("solved", 1)
    assert result.answer is not None
    assert result.answer.code == RIGHT


def test_a_small_mistake_is_mended_by_an_edit() -> None:
    result = tried(draft(WRONG))
    assert result.outcome == "solved"
    assert result.answer is not None
    assert (result.answer.kind, result.answer.code) == ("edits", RIGHT)


def test_an_arm_that_only_repairs_shows_the_model_the_facts() -> None:
    def reply(prompt: str, seed: int) -> str:
        return fenced(RIGHT if "Expected: 9" in prompt else HOPELESS)

    result = tried(reply, arm="facts")
    assert [attempt.kind for attempt in result.attempts] == ["draft", "repair"]
    assert result.outcome == "solved"


def test_what_is_never_right_ends_when_the_tokens_are_spent() -> None:
    never = typed_task("Return something.\nsquare(3) == 'never' + 'more'")
    with Tryout(ScriptedModel(draft(HOPELESS)), small_config(eval__tokens=400), arm="blind") as tryout:
        result = tryout.play(never)
    assert result.outcome == "not solved"
    assert 400 <= result.decoded_tokens < 400 + len(fenced(HOPELESS))


def test_without_examples_nothing_is_checked_and_one_draft_is_made() -> None:
    result = tried(draft(RIGHT), typed_task("Write square(x)."))
    assert (result.outcome, len(result.attempts)) == ("not checked", 1)


def test_a_task_without_public_checks_is_judged_by_the_hidden_ones() -> None:
    task = replace(make_task(), public=Checks())
    assert tried(draft(RIGHT), task).outcome == "solved"
    assert tried(draft(WRONG), task).outcome == "not solved"


def test_another_seed_draws_the_first_draft_anew() -> None:
    model = ScriptedModel(draft(RIGHT))
    with Tryout(model, small_config()) as tryout:
        for seed, greedy in ((0, True), (1, False), (2, False)):
            tryout.play(TASK, seed=seed, greedy=greedy)
    assert [request.temperature for request in model.asked] == [0.0, 0.8, 0.8]
    assert len({request.seed for request in model.asked}) == 3


def test_the_same_seed_gives_the_same_attempts() -> None:
    results = [tried(lambda prompt, seed: fenced(f"def square(x):\n    return {seed}"), arm="blind") for _ in range(2)]
    assert results[0].attempts[1].code == results[1].attempts[1].code


def test_what_was_tried_is_plain_data() -> None:
    record = tried(draft(WRONG)).to_record()
    assert (record["outcome"], record["by"], record["code"]) == ("solved", "edits", RIGHT)
    assert record["attempts"][0]["failures"][0]["input"] == "3"


def test_every_arm_that_needs_no_other_task_can_be_played() -> None:
    for arm in PLAYABLE:
        assert tried(draft(RIGHT), arm=arm).outcome == "solved"


@pytest.mark.parametrize("arm", ["other-facts", "luck"])
def test_an_arm_that_cannot_be_played_is_refused_by_name(arm: str) -> None:
    with pytest.raises(UsageError, match=f"unknown arm '{arm}'. Known: blind"):
        Tryout(ScriptedModel(draft(RIGHT)), small_config(), arm=arm)


def test_a_task_of_another_domain_gets_a_runner_that_has_its_packages() -> None:
    pytest.importorskip("pandas")
    from mlx_selfdebug.tasks import load_tasks

    task = load_tasks("pandas")[0]
    with Tryout(
        ScriptedModel(lambda prompt, seed: fenced(task.reference if "DataFrame" in prompt else RIGHT)), small_config()
    ) as tryout:
        assert [tryout.play(each).outcome for each in (TASK, task, TASK)] == ["solved"] * 3


@pytest.fixture
def adapter(tiny: Any, tmp_path: Path) -> Any:
    """An adapter of the tiny model that changes what it writes."""
    from mlx_selfdebug.models.backend import mx

    from mlx.utils import tree_flatten, tree_unflatten

    from mlx_selfdebug.config import TrainConfig
    from mlx_selfdebug.training.adapter import insert_adapter, remove_adapter, save_adapter

    settings = insert_adapter(tiny.network, TrainConfig(), 0)
    weights = tree_flatten(tiny.network.trainable_parameters())
    tiny.network.update(tree_unflatten([(name, mx.random.normal(array.shape)) for name, array in weights]))
    saved = save_adapter(tiny.network, tmp_path / "adapter", settings, tiny.origin)
    remove_adapter(tiny.network)
    return saved


def test_base_and_adapter_take_turns_with_the_same_task(tiny: Any, adapter: Any) -> None:
    codes: dict[str, list[str]] = {"base": [], "adapter": []}
    with Tryout(tiny, small_config(eval__max_tokens=12, eval__tokens=12), adapter=adapter, arm="blind") as tryout:
        for player in ("adapter", "base", "adapter", "base"):
            tryout.use(player)  # type: ignore[arg-type]
            result = tryout.play(TASK)
            assert result.player == player
            codes[player].append(result.attempts[0].completion)
    assert len(set(codes["base"])) == len(set(codes["adapter"])) == 1
    assert codes["base"][0] != codes["adapter"][0]


def test_the_model_is_the_base_again_afterwards(tiny: Any, adapter: Any) -> None:
    from mlx_selfdebug.models.backend import mx

    before = tiny.network(mx.array([[1, 2, 3]]))
    with Tryout(tiny, small_config(), adapter=adapter) as tryout:
        assert tryout.player == "adapter"
    assert mx.array_equal(tiny.network(mx.array([[1, 2, 3]])), before).item()


def test_a_model_without_an_adapter_cannot_play_with_one() -> None:
    with (
        Tryout(ScriptedModel(draft(RIGHT)), small_config()) as tryout,
        pytest.raises(UsageError, match="no adapter to try"),
    ):
        tryout.use("adapter")
