from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlx_selfdebug.errors import BudgetError, ModelError, SandboxError
from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.asking import Decoding
from mlx_selfdebug.repair.copies import common_length
from mlx_selfdebug.repair.policies import MiningPolicy, Move, Policy, Repair, Resample
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import ScriptedModel, make_attempt, make_task
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.feedback import CODE_ONLY, NOTICE, Feedback
from mlx_selfdebug.values.task import Task

from ..support.values import FAILED

TASKS = [make_task(), make_task("double", "x + x"), make_task("cube", "x ** 3")]


@pytest.fixture(scope="module")
def runner() -> Any:
    with TestRunner(2, Limits(wall_s=5, cpu_s=4)) as opened:
        yield opened


def wrong(prompt: str, seed: int) -> str:
    name = next(name for name in ("square", "double", "cube") if f"def {name}" in prompt)
    return f"def {name}(x):\n    return x + {seed % 97 + 50}\n"


def play(
    run: Run, model: Any, runner: TestRunner, policy: Policy, tasks: Sequence[Task] = TASKS, **how: Any
) -> list[Attempt]:
    values = {"temperature": 0.8, "min_p": 0.05, "max_tokens": 16, "batch_size": 8, "budget_bytes": 6 * 10**9, **how}
    return Stream(run, model, runner, NullStage()).play(Play("arm", tasks, policy, Decoding(**values)))["arm"]


def test_a_policy_from_outside_says_what_is_attempted(run: Run, runner: TestRunner) -> None:
    class LastOneFirst:
        def moves(self, task: Task, attempts: Sequence[Attempt]) -> Sequence[Move]:
            return [Move(3), Move(1)] if not attempts else [Move(3, 1, attempts[-1])] if len(attempts) == 2 else []

    attempts = play(run, ScriptedModel(wrong), runner, LastOneFirst(), TASKS[:1])
    assert [(a.sample, a.round, a.parent) for a in attempts] == [(1, 0, ""), (3, 0, ""), (3, 1, "arm:test/square:3:0")]


def test_attempts_come_in_the_order_of_tasks_samples_and_rounds(run: Run, runner: TestRunner) -> None:
    attempts = play(run, ScriptedModel(wrong), runner, MiningPolicy(3, 1, 2))
    order = [task.id for task in TASKS]
    keys = [(order.index(a.task_id), a.sample, a.round) for a in attempts]
    assert keys == sorted(keys)


def test_a_task_goes_on_while_another_is_still_being_tested(run: Run, runner: TestRunner) -> None:
    """The repairs of the first tasks are decoded before the last one's test is over."""
    asked: list[str] = []

    def reply(prompt: str, seed: int) -> str:
        asked.append(prompt)
        if "def cube" in prompt and "was tested" not in prompt:
            return "import time\ndef cube(x):\n    time.sleep(1)\n    return 0\n"
        return wrong(prompt, seed)

    attempts = play(run, ScriptedModel(reply), runner, Repair(1))
    repairs = [prompt for prompt in asked if "was tested" in prompt]
    assert "def cube" in repairs[-1]
    assert len(attempts) == 6


def test_a_repair_prompt_begins_with_the_prompt_of_the_draft(run: Run, runner: TestRunner) -> None:
    attempts = play(run, ScriptedModel(wrong), runner, Repair(1), TASKS[:1])
    assert attempts[1].prompt.startswith(attempts[0].prompt)


def test_prompts_say_up_to_where_others_are_the_same(run: Run, runner: TestRunner) -> None:
    model = ScriptedModel(wrong)
    play(run, model, runner, Repair(1))
    drafts, repairs = model.asked[:3], model.asked[3:]
    common = min(common_length(drafts[0].prompt, other.prompt) for other in drafts[1:])
    assert all(request.breaks[0] == common > 20 for request in model.asked)
    for repair in repairs:
        own = max(drafts, key=lambda draft: common_length(draft.prompt, repair.prompt))
        assert own.breaks == repair.breaks
        assert repair.prompt[: repair.breaks[1]] == own.prompt[: repair.breaks[1]]
        assert repair.breaks[1] > len(own.prompt) - 40


def test_tasks_that_are_asked_in_the_same_words_share_no_more_than_the_beginning_of_their_prompts(
    run: Run, runner: TestRunner
) -> None:
    model = ScriptedModel(wrong)
    play(run, model, runner, Repair(1), [replace(TASKS[0], id="a"), replace(TASKS[0], id="b"), TASKS[1]])
    for request in model.asked:
        assert list(request.breaks) == sorted(request.breaks)
        assert 20 < request.breaks[0] <= request.breaks[-1] < len(request.prompt)


@pytest.mark.parametrize(
    ("feedback", "code", "facts"), [(Feedback(), True, True), (CODE_ONLY, True, False), (NOTICE, False, False), (Feedback(code=False), False, True)]
)  # fmt: skip
def test_a_control_hides_the_code_or_the_facts(
    run: Run, runner: TestRunner, feedback: Feedback, code: bool, facts: bool
) -> None:
    draft, repair = play(run, ScriptedModel(wrong), runner, Repair(1), TASKS[:1], feedback=feedback)
    assert (draft.code.strip() in repair.prompt) is code
    assert ("Expected: 9" in repair.prompt) is facts


def test_a_control_shows_the_facts_of_another_task(run: Run, runner: TestRunner) -> None:
    other = make_attempt(task_id="test/other", verdict=make_attempt().verdict)
    draft, repair = play(run, ScriptedModel(wrong), runner, Repair(1), TASKS[:1], borrowed={"test/square": other})
    assert "Expected: 9" not in repair.prompt
    assert draft.code.strip() in repair.prompt


def test_public_checks_can_be_hidden_from_the_model(run: Run, runner: TestRunner) -> None:
    hidden = play(run, ScriptedModel(wrong), runner, Resample(1), TASKS[:1], feedback=Feedback(public_checks=False))
    assert "assert square(3) == 9" not in hidden[0].prompt


def test_every_draft_that_does_not_fit_the_context_is_named_before_any_is_asked(run: Run, runner: TestRunner) -> None:
    model = ScriptedModel(wrong)
    model.context = 138
    with pytest.raises(
        ModelError, match=r"138 tokens, .* 16 tokens .* of: test/square \(\d+ tokens\), test/double \(\d+ tokens\)$"
    ):
        play(run, model, runner, Resample(1))
    assert run.attempts() == []


def test_a_repair_that_does_not_fit_the_context_is_left_out_and_the_rest_goes_on(run: Run, runner: TestRunner) -> None:
    model = ScriptedModel(lambda prompt, seed: wrong(prompt, seed) + ("# " + "x" * 400 if "cube" in prompt else ""))
    model.context = 630
    attempts = play(run, model, runner, Repair(1))
    assert [(a.task_id, a.round) for a in attempts if a.round] == [("test/square", 1), ("test/double", 1)]


def test_tests_that_cannot_be_run_stop_the_stream_and_lose_nothing(run: Run, runner: TestRunner) -> None:
    from mlx_selfdebug.values.checks import Checks

    broken = make_task("broken", "x")
    bad = Task(
        **{**vars(broken), "hidden": Checks.from_source("def check(candidate):\n    raise OSError('no disk')\n")}
    )
    with pytest.raises(SandboxError, match="test/broken"):
        play(run, ScriptedModel(lambda p, s: "def broken(x):\n    return x\n" if "broken" in p else wrong(p, s)), runner,
             Resample(1), [TASKS[0], bad])  # fmt: skip
    assert [a.task_id for a in run.attempts()] in ([], ["test/square"])


def test_a_model_that_does_not_fit_the_budget_is_refused_with_the_number(
    tiny: Any, run: Run, runner: TestRunner
) -> None:
    with pytest.raises(BudgetError, match=r"at least 0\.\d+ GB are needed .* 0\.10 GB are allowed") as caught:
        play(run, tiny, runner, Resample(1), budget_bytes=10**8)
    assert caught.value.exit_code == 3
    play(run, tiny, runner, Resample(1), TASKS[:1], budget_bytes=caught.value.needed_bytes)
    assert len(run.attempts()) == 1


def test_stored_attempts_are_not_decoded_again(run: Run, runner: TestRunner) -> None:
    first = play(run, ScriptedModel(wrong), runner, Repair(2))
    model = ScriptedModel(wrong)
    assert play(run, model, runner, Repair(2)) == first
    assert model.asked == []


def test_a_tiny_model_gives_the_same_attempts_however_wide_the_batch(
    tiny: Any, tmp_path: Path, runner: TestRunner
) -> None:
    def codes(width: int) -> list[tuple[str, str]]:
        with Run(tmp_path / str(width)) as run:
            return [(a.id, a.completion) for a in play(run, tiny, runner, MiningPolicy(4, 1, 2), batch_size=width)]

    assert codes(13) == codes(29)


def test_test_processes_that_are_killed_change_no_verdict(tmp_path: Path) -> None:
    def verdicts(path: Path, disturb: bool) -> list[tuple[str, str, str]]:
        with TestRunner(2, Limits(wall_s=5, cpu_s=4)) as runner, Run(path) as run:
            over = threading.Event()
            killer = threading.Thread(target=kill_children, args=(over,))
            if disturb:
                killer.start()
            attempts = play(run, ScriptedModel(wrong), runner, MiningPolicy(12, 1, 2))
            over.set()
            if disturb:
                killer.join()
            return [(a.id, a.code, a.verdict.outcome) for a in attempts]

    assert verdicts(tmp_path / "disturbed", True) == verdicts(tmp_path / "quiet", False)


def kill_children(over: threading.Event) -> None:
    while not over.wait(0.15):
        for child in psutil.Process().children(recursive=True)[:1]:
            with contextlib.suppress(psutil.Error):
                child.kill()


def test_numbers_that_are_none_stop_the_stream_and_lose_nothing(tiny: Any, tmp_path: Path, runner: TestRunner) -> None:
    from mlx_selfdebug.models.backend import mx

    with Run(tmp_path / "run") as run:
        before = play(run, tiny, runner, Resample(1), TASKS[:2])
        tiny.network.model.norm.weight = mx.full(tiny.network.model.norm.weight.shape, float("nan"))
        with pytest.raises(ModelError, match="not numbers"):
            play(run, tiny, runner, Resample(1), TASKS)
    with Run(tmp_path / "run") as run:
        assert run.attempts() == sorted(before, key=lambda a: a.task_id)


def test_a_model_that_never_stops_is_cut_at_its_most_tokens(tiny: Any, run: Run, runner: TestRunner) -> None:
    attempts = play(run, tiny, runner, Resample(2), max_tokens=9)
    assert {a.n_completion_tokens for a in attempts if a.finish == "length"} == {9}


def test_progress_tells_tasks_solved_speed_and_tests(run: Run, runner: TestRunner) -> None:
    class Told(NullStage):
        done, notes = 0, set[str]()

        def advance(self, n: int = 1, note: str = "") -> None:
            self.done += n
            self.notes.add(note)

    stage = Told()
    right = ScriptedModel(lambda p, s: "def square(x):\n    return x * x\n" if "square" in p else wrong(p, s))
    how = Decoding(0.8, 0.05, 16, 8, 6 * 10**9)
    Stream(run, right, runner, stage).play(Play("arm", TASKS, Repair(1), how))
    assert stage.done == len(TASKS)
    assert any(re.fullmatch(r"1 solved, \d+ tokens/s, \d in test", note) for note in stage.notes)


def test_arms_share_one_batch_and_each_sees_its_own_attempts(run: Run, runner: TestRunner) -> None:
    model = ScriptedModel(wrong)
    how = Decoding(0.8, 0.05, 16, 6, 6 * 10**9)
    plays = [Play("blind", TASKS, Resample(2), how), Play("repair", TASKS, Repair(1), how)]
    made = Stream(run, model, runner, NullStage()).play(*plays)
    assert [(a.arm, a.sample, a.round) for a in made["blind"][:2]] == [("blind", 0, 0), ("blind", 1, 0)]
    assert [(a.arm, a.sample, a.round) for a in made["repair"][:2]] == [("repair", 0, 0), ("repair", 0, 1)]
    assert {a.id for a in run.attempts("blind")} == {a.id for a in made["blind"]}
    arms_asked = ["was tested" in "".join(map(chr, request.prompt)) for request in model.asked[:6]]
    assert arms_asked == [False] * 6


def test_an_arm_begins_with_the_attempts_it_is_given_and_stores_its_own_alone(run: Run, runner: TestRunner) -> None:
    draft = make_attempt(
        arm="drafts", verdict=make_attempt().verdict, public=FAILED, code="def square(x):\n    return 7\n"
    )
    play = Play("arm", TASKS[:1], Repair(1), Decoding(0.0, 0.0, 16, 4, 6 * 10**9), {"test/square": [draft]})
    first, second = Stream(run, ScriptedModel(wrong), runner, NullStage()).play(play)["arm"]
    assert first == draft
    assert (second.arm, second.round, second.parent) == ("arm", 1, draft.id)
    assert "return 7" in second.prompt
    assert run.attempts("drafts") == []
