from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from mlx_selfdebug.progress import NullStage
from mlx_selfdebug.repair.asking import Asked, Decoding
from mlx_selfdebug.repair.judging import MAX_CACHED, Judging, VerdictCache
from mlx_selfdebug.repair.policies import Move, Repair, Resample
from mlx_selfdebug.repair.stream import Play, Stream
from mlx_selfdebug.sampling.request import Completion, Request
from mlx_selfdebug.sandbox.limits import Limits
from mlx_selfdebug.sandbox.runner import TestRunner
from mlx_selfdebug.store import Run
from mlx_selfdebug.testing import ScriptedModel, make_attempt, make_task
from mlx_selfdebug.values.attempt import Attempt
from mlx_selfdebug.values.verdict import Verdict

from ..support.values import FAILED

TASK = make_task()
WRONG = "def square(x):\n    return x + x\n"
HOW = Decoding(0.8, 0.05, 16, 8, 6 * 10**9)


class Counting:
    """A runner that fails every program at once, and counts them."""

    isolation = "full"

    def __init__(self) -> None:
        self.tested: list[str] = []

    def submit(self, source: str, *_: Any, **__: Any) -> Future[Verdict]:
        self.tested.append(source)
        future: Future[Verdict] = Future()
        future.set_result(Verdict("failed", FAILED.failures, 0, 1, isolation="full"))
        return future


@pytest.fixture(scope="module")
def runner() -> Iterator[TestRunner]:
    with TestRunner(1, Limits(wall_s=5, cpu_s=4)) as opened:
        yield opened


def asked(move: Move = Move(0), request: Request = Request((1, 2), 16), **more: Any) -> Asked:  # noqa: B008
    return Asked("arm", TASK, move, "Write it.", request, **more)


def judged(asked: Asked, completion: Completion, runner: Any = None, known: tuple[Attempt, ...] = ()) -> Attempt:
    judging = Judging(VerdictCache(runner or Counting(), known))
    judging.begin(asked, completion)
    return judging.finished()[0]


def test_a_fork_is_judged_whole_and_its_own_token_counts() -> None:
    parent = make_attempt(code=WRONG)
    fork = asked(Move(0, 2, parent, by="fork"), Request((1, 2), 16, given=(3, 4, 5)), n_read_tokens=40)
    attempt = judged(fork, Completion(0, "def square(x):\n    return x ** 2\n", 7, "fence"))
    assert (attempt.kind, attempt.parent) == ("fork", parent.id)
    assert attempt.code == "def square(x):\n    return x ** 2\n"
    assert (attempt.n_prompt_tokens, attempt.n_completion_tokens, attempt.n_read_tokens) == (2, 8, 40)


def test_a_draft_has_read_nothing_and_counts_what_it_decoded() -> None:
    attempt = judged(asked(), Completion(0, WRONG, 7, "fence"))
    assert (attempt.kind, attempt.n_completion_tokens, attempt.n_read_tokens) == ("draft", 7, 0)


def test_a_completion_ended_as_a_copy_has_the_code_it_is_a_copy_of_and_its_own_text() -> None:
    other = WRONG.replace("x + x", "x + 2")
    fork = asked(Move(0, 2, make_attempt(code=WRONG), by="fork"), tried=(WRONG, other))
    attempt = judged(fork, Completion(0, "def square(x):  # again\n    return x + 2\n", 7, "copy"))
    assert (attempt.code, attempt.finish) == (other, "copy")
    assert attempt.completion == "def square(x):  # again\n    return x + 2\n"


def test_the_same_code_of_a_task_is_tested_once() -> None:
    runner = Counting()
    judging = Judging(VerdictCache(runner))  # type: ignore[arg-type]
    judging.begin(asked(Move(0)), Completion(0, WRONG, 7, "fence"))
    judging.begin(asked(Move(1)), Completion(1, WRONG, 7, "fence"))
    first, second = judging.finished()
    assert (second.verdict, second.public) == (first.verdict, first.public)
    assert runner.tested == [WRONG, WRONG]  # on hidden and on public checks


def test_what_tests_said_before_is_taken_over_if_they_ran_as_confined() -> None:
    said = Verdict("timeout_cpu", wall_s=3.0, isolation="full")
    runner = Counting()
    stored = make_attempt(arm="another", code=WRONG, verdict=said, public=said)
    attempt = judged(asked(), Completion(0, WRONG, 7, "fence"), runner, (stored,))
    assert (attempt.verdict, attempt.public, runner.tested) == (said, said, [])
    weaker = make_attempt(arm="another", code=WRONG, verdict=Verdict("passed", isolation="weaker"))
    assert judged(asked(), Completion(0, WRONG, 7, "fence"), runner, (weaker,)).verdict.outcome == "failed"


def test_the_same_code_of_another_task_is_tested() -> None:
    runner = Counting()
    stored = make_attempt(task_id="test/another", code=WRONG, verdict=Verdict("passed", isolation="full"))
    assert judged(asked(), Completion(0, WRONG, 7, "fence"), runner, (stored,)).verdict.outcome == "failed"


def test_what_is_remembered_is_bounded() -> None:
    judging = Judging(VerdictCache(Counting()))  # type: ignore[arg-type]
    for i in range(MAX_CACHED + 9):
        judging.cache.tests(f"x = {i}\n", TASK)
    assert len(judging.cache._tests) == MAX_CACHED


def test_an_arm_tests_no_program_that_another_has_tested(run: Run, runner: TestRunner, monkeypatch: Any) -> None:
    tested: list[str] = []
    submit = runner.submit
    monkeypatch.setattr(runner, "submit", lambda source, *a, **k: tested.append(source) or submit(source, *a, **k))
    model = ScriptedModel(lambda prompt, seed: WRONG)
    first = Stream(run, model, runner, NullStage()).play(Play("blind", [TASK], Resample(2), HOW))["blind"]
    run.flush()
    second = Stream(run, model, runner, NullStage()).play(Play("repair", [TASK], Repair(2), HOW))["repair"]
    assert tested == [WRONG, WRONG]
    assert {(a.verdict, a.public) for a in first + second} == {(first[0].verdict, first[0].public)}
    assert [a.round for a in second] == [0, 1, 2]


def test_a_repair_that_writes_the_failed_program_again_and_tries_it_out_is_cut(run: Run, runner: TestRunner) -> None:
    again = WRONG.replace("x + x", "x + x  # twice") + "\nprint(square(3))\nprint(square(4))\n"
    model = ScriptedModel(lambda prompt, seed: again if "was tested" in prompt else WRONG)
    draft, repair = Stream(run, model, runner, NullStage()).play(Play("arm", [TASK], Repair(1), HOW))["arm"]
    assert (repair.finish, repair.code, repair.verdict) == ("copy", draft.code, draft.verdict)
    assert repair.completion == again.removesuffix("print(square(4))\n")
    assert repair.n_completion_tokens == len(repair.completion)
