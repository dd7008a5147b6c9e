"""Which prompts are asked, what a completion earns, and what is learned from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_selfdebug.models.backend import mx

import pytest

from mlx_selfdebug.config import TrainConfig
from mlx_selfdebug.repair import planting
from mlx_selfdebug.testing import make_attempt, make_task
from mlx_selfdebug.training.loop import STEP_SHAPES
from mlx_selfdebug.training.plan import GroupWorkload
from mlx_selfdebug.training.reward_prompts import RewardPrompt, choose, latest_failures, prompts_of
from mlx_selfdebug.training.reward_update import group_loss_and_gradient
from mlx_selfdebug.training.rollouts import CompletionGroup, examples_of, pass_rates, remembered_rates, reward_of
from mlx_selfdebug.values.attempt import Attempt

from ..support.values import FAILED
from .test_loss import with_lora
from .test_shared_prompt import largest_difference

TASK = make_task("square", "x * x")
WRONG = "def square(x):\n    return x + x\n"
PARENT = make_attempt(task_id=TASK.id, code=WRONG, verdict=FAILED)
REPAIR = RewardPrompt("repair", TASK, PARENT)
DRAFT = RewardPrompt("draft", TASK)
CONFIG = TrainConfig(reward_prompts=4)


def rollout(step: int = 0, sample: int = 0, tokens: tuple[int, ...] = (1, 2), **changes: Any) -> Attempt:
    return replace(make_attempt(arm=f"rewards/{step:06d}", sample=sample, **changes), tokens=tokens)


def test_a_right_program_earns_one_a_wrong_one_nothing_and_a_copy_less() -> None:
    other = rollout(code="def square(x):\n    return x\n", verdict=FAILED)
    copy = rollout(code=WRONG + "\n\n# again\n", verdict=FAILED)
    assert [reward_of(a, REPAIR, CONFIG, 0) for a in (rollout(), other, copy)] == [1.0, 0.0, -0.1]
    assert reward_of(copy, DRAFT, CONFIG, 0) == 0.0


def test_a_program_that_passes_hidden_checks_but_no_public_ones_earns_nothing() -> None:
    assert reward_of(rollout(public=FAILED), DRAFT, CONFIG, 0) == 0.0


def test_random_rewards_are_the_same_each_time_and_have_nothing_to_do_with_the_program() -> None:
    config = replace(CONFIG, reward_by="random")
    rewards = [reward_of(rollout(sample=i), DRAFT, config, 0) for i in range(200)]
    assert rewards == [reward_of(rollout(sample=i, verdict=FAILED), DRAFT, config, 0) for i in range(200)]
    assert 60 < sum(rewards) < 140


def test_advantages_are_rewards_minus_their_mean_and_nothing_where_all_are_equal() -> None:
    attempts = [rollout(sample=i, tokens=(i,)) for i in range(4)]
    assert CompletionGroup(DRAFT, attempts, [1, 0, 0, 0]).advantages == [0.75, -0.25, -0.25, -0.25]
    assert not CompletionGroup(DRAFT, attempts, [1, 1, 1, 1]).varied


def test_a_group_without_variance_has_no_examples(tiny: Any) -> None:
    attempts = [rollout(sample=i, tokens=(i,)) for i in range(4)]
    assert examples_of(CompletionGroup(DRAFT, attempts, [1.0] * 4), tiny) == []
    assert len(examples_of(CompletionGroup(DRAFT, attempts, [1.0, 0.0, 0.0, 0.0]), tiny)) == 4


def test_a_completion_as_good_as_its_group_counts_only_by_its_distance_from_the_base_model(tiny: Any) -> None:
    group = CompletionGroup(DRAFT, [rollout(sample=i, tokens=(i + 3,)) for i in range(3)], [1.0, 0.5, 0.0])
    assert [example.weights for example in examples_of(group, tiny)] == [(0.5,), (-0.5,)]
    assert [example.weights for example in examples_of(group, tiny, merged=False)] == [(0.5,), (0.0,), (-0.5,)]


def test_completions_of_the_same_tokens_are_computed_once_with_the_same_gradient(tiny: Any, tmp_path: Path) -> None:
    tokens = [(5, 6, 7), (5, 6, 7), (5, 9), (8, 8, 8, 8)]
    group = CompletionGroup(DRAFT, [rollout(sample=i, tokens=t) for i, t in enumerate(tokens)], [0.0, 0.0, 1.0, -0.1])
    merged, each = examples_of(group, tiny), examples_of(group, tiny, merged=False)
    assert (len(merged), len(each)) == (3, 4)
    network = with_lora(tmp_path, "qwen2", "float32")
    one, other = (group_loss_and_gradient(network, examples, 640, 0.0) for examples in (merged, each))
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert largest_difference(one.gradient, other.gradient) <= 1e-5


def test_a_network_that_cannot_share_a_prompt_has_the_same_gradient(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = CompletionGroup(DRAFT, [rollout(sample=i, tokens=(i, 7)) for i in range(3)], [0.0, 1.0, 0.0])
    network, examples = with_lora(tmp_path, "qwen2", "float32"), examples_of(group, tiny)
    shared = group_loss_and_gradient(network, examples, 640, 0.0)
    monkeypatch.setattr("mlx_selfdebug.models.trunk.PLAIN_HEADS", frozenset())
    rows = group_loss_and_gradient(network, examples, 100, 0.0)
    assert largest_difference(shared.gradient, rows.gradient) <= 1e-5
    assert mx.isfinite(mx.array(rows.loss)).item()


def pool() -> list[RewardPrompt]:
    tasks = [make_task(f"f{i}") for i in range(30)]
    bugs = [replace(make_attempt(task_id=t.id, code=WRONG, verdict=FAILED), arm=planting.ARM) for t in tasks]
    own = [make_attempt(task_id=t.id, code=f"def {t.entry_point}(x):\n    return 0\n", verdict=FAILED) for t in tasks]
    return prompts_of([*bugs, *own], tasks, CONFIG)


def test_the_kinds_of_prompts_add_up_to_their_shares_over_the_steps() -> None:
    prompts = pool()
    assert Counter(prompt.kind for prompt in prompts) == {"draft": 30, "bug": 30, "repair": 30}
    kinds = Counter(prompt.kind for step in range(25) for prompt in choose(prompts, step, {}, CONFIG, 0))
    assert kinds == {"repair": 40, "bug": 40, "draft": 20}


def test_a_step_asks_different_prompts_and_the_same_ones_again_for_the_same_seed() -> None:
    prompts = pool()
    chosen = choose(prompts, 3, {}, CONFIG, 0)
    assert len({prompt.key for prompt in chosen}) == 4
    assert choose(list(reversed(prompts)), 3, {}, CONFIG, 0) == chosen
    assert choose(prompts, 4, {}, CONFIG, 0) != chosen != choose(prompts, 3, {}, CONFIG, 1)


def test_a_kind_that_runs_short_leaves_its_places_to_others() -> None:
    prompts = [prompt for prompt in pool() if prompt.kind == "bug" or prompt.task.entry_point == "f0"]
    assert len(choose(prompts, 0, {}, replace(CONFIG, reward_prompts=8), 0)) == 8
    assert len(choose(prompts[:3], 0, {}, CONFIG, 0)) == 3


def test_prompts_of_which_some_completions_pass_come_more_often_than_others() -> None:
    prompts = [prompt for prompt in pool() if prompt.kind == "draft"]
    rates = {prompt.key: (0.5, 0.0, 1.0)[i % 3] for i, prompt in enumerate(prompts)}
    config = replace(CONFIG, reward_draft_share=1.0)
    asked = Counter(rates[p.key] for step in range(100) for p in choose(prompts, step, rates, config, 0))
    assert asked[0.5] > 3 * asked[0.0] > 0 < asked[1.0]


def test_the_last_pass_rate_of_a_prompt_is_remembered_from_the_store_as_in_the_session() -> None:
    first = [rollout(0, i) for i in range(4)]
    later = [rollout(7, i, verdict=FAILED) if i else rollout(7, i) for i in range(4)]
    repairs = [rollout(7, 4 + i, parent=PARENT.id) for i in range(4)]
    groups = [CompletionGroup(DRAFT, later, [0.0] * 4), CompletionGroup(REPAIR, repairs, [1.0] * 4)]
    assert remembered_rates([*later, *first, *repairs]) == pass_rates(groups) == {TASK.id: 0.25, PARENT.id: 1.0}


def test_the_latest_failed_draft_of_a_task_is_asked_to_be_repaired() -> None:
    drafts = [rollout(step, i, verdict=FAILED) for step in (2, 5) for i in (1, 3)]
    passing, repair = rollout(9, 0), rollout(9, 1, parent=PARENT.id, verdict=FAILED)
    assert latest_failures([passing, *reversed(drafts), repair]) == {TASK.id: drafts[2]}


def test_a_group_of_any_size_is_planned_as_what_is_computed_at_a_time() -> None:
    config = TrainConfig(reward_steps=2, reward_prompts=3, reward_group_size=8, reward_max_tokens=100)
    work = GroupWorkload.of_steps([200, 300, 250], config, 80)
    assert len(work.lengths) == 6
    assert [work.largest(shape, 2).length for shape in STEP_SHAPES] == [640, 640, 448]
    assert replace(work, size=2).largest(STEP_SHAPES[0], 2).length == 512
